"""Dividing what has several labels at once: every label meets the shares as nearly as can be.

Iterative stratification (Sechidis, Tsoumakas and Vlahavas, 2011): the label that fewest have left is divided first, and
each goes to the part that wants that label most. Here what is divided are groups, which hold several clips.
"""

from collections.abc import Sequence

import numpy as np


def place_sets(sizes: np.ndarray, units: np.ndarray, shares: Sequence[float], rng: np.random.Generator) -> np.ndarray:
    """The part (G,) of each group.

    Args:
        sizes: (G, L) how many clips of each label a group holds.
        units: (G,) how many clips it holds, those without any label included.
        shares: of the parts, in all 1.

    A label that only as many groups have as parts lack it goes to those parts first: every part gets every label where
    that can be.
    """
    bare = np.where(sizes.sum(axis=1) == 0, units, 0)  # without a label: divided like one more
    sizes = np.column_stack([sizes, bare]).astype(np.float64)
    wanted = np.asarray(shares)[:, None] * sizes.sum(axis=0)  # (parts, labels)
    room = np.asarray(shares) * units.sum()
    there = np.zeros(wanted.shape, bool)
    order = rng.permutation(len(sizes))
    order = order[np.argsort(-units[order], kind="stable")]  # large groups first: small ones fill what they leave
    part = np.full(len(sizes), -1)
    left = (sizes > 0).sum(axis=0)
    while (left > 0).any():
        label = int(np.argmin(np.where(left > 0, left, len(sizes) + 1)))
        for group in order[(part[order] < 0) & (sizes[order, label] > 0)]:
            lacking = ~there[:, label]
            urgent = lacking.sum() >= left[label]
            wish = np.where(lacking, np.inf, -np.inf) if urgent else wanted[:, label]
            best = np.flatnonzero(wish == wish.max())
            chosen = best[np.argmax(room[best])]
            part[group] = chosen
            wanted[chosen] -= sizes[group]
            room[chosen] -= units[group]
            there[chosen] |= sizes[group] > 0
            left -= sizes[group] > 0
    return part
