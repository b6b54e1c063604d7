"""One folder from finished cells: report.json, curves.json, pictures, and REPORT.md made from report.json alone."""

import json
import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from hf_encls.cards import has_heard
from hf_encls.codec.loading import codec_facts, load_codec
from hf_encls.commands.train import versions
from hf_encls.commands.train_run import CLIPS
from hf_encls.reproduction import collect, evidence, paper, pictures
from hf_encls.reproduction.collect import Finished
from hf_encls.reproduction.compare import clip_accuracy
from hf_encls.reproduction.grid import Cell, Input, Preset
from hf_encls.reproduction.report_page import render
from hf_encls.reproduction.sources import Source
from hf_encls.reproduction.texts import TEXTS
from hf_encls.reproduction.timing import inference_time, representation_multiply_adds
from hf_encls.results import write_json

REPORT, CURVES, PAGE = "report.json", "curves.json", "REPORT.md"
TIMING = "timing.json"
REPEATS = 5


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
    runs = collect.finished(grid.cells, grid.folder / "cells")
    timing = timing_rows(runs, timing_clips)
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
    temporary = target / f"{PAGE}.tmp"
    temporary.write_text(render(json.loads((target / REPORT).read_text(encoding="utf-8"))), encoding="utf-8")
    os.replace(temporary, page)
    return page


def build(grid: Grid, runs: Sequence[Finished], timing: Sequence[Mapping], compared: Sequence[Mapping]) -> dict:
    """What report.json holds, without the list of pictures."""
    table = collect.table_1(runs)
    merit = collect.merit(runs)
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
        "merit": merit,
        "convergence": convergence,
        "equal_epochs": collect.equal_epochs(runs),
        "sizes": collect.size_rows(grid.cells),
        "mel_readings": collect.mel_readings(),
        "load": collect.load_rows(runs),
        "representation_load": representation_rows(runs),
        "timing": timing,
        "table_2": collect.table_2(runs, compared, grid.sources),
        "compared": compared,
        "ambiguities": evidence.ambiguities(table, merit, convergence),
        "presets": preset_rows(grid.presets),
        "cells": collect.cell_rows(grid.cells, runs, grid.failed),
        "pictures": [],
    }


def made(grid: Grid, runs: Sequence[Finished]) -> dict:
    """How the report came about: command, versions, machine, how much of it is finished."""
    epochs = sorted({run.results["epochs"] for run in runs})
    hops = {preset.options["hop_length"] for preset in grid.presets if preset.variant is None}
    devices = sorted({run.results["device"] for run in runs}) or ["none"]
    return {
        "command": shlex.join(["python", "scripts/reproduce_paper.py", *grid.command]),
        "versions": versions(),
        "machine": {
            "processor": _processor(),
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
        "cells": len(grid.cells),
        "finished": len(runs),
        "training_s": sum(run.results["times_s"]["training"] for run in runs),
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


def timing_rows(runs: Sequence[Finished], clips: int) -> list[dict]:
    """Inference time of each input of each data set; measured once, then read from beside the model."""
    rows = []
    seen = set()
    for run in runs:
        where = (run.cell.source.key, run.cell.input.key)
        if run.cell.preset.variant or where in seen or not clips:
            continue
        seen.add(where)
        about = {"dataset": where[0], "input": where[1], "cell": run.cell.id}
        file = run.folder / TIMING
        if not file.is_file():
            try:
                device = run.results["device"] if torch.cuda.is_available() else "cpu"
                measured = inference_time(run.folder, _test_clips(run, clips), REPEATS, device)
            except ValueError as error:
                rows.append(about | {"reason": str(error)})
                continue
            write_json(measured, file)
        measured = json.loads(file.read_text(encoding="utf-8"))
        parts = ("representation", "classification", "total")
        shown = {"ms": {name: 1000 * measured[name] for name in parts}, "real_time": 1 / measured["total"]}
        rows.append(about | measured | shown | {"repeats": len(measured["rounds"])})
    return rows


def compare_rows(runs: Sequence[Finished], sources: Sequence[Source], models: Sequence[str]) -> list[dict]:
    """Other models on the test clips of each data set's split without a leak."""
    rows = []
    for source in sources:
        own = [run for run in runs if run.cell.source.key == source.key and run.cell.protocol in ("clip", "official")]
        for model in models:
            about = {"dataset": source.key, "model": model}
            if not own:
                rows.append(about | {"protocol": "", "accuracy": None, "reason": "no cell without a leak is finished"})
                continue
            clips = json.loads((own[0].folder / CLIPS).read_text(encoding="utf-8"))["test"]
            files = [source.files[clip] for clip in clips]
            about |= {"protocol": own[0].cell.protocol, "cell": own[0].cell.id}
            try:
                paths = [Path(path) for path, _ in files]
                rows.append(about | clip_accuracy(model, paths, [name for _, name in files], source.classes))
            except (OSError, ValueError) as error:  # not on the Hub, no network, not such a model
                rows.append(about | {"accuracy": None, "reason": str(error).splitlines()[0]})
    return rows


def representation_rows(runs: Sequence[Finished]) -> list[dict]:
    """Multiply-adds that make a second of each representation."""
    rows, codecs = [], {}
    seen = set()
    for run in runs:
        cell = run.cell
        where = (cell.source.key, cell.input.key)
        if where in seen:
            continue
        seen.add(where)
        name = cell.input.codec
        if name is not None and name not in codecs:
            codecs[name] = representation_multiply_adds(cell.network(), load_codec(name))
        counts = codecs[name] if name is not None else representation_multiply_adds(cell.network(), None)
        rows.append({"dataset": where[0], "input": where[1], **counts, "per_s_billions": counts["per_s"] / 1e9})
    return rows


def _test_clips(run: Finished, count: int) -> list[Path]:
    """Some test clips, evenly spread over their names."""
    clips = json.loads((run.folder / CLIPS).read_text(encoding="utf-8"))["test"]
    step = max(1, len(clips) // count)
    return [Path(run.cell.source.files[clip][0]) for clip in clips[::step][:count]]


def _columns(history: Sequence[Mapping]) -> dict[str, list]:
    names = list(dict.fromkeys(name for row in history for name in row))
    return {name: [row.get(name) for row in history] for name in names}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
