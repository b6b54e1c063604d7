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
    """The classes of clips or windows (n,), int64; of several labels at once which of them each has (n, L), bool."""
    if not several_labels(table):
        return np.asarray(table["label"][:], np.int64)
    column = table.with_format("arrow")["label"][:]
    return multi_hot(column, len(class_names(table.features)))


def multi_hot(column: pa.ChunkedArray | pa.Array | Sequence[Sequence[int]], num_labels: int) -> np.ndarray:
    """Lists of classes, n of them -> which classes each holds (n, L), bool."""
    lists = column.to_pylist() if isinstance(column, pa.ChunkedArray | pa.Array) else column
    found = np.zeros((len(lists), num_labels), bool)
    rows = np.repeat(np.arange(len(lists)), [len(each) for each in lists])
    found[rows, np.array([label for each in lists for label in each], np.int64)] = True
    return found


def label_lists(found: np.ndarray) -> list[list[int]]:
    """The other way round: (n, L) -> the classes of each row."""
    return [np.flatnonzero(row).tolist() for row in found]


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
