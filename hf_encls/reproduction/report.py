"""One folder from finished cells: report.json, curves.json, pictures, and REPORT.md made from report.json alone."""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml

from hf_encls.codec.loading import codec_facts
from hf_encls.files import write_json, write_text
from hf_encls.files.records import read_record
from hf_encls.report.codec_texts import has_heard
from hf_encls.reproduction import costs, figures, paper, pictures
from hf_encls.reproduction.cells import FinishedCell, finished_cells, score_table
from hf_encls.reproduction.claims import ambiguities, claims
from hf_encls.reproduction.data_sets import DataSet
from hf_encls.reproduction.grid import INPUTS, Cell, Input, Preset, not_run
from hf_encls.reproduction.other_models import compare_rows
from hf_encls.reproduction.report_page import TEMPLATES, render
from hf_encls.reproduction.timing import processor, timing_rows
from hf_encls.training.saving import versions

REPORT, CURVES, PAGE = "report.json", "curves.json", "REPORT.md"
TIMING = "timing"  # folder of what was measured, one file for each data set
OF_RESULTS = "epochs best_epoch leak codec train validation test times_s device versions command".split()


@dataclass(frozen=True)
class Grid:
    """All that a start of the grid knows."""

    cells: Sequence[Cell]
    datasets: Sequence[DataSet]
    missing_datasets: Mapping[str, str]  # key -> why
    inputs: Sequence[Input]
    missing_inputs: Mapping[Input, str]
    presets: Sequence[Preset]
    failed: Mapping[str, str]  # cell id -> its last words
    seeds: Sequence[int]
    command: Sequence[str]
    folder: Path


def write_report(grid: Grid, compare: Sequence[str] = (), timing_clips: int = 8) -> Path:
    """Measure what is left to measure, write `report/`, return the page's path."""
    target = grid.folder / "report"
    target.mkdir(parents=True, exist_ok=True)
    runs = finished_cells(grid.cells, grid.folder / "cells")
    timing = timing_rows(runs, timing_clips, grid.folder / TIMING)
    report = build(grid, runs, timing, compare_rows(runs, grid.datasets, compare))
    inputs, datasets = ({row["key"]: row["label"] for row in report[kind]} for kind in ("inputs", "datasets"))
    report["pictures"] = pictures.figure_4(runs, target) + pictures.time_bars(timing, inputs, datasets, target)
    if runs:
        report["pictures"] += pictures.figure_2(runs[0].dataset, grid.inputs, grid.presets[0], target)
    write_json(report, target / REPORT)
    write_json({run.id: _columns(run.results.history) for run in runs}, target / CURVES)
    return write_text(render(read_record(target / REPORT)), target / PAGE)


def build(grid: Grid, runs: Sequence[FinishedCell], timing: Sequence[Mapping], compared: Sequence[Mapping]) -> dict:
    """What report.json holds, without the list of pictures."""
    scores = score_table(runs)
    table = figures.table_1(scores)
    convergence = figures.convergence_rows(scores)
    latents = {entry.key for entry in grid.inputs if entry.codec is not None}
    return {
        "sentences": yaml.safe_load((TEMPLATES / "sentences.yaml").read_text(encoding="utf-8")),
        "reference": paper.REFERENCE,
        "made": provenance(grid, runs),
        "datasets": dataset_rows(grid),
        "inputs": input_rows(grid),
        "claim_texts": paper.CLAIMS,
        "claims": claims(convergence, table, timing, latents),
        "table_1": table,
        "merit": figures.merit(scores),
        "convergence": convergence,
        "equal_epochs": figures.equal_epochs(scores),
        "sizes": costs.size_rows(grid.cells),
        "mel_readings": costs.mel_readings(),
        "load": costs.load_rows(runs),
        "representation_load": costs.representation_rows(runs),
        "timing": timing,
        "table_2": figures.table_2(scores, compared),
        "compared": compared,
        "ambiguities": ambiguities(scores, convergence),
        "presets": {
            preset.name: {"protocols": ", ".join(preset.protocols), "inputs": ", ".join(preset.inputs)}
            | dict(preset.options)
            for preset in grid.presets
            if preset.variant is None
        },
        "cells": cell_rows(grid, runs),
        "pictures": [],
    }


def provenance(grid: Grid, runs: Sequence[FinishedCell]) -> dict:
    """How the report came about: command, versions, machine, how much of it is finished."""
    epochs = sorted({run.results.epochs for run in runs})
    hops = {preset.options["hop_length"] for preset in grid.presets if preset.variant is None}
    features = {entry.features for entry in (*grid.inputs, *grid.missing_inputs)}
    devices = ", ".join(sorted({run.results.device or "unknown" for run in runs})) or "none"
    machine = {"processor": processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads()}
    return {
        "command": shlex.join(["python", "scripts/reproduce_paper.py", *grid.command]),
        "versions": versions(),
        "machine": machine | {"device": devices},
        "seeds": list(grid.seeds),
        "epochs": epochs,
        "paper_epochs": paper.EPOCHS,
        "fewer_epochs": bool(epochs) and epochs[0] < paper.EPOCHS,
        "bf16": any(preset.options.get("bf16") for preset in grid.presets),
        "other_hop": sorted(hops - set(paper.MEL_HOPS)),
        "not_run": not_run(grid.cells, grid.datasets, grid.presets),
        "no_paper": not any(cell.preset.name == "paper" for cell in grid.cells),
        "inputs_left_out": [name for name in INPUTS if name not in features],
        "cells": len(grid.cells),
        "finished": len(runs),
        "unfinished": len(grid.cells) - len(runs),
        "training_s": sum(run.training_s for run in runs),
    }


def dataset_rows(grid: Grid) -> list[dict]:
    """The data sets in the paper's order, then the user's own; missing ones with the reason."""
    titles = {key: place["title"] for key, place in paper.DATASETS.items()}
    rows = []
    for dataset in grid.datasets:
        row = {name: getattr(dataset, name) for name in ("key", "label", "name", "clips", "seconds", "sampling_rate")}
        row |= {"status": "used", "stand_in_for": None if dataset.is_original else titles.get(dataset.key)}
        rows.append(row | {"classes": len(dataset.classes), "left_out": dataset.left_out})
    for key, reason in grid.missing_datasets.items():
        rows.append({"key": key, "label": titles.get(key, key), "status": "missing", "reason": reason})
    order = [*titles, *(row["key"] for row in rows)]
    return sorted(rows, key=lambda row: order.index(row["key"]))


def input_rows(grid: Grid) -> list[dict]:
    """The inputs with their codecs; missing ones with the reason."""
    rows = []
    for entry in (*grid.inputs, *grid.missing_inputs):
        original, is_missing = paper.CODECS.get(entry.features), entry in grid.missing_inputs
        facts = codec_facts(entry.codec) if entry.codec and not is_missing else None
        row = {name: getattr(entry, name) for name in ("key", "label", "features", "untrained")}
        row |= {"codec": entry.codec_name, "trained_on": facts and facts.trained_on}
        row["heard"] = [dataset.label for dataset in grid.datasets if has_heard(facts, dataset.name)]
        row["stand_in_for"] = original if entry.codec not in (None, original) else None
        row["status"] = "missing" if is_missing else "used"
        rows.append(row | {"reason": grid.missing_inputs.get(entry)})
    return rows


def cell_rows(grid: Grid, runs: Sequence[FinishedCell]) -> list[dict]:
    """One row for each cell: what it is, whether it is finished, its scores, command, versions and times."""
    by_id = {run.id: run for run in runs}
    rows = []
    for cell in grid.cells:
        row = {"id": cell.id} | cell.place
        row["status"] = "finished" if cell.id in by_id else "failed" if cell.id in grid.failed else "not run"
        if cell.id in grid.failed:
            row["reason"] = grid.failed[cell.id]
        if cell.id in by_id:
            results = by_id[cell.id].results.as_dict()
            row |= {name: results.get(name) for name in OF_RESULTS} | {"training_s": by_id[cell.id].training_s}
        rows.append(row)
    return rows


def _columns(history: Sequence[Mapping]) -> dict[str, list]:
    names = list(dict.fromkeys(name for row in history for name in row))
    return {name: [row.get(name) for row in history] for name in names}
