"""Scores of several labels at once, computed by scikit-learn: n windows or clips, L labels."""

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import average_precision_score, f1_score, precision_recall_fscore_support, roc_auc_score

from hf_encls.training.results import Scores

SMALLEST = 1e-12  # a probability of zero would make the loss infinite
UNCHOSEN = 0.5  # the threshold of a label of which validation has nothing, or nothing else


def set_scores(probabilities: np.ndarray, labels: np.ndarray, thresholds: Sequence[float]) -> Scores:
    """The scores of probabilities (n, L) against which labels are there (n, L), yes from `thresholds` (L,) on.

    `labels` are 1, 0, or NaN where that is unknown: such a pair counts nowhere. `mean_average_precision` (mAP),
    `macro_auroc` and `macro_f1` are means over the labels that are there somewhere (for AUROC: and absent elsewhere); None
    where there is none. `accuracy` is the share with all labels right.
    """
    known, truth, said = ~np.isnan(labels), labels == 1, probabilities >= np.asarray(thresholds)
    likely = np.where(truth, probabilities, 1 - probabilities)[known].astype(np.float64)
    columns = [_column(probabilities, labels, label) for label in range(labels.shape[1])]
    f1 = [
        f1_score(present, scores >= limit, zero_division=0)
        for (scores, present), limit in zip(columns, thresholds, strict=True)
        if present.any() or (scores >= limit).any()
    ]
    ranking = [_ranking(*column) for column in columns]
    return Scores(
        accuracy=float(((truth == said) | ~known).all(axis=1).mean()),
        loss=float(-np.log(np.maximum(likely, SMALLEST)).mean()) if known.any() else 0.0,
        macro_f1=_mean(f1),
        micro_f1=float(f1_score(truth[known], said[known], zero_division=0)),
        mean_average_precision=_mean([row[0] for row in ranking]),
        macro_auroc=_mean([row[1] for row in ranking]),
    )


def per_label(
    probabilities: np.ndarray, labels: np.ndarray, thresholds: Sequence[float], names: Sequence[str]
) -> list[dict]:
    """`class`, `support`, `precision`, `recall`, `f1`, `average_precision`, `auroc` and `threshold` of every label."""
    rows = []
    for label, name in enumerate(names):
        scores, truth = _column(probabilities, labels, label)
        said = scores >= thresholds[label]
        precision, recall, f1, _ = precision_recall_fscore_support(truth, said, average="binary", zero_division=0)
        average_precision, auroc = _ranking(scores, truth)
        figures = {"precision": float(precision), "recall": float(recall), "f1": float(f1)}
        figures |= {"average_precision": average_precision, "auroc": auroc, "threshold": float(thresholds[label])}
        rows.append({"class": name, "support": int(truth.sum()), **figures})
    return rows


def best_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> list[float]:
    """From which probability on each label (L,) is there, so that its F1 is the highest: chosen on validation only.

    It lies half way between two probabilities, and is the highest of equally good ones.
    """
    return [_best_threshold(*_column(probabilities, labels, label)) for label in range(labels.shape[1])]


def _column(probabilities: np.ndarray, labels: np.ndarray, label: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (m,) of a label, and whether it is there (m,), bool, where that is known."""
    known = ~np.isnan(labels[:, label])
    return probabilities[known, label].astype(np.float64), labels[known, label] == 1


def _best_threshold(scores: np.ndarray, truth: np.ndarray) -> float:
    if truth.all() or not truth.any():
        return UNCHOSEN
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    right = truth[order].cumsum()
    f1 = 2 * right / (np.arange(1, len(ranked) + 1) + truth.sum())
    last = np.append(ranked[1:] != ranked[:-1], True)  # equal probabilities are on one side
    best = int(np.argmax(np.where(last, f1, -1.0)))
    below = ranked[best + 1] if best + 1 < len(ranked) else 0.0
    return float((ranked[best] + below) / 2)


def _ranking(scores: np.ndarray, truth: np.ndarray) -> tuple[float | None, float | None]:
    """Average precision and AUROC of one label; None where they are not defined."""
    if not truth.any():
        return None, None
    return float(average_precision_score(truth, scores)), None if truth.all() else float(roc_auc_score(truth, scores))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
