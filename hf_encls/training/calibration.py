"""Honest probabilities after training, from the validation part: temperatures, and thresholds for "none of these"."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedConfig

from hf_encls.model.calibration_encls import UNKNOWN, tempered
from hf_encls.training.metrics import clip_probabilities

SMALLEST = 1e-300  # probabilities in float64 that are zero
BOUNDS = math.log(0.01), math.log(100.0)  # of the logarithm of a temperature
NEAREST = 1e-6  # to 0 and 1 that a threshold may be: float32 has few numbers there
MARGIN = (
    0.1  # nats of log-odds by which it is lower at most: features of a file are not rounded to 16 bits as stored ones
)


def hindrance(config: PreTrainedConfig, protocol: str) -> str | None:
    """Why nothing can be calibrated on the validation part; None where it can."""
    if protocol == "paper":
        return "under the protocol paper the validation windows are of clips that trained"
    if config.problem_type not in (None, "single_label_classification"):
        return "of several labels each has a probability and a threshold of its own"
    return None


def check_unknown(alpha: float | None, config: PreTrainedConfig, protocol: str, classes: Sequence[str] = ()) -> None:
    """Raise `ValueError` where no threshold can be found for `unknown=alpha`, whatever the sounds are."""
    if alpha is None:
        return
    reason = hindrance(config, protocol)
    if reason:
        raise ValueError(f"`unknown={alpha:g}` needs validation clips that did not train: {reason}")
    if UNKNOWN in classes:
        raise ValueError(f"`unknown` answers {UNKNOWN!r}, and a class is called so: give the class another name")


def check_validation(alpha: float | None, validation: Dataset, clip_votes: bool) -> None:
    """Raise `ValueError` where the validation windows are too few for `unknown=alpha`: even the lowest score is no bound."""
    count, things = len(validation), "windows"
    if clip_votes:
        count, things = len(set(validation["clip_id"][:])), "clips"
    if alpha is not None and _rank(alpha, count) < 1:
        least = next(n for n in range(count, 10**9) if _rank(alpha, n))
        raise ValueError(
            f"expected {least} or more validation {things} for `unknown={alpha:g}`, found {count}: add sounds, or ask for "
            f"{1 / (count + 1):.2g} or more"
        )


def calibrate(
    probabilities: np.ndarray, labels: np.ndarray, clip_ids: Sequence | None, scaled: bool, alpha: float | None
) -> dict[str, float]:
    """Temperatures (where `scaled`) and thresholds (of `alpha`, where given), by their names in [`EnclsConfig`].

    `probabilities` (n, L) are those of the validation windows as trained; each unit, windows and clips, has its own
    numbers, as it is decided by its own probabilities. `clip_ids` None: clips have no class.
    """
    units = {"window": (probabilities, labels)}
    if clip_ids is not None:
        units["clip"] = clip_probabilities(probabilities, labels, clip_ids)[:2]
    values = {}
    for unit, (rows, classes) in units.items():
        if scaled:
            values[f"{unit}_temperature"] = temperature(rows, classes)
        if alpha is not None:
            honest = tempered(rows, values.get(f"{unit}_temperature"))
            values[f"{unit}_unknown_below"] = threshold(honest.max(axis=1), alpha)
    return values


def temperature(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature under which probabilities (n, L) have the least loss of labels (n,) (Guo et al., 2017).

    Beside the loss stands what a normal prior of its logarithm, of mean 0 and deviation 1, weighs among n labels. Where all
    answers are right, the loss alone would ask for a temperature of 0, and say that the model cannot be wrong.
    """
    logs = torch.from_numpy(np.log(np.maximum(probabilities, SMALLEST)))
    truth = torch.from_numpy(labels)
    logarithm = torch.zeros((), dtype=logs.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS([logarithm], max_iter=100, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(logs / logarithm.clamp(*BOUNDS).exp(), truth)
        value = value + 0.5 * logarithm.square() / len(truth)
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    return math.exp(min(max(logarithm.item(), BOUNDS[0]), BOUNDS[1]))


def threshold(confidence: np.ndarray, alpha: float) -> float:
    """The probability below which an answer is `unknown`: by split conformal prediction.

    `confidence` (n,) are the probabilities of the most probable classes of validation things. Of known sounds that come as
    these came, at most the share `alpha` is answered `unknown`, in the mean over draws of the validation part. The score
    is that of the answer, not of the true class: it is what can be looked at when the class is not known.
    """
    rank, sure = _rank(alpha, len(confidence)), np.sort(confidence).clip(NEAREST, 1 - NEAREST)
    odds = np.log(sure) - np.log1p(-sure)
    below = odds[rank - 2] if rank > 1 else -math.inf
    return float(1 / (1 + np.exp(min(MARGIN, (odds[rank - 1] - below) / 2) - odds[rank - 1])))


def _rank(alpha: float, count: int) -> int:
    """Which of `count` scores, from the lowest on, is the threshold; 0: none of them bounds the share."""
    return math.floor(alpha * (count + 1) + 1e-9)
