"""Scores against scikit-learn and against hand-computed numbers; the `evaluate` modules load without a network."""

import time

import numpy as np
import pytest

from hf_encls.training.metrics import METRICS, confusion, evaluate_split, load_metric, macro_f1, per_class

PROBABILITIES = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.45, 0.55]])
LABELS = [0, 0, 1, 0]
CLIPS = ["a", "a", "b", "c"]


def test_clip_result_is_the_mean_of_its_windows_probabilities():
    scores = evaluate_split(PROBABILITIES, LABELS, CLIPS)

    assert scores["num_windows"] == 4 and scores["num_clips"] == 3
    assert scores["window"]["accuracy"] == pytest.approx(2 / 4)
    assert scores["clip"]["accuracy"] == pytest.approx(2 / 3)  # a: (0.65, 0.35) right, b right, c wrong
    assert scores["clip"]["loss"] == pytest.approx(-np.log([0.65, 0.8, 0.45]).mean())
    assert scores["window"]["loss"] == pytest.approx(-np.log([0.9, 0.4, 0.8, 0.45]).mean())


def test_order_of_windows_does_not_matter_and_ids_may_be_numbers():
    order = [3, 1, 0, 2]
    shuffled = evaluate_split(PROBABILITIES[order], np.array(LABELS)[order], np.array([0, 0, 1, 2])[order])
    assert shuffled["clip"] == pytest.approx(evaluate_split(PROBABILITIES, LABELS, CLIPS)["clip"])


def test_silent_windows_are_left_out_of_one_score_only():
    scores = evaluate_split(PROBABILITIES, LABELS, CLIPS, silent=[False, True, False, True])
    assert scores["window_without_silence"]["accuracy"] == 1.0
    assert scores["num_windows_without_silence"] == 2
    assert scores["window"]["accuracy"] == 0.5

    nothing_left = evaluate_split(PROBABILITIES, LABELS, CLIPS, silent=[True] * 4)
    assert nothing_left["window_without_silence"] is None


def test_agrees_with_scikit_learn():
    from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support

    generator = np.random.default_rng(0)
    labels, predictions = generator.integers(0, 6, 300), generator.integers(0, 7, 300)  # class 6 is never true
    names = [f"class {number}" for number in range(8)]  # class 7 does not occur

    assert macro_f1(predictions, labels, 8) == pytest.approx(f1_score(labels, predictions, average="macro"))
    assert (confusion(predictions, labels, 8) == confusion_matrix(labels, predictions, labels=range(8))).all()
    expected = precision_recall_fscore_support(labels, predictions, labels=range(8), zero_division=0)
    rows = per_class(predictions, labels, names)
    for name, column in zip(("precision", "recall", "f1", "support"), expected):
        assert [row[name] for row in rows] == pytest.approx(list(column))


def test_a_probability_of_zero_gives_a_finite_loss():
    assert np.isfinite(evaluate_split(np.array([[1.0, 0.0]]), [1], ["a"])["window"]["loss"])


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
