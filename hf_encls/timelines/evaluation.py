"""Timelines against a reference, as sed_eval scores them: F1 and error rates of segments and of events.

Mesaros, Heittola and Virtanen, "Metrics for polyphonic sound event detection", Applied Sciences 6(6), 2016. Names, settings
and numbers are those of sed_eval 0.2.1, which needs no installing here.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hf_encls.timelines.matching import largest_matching

EPSILON = float(np.spacing(1))  # where nothing is in the reference, rates are of this
Timeline = Sequence[Mapping]


@dataclass(frozen=True)
class EvaluationSettings:
    """Settings by sed_eval's names, with its defaults.

    Args:
        time_resolution: seconds of a segment, in which a class is there or not.
        t_collar: seconds by which onsets and offsets may differ.
        percentage_of_length: the share of an event's length by which its offset may differ, where that is more.
        evaluate_onset: whether an event must begin at the right time.
        evaluate_offset: whether it must end there.
    """

    time_resolution: float = 1.0
    t_collar: float = 0.2
    percentage_of_length: float = 0.5
    evaluate_onset: bool = True
    evaluate_offset: bool = True

    def __post_init__(self):
        for name in ("time_resolution", "t_collar"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"expected `{name}` above 0 seconds, found {getattr(self, name)}")
        if not 0 <= self.percentage_of_length <= 1:
            raise ValueError(f"expected `percentage_of_length` from 0 to 1, found {self.percentage_of_length}")
        if not (self.evaluate_onset or self.evaluate_offset):
            raise ValueError("expected onsets or offsets to be evaluated, found neither")


def evaluate_timelines(
    pairs: Iterable[tuple[Timeline, Timeline]],
    settings: EvaluationSettings | None = None,
    labels: Sequence[str] | None = None,
) -> dict:
    """Scores over recordings.

    Args:
        pairs: the reference and the estimate of each recording: segments with `start`, `end` (seconds) and `label`.
        settings: see `EvaluationSettings`.
        labels: the classes that count; None: all that occur.

    Returns `segment_based` and `event_based`, each with `overall`, `class_wise` and `class_wise_average`, in which
    `f_measure` (`f_measure`, `precision`, `recall`) and `error_rate` (`error_rate`, `substitution_rate`, `deletion_rate`,
    `insertion_rate`) are. What is a share of nothing is NaN, as in sed_eval.
    """
    settings = settings or EvaluationSettings()
    pairs = [tuple(list(timeline) for timeline in pair) for pair in pairs]
    if labels is None:
        labels = sorted({each["label"] for pair in pairs for timeline in pair for each in timeline})
    known = set(labels)
    pairs = [tuple([each for each in timeline if each["label"] in known] for timeline in pair) for pair in pairs]
    segments, events = _Counts(labels), _Counts(labels)
    for reference, estimate in pairs:
        _count_segments(segments, _roll(reference, labels, settings), _roll(estimate, labels, settings))
        _count_events(events, reference, estimate, settings)
    return {"segment_based": segments.scores(), "event_based": events.scores()}


class _Counts:
    """True positives, sizes of reference and estimate, and mistakes: overall and of each class."""

    def __init__(self, labels: Sequence[str]):
        self.overall = dict.fromkeys(("Ntp", "Nref", "Nsys", "S", "D", "I"), 0.0)
        self.classes = {label: dict.fromkeys(("Ntp", "Nref", "Nsys"), 0.0) for label in labels}

    def scores(self) -> dict:
        counts, reference = self.overall, self.overall["Nref"] + EPSILON
        rates = {
            f"{name}_rate": counts[name[0].upper()] / reference for name in ("substitution", "deletion", "insertion")
        }
        overall = {"f_measure": _f_measure(counts), "error_rate": {"error_rate": sum(rates.values()), **rates}}
        class_wise = {label: self._of_class(counter) for label, counter in self.classes.items()}
        return {"overall": overall, "class_wise": class_wise, "class_wise_average": _average(class_wise.values())}

    def _of_class(self, counts: Mapping) -> dict:
        reference = counts["Nref"] + EPSILON
        rates = {
            "deletion_rate": (counts["Nref"] - counts["Ntp"]) / reference,
            "insertion_rate": (counts["Nsys"] - counts["Ntp"]) / reference,
        }
        return {
            "f_measure": _f_measure(counts),
            "error_rate": {"error_rate": sum(rates.values()), **rates},
            "count": {"Nref": counts["Nref"], "Nsys": counts["Nsys"]},
        }


def _average(classes: Iterable[Mapping]) -> dict:
    """The means over the classes, those left out for which there is no value."""
    classes, names = list(classes), {"f_measure": ("f_measure", "precision", "recall")}
    names["error_rate"] = ("error_rate", "deletion_rate", "insertion_rate")
    out = {}
    for group, inside in names.items():
        values = {name: np.array([each[group][name] for each in classes]) for name in inside}
        out[group] = {
            name: float(of_classes[~np.isnan(of_classes)].mean()) if (~np.isnan(of_classes)).any() else math.nan
            for name, of_classes in values.items()
        }
    return out


def _f_measure(counts: Mapping) -> dict:
    precision, recall = (counts["Ntp"] / counts[name] if counts[name] else math.nan for name in ("Nsys", "Nref"))
    value = 0.0 if precision == recall == 0 else 2 * precision * recall / (precision + recall)
    return {"f_measure": value, "precision": precision, "recall": recall}


def _roll(timeline: Timeline, labels: Sequence[str], settings: EvaluationSettings) -> np.ndarray:
    """(segments, L) which classes are in each segment: in any part of it."""
    length = settings.time_resolution
    end = max((each["end"] for each in timeline), default=0.0)
    roll = np.zeros((math.ceil(end / length), len(labels)), bool)
    place = {label: i for i, label in enumerate(labels)}
    for each in timeline:
        roll[math.floor(each["start"] / length) : math.ceil(each["end"] / length), place[each["label"]]] = True
    return roll


def _count_segments(counts: _Counts, reference: np.ndarray, estimate: np.ndarray) -> None:
    length = max(len(reference), len(estimate))
    reference, estimate = (np.pad(roll, ((0, length - len(roll)), (0, 0))) for roll in (reference, estimate))
    right, of_reference, of_estimate = (roll.sum(axis=1) for roll in (reference & estimate, reference, estimate))
    counts.overall["S"] += float((np.minimum(of_reference, of_estimate) - right).sum())
    counts.overall["D"] += float(np.maximum(0, of_reference - of_estimate).sum())
    counts.overall["I"] += float(np.maximum(0, of_estimate - of_reference).sum())
    for name, roll in (("Ntp", reference & estimate), ("Nref", reference), ("Nsys", estimate)):
        counts.overall[name] += float(roll.sum())
        for label, number in zip(counts.classes, roll.sum(axis=0), strict=True):
            counts.classes[label][name] += float(number)


def _count_events(counts: _Counts, reference: Timeline, estimate: Timeline, settings: EvaluationSettings) -> None:
    near = _near(reference, estimate, settings)
    names = [np.array([each["label"] for each in timeline], object) for timeline in (reference, estimate)]
    matching = largest_matching(near & (names[0][:, None] == names[1][None]))
    left = [sorted(set(range(len(timeline))) - set(used)) for timeline, used in zip((reference, estimate), matching)]
    substituted: set[int] = set()
    for j in left[0]:
        match = next((i for i in left[1] if i not in substituted and near[j, i]), None)
        if match is not None:
            substituted.add(match)
    right, wrong = len(matching[0]), len(substituted)
    sizes = {"Ntp": right, "Nref": len(reference), "Nsys": len(estimate), "S": wrong}
    sizes |= {"D": len(reference) - right - wrong, "I": len(estimate) - right - wrong}
    for name, number in sizes.items():
        counts.overall[name] += number
    for label, counter in counts.classes.items():
        mine = [np.flatnonzero(each == label) for each in names]
        counter["Nref"] += len(mine[0])
        counter["Nsys"] += len(mine[1])
        counter["Ntp"] += len(largest_matching(near[np.ix_(*mine)])[0])


def _near(reference: Timeline, estimate: Timeline, settings: EvaluationSettings) -> np.ndarray:
    """(reference, estimate) whether two events are at the same time."""
    near = np.ones((len(reference), len(estimate)), bool)
    onsets, offsets = (
        [np.array([each[name] for each in timeline], float) for timeline in (reference, estimate)]
        for name in ("start", "end")
    )
    if settings.evaluate_onset:
        near &= np.abs(onsets[0][:, None] - onsets[1][None]) <= settings.t_collar
    if settings.evaluate_offset:
        allowed = np.maximum(settings.t_collar, settings.percentage_of_length * (offsets[0] - onsets[0]))
        near &= np.abs(offsets[0][:, None] - offsets[1][None]) <= allowed[:, None]
    return near
