"""Scores of windows and of clips: functions for our own loops, and `evaluate` modules for everybody else's."""

from pathlib import Path
from typing import TYPE_CHECKING

from hf_encls.training.metrics.scores import (
    calibration_error,
    clip_probabilities,
    confusion,
    evaluate_split,
    macro_f1,
    per_class,
)
from hf_encls.training.metrics.several import best_thresholds, per_label

if TYPE_CHECKING:
    from evaluate import EvaluationModule

__all__ = [
    "METRICS",
    "best_thresholds",
    "calibration_error",
    "clip_probabilities",
    "confusion",
    "evaluate_split",
    "load_metric",
    "macro_f1",
    "per_class",
    "per_label",
]

METRICS = ("window_accuracy", "clip_accuracy", "window_macro_f1", "per_class_table")


def load_metric(name: str) -> "EvaluationModule":
    """One of `METRICS` as an `evaluate` module, loaded from this package's own files: no network is asked.

    Raises `ValueError` for another name.
    """
    if name not in METRICS:
        raise ValueError(f"There is no metric {name!r} in this package: expected one of {', '.join(METRICS)}.")
    import evaluate

    # In memory: evaluate's files in the shared cache would be locked by another process that measures the same.
    return evaluate.load(str(Path(__file__).with_name(f"{name}.py")), keep_in_memory=True)
