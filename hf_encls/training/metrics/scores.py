"""Scores of windows and clips, computed by scikit-learn: n windows, L classes, C clips."""

from collections.abc import Mapping, Sequence

import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_recall_fscore_support

from hf_encls.model.calibration_encls import tempered
from hf_encls.training.metrics.several import SMALLEST, UNCHOSEN, set_scores
from hf_encls.training.results import PartScores, Scores

BINS = 15  # of equal width, as Guo et al. take them


def evaluate_split(
    probabilities: np.ndarray,
    labels: Sequence[int],
    clip_ids: Sequence | None,
    silent: Sequence[bool] | None = None,
    calibration: Mapping[str, float | None] | None = None,
    thresholds: Sequence[float] | None = None,
) -> PartScores:
    """The scores of one split.

    Args:
        probabilities: (n, L), one row for each window, as trained; every row sums to 1.
        labels: (n,) the true class of each window; of several at once (n, L) which of them it has. Then a row sums to
            anything, and there are other scores (`set_scores`); NaN where that is unknown.
        clip_ids: (n,) the clip each window comes from: strings or integers, in any order. None: clips have no class of
            their own (labels are in time), so that there is no score of clips.
        silent: (n,) which windows hold nothing but silence, where that is known.
        calibration: temperatures and thresholds of `unknown`, by their names in [`EnclsConfig`]; none where None.
        thresholds: (L,) of several labels: from which probability on each is there; 0.5 where None.

    Without `silent` there are none of the windows without silence. Raises `ValueError` where there are no windows.
    """
    probabilities, labels = _checked(probabilities, labels)
    if not len(labels):
        raise ValueError("Expected at least one window to score, found none.")
    limits = [UNCHOSEN] * probabilities.shape[1] if thresholds is None else thresholds

    def scores_of(some: np.ndarray, truth: np.ndarray, unit: str) -> Scores:
        if truth.ndim == 2:
            return set_scores(some, truth, limits)
        return class_scores(some, truth, *_settings(calibration, unit))

    scores = PartScores(window=scores_of(probabilities, labels, "window"), num_windows=len(labels))
    if clip_ids is not None:
        clips, clip_labels, _ = clip_probabilities(probabilities, labels, clip_ids)
        scores.clip, scores.num_clips = scores_of(clips, clip_labels, "clip"), len(clip_labels)
    if silent is not None:
        heard = ~_column(silent, len(labels), "silent").astype(bool)
        if heard.any():
            scores.window_without_silence = scores_of(probabilities[heard], labels[heard], "window")
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


def calibration_error(probabilities: np.ndarray, labels: Sequence[int]) -> float:
    """The expected calibration error (ECE) of probabilities (n, L): how far confidence and accuracy are apart.

    The n answers are put into 15 bins of equal width by their confidence, the probability of the most probable class
    (Guo et al., "On calibration of modern neural networks", 2017). The result is the mean over bins, weighted by their
    answers, of the distance between the share that is right and the mean confidence.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    bins = np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def _settings(calibration: Mapping[str, float | None] | None, unit: str) -> tuple[float | None, float | None]:
    """Temperature and threshold of `window` or `clip`."""
    calibration = calibration or {}
    return calibration.get(f"{unit}_temperature"), calibration.get(f"{unit}_unknown_below")


def class_scores(
    probabilities: np.ndarray,
    labels: np.ndarray,
    temperature: float | None = None,
    unknown_below: float | None = None,
) -> Scores:
    """The scores of probabilities (n, L), as trained, against the true classes (n,)."""
    predictions = probabilities.argmax(axis=1)
    scores = Scores(
        accuracy=float(accuracy_score(labels, predictions)),
        loss=_loss(probabilities, labels),
        macro_f1=macro_f1(predictions, labels),
        ece=calibration_error(probabilities, labels),
    )
    honest = tempered(probabilities, temperature)
    if temperature is not None:
        scores.calibrated_loss, scores.calibrated_ece = _loss(honest, labels), calibration_error(honest, labels)
    if unknown_below is not None:
        scores.coverage = float((honest.max(axis=1) >= unknown_below).mean())
    return scores


def _loss(probabilities: np.ndarray, labels: np.ndarray) -> float:
    of_truth = np.take_along_axis(probabilities, labels[:, None], axis=1).astype(np.float64)
    return float(-np.log(np.maximum(of_truth, SMALLEST)).mean())


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
