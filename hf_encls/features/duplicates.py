"""Copies: clips that hold the same sound, louder or softer, or coded again in another format.

Neighbours by their statistics are compared frame by frame, at every offset, each about its mean in what is in both. What
most sounds have in common, to become louder and softer in all bands at once, is taken out first: otherwise any two barks
are copies. A copy that was cut is missed where its sound moves no more than noise does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

NEIGHBOURS = 8  # by their statistics, of each clip
SIMILAR = 0.6  # correlation of coarse sequences above which two clips are copies; chosen on fold 1 of ESC-10
COMMON = 2  # strongest directions of all sequences that are taken out
OVERLAP = 0.5  # share of the shorter clip that must be in both
STILL = 0.05  # of a band's usual deviation
FAINT = 0.01  # of the usual energy: what is as good as constant in an overlap is like anything
BLOCK = 1024


@dataclass(frozen=True)
class Copy:
    """Two clips that hold the same sound, and the correlation of what is in both."""

    first: str
    second: str
    similarity: float


def find_copies(
    vectors: np.ndarray, clip_ids: Sequence[str], groups: Sequence[str], sequences: Mapping[str, np.ndarray]
) -> list[Copy]:
    """Pairs of clips of different groups that hold the same sound, the most similar first.

    `vectors` (n, 2 C) are means and deviations of the bands; several of one clip are taken together by their mean.
    """
    ids, rows, clip = np.unique(np.asarray(clip_ids), return_index=True, return_inverse=True)
    means = np.zeros((len(ids), vectors.shape[1]))
    np.add.at(means, clip, vectors)
    means /= np.bincount(clip)[:, None]
    group = np.asarray(groups)[rows]
    scale = _scale(sequences)
    common = _common(sequences, scale)
    copies = []
    levels, movements = np.split(means, 2, axis=1)
    # The shape of the spectrum, without the level that a copy may have changed; and how much each band moves.
    near = _neighbours(levels - levels.mean(axis=1, keepdims=True)) | _neighbours(movements)
    for first, second in sorted(near):
        if group[first] != group[second]:
            names = str(ids[first]), str(ids[second])
            value = similarity(*(sequences[name].astype(np.float32) / scale for name in names), common)
            if value >= SIMILAR:
                copies.append(Copy(*names, value))
    return sorted(copies, key=lambda each: -each.similarity)


def similarity(first: np.ndarray, second: np.ndarray, common: np.ndarray | None = None) -> float:
    """The highest correlation of two sequences (C, T) over all offsets at which enough is in both.

    Bands in which either of them does not move, those that a lower sampling rate has cut off say, do not count, nor do
    directions that sounds have in `common` (C, k).
    """
    moving = np.minimum(first.std(axis=1), second.std(axis=1)) > STILL
    if not moving.any():
        return 0.0
    first, second = first[moving], second[moving]
    if common is not None and common.shape[1] < len(first):
        basis, _ = np.linalg.qr(common[moving])
        first, second = (each - basis @ (basis.T @ each) for each in (first, second))
    size = first.shape[1] + second.shape[1]
    length = 1 << (size - 1).bit_length()
    spectra = np.fft.rfft(first, length) * np.conj(np.fft.rfft(second, length))
    products = np.fft.irfft(spectra.sum(axis=0), length)
    lags = np.arange(-second.shape[1] + 1, first.shape[1])  # of `second` against `first`
    begin, end = np.maximum(lags, 0), np.minimum(lags + second.shape[1], first.shape[1])
    enough = end - begin >= OVERLAP * min(first.shape[1], second.shape[1])
    lags, begin, end = lags[enough], begin[enough], end[enough]
    sums, energies = [], []
    for sequence, shift in ((first, 0), (second, lags)):
        before = np.pad(sequence.cumsum(axis=1, dtype=np.float64), ((0, 0), (1, 0)))
        sums.append(before[:, end - shift] - before[:, begin - shift])  # (C, offsets), in what is in both
        squares = np.concatenate([[0.0], np.square(sequence).sum(axis=0, dtype=np.float64).cumsum()])
        energy = squares[end - shift] - squares[begin - shift] - np.square(sums[-1]).sum(axis=0) / (end - begin)
        energies.append(np.maximum(energy, 0) / (end - begin))
    product = (products[lags] - (sums[0] * sums[1]).sum(axis=0) / (end - begin)) / (end - begin)
    norm = np.sqrt(energies[0] * energies[1])
    usual = np.sqrt(np.square(first).sum(axis=0).mean() * np.square(second).sum(axis=0).mean())
    heard = norm > max(FAINT * usual, 1e-9)
    return float(np.max(product / np.maximum(norm, 1e-9), where=heard, initial=0.0))


def join_groups(clip_ids: Sequence[str], groups: Sequence[str], copies: Sequence[Copy]) -> dict[str, str]:
    """The group of each clip, where copies share one: that of the first of them."""
    group = dict(zip(clip_ids, groups))
    parent = {name: name for name in groups}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    for copy in copies:
        first, second = sorted((root(group[copy.first]), root(group[copy.second])))
        parent[second] = first
    return {clip: root(name) for clip, name in group.items()}


def _scale(sequences: Mapping[str, np.ndarray]) -> np.ndarray:
    """(C, 1) the standard deviation of each band over all sequences: no loud band decides alone."""
    squares = sum(np.square(each.astype(np.float64)).sum(axis=1) for each in sequences.values())
    count = sum(each.shape[1] for each in sequences.values())
    deviation = np.sqrt(squares / count)
    return np.where(deviation > 1e-3 * deviation.max(), deviation, np.inf)[:, None].astype(np.float32)


def _common(sequences: Mapping[str, np.ndarray], scale: np.ndarray) -> np.ndarray:
    """(C, k) the directions in which all sequences together move most."""
    scatter = 0.0
    for each in sequences.values():
        frames = each.astype(np.float64) / scale
        scatter = scatter + frames @ frames.T
    return np.linalg.eigh(scatter)[1][:, -COMMON:].astype(np.float32)


def _neighbours(vectors: np.ndarray) -> set[tuple[int, int]]:
    """The numbers of vectors (n, D) that are near each other, the smaller one first."""
    vectors = (vectors - vectors.mean(axis=0)) / np.maximum(vectors.std(axis=0), 1e-9)
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    pairs = set()
    count = min(NEIGHBOURS, len(vectors) - 1)
    for at in range(0, len(vectors), BLOCK):
        near = vectors[at : at + BLOCK] @ vectors.T
        near[np.arange(len(near)), np.arange(at, at + len(near))] = -np.inf
        for row, nearest in enumerate(np.argpartition(-near, count - 1, axis=1)[:, :count], start=at):
            pairs |= {(min(row, int(column)), max(row, int(column))) for column in nearest}
    return pairs
