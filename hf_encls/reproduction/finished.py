"""Finished cells: read, put together, and set side by side by what they share."""

from collections.abc import Sequence
from pathlib import Path

from hf_encls.records import read_record
from hf_encls.reproduction import paper
from hf_encls.reproduction.grid import Cell
from hf_encls.reproduction.measures import mean_and_deviation
from hf_encls.training.results import CLIPS, CLIPS_SHAPE, PART_SHAPE, RESULTS, RESULTS_SHAPE

# The report needs all that this version writes.
EPOCH_SHAPE = {"epoch": int, "validation_accuracy": float, "validation_loss": float, "*": (float, None)}
CELL_SHAPE = {
    **{name.rstrip("?"): shape for name, shape in RESULTS_SHAPE.items() if name not in ("folds?", "dataset_id?")},
    "history": [EPOCH_SHAPE],
    "train": {**PART_SHAPE, "num_windows": int},
    "times_s": {"training": float, "*": float},
}


class Finished:
    """A cell with its results."""

    def __init__(self, cell: Cell, folder: Path):
        self.cell = cell
        self.folder = folder / cell.id
        self.results = read_record(self.folder / RESULTS, CELL_SHAPE)

    @property
    def group(self) -> tuple[str, str, str, str]:
        """What its seeds and folds have in common: data set, preset, protocol, input."""
        cell = self.cell
        return cell.source.key, cell.preset.name, cell.protocol, cell.input.key

    @property
    def draw(self) -> tuple[int | None, int]:
        """What must be equal for two cells to have the same split."""
        return self.cell.fold, self.cell.seed

    @property
    def test_clips(self) -> list[str]:
        """The ids of the clips it was tested on."""
        return read_record(self.folder / CLIPS, {"test": [str], **CLIPS_SHAPE})["test"]

    @property
    def training_s(self) -> float:
        """Seconds of training in all its epochs, however often it was resumed; validation is not in them."""
        epochs = [row.get("epoch_s") for row in self.results["history"]]
        return self.results["times_s"]["training"] if None in epochs else sum(epochs)


def finished(cells: Sequence[Cell], folder: Path) -> list[Finished]:
    """The cells that have results.

    Raises `ValueError` when two cells of one input were made with different codecs of one name.
    """
    found = [Finished(cell, folder) for cell in cells if (folder / cell.id / RESULTS).is_file()]
    hashes: dict[str, str] = {}
    for run in found:
        codec = run.results["codec"]
        if codec and hashes.setdefault(run.cell.input.key, codec["hash"]) != codec["hash"]:
            raise ValueError(
                f"the cells of {run.cell.input.label} were made with two different codecs of that name "
                f"({hashes[run.cell.input.key][:12]} and {codec['hash'][:12]}): take another --output_dir"
            )
    return found


def grouped(runs: Sequence[Finished]) -> dict[tuple, list[Finished]]:
    """Runs by data set, preset, protocol and input, in their order."""
    groups: dict[tuple, list[Finished]] = {}
    for run in runs:
        groups.setdefault(run.group, []).append(run)
    return groups


def mean_accuracy(members: Sequence[Finished], unit: str = "window") -> float:
    """Mean test accuracy of some runs."""
    return mean_and_deviation([run.results["test"][unit]["accuracy"] for run in members])["mean"]


def paired(first: Sequence[Finished], second: Sequence[Finished], unit: str = "window") -> dict | None:
    """Mean test accuracy of two groups of runs over the folds and seeds that both have; None where they share none.

    Returns `first`, `second`, their `difference`, and `runs`: how many of each it is.
    """
    bases = {run.draw: run for run in second}
    pairs = [(run, bases[run.draw]) for run in first if run.draw in bases]
    if not pairs:
        return None
    one, other = (mean_accuracy(side, unit) for side in zip(*pairs, strict=True))
    return {"first": one, "second": other, "difference": one - other, "runs": len(pairs)}


def is_comparable(cell: Cell) -> bool:
    """Whether the paper's figure is about the same: its data set, complete, and its codec."""
    same_codec = cell.input.codec in (None, paper.CODECS.get(cell.input.features))
    return cell.source.is_original and same_codec
