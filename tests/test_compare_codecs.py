"""Codecs side by side: what is tested against log-mel, what stands beside a name, and that a finished cell stays."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from small_codecs import FAMILIES
from small_runs import write_tones

from hf_encls.commands import compare_codecs
from hf_encls.comparison import codecs
from hf_encls.comparison.codec_table import page, table_rows
from hf_encls.comparison.significance import mcnemar, paired_t, t_interval


def test_the_interval_is_students():
    found = t_interval([0.7, 0.8, 0.9])
    assert found["mean"] == pytest.approx(0.8) and found["count"] == 3
    assert found["high"] - 0.8 == pytest.approx(4.302653 * 0.1 / 3**0.5, rel=1e-5)  # t(0.975; 2) of the printed tables
    assert 0.8 - found["low"] == pytest.approx(found["high"] - 0.8)
    assert t_interval([0.7]) == {"mean": 0.7, "low": None, "high": None, "count": 1}


def test_pairs_are_tested():
    assert paired_t([0.7, 0.8, 0.9], [0.6, 0.8, 0.7]) == pytest.approx(0.225403, rel=1e-4)  # t = sqrt(3), 2 degrees
    assert paired_t([0.7, 0.8], [0.7, 0.8]) == 1 and paired_t([0.75, 0.5], [0.5, 0.25]) == 0
    assert paired_t([0.7], [0.6]) is None
    clips = [str(number) for number in range(12)]
    first, second = ({clip: int(clip) not in wrong for clip in clips} for wrong in ({0, 9}, {1, 2, 3, 4, 5, 9}))
    found = mcnemar(first, second)
    assert (found["first_only"], found["second_only"], found["clips"]) == (5, 1, 12)
    assert found["p"] == pytest.approx(2 * (1 + 6) / 2**6)
    assert mcnemar(first, first)["p"] == 1


def cell(features: str, fold: int, right: list[bool], seed: int = 0) -> dict:
    told = {f"{fold}/{number}": value for number, value in enumerate(right)}
    accuracy = float(np.mean(right))
    return {"features": features, "head": "mnist", "protocol": "official", "fold": fold, "seed": seed} | {
        "clip_accuracy": accuracy,
        "right": told,
    }


def test_a_row_is_over_folds_and_beside_log_mel():
    cells = [cell("log_mel", 1, [True, True], seed) for seed in (0, 1)] + [cell("log_mel", 2, [True, False])]
    cells += [cell("a_b", 1, [True, False]), cell("a_b", 1, [False, False], 1), cell("a_b", 2, [False, False])]
    costs = {"kbytes_per_s": 1.0, "kbits_per_s": None, "notes": [], "tags": []}
    about = {"log_mel": costs | {"x_real_time": 20.0}, "a_b": costs | {"x_real_time": 5.0, "tags": ["untrained"]}}
    reference, row = table_rows(cells, about)
    assert reference["accuracy"]["mean"] == 0.75 and "t_p" not in reference
    assert row["accuracy"]["mean"] == 0.125 and row["relative_speed"] == 0.25  # folds of 0.25 (two seeds) and 0
    assert row["difference"]["mean"] == pytest.approx(-0.625)
    assert (row["mcnemar"]["first_only"], row["mcnemar"]["second_only"]) == (0, 2)  # of the first seed
    text = page([reference, row], {"dataset": "x|y", "clips": 4, "epochs": 2.0})
    assert "| a_b (untrained) | mnist | 1.0 |" in text and "2 folds" in text


@pytest.fixture
def tones(tmp_path: Path) -> Path:
    folder = tmp_path / "codec"
    FAMILIES["dac"].make().save_pretrained(folder)
    facts = {"untrained": True, "recipe": {"anchor_weight": 1.0, "anchor_bands": 16}, "config": {"hidden_size": 32}}
    (folder / "codec_training.json").write_text(json.dumps(facts))
    return write_tones(tmp_path / "tones")


def compare(tones: Path, *more: str) -> list[dict]:
    given = ["--data_dir", str(tones), "--codec", str(tones.parent / "codec"), "--features", "latents", "codes"]
    given += ["--output_dir", str(tones.parent / "out"), "--cache_dir", str(tones.parent / "cache")]
    path = compare_codecs.main([*given, "--window_s", "0.3", "--hop_length", "128", "--epochs", "1", *more])
    assert path.read_text().startswith("# Codecs on tones")
    return json.loads((path.parent / "codecs.json").read_text())["rows"]


def test_it_goes_on_where_it_was(tones, monkeypatch, no_network):
    trained, train = [], codecs.train
    monkeypatch.setattr(codecs, "train", lambda *args, **more: (trained.append(more), train(*args, **more))[1])
    rows = compare(tones)
    assert [row["features"] for row in rows] == ["log_mel", "codec latents", "codec codes"] and len(trained) == 3
    assert [row["kbits_per_s"] for row in rows] == [None, 6.0, 6.0]
    assert rows[1]["kbytes_per_s"] == pytest.approx(2 * 32 * 400 / 1000)
    assert rows[2]["kbytes_per_s"] == pytest.approx(2 * 3 * 400 / 1000)
    assert rows[1]["tags"] == ["untrained", "half log-mel"] and "says nothing" in rows[1]["notes"][1]
    assert rows[1]["notes"][0] == "DAC, licence unknown."
    out = tones.parent / "out"
    assert (out / "codecs.png").read_bytes().startswith(b"\x89PNG")
    table = list(csv.DictReader((out / "codecs.csv").open()))
    assert [row["tags"] for row in table] == ["", "untrained; half log-mel", "untrained; half log-mel"]
    cell_file = next(out.glob("cells/log_mel/*/*/cell.json"))
    cell_file.unlink()  # as after a kill
    assert [row["accuracy"] for row in compare(tones)] == [row["accuracy"] for row in rows] and len(trained) == 4
    with pytest.raises(ValueError, match=r"made with other settings \(it differs in num_train_epochs\)"):
        compare(tones, "--epochs", "2")
    assert len(trained) == 4


def test_what_cannot_be_is_said_before_the_work(tones):
    with pytest.raises(ValueError, match="log_mel: window_s=0.02 is too short for the network"):
        compare(tones, "--window_s", "0.02")
    with pytest.raises(ValueError, match="official needs a data set with folds"):
        compare(tones, "--protocol", "official")
    with pytest.raises(ValueError, match="expected a codec at 'nowhere'"):
        compare(tones, "--codec", "nowhere")
