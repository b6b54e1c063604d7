"""Clips and recordings of several tones at once, their tables, and the options that train on them."""

from pathlib import Path

import numpy as np
import soundfile

RATE = 8_000
PITCHES = {"high": 2500, "low": 200, "mid": 700}
NAMES = list(PITCHES)
SMALL = ["--features", "log_mel", "--window_s", "0.25", "--hop_length", "64"]
TRAINING = [*SMALL, "--report_to", "none", "--num_train_epochs", "1", "--head", "statistics"]


def sound(labels: list[str], rng: np.random.Generator, seconds: float = 0.5) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    tones = [0.2 * np.sin(2 * np.pi * PITCHES[label] * rng.uniform(0.98, 1.02) * time) for label in labels]
    return sum(tones, rng.standard_normal(len(time)) * 0.02)


def write_clips(folder: Path, count: int = 40) -> dict[str, list[str]]:
    """Clips of any number of tones at once, some of none."""
    rng, truth = np.random.default_rng(0), {}
    folder.mkdir()
    for number in range(count):
        truth[f"{number}.wav"] = [label for label in PITCHES if rng.random() < 0.45]
        soundfile.write(folder / f"{number}.wav", sound(truth[f"{number}.wav"], rng), RATE)
    return truth


def write_table(path: Path, truth: dict[str, list[str]]) -> Path:
    path.write_text("".join(["file,labels\n", *(f"{name},{';'.join(labels)}\n" for name, labels in truth.items())]))
    return path


def options(clips: tuple, folder: Path, *more: str) -> list[str]:
    audio, table, _ = clips
    data = ["--data_dir", str(audio), "--labels", str(table), "--multi_label"]
    return [*data, "--cache_dir", str(audio.parent / "cache"), "--output_dir", str(folder), *more]


def rows_of(labels: np.ndarray, groups: np.ndarray | None = None) -> dict:
    count = len(labels)
    names = np.array([f"clip {i}" for i in range(count)])
    groups = names if groups is None else groups
    return {"clip_id": names, "group": groups, "fold": np.zeros(count, int), "label": labels, "start": np.zeros(count)}
