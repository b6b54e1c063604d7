"""Results of runs: what is written is read again, earlier and later versions too, and what is damaged is named."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from hf_encls.codec.facts import CodecFacts
from hf_encls.data.splits import LeakReport
from hf_encls.files.records import RecordError
from hf_encls.training.results import PartScores, Results, Scores, over_folds

SCORES = {"accuracy": 0.5, "loss": 1.25}
OLDEST = {
    **{"dataset": "sounds", "features": "log_mel", "protocol": "clip", "seed": 3, "classes": ["a", "b"]},
    "test": {"window": SCORES, "clip": SCORES},
}


def written(folder: Path, values: object) -> Path:
    (folder / "results.json").write_text(json.dumps(values))
    return folder


def test_results_of_an_earlier_version_have_defaults_for_what_they_lack(tmp_path):
    results = Results.of(written(tmp_path, OLDEST))
    assert results.test.window == Scores(accuracy=0.5, loss=1.25) and results.test.num_windows is None
    assert (results.fold, results.codec, results.leak, results.history, results.holds_codec) == (None,) * 4 + (True,)
    assert results.command == [] and results.versions == {} and results.protocol_text == "clip"
    assert Results.from_dict(results.as_dict()) == results


def test_keys_of_a_later_version_are_written_again(tmp_path):
    later = json.loads(json.dumps(OLDEST)) | {"version": 9, "codec": {"id": "x", "bits": [1, 2]}}
    later["test"]["window"]["calibration"] = {"bins": 10}
    later["test"]["clip"]["top_3"] = None
    results = Results.of(written(tmp_path, later))
    assert results.codec.id == "x"
    results.write(tmp_path)
    again = json.loads((tmp_path / "results.json").read_text())
    assert again["version"] == 9 and again["codec"]["bits"] == [1, 2] and again["test"] == later["test"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test": None}, "expected test to be an object, found None"),
        ({"test": {"clip": SCORES}}, r"expected test\.window, found none"),
        ({"test": {"window": SCORES | {"loss": "low"}, "clip": SCORES}}, r"test\.window\.loss to be a number"),
        ({"seed": True}, "seed to be a whole number"),
        ({"seed": -1}, "seed to be 0 or more, found -1"),
        ({"codec": {"hash": "a"}}, r"expected codec\.id, found none"),
        ({"leak": {"test_windows": 3}}, r"expected leak\.clip_leaks, found none"),
        ({"history": [{"epoch": 1}, {"loss": 2}]}, r"expected history\[1\]\.epoch, found none"),
        ({"folds": {"1": {}}}, r"expected folds\.1\.test, found none"),
        ({"confusion_matrix": [[1, None]]}, r"confusion_matrix\[0\]\[1\] to be a whole number"),
    ],
)
def test_what_is_damaged_is_named_with_its_file(tmp_path, change, message):
    with pytest.raises(RecordError, match=f"{tmp_path}/results.json is damaged: .*{message}"):
        Results.of(written(tmp_path, OLDEST | change))


def test_windows_without_silence_are_scored_only_where_some_are_silent():
    one = Scores(accuracy=0.5, loss=1.0)
    part = PartScores(window=one, clip=one, num_windows=4, num_clips=2, window_without_silence=one)
    for heard, units in ((4, ["window", "clip"]), (3, ["window", "window_without_silence", "clip"])):
        part.num_windows_without_silence = heard
        assert [unit.key for unit, _, _ in part.scored()] == units


def test_folds_are_the_mean_of_every_metric_with_its_deviation():
    runs = {}
    for fold, accuracy in ((1, 0.5), (2, 0.75)):
        scores = {"accuracy": accuracy, "loss": 1.0, "macro_f1": accuracy}
        values = OLDEST | {"protocol": "official", "fold": fold, "test": {"window": scores, "clip": scores}}
        runs[fold] = Results.from_dict(values | {"leak": {"test_windows": 5, "clip_leaks": 0, "group_leaks": fold}})
    results = Results.from_dict(json.loads(json.dumps(over_folds(runs).as_dict())))  # as it is written
    assert results.test.window.accuracy == 0.625 and results.test.window.deviation("accuracy") == 0.125
    assert results.test.clip.deviation("macro_f1") == 0.125 and results.test.window_without_silence is None
    assert results.leak == LeakReport(10, 0, 3) and results.fold is None and results.history is None
    assert results.folds["2"].test == runs[2].test and results.protocol_text == "official"


def test_a_metric_is_one_field():
    @dataclass(kw_only=True)
    class More(Scores):
        calibration: float | None = None

    mean = More.mean([More(accuracy=1, loss=0, calibration=value) for value in (0.1, 0.3)])
    assert mean.calibration == pytest.approx(0.2) and mean.as_dict()["calibration_std"] == pytest.approx(0.1)
    assert "calibration" not in More(accuracy=1, loss=0).as_dict()


def test_the_facts_of_a_codec_are_those_of_its_folder(tmp_path):
    assert CodecFacts.of_folder(tmp_path, "mine") == CodecFacts(id="mine")
    (tmp_path / "codec_training.json").write_text('{"license": "cc0-1.0", "trained_on": ["birds"], "steps": 7}')
    facts = CodecFacts.of_folder(tmp_path, "mine")
    assert facts.of_training() == {"trained_on": ["birds"], "license": "cc0-1.0"} and "steps" not in facts.as_dict()
    (tmp_path / "codec_training.json").write_text('{"trained_on": 3}')
    with pytest.raises(RecordError, match=r"codec_training\.json is damaged: expected trained_on"):
        CodecFacts.of_folder(tmp_path, "mine")
