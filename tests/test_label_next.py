"""Which files to label next: unsure ones, each of another kind, whatever is known already."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_models import save_small_model, small_codec

from hf_encls.commands.cli import main as cli
from hf_encls.features.label_next import choose, clip_vectors, predicted

LOOK = ["--features", "log_mel", "--window_s", "0.3"]


def groups(rng: np.random.Generator, sizes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Vectors around centres at right angles, and the number of each one's centre."""
    number = np.repeat(np.arange(len(sizes)), sizes)
    return np.eye(len(sizes), 8)[number] * 5 + rng.normal(size=(len(number), 8)) * 0.3, number


def test_the_first_ones_are_of_every_kind_and_typical():
    vectors, kind = groups(np.random.default_rng(0), [40, 30, 20, 10])
    vectors[0] = vectors[0] * 0.2 + 3  # a stray
    chosen = [each.index for each in choose(vectors, 4)]
    assert kind[chosen].tolist() == [0, 1, 2, 3] and 0 not in chosen  # the largest kind first
    assert all(each.label is None and each.margin is None for each in choose(vectors, 4))
    # What is like something that has a label comes last.
    later = [each.index for each in choose(vectors, 2, labelled=vectors[(kind == 0) | (kind == 1)][:70:3])]
    assert set(kind[later]) <= {2, 3}


def test_the_next_ones_are_unsure_and_not_alike():
    vectors, kind = groups(np.random.default_rng(0), [30, 30, 30])
    probabilities = np.full((90, 3), 0.01)
    probabilities[np.arange(90), kind] = 0.98
    unsure = [5, 6, 7, 8, 40]  # four of one kind, one of another
    probabilities[unsure] = [0.45, 0.40, 0.15]
    probabilities[7] = [0.44, 0.43, 0.13]
    chosen = choose(vectors, 2, probabilities)
    assert chosen[0].index == 7 and kind[[each.index for each in chosen]].tolist() != [0, 0]
    assert (chosen[0].label, round(chosen[0].score, 2), round(chosen[0].margin, 2)) == (0, 0.44, 0.01)


def test_all_are_named_once_where_there_are_no_more():
    vectors, kind = groups(np.random.default_rng(0), [3, 2])
    for probabilities in (None, np.eye(2)[kind] * 0.8 + 0.1):
        assert sorted(each.index for each in choose(vectors, 9, probabilities)) == list(range(5))
    same = np.ones((4, 8))  # no clusters to be found
    assert sorted(each.index for each in choose(same, 3, None)) <= [0, 1, 2, 3]
    assert len({each.index for each in choose(same, 3, np.full((4, 2), 0.5))}) == 3
    assert [each.index for each in choose(vectors[:1], 3)] == [0]


def test_the_classifier_is_that_of_all_directions():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    known, labels, others = rng.normal(size=(20, 50)), np.arange(20) % 3, rng.normal(size=(7, 50))
    whole = LogisticRegression(C=0.1, max_iter=1000).fit(known, labels).predict_proba(others)
    assert np.allclose(predicted(known, labels, others, 4)[:, :3], whole, atol=1e-3)
    assert predicted(known, labels, others, 4)[:, 3].tolist() == [0] * 7
    assert predicted(known, np.zeros(20, int), others, 4) is None


def test_clips_are_the_means_of_their_windows():
    ids, means = clip_vectors(np.array([[1.0], [2.0], [4.0]]), ["b", "a", "b"])
    assert ids.tolist() == ["a", "b"] and means.tolist() == [[2.0], [2.5]]


@pytest.fixture(scope="module")
def partly(tones: Path, tmp_path_factory) -> Path:
    """The tones, of which most have lost their labels."""
    folder = tmp_path_factory.mktemp("partly") / "sounds"
    shutil.copytree(tones, folder)
    (folder / "later").mkdir()
    for file in sorted(folder.glob("*/[3-7].wav")):
        file.rename(folder / "later" / f"{file.parent.name}_{file.name}")
    return folder


def ask(folder: Path, *more: str) -> int:
    return cli(["label-next", str(folder), *more, "--cache_dir", str(folder.parents[1] / "cache")])


def test_files_are_named_with_what_a_classifier_says(partly, capsys, tmp_path):
    unlabelled = partly / "later"
    assert ask(unlabelled, *LOOK, "--count", "3", "--format", "json") == 0
    first = json.loads(capsys.readouterr().out)
    assert [row["rank"] for row in first] == [1, 2, 3] and list(first[0]) == ["rank", "file"]
    assert len({Path(row["file"]).name.split("_")[0] for row in first}) >= 2
    # The rest of the folder has labels; its folder of those without is no class.
    to = ["--labelled", str(partly), *LOOK, "--count", "4", "--format", "csv", "--output", str(tmp_path / "n.csv")]
    assert ask(unlabelled, *to) == 0
    with (tmp_path / "n.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["rank", "file", "label", "score", "margin"] and len(rows) == 4
    assert {row["label"] for row in rows} <= {"low", "mid", "high"}
    assert all(Path(row["file"]).is_relative_to(unlabelled) for row in rows)
    margins = [float(row["margin"]) for row in rows]
    assert margins == sorted(margins) and all(0 <= margin <= float(row["score"]) for margin, row in zip(margins, rows))


@pytest.mark.parametrize("features", ["log_mel", "encodec_24khz", "encodec_24khz_codes"])
def test_a_model_says_what_it_is_unsure_of(features, partly, tmp_path, capsys):
    more = {} if features == "log_mel" else {"codec": small_codec()}
    model = save_small_model(tmp_path / "model", features, window_s=0.5, **more)
    for _ in range(2):  # the second time from the cache
        assert ask(partly / "later", "--model", str(model), "--count", "5", "--format", "jsonl") == 0
        captured = capsys.readouterr()
        rows = [json.loads(line) for line in captured.out.splitlines()]
        assert len(rows) == 5 and {row["label"] for row in rows} <= {"bark", "rain", "siren"}
    from hf_encls import EnclsPipeline

    best = EnclsPipeline.from_pretrained(model)(rows[0]["file"], top_k=2)
    assert best[0]["label"] == rows[0]["label"] and best[0]["score"] == pytest.approx(rows[0]["score"], abs=2e-3)
    assert best[0]["score"] - best[1]["score"] == pytest.approx(rows[0]["margin"], abs=4e-3)


def test_mistakes_are_one_line(partly, capsys, tmp_path):
    later = partly / "later"
    (tmp_path / "one" / "low").mkdir(parents=True)
    shutil.copy(partly / "low" / "1.wav", tmp_path / "one" / "low" / "1.wav")
    cases = {
        (str(tmp_path / "none"), *LOOK): "expected a folder of sounds at",
        (str(later), *LOOK, "--labelled", str(tmp_path / "none")): "expected a folder of sounds at",
        (str(later), "--model", "m", "--labelled", "x"): "leave one out",
        (str(later), "--model", "m", "--features", "log_mel"): "--features was given with --model",
        (str(later), *LOOK, "--device", "cpu"): "--device is about a model",
        (str(later), *LOOK, "--count", "0"): "--count must be 1 or more",
        (str(later), *LOOK, "--labelled", str(later)): "expected labels of two classes or more",
        (str(later), *LOOK, "--labelled", str(tmp_path / "one")): "expected labels of two classes or more",
    }
    for given, message in cases.items():
        assert ask(Path(given[0]), *given[1:]) == 2
        assert message in capsys.readouterr().err
