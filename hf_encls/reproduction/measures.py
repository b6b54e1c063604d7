"""The numbers that are computed from learning curves and from shapes: convergence, sizes, multiply-adds.

Nothing here reads a file or runs a network, so that each figure can be checked by hand.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.report.pictures import smooth

EQUAL_EPOCHS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
BYTES = {"float16": 2, "float32": 4}


def convergence(history: Sequence[Mapping], baseline: Sequence[Mapping]) -> dict:
    """When a run passes the final validation accuracy of `baseline`, and when its validation loss is lowest.

    Returns `baseline_final` (accuracy of the baseline's last epoch), `baseline_best_loss_epoch` (where its loss is
    lowest), `pass_epoch` (the first epoch with a higher accuracy than `baseline_final`, None if there is none),
    `pass_smoothed_epoch` (the same for both curves smoothed as in figure 4), `pass_loss_epoch` (the first epoch with a
    loss as low as the baseline's lowest, None if there is none), `best_loss_epoch`, `best_loss`, and the seconds of
    training up to the end of these epochs, `pass_s` and `best_loss_s` (None where an epoch's time is not known).
    """
    epochs = [row["epoch"] for row in history]
    accuracy = [row["validation_accuracy"] for row in history]
    other = [row["validation_accuracy"] for row in baseline]
    losses = [row["validation_loss"] for row in history]
    others = _finite(row["validation_loss"] for row in baseline)
    lowest = min(others)
    passed = _first_above(accuracy, other[-1])
    smoothed = _first_above(smooth(accuracy), smooth(other)[-1])
    passed_loss = next((index for index, loss in enumerate(losses) if loss <= lowest), None)
    best = int(np.argmin(_finite(losses)))
    clock = elapsed(history)
    return {
        "baseline_final": other[-1],
        "baseline_best_loss_epoch": baseline[others.index(lowest)]["epoch"],
        "pass_epoch": None if passed is None else epochs[passed],
        "pass_s": None if passed is None else clock[passed],
        "pass_smoothed_epoch": None if smoothed is None else epochs[smoothed],
        "pass_loss_epoch": None if passed_loss is None else epochs[passed_loss],
        "best_loss_epoch": epochs[best],
        "best_loss": losses[best],
        "best_loss_s": clock[best],
    }


def elapsed(history: Sequence[Mapping]) -> list[float | None]:
    """Seconds of training (without validation and checkpoints) up to the end of each epoch."""
    total: float | None = 0.0
    clock = []
    for row in history:
        total = None if total is None or row.get("epoch_s") is None else total + row["epoch_s"]
        clock.append(total)
    return clock


def _finite(losses: Iterable[float]) -> list[float]:
    return [loss if math.isfinite(loss) else math.inf for loss in losses]


def _first_above(values: Sequence[float], limit: float) -> int | None:
    return next((index for index, value in enumerate(values) if value > limit), None)


def at_equal_epochs(history: Sequence[Mapping]) -> dict[str, float]:
    """Validation accuracy after 1, 2, 5, 10, ... epochs and after the last one, by the epoch's number as a string."""
    rows = {row["epoch"]: row["validation_accuracy"] for row in history}
    wanted = sorted({*EQUAL_EPOCHS, max(rows)} & rows.keys())
    return {str(epoch): rows[epoch] for epoch in wanted}


def share_of_epochs_above(history: Sequence[Mapping], baseline: Sequence[Mapping]) -> float:
    """The share of epochs at which a run's validation accuracy is above the baseline's at the same epoch."""
    other = {row["epoch"]: row["validation_accuracy"] for row in baseline}
    pairs = [(row["validation_accuracy"], other[row["epoch"]]) for row in history if row["epoch"] in other]
    return sum(own > base for own, base in pairs) / len(pairs)


def mel_frames(sampling_rate: int, window_s: float, hop_length: int, n_fft: int = 512, centred: bool = False) -> int:
    """Frames of a mel spectrogram: equation (1) of the paper, or with half a window of padding on both sides."""
    samples = round(sampling_rate * window_s)
    return samples // hop_length + 1 if centred else (samples - n_fft) // hop_length + 1


def sizes(config: EnclsConfig) -> dict:
    """What one second of a representation is: `frames_per_s`, `values_per_s`, and its bytes.

    `frames_per_s` counts the frames that the windows of one second hold, the paper's way of counting. `bytes_per_s` is
    what our feature files hold (float16 for latents and decibels, float32 for power mel), `bytes_float32_per_s` the same
    in single precision.
    """
    frames = config.num_frames / config.step_s
    values = frames * config.num_bands
    stored = config.representation.stored_dtype
    return {
        "frames_per_window": config.num_frames,
        "frames_per_s": frames,
        "values_per_s": values,
        "dtype": stored,
        "bytes_per_s": values * BYTES[stored],
        "bytes_float32_per_s": values * BYTES["float32"],
    }


def multiply_adds(config: EnclsConfig) -> dict[str, int]:
    """Multiply-adds of the network for one window: `conv1`, `conv2`, `linear`, `forward`, and `training`.

    Training is the forward pass, the gradients of all weights, and the gradients of all inputs but the first layer's.
    """
    first, second = config.conv_channels
    kernel = config.kernel_size**2
    height, width = (size - config.kernel_size + 1 for size in (config.num_bands, config.num_frames))
    conv1 = height * width * first * kernel
    height, width = (size // config.pool_size - config.kernel_size + 1 for size in (height, width))
    conv2 = height * width * second * first * kernel
    height, width = height // config.pool_size, width // config.pool_size
    linear = second * height * width * config.num_labels
    forward = conv1 + conv2 + linear
    return {
        "conv1": conv1,
        "conv2": conv2,
        "linear": linear,
        "forward": forward,
        "training": 3 * forward - conv1,
        "parameters": (kernel + 1) * first + (first * kernel + 1) * second + linear + config.num_labels,
    }


def load(config: EnclsConfig, train_windows: int) -> dict:
    """Multiply-adds of the network per second of audio (forward) and per epoch of training (forward and backward)."""
    counts = multiply_adds(config)
    return {
        **counts,
        "per_s": counts["forward"] / config.step_s,
        "train_windows": train_windows,
        "per_epoch": counts["training"] * train_windows,
    }


def mean_and_deviation(values: Sequence[float]) -> dict:
    """`mean`, `deviation` (of a sample; None for fewer than two values) and `count`."""
    values = [value for value in values if value is not None]
    return {
        "mean": float(np.mean(values)) if values else None,
        "deviation": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "count": len(values),
    }
