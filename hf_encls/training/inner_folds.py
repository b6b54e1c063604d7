"""Windows that are not tested, divided once more: each part is held out in turn, to choose how free a model is."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from hf_encls.data.splits import official_folds

FOLDS = 5
MOST = 1_000  # windows: with more there are enough of them in validation, and the choice would take minutes


def inner_folds(rows: Mapping[str, Any], protocol: str, indices: np.ndarray) -> np.ndarray | None:
    """The fold (n,) of each of the rows `indices`, from 1 on. What is left of the others teaches every label.

    `rows` are those of `division_rows`. Under `official` folds are the data set's own; a recording that stands in two of
    them is in none: 0. Under `clip` they are `FOLDS` of whole groups, fewer where a class has fewer. The rows' order changes
    nothing. None of more than `MOST` rows, and where there are no two such folds: a class of one group, a fixed division,
    the protocol `paper`.
    """
    if len(indices) > MOST or protocol == "paper" or (protocol == "official" and official_folds(rows) == [None]):
        return None
    groups, labels = rows["group"][indices], rows["label"][indices]
    folds = rows["fold"][indices] if protocol == "official" else _of_groups(groups, labels)
    folds = np.where(_stands_in_two(groups, folds), 0, folds)
    held_out = np.unique(folds[folds > 0])
    left = [labels[(folds > 0) & (folds != fold)] for fold in held_out]
    return folds if len(held_out) > 1 and all(_teaches(each, labels) for each in left) else None


def _of_groups(groups: np.ndarray, labels: np.ndarray) -> np.ndarray:
    folds, order, several = np.zeros(len(groups), int), np.argsort(groups, kind="stable"), labels.ndim == 2
    per_class = [groups] if several else [groups[labels == label] for label in np.unique(labels)]
    number = min(FOLDS, *(len(np.unique(each)) for each in per_class))
    if number > 1:
        divide = GroupKFold(number) if several else StratifiedGroupKFold(number)
        parts = divide.split(order, None if several else labels[order], groups[order])
        for fold, (_, held_out) in enumerate(parts, start=1):
            folds[order[held_out]] = fold
    return folds


def _stands_in_two(groups: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Of each row (n,) whether its group is in several folds."""
    group = np.unique(groups, return_inverse=True)[1]
    pairs = np.unique(np.stack([group, folds], axis=1), axis=0)
    return (np.bincount(pairs[:, 0]) > 1)[group]


def _teaches(part: np.ndarray, whole: np.ndarray) -> bool:
    """Whether a part has every class of the whole; of several labels at once, each label with and without where that has."""
    if whole.ndim == 1:
        return len(np.unique(part)) == len(np.unique(whole))
    return all(((part == value).any(axis=0) >= (whole == value).any(axis=0)).all() for value in (0, 1))
