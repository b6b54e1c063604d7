"""Learning curves, data sets and sounds for the tests of the paper's grid."""

from pathlib import Path

import numpy as np
import soundfile

from hf_encls.reproduction.sources import Source


def history(accuracies: list[float], losses: list[float], seconds: float = 2.0) -> list[dict]:
    """A learning curve with epochs from 1."""
    return [
        {"epoch": epoch, "validation_accuracy": accuracy, "validation_loss": loss, "epoch_s": seconds}
        for epoch, (accuracy, loss) in enumerate(zip(accuracies, losses, strict=True), 1)
    ]


def source(key: str = "esc50", folds: tuple[int, ...] = (1, 2, 3, 4, 5)) -> Source:
    """A data set that is nowhere."""
    return Source(key, "folder", "ESC-10", ("a", "b"), 10, 50.0, 44_100, folds, {}, 0, False)


def write_tones(root: Path) -> Path:
    """Two classes of seven short clips."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(("high", "low")):
        (root / name).mkdir(parents=True)
        for clip in range(7):
            time_s = np.arange(int(8_000 * 1.2)) / 8_000
            tone = 0.3 * np.sin(2 * np.pi * (300 if number else 900) * (1 + 0.05 * clip) * time_s)
            soundfile.write(root / name / f"{clip}.wav", tone + 0.05 * rng.standard_normal(len(time_s)), 8_000)
    return root
