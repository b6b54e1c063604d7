"""Protocols: which windows are training, validation and test, and the check that nothing leaks.

- `clip` (default): 60/20/20 of the clips, stratified by label. Clips of one group (source recording) stay together.
  Where windows of one clip have several labels (labels in time), the shares are those of the windows. Where a clip has
  several labels at once, each of them meets the shares (`place_sets`).
- `paper`: 60/20/20 of the windows, stratified by label. Windows of one clip fall on both sides: it leaks, and says so.
- `official`: the data set's own division, from the `fold` column. Positive numbers are folds of a cross-validation:
  fold f is the test set, the next one (cyclically) validates, the rest trains. `TRAIN`, `VALIDATION` and `TEST`
  (negative numbers) are fixed lists, as for GTZAN genres; there 0 marks a clip that the lists leave out. Where a few
  recordings stand in two folds (ESC-50 has four), their clips are taken out of training while they are tested.

A split is a function of the rows' contents, the protocol, the seed and the fold; the rows' order does not matter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any

import numpy as np
from datasets import Dataset

from hf_encls.data.columns import DIVISION, class_names, label_array, several_labels
from hf_encls.data.stratification import place_sets

PROTOCOLS = ("clip", "paper", "official")
PARTS = ("train", "validation", "test")
SHARES = (0.6, 0.2, 0.2)
TRAIN, VALIDATION, TEST = -1, -2, -3  # values of the `fold` column that mean a fixed list, not a fold
# Training clips that may be taken out because their recording is tested: a share, or a few. More are an error.
STRADDLING, STRADDLING_CLIPS = 0.01, 2
ATTEMPTS = 20  # orders of the groups that are tried before a class counts as impossible to place


class LeakError(ValueError):
    """Test windows share a clip or a group with training under a protocol that promises they do not."""


@dataclass(frozen=True)
class LeakReport:
    """How many test windows have their clip, or their group (source recording), in training too."""

    test_windows: int
    clip_leaks: int
    group_leaks: int

    def as_dict(self) -> dict[str, int]:
        """The counts by their names, as results hold them."""
        return asdict(self)

    @classmethod
    def total(cls, reports: Sequence["LeakReport"]) -> "LeakReport":
        """Those of several folds as one."""
        return cls(*map(sum, zip(*(astuple(report) for report in reports), strict=True)))

    def text(self) -> str:
        """The counts as a sentence, for a person."""
        if not self.clip_leaks and not self.group_leaks:
            return f"leak check: none of {self.test_windows} test windows shares a clip or a group with training"
        return (
            f"leak check: THIS SPLIT LEAKS. {self.clip_leaks} of {self.test_windows} test windows "
            f"({_percent(self.clip_leaks, self.test_windows)}) come from a clip that is also in training, "
            f"{self.group_leaks} ({_percent(self.group_leaks, self.test_windows)}) from a group that is: "
            "the score says little about clips the model has not heard"
        )


def make_splits(
    rows: Mapping[str, Any] | Any, protocol: str, *, seed: int = 0, fold: int | None = None
) -> dict[str, np.ndarray]:
    """Indices of the rows (windows) in `train`, `validation` and `test`, each sorted.

    Args:
        rows: a `Dataset` or mapping with the columns clip_id, group, fold, label and start; one row is one window. `label`
            of a mapping is a class (n,), or which classes each row has (n, L).
        protocol: `clip`, `paper` or `official`.
        seed: of the draw under `clip` and `paper`; `official` draws nothing.
        fold: the test fold under `official` with cross-validation folds; None everywhere else.

    Raises `ValueError` where the protocol cannot be kept: an unknown protocol or fold, a class too small for three
    parts, fewer clips than folds, a class that training would not contain.
    """
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol must be one of {', '.join(PROTOCOLS)}, got {protocol!r}")
    if protocol != "official" and fold is not None:
        raise ValueError(f"fold {fold} was given, but only the protocol official has folds, not {protocol}")
    labels = _labels(rows)
    if len(labels) == 0:
        raise ValueError("there are no windows to split")
    if (labels < 0).any():
        raise ValueError(f"{int((labels < 0).sum())} windows have no label (a negative number)")
    names = _class_names(rows)
    if protocol == "official":
        part = _official(rows, labels, fold, names)
    elif protocol == "paper":
        part = _by_window(rows, labels, seed, names)
    else:
        part = _by_group(rows, labels, seed, names)
    splits = {name: np.flatnonzero(part == index) for index, name in enumerate(PARTS)}
    _check_parts(splits, labels, names)
    return splits


def division_rows(table: Dataset) -> dict[str, Any]:
    """What `make_splits` goes by, read once: columns of clips or windows, and `class_names`; a clip begins at its start."""
    rows: dict[str, Any] = {name: np.asarray(table[name][:]) for name in DIVISION if name != "label"}
    rows["label"] = label_array(table)
    rows["class_names"] = _class_names(table)
    return rows | {"start": np.asarray(table["start"][:]) if "start" in table.column_names else np.zeros(len(table))}


def official_folds(rows: Mapping[str, Any] | Any) -> list[int | None]:
    """The values of `fold` that `official` can be run with: every fold, or [None] for fixed lists.

    Raises `ValueError` where the data set has no official division.
    """
    folds = np.unique(_column(rows, "fold").astype(np.int64))
    if set(folds.tolist()) & {TRAIN, VALIDATION, TEST}:
        return [None]
    if not (folds > 0).any():
        raise ValueError(
            "the protocol official needs a data set with folds (ESC-50, GTZAN genres); every clip here has fold 0, "
            "unknown: use the protocol clip"
        )
    return [int(fold) for fold in folds if fold > 0]


def leak_check(rows: Mapping[str, Any] | Any, splits: Mapping[str, np.ndarray]) -> LeakReport:
    """Count the test windows whose clip, and whose group, is also in training."""
    train, test = np.asarray(splits["train"], np.int64), np.asarray(splits["test"], np.int64)
    leaks = {}
    for name in ("clip_id", "group"):
        values = _column(rows, name)
        leaks[name] = int(np.isin(values[test], np.unique(values[train])).sum())
    return LeakReport(len(test), leaks["clip_id"], leaks["group"])


def untested(rows: Mapping[str, Any] | Any, splits: Mapping[str, np.ndarray]) -> np.ndarray:
    """Rows of training and validation together, sorted, that share neither a clip nor a group with the test.

    Under `official` a few recordings may stand in the folds of validation and test (see above).
    """
    indices = np.sort(np.concatenate([splits["train"], splits["validation"]]))
    for name in ("clip_id", "group"):
        values = _column(rows, name)
        indices = indices[~np.isin(values[indices], np.unique(values[splits["test"]]))]
    return indices


def enforce(report: LeakReport, protocol: str) -> None:
    """Raise `LeakError` under `clip` and `official` when anything leaks; `paper` leaks by design and may."""
    if protocol != "paper" and (report.clip_leaks or report.group_leaks):
        raise LeakError(
            f"protocol {protocol} promises that nothing leaks, but {report.clip_leaks} of {report.test_windows} test "
            f"windows share a clip and {report.group_leaks} share a group with training: check the clip_id, group and "
            "fold columns (two files with one clip id, a recording in two folds)"
        )


def _official(rows: Any, labels: np.ndarray, fold: int | None, names: list[str] | None) -> np.ndarray:
    choices = official_folds(rows)
    folds = _column(rows, "fold").astype(np.int64)
    if choices == [None]:
        if fold is not None:
            raise ValueError(f"fold {fold} was given, but this data set has one fixed division: leave the fold out")
        part = np.full(len(labels), -1)
        for index, value in enumerate((TRAIN, VALIDATION, TEST)):
            part[folds == value] = index
        return part
    if (folds <= 0).any():
        unknown = np.unique(_column(rows, "clip_id")[folds <= 0])
        raise ValueError(f"official needs the fold of every clip; {len(unknown)} have none, such as {unknown[0]}")
    if len(choices) < 3:
        raise ValueError(f"official needs at least 3 folds (test, validation, training), found {choices}")
    if fold is None or fold not in choices:
        raise ValueError(f"official needs the test fold, one of {choices}, got {fold}")
    clips = _column(rows, "clip_id")
    for label in _present(labels):
        num_clips = len(np.unique(clips[labels[:, label] if labels.ndim == 2 else labels == label]))
        if num_clips < len(choices):
            raise ValueError(
                f"class {_name(label, names)} has {num_clips} clips, fewer than the {len(choices)} folds: get the "
                "rest of the data set, or use the protocol clip"
            )
    following = choices[(choices.index(fold) + 1) % len(choices)]
    part = np.select([folds == fold, folds == following], [2, 1], default=0)
    groups = _column(rows, "group")
    straddling = (part == 0) & np.isin(groups, np.unique(groups[part == 2]))
    most = max(STRADDLING * len(np.unique(clips[part == 0])), STRADDLING_CLIPS)
    if len(np.unique(clips[straddling])) <= most:  # else a mistake in the columns, for `enforce` to refuse
        part[straddling] = -1
    return part


def _by_window(rows: Any, labels: np.ndarray, seed: int, names: list[str] | None) -> np.ndarray:
    """Draw windows: every class meets the shares to one window; rounding errors cancel over the classes."""
    order = np.lexsort((_column(rows, "start").astype(np.float64), _column(rows, "clip_id")))
    rng = np.random.default_rng(seed)
    part = np.full(len(labels), -1)
    if labels.ndim == 2:
        part[order] = place_sets(labels[order], np.ones(len(labels), np.int64), SHARES, rng)
        return part
    owed = np.zeros(3)
    for label in np.unique(labels):
        members = rng.permutation(order[labels[order] == label])
        if len(members) < 3:
            raise ValueError(
                f"class {_name(label, names)} has {len(members)} windows; it needs at least 3, one each for "
                "training, validation and test"
            )
        owed += np.array(SHARES) * len(members)
        held_out = np.maximum(np.round(owed[1:]).astype(int), 1)
        held_out = np.minimum(held_out, max(1, (len(members) - 1) // 2))
        counts = np.array([len(members) - held_out.sum(), *held_out])
        owed -= counts
        part[members] = np.repeat(np.arange(3), counts)
    return part


def clips_have_one_label(rows: Mapping[str, Any] | Any) -> bool:
    """Whether all windows of a clip have its label: False where labels are in time, so that a clip has no class."""
    _, first, clip = np.unique(_column(rows, "clip_id"), return_index=True, return_inverse=True)
    labels = _labels(rows)
    return bool((labels == labels[first[clip]]).all())


def _by_group(rows: Any, labels: np.ndarray, seed: int, names: list[str] | None) -> np.ndarray:
    """Draw groups: `sizes[g, c]` clips (or windows) of class c in group g."""
    clips, clip_of_row = np.unique(_column(rows, "clip_id"), return_inverse=True)
    first_row = np.zeros(len(clips), np.int64)
    first_row[clip_of_row[::-1]] = np.arange(len(labels))[::-1]
    row_groups = _column(rows, "group")
    differs = np.flatnonzero(row_groups != row_groups[first_row[clip_of_row]])
    if len(differs):
        clip = clips[clip_of_row[differs[0]]]
        raise ValueError(f"clip {clip} has windows of more than one group: are two files named the same?")
    groups, group_of_clip = np.unique(row_groups[first_row], return_inverse=True)
    # What is counted: clips, or their windows where they have labels of their own.
    counted = first_row if clips_have_one_label(rows) else np.arange(len(labels))
    classes = _present(labels[counted])
    held = labels[counted][:, classes] if labels.ndim == 2 else labels[counted][:, None] == classes
    sizes, units = np.zeros((len(groups), len(classes)), np.int64), np.zeros(len(groups), np.int64)
    np.add.at(sizes, group_of_clip[clip_of_row[counted]], held)
    np.add.at(units, group_of_clip[clip_of_row[counted]], 1)
    for label, num_groups in zip(classes, (sizes > 0).sum(axis=0), strict=True):
        if num_groups < 3:
            unit = "clips" if len(groups) == len(clips) else "groups of clips (source recordings)"
            raise ValueError(
                f"class {_name(label, names)} has {num_groups} {unit}; it needs at least 3, one each for training, "
                "validation and test"
            )
    rng = np.random.default_rng(seed)
    for _ in range(ATTEMPTS):
        part_of_group = place_sets(sizes, units, SHARES, rng) if labels.ndim == 2 else _place(sizes, rng)
        if all((sizes[part_of_group == part].sum(axis=0) > 0).all() for part in range(3)):
            break
    return part_of_group[group_of_clip[clip_of_row]]


def _place(sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give each group to the part that lacks its classes most, large groups first; every part gets every class.

    The cost of a choice is the growth of the squared distance from the wanted number of clips, relative to that
    number, summed over the group's classes; a small share of it looks at all classes together.
    """
    shares = np.array(SHARES)
    targets = shares[:, None] * sizes.sum(axis=0)  # (parts, classes)
    held = np.zeros_like(targets)
    left = (sizes > 0).sum(axis=0)  # groups still to come, for each class
    part_of_group = np.zeros(len(sizes), np.int64)
    order = rng.permutation(len(sizes))
    for group in order[np.argsort(-sizes[order].sum(axis=1), kind="stable")]:
        size = sizes[group]
        mine = size > 0
        growth = size[mine] * (size[mine] + 2 * (held[:, mine] - targets[:, mine])) / targets[:, mine]
        total = size.sum() * (size.sum() + 2 * (held.sum(axis=1) - targets.sum(axis=1))) / targets.sum(axis=1)
        cost = growth.sum(axis=1) + 0.1 * total
        # Where a class has only as many groups left as parts that lack it, those parts come first.
        lacking = held[:, mine] == 0
        urgent = lacking.sum(axis=0) >= left[mine]
        cost = cost - 1e9 * (lacking & urgent).sum(axis=1)
        part = int(np.argmin(cost))
        part_of_group[group] = part
        held[part] += size
        left[mine] -= 1
    return part_of_group


def _check_parts(splits: dict[str, np.ndarray], labels: np.ndarray, names: list[str] | None) -> None:
    for name, indices in splits.items():
        if len(indices) == 0:
            raise ValueError(f"the {name} part is empty: the copy of the data set lacks all of its clips")
    trained = set(_present(labels[splits["train"]]).tolist())
    for name in ("test", "validation"):
        missing = sorted(set(_present(labels[splits[name]]).tolist()) - trained)
        if missing:
            listed = ", ".join(_name(label, names) for label in missing)
            raise ValueError(
                f"present in {name} but not in training: {listed}. Nothing can be learned of a class that training "
                "does not contain: add clips, or leave the class out"
            )


def _column(rows: Any, name: str) -> np.ndarray:
    try:
        values = rows[name]
    except KeyError as error:
        needed = "clip_id, group, fold, label and start"
        raise ValueError(f"the windows need the columns {needed}; {name} is missing") from error
    return np.asarray(values[:])  # a Dataset's column is lazy until it is sliced


def _labels(rows: Any) -> np.ndarray:
    """The class of each row (n,), or which of them it has (n, L)."""
    several = getattr(rows, "features", None) and several_labels(rows)
    labels = label_array(rows) if several else _column(rows, "label")
    return labels == 1 if labels.ndim == 2 else labels.astype(np.int64)  # what is unknown counts as absent


def _present(labels: np.ndarray) -> np.ndarray:
    """The classes that occur, ascending."""
    return np.flatnonzero(labels.any(axis=0)) if labels.ndim == 2 else np.unique(labels)


def _class_names(rows: Any) -> list[str] | None:
    if isinstance(rows, Mapping):
        return rows.get("class_names")
    return class_names(getattr(rows, "features", None) or {})


def _name(label: int, names: list[str] | None) -> str:
    return repr(names[label]) if names and 0 <= label < len(names) else str(label)


def _percent(count: int, total: int) -> str:
    return f"{100 * count / max(total, 1):.0f} %"
