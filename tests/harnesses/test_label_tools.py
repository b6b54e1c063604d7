"""Other readers, writers and scorers of labels in time find in our files what we do, we in theirs; scores are equal."""

import pytest
from test_evaluate_timeline import LABELS, SETTINGS, assert_equal, by_sed_eval, random_pair
from test_timelines import NAMES, timeline

from hf_encls.timelines.evaluation import EvaluationSettings, evaluate_timelines
from hf_encls.timelines.formats import render
from hf_encls.timelines.reading import read_timeline

SEEDS = range(5)


def assert_same(found: list[tuple], segments: list[dict], *, within_s: float) -> None:
    """(start, end, label) as another program gives them, and what was written."""
    assert [each[2] for each in found] == [each["label"] for each in segments]
    for place, name in enumerate(("start", "end")):
        assert [each[place] for each in found] == pytest.approx([each[name] for each in segments], abs=within_s)


def triples(segments: list[dict]) -> list[tuple]:
    return [(each["start"], each["end"], each["label"]) for each in segments]


@pytest.fixture(params=SEEDS)
def segments(request) -> list[dict]:
    return timeline(request.param, NAMES)


@pytest.fixture
def textgrid(segments, tmp_path):
    """Our file."""
    path = tmp_path / "ours.TextGrid"
    path.write_text(render(segments, "textgrid"), encoding="utf-8", newline="")
    return path


def test_tgt(segments, textgrid, tmp_path, says):
    tgt = pytest.importorskip("tgt")
    grid = tgt.read_textgrid(str(textgrid))
    intervals = [(float(each.start_time), float(each.end_time), each.text) for each in grid.tiers[0].intervals]
    assert_same(intervals, segments, within_s=2e-6)
    for form in ("long", "short"):
        tgt.write_to_file(grid, str(tmp_path / form), format=form)
        assert_same(triples(read_timeline(tmp_path / form)), segments, within_s=2e-6)
    says("tgt", "TextGrids with equal labels: ours read there, its long and short ones read here", 3)


def test_praatio(segments, textgrid, tmp_path, says):
    praatio = pytest.importorskip("praatio.textgrid")
    grid = praatio.openTextgrid(str(textgrid), includeEmptyIntervals=False)
    entries = [tuple(each) for each in grid.getTier(grid.tierNames[0]).entries]
    assert_same(entries, segments, within_s=2e-6)
    for form in ("long_textgrid", "short_textgrid"):
        grid.save(str(tmp_path / form), format=form, includeBlankSpaces=True)
        assert_same(triples(read_timeline(tmp_path / form)), segments, within_s=2e-6)
    says("praatio", "TextGrids with equal labels: ours read there, its long and short ones read here", 3)


def test_pyannote(segments, tmp_path, says):
    core = pytest.importorskip("pyannote.core")
    # RTTM has no spaces; %20 means one to us, and to others itself.
    segments = [each | {"label": each["label"].replace(" ", "_")} for each in segments if "%" not in each["label"]]
    annotation = core.Annotation(uri="show")
    for number, each in enumerate(segments):
        annotation[core.Segment(each["start"], each["end"]), number] = each["label"]
    (tmp_path / "theirs.rttm").write_text(annotation.to_rttm(), encoding="utf-8")
    assert_same(triples(read_timeline(tmp_path / "theirs.rttm")), segments, within_s=1.1e-3)  # it writes milliseconds
    ours = [line.split() for line in render(segments, "rttm", name="show.wav").splitlines()]
    theirs = [line.split() for line in annotation.to_rttm().splitlines()]
    assert [(len(row), row[0], row[1], row[7]) for row in ours] == [
        (len(row), row[0], row[1], row[7]) for row in theirs
    ]
    for one, two in zip(ours, theirs, strict=True):
        assert list(map(float, one[3:5])) == pytest.approx(list(map(float, two[3:5])), abs=1.1e-3)
    says("pyannote.core", "RTTM files with equal turns, as it writes them and as we do", 2)


@pytest.mark.slow
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_sed_eval(settings, says):
    """Its numbers, kept in `tests/data/sed_eval.json`, are made anew: `python tests/test_evaluate_timeline.py`."""
    pytest.importorskip("sed_eval")
    for seed in range(50):
        pairs = [random_pair(seed), random_pair(1000 + seed)]
        assert_equal(evaluate_timelines(pairs, EvaluationSettings(**settings), LABELS), by_sed_eval(pairs, settings))
    says("sed_eval", "pairs of timelines with equal scores of segments and events, to 1e-9, under five settings", 100)
