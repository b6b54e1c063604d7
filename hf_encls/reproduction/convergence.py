"""Convergence, from learning curves (`history` of results.json) alone: each figure can be checked by hand."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

import numpy as np

from hf_encls.report.pictures import smooth

EQUAL_EPOCHS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def convergence(history: Sequence[Mapping], baseline: Sequence[Mapping]) -> dict:
    """When a run passes the final validation accuracy of `baseline`, and when its validation loss is lowest.

    Returns `baseline_final` (accuracy of the baseline's last epoch), `baseline_best_loss_epoch` (where its loss is
    lowest), `pass_epoch` (the first epoch with a higher accuracy than `baseline_final`, None if there is none),
    `pass_smoothed_epoch` (the same for both curves smoothed as in figure 4), `pass_loss_epoch` (the first epoch with a
    loss as low as the baseline's lowest, None if there is none), `best_loss_epoch`, `best_loss`, and the seconds of
    training (without validation and checkpoints) up to the end of these epochs, `pass_s` and `best_loss_s` (None where an
    epoch's time is not known).
    """
    accuracy, losses = ([row[f"validation_{name}"] for row in history] for name in ("accuracy", "loss"))
    baseline_accuracy = [row["validation_accuracy"] for row in baseline]
    baseline_losses = _finite(row["validation_loss"] for row in baseline)
    times = (row.get("epoch_s") for row in history)
    seconds = list(accumulate(times, lambda before, epoch_s: None if None in (before, epoch_s) else before + epoch_s))
    smoothed = smooth(baseline_accuracy)[-1]
    best = int(np.argmin(_finite(losses)))
    passes = {
        "pass": (value > baseline_accuracy[-1] for value in accuracy),
        "pass_smoothed": (value > smoothed for value in smooth(accuracy)),
        "pass_loss": (loss <= min(baseline_losses) for loss in losses),
    }
    first = {name: next((index for index, holds in enumerate(each) if holds), None) for name, each in passes.items()}
    epochs = {f"{name}_epoch": None if at is None else history[at]["epoch"] for name, at in first.items()}
    return {
        "baseline_final": baseline_accuracy[-1],
        "baseline_best_loss_epoch": baseline[int(np.argmin(baseline_losses))]["epoch"],
        **epochs,
        "pass_s": None if first["pass"] is None else seconds[first["pass"]],
        "best_loss_epoch": history[best]["epoch"],
        "best_loss": losses[best],
        "best_loss_s": seconds[best],
    }


def at_equal_epochs(history: Sequence[Mapping]) -> dict[str, float]:
    """Validation accuracy after 1, 2, 5, 10, ... epochs and after the last one, by the epoch's number as a string."""
    rows = {row["epoch"]: row["validation_accuracy"] for row in history}
    return {str(epoch): rows[epoch] for epoch in sorted({*EQUAL_EPOCHS, max(rows)} & rows.keys())}


def share_of_epochs_above(history: Sequence[Mapping], baseline: Sequence[Mapping]) -> float:
    """The share of epochs at which a run's validation accuracy is above the baseline's at the same epoch."""
    at_epoch = {row["epoch"]: row["validation_accuracy"] for row in baseline}
    above = [row["validation_accuracy"] > at_epoch[row["epoch"]] for row in history if row["epoch"] in at_epoch]
    return sum(above) / len(above)


def _finite(losses: Iterable[float]) -> list[float]:
    return [loss if math.isfinite(loss) else math.inf for loss in losses]
