"""Small runs of training for tests: tones, and what a run leaves of them."""

from pathlib import Path

import numpy as np
import soundfile
import torch

from hf_encls.commands.train import main
from hf_encls.model.modeling_encls import EnclsForAudioClassification

SMALL = ["--features", "log_mel", "--window_s", "0.3", "--num_train_epochs", "2", "--report_to", "none"]


def write_tones(folder: Path) -> Path:
    """Three classes of noisy tones, eight clips each."""
    rng = np.random.default_rng(0)
    for label, pitch in (("low", 200), ("mid", 900), ("high", 3000)):
        (folder / label).mkdir(parents=True)
        for number in range(8):
            time = np.arange(14_400) / 16_000
            sound = 0.3 * np.sin(2 * np.pi * pitch * rng.uniform(0.9, 1.1) * time) + rng.standard_normal(14_400) * 0.02
            soundfile.write(folder / label / f"{number}.wav", sound, 16_000)
    return folder


def arguments(tones: Path, folder: Path, *more: str) -> list[str]:
    """Of a small run: its features are cached beside the tones."""
    args = ["--data_dir", str(tones), "--output_dir", str(folder), "--cache_dir", str(tones.parent / "cache")]
    return [*args, *SMALL, *more]


def train(tones: Path, folder: Path, *more: str) -> dict:
    return main(arguments(tones, folder, *more))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return EnclsForAudioClassification.from_pretrained(folder).state_dict()


def newest(folder: Path) -> Path:
    return max(folder.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))


def equal(one: Path, two: Path) -> bool:
    a, b = weights(one), weights(two)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def files_of(folder: Path) -> dict[str, bytes]:
    """What a folder holds, without the lock."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != ".run.lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
