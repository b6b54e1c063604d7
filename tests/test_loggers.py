"""What loggers are told of a run: TensorBoard, Trackio and their like."""

import contextlib
import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from small_runs import arguments, train

from hf_encls.data.splits import PARTS

ROOT = Path(__file__).parents[1]


def test_loggers_are_told_the_final_scores_by_their_part(tones, tmp_path, monkeypatch):
    from transformers.trainer_callback import CallbackHandler

    told = []
    monkeypatch.setattr(
        CallbackHandler, "on_predict", lambda self, args, state, control, metrics: told.append(metrics)
    )
    results = train(tones, tmp_path / "model")
    assert [(f"{part}_accuracy" in metrics, len(metrics)) for part, metrics in zip(PARTS, told)] == [(True, 6)] * 3
    assert told[2]["test_accuracy"] == results.test.window.accuracy


@pytest.mark.skipif(importlib.util.find_spec("trackio") is None, reason="trackio is not installed")
def test_trackio_keeps_what_a_run_logs(tones, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TRACKIO_DIR": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    more = ("--report_to", "trackio", "--project", "tones", "--run_name", "mine")
    command = [sys.executable, "scripts/train.py", *arguments(tones, tmp_path / "model", *more)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    with contextlib.closing(sqlite3.connect(tmp_path / "tones.db")) as database:
        rows = [json.loads(text) for (text,) in database.execute("SELECT metrics FROM metrics ORDER BY id")]
    assert [row["eval/accuracy"] for row in rows if "eval/accuracy" in row][1:] and len(rows) == 8
    results = json.loads((tmp_path / "model" / "results.json").read_text())
    assert [row["test/accuracy"] for row in rows if "test/accuracy" in row] == [results["test"]["window"]["accuracy"]]
