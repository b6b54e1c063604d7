"""Honest probabilities: the temperatures of windows and of clips, and below which probability nothing is answered.

A temperature acts on what is decided: on a window's probabilities, on the mean of a clip's windows as they were trained, on
the mean that a cell of a timeline is. So the most probable class stays the same one everywhere.
"""

import numpy as np
import torch
from transformers import PreTrainedConfig

UNKNOWN = "unknown"  # the answer where no class is probable enough
CALIBRATION = ("window_temperature", "clip_temperature", "window_unknown_below", "clip_unknown_below")


def calibration_of(config: PreTrainedConfig) -> dict[str, float | None]:
    """Those fields of a configuration."""
    return {name: getattr(config, name) for name in CALIBRATION}


def check_calibration(config: PreTrainedConfig) -> None:
    """Raise `ValueError` for a calibration that the model cannot have."""
    names = [name for name in CALIBRATION if getattr(config, name) is not None]
    if names and config.problem_type not in (None, "single_label_classification"):
        raise ValueError(f"{names[0]} is about models of one label for each sound, found {config.problem_type}")
    if UNKNOWN in config.id2label.values() and any(name.endswith("below") for name in names):
        raise ValueError(
            f"a class is called {UNKNOWN!r}, as the answer below {names[-1]}: give the class another name, or leave it out"
        )


def calibrated(scores: torch.Tensor, temperature: float | None) -> torch.Tensor:
    """Logits or log-probabilities (..., L) -> log-probabilities under a temperature; None: as they are."""
    return scores if temperature is None else (scores / temperature).log_softmax(-1)


def tempered(probabilities: np.ndarray, temperature: float | None) -> np.ndarray:
    """Probabilities (..., L) -> the same under a temperature; None: as they are."""
    if temperature is None:
        return probabilities
    # The largest first becomes 1: no power of it can vanish.
    powers = (probabilities / probabilities.max(axis=-1, keepdims=True)) ** (1 / temperature)
    return powers / powers.sum(axis=-1, keepdims=True)
