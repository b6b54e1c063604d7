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
from hf_encls.comparison.choice import Candidate, chosen, how_often
from hf_encls.comparison.codec_table import chosen_rows, page, table_rows
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
    text = page([reference, row], [], {"dataset": "x|y", "clips": 4, "epochs": 2.0, "audio_s": 20.0})
    assert "| a_b (untrained) | mnist | 1.0 |" in text and "2 folds" in text


class Hidden(dict):
    """A cell whose test scores must not be looked at."""

    def __getitem__(self, name: str):
        assert name not in ("clip_accuracy", "window_accuracy", "right"), f"{name} is of the test clips"
        return super().__getitem__(name)


def judged(head: str, fold: int, validation: tuple[float, float], right: list[bool], **more) -> dict:
    """A cell with accuracy and loss of its validation clips."""
    scores = {"validation_accuracy": validation[0], "validation_loss": validation[1], "training_s": 2.0}
    return cell("log_mel", fold, right) | {"head": head} | scores | more


def test_the_choice_is_by_validation_alone():
    worse_on_test, better_on_test = [False, False], [True, True]
    cells = [judged("mnist", 1, (0.9, 1.0), worse_on_test), judged("mnist", 2, (0.8, 0.5), worse_on_test)]
    cells += [judged("conv", 1, (0.8, 0.1), better_on_test), judged("conv", 2, (0.8, 0.4), better_on_test)]
    cells += [judged("conv", 2, (0.8, 0.4), worse_on_test, window_s=5.0)]  # as good: the first one stays
    best = chosen([Hidden(each) for each in cells])
    assert [(each["fold"], Candidate.of(each).text) for each in best] == [(1, "mnist"), (2, "conv")]
    assert how_often(best) == [("mnist", 1), ("conv", 1)]
    assert chosen([*cells, cell("log_mel", 3, better_on_test)]) is None  # of a version that did not keep it


def test_a_row_says_what_the_choice_comes_to():
    cells = [judged("mnist", 1, (0.9, 1.0), [True, False]), judged("mnist", 2, (0.9, 1.0), [True, True])]
    cells += [judged("conv", 1, (0.8, 1.0), [True, True]), judged("conv", 2, (1.0, 1.0), [True, False])]
    cells += [each | {"features": "mini latents", "right": dict.fromkeys(each["right"], True)} for each in cells]
    costs = {"kbytes_per_s": 1.0, "kbits_per_s": None, "notes": [], "tags": [], "x_real_time": 4.0}
    about = {"log_mel": costs, "mini latents": costs}
    found = chosen_rows(cells, about)
    among = ["all heads", "mnist", "conv"]
    assert [(row["features"], row["among"]) for row in found] == [
        (name, each) for name in ("log_mel", "mini latents") for each in among
    ]
    first, second = found[0], found[3]
    assert first["accuracy"]["mean"] == 0.5 and first["deviation"] == 0.0 and first["training_s"] == 4.0
    assert first["choices"] == [("mnist", 1), ("conv", 1)] and "mcnemar" not in first
    assert (second["mcnemar"]["first_only"], second["mcnemar"]["second_only"]) == (2, 0)
    assert found[1]["choices"] == [("mnist", 2)] and found[1]["accuracy"]["mean"] == 0.75
    assert found[1]["training_s"] == 2.0
    rows, conditions = table_rows(cells, about), {"dataset": "x", "clips": 4, "epochs": None, "audio_s": 20.0}
    text = page(rows, found, conditions)
    assert (
        "| log_mel | all heads | mnist (1); conv (1) | 0.500 | 0.000 |" in text and "each recipe's own number" in text
    )
    assert [row["deviation"] for row in rows[:2]] == [0.25, 0.25] and "window (s)" not in text
    assert " All rows: windows of 1 s, recipe paper.\n" in text
    older = [{name: value for name, value in each.items() if name != "validation_loss"} for each in cells]
    text = page(table_rows(older, about), chosen_rows(older, about), conditions)
    assert "No choice by validation of log_mel, mini latents" in text and "In each division" not in text
    assert chosen_rows([each for each in cells if each["head"] == "conv"], about) == []  # nothing to choose


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
    cell_file = next(out.glob("cells/log_mel/**/cell.json"))
    cell_file.unlink()  # as after a kill
    assert [row["accuracy"] for row in compare(tones)] == [row["accuracy"] for row in rows] and len(trained) == 4
    with pytest.raises(ValueError, match=r"made with other settings \(it differs in num_train_epochs\)"):
        compare(tones, "--epochs", "2")
    assert len(trained) == 4


def test_windows_floors_and_recipes_are_compared(tones, monkeypatch, no_network):
    trained, train = [], codecs.train
    monkeypatch.setattr(codecs, "train", lambda *args, **more: (trained.append(more), train(*args, **more))[1])
    before = compare(tones, "--features", "latents", "--heads", "statistics")
    cells = tones.parent / "out" / "cells"
    for folder in list(cells.glob("*/statistics/0.3s/*")):  # where earlier versions put every cell
        folder.rename(folder.parent.parent / folder.name)
    one = next(cells.glob("log_mel/statistics/*/cell.json"))
    record = json.loads(one.read_text())
    for name in ("validation_accuracy", "validation_loss", "cpu_s"):
        assert record.pop(name) >= 0
    assert record["settings"]["recipe"].pop("mixup") == 0  # a field that recipes did not have yet
    assert record["settings"].pop("calibrate") is True  # nor was this one written down yet
    more = ["--features", "latents", "--heads", "statistics", "--window_s", "0.3", "0.5", "--floor_db", "none", "-50"]
    rows = compare(tones, *more)
    settings = [(row["features"], row["window_s"], row["floor_db"]) for row in rows]
    assert settings == [
        *(("log_mel", 0.3, None), ("log_mel", 0.3, -50), ("log_mel", 0.5, None), ("log_mel", 0.5, -50)),
        *(("codec latents", 0.3, None), ("codec latents", 0.5, None)),
    ]
    assert len(trained) == 6 and rows[0]["accuracy"] == before[0]["accuracy"]  # two of them finished before
    page = (tones.parent / "out" / "codecs.md").read_text()
    assert "chosen by validation" in page and "window (s)" in page and "floor (dB)" in page and "recipe |" not in page
    table = list(csv.DictReader((tones.parent / "out" / "codecs.csv").open()))
    assert [row["head"] for row in table[-2:]] == ["chosen by validation, statistics"] * 2
    one.write_text(json.dumps(record))  # as an earlier version wrote it
    compare(tones, *more)
    assert (
        len(trained) == 6 and "No choice by validation of log_mel:" in (tones.parent / "out" / "codecs.md").read_text()
    )
    finished = compare(tones, *more, "--recipe", "recommended", "paper", "--finished")
    assert [row["recipe"] for row in finished] == ["paper"] * 6 and len(trained) == 6
    with pytest.raises(ValueError, match="expected a row of finished cells in .*cells, found none"):
        compare(tones, *more, "--seeds", "1", "--finished")


def test_what_cannot_be_is_said_before_the_work(tones):
    with pytest.raises(ValueError, match="log_mel: window_s=0.02 is too short for the network"):
        compare(tones, "--window_s", "0.02")
    with pytest.raises(ValueError, match="official needs a data set with folds"):
        compare(tones, "--protocol", "official")
    with pytest.raises(ValueError, match="expected --epochs to be a number or `recipe`, found 'many'"):
        compare(tones, "--epochs", "many")
    with pytest.raises(ValueError, match="expected a recipe paper or recommended, found 'mine'"):
        compare(tones, "--recipe", "paper", "mine")
    with pytest.raises(ValueError, match="expected a codec at 'nowhere'"):
        compare(tones, "--codec", "nowhere")
