"""Labels that look wrong: confident learning on predictions for clips that the classifier has not heard.

Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in dataset labels", JAIR 70, 2021.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hf_encls.features.summaries import Summaries

FOLDS = 5
STRENGTH = 0.1  # C of the logistic regression: strong regularisation, as labels may be wrong


@dataclass(frozen=True)
class Suspect:
    """A label that looks wrong: which summary, the class that fits better, and the probabilities of both."""

    index: int
    suggested: int
    score: float
    given: float


def out_of_fold(summaries: Summaries, seed: int = 0) -> np.ndarray:
    """(n, L) probabilities of classes, each from a classifier that has heard no clip of its group.

    Raises `ValueError` where a class has fewer than two groups.
    """
    labels = summaries.labels
    classes = np.unique(labels)
    fewest = min(len(np.unique(summaries.groups[labels == label])) for label in classes)
    if len(classes) < 2 or fewest < 2:
        raise ValueError(
            "expected at least two classes, each in two recordings or more, found less: a label can only be judged by "
            "others of its class"
        )
    folds = StratifiedGroupKFold(min(FOLDS, fewest), shuffle=True, random_state=seed)
    out = np.zeros((len(labels), labels.max() + 1))
    for train, test in folds.split(summaries.vectors, labels, summaries.groups):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=1000))
        model.fit(summaries.vectors[train], labels[train])
        out[np.ix_(test, model.classes_)] = model.predict_proba(summaries.vectors[test])
    return out


def suspects(probabilities: np.ndarray, labels: np.ndarray) -> list[Suspect]:
    """The labels that look wrong, the worst first.

    A class is confident where its probability reaches the mean that it has where it is the label; a label is suspect
    where the most probable confident class is another one.
    """
    thresholds = np.array(
        [
            probabilities[labels == label, label].mean() if (labels == label).any() else np.inf
            for label in range(probabilities.shape[1])
        ]
    )
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    best = confident.argmax(axis=1)
    rows = np.flatnonzero((confident.max(axis=1) >= 0) & (best != labels))
    suspects = [
        Suspect(int(i), int(best[i]), float(probabilities[i, best[i]]), float(probabilities[i, labels[i]]))
        for i in rows
    ]
    return sorted(suspects, key=lambda each: each.given - each.score)
