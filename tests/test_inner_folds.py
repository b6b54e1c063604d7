"""Inner folds: what is not tested, divided so that no group teaches what is asked of it."""

import numpy as np
import pytest

from hf_encls.training import inner_folds as module
from hf_encls.training.inner_folds import FOLDS, inner_folds


def rows(groups: int = 12, classes: int = 3, windows: int = 4, **columns: np.ndarray) -> dict[str, np.ndarray]:
    """Groups of so many windows each, their classes and folds in turn."""
    numbers = np.repeat(np.arange(groups), windows)
    names = np.array([f"g{number:02}" for number in range(groups)])
    return {"group": names[numbers], "label": numbers % classes, "fold": numbers % 4 + 1} | columns


@pytest.mark.parametrize("several", [False, True])
def test_a_group_stays_together_and_what_is_left_teaches_every_class(several):
    table = rows()
    if several:
        table["label"] = np.eye(3)[table["label"]]
    indices = np.flatnonzero(table["group"] != "g05")
    folds = inner_folds(table, "clip", indices)
    assert len(folds) == len(indices) and len(np.unique(folds)) == (
        FOLDS if several else 3
    )  # one class has three groups
    for group in np.unique(table["group"][indices]):
        assert len(np.unique(folds[table["group"][indices] == group])) == 1
    if not several:
        for fold in np.unique(folds):
            assert len(np.unique(table["label"][indices][folds != fold])) == 3


def test_the_order_of_the_rows_changes_nothing():
    table, random = rows(groups=30), np.random.default_rng(0)
    order = random.permutation(len(table["label"]))
    shuffled = {name: column[order] for name, column in table.items()}
    expected = inner_folds(table, "clip", np.arange(len(order)))
    assert (inner_folds(shuffled, "clip", np.arange(len(order))) == expected[order]).all()


def test_the_official_folds_are_taken_as_they_are():
    table = rows()
    indices = np.flatnonzero(table["fold"] != 3)
    assert (inner_folds(table, "official", indices) == table["fold"][indices]).all()


def test_a_recording_that_stands_in_two_official_folds_is_in_none():
    table = rows()
    table["group"][table["group"] == "g05"] = "g04"
    folds = inner_folds(table, "official", np.arange(48))
    assert (folds[table["group"] == "g04"] == 0).all() and (folds > 0).sum() == 40


@pytest.mark.parametrize("rare", ["g04", "g05"])
def test_of_several_labels_each_is_taught_with_and_without(rare):
    table = rows()
    table["label"] = np.eye(3)[table["label"]]
    table["label"][:, 0] = 1
    assert inner_folds(table, "clip", np.arange(48)) is not None
    table["label"][table["group"] == rare, 0] = 0  # one group alone lacks it
    table["label"][:3, 1] = np.nan
    assert inner_folds(table, "clip", np.arange(48)) is None


def test_of_very_many_windows_there_are_none(monkeypatch):
    monkeypatch.setattr(module, "MOST", 47)
    assert (
        inner_folds(rows(), "clip", np.arange(48)) is None and inner_folds(rows(), "clip", np.arange(47)) is not None
    )


@pytest.mark.parametrize(
    ("protocol", "change"),
    [
        ("paper", {}),
        ("official", {"fold": np.repeat([-1, -2, -3], 16)}),  # a fixed division
        (
            "official",
            {"label": np.repeat([0, 1, 2, 2], 12), "fold": np.repeat([1, 2, 3, 4], 12)},
        ),  # a fold has all of one
        ("clip", {"label": np.repeat([0, 1, 2], [4, 20, 24])}),  # one group has all of one
    ],
)
def test_there_are_none_where_they_would_teach_too_little(protocol, change):
    table = rows() | change
    assert inner_folds(table, protocol, np.arange(48)) is None
