"""Learning curves, data sets, sounds and reports for the tests of the paper's grid."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile

from hf_encls.files import write_json
from hf_encls.reproduction.cells import finished_cells
from hf_encls.reproduction.data_sets import DataSet
from hf_encls.reproduction.grid import Cell
from hf_encls.reproduction.report import Grid, build


def history(accuracies: Sequence[float], losses: Sequence[float], seconds: float = 2.0) -> list[dict]:
    """A learning curve with epochs from 1."""
    return [
        {"epoch": epoch, "validation_accuracy": accuracy, "validation_loss": loss, "epoch_s": seconds}
        for epoch, (accuracy, loss) in enumerate(zip(accuracies, losses, strict=True), 1)
    ]


def data_set(key: str = "esc50", folds: tuple[int, ...] = (1, 2, 3, 4, 5), classes: int = 2) -> DataSet:
    """A data set that is nowhere."""
    names = tuple(f"class {number}" for number in range(classes))
    return DataSet(key, "folder", "ESC-10", names, 10, 50.0, 44_100, folds, {}, 0, False)


def write_results(folder: Path, cell: Cell, accuracy: float = 0.5, curve: list[dict] | None = None, **changes: object):
    """Results as training writes them, of a cell that was never run; `accuracy` is that of the test part."""
    scores = {unit: {"accuracy": accuracy, "loss": 1.0} for unit in ("window", "clip")}
    part = {**scores, "num_windows": 10, "num_clips": 5}
    curve = curve or history([0.5], [1.0])
    results = {"history": curve, "epochs": len(curve), "best_epoch": 1, "leak": {"clip_leaks": 0}, "device": "cpu"}
    results["leak"] |= {"test_windows": 10, "group_leaks": 0}
    results |= {"codec": {"id": "mini", "hash": "a"} if cell.input.codec else None, "times_s": {"training": 7.5}}
    results |= {"train": part, "validation": part, "test": part, "versions": {}, "command": []}
    results |= {"dataset": cell.dataset.name, "features": cell.input.features, "protocol": cell.protocol}
    results |= {"fold": cell.fold, "seed": cell.seed, "classes": list(cell.dataset.classes), "holds_codec": True}
    results |= {"per_class": [], "confusion_matrix": [[5, 0], [0, 5]]}
    (folder / cell.id).mkdir(parents=True, exist_ok=True)
    write_json(results | changes, folder / cell.id / "results.json")


def report(
    folder: Path,
    cells: Sequence[Cell],
    timing: Sequence[Mapping] = (),
    compared: Sequence[Mapping] = (),
    failed: Mapping[str, str] | None = None,
    missing_datasets: Mapping[str, str] | None = None,
) -> dict:
    """report.json of the cells that have results in `folder`."""
    datasets = list({cell.dataset.key: cell.dataset for cell in cells}.values())
    inputs = list(dict.fromkeys(cell.input for cell in cells))
    presets = list({cell.preset.name: cell.preset for cell in cells}.values())
    seeds = list(dict.fromkeys(cell.seed for cell in cells))
    missing = missing_datasets or {}
    grid = Grid(cells, datasets, missing, inputs, {}, presets, failed or {}, seeds, ["--x7"], folder)
    return json.loads(json.dumps(build(grid, finished_cells(cells, folder), timing, compared)))


def row_of(rows: Sequence[Mapping], **values: object) -> Mapping:
    """The one row that has these values."""
    (row,) = (row for row in rows if values.items() <= row.items())
    return row


def write_tones(root: Path) -> Path:
    """Two classes of seven short clips."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(("high", "low")):
        (root / name).mkdir(parents=True)
        for clip in range(7):
            time_s = np.arange(int(8_000 * 1.2)) / 8_000
            tone = 0.3 * np.sin(2 * np.pi * (300 if number else 900) * (1 + 0.05 * clip) * time_s)
            soundfile.write(root / name / f"{clip}.wav", tone + 0.05 * rng.standard_normal(len(time_s)), 8_000)
    return root
