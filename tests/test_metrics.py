"""Scores against hand-computed numbers; the `evaluate` modules load without a network."""

import time

import numpy as np
import pytest

from hf_encls.training.metrics import METRICS, confusion, evaluate_split, load_metric, macro_f1, per_class

PROBABILITIES = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.45, 0.55]])
LABELS = [0, 0, 1, 0]
CLIPS = ["a", "a", "b", "c"]


def test_clip_result_is_the_mean_of_its_windows_probabilities():
    scores = evaluate_split(PROBABILITIES, LABELS, CLIPS)

    assert scores.num_windows == 4 and scores.num_clips == 3
    assert scores.window.accuracy == pytest.approx(2 / 4)
    assert scores.clip.accuracy == pytest.approx(2 / 3)  # a: (0.65, 0.35) right, b right, c wrong
    assert scores.clip.loss == pytest.approx(-np.log([0.65, 0.8, 0.45]).mean())
    assert scores.window.loss == pytest.approx(-np.log([0.9, 0.4, 0.8, 0.45]).mean())


def test_order_of_windows_does_not_matter_and_ids_may_be_numbers():
    order = [3, 1, 0, 2]
    shuffled = evaluate_split(PROBABILITIES[order], np.array(LABELS)[order], np.array([0, 0, 1, 2])[order])
    assert shuffled.clip.as_dict() == pytest.approx(evaluate_split(PROBABILITIES, LABELS, CLIPS).clip.as_dict())


def test_silent_windows_are_left_out_of_one_score_only():
    scores = evaluate_split(PROBABILITIES, LABELS, CLIPS, silent=[False, True, False, True])
    assert scores.window_without_silence.accuracy == 1.0
    assert scores.num_windows_without_silence == 2
    assert scores.window.accuracy == 0.5

    nothing_left = evaluate_split(PROBABILITIES, LABELS, CLIPS, silent=[True] * 4)
    assert nothing_left.window_without_silence is None


def test_scores_of_classes_by_hand():
    labels, predictions = (
        [0, 0, 0, 1, 1, 2],
        [0, 0, 1, 1, 0, 3],
    )  # 2 is never predicted, 3 is never true, 4 is not there
    assert confusion(predictions, labels, 5).tolist() == [
        [2, 1, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]
    first = {"class": "a", "support": 3, "precision": pytest.approx(2 / 3), "recall": pytest.approx(2 / 3)}
    rows = per_class(predictions, labels, list("abcde"))
    assert rows[0] == first | {"f1": pytest.approx(2 / 3)}
    assert rows[4] == {"class": "e", "support": 0, "precision": 0.0, "recall": 0.0, "f1": 0.0}
    # (2/3 + 1/2 + 0 + 0) / 4: the class that is neither true nor predicted does not count.
    assert macro_f1(predictions, labels) == pytest.approx((2 / 3 + 1 / 2) / 4)


def test_a_probability_of_zero_gives_a_finite_loss():
    assert np.isfinite(evaluate_split(np.array([[1.0, 0.0]]), [1], ["a"]).window.loss)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((PROBABILITIES[0], LABELS, CLIPS), "shape"),
        ((PROBABILITIES, LABELS[:3], CLIPS), "labels"),
        ((PROBABILITIES, LABELS, CLIPS[:3]), "clip_ids"),
        ((PROBABILITIES, [0, 0, 2, 0], CLIPS), "0 to 1"),
        ((PROBABILITIES, [0, 1, 1, 0], CLIPS), "clip 'a'"),
        ((PROBABILITIES * np.nan, LABELS, CLIPS), "finite"),
    ],
)
def test_input_that_cannot_be_scored_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluate_split(*arguments)


def test_fast_enough_for_every_epoch():
    generator = np.random.default_rng(0)
    clips = np.repeat([f"folder/clip-{number}.wav" for number in range(2000)], 5)
    labels = np.repeat(np.arange(2000) % 50, 5)
    probabilities = generator.dirichlet(np.ones(50), len(labels)).astype(np.float32)
    start = time.perf_counter()
    evaluate_split(probabilities, labels, clips, np.zeros(len(labels), bool))
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("name", METRICS)
def test_modules_load_without_a_network_and_take_classes_or_probabilities(name, no_network):
    metric = load_metric(name)
    extra = {"clip_ids": CLIPS} if name == "clip_accuracy" else {}
    from_probabilities = metric.compute(predictions=PROBABILITIES.tolist(), references=LABELS, **extra)
    assert from_probabilities

    classes = PROBABILITIES.argmax(axis=1).tolist()
    from_classes = load_metric(name).compute(predictions=classes, references=LABELS, **extra)
    if name == "clip_accuracy":  # clip a: one window each way, and the tie goes to the lower class
        assert from_classes == {"accuracy": pytest.approx(2 / 3), "macro_f1": pytest.approx(2 / 3), "num_clips": 3}
        assert from_probabilities["loss"] > 0
    else:
        assert from_classes == from_probabilities


def test_an_unknown_metric_names_the_known_ones():
    with pytest.raises(ValueError, match="window_accuracy"):
        load_metric("accuracy")
