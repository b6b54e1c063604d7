"""Timelines: segments tile the clip, whatever the windows were."""

import tracemalloc
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_encls.inference.timeline import Times, cell_probabilities, make_timeline, medians, viterbi

LABELS = ["bark", "rain", "siren"]


def rows(*labels, sure=0.8):
    """One row of probabilities for each letter of b, r, s."""
    other = (1 - sure) / 2
    return np.array([[sure if letter == name[0] else other for name in LABELS] for letter in labels])


def test_three_sounds_are_three_segments():
    found = make_timeline(rows(*"bbrrrs"), LABELS, Times(1.0, 1.0, 6.0))
    assert [(each["start"], each["end"], each["label"]) for each in found] == [
        (0.0, 2.0, "bark"),
        (2.0, 5.0, "rain"),
        (5.0, 6.0, "siren"),
    ]
    assert [each["score"] for each in found] == pytest.approx([0.8, 0.8, 0.8])


def test_the_end_is_the_clips_end():
    found = make_timeline(rows(*"bbr"), LABELS, Times(1.0, 1.0, 2.3))
    assert found[-1]["end"] == 2.3
    # A rest below a tenth of a step has no window of its own and belongs to the last cell.
    found = make_timeline(rows(*"bbr"), LABELS, Times(1.0, 1.0, 3.05))
    assert (found[-1]["start"], found[-1]["end"]) == (2.0, 3.05)


def test_overlapping_windows_are_averaged_where_they_cover():
    probabilities = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    cells = cell_probabilities(probabilities, Times(1.0, 0.5, 2.0))
    # Cell 0 is covered by window 0; 1 by 0 and 1; 2 by 1 and 2; 3 by 2.
    np.testing.assert_allclose(cells[:, 0], [1.0, 0.75, 0.25, 0.0])


def test_a_window_that_is_no_multiple_of_the_step_counts_by_its_share():
    cells = cell_probabilities(np.array([[1.0, 0.0], [0.0, 1.0]]), Times(1.5, 1.0, 2.5))
    # Cell 1: half a second of window 0, a whole one of window 1.
    np.testing.assert_allclose(cells[1], [1 / 3, 2 / 3])


def test_gaps_between_windows_take_the_window_before():
    cells = cell_probabilities(np.array([[1.0, 0.0], [0.0, 1.0]]), Times(1.0, 1.0, 4.0, np.array([0.0, 3.0])))
    np.testing.assert_allclose(cells[:, 0], [1, 1, 1, 0])


def test_given_starts_move_the_boundaries():
    probabilities = np.eye(2)[[0, 0, 1, 1]]
    found = make_timeline(probabilities, ["a", "b"], Times(1.0, 1.0, 4.0, np.array([0, 0.5, 1.0, 2.0])))
    assert [each["end"] for each in found] == [1.0, 4.0]


def test_median_removes_a_single_cell():
    found = make_timeline(rows(*"bbbrbbb"), LABELS, Times(1.0, 1.0, 7.0), smoothing="median")
    assert [each["label"] for each in found] == ["bark"]
    # The score is the measured one, the odd cell with it.
    assert found[0]["score"] == pytest.approx((6 * 0.8 + 0.1) / 7)


def test_median_is_the_median():
    cells = np.random.default_rng(0).random((9, 2))
    expected = [np.median(np.take(cells, range(i - 1, i + 2), axis=0, mode="clip"), axis=0) for i in range(9)]
    np.testing.assert_allclose(np.concatenate(list(medians(cells, 3))), expected)


def brute_force(cells, penalty):

    def value(path):
        return sum(np.log(cells[i, label]) for i, label in enumerate(path)) - penalty * sum(
            a != b for a, b in pairwise(path)
        )

    return max(value(path) for path in product(range(cells.shape[1]), repeat=len(cells))), value


@pytest.mark.parametrize("penalty", [0.0, 0.7, 3.0])
def test_viterbi_finds_the_best_path(penalty):
    rng = np.random.default_rng(1)
    for _ in range(5):
        cells = rng.dirichlet(np.ones(3), size=6)
        best, value = brute_force(cells, penalty)
        assert value(viterbi(cells, penalty).tolist()) == pytest.approx(best)


def test_short_segments_join_the_more_probable_neighbour():
    probabilities = np.array([[0.9, 0.1, 0.0]] * 3 + [[0.1, 0.3, 0.6]] + [[0.0, 0.9, 0.1]] * 3)
    found = make_timeline(probabilities, LABELS, Times(1.0, 1.0, 7.0), min_duration_s=2.0)
    assert [(each["start"], each["end"], each["label"]) for each in found] == [(0, 3, "bark"), (3, 7, "rain")]


def test_all_scores_sum_to_one():
    found = make_timeline(rows(*"brs"), LABELS, Times(1.0, 1.0, 3.0), all_scores=True)
    for segment in found:
        assert list(segment["scores"]) == LABELS
        assert sum(segment["scores"].values()) == pytest.approx(1.0)
        assert segment["scores"][segment["label"]] == segment["score"]


@settings(max_examples=150, deadline=None)
@given(
    num_windows=st.integers(1, 40),
    step_s=st.sampled_from([0.04, 0.1, 1 / 3, 0.5, 1.0, 2.5]),
    ratio=st.sampled_from([0.5, 1.0, 1.7, 2.0, 5.0]),
    tail=st.floats(0.0, 1.0),
    smoothing=st.sampled_from(["none", "median", "viterbi"]),
    min_cells=st.floats(0, 6),
    seed=st.integers(0, 1000),
)
def test_segments_tile_the_clip(num_windows, step_s, ratio, tail, smoothing, min_cells, seed):
    probabilities = np.random.default_rng(seed).dirichlet([0.3, 0.3, 0.3], size=num_windows)
    duration_s = (num_windows - 1 + max(tail, 0.2)) * step_s
    min_duration_s = min_cells * step_s
    found = make_timeline(
        probabilities,
        LABELS,
        Times(ratio * step_s, step_s, duration_s),
        smoothing=smoothing,
        min_duration_s=min_duration_s,
    )
    assert found[0]["start"] == 0.0
    assert found[-1]["end"] == duration_s
    for left, right in pairwise(found):
        assert left["end"] == right["start"]
        assert left["label"] != right["label"]
    assert all(each["start"] < each["end"] and 0 <= each["score"] <= 1 + 1e-9 for each in found)
    if len(found) > 1:
        assert min(each["end"] - each["start"] for each in found) >= min_duration_s - 1e-5


def test_an_hour_of_short_steps_takes_seconds_at_most():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(10), size=36_000)
    found = make_timeline(probabilities, [str(i) for i in range(10)], Times(1.0, 0.1, 3600.0), min_duration_s=0.5)
    assert found[-1]["end"] == 3600.0


@pytest.mark.parametrize(
    "change", [{"smoothing": "mean"}, {"min_duration_s": -1.0}, {"step_s": 0.0}, {"duration_s": float("nan")}]
)
def test_wrong_settings_are_refused(change):
    times = {"window_s": 1.0, "step_s": 1.0, "duration_s": 3.0}
    times |= {name: change.pop(name) for name in times.keys() & change.keys()}
    with pytest.raises(ValueError, match="expected"):
        make_timeline(rows(*"brs"), LABELS, Times(**times), **change)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(W, 2\)"):
        make_timeline(rows(*"brs"), ["a", "b"], Times(1.0, 1.0, 3.0))
    with pytest.raises(ValueError, match="starts_s"):
        make_timeline(rows(*"br"), LABELS, Times(1.0, 1.0, 2.0, np.array([1.0, 0.0])))


@pytest.mark.parametrize("smoothing", ["none", "median", "viterbi"])
def test_long_clips_need_one_table_of_their_cells(smoothing):
    heard = np.random.default_rng(0).dirichlet(np.ones(20), size=40).astype(np.float32)
    probabilities = np.repeat(heard, 1000, axis=0)
    times = Times(0.1, 0.1, 4000.0)
    tracemalloc.start()
    make_timeline(probabilities, [str(i) for i in range(20)], times, smoothing=smoothing)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * 40_000 * 20 * 8  # in float64
