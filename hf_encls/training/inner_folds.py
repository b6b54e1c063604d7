"""Windows that are not tested, divided once more: each part is held out in turn, to choose how free a model is."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from hf_encls.data.splits import official_folds

FOLDS = 5


def inner_folds(rows: Mapping[str, Any], protocol: str, indices: np.ndarray) -> np.ndarray | None:
    """The fold (n,) of each of the rows `indices`; no group stands in two, and what is left teaches every class.

    `rows` are those of `division_rows`. Under `official` folds are the data set's own, else `FOLDS` of whole groups, fewer
    where a class has fewer; their order changes nothing. None where there are no two: a class of one group, a fixed
    division, the protocol `paper`.
    """
    if protocol == "paper" or (protocol == "official" and official_folds(rows) == [None]):
        return None
    groups, labels = rows["group"][indices], rows["label"][indices]
    folds = rows["fold"][indices] if protocol == "official" else _of_groups(groups, labels)
    if len(np.unique(folds)) < 2:
        return None
    if labels.ndim == 1 and any(
        len(np.unique(labels[folds != fold])) < len(np.unique(labels)) for fold in np.unique(folds)
    ):
        return None
    return folds


def _of_groups(groups: np.ndarray, labels: np.ndarray) -> np.ndarray:
    folds, order, several = np.zeros(len(groups), int), np.argsort(groups, kind="stable"), labels.ndim == 2
    per_class = [groups] if several else [groups[labels == label] for label in np.unique(labels)]
    number = min(FOLDS, *(len(np.unique(each)) for each in per_class))
    if number < 2:
        return folds
    divide = GroupKFold(number) if several else StratifiedGroupKFold(number, shuffle=True, random_state=0)
    parts = divide.split(order, None if several else labels[order], groups[order])
    for fold, (_, held_out) in enumerate(parts):
        folds[order[held_out]] = fold
    return folds
