"""Clips as few numbers: statistics for a classifier, and a coarse sequence by which copies are known."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from datasets import Dataset

from hf_encls.data.columns import require_one_label
from hf_encls.data.splits import clips_have_one_label
from hf_encls.features.store import ROWS_PER_READ, Windows
from hf_encls.model.configuration_encls import FeatureConfig

PACE_HZ = 50  # frames of a clip's coarse sequence per second
SMOOTH_S = 0.1  # over which they are averaged: a copy that was cut lies between two frames, and noise is coded anew


@dataclass
class Summaries:
    """What is judged, n clips, or n windows where labels are in time (then each has its clip, and starts in it).

    Args:
        vectors: (n, 2 C) means and standard deviations of the bands.
        labels: (n,) classes.
        clip_ids: (n,).
        groups: (n,) recordings.
        starts_s: (n,), zeros for clips.
        silent: (n,) the share of windows that are pure silence.
        sequences: clip id -> (C, frames at `PACE_HZ`), float16.
    """

    vectors: np.ndarray
    labels: np.ndarray
    clip_ids: np.ndarray
    groups: np.ndarray
    starts_s: np.ndarray
    silent: np.ndarray
    sequences: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.labels)


def summarise(
    windows: Dataset, config: FeatureConfig, durations_s: Mapping[str, float], codebooks: torch.Tensor | None = None
) -> Summaries:
    """The summaries of windows as `extract_features` makes them.

    `durations_s` are those of the clips: what lies beyond is reflected. `codebooks`: of windows of codes, as in `Windows`.
    """
    require_one_label(windows, "looking for faults")
    store = Windows(windows, codebooks=codebooks)
    ids, first, clip = np.unique(store.clip_ids, return_index=True, return_inverse=True)
    starts, silent = (np.asarray(windows[name][:]) for name in ("start", "silent"))
    labels, groups = np.asarray(windows["label"][:]), np.asarray(windows["group"][:])
    vectors = np.empty((len(store), 2 * config.num_bands), np.float32)
    frames_hz = config.frame_rate
    pooled = max(1, round(frames_hz / PACE_HZ))
    pieces: list[np.ndarray] = []
    for at in range(0, len(store), ROWS_PER_READ):
        rows = np.arange(at, min(at + ROWS_PER_READ, len(store)))
        values = store.take(rows).float().cpu().numpy()
        values = config.representation.levels(values)
        vectors[rows] = np.concatenate([values.mean(axis=2), values.std(axis=2)], axis=1)
        count = values.shape[2] // pooled
        coarse = values[:, :, : count * pooled].reshape(*values.shape[:2], count, pooled).mean(axis=3)
        pieces += list(coarse.astype(np.float16))
    sequences = {
        str(name): _sequence([pieces[row] for row in rows], starts[rows], frames_hz / pooled, durations_s[str(name)])
        for name, rows in zip(ids, _rows_of(clip, len(ids)), strict=True)
    }
    if not clips_have_one_label(windows):
        return Summaries(vectors, labels, store.clip_ids, groups, starts, silent.astype(float), sequences)
    counts = np.bincount(clip)
    means = np.zeros((len(ids), vectors.shape[1]))
    np.add.at(means, clip, vectors)
    share = np.bincount(clip, weights=silent) / counts
    means = (means / counts[:, None]).astype(np.float32)
    return Summaries(means, labels[first], ids, groups[first], np.zeros(len(ids)), share, sequences)


def _rows_of(clip: np.ndarray, count: int) -> list[np.ndarray]:
    order = np.argsort(clip, kind="stable")
    return np.split(order, np.searchsorted(clip[order], np.arange(1, count)))


def _sequence(pieces: list[np.ndarray], starts_s: np.ndarray, pace_hz: float, duration_s: float) -> np.ndarray:
    """Pieces of windows that overlap or leave gaps, each at its place; nothing (zeros after centring) in the gaps."""
    length = pieces[0].shape[1]
    places = np.round(starts_s * pace_hz).astype(int)
    sequence = np.full((len(pieces[0]), places.max() + length), np.nan, np.float32)
    for piece, place in zip(pieces, places, strict=True):
        sequence[:, place : place + length] = piece
    sequence = sequence[:, : max(1, int(duration_s * pace_hz))]
    centred = np.nan_to_num(sequence - np.nanmean(sequence, axis=1, keepdims=True))
    width = max(1, min(round(SMOOTH_S * pace_hz), centred.shape[1]))
    sums = np.pad(centred.cumsum(axis=1, dtype=np.float64), ((0, 0), (1, 0)))
    return ((sums[:, width:] - sums[:, :-width]) / width).astype(np.float16)
