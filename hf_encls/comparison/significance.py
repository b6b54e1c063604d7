"""How sure a mean over folds is, and whether two ways to classify the same folds and clips differ."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

CONFIDENCE = 0.95


def t_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> dict:
    """`mean` of a sample with its confidence interval, `low` to `high` (None for one value), and `count`.

    mean +- t(1 - (1 - confidence) / 2; n - 1) s / sqrt(n), s with n - 1 below: Student's interval (Biometrika 6, 1908). It
    takes the values for independent. Those of folds are not, they share training clips, so that it is too narrow rather
    than too wide (Dietterich, Neural Computation 10, 1998).
    """
    mean, count = float(np.mean(values)), len(values)
    if count < 2:
        return {"mean": mean, "low": None, "high": None, "count": count}
    half = stats.t.ppf((1 + confidence) / 2, count - 1) * np.std(values, ddof=1) / math.sqrt(count)
    return {"mean": mean, "low": mean - float(half), "high": mean + float(half), "count": count}


def paired_t(first: Sequence[float], second: Sequence[float]) -> float | None:
    """The two-sided p of Student's paired test of two results for each fold; None for fewer than two folds.

    Results that differ by the same in every fold have no deviation to compare with: 1 where they are equal, else 0.
    """
    differences = np.subtract(first, second)
    if len(differences) < 2:
        return None
    if np.ptp(differences) < 1e-12:
        return 1.0 if abs(differences[0]) < 1e-12 else 0.0
    return float(stats.ttest_rel(first, second).pvalue)


def mcnemar(first: Mapping[str, bool], second: Mapping[str, bool]) -> dict:
    """McNemar's test (Psychometrika 12, 1947), exact, over the clips of both: clip id -> whether it was told right.

    Returns `first_only` and `second_only`, how many clips one alone told right, and `p`: two-sided, from the binomial
    distribution of these with 1/2.
    """
    both = first.keys() & second.keys()
    first_only = sum(first[clip] and not second[clip] for clip in both)
    second_only = sum(second[clip] and not first[clip] for clip in both)
    differing = first_only + second_only
    p = float(stats.binomtest(first_only, differing).pvalue) if differing else 1.0
    return {"first_only": first_only, "second_only": second_only, "p": p, "clips": len(both)}
