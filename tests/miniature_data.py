"""Miniature trees of the public data sets: their names and layouts, with a fraction of a second of noise in each file."""

from pathlib import Path

import numpy as np
import soundfile

GTZAN_GENRES = ("blues", "jazz", "rock")


def write_noise(path: Path, *, rate: int = 44_100, seconds: float = 0.05, channels: int = 1, seed: int = 0) -> Path:
    """One short noise file, in the format that its suffix names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).uniform(-0.3, 0.3, (int(rate * seconds), channels))
    soundfile.write(path, noise, rate)
    return path


def esc50_archive(root: Path, *, folds: int = 5, targets: tuple[int, ...] = (0, 10, 14)) -> Path:
    """`audio/*.wav` and `meta/esc50.csv`, two takes of one recording and one of another for each class and fold."""
    from hf_encls.data.esc50 import CLASSES, ESC10_CLASSES

    rows = ["filename,fold,target,category,esc10,src_file,take"]
    for fold in range(1, folds + 1):
        for target in targets:
            for source, take in ((1, "A"), (1, "B"), (2, "A")):
                recording = 1000 * fold + 10 * target + source
                name = f"{fold}-{recording}-{take}-{target}.wav"
                write_noise(root / "audio" / name, seconds=0.02)
                esc10 = CLASSES[target] in ESC10_CLASSES
                rows.append(f"{name},{fold},{target},{CLASSES[target]},{esc10},{recording},{take}")
    (root / "meta").mkdir(parents=True, exist_ok=True)
    (root / "meta" / "esc50.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return root


def gtzan_genres(root: Path, *, suffix: str = ".wav", per_genre: int = 4) -> Path:
    """`genres/blues/blues.00000.wav`, ...: some of the official lists' names, one of them outside of the lists."""
    for genre in GTZAN_GENRES:
        for number in range(per_genre):
            write_noise(root / "genres" / genre / f"{genre}.{number:05d}{suffix}", rate=22_050, seconds=0.02)
    return root


def gtzan_music_speech(root: Path, *, per_class: int = 4) -> Path:
    """`music_wav/` and `speech_wav/`."""
    for kind in ("music", "speech"):
        for number in range(per_class):
            path = root / f"{kind}_wav" / f"{kind}{number}.wav"
            write_noise(path, rate=22_050, seconds=0.02, seed=number + 100 * len(kind))
    return root
