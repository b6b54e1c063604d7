"""Which clips to label next: those that a classifier is unsure of, and that are not like each other.

Without any label the most typical clips come first, one of each of as many clusters as are asked for; later those whose two
most probable classes are nearest to each other, one of each cluster of the unsure. With few labels what is typical
teaches most, with more what is uncertain:

- Hacohen, Dekel and Weinshall, "Active learning on a budget: opposite strategies suit high and low budgets", ICML 2022
  (TypiClust).
- Scheffer, Decomain and Wrobel, "Active hidden Markov models for information extraction", IDA 2001 (the margin).
- Zhdanov, "Diverse mini-batch active learning", arXiv:1901.05954, 2019 (clusters of the uncertain).
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from hf_encls.features.vectors import unit_vectors

STRENGTH = 0.1  # C of the logistic regression
NEIGHBOURS = 20  # in whose midst a clip is typical
BLOCK = 1024
UNSURE = 5  # times as many unsure clips as are asked for are clustered


@dataclass(frozen=True)
class Choice:
    """A clip to label: its number, the class that seems most probable, and by how much; None where nothing is known."""

    index: int
    label: int | None = None
    score: float | None = None
    margin: float | None = None


def clip_vectors(vectors: np.ndarray, clip_ids: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of windows (n, D) -> the ids of their clips (m,), sorted, and the means of their windows' vectors (m, D)."""
    ids, clip = np.unique(np.asarray(clip_ids), return_inverse=True)
    means = np.zeros((len(ids), vectors.shape[1]))
    np.add.at(means, clip, vectors)
    return ids, means / np.bincount(clip)[:, None]


def predicted(labelled: np.ndarray, labels: np.ndarray, others: np.ndarray, num_labels: int) -> np.ndarray | None:
    """Probabilities of classes (n, L) of other vectors (n, D) by a classifier of labelled ones; None: it knows one class.

    Few vectors of many numbers: in the directions that the labelled ones span the regression is the same, and faster.
    """
    if len(np.unique(labels)) < 2:
        return None
    directions, inside = np.linalg.qr(labelled.T)
    model = LogisticRegression(C=STRENGTH, max_iter=1000).fit(inside.T, labels)
    probabilities = np.zeros((len(others), num_labels))
    probabilities[:, model.classes_] = model.predict_proba(others @ directions)
    return probabilities


def choose(
    vectors: np.ndarray,
    count: int,
    probabilities: np.ndarray | None = None,
    labelled: np.ndarray | None = None,
    seed: int = 0,
) -> list[Choice]:
    """The `count` clips of vectors (n, D) to label next, the most useful first; all of them where there are no more.

    `probabilities` (n, L) are those of a classifier; None: it knows nothing yet, and what lies with the vectors that have a
    label, `labelled` (m, D), comes last.
    """
    units, count = unit_vectors(vectors), min(count, len(vectors))
    if probabilities is None:
        known = unit_vectors(vectors[:0] if labelled is None else labelled)
        return [Choice(index) for index in _typical(units, known, count, seed)]
    best = np.sort(probabilities, axis=1)
    margins = best[:, -1] - best[:, -2]
    unsure = np.argsort(margins, kind="stable")[: UNSURE * count]
    clusters = _clusters(units[unsure], count, seed)
    _, first = np.unique(clusters, return_index=True)  # of each cluster the most unsure one
    rest = np.setdiff1d(np.arange(len(unsure)), first)[: count - len(first)]
    chosen = unsure[np.sort(np.concatenate([first, rest]))]
    labels, scores = probabilities.argmax(axis=1), best[:, -1]
    return [Choice(int(i), int(labels[i]), float(scores[i]), float(margins[i])) for i in chosen]


def _typical(units: np.ndarray, known: np.ndarray, count: int, seed: int) -> list[int]:
    """The unit that is nearest to its neighbours in each of the largest clusters, those without a known one first."""
    together = np.concatenate([units, known])
    number = min(len(known) + count, len(together))
    clusters = _clusters(together, number, seed)
    of_units, sizes = clusters[: len(units)], np.bincount(clusters, minlength=number)
    taken = np.bincount(clusters[len(units) :], minlength=number) > 0
    distances = _distances(units)
    order = [cluster for cluster in np.lexsort((-sizes, taken)) if (of_units == cluster).any()]
    chosen = [int(np.flatnonzero(of_units == n)[distances[of_units == n].argmin()]) for n in order[:count]]
    rest = [index for index in np.argsort(distances, kind="stable").tolist() if index not in chosen]
    return chosen + rest[: count - len(chosen)]


def _clusters(units: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The cluster (n,) of each unit, by k-means."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # equal clips: there are fewer clusters
        return KMeans(count, n_init=1, random_state=seed).fit_predict(units)


def _distances(units: np.ndarray) -> np.ndarray:
    """(n,) the mean distance of each unit to its nearest neighbours."""
    near = min(NEIGHBOURS, len(units) - 1)
    if near < 1:
        return np.zeros(len(units))
    means = []
    for at in range(0, len(units), BLOCK):
        squares = np.maximum(2 - 2 * units[at : at + BLOCK] @ units.T, 0)
        squares[np.arange(len(squares)), np.arange(at, at + len(squares))] = np.inf
        means.append(np.sqrt(np.partition(squares, near - 1, axis=1)[:, :near]).mean(axis=1))
    return np.concatenate(means)
