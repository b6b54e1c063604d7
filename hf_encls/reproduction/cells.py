"""Finished cells as a table: one row for each cell, with its scores and its learning curve."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Self

import pandas as pd

from hf_encls.data.splits import LeakReport
from hf_encls.files.records import RecordError, read_record, shape_of
from hf_encls.reproduction import paper
from hf_encls.reproduction.grid import Cell
from hf_encls.training.results import CLIPS, CLIPS_SHAPE, RESULTS, PartScores, Results

KEY = ["dataset", "preset", "protocol", "input"]  # what the cells of several folds and seeds have in common
SPLIT = ["fold", "seed"]  # what must be equal for two cells to have the same split
EPOCH_SHAPE = {"epoch": int, "validation_accuracy": float, "validation_loss": float, "*": (float, None)}
# The columns of scores: the unit and the metric of each.
SCORES = {f"{unit}_{name}": (unit, name) for unit, name in product(("window", "clip"), ("accuracy", "loss"))}


@dataclass(kw_only=True)
class CellResults(Results):
    """The results of a cell: the report needs all that this version writes."""

    # `field()`: without it the default of `Results` would be that of here.
    leak: LeakReport = field()
    train: PartScores = field(metadata={"shape": {**shape_of(PartScores), "num_windows": int}})
    validation: PartScores = field()
    epochs: int = field()
    history: list[dict] = field(metadata={"shape": [EPOCH_SHAPE]})
    device: str = field()
    times_s: dict[str, float] = field(metadata={"shape": {"training": float, "*": float}})

    @classmethod
    def from_dict(cls, values: Mapping, where: str | os.PathLike = "the results") -> Self:
        """As of any record, with scores of the tested clips and a row of `history` for each of its one or more epochs.

        Raises `RecordError`.
        """
        results = super().from_dict(values, where)
        if results.test.clip is None:
            raise RecordError(f"{where} is damaged: expected scores of the test clips, found none")
        epochs = [row["epoch"] for row in results.history]
        if results.epochs < 1 or len(epochs) != results.epochs or epochs != list(range(1, len(epochs) + 1)):
            raise RecordError(
                f"{where} is damaged: expected a history of the epochs 1 to {max(1, results.epochs)}, "
                f"found {', '.join(map(str, epochs[:10])) or 'none'}{', ...' if len(epochs) > 10 else ''}"
            )
        return results


@dataclass(frozen=True, kw_only=True)
class FinishedCell(Cell):
    """A cell with its results."""

    folder: Path
    results: CellResults

    @property
    def test_clips(self) -> list[str]:
        """The ids of the clips it was tested on."""
        return read_record(self.folder / CLIPS, {"test": [str], **CLIPS_SHAPE})["test"]

    @property
    def training_s(self) -> float:
        """Seconds of training in all its epochs, however often it was resumed; validation is not in them."""
        epochs = [row.get("epoch_s") for row in self.results.history]
        return self.results.times_s["training"] if None in epochs else sum(epochs)


def finished_cells(cells: Sequence[Cell], folder: Path) -> list[FinishedCell]:
    """The cells that have results.

    Raises `ValueError` when two cells of one input were made with different codecs of one name.
    """
    places = [(cell, folder / cell.id) for cell in cells if (folder / cell.id / RESULTS).is_file()]
    runs = [FinishedCell(**vars(cell), folder=place, results=CellResults.of(place)) for cell, place in places]
    hashes: dict[str, str] = {}
    for run in runs:
        codec = run.results.codec
        if codec and hashes.setdefault(run.input.key, codec.hash) != codec.hash:
            raise ValueError(
                f"the cells of {run.input.label} were made with two different codecs of that name "
                f"({hashes[run.input.key][:12]} and {codec.hash[:12]}): take another `output_dir`"
            )
    return runs


def score_table(runs: Sequence[FinishedCell]) -> pd.DataFrame:
    """One row for each cell: `KEY`, `SPLIT`, test `SCORES` (accuracy of 1, loss in nats), `features`, `is_comparable`
    (whether the paper's figure is about the same: its data set, complete, and its codec), `epochs`, `history` (a row for
    each).

    The columns hold Python objects, so that a number that is missing (None) is not one that came out as no number (NaN).
    """
    rows = []
    for run in runs:
        row = run.place | {"fold": run.fold or 0}  # None would equal nothing
        row |= {name: getattr(getattr(run.results.test, unit), metric) for name, (unit, metric) in SCORES.items()}
        codecs = (None, paper.CODECS.get(run.input.features))
        row |= {"features": run.input.features, "epochs": run.results.epochs, "history": run.results.history}
        rows.append(row | {"is_comparable": run.dataset.is_original and run.input.codec in codecs})
    columns = [*KEY, *SPLIT, *SCORES, "features", "is_comparable", "epochs", "history"]
    return pd.DataFrame(rows, columns=columns, dtype=object)
