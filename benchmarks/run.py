"""Measure rows of the table and write benchmarks/README.md.

    python benchmarks/run.py                 # every row, about a quarter of an hour on two cores
    python benchmarks/run.py mel reading     # some rows
    python benchmarks/run.py --table         # only the table, from the saved numbers

Each row runs in a process of its own and leaves benchmarks/results/ROW.json.
"""

import importlib
import json
import os
import subprocess
import sys
import time
from argparse import Namespace
from datetime import date
from pathlib import Path

HERE = Path(__file__).parent
ROWS = {
    "extract_24khz": "extraction",
    "bfloat16": "inference",
    "extract_48khz": "extraction",
    "families": "families",
    "short_clips": "extraction",
    "mel": "extraction",
    "second_start": "extraction",
    "workers": "workers",
    "reading": "training",
    "streaming": "training",
    "stream_reading": "training",
    "trainer_step": "training",
    "cnn_step": "training",
    "allocator": "training",
    "checkpoints": "training",
    "startup": "startup",
    "pipeline_clip": "inference",
    "pipeline_hour": "inference",
    "cnn": "inference",
    "runtimes": "runtimes",
    "scale": "scale",
    "peers": "peers",
    "gpu_extract": "accelerator",
    "gpu_train": "accelerator",
}
# Rows that need an accelerator: what the table says of them until one has measured them.
NOT_MEASURED = {
    "gpu_extract": ("24 kHz extraction on an accelerator, scan and writing included", "real time", "at least 3000"),
    "gpu_train": (
        "1000 epochs of 6000 windows on an accelerator, with validation: seconds",
        "120 s for 1000 epochs",
        "at most 120",
    ),
}


def main() -> None:
    """Run the rows that were asked for, each in its own process, and write the table."""
    from timing import arguments

    options = arguments(__doc__.splitlines()[0])
    unknown = sorted(set(options.rows) - set(ROWS))
    if unknown:
        sys.exit(f"error: expected rows among {', '.join(ROWS)}, found {', '.join(unknown)}")
    options.device = options.device or _accelerator()
    results = Path(options.results_dir or HERE / "results")
    if os.environ.get("HF_ENCLS_ROW"):
        measure(options.rows[0], options, results)
        return
    given = [argument for argument in sys.argv[1:] if argument not in options.rows]
    failed = []
    for row in () if options.table else options.rows or ROWS:
        if row in NOT_MEASURED and options.device is None:
            print(f"{row}: not measured, there is no accelerator", flush=True)
            continue
        started = time.monotonic()
        environment = {**os.environ, "HF_ENCLS_ROW": row, "OMP_NUM_THREADS": str(options.threads)}
        code = subprocess.run([sys.executable, __file__, row, *given], env=environment).returncode
        print(f"{row}: {time.monotonic() - started:.0f} s", flush=True)
        if code:
            failed.append(row)
    if options.results_dir is None:
        (HERE / "README.md").write_text(page(results), encoding="utf-8")
    if failed:
        sys.exit(f"error: {', '.join(failed)} failed")


def _accelerator() -> str | None:
    import torch

    return "cuda" if torch.cuda.is_available() else None


def measure(name: str, options: Namespace, results: Path) -> None:
    """Measure one row in this process and save its numbers."""
    import datasets
    import torch
    from timing import machine

    from hf_encls.files import write_text

    datasets.disable_progress_bars()
    torch.set_num_threads(options.threads)
    about = machine()
    rows = getattr(importlib.import_module(ROWS[name]), name)(options)
    result = {"command": f"python benchmarks/run.py {name}", "date": date.today().isoformat(), "machine": about}
    result["rows"] = [row.as_dict() for row in rows]
    path = results / f"{name}.json"
    write_text(json.dumps(result, indent=2) + "\n", path)
    for row in rows:
        print(f"{row.name}: {row.ratio:.3g} ({_target(row.as_dict())})", flush=True)


def page(folder: Path) -> str:
    """The text of README.md: the table of what was measured, and the notes."""
    results = {name: json.loads(path.read_text()) for name in ROWS if (path := folder / f"{name}.json").is_file()}
    lines = ["# Benchmarks", ""]
    lines += ["Written by `python benchmarks/run.py`. Both sides of a row run in turns in one process; medians.", ""]
    lines += ["| row | against | ratio | target | details | command |", "| --- | --- | --- | --- | --- | --- |"]
    for name, result in results.items():
        for row in result["rows"]:
            ratio = f"{row['ratio']:.3g}" + ("" if row["reached"] else " (**missed**)")
            details = "; ".join(f"{key.replace('_', ' ')} {_text(value)}" for key, value in row["details"].items())
            lines.append(
                f"| {row['name']} | {row['baseline']} | {ratio} | {_target(row)} | {details} | `run.py {name}` |"
            )
    for row, (name, against, target) in NOT_MEASURED.items():
        if row not in results:
            lines.append(f"| {name} | {against} | not measured | {target} | needs an accelerator | `run.py {row}` |")
    lines.append("")
    machines = {json.dumps({k: v for k, v in r["machine"].items() if k != "load_before"}): r for r in results.values()}
    for result in machines.values():
        m = result["machine"]
        lines.append(
            f"Machine: {m['cpu']}, {m['cores']} cores, {m['threads']} threads, {m['instructions']}, PyTorch {m['torch']}."
        )
    loads = [result["machine"]["load_before"] for result in results.values()]
    if loads:
        dates = sorted({result["date"] for result in results.values()})
        lines.append(f"Measured {' and '.join(dates)}; load before the rows {min(loads)} to {max(loads)}.")
    return "\n".join(lines) + "\n\n" + (HERE / "NOTES.md").read_text(encoding="utf-8")


def _target(row: dict) -> str:
    if row["target"] is None:
        return "none"
    return f"{'at most' if row['at_most'] else 'at least'} {row['target']:g}"


def _text(value) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(each)}" for key, each in value.items())
    return f"{value:.2g}" if isinstance(value, float) and abs(value) < 0.01 else str(value)


if __name__ == "__main__":
    main()
