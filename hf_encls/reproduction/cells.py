"""Finished cells as a table: one row for each cell, with its scores and its learning curve."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hf_encls.files.records import read_record
from hf_encls.reproduction import paper
from hf_encls.reproduction.grid import Cell
from hf_encls.training.results import CLIPS, CLIPS_SHAPE, PART_SHAPE, RESULTS, RESULTS_SHAPE

KEY = ["dataset", "preset", "protocol", "input"]  # what the cells of several folds and seeds have in common
SPLIT = ["fold", "seed"]  # what must be equal for two cells to have the same split
UNITS = ("window", "clip")
# The report needs all that this version writes.
EPOCH_SHAPE = {"epoch": int, "validation_accuracy": float, "validation_loss": float, "*": (float, None)}
CELL_SHAPE = {
    **{name.rstrip("?"): shape for name, shape in RESULTS_SHAPE.items() if name not in ("folds?", "dataset_id?")},
    "history": [EPOCH_SHAPE],
    "train": {**PART_SHAPE, "num_windows": int},
    "times_s": {"training": float, "*": float},
}
SCORES = [f"{unit}_{name}" for unit in UNITS for name in ("accuracy", "loss")]


class FinishedCell:
    """A cell with its results."""

    def __init__(self, cell: Cell, folder: Path):
        self.cell = cell
        self.folder = folder / cell.id
        self.results = read_record(self.folder / RESULTS, CELL_SHAPE)

    @property
    def test_clips(self) -> list[str]:
        """The ids of the clips it was tested on."""
        return read_record(self.folder / CLIPS, {"test": [str], **CLIPS_SHAPE})["test"]

    @property
    def training_s(self) -> float:
        """Seconds of training in all its epochs, however often it was resumed; validation is not in them."""
        epochs = [row.get("epoch_s") for row in self.results["history"]]
        return self.results["times_s"]["training"] if None in epochs else sum(epochs)

    @property
    def is_comparable(self) -> bool:
        """Whether the paper's figure is about the same: its data set, complete, and its codec."""
        entry = self.cell.input
        return self.cell.dataset.is_original and entry.codec in (None, paper.CODECS.get(entry.features))


def finished(cells: Sequence[Cell], folder: Path) -> list[FinishedCell]:
    """The cells that have results.

    Raises `ValueError` when two cells of one input were made with different codecs of one name.
    """
    runs = [FinishedCell(cell, folder) for cell in cells if (folder / cell.id / RESULTS).is_file()]
    hashes: dict[str, str] = {}
    for run in runs:
        codec = run.results["codec"]
        if codec and hashes.setdefault(run.cell.input.key, codec["hash"]) != codec["hash"]:
            raise ValueError(
                f"the cells of {run.cell.input.label} were made with two different codecs of that name "
                f"({hashes[run.cell.input.key][:12]} and {codec['hash'][:12]}): take another --output_dir"
            )
    return runs


def score_table(runs: Sequence[FinishedCell]) -> pd.DataFrame:
    """One row for each cell: `KEY`, `SPLIT`, test `SCORES` (accuracy of 1, loss in nats), `features`, `is_comparable`
    (with the paper's figure), `epochs`, `history` (a row for each).

    The columns hold Python objects, so that a number that is missing (None) is not one that came out as no number (NaN).
    """
    rows = []
    for run in runs:
        cell, results = run.cell, run.results
        row = {"dataset": cell.dataset.key, "preset": cell.preset.name, "protocol": cell.protocol}
        row |= {"input": cell.input.key, "fold": cell.fold or 0, "seed": cell.seed}  # 0: None would equal nothing
        row |= {f"{unit}_{name}": results["test"][unit][name] for unit in UNITS for name in ("accuracy", "loss")}
        row |= {"features": cell.input.features, "is_comparable": run.is_comparable}
        rows.append(row | {"epochs": results["epochs"], "history": results["history"]})
    columns = [*KEY, *SPLIT, *SCORES, "features", "is_comparable", "epochs", "history"]
    return pd.DataFrame(rows, columns=columns, dtype=object)


def where(rows: pd.DataFrame, **values: str) -> pd.DataFrame:
    """The rows that have these values."""
    for name, value in values.items():
        rows = rows[rows[name] == value]
    return rows


def mean_and_deviation(values: Iterable[float | None]) -> dict:
    """`mean`, `deviation` (of a sample; None for fewer than two values) and `count`; None does not count."""
    values = [value for value in values if value is not None]
    return {
        "mean": float(np.mean(values)) if values else None,
        "deviation": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "count": len(values),
    }


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of what is not None."""
    return mean_and_deviation(values)["mean"]


def paired(first: pd.DataFrame, second: pd.DataFrame) -> dict | None:
    """Mean window accuracy of two groups of rows over the folds and seeds that both have; None where they share none.

    Returns `first`, `second`, their `difference`, and `runs`: how many of each it is.
    """
    both = first.merge(second, on=SPLIT, suffixes=("_first", "_second"))
    if both.empty:
        return None
    one, other = (mean(both[f"window_accuracy_{side}"]) for side in ("first", "second"))
    return {"first": one, "second": other, "difference": one - other, "runs": len(both)}
