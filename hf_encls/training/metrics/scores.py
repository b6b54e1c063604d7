"""Scores of windows and clips, computed by scikit-learn: n windows, L classes, C clips."""

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

from hf_encls.training.metrics.several import SMALLEST, UNCHOSEN, set_scores
from hf_encls.training.results import PartScores, Scores


def evaluate_split(
    probabilities: np.ndarray,
    labels: Sequence[int],
    clip_ids: Sequence | None,
    silent: Sequence[bool] | None = None,
    thresholds: Sequence[float] | None = None,
) -> PartScores:
    """The scores of one split.

    Args:
        probabilities: (n, L), one row for each window; every row sums to 1.
        labels: (n,) the true class of each window; of several at once (n, L) which of them it has. Then a row sums to
            anything, and there are other scores (`set_scores`); NaN where that is unknown.
        clip_ids: (n,) the clip each window comes from: strings or integers, in any order. None: clips have no class of
            their own (labels are in time), so that there is no score of clips.
        silent: (n,) which windows hold nothing but silence, where that is known.
        thresholds: (L,) of several labels: from which probability on each is there; 0.5 where None.

    Without `silent` there are none of the windows without silence. Raises `ValueError` where there are no windows.
    """
    probabilities, labels = _checked(probabilities, labels)
    if not len(labels):
        raise ValueError("Expected at least one window to score, found none.")
    limits = [UNCHOSEN] * probabilities.shape[1] if thresholds is None else thresholds

    def _scores(some: np.ndarray, truth: np.ndarray) -> Scores:
        return set_scores(some, truth, limits) if truth.ndim == 2 else class_scores(some, truth)

    scores = PartScores(window=_scores(probabilities, labels), num_windows=len(labels))
    if clip_ids is not None:
        clips, clip_labels, _ = clip_probabilities(probabilities, labels, clip_ids)
        scores.clip, scores.num_clips = _scores(clips, clip_labels), len(clip_labels)
    if silent is not None:
        heard = ~_column(silent, len(labels), "silent").astype(bool)
        scores.window_without_silence = _scores(probabilities[heard], labels[heard]) if heard.any() else None
        scores.num_windows_without_silence = int(heard.sum())
    return scores


def clip_probabilities(
    probabilities: np.ndarray, labels: Sequence[int], clip_ids: Sequence
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean of the windows' probabilities of each clip, the clip result of the whole project.

    Returns the probabilities (C, L), the labels (C,) and the ids (C,), sorted by id. Only the windows given count:
    under the `paper` protocol those are the clip's windows in this split. Raises `ValueError` when two windows of one
    clip have different labels.
    """
    probabilities, labels = _checked(probabilities, labels)
    ids, first, clip = np.unique(_column(clip_ids, len(labels), "clip_ids"), return_index=True, return_inverse=True)
    clip_labels = labels[first]
    differs = np.nan_to_num(clip_labels[clip], nan=-1) != np.nan_to_num(labels, nan=-1)
    wrong = np.flatnonzero(differs.reshape(len(labels), -1).any(axis=1))
    if len(wrong):
        raise ValueError(
            f"Expected one label for each clip, but clip {str(ids[clip[wrong[0]]])!r} has windows of labels "
            f"{clip_labels[clip[wrong[0]]]} and {labels[wrong[0]]}. Clip ids must be unique in a data set."
        )
    sums = np.zeros((len(ids), probabilities.shape[1]))
    np.add.at(sums, clip, probabilities)
    return sums / np.bincount(clip, minlength=len(ids))[:, None], clip_labels, ids


def confusion(predictions: Sequence[int], labels: Sequence[int], num_classes: int) -> np.ndarray:
    """Counts (L, L), int64: rows are the true classes, columns the predicted ones."""
    labels = np.asarray(labels, dtype=np.int64)
    predictions = _column(predictions, len(labels), "predictions").astype(np.int64)
    for name, values in (("labels", labels), ("predictions", predictions)):
        if len(values) and not 0 <= values.min() <= values.max() < num_classes:
            raise ValueError(
                f"Expected {name} from 0 to {num_classes - 1}, found {values.min()} to {values.max()}: "
                f"the number of classes and the {name} do not belong together."
            )
    return confusion_matrix(labels, predictions, labels=range(num_classes))


def per_class(predictions: Sequence[int], labels: Sequence[int], class_names: Sequence[str]) -> list[dict]:
    """`class`, `support`, `precision`, `recall` and `f1` of every class; a share of nothing is 0."""
    numbers = range(len(class_names))
    columns = precision_recall_fscore_support(labels, predictions, labels=numbers, zero_division=0)
    return [
        {
            "class": name,
            "support": int(support),
            "precision": float(precision),
            "recall": float(recall),
            "f1": float(f1),
        }
        for name, precision, recall, f1, support in zip(class_names, *columns, strict=True)
    ]


def macro_f1(predictions: Sequence[int], labels: Sequence[int]) -> float:
    """Unweighted mean of the F1 of the classes that occur, in the labels or in the predictions."""
    return float(f1_score(labels, predictions, average="macro", zero_division=0))


def as_classes(predictions: Sequence) -> tuple[np.ndarray, int]:
    """Classes (n,) and how many are known of, from classes (n,) or probabilities (n, L)."""
    predictions = np.asarray(predictions)
    if predictions.ndim == 2:
        return predictions.argmax(axis=1), predictions.shape[1]
    return predictions, int(predictions.max(initial=-1)) + 1


def class_scores(probabilities: np.ndarray, labels: np.ndarray) -> Scores:
    """The scores of probabilities (n, L) against the true classes (n,)."""
    predictions = probabilities.argmax(axis=1)
    of_truth = np.take_along_axis(probabilities, labels[:, None], axis=1).astype(np.float64)
    return Scores(
        accuracy=float(accuracy_score(labels, predictions)),
        loss=float(-np.log(np.maximum(of_truth, SMALLEST)).mean()),
        macro_f1=macro_f1(predictions, labels),
    )


def _checked(probabilities: np.ndarray, labels: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    probabilities = np.asarray(probabilities)
    if probabilities.ndim != 2 or not probabilities.shape[1]:
        raise ValueError(f"Expected probabilities of shape (windows, classes), found {probabilities.shape}.")
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape == probabilities.shape:
        labels = labels.astype(np.float64)
    else:
        labels = _column(labels, len(probabilities), "labels").astype(np.int64)
    if labels.ndim == 1 and len(labels) and not 0 <= labels.min() <= labels.max() < probabilities.shape[1]:
        raise ValueError(
            f"Expected labels from 0 to {probabilities.shape[1] - 1}, found {labels.min()} to {labels.max()}: "
            "labels and probabilities are of different sets of classes."
        )
    if not np.isfinite(probabilities).all():
        raise ValueError("Expected finite probabilities, found NaN or infinity: the model's output is broken.")
    return probabilities, labels


def _column(values: Sequence, length: int, name: str) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != (length,):
        raise ValueError(f"Expected one of {name} for each of the {length} windows, found shape {values.shape}.")
    return values
