"""Timelines: what sounds when, from the probabilities of windows.

Windows may overlap. Time is divided into cells of one step; a cell's probabilities are the mean of the windows that
cover it, weighted by how much of it each covers. Labels are chosen per cell, smoothed, and joined to segments.
"""

import heapq
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hf_encls.model.calibration_encls import UNKNOWN

SMOOTHINGS = ("none", "median", "viterbi")
SHORTEST_CELL = 0.1  # of a step: a rest below it belongs to the last cell, as it makes no window of its own
BLOCK = 4096  # cells that are computed together: an hour of short steps needs no second table of its size
DECIMALS = 6  # of times in seconds: finer than a sample


@dataclass(frozen=True)
class Times:
    """When the windows are that a model has seen of a clip, in seconds."""

    window_s: float
    step_s: float  # length of a cell, the resolution of the answer
    duration_s: float  # of the clip; nothing lies beyond it
    starts_s: np.ndarray | None = None  # (W,) of the windows; `w * step_s` where None

    def edges(self, count: int) -> np.ndarray:
        """(count + 1,) where the clip's `count` cells start and end."""
        edges = np.minimum(np.arange(count + 1) * self.step_s, self.duration_s)
        edges[-1] = self.duration_s
        return edges


@dataclass(frozen=True)
class Cells:
    """A clip divided into cells of `times.step_s`, and the probabilities of its classes in each."""

    probabilities: np.ndarray  # (n, L)
    labels: Sequence[str]
    times: Times


@dataclass(frozen=True)
class Segmentation:
    """How labels are chosen over time. Raises `ValueError` for settings that do not fit.

    Args:
        smoothing: `none`; `median`: each class's probability is replaced by its median over `median_s`; `viterbi`: the
            labelling with the largest sum of log probabilities minus `switch_penalty` for every change of label.
        median_s: length of the median in seconds, an odd number of cells of at least 3 is taken; 5 cells where None.
        switch_penalty: what a change of label costs, in nats: the evidence that a new label must bring.
        min_duration_s: shorter segments are given to the neighbour that is more probable in them, shortest first. A
            clip shorter than this is one segment.
        all_scores: add `"scores"`, the mean probability of every class in the segment.
    """

    smoothing: str = "none"
    median_s: float | None = None
    switch_penalty: float = 2.0
    min_duration_s: float = 0.0
    all_scores: bool = False

    def __post_init__(self) -> None:
        if self.smoothing not in SMOOTHINGS:
            raise ValueError(f"expected `smoothing` to be one of {', '.join(SMOOTHINGS)}, found {self.smoothing!r}")
        for name in ("switch_penalty", "min_duration_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"expected `{name}` of 0 or more, found {getattr(self, name)}")
        if self.median_s is not None and not 0 < self.median_s < math.inf:
            raise ValueError(f"expected `median_s` above 0 seconds, found {self.median_s}")

    def labels(self, cells: np.ndarray, step_s: float) -> np.ndarray:
        """Probabilities of cells (n, L) -> the label (n,) of each."""
        if self.smoothing == "viterbi":
            return viterbi(cells, self.switch_penalty)
        if self.smoothing == "median":
            width = 5 if self.median_s is None else max(3, 2 * round((self.median_s / step_s - 1) / 2) + 1)
            return np.concatenate([block.argmax(axis=1) for block in medians(cells, width)])
        return cells.argmax(axis=1)


def make_timeline(
    probabilities: np.ndarray,
    labels: Sequence[str],
    times: Times,
    thresholds: Sequence[float] | None = None,
    **settings,
) -> list[dict]:
    """Window probabilities (W, L) -> segments `{"start", "end", "label", "score"}` that tile [0, times.duration_s].

    `labels` are the names of the L classes, `settings` those of `Segmentation`. `score` is the mean probability of the
    label over the segment, of the cells before smoothing. Neighbouring segments have different labels.

    With `thresholds` (L,) sounds have several labels at once, or none: a label is there from its probability on, and has
    segments of its own, which may overlap those of others. What `Segmentation` says holds for each label by itself: a
    change is one between there and not there, and a segment or a gap shorter than `min_duration_s` vanishes. Segments
    come in the order of their starts, then of the labels.

    Raises `ValueError` for shapes and settings that do not fit.
    """
    if probabilities.ndim != 2 or probabilities.shape[1] != len(labels) or not probabilities.size:
        raise ValueError(f"expected probabilities of shape (W, {len(labels)}), found {probabilities.shape}")
    divided = Cells(cell_probabilities(probabilities, times), labels, times)
    if thresholds is None:
        return segments_of(divided, **settings)
    segmentation, cells = Segmentation(**settings), divided.probabilities
    tracks = [
        _runs(_against_threshold(cells[:, label], limit), times, segmentation)
        for label, limit in enumerate(thresholds)
    ]
    runs = [(*run[:2], label) for label, track in enumerate(tracks) for run in track if run[2] == 0]
    return _segments(divided, sorted(runs, key=lambda run: run[0]), segmentation)


def segments_of(divided: Cells, unknown_below: float | None = None, **settings) -> list[dict]:
    """The segments of `make_timeline`, of a clip that is divided into cells already.

    `unknown_below`: a cell whose most probable class has less is `unknown`. That is one more label to choose, to smooth and
    to join, with this probability in every cell; the score of such a segment is what the best class lacks of 1.
    """
    segmentation, cells = Segmentation(**settings), divided.probabilities
    if unknown_below is not None:
        cells = np.concatenate([cells, np.full((len(cells), 1), unknown_below)], axis=1)
    runs = _runs(cells, divided.times, segmentation)
    return _segments(divided, runs, segmentation, with_unknown=unknown_below is not None)


def _runs(cells: np.ndarray, times: Times, segmentation: Segmentation) -> list[tuple[int, int, int]]:
    """Probabilities of cells (n, L) -> runs of one label: first cell, last + 1, label."""
    path = segmentation.labels(cells, times.step_s)
    return absorb_short(path, cells, times.edges(len(cells)), segmentation.min_duration_s)


def _segments(
    divided: Cells, runs: Iterable[tuple[int, int, int]], segmentation: Segmentation, with_unknown: bool = False
) -> list[dict]:
    """The segments of runs; `with_unknown`: there is one more label, `unknown`, which has what the best class lacks of 1."""
    cells, times = divided.probabilities, divided.times
    names = [*divided.labels, UNKNOWN] if with_unknown else divided.labels
    edges, segments = times.edges(len(cells)), []
    for first, last, label in runs:
        scores = _mean(cells[first:last], np.diff(edges[first : last + 1]))
        if with_unknown:
            scores = np.append(scores, 1 - scores.max())
        start = round(float(edges[first]), DECIMALS)
        end = round(float(edges[last]), DECIMALS) if last < len(cells) else float(times.duration_s)
        segment = {"start": start, "end": end, "label": names[label], "score": float(scores[label])}
        if segmentation.all_scores:
            segment["scores"] = {name: float(score) for name, score in zip(names, scores, strict=True)}
        segments.append(segment)
    return segments


def _against_threshold(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """Probabilities (n,) of a label -> (n, 2) that it is there and that it is not, equal at the threshold."""
    small = np.finfo(np.float64).eps
    limit, chance = (np.clip(each, small, 1 - small) for each in (threshold, probabilities))
    odds = chance / (1 - chance) * ((1 - limit) / limit)
    there = np.where(probabilities == threshold, 0.5, odds / (1 + odds))
    return np.stack([there, 1 - there], axis=1)


def cell_probabilities(probabilities: np.ndarray, times: Times) -> np.ndarray:
    """Window probabilities (W, L) -> cell probabilities (cells, L): means weighted by the seconds of overlap.

    A cell that no window touches takes the cell before it.
    """
    window_s, step_s, duration_s, starts_s = times.window_s, times.step_s, times.duration_s, times.starts_s
    if not (0 < window_s < math.inf and 0 < step_s < math.inf and 0 < duration_s < math.inf):
        raise ValueError(f"expected window, step and duration above 0, found {window_s}, {step_s} and {duration_s} s")
    windows = np.asarray(probabilities)
    starts = np.arange(len(windows)) * step_s if starts_s is None else np.asarray(starts_s, dtype=np.float64)
    if starts.shape != (len(windows),) or (len(starts) and not (np.diff(starts, prepend=0.0) >= 0).all()):
        raise ValueError(f"expected {len(windows)} ascending starts_s of 0 or more, found {starts}")
    count = max(1, math.ceil(duration_s / step_s - SHORTEST_CELL))
    sums = np.zeros((count, windows.shape[1]))
    weights = np.zeros(count)
    first = np.floor(starts / step_s).astype(np.int64)
    for offset in range(math.ceil(window_s / step_s) + 1):
        cell = first + offset
        overlap = np.minimum(starts + window_s, (cell + 1) * step_s) - np.maximum(starts, cell * step_s)
        used = (overlap > 1e-6 * step_s) & (cell < count)  # less is rounding
        for rows in np.array_split(np.flatnonzero(used), -(-len(windows) // BLOCK)):
            np.add.at(sums, cell[rows], overlap[rows, None] * windows[rows].astype(np.float64))
        np.add.at(weights, cell[used], overlap[used])
    covered = weights > 0
    if not covered[0]:
        sums[0], weights[0], covered[0] = windows[0], 1.0, True
    source = np.maximum.accumulate(np.where(covered, np.arange(count), 0))
    weights[~covered] = 1.0
    sums /= weights[:, None]
    sums[~covered] = sums[source[~covered]]
    return sums


def medians(cells: np.ndarray, width: int) -> Iterator[np.ndarray]:
    """(n, L) -> (n, L) in blocks: the median of each class over `width` cells (odd); the ends repeat the outermost cell."""
    half = width // 2
    block = max(1, (1 << 18) // (width * cells.shape[1]))
    for start in range(0, len(cells), block):
        stop = min(start + block, len(cells))
        padded = cells[np.arange(start - half, stop + half).clip(0, len(cells) - 1)]
        yield np.median(np.lib.stride_tricks.sliding_window_view(padded, width, axis=0), axis=-1)


def _mean(cells: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """(n, L) -> (L,): the mean weighted by the cells' seconds (n,), as the last cell may be short."""
    total = np.zeros((1, cells.shape[1]))
    for start in range(0, len(cells), BLOCK):
        block = cells[start : start + BLOCK] * seconds[start : start + BLOCK, None]
        total = np.concatenate([total, block]).sum(axis=0, keepdims=True)
    return total[0] / seconds.sum()


def viterbi(cells: np.ndarray, switch_penalty: float) -> np.ndarray:
    """(n, L) probabilities -> (n,) labels: the most probable path when every change of label costs `switch_penalty`.

    All changes cost the same, so only the best other label matters: n x L operations.
    """
    stays = np.empty(cells.shape, dtype=bool)  # whether a label's best path comes from itself, else from the best one
    best = np.empty(len(cells), dtype=np.int64)
    total = np.zeros(cells.shape[1])
    for start in range(0, len(cells), BLOCK):
        logs = np.log(np.maximum(cells[start : start + BLOCK], 1e-12))
        for i, log in enumerate(logs, start):
            if i == 0:
                total = log
                continue
            best[i] = total.argmax()
            switch = total[best[i]] - switch_penalty
            np.greater_equal(total, switch, out=stays[i])
            total = np.maximum(total, switch) + log
    path = np.empty(len(cells), dtype=np.int64)
    path[-1] = total.argmax()
    for i in range(len(cells) - 1, 0, -1):
        path[i - 1] = path[i] if stays[i, path[i]] else best[i]
    return path


def absorb_short(
    path: np.ndarray, cells: np.ndarray, edges: np.ndarray, min_duration_s: float
) -> list[tuple[int, int, int]]:
    """Labels (n,) -> runs (first cell, last cell + 1, label) of at least `min_duration_s`; neighbours differ.

    The shortest run goes first. It takes the label of the neighbour that is more probable in it and joins it.
    """
    bounds = [0, *(np.flatnonzero(np.diff(path)) + 1).tolist(), len(path)]
    runs = {first: (last, int(path[first])) for first, last in pairwise(bounds)}
    before = {last: first for first, last in pairwise(bounds)}  # a run's end -> its start
    sums = _sums_before(bounds, cells) if min_duration_s > 0 else {}

    def duration(first: int) -> float:
        return float(edges[runs[first][0]] - edges[first])

    def join(left: int, right: int, label: int) -> None:
        last = runs.pop(right)[0]
        before.pop(right)
        runs[left], before[last] = (last, label), left

    limit = min_duration_s - 1e-9
    queue = [(duration(first), first, runs[first][0]) for first in runs if duration(first) < limit]
    heapq.heapify(queue)
    while queue and len(runs) > 1:
        _, first, last = heapq.heappop(queue)
        if first not in runs or runs[first][0] != last:
            continue  # joined meanwhile
        means = sums[last] - sums[first]
        left, right = before.get(first), last if last in runs else None
        labels = [runs[side][1] for side in (left, right) if side is not None]
        label = max(labels, key=lambda each: means[each])
        if right is not None and runs[right][1] == label:
            join(first, right, label)
        if left is not None and runs[left][1] == label:
            join(left, first, label)
            first = left
        if duration(first) < limit:
            heapq.heappush(queue, (duration(first), first, runs[first][0]))
    return [(first, *runs[first]) for first in sorted(runs)]


def _sums_before(bounds: Sequence[int], cells: np.ndarray) -> dict[int, np.ndarray]:
    """Bounds, ascending from 0 -> the sums (L,) of all cells before each."""
    total = np.zeros((1, cells.shape[1]))
    sums = {0: total[0]}
    left = iter(bounds[1:])
    bound = next(left)
    for start in range(0, len(cells), BLOCK):
        running = np.concatenate([total, cells[start : start + BLOCK]]).cumsum(axis=0)
        while bound is not None and bound - start < len(running):
            sums[bound] = running[bound - start].copy()
            bound = next(left, None)
        total = running[-1:].copy()
    return sums
