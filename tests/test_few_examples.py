"""Accuracy with few clips: which clips train, what is left alone, the table and the curve, and going on."""

import json

import numpy as np
import pytest
from datasets import Dataset

from hf_encls.codec.loading import codec_facts, load_codec
from hf_encls.commands.few_examples import _warning, main
from hf_encls.commands.inputs import Inputs
from hf_encls.comparison import few_examples
from hf_encls.comparison.few_examples import ClipPool, interval, summary, table
from hf_encls.data.splits import TEST, make_splits
from hf_encls.features.extraction import feature_config


def small_windows(clips: int = 10) -> Dataset:
    """Two classes in five folds, two windows of each clip."""
    rows = [
        {"clip_id": f"{label}/{clip}", "label": label, "group": f"{label}/{clip}", "fold": clip % 5 + 1, "start": start}
        for label in (0, 1) for clip in range(clips) for start in (0.0, 1.0)
    ]  # fmt: skip
    return Dataset.from_list(rows)


def test_draws_are_nested_and_the_test_stays():
    windows = small_windows()
    division = ClipPool.of(windows, "official", 2, seed=0)
    assert division.most == 6
    tested = {row["clip_id"] for row in windows if row["fold"] == 2}
    seen = set()
    for draw in range(5):
        two, three = division.drawn(2, draw, seed=0), division.drawn(3, draw, seed=0)
        assert two < three and len(three) == 6 and sum(clip.startswith("0/") for clip in three) == 3
        only = division.only(windows, three)
        splits = make_splits(only, "official")
        ids = np.asarray(only["clip_id"][:])
        assert set(ids[splits["train"]]) == three and set(ids[splits["test"]]) == tested
        assert not three & tested and len(splits["train"]) == 2 * len(three)
        seen.add(frozenset(three))
    assert len(seen) > 1 and division.drawn(3, 1, seed=0) == division.drawn(3, 1, seed=0)


def test_the_interval_is_of_the_mean():
    low, high = interval([0.5] * 20)
    assert low == high == 0.5
    one = {"kind": "a", "clips": 1, "draw": 0, "accuracy": 0.5, "macro_f1": 0.5, "seconds": 1.0}
    assert "| a | 0.500 |" in table(summary([one]))  # one draw has none
    assert "| a | 0.600 (0.500 to 0.700) |" in table(summary([one, one | {"draw": 1, "accuracy": 0.7}]))
    values = np.random.default_rng(0).normal(0.7, 0.1, 400)
    low, high = interval(values)
    assert low < values.mean() < high and high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_a_small_curve(tones, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(few_examples, "LEAST_STEPS", 2)
    out, cache = tmp_path / "few", tmp_path / "cache"
    command = ["--data_dir", str(tones), "--protocol", "clip", "--inputs", "log_mel", "--heads", "mnist"]
    command += ["--window_s", "0.3", "--recipe", "paper,epochs=1", "--cache_dir", str(cache), "--output_dir", str(out)]
    with pytest.raises(ValueError, match="--clips of at most [45], the training clips of the smallest class, found 9"):
        main([*command, "--clips", "9"])
    points = main([*command, "--clips", "1", "3", "--draws", "2"])
    assert [(point["clips"], point["draws"]) for point in points] == [(1, 2), (3, 2)]
    rows = json.loads((out / "few_examples.json").read_text())["rows"]
    assert summary(rows) == points and len(rows) == 4
    assert (out / "few_examples.png").read_bytes().startswith(b"\x89PNG")
    page = (out / "few_examples.md").read_text()
    assert table(points) in page and "| log_mel, mnist |" in page and "protocol clip, recipe paper,epochs=1" in page
    assert f"{points[0]['accuracy']:.3f}" in capsys.readouterr().out
    trained = []
    monkeypatch.setattr(
        few_examples, "score", lambda *args: trained.append(args) or {**rows[0]} | {"kind": "log_mel, mnist"}
    )
    main([*command, "--clips", "1", "3", "--draws", "2"])
    assert not trained  # all of it is there
    with pytest.raises(ValueError, match=r"with another recipe \(paper,epochs=1\): take the same"):
        main([*command, "--clips", "1", "--recipe", "paper,epochs=2"])
    with pytest.raises(ValueError, match="with another kind of log_mel: take the same"):
        main([*command, "--clips", "1", "--floor_db", "-50"])
    # Of a version whose recommended recipe moved no bands.
    record = json.loads((out / "few_examples.json").read_text())
    del record["settings"]["band_shift"]
    record["settings"]["recipe"] = "recommended"
    command[command.index("mnist")], command[command.index("paper,epochs=1")] = "statistics", "recommended"
    (out / "few_examples.json").write_text(json.dumps(record))
    main([*command, "--clips", "1", "--draws", "1"])  # the rows are of a network, whom bands do not concern
    assert len(trained) == 1
    record["rows"] = [row | {"kind": "log_mel, statistics"} for row in record["rows"]]
    (out / "few_examples.json").write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"another recipe \(recommended,band_shift=0,refit=false\): take the same"):
        main([*command, "--clips", "1", "--draws", "1"])
    main([*command, "--clips", "1", "--draws", "1", "--recipe", "recommended,band_shift=0"])
    assert len(trained) == 1  # all of it is there
    with pytest.raises(ValueError, match="--clips and --draws of 1 or more, found 0"):
        main([*command, "--clips", "0"])


def test_the_parts_are_those_of_the_protocol():
    windows = small_windows()
    division = ClipPool.of(windows, "clip", None, seed=3)
    splits = make_splits(windows, "clip", seed=3)
    tested = {clip for clip, part in division.parts.items() if part == TEST}
    assert tested == set(np.asarray(windows["clip_id"][:])[splits["test"]])


def test_a_codec_that_has_heard_the_sounds_is_called_so(tmp_path):
    codec, config = load_codec("mini"), feature_config("encodec_24khz", None, load_codec("mini"), codec_id="mini")
    inputs = Inputs(small_windows(), config, "ESC-10", codec, codec_facts=codec_facts("mini"))
    assert _warning("mini", inputs).startswith("mini: ") and "heard" in _warning("mini", inputs)
    assert not _warning("log_mel", Inputs(small_windows(), feature_config("log_mel"), "ESC-10"))
