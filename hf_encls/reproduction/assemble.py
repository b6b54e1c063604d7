"""One folder from finished cells: report.json, curves.json, pictures, and REPORT.md made from report.json alone."""

import json
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from hf_encls.codec.loading import codec_facts
from hf_encls.files import write_json, write_text
from hf_encls.report.cards import has_heard
from hf_encls.reproduction import collect, evidence, paper, pictures, shapes
from hf_encls.reproduction.finished import Finished, finished
from hf_encls.reproduction.grid import INPUTS, Cell, Input, Preset, not_run
from hf_encls.reproduction.others import compare_rows
from hf_encls.reproduction.report_page import render
from hf_encls.reproduction.sources import Source
from hf_encls.reproduction.texts import TEXTS
from hf_encls.reproduction.timing import processor, timing_rows
from hf_encls.training.results import versions

REPORT, CURVES, PAGE = "report.json", "curves.json", "REPORT.md"
TIMING = "timing"  # folder of what was measured, one file for each data set


@dataclass(frozen=True)
class Grid:
    """All that a start of the grid knows."""

    cells: Sequence[Cell]
    sources: Sequence[Source]
    missing_sources: Mapping[str, str]  # key -> why
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
    runs = finished(grid.cells, grid.folder / "cells")
    timing = timing_rows(runs, timing_clips, grid.folder / TIMING)
    compared = compare_rows(runs, grid.sources, compare)
    report = build(grid, runs, timing, compared)
    labels = {row["key"]: row["label"] for row in report["inputs"]}
    names = {row["key"]: row["label"] for row in report["datasets"]}
    report["pictures"] = pictures.figure_4(runs, target) + pictures.time_bars(timing, labels, names, target)
    if runs:
        report["pictures"] += pictures.figure_2(runs[0].cell.source, grid.inputs, grid.presets[0], target)
    write_json(report, target / REPORT)
    write_json({run.cell.id: _columns(run.results["history"]) for run in runs}, target / CURVES)
    page = target / PAGE
    write_text(render(json.loads((target / REPORT).read_text(encoding="utf-8"))), page)
    return page


def build(grid: Grid, runs: Sequence[Finished], timing: Sequence[Mapping], compared: Sequence[Mapping]) -> dict:
    """What report.json holds, without the list of pictures."""
    table = collect.table_1(runs)
    convergence = collect.convergence_rows(runs)
    return {
        "texts": TEXTS,
        "reference": paper.REFERENCE,
        "made": made(grid, runs),
        "datasets": dataset_rows(grid),
        "inputs": input_rows(grid),
        "claim_texts": paper.CLAIMS,
        "claims": evidence.claims(convergence, table, timing),
        "table_1": table,
        "merit": collect.merit(runs),
        "convergence": convergence,
        "equal_epochs": collect.equal_epochs(runs),
        "sizes": shapes.size_rows(grid.cells),
        "mel_readings": shapes.mel_readings(),
        "load": shapes.load_rows(runs),
        "representation_load": shapes.representation_rows(runs),
        "timing": timing,
        "table_2": collect.table_2(runs, compared, grid.sources),
        "compared": compared,
        "ambiguities": evidence.ambiguities(runs, convergence),
        "presets": preset_rows(grid.presets),
        "cells": collect.cell_rows(grid.cells, runs, grid.failed),
        "pictures": [],
    }


def made(grid: Grid, runs: Sequence[Finished]) -> dict:
    """How the report came about: command, versions, machine, how much of it is finished."""
    epochs = sorted({run.results["epochs"] for run in runs})
    hops = {preset.options["hop_length"] for preset in grid.presets if preset.variant is None}
    inputs = {*grid.inputs, *grid.missing_inputs}
    devices = sorted({run.results["device"] for run in runs}) or ["none"]
    return {
        "command": shlex.join(["python", "scripts/reproduce_paper.py", *grid.command]),
        "versions": versions(),
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "device": ", ".join(devices),
        },
        "seeds": list(grid.seeds),
        "epochs": epochs,
        "paper_epochs": paper.EPOCHS,
        "fewer_epochs": bool(epochs) and epochs[0] < paper.EPOCHS,
        "bf16": any(preset.options.get("bf16") for preset in grid.presets),
        "other_hop": sorted(hops - set(paper.MEL_HOPS)),
        "not_run": not_run(grid.cells, grid.sources, grid.presets),
        "no_paper": not any(cell.preset.name == "paper" for cell in grid.cells),
        "inputs_left_out": [name for name in INPUTS if name not in {e.features for e in inputs}],
        "cells": len(grid.cells),
        "finished": len(runs),
        "unfinished": len(grid.cells) - len(runs),
        "training_s": sum(run.training_s for run in runs),
    }


def dataset_rows(grid: Grid) -> list[dict]:
    """The data sets in the paper's order, then the user's own; missing ones with the reason."""
    rows = []
    for source in grid.sources:
        place = paper.DATASETS.get(source.key)
        rows.append(
            {
                "key": source.key,
                "label": source.label,
                "status": "used",
                "name": source.name,
                "stand_in_for": place["title"] if place and not source.is_original else None,
                "clips": source.clips,
                "classes": len(source.classes),
                "seconds": source.seconds,
                "sampling_rate": source.sampling_rate,
                "left_out": source.left_out,
            }
        )
    for key, reason in grid.missing_sources.items():
        title = paper.DATASETS[key]["title"] if key in paper.DATASETS else key
        rows.append({"key": key, "label": title, "status": "missing", "reason": reason})
    order = {key: number for number, key in enumerate(paper.DATASETS)}
    return sorted(rows, key=lambda row: order.get(row["key"], len(order)))


def input_rows(grid: Grid) -> list[dict]:
    """The inputs with their codecs; missing ones with the reason."""
    rows = []
    for entry in (*grid.inputs, *grid.missing_inputs):
        original = paper.CODECS.get(entry.features)
        facts = codec_facts(entry.codec) if entry.codec and entry not in grid.missing_inputs else {}
        rows.append(
            {
                "key": entry.key,
                "label": entry.label,
                "features": entry.features,
                "codec": entry.codec_name,
                "untrained": entry.untrained,
                "trained_on": facts.get("trained_on"),
                "heard": [source.label for source in grid.sources if has_heard(facts, source.name)],
                "stand_in_for": original if entry.codec not in (None, original) else None,
                "status": "missing" if entry in grid.missing_inputs else "used",
                "reason": grid.missing_inputs.get(entry),
            }
        )
    return rows


def preset_rows(presets: Sequence[Preset]) -> dict[str, dict]:
    """Every preset's settings by name, as text and numbers side by side."""
    return {
        preset.name: {"protocols": ", ".join(preset.protocols), "inputs": ", ".join(preset.inputs), **preset.options}
        for preset in presets
        if preset.variant is None
    }


def _columns(history: Sequence[Mapping]) -> dict[str, list]:
    names = list(dict.fromkeys(name for row in history for name in row))
    return {name: [row.get(name) for row in history] for name in names}
