"""The columns that clips and windows of features have in common, and those that only windows have.

`label` is a `ClassLabel`, or a list of them where a sound can have several labels at once, or none.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import ClassLabel, Dataset, Features, List

DIVISION = ("label", "clip_id", "group", "fold")  # a window has those of its clip; protocols divide by them
SMALL = ("label", "clip_id", "start", "group", "fold", "silent")  # of a window: all but its features
WINDOW = ("input_features", *SMALL)
UNKNOWN = "unknown"  # of several labels at once: those of which nothing is known; a column where there are some
OPTIONAL = ("silent",)  # version 0.1 did not write it at first


def label_column(names: Sequence[str], several: bool = False) -> ClassLabel | List:
    """The type of the column `label` for these classes."""
    column = ClassLabel(names=list(names))
    return List(column) if several else column


def class_names(features: Features | Mapping[str, Any]) -> list[str] | None:
    """The names of the classes in a column `label`; None where it has none."""
    column = features.get("label")
    return getattr(getattr(column, "feature", column), "names", None)


def several_labels(table: Dataset) -> bool:
    """Whether clips or windows can have several labels at once."""
    return isinstance(table.features.get("label"), List)


def label_array(table: Dataset) -> np.ndarray:
    """The classes of clips or windows (n,), int64; of several labels at once 1 where each has one, or 0 (n, L), float32.

    Where the data leave open whether a label is there (column `unknown`), that is NaN.
    """
    if not several_labels(table):
        return np.asarray(table["label"][:], np.int64)
    small = table.select_columns([name for name in ("label", UNKNOWN) if name in table.column_names])
    return label_rows(small.with_format("arrow")[:], len(class_names(table.features)))


def label_rows(table: pa.Table, num_labels: int) -> np.ndarray:
    """The same of rows as they are stored (n, L)."""
    matrix = np.zeros((len(table), num_labels), np.float32)
    for name, value in (("label", 1.0), (UNKNOWN, np.nan)):
        if name in table.column_names:
            lists = table[name].to_pylist()
            rows = np.repeat(np.arange(len(lists)), [len(each) for each in lists])
            matrix[rows, np.array([label for each in lists for label in each], np.int64)] = value
    return matrix


def label_lists(membership: np.ndarray) -> list[list[int]]:
    """Which classes each row has (n, L), bool -> lists of them."""
    return [np.flatnonzero(row).tolist() for row in membership]


def require_one_label(table: Dataset, what: str) -> None:
    """Raise `ValueError` where sounds can have several labels at once, which `what` does not know."""
    if several_labels(table):
        raise ValueError(
            f"{what} needs one label for each sound, found several at once (`multi_label`): it knows no such"
        )


def label_text(table: Dataset, label: int | Sequence[int]) -> str:
    """The label of a row for people: its name, or all its names."""
    labels, names = (label if several_labels(table) else [label]), class_names(table.features)
    return ", ".join(names[each] for each in labels) or "no label"
