"""Pictures of results: plain data in, a PNG file out.

The data are those of `results.json` (see `hf_encls.commands.train`); nothing here measures anything. Matplotlib is
imported when a picture is drawn, and always through `Figure`, so no state of the caller's pyplot is touched.
"""

import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hf_encls.report.canvas import COLOURS, MAX_NAME, class_names, drawn, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SMOOTHING = 0.8  # as in the paper's figure 4
LOGARITHMIC_ABOVE = 8  # highest loss over the median one
COUNTS_UP_TO = 25  # classes; with more, the numbers in the cells could not be read


@dataclass(frozen=True)
class Panel:
    """One image of a feature: `image` (bands or channels, frames), low rows at the bottom."""

    image: np.ndarray
    title: str
    duration_s: float
    row_name: str  # what a row is: "Mel band", "Latent channel"
    value_name: str  # what a colour is, with its unit: "Power (dB)"


# --------------------------------------------------------------------------------------------------- curves


def smooth(values: Sequence[float], weight: float = SMOOTHING) -> np.ndarray:
    """Exponential smoothing with the debiasing of TensorBoard: the first value is kept as it is.

    `s_n = weight * s_(n-1) + (1 - weight) * x_n`, divided by `1 - weight**n`. Values that are not finite stay so and
    do not count.
    """
    if not 0 <= weight < 1:
        raise ValueError(f"The weight of smoothing must be in [0, 1), not {weight}.")
    smoothed = np.array(values, dtype=np.float64)
    last, count = 0.0, 0
    for index, value in enumerate(smoothed):
        if np.isfinite(value):
            count += 1
            last = weight * last + (1 - weight) * value
            smoothed[index] = last / (1 - weight**count)
    return smoothed


def save_curves(
    runs: Mapping[str, Sequence[Mapping]],
    path: str | os.PathLike,
    title: str | None = None,
    best: Mapping[str, int] | None = None,
    score: tuple[str, str] = ("accuracy", "Accuracy"),
) -> Path:
    """Accuracy and loss over the epochs, raw (faint) and smoothed, as in the paper's figure 4.

    `runs` maps a label to a run's `history`: dicts with `epoch` and any of `train_accuracy`, `validation_accuracy`,
    `train_loss`, `validation_loss`. Several runs share the axes, one colour each; the validation line is solid and
    the training line dashed. `best` names the epoch of each run whose weights were kept: its validation scores, as they
    were measured, are marked and written there. `score` is drawn for the accuracy: its name in the history, and for people.
    """
    if not runs or not all(runs.values()):
        raise ValueError("No history to draw: expected at least one run with at least one epoch.")
    figure = new_figure(11, 4.4)
    figure.get_layout_engine().set(w_pad=0.15)
    all_axes = figure.subplots(1, 2)
    for axes, metric, name in zip(all_axes, (score[0], "loss"), (score[1], "Loss")):
        for colour, (label, history) in zip(cycle(COLOURS), runs.items()):
            _draw_run(axes, history, metric, colour)
            if best and best.get(label) is not None:
                _mark(axes, history, metric, best[label], colour)
        axes.set(xlabel="Epoch", ylabel=f"{name} of windows")
        axes.grid(alpha=0.25)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_ylim(0, 1.05 * axes.get_ylim()[1] if metric == "loss" else 1.02)
        axes.spines[["top", "right"]].set_visible(False)
        _end_with_the_numbers(axes, runs.values())
    shortest = min(map(len, runs.values()))
    _draw_legend(figure, list(runs), marker="o" if shortest < 3 else None, best=bool(best))
    lines = textwrap.wrap(drawn(title or "Learning curves", 300), 110)
    if any(len(history) > 1 for history in runs.values()):
        lines.append(f"lines: smoothed by {SMOOTHING}; faint: as measured")
    figure.suptitle("\n".join(lines), fontsize=11)
    return save_figure(figure, path, tight=True)


def save_curve_panels(
    panels: Mapping[str, Mapping[str, Sequence[Mapping]]],
    path: str | os.PathLike,
    title: str | None = None,
    colours: Mapping[str, str] | None = None,
) -> Path:
    """The paper's figure 4: validation accuracy above, validation loss below, one column for each data set.

    `panels` maps a data set's name to its runs, as in `save_curves`. A run's label has one colour in all columns, that
    of `colours` where it is there. Raw values are faint, smoothed ones solid. Losses that differ much share a
    logarithmic axis.
    """
    if not panels or not all(runs and all(runs.values()) for runs in panels.values()):
        raise ValueError("No history to draw: expected at least one run with at least one epoch in each panel.")
    labels = list(dict.fromkeys(label for runs in panels.values() for label in runs))
    colours = dict(zip(labels, cycle(COLOURS))) | dict(colours or {})
    figure = new_figure(max(6.6, 4.6 * len(panels)), 7.2)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08)
    grid = figure.subplots(2, len(panels), squeeze=False, sharex="col")
    for column, (name, runs) in enumerate(panels.items()):
        for axes, metric in zip(grid[:, column], ("accuracy", "loss")):
            for label, history in runs.items():
                _draw_run(axes, history, metric, colours[label], splits=("validation",))
            axes.grid(alpha=0.25)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.spines[["top", "right"]].set_visible(False)
            if column == 0:
                axes.set_ylabel(f"Validation {metric} of windows" + (" (nats)" if metric == "loss" else ""))
        grid[0, column].set_title("\n".join(textwrap.wrap(drawn(name, 200), 36)), fontsize=11)
        grid[0, column].set_ylim(0, 1.02)
        _scale_losses(grid[1, column], runs.values())
        grid[1, column].set_xlabel("Epoch")
    _draw_legend(figure, labels, marker=None, splits=False, colours=colours)
    figure.suptitle(
        "\n".join(
            textwrap.wrap(drawn(title or f"Learning curves (smoothed by {SMOOTHING}; raw values faint)", 400), 90)
        )
    )
    return save_figure(figure, path, tight=True)


def _end_with_the_numbers(axes: "Axes", runs: Iterable[Sequence[Mapping]]) -> None:
    """From the first epoch to the last, so that no empty strip looks like training to come."""
    epochs = [row["epoch"] for history in runs for row in history]
    first, last = min(epochs), max(epochs)
    axes.set_xlim((first, last) if last > first else (first - 1, last + 1))


def _mark(axes: "Axes", history: Sequence[Mapping], metric: str, epoch: int, colour: str) -> None:
    """The value of the epoch that was kept, not the smoothed one: it is the one in the tables."""
    value = next((row.get(f"validation_{metric}") for row in history if row["epoch"] == epoch), None)
    if value is None or not np.isfinite(value):
        return
    axes.axvline(epoch, color=colour, linewidth=1, linestyle=":")
    axes.plot([epoch], [value], "D", color=colour, markeredgecolor="black", markersize=7, clip_on=False, zorder=5)
    last = max(row["epoch"] for row in history)
    near_the_end = last > 1 and epoch > 0.7 * last
    axes.annotate(
        f"epoch {epoch}: {value:.3f}",
        (epoch, value),
        xytext=(-9 if near_the_end else 9, 9 if metric == "loss" else -14),
        textcoords="offset points",
        ha="right" if near_the_end else "left",
        fontsize=9,
        bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
        zorder=6,
    )


def _scale_losses(axes: "Axes", runs: Iterable[Sequence[Mapping]]) -> None:
    """From zero, or logarithmic where one run's losses would press the others to the ground."""
    losses = [row["validation_loss"] for history in runs for row in history if row.get("validation_loss")]
    losses = [loss for loss in losses if np.isfinite(loss) and loss > 0]
    if losses and max(losses) > LOGARITHMIC_ABOVE * np.median(losses):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("")
        axes.set_title("logarithmic axis", fontsize=9, loc="right", pad=3)
    else:
        axes.set_ylim(bottom=0)


def save_time_bars(rows: Mapping[str, Mapping[str, float]], path: str | os.PathLike, title: str | None = None) -> Path:
    """Milliseconds per second of audio, one bar for each row, its parts side by side (label -> part -> seconds)."""
    if not rows:
        raise ValueError("No times to draw: expected at least one row.")
    figure = new_figure(9.5, 1.5 + 0.5 * len(rows))
    axes = figure.subplots()
    names = list(rows)
    parts = list(dict.fromkeys(part for row in rows.values() for part in row))
    left = np.zeros(len(names))
    for part, colour in zip(parts, cycle(COLOURS)):
        values = 1000 * np.array([rows[name].get(part, 0.0) for name in names])
        axes.barh(range(len(names)), values, left=left, color=colour, label=part, height=0.6)
        left += values
    for index, name in enumerate(names):
        each = " + ".join(f"{1000 * rows[name].get(part, 0.0):.1f}" for part in parts)
        axes.text(left[index] + 0.01 * left.max(), index, f"{each} ms", va="center", fontsize=9)
    axes.set_yticks(range(len(names)), ["\n".join(textwrap.wrap(drawn(name, 200), 44)) for name in names], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.28 * left.max())
    axes.set_xlabel("Milliseconds per second of audio")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", alpha=0.25)
    figure.legend(loc="outside lower center", ncols=len(parts), frameon=False)
    if title:
        figure.suptitle(drawn(title, 200))
    return save_figure(figure, path, tight=True)


def _draw_legend(
    figure: "Figure",
    labels: Sequence[str],
    marker: str | None,
    splits: bool = True,
    colours: Mapping[str, str] | None = None,
    best: bool = False,
) -> None:
    """One entry for each run's colour, then what solid and dashed mean; with that, a single run needs no entry."""
    from matplotlib.lines import Line2D

    colours = colours or dict(zip(labels, cycle(COLOURS)))
    lines = {drawn(label, 60): Line2D([], [], color=colours[label]) for label in labels}
    if splits:
        if len(labels) == 1:
            lines = {}
        neutral = "#555555" if lines else COLOURS[0]
        lines["validation"] = Line2D([], [], color=neutral, marker=marker)
        lines["train"] = Line2D([], [], color=neutral, linestyle="--", marker=marker, markerfacecolor="white")
    if best:
        kept = {"color": COLOURS[0] if len(labels) == 1 else "#555555", "markeredgecolor": "black"}
        lines["best epoch, as measured"] = Line2D([], [], linestyle=":", marker="D", **kept)
    columns = min(len(lines), 5 if max(map(len, lines)) <= MAX_NAME else 2)
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=columns, frameon=False)


def _draw_run(
    axes: "Axes",
    history: Sequence[Mapping],
    metric: str,
    colour: str,
    splits: Sequence[str] = ("train", "validation"),
) -> None:
    epochs = [entry["epoch"] for entry in history]
    marker = "o" if len(epochs) < 3 else None  # a line of one point would not be seen
    for split in splits:
        style = {"train": "--", "validation": "-"}[split]
        values = [entry.get(f"{split}_{metric}") for entry in history]
        values = np.array([np.nan if value is None else value for value in values], dtype=np.float64)
        if np.isfinite(values).any():
            axes.plot(epochs, values, style, color=colour, alpha=0.25, linewidth=1)
            face = colour if split == "validation" else "white"
            axes.plot(epochs, smooth(values), style, color=colour, linewidth=1.8, marker=marker, markerfacecolor=face)


# --------------------------------------------------------------------------------------------------- confusion


def save_confusion_matrix(
    matrix: Sequence[Sequence[int]],
    classes: Sequence[str],
    path: str | os.PathLike,
    unit: str = "windows",
    title: str | None = None,
) -> Path:
    """The confusion matrix (rows: true class, columns: predicted), coloured by the share of its row.

    Counts are written into the cells up to 25 classes. Long class names are shortened;
    those that no font here can draw are numbers (see `canvas.key`).
    """
    counts = np.asarray(matrix, dtype=np.int64)
    size = len(classes)
    if counts.shape != (size, size) or not size:
        raise ValueError(
            f"Expected a {size} x {size} confusion matrix for {size} classes, found shape {counts.shape}."
        )
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = class_names(classes)
    side = max(3.2, size * (0.5 if size <= COUNTS_UP_TO else 0.24))
    margin = 0.095 * max(map(len, names)) + 0.6
    figure = new_figure(side + margin + 1.0, side + margin + 0.4)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    small = 10 if size <= COUNTS_UP_TO else 8
    axes.set_xticks(range(size), names, rotation=90, fontsize=small)
    axes.set_yticks(range(size), names, fontsize=small)
    axes.set(xlabel="Predicted", ylabel="True")
    accuracy = np.trace(counts) / max(counts.sum(), 1)
    measured = f"{counts.sum():,} test {unit}, accuracy {accuracy:.3f}"
    # Wrapped, so that a long title does not make the picture of two classes wide.
    lines = [*textwrap.wrap(drawn(title or "", 300), round(10 * (side + margin))), measured]
    axes.set_title("\n".join(lines), fontsize=10)
    if size <= COUNTS_UP_TO:
        for row, column in np.argwhere(counts):
            colour = "white" if shares[row, column] > 0.55 else "black"
            number = counts[row, column]
            axes.text(column, row, number, ha="center", va="center", color=colour, fontsize=9 if number < 1000 else 7)
    else:
        axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="#dddddd", linewidth=0.4)
        axes.tick_params(which="minor", length=0)
    figure.colorbar(image, ax=axes, label="Share of the true class", shrink=0.75, aspect=30, pad=0.02)
    return save_figure(figure, path, classes, tight=True)


# --------------------------------------------------------------------------------------------------- features


def save_feature_picture(panels: Sequence[Panel], path: str | os.PathLike, title: str | None = None) -> Path:
    """Images of features side by side, as the paper's figure 2: one clip's mel and its latents."""
    if not panels:
        raise ValueError("No feature to draw: expected at least one panel.")
    figure = new_figure(5.2 * len(panels), 4.0)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        image = np.asarray(panel.image, dtype=np.float32)
        if image.ndim != 2 or not image.size:
            raise ValueError(f"Expected an image of shape (bands, frames) for {panel.title!r}, found {image.shape}.")
        low, high = np.percentile(image[np.isfinite(image)], (1, 99)) if np.isfinite(image).any() else (0, 1)
        picture = axes.imshow(
            image,
            origin="lower",
            aspect="auto",
            interpolation="nearest",
            cmap="magma",
            extent=(0, panel.duration_s, 0, image.shape[0]),
            vmin=low,
            vmax=high if high > low else low + 1,
        )
        axes.set(xlabel="Time (s)", ylabel=panel.row_name)
        axes.set_title(drawn(panel.title, 56), fontsize=11)
        axes.figure.colorbar(picture, ax=axes, label=panel.value_name, extend="both")
    if title:
        figure.suptitle(drawn(title, 100))
    return save_figure(figure, path, tight=True)
