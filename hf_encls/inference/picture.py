"""The picture of a timeline: waveform, segments and class probabilities above each other."""

import os
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hf_encls.files.escapes import one_line
from hf_encls.inference.explanation import Explanation
from hf_encls.inference.timeline import Cells
from hf_encls.model.calibration_encls import UNKNOWN
from hf_encls.report.canvas import Look, class_names, drawn, look, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch

MAX_CLASSES = 15  # rows of probabilities that can be read; the most probable are drawn
LEGEND_COLUMNS = 5
EDGE = "#222222"  # of hatches
NOTHING = Look("#e4e4e4", "", "o")  # of what is unknown


class Envelope:
    """Lowest and highest sample of every `bin_s` seconds, from blocks, so that hours fit."""

    def __init__(self, sampling_rate: int, bin_s: float = 0.01):
        self.sampling_rate = sampling_rate
        self.size = max(1, round(bin_s * sampling_rate))
        self._rest = np.zeros(0, np.float32)
        self._bins: list[np.ndarray] = []
        self.num_samples = 0

    def add(self, block: np.ndarray) -> None:
        """Look at a block (n,)."""
        self.num_samples += len(block)
        joined = np.concatenate([self._rest, block])
        whole = len(joined) // self.size * self.size
        if whole:
            bins = joined[:whole].reshape(-1, self.size)
            self._bins.append(np.stack([bins.min(axis=1), bins.max(axis=1)]))
        self._rest = joined[whole:].copy()

    def curve(self, columns: int = 1500) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Times in seconds, lowest and highest sample, at most `columns` of each."""
        parts = list(self._bins)
        if len(self._rest):
            parts.append(np.array([[self._rest.min()], [self._rest.max()]]))
        bins = np.concatenate(parts, axis=1) if parts else np.zeros((2, 1))
        starts = np.unique(np.linspace(0, bins.shape[1], min(columns, bins.shape[1]), endpoint=False).astype(int))
        low, high = np.minimum.reduceat(bins[0], starts), np.maximum.reduceat(bins[1], starts)
        return starts * self.size / self.sampling_rate, low, high


def save_timeline_picture(
    path: str | os.PathLike,
    segments: Sequence[dict],
    cells: Cells,
    *,
    envelope: Envelope | None = None,
    title: str | None = None,
    why: Explanation | None = None,
) -> Path:
    """Draw waveform (where `envelope` is given), segments, the probabilities of `cells`, and `why`; writes a PNG.

    With more than 15 classes the ones with the largest peaks are drawn, and the title of the panel says so.
    """
    labels, duration_s = cells.labels, cells.times.duration_s
    order = np.sort(np.argsort(-cells.probabilities.max(axis=0), kind="stable")[:MAX_CLASSES])
    names = class_names(labels)
    used = [i for i, name in enumerate(labels) if any(segment["label"] == name for segment in segments)]
    overlap = any(after["start"] < before["end"] for before, after in pairwise(segments))
    rows = {labels[i]: row for row, i in enumerate(used)} if overlap else {}
    heights = [*([1.1] if envelope else []), max(0.45, 0.2 * len(rows)), max(0.8, 0.24 * len(order))]
    heights += [1.1] if why else []
    # A class looks alike in all pictures of a model, whatever else is heard.
    looks = {labels[i]: (names[i], look(i)) for i in used}
    if any(segment["label"] not in looks for segment in segments):
        looks[UNKNOWN] = UNKNOWN, NOTHING
    legend_rows = -(-len(looks) // LEGEND_COLUMNS)
    figure = new_figure(11, 1.2 + 1.35 * sum(heights) + 0.2 * legend_rows)
    axes = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    if envelope:
        times, low, high = envelope.curve()
        axes[0].fill_between(times, low, high, step="post", color="#444444", linewidth=0.3)
        peak = max(float(np.abs(low).max()), float(np.abs(high).max()), 1e-3)
        axes[0].set(ylabel="Waveform", ylim=(-1.05 * peak, 1.05 * peak), yticks=[])
    if why:
        _draw_why(axes[-1], why)
        axes = axes[:-1]
    _draw_segments(axes[-2], segments, looks, duration_s, rows)
    figure.legend(
        handles=[_patch(name, style) for name, style in looks.values()],
        loc="outside lower center",
        ncols=LEGEND_COLUMNS,
        fontsize=8,
        frameon=False,
        handlelength=2.4,
    )
    rows = cells.probabilities[:, order].T
    edges = cells.times.edges(len(cells.probabilities))
    image = axes[-1].pcolormesh(edges, np.arange(len(order) + 1), rows, cmap="Blues", vmin=0, vmax=1, rasterized=True)
    axes[-1].set_yticks(np.arange(len(order)) + 0.5, [names[i] for i in order], fontsize=9)
    axes[-1].invert_yaxis()
    axes[-1].set(xlim=(0, duration_s))
    (figure.axes[len(heights) - 1]).set_xlabel("Time (s)")
    figure.colorbar(image, ax=axes[-1], label="Probability", pad=0.01, aspect=12)
    if len(order) < len(labels):
        axes[-1].set_title(f"{len(order)} of {len(labels)} classes, those with the largest peaks", fontsize=9)
    if title:
        figure.suptitle(drawn(title, 100))
    return save_figure(figure, path, labels)


def _draw_why(axes: "Axes", why: Explanation) -> None:
    """Heat over time and band: what spoke for the label of each window."""
    high = max(float(np.percentile(why.heat, 99.5)), 1e-6)
    bands, frames = why.heat.shape
    image = axes.imshow(
        why.heat.clip(0),
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap="Oranges",
        extent=(0, frames * why.step_s, 0, bands),
        vmin=0,
        vmax=high,
    )
    labels = set(why.labels)
    axes.set_title(f"Why: what spoke for {drawn(labels.pop()) if len(labels) == 1 else 'the label'}", fontsize=9)
    axes.set(ylabel=why.row_name if bands > 1 else "All bands", **({} if bands > 1 else {"yticks": []}))
    axes.figure.colorbar(image, ax=axes, label="Nats", pad=0.01, aspect=12)


def _patch(name: str, style: Look) -> "Patch":
    from matplotlib.patches import Patch

    return Patch(facecolor=style.colour, hatch=style.hatch, edgecolor=EDGE, linewidth=0, label=name)


def _draw_segments(
    axes: "Axes",
    segments: Sequence[dict],
    looks: dict[str, tuple[str, Look]],
    duration_s: float,
    rows: dict[str, int],
) -> None:
    """Bars in the look of their class; its name stands in those that are wide enough, and all are in the legend.

    Where segments overlap, each class has one of `rows`, the first above.
    """
    count = max(1, len(rows))
    for segment in segments:
        name, style = looks[segment["label"]]
        start, end = segment["start"], segment["end"]
        bottom = 1 - (rows.get(segment["label"], 0) + 1) / count
        where = {"ymin": bottom, "ymax": bottom + 1 / count}
        axes.axvspan(start, end, **where, facecolor=style.colour, hatch=style.hatch, edgecolor=EDGE, linewidth=0)
        room = int((end - start) / duration_s * 100)  # characters that fit
        # Wide characters, as of Chinese, take two places.
        width = sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in name)
        if room >= min(width, 6):
            text = name if width <= room else drawn(one_line(segment["label"]), max(3, room * len(name) // width))
            height = bottom + 0.5 / count
            text = axes.text((start + end) / 2, height, text, ha="center", va="center", fontsize=9, clip_on=True)
            text.set_bbox({"boxstyle": "square,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85})
    for segment in [] if rows else segments[1:]:
        axes.axvline(segment["start"], color="white", linewidth=1)
    axes.set(ylabel="Label", yticks=[], ylim=(0, 1))
