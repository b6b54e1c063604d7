"""Timelines against a reference: sed_eval's numbers, to the last digits, and the command."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
from small_models import save_small_model

from hf_encls.commands.cli import main
from hf_encls.timelines.evaluation import EvaluationSettings, evaluate_timelines
from hf_encls.timelines.formats import render

VECTORS = (
    Path(__file__).parent / "data" / "sed_eval.json"
)  # made by sed_eval 0.2.1, see `harnesses/test_label_tools.py`
LABELS = ["bark", "rain", "siren"]
SETTINGS = [{}, {"time_resolution": 0.1, "t_collar": 0.5}, {"evaluate_offset": False}, {"percentage_of_length": 0.0}]
SETTINGS += [{"evaluate_onset": False, "time_resolution": 0.37}]


def random_pair(seed: int) -> tuple[list[dict], list[dict]]:
    """A reference and an estimate of it with shifted, missing, exchanged and invented events, which overlap."""
    random = np.random.default_rng(seed)

    def event(start: float, label: str) -> dict:
        return {"start": round(start, 2), "end": round(start + float(random.uniform(0.05, 3)), 2), "label": label}

    reference = [event(float(random.uniform(0, 8)), str(random.choice(LABELS))) for _ in range(random.integers(0, 14))]
    estimate = []
    for each in reference:
        if random.uniform() < 0.8:
            shift = float(random.choice([0.0, 0.0, 0.1, 0.3]) * random.choice([-1, 1]))
            label = str(random.choice(LABELS)) if random.uniform() < 0.3 else each["label"]
            times = {"start": round(max(0, each["start"] + shift), 2), "end": round(each["end"] + abs(shift), 2)}
            estimate.append(times | {"label": label})
    estimate += [event(float(random.uniform(0, 8)), str(random.choice(LABELS))) for _ in range(random.integers(0, 5))]
    return reference, estimate


def flat(value, name: str = "") -> dict[str, float]:
    """Scores by their path, without those that are sed_eval's alone."""
    if not isinstance(value, dict):
        return {name: math.nan if value is None else value}
    return {k: v for key, each in value.items() if key != "accuracy" for k, v in flat(each, f"{name}/{key}").items()}


def assert_equal(found: dict, expected: dict) -> None:
    found, expected = flat(found), flat(expected)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9, abs=1e-12, nan_ok=True), name


def by_sed_eval(pairs: list, settings: dict) -> dict:
    import sed_eval

    of_segments = {name: settings[name] for name in ("time_resolution",) if name in settings}
    of_events = {name: value for name, value in settings.items() if name not in of_segments}
    segments = sed_eval.sound_event.SegmentBasedMetrics(LABELS, **{"time_resolution": 1.0, **of_segments})
    events = sed_eval.sound_event.EventBasedMetrics(LABELS, **{"t_collar": 0.2, **of_events})
    for pair in pairs:
        lists = [
            [{"event_label": s["label"], "onset": s["start"], "offset": s["end"], "filename": "x"} for s in timeline]
            for timeline in pair
        ]
        segments.evaluate(*lists)
        events.evaluate(*lists)
    return {"segment_based": segments.results(), "event_based": events.results()}


@pytest.mark.parametrize("number", range(len(SETTINGS)))
def test_the_numbers_of_sed_eval(number):
    kept = json.loads(VECTORS.read_text(encoding="utf-8"))[number]
    assert kept["settings"] == SETTINGS[number]
    for row in kept["timelines"]:
        found = evaluate_timelines(row["pairs"], EvaluationSettings(**kept["settings"]), LABELS)
        assert_equal(found, row["expected"])


def test_a_timeline_against_itself_and_against_nothing():
    reference = [{"start": 0.0, "end": 1.0, "label": "a"}, {"start": 1.0, "end": 2.5, "label": "b"}]
    same = evaluate_timelines([(reference, reference)])
    nothing = evaluate_timelines([(reference, [])])
    for kind in ("segment_based", "event_based"):
        assert same[kind]["overall"]["f_measure"] == {"f_measure": 1.0, "precision": 1.0, "recall": 1.0}
        assert same[kind]["overall"]["error_rate"]["error_rate"] == 0
        assert nothing[kind]["overall"]["error_rate"]["deletion_rate"] == pytest.approx(1)
        assert nothing[kind]["overall"]["f_measure"]["recall"] == 0


@pytest.fixture
def files(tmp_path) -> Path:
    """References as Audacity tracks in folders, what was said as one JSON lines file and as TextGrids."""
    lines = []
    for seed, name in enumerate(["day/one", "two"]):
        reference, estimate = random_pair(20 + seed)
        (tmp_path / "right" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "right" / f"{name}.txt").write_text(render([{**s, "score": 1.0} for s in reference], "audacity"))
        lines.append(render([{**s, "score": 1.0} for s in estimate], "jsonl", name=f"{name}.wav"))
    (tmp_path / "said.jsonl").write_text("".join(lines))
    return tmp_path


def test_the_command(files, capsys):
    command = ["evaluate-timeline", str(files / "said.jsonl"), "--reference", str(files / "right")]
    assert main([*command, "--format", "json", "--time_resolution", "0.5", "--no-evaluate-offset"]) == 0
    found = json.loads(capsys.readouterr().out)
    settings = EvaluationSettings(time_resolution=0.5, evaluate_offset=False)
    assert_equal(
        {name: found[name] for name in ("segment_based", "event_based")},
        evaluate_timelines([random_pair(20), random_pair(21)], settings),
    )
    assert found["recordings"] == 2 and found["settings"]["t_collar"] == 0.2
    assert main([*command, "--ignore", "rain", "--output", str(files / "scores.txt")]) == 0
    text = (files / "scores.txt").read_text()
    assert "segments of 1 s" in text and "bark" in text and "rain" not in text


def test_a_model_on_recordings(files, capsys):
    save_small_model(files / "model", "log_mel", window_s=0.4)
    (files / "audio" / "day").mkdir(parents=True)
    for name in ("day/one", "two"):
        soundfile.write(files / "audio" / f"{name}.wav", np.random.default_rng(0).normal(size=40_000) * 0.1, 8_000)
    command = ["evaluate-timeline", str(files / "audio"), "--reference", str(files / "right")]
    assert main([*command, "--model", str(files / "model"), "--smoothing", "median", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["recordings"] == 2


MISTAKES = {
    ("--t_collar", "0"): "expected --t_collar above 0 seconds, found 0.0",
    ("--percentage_of_length", "2"): "expected --percentage_of_length from 0 to 1",
    ("--smoothing", "viterbi"): "--smoothing is about a model: name one with --model, or leave it out",
    ("--no_evaluate_onset", "--no_evaluate_offset"): "found neither",
    ("--ignore", "cat"): "expected --ignore to name classes that occur (bark, rain, siren), found 'cat'",
    ("--reference", "{files}/nowhere"): "expected a folder, a file or a pattern of labels",
    ("--reference", "{files}/other"): "expected a timeline of 'three', as the reference has",
}


@pytest.mark.parametrize("options", MISTAKES)
def test_mistakes_are_one_line(options, files, capsys):
    (files / "other").mkdir()
    for name in ("three", "two"):
        (files / "other" / f"{name}.txt").write_text("0\t1\tbark\n")
    command = ["evaluate-timeline", str(files / "said.jsonl"), "--reference", str(files / "right")]
    assert main([*command, *(each.format(files=files) for each in options)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and MISTAKES[options] in error and error.count("\n") == 1


def write_vectors() -> None:
    rows = []
    for settings in SETTINGS:
        pairs = [[random_pair(seed), random_pair(50 + seed)] for seed in (0, 2)]
        timelines = [{"pairs": each, "expected": by_sed_eval(each, settings)} for each in pairs]
        rows.append({"settings": settings, "timelines": timelines})
    text = json.dumps(json.loads(json.dumps(rows), parse_constant=lambda _: None), separators=(",", ":"))
    VECTORS.write_text(
        text.replace('{"settings', '\n{"settings').replace('{"pairs', '\n{"pairs') + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    write_vectors()
