"""Splits keep what their protocol promises, for any table of windows."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_encls.data.splits import (
    PARTS,
    TEST,
    TRAIN,
    VALIDATION,
    LeakError,
    enforce,
    leak_check,
    make_splits,
    official_folds,
)


def table(clips: list[dict], windows: int = 3) -> dict[str, list]:
    """One row per window of clips given as dicts of clip_id, label, group, fold."""
    rows = {name: [] for name in ("clip_id", "group", "fold", "label", "start")}
    for clip in clips:
        for window in range(windows):
            rows["clip_id"].append(clip["clip_id"])
            rows["group"].append(clip.get("group", clip["clip_id"]))
            rows["fold"].append(clip.get("fold", 0))
            rows["label"].append(clip["label"])
            rows["start"].append(float(window))
    return rows


def plain(per_class: int = 10, classes: int = 3) -> dict[str, list]:
    return table([{"clip_id": f"{c}/{k}", "label": c} for c in range(classes) for k in range(per_class)])


def folded(folds: int = 5, per_fold: int = 2, classes: int = 3) -> dict[str, list]:
    clips = [
        {"clip_id": f"{f}-{c}-{k}", "label": c, "fold": f}
        for f in range(1, folds + 1)
        for c in range(classes)
        for k in range(per_fold)
    ]
    return table(clips)


@st.composite
def grouped_tables(draw):
    """Three to five classes with 3 to 12 groups of 1 to 4 clips each, of 1 to 4 windows."""
    clips = []
    for label in range(draw(st.integers(2, 5))):
        for group, size in enumerate(draw(st.lists(st.integers(1, 4), min_size=3, max_size=12))):
            clips += [
                {"clip_id": f"{label}/{group}/{k}", "group": f"{label}/{group}", "label": label} for k in range(size)
            ]
    return table(clips, windows=draw(st.integers(1, 4)))


@settings(max_examples=60, deadline=None)
@given(rows=grouped_tables(), seed=st.integers(0, 5))
def test_clip_covers_every_window_once_and_leaks_nothing(rows, seed):
    splits = make_splits(rows, "clip", seed=seed)
    everything = np.concatenate([splits[part] for part in PARTS])
    assert sorted(everything.tolist()) == list(range(len(rows["label"])))
    report = leak_check(rows, splits)
    assert report.clip_leaks == 0 and report.group_leaks == 0
    enforce(report, "clip")
    labels = np.array(rows["label"])
    for part in PARTS:
        assert set(labels[splits[part]]) == set(labels.tolist())


@settings(max_examples=40, deadline=None)
@given(
    rows=grouped_tables(),
    seed=st.integers(0, 5),
    protocol=st.sampled_from(["clip", "paper"]),
    shuffle=st.integers(0, 5),
)
def test_a_split_depends_on_the_rows_and_the_seed_not_on_their_order(rows, seed, protocol, shuffle):
    if protocol == "paper" and min(np.bincount(rows["label"])) < 3:
        return
    order = np.random.default_rng(shuffle).permutation(len(rows["label"]))
    shuffled = {name: [values[index] for index in order] for name, values in rows.items()}

    def members(table, splits):
        return {part: {(table["clip_id"][i], table["start"][i]) for i in splits[part]} for part in PARTS}

    assert members(rows, make_splits(rows, protocol, seed=seed)) == members(
        shuffled, make_splits(shuffled, protocol, seed=seed)
    )


@pytest.mark.parametrize("protocol", ["clip", "paper"])
def test_shares_are_60_20_20_in_every_class_and_seeds_differ(protocol):
    rows = plain(per_class=20)
    splits = make_splits(rows, protocol, seed=0)
    labels = np.array(rows["label"])
    for part, share in zip(PARTS, (0.6, 0.2, 0.2), strict=True):
        assert np.bincount(labels[splits[part]]).tolist() == [round(60 * share)] * 3
    again = make_splits(rows, protocol, seed=0)
    assert all(np.array_equal(splits[part], again[part]) for part in PARTS)
    assert not np.array_equal(splits["test"], make_splits(rows, protocol, seed=1)["test"])


def test_rounding_errors_cancel_over_many_small_classes():
    rows = table([{"clip_id": f"{c}/{k}", "label": c} for c in range(20) for k in range(7)], windows=1)
    splits = make_splits(rows, "paper")
    assert {part: len(splits[part]) for part in PARTS} == {"train": 84, "validation": 28, "test": 28}


def test_paper_says_plainly_that_it_leaks_and_how_much():
    rows = plain()
    report = leak_check(rows, make_splits(rows, "paper"))
    assert report.test_windows == 18 and report.clip_leaks > 9
    assert "LEAKS" in report.text() and f"{report.clip_leaks} of 18" in report.text()
    enforce(report, "paper")
    with pytest.raises(LeakError, match="promises that nothing leaks"):
        enforce(report, "clip")
    assert report.as_dict() == {
        "test_windows": 18,
        "clip_leaks": report.clip_leaks,
        "group_leaks": report.group_leaks,
    }


def test_a_leak_by_group_alone_is_counted():
    rows = table([{"clip_id": name, "group": "one", "label": 0} for name in ("a", "b")], windows=2)
    report = leak_check(rows, {"train": [0, 1], "validation": [], "test": [2, 3]})
    assert (report.clip_leaks, report.group_leaks) == (0, 2)
    with pytest.raises(LeakError):
        enforce(report, "official")


def test_official_folds_rotate_and_the_next_one_validates():
    rows = folded()
    assert official_folds(rows) == [1, 2, 3, 4, 5]
    folds = np.array(rows["fold"])
    for fold, following in ((1, 2), (5, 1)):
        splits = make_splits(rows, "official", fold=fold)
        assert set(folds[splits["test"]]) == {fold}
        assert set(folds[splits["validation"]]) == {following}
        assert set(folds[splits["train"]]) == set(range(1, 6)) - {fold, following}
        enforce(leak_check(rows, splits), "official")


def test_fixed_lists_leave_out_what_they_do_not_name():
    parts = {"a": TRAIN, "b": TRAIN, "c": VALIDATION, "d": TEST, "e": 0}
    clips = [{"clip_id": f"{c}/{name}", "label": c, "fold": fold} for c in range(2) for name, fold in parts.items()]
    rows = table(clips, windows=1)
    assert official_folds(rows) == [None]
    splits = make_splits(rows, "official")
    assert [rows["clip_id"][i] for i in splits["train"]] == ["0/a", "0/b", "1/a", "1/b"]
    assert [rows["clip_id"][i] for i in splits["test"]] == ["0/d", "1/d"]
    assert sum(map(len, splits.values())) == 8
    with pytest.raises(ValueError, match="one fixed division"):
        make_splits(rows, "official", fold=1)


def test_a_few_recordings_in_two_folds_are_kept_out_of_training_and_many_are_refused():
    few = folded(per_fold=40)
    few["group"] = [
        "both" if clip in ("1-0-0", "4-0-0") else group for clip, group in zip(few["clip_id"], few["group"])
    ]
    splits = make_splits(few, "official", fold=1)
    left_out = set(range(len(few["label"]))) - set(np.concatenate(list(splits.values())).tolist())
    assert {few["clip_id"][i] for i in left_out} == {"4-0-0"}
    enforce(leak_check(few, splits), "official")
    many = folded()
    many["group"] = [clip.split("-", 1)[1] for clip in many["clip_id"]]
    with pytest.raises(LeakError):
        enforce(leak_check(many, make_splits(many, "official", fold=1)), "official")


def test_a_group_of_two_classes_stays_together():
    clips = [{"clip_id": f"{c}/{k}", "label": c, "group": f"{k}"} for c in range(2) for k in range(10)]
    rows = table(clips)
    splits = make_splits(rows, "clip")
    assert leak_check(rows, splits).group_leaks == 0
    assert {part: len(splits[part]) for part in PARTS} == {"train": 36, "validation": 12, "test": 12}


def test_a_dataset_works_like_a_mapping_and_names_its_classes():
    from datasets import ClassLabel, Dataset

    rows = plain(per_class=5)
    data = Dataset.from_dict(rows).cast_column("label", ClassLabel(names=["bell", "dog", "rain"]))
    for part in PARTS:
        assert np.array_equal(make_splits(data, "clip")[part], make_splits(rows, "clip")[part])
    with pytest.raises(ValueError, match="'dog' has 2 clips"):
        make_splits(
            data.select([i for i in range(len(data)) if rows["clip_id"][i] not in ("1/0", "1/1", "1/2")]), "clip"
        )


@pytest.mark.parametrize(
    ("rows", "protocol", "fold", "message"),
    [
        (plain(), "clips", None, "must be one of clip, paper, official"),
        (plain(), "clip", 1, "only the protocol official has folds"),
        (plain(), "official", 1, "every clip here has fold 0"),
        (plain(per_class=2), "clip", None, "has 2 clips; it needs at least 3"),
        (
            table([{"clip_id": "a", "label": 0}, {"clip_id": "b", "label": 1}], windows=2),
            "paper",
            None,
            "has 2 windows",
        ),
        (folded(), "official", None, r"one of \[1, 2, 3, 4, 5\], got None"),
        (folded(), "official", 6, r"one of \[1, 2, 3, 4, 5\], got 6"),
        (folded(folds=2), "official", 1, "at least 3 folds"),
        (table([]), "clip", None, "no windows"),
        ({"label": [0, 1], "group": ["a", "b"]}, "clip", None, "clip_id is missing"),
    ],
)
def test_what_cannot_be_kept_is_a_clear_error(rows, protocol, fold, message):
    with pytest.raises(ValueError, match=message):
        make_splits(rows, protocol, fold=fold)


def test_fewer_clips_than_folds():
    rows = folded()
    few = {
        name: [v for v, clip in zip(values, rows["clip_id"]) if not clip.startswith(("2-1", "3-1"))]
        for name, values in rows.items()
    }
    few = {name: [v for v, clip in zip(values, few["clip_id"]) if clip[2:] != "1-1"] for name, values in few.items()}
    with pytest.raises(ValueError, match="3 clips, fewer than the 5 folds"):
        make_splits(few, "official", fold=1)


def test_a_class_in_test_only():
    rows = folded(per_fold=5)
    rows["label"] = [9 if fold == 1 and label == 0 else label for fold, label in zip(rows["fold"], rows["label"])]
    with pytest.raises(ValueError, match="present in test but not in training: 9"):
        make_splits(rows, "official", fold=1)


def test_a_group_with_every_clip_of_a_class_is_an_error():
    rows = table(
        [{"clip_id": f"{c}/{k}", "label": c, "group": "one" if c else f"{k}"} for c in range(2) for k in range(9)]
    )
    with pytest.raises(ValueError, match="groups of clips"):
        make_splits(rows, "clip")


def test_a_clip_in_two_groups_is_an_error():
    rows = plain()
    rows["group"][0] = "another"
    with pytest.raises(ValueError, match="are two files named the same"):
        make_splits(rows, "clip")


def test_labels_in_time_are_divided_by_their_windows():
    """Clips hold several classes, each in other shares: they stay whole; of each about 60/20/20 windows."""
    rng = np.random.default_rng(0)
    labels = [rng.choice(3, size=30, p=rng.dirichlet(np.ones(3))) for _ in range(40)]
    rows = {
        "label": np.concatenate(labels),
        "clip_id": np.repeat([f"{number}.wav" for number in range(40)], 30),
        "start": np.tile(np.arange(30.0), 40),
        "fold": np.zeros(1200, int),
    }
    rows["group"] = rows["clip_id"]
    splits = make_splits(rows, "clip")
    assert leak_check(rows, splits).clip_leaks == 0
    for label in range(3):
        mine = rows["label"] == label
        assert abs(mine[splits["train"]].sum() / mine.sum() - 0.6) < 0.1
        assert abs(mine[splits["test"]].sum() / mine.sum() - 0.2) < 0.1


def test_nothing_is_warned_about():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_splits(folded(), "official", fold=2)
