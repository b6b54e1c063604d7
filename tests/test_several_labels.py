"""Several labels at once: from tables and labels in time to a model, its thresholds, and timelines that overlap."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from datasets import List
from hub_server import USER
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from small_models import CLASSES, save_small_model, small_model
from transformers import pipeline

from hf_encls import EnclsConfig, EnclsTrainingArguments, evaluate
from hf_encls.commands.cli import main as cli
from hf_encls.commands.publish import main as publish
from hf_encls.commands.train import main as train
from hf_encls.data.columns import label_array
from hf_encls.data.labelled import TimeLabels, scan_recordings, window_label_sets
from hf_encls.data.splits import TEST, TRAIN, VALIDATION, leak_check, make_splits
from hf_encls.features.extraction import extract_features, feature_config
from hf_encls.inference.pipeline import EnclsPipeline
from hf_encls.inference.timeline import Times, make_timeline
from hf_encls.model.modeling_encls import EnclsForAudioClassification
from hf_encls.model.problem_encls import SEVERAL_LABELS
from hf_encls.timelines.formats import FORMATS, render
from hf_encls.timelines.reading import read_timeline
from hf_encls.training.metrics import best_thresholds, clip_probabilities, evaluate_split, per_label
from hf_encls.training.run import probabilities
from hf_encls.training.run import train as train_windows

RATE = 8_000
PITCHES = {"high": 2500, "low": 200, "mid": 700}
NAMES = list(PITCHES)
SMALL = ["--features", "log_mel", "--window_s", "0.25", "--hop_length", "64"]
TRAINING = [*SMALL, "--report_to", "none", "--num_train_epochs", "1", "--head", "statistics"]


def sound(labels: list[str], rng: np.random.Generator, seconds: float = 0.5) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    tones = [0.2 * np.sin(2 * np.pi * PITCHES[label] * rng.uniform(0.98, 1.02) * time) for label in labels]
    return sum(tones, rng.standard_normal(len(time)) * 0.02)


def write_clips(folder: Path, count: int = 40) -> dict[str, list[str]]:
    """Clips of any number of tones at once, some of none."""
    rng, truth = np.random.default_rng(0), {}
    folder.mkdir()
    for number in range(count):
        truth[f"{number}.wav"] = [label for label in PITCHES if rng.random() < 0.45]
        soundfile.write(folder / f"{number}.wav", sound(truth[f"{number}.wav"], rng), RATE)
    return truth


def write_table(path: Path, truth: dict[str, list[str]]) -> Path:
    path.write_text("".join(["file,labels\n", *(f"{name},{';'.join(labels)}\n" for name, labels in truth.items())]))
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> tuple[Path, Path, dict]:
    folder = tmp_path_factory.mktemp("clips")
    truth = write_clips(folder / "audio")
    return folder / "audio", write_table(folder / "labels.csv", truth), truth


def options(clips: tuple, folder: Path, *more: str) -> list[str]:
    audio, table, _ = clips
    data = ["--data_dir", str(audio), "--labels", str(table), "--multi_label"]
    return [*data, "--cache_dir", str(audio.parent / "cache"), "--output_dir", str(folder), *more]


@pytest.fixture(scope="module")
def windows(clips):
    audio, table, _ = clips
    found, _ = scan_recordings(audio, TimeLabels(str(table), multi_label=True))
    config = feature_config("log_mel", found, window_s=0.25, hop_length=64, head="statistics")
    return extract_features(found, config, cache_dir=audio.parent / "cache"), config


@pytest.fixture(scope="module")
def trained(clips, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "model"
    return folder, train(options(clips, folder, *TRAINING))


# ------------------------------------------------------------------------------------------------------------- the model


def test_loss_logits_and_stock_pipeline_are_those_of_the_library(tmp_path):
    settings = {"problem_type": SEVERAL_LABELS, "thresholds": [0.5, 0.25, 0.75], "window_s": 0.4}
    model, wave = small_model("log_mel", **settings), 0.1 * torch.randn(1, 50_000)
    with torch.no_grad():
        out = model(input_values=wave, labels=torch.tensor([[1.0, 0.0, 1.0]]))
        windows = model.windows(wave)[0]
        logits = model.classify(windows)
        many = model(input_features=windows, labels=torch.ones(len(windows), 3))
    assert torch.allclose(out.logits.sigmoid()[0], logits.sigmoid().mean(0), atol=1e-6)
    assert torch.equal(out.window_logits[0], logits) and torch.equal(many.logits, logits)
    loss = torch.nn.BCEWithLogitsLoss()
    assert torch.allclose(out.loss, loss(out.logits, torch.tensor([[1.0, 0.0, 1.0]])))
    assert torch.allclose(many.loss, loss(logits, torch.ones_like(logits)))
    with torch.no_grad():
        part = model(input_features=windows, labels=torch.tensor([[1.0, float("nan"), 0.0]]).expand(len(windows), 3))
    kept = logits[:, [0, 2]]
    assert torch.allclose(part.loss, loss(kept, torch.tensor([1.0, 0.0]).expand_as(kept))), (
        "what is unknown has no loss"
    )
    folder = save_small_model(tmp_path / "m", "log_mel", **settings)
    for pipe in (pipeline("audio-classification", model=str(folder)), EnclsPipeline.from_pretrained(folder)):
        found = {row["label"]: row["score"] for row in pipe(wave[0].numpy())}
        assert [found[name] for name in CLASSES] == pytest.approx(out.logits[0].sigmoid().tolist(), abs=1e-5)
    with pytest.raises(ValueError, match="expected function_to_apply sigmoid"):
        pipe(wave[0].numpy(), function_to_apply="softmax")
    config = EnclsConfig.from_pretrained(folder)
    assert config.problem_type == SEVERAL_LABELS and config.thresholds == [0.5, 0.25, 0.75]
    with pytest.raises(ValueError, match=r"expected labels of shape \(1, 3\)"):
        model(input_values=wave, labels=torch.tensor([1]))


REMOTE = """
import sys, numpy
from transformers import pipeline
wave = numpy.random.default_rng(0).normal(0, 0.1, 8000).astype("float32")
pipe = pipeline("audio-classification", model=sys.argv[1], trust_remote_code=True)
rows = pipe(wave)
assert "hf_encls" not in sys.modules
print({row["label"]: row["score"] for row in rows} | {"thresholds": pipe.model.config.thresholds})
"""


def test_a_clean_interpreter_says_the_same(trained, tmp_path):
    folder, results = trained
    environment = os.environ | {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", REMOTE, str(folder.resolve())]
    environment.pop("PYTHONPATH", None)
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=300)
    assert run.returncode == 0, run.stderr
    wave = np.random.default_rng(0).normal(0, 0.1, 8000).astype("float32")
    expected = {row["label"]: row["score"] for row in EnclsPipeline.from_pretrained(folder)(wave)}
    found = eval(run.stdout)
    assert found.pop("thresholds") == results.thresholds
    assert found == pytest.approx(expected, abs=1e-5) and sum(found.values()) != pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"problem_type": "regression"}, "found 'regression': numbers are not learned here"),
        ({"thresholds": [0.5] * 3}, "thresholds are about problem_type multi_label_classification"),
        ({"problem_type": SEVERAL_LABELS, "thresholds": [0.5]}, "expected thresholds from 0 to 1, 3 of them"),
        ({"problem_type": SEVERAL_LABELS, "thresholds": [0.5, float("nan"), 0.5]}, "expected thresholds from 0 to 1"),
    ],
)
def test_configurations_that_cannot_be_are_refused(settings, message, tmp_path):
    folder = save_small_model(tmp_path / "m", "log_mel", window_s=0.4)
    written = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(written | settings))
    with pytest.raises(ValueError, match=f"config.json: .*{message}"):
        EnclsConfig.from_pretrained(folder)


# ------------------------------------------------------------------------------------------------------------- the tables

TRUTH = {"a.wav": ["guitar", "voice"], "b.wav": ["guitar"], "sub/c.wav": []}
TABLES = {
    "a row for each label": "file,label\na.wav,guitar\na.wav,voice\nb.wav,guitar\nsub/c.wav,\n",
    "semicolons": "filename,labels\na.wav,guitar;voice\nb,guitar\nc,\n",
    "bars": "path,tags\na.wav,guitar|voice\nb.wav,guitar\nsub/c.wav,\n",
    "commas, as in FSD50K": 'fname,labels,mids,split\na,"guitar,voice",x,train\nb,guitar,x,train\nc,,x,val\n',
    "a column for each class": "file\tguitar\tvoice\tdrums\na.wav\t1\t0.9\t0\nb.wav\t1\t0.2\t0.1\nc.wav\t0\t0\t0\n",
    "as in OpenMIC": "sample_key,instrument,relevance,num_responses\na,guitar,0.9,3\na,voice,0.5,3\nb,guitar,1,3\n"
    "b,voice,0.2,3\nc,voice,0.1,3\n",
}


def write_few(folder: Path) -> Path:
    (folder / "audio/sub").mkdir(parents=True)
    for name in TRUTH:
        soundfile.write(folder / "audio" / name, np.random.default_rng(0).normal(0, 0.1, 800), RATE)
    return folder / "audio"


@pytest.mark.parametrize("kind", TABLES)
def test_tables_that_people_have(kind, tmp_path):
    audio, table = write_few(tmp_path), tmp_path / "table.csv"
    table.write_text(TABLES[kind])
    found, report = scan_recordings(audio, TimeLabels(str(table), multi_label=True))
    assert isinstance(found.features["label"], List) and found.features["label"].feature.names == ["guitar", "voice"]
    names = ["guitar", "voice"]
    assert dict(zip(found["clip_id"][:], [[names[i] for i in each] for each in found["label"][:]])) == TRUTH
    assert any("1 files have none of the labels: " in each for each in report.warnings)
    assert any("of 6 pairs of file and label the table says 5" in each for each in report.warnings) == ("MIC" in kind)
    unknown = dict(zip(found["clip_id"][:], found["unknown"][:])) if "unknown" in found.column_names else None
    assert unknown == ({"a.wav": [], "b.wav": [], "sub/c.wav": [0]} if "MIC" in kind else None)
    if "FSD" in kind:
        assert found["fold"][:] == [TRAIN, TRAIN, VALIDATION]
    dropped, report = scan_recordings(audio, TimeLabels(str(table), multi_label=True, unlabelled="drop"))
    assert len(dropped) == 2 and [each["kind"] for each in report.left_out] == ["unlabelled"]
    filled, _ = scan_recordings(audio, TimeLabels(str(table), multi_label=True, unlabelled="nothing"))
    assert filled.features["label"].feature.names == ["guitar", "nothing", "voice"]


def test_a_table_of_one_label_each_names_groups_and_folds(tmp_path):
    audio, table = write_few(tmp_path), tmp_path / "table.csv"
    table.write_text("file,label,fold,group\na.wav,x,1,s\nb.wav,y,2,s\nsub/c.wav,x,3,t\nlost.wav,y,3,t\n")
    found, report = scan_recordings(audio, str(table))
    assert found["label"][:] == [0, 1, 0] and found["fold"][:] == [1, 2, 3] and found["group"][:] == ["s", "s", "t"]
    assert [(each["file"], each["kind"]) for each in report.left_out] == [("lost.wav", "missing")]
    (audio / "stray.wav").write_bytes((audio / "a.wav").read_bytes())
    _, report = scan_recordings(audio, str(table))
    assert ("stray.wav", "unlisted") in [(each["file"], each["kind"]) for each in report.left_out]
    with pytest.raises(ValueError, match="strict.*and 2 files"):
        scan_recordings(audio, str(table), strict=True)


BAD_TABLES = {
    "file,guitar,voice\na.wav,1,nan\n": "line 2: expected a number from 0 to 1 in the column voice, found 'nan'",
    "file,guitar,voice\na.wav,1,\n": "line 2: expected a number from 0 to 1 in the column voice, found ''",
    "file,guitar,voice\na.wav,1,7\n": "line 2: expected a number from 0 to 1 in the column voice, found '7'",
    "file,instrument,relevance\na.wav,guitar,inf\n": "line 2: expected a number from 0 to 1 in the column relevance",
    "file,label\n,guitar\n": "line 2: expected the name of a file in the column file, found none",
    "file,label\nx.wav,guitar\ny.wav,voice\n": "expected labels of the files in",
    "file,label\na.wav,\nb.wav,\n": "expected labels.*found none",
    "file,label\na.wav,guitar\nb.wav,guitar\n": "expected at least two classes",
    "file,label\na.wav,guitar\na,voice\nb,voice\n": "expected one name of a.wav, found two",
    "file,label,fold\na.wav,guitar,1\na.wav,voice,2\n": "line 3: expected one fold of a.wav, found 1 and 2",
    "file,label,fold\na.wav,guitar,one\n": "line 2: expected a fold of 1 or more, found 'one'",
    "file,label,split\na.wav,guitar,blue\n": "expected the split of a.wav to be train, validation or test, found 'blue'",
    "file,label\na.wav,guitar,voice\n": "line 2: expected 2 cells, found 3: quote cells with commas in them",
    "file\na.wav\n": "expected a column of labels, or one for each class, found file",
}


@pytest.mark.parametrize("text", BAD_TABLES)
def test_bad_tables_are_named_with_their_line(text, tmp_path):
    audio, table = write_few(tmp_path), tmp_path / "table.csv"
    table.write_text(text)
    with pytest.raises(ValueError, match=BAD_TABLES[text]) as error:
        scan_recordings(audio, TimeLabels(str(table), multi_label=True, unlabelled="drop"))
    assert "table.csv" in str(error.value) or "classes" in str(error.value)


# ---------------------------------------------------------------------------------------------------------- labels in time


def recording(segments, label, duration_s=3.0) -> dict:
    named = [dict(zip(("start", "end", "label"), each, strict=True)) for each in segments]
    return {"segments": named, "duration_s": duration_s, "min_overlap": 0.5, "label": label}


def test_windows_get_every_label_that_fills_enough():
    segments = [(0, 2, 0), (0.4, 1.5, 1), (1.6, 3.0, 1), (0, 0.2, 2)]
    for label, kept in (([], [1, 1, 1]), ([-1], [1, 1, 1]), ([2], [1, 1, 1])):
        found, used = window_label_sets(recording(segments, label), np.arange(3.0), 1.0, 3)
        assert found.tolist() == [[True, True, False], [True, True, False], [False, True, False]]
        assert used.tolist() == kept
    bare = [(0, 1, 0)]
    for label, sets, kept in (([], [], [1, 1, 1]), ([-1], [], [1, 0, 0]), ([2], [2], [1, 1, 1])):
        found, used = window_label_sets(recording(bare, label), np.arange(3.0), 1.0, 3)
        assert np.flatnonzero(found[0]).tolist() == [0] and np.flatnonzero(found[1]).tolist() == sets
        assert used.tolist() == kept


def write_recordings(folder: Path, count: int = 9) -> None:
    """Recordings in which tones overlap, and annotations beside them as UrbanSound has them."""
    rng = np.random.default_rng(1)
    folder.mkdir()
    for number in range(count):
        wave, lines = rng.standard_normal(2 * RATE) * 0.02, []
        for place, label in enumerate(PITCHES):
            start = round(float(rng.uniform(0, 0.5)) + 0.4 * place, 2)
            wave[round(start * RATE) : round(start * RATE) + RATE // 2] += sound([label], rng)
            lines.append(f"{start},{start + 0.5},{1 + number % 2},{label}\n")
        soundfile.write(folder / f"{number}.wav", wave, RATE)
        (folder / f"{number}.csv").write_text("".join(lines))


def test_overlapping_annotations_are_trained_on_and_told_again(tmp_path, capsys):
    audio = tmp_path / "audio"
    write_recordings(audio)
    data = ["--data_dir", str(audio), "--labels", f"{audio}/*.csv", "--multi_label"]
    place = ["--cache_dir", str(tmp_path / "cache"), "--output_dir", str(tmp_path / "model")]
    results = train([*data, *place, *TRAINING, "--step_s", "0.125"])
    assert results.labels == {"min_overlap": 0.5, "unlabelled": "keep", "multi_label": True}
    assert results.classes == NAMES and results.test.clip is None and results.test.window.mean_average_precision > 0.9
    card = (tmp_path / "model/README.md").read_text(encoding="utf-8")
    assert "a window has each that fills at least 50% of it, others have none" in card and "window mAP" in card
    for file in sorted(audio.glob("*.wav")):
        out = tmp_path / "said" / f"{file.stem}.TextGrid"
        out.parent.mkdir(exist_ok=True)
        command = ["segment", str(file), "--model", str(tmp_path / "model"), "--output", str(out)]
        assert cli([*command, "--plot", str(tmp_path / "plot.png")]) == 0
    said = read_timeline(out)
    assert any(a["end"] > b["start"] for a, b in pairwise(said)), "they overlap"
    capsys.readouterr()
    assert cli(["evaluate-timeline", str(tmp_path / "said"), "--reference", f"{audio}/*.csv", "--format", "json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert sorted(scores["segment_based"]["class_wise"]) == NAMES
    command = ["evaluate-timeline", str(audio), "--reference", f"{audio}/*.csv", "--format", "json"]
    assert cli([*command, "--model", str(tmp_path / "model"), "--time_resolution", "0.25"]) == 0
    scores = json.loads(capsys.readouterr().out)["segment_based"]["overall"]
    assert scores["f_measure"]["f_measure"] > 0.75
    # Without --multi_label the same labels are resolved to one for each window, as before.
    found, _ = scan_recordings(audio, f"{audio}/*.csv")
    assert found["label"][:] == [-1] * 9


# ------------------------------------------------------------------------------------------------------------------ splits


def rows_of(labels: np.ndarray, groups: np.ndarray | None = None) -> dict:
    count = len(labels)
    names = np.array([f"clip {i}" for i in range(count)])
    groups = names if groups is None else groups
    return {"clip_id": names, "group": groups, "fold": np.zeros(count, int), "label": labels, "start": np.zeros(count)}


@pytest.mark.parametrize("protocol", ["clip", "paper"])
def test_every_label_meets_the_shares_and_groups_stay_together(protocol):
    rng = np.random.default_rng(0)
    labels = rng.random((1000, 12)) < rng.uniform(0.01, 0.3, 12)
    rows = rows_of(labels, np.array([f"group {i}" for i in rng.integers(0, 500, 1000)]))
    for seed in range(3):
        splits = make_splits(rows, protocol, seed=seed)
        shares = np.stack([labels[part].sum(axis=0) for part in splits.values()]) / labels.sum(axis=0)
        off = np.abs(shares - np.array([0.6, 0.2, 0.2])[:, None])
        assert off.mean() < 0.02  # 0.06 where groups are drawn at random
        bare = ~labels.any(axis=1)
        assert abs(bare[splits["train"]].sum() / bare.sum() - 0.6) < 0.1
        assert sorted(np.concatenate(list(splits.values()))) == list(range(1000))
        assert protocol == "paper" or leak_check(rows, splits).group_leaks == 0
    assert [each.tolist() for each in make_splits(rows, protocol, seed=2).values()] == [
        each.tolist() for each in splits.values()
    ]


def test_a_label_of_three_groups_is_in_every_part_and_one_of_two_is_refused():
    labels = np.zeros((60, 3), bool)
    labels[:, 0], labels[::2, 1], labels[:3, 2] = True, True, True
    for seed in range(5):
        assert all(labels[part].any(axis=0).all() for part in make_splits(rows_of(labels), "clip", seed=seed).values())
    labels[2, 2] = False
    with pytest.raises(ValueError, match="class 2 has 2 clips; it needs at least 3"):
        make_splits(rows_of(labels), "clip")


def test_official_folds_and_lists(windows):
    labels = np.eye(3, dtype=bool)[np.arange(30) % 3] | (np.arange(30) % 2 == 0)[:, None]
    rows = rows_of(labels) | {"fold": np.arange(30) % 5 + 1}
    splits = make_splits(rows, "official", fold=2)
    assert set(rows["fold"][splits["test"]]) == {2} and set(rows["fold"][splits["validation"]]) == {3}
    lists = make_splits(rows | {"fold": np.array([TRAIN, TRAIN, TRAIN, VALIDATION, TEST] * 6)}, "official")
    assert [len(each) for each in lists.values()] == [18, 6, 6]
    missing = labels.copy()
    missing[rows["fold"] != 2, 0] = False
    with pytest.raises(ValueError, match="class 0 has 4 clips, fewer than the 5 folds"):
        make_splits(rows | {"label": missing}, "official", fold=2)


# ----------------------------------------------------------------------------------------------------------------- metrics


def test_scores_are_scikit_learns():
    rng = np.random.default_rng(0)
    truth, told = 1.0 * (rng.random((200, 4)) < [0.5, 0.2, 0.05, 0.0]), rng.random((200, 4))
    limits = [0.5, 0.4, 0.9, 0.999]
    ids = np.repeat(np.arange(100), 2)
    truth = truth[ids]
    scores = evaluate_split(told, truth, ids, thresholds=limits)
    said = told >= limits
    window = scores.window
    assert window.mean_average_precision == pytest.approx(average_precision_score(truth[:, :3], told[:, :3]))
    assert window.macro_auroc == pytest.approx(roc_auc_score(truth[:, :3], told[:, :3]))
    assert window.micro_f1 == pytest.approx(f1_score(truth, said, average="micro"))
    used = [0, 1, 2, *([3] if said[:, 3].any() else [])]
    assert window.macro_f1 == pytest.approx(f1_score(truth[:, used], said[:, used], average="macro"))
    loss = torch.nn.functional.binary_cross_entropy(torch.tensor(told), torch.tensor(truth).double())
    assert window.loss == pytest.approx(loss.item()) and scores.num_clips == 100
    means, labels, _ = clip_probabilities(told, truth, ids)
    assert means.tolist() == told.reshape(100, 2, 4).mean(axis=1).tolist() and labels.tolist() == truth[::2].tolist()
    nothing = evaluate_split(told, np.zeros_like(truth), None).window
    assert nothing.mean_average_precision is None and nothing.macro_auroc is None


def test_what_is_unknown_counts_nowhere():
    rng = np.random.default_rng(0)
    truth, told = (rng.random((100, 3)) < 0.4).astype(float), rng.random((100, 3))
    truth[rng.random((100, 3)) < 0.5] = np.nan
    scores, limits = evaluate_split(told, truth, None).window, best_thresholds(told, truth)
    known = [~np.isnan(column) for column in truth.T]
    pairs = [(truth[known[i], i], told[known[i], i]) for i in range(3)]
    assert scores.mean_average_precision == pytest.approx(np.mean([average_precision_score(*each) for each in pairs]))
    assert scores.macro_auroc == pytest.approx(np.mean([roc_auc_score(*each) for each in pairs]))
    everything = np.concatenate([each[0] for each in pairs]), np.concatenate([each[1] for each in pairs])
    assert scores.micro_f1 == pytest.approx(f1_score(everything[0], everything[1] >= 0.5))
    assert limits == [best_thresholds(scores[:, None], own[:, None])[0] for own, scores in pairs]
    table = per_label(told, truth, limits, NAMES)
    assert [row["support"] for row in table] == [int(own.sum()) for own, _ in pairs]


def test_thresholds_are_the_best_and_lie_between():
    told = np.array([[0.9, 0.3, 0.5], [0.8, 0.3, 0.5], [0.2, 0.1, 0.5], [0.1, 0.7, 0.6]])
    truth = np.array([[1, 1, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0]], float)
    found = best_thresholds(told, truth)
    assert found == [pytest.approx(0.15), pytest.approx(0.2), 0.5]  # of the last one nothing is known
    rng = np.random.default_rng(0)
    told, truth = rng.random((60, 2)), 1.0 * (rng.random((60, 2)) < 0.4)
    for label, limit in enumerate(best_thresholds(told, truth)):
        every = [f1_score(truth[:, label], told[:, label] >= each) for each in told[:, label]]
        assert f1_score(truth[:, label], told[:, label] >= limit) == pytest.approx(max(every))


# ------------------------------------------------------------------------------------------------------------------- a run


def test_a_run_and_what_it_leaves(clips, trained):
    folder, results = trained
    assert results.problem_type == SEVERAL_LABELS and results.confusion_matrix is None
    assert results.test.clip.mean_average_precision > 0.9 and results.test.clip.micro_f1 > 0.8
    config = json.loads((folder / "config.json").read_text())
    assert config["problem_type"] == SEVERAL_LABELS and config["thresholds"] == results.thresholds
    assert [row["threshold"] for row in results.per_class] == results.thresholds
    assert {"average_precision", "auroc", "f1", "support"} <= results.per_class[0].keys()
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert (
        "| whole clips, how well labels are ranked (mean average precision) |" in card
        and "| AP | AUROC | threshold |" in card
        and "- roc_auc" in card
    )
    assert "chosen on the validation part" in card and "always answers" not in card and "accuracy" not in card
    assert not (folder / "confusion_matrix.png").exists()


def test_thresholds_come_from_validation_alone(windows, tmp_path):
    data, config = windows
    args = EnclsTrainingArguments(str(tmp_path / "m"), report_to="none", disable_tqdm=True)
    run = train_windows(data, config, args=args)
    part = data.select(np.flatnonzero(np.isin(data["clip_id"][:], run.parts["validation"])))
    rows = clip_probabilities(probabilities(run.model, part), label_array(part), part["clip_id"][:])
    assert run.model.config.thresholds == pytest.approx(best_thresholds(*rows[:2]), abs=1e-5)
    test = data.select(np.flatnonzero(np.isin(data["clip_id"][:], run.parts["test"])))
    assert evaluate(run.model, test).clip.micro_f1 == pytest.approx(run.results.test.clip.micro_f1)
    with pytest.raises(ValueError, match="one label each, or of several at once"):
        one = run.model.config.to_dict() | {"problem_type": None, "thresholds": None}
        evaluate(EnclsForAudioClassification(EnclsConfig(**one)), test)


@pytest.mark.parametrize("head", ["mnist", "conv"])
def test_every_head_and_the_whole_recipe(head, clips, tmp_path):
    recipe = ["--head", head, "--recipe", "recommended,label_smoothing=0.1", "--num_train_epochs", "2"]
    results = train(options(clips, tmp_path / "m", *TRAINING, *recipe))
    assert len(results.history) == 2 and results.best_epoch in (1, 2)
    assert all(0 <= row["validation_mean_average_precision"] <= 1 for row in results.history)
    best = max(row["validation_mean_average_precision"] for row in results.history)
    assert results.validation.window.mean_average_precision == pytest.approx(best), "the best epoch by mAP is kept"
    assert all("train_accuracy" not in row for row in results.history) and (tmp_path / "m/curves.png").is_file()
    model = EnclsForAudioClassification.from_pretrained(tmp_path / "m")
    assert model.config.thresholds == results.thresholds


def test_official_lists_of_a_table(clips, tmp_path):
    audio, _, truth = clips
    table = tmp_path / "table.csv"
    parts = ["train", "train", "train", "val", "test"]
    rows = [f"{name},{';'.join(labels)},{parts[i % 5]}" for i, (name, labels) in enumerate(truth.items())]
    table.write_text("\n".join(["file,labels,split", *rows]))
    results = train(options((audio, table, truth), tmp_path / "m", *TRAINING, "--protocol", "official"))
    assert results.protocol == "official" and results.test.num_clips == 8


# ---------------------------------------------------------------------------------------------------------- what it is for


def test_classify_says_which_labels_a_file_has(clips, trained, tmp_path, capsys):
    audio, _, truth = clips
    folder, results = trained
    out = tmp_path / "said.csv"
    assert cli(["classify", str(audio), "--model", str(folder), "--format", "csv", "--output", str(out)]) == 0
    found, _ = scan_recordings(audio, TimeLabels(str(out), multi_label=True))  # what it writes can be trained on
    names = found.features["label"].feature.names
    said = {clip: [names[i] for i in labels] for clip, labels in zip(found["clip_id"][:], found["label"][:])}
    pipe = EnclsPipeline.from_pretrained(folder)
    for name in list(truth)[:5]:
        scores = {row["label"]: row["score"] for row in pipe(audio / name, top_k=None)}
        assert sorted(said[name]) == [
            label for label, limit in zip(NAMES, results.thresholds) if scores[label] >= limit
        ]
    assert np.mean([sorted(said[name]) == sorted(truth[name]) for name in truth]) > 0.7
    capsys.readouterr()
    assert cli(["classify", str(audio / "0.wav"), "--model", str(folder), "--format", "jsonl", "--top_k", "2"]) == 0
    assert len(json.loads(capsys.readouterr().out)["labels"]) == 2


TWO = np.array([[0.9, 0.1], [0.9, 0.8], [0.4, 0.8], [0.9, 0.8], [0.9, 0.1], [0.1, 0.1], [0.1, 0.1], [0.1, 0.1]])


def test_timelines_overlap_and_leave_gaps():
    times, names = Times(1.0, 1.0, 8.0), ["a", "b"]
    found = make_timeline(TWO, names, times, [0.5, 0.5])
    spans = [(each["start"], each["end"], each["label"]) for each in found]
    assert spans == [(0, 2, "a"), (1, 4, "b"), (3, 5, "a")]
    assert [each["score"] for each in found] == pytest.approx([0.9, 0.8, 0.9])
    raised = make_timeline(TWO, names, times, [0.9, 0.81])
    assert [(each["start"], each["end"], each["label"]) for each in raised] == [(0, 2, "a"), (3, 5, "a")]
    for settings, end in (({"min_duration_s": 1.5}, 5), ({"smoothing": "median"}, 4), ({"smoothing": "viterbi"}, 5)):
        joined = make_timeline(TWO, names, times, [0.5, 0.5], **settings)
        assert [(each["start"], each["end"]) for each in joined if each["label"] == "a"] == [(0, end)], settings
    assert make_timeline(TWO * 0, names, times, [0.5, 0.5]) == []


@pytest.mark.parametrize("format", FORMATS)
def test_overlaps_read_back_from_every_format(format, tmp_path):
    segments = make_timeline(TWO, ["a", 'b "c"'], Times(1.0, 1.0, 8.0), [0.5, 0.5])
    path = tmp_path / "x.txt"
    path.write_text(render(segments, format, name="x.wav", duration_s=8.0), encoding="utf-8")
    names = ("start", "end", "label")
    found = {tuple(each[name] for name in names) for each in read_timeline(path)}
    assert {(a, b, label.replace("_", " ")) for a, b, label in found} == {
        tuple(each[name] for name in names) for each in segments
    }
    if format == "textgrid":
        assert path.read_text().count('class = "IntervalTier"') == 2 and "xmax = 8" in path.read_text()


def test_a_graph_says_sigmoid(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from hf_encls.inference.onnx import export_onnx

    model = small_model("log_mel", problem_type=SEVERAL_LABELS, thresholds=[0.5, 0.25, 0.75], window_s=0.4)
    assert export_onnx(model, tmp_path / "m.onnx") < 1e-4
    about = json.loads({each.key: each.value for each in onnx.load(tmp_path / "m.onnx").metadata_props}["encls"])
    assert about["problem_type"] == SEVERAL_LABELS and about["thresholds"] == [0.5, 0.25, 0.75]


def test_a_graph_has_the_mean_of_its_windows(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    from hf_encls.inference.onnx import export_onnx

    folder = save_small_model(tmp_path / "m", "log_mel", problem_type=SEVERAL_LABELS, window_s=0.4)
    pipe = EnclsPipeline.from_pretrained(folder, device="cpu")
    export_onnx(pipe.model, tmp_path / "m.onnx")
    wave = 0.1 * np.random.default_rng(0).standard_normal(30_000).astype(np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    windows, clip = session.run(["probabilities", "clip"], {"waveform": wave})
    assert len(windows) > 1
    np.testing.assert_allclose(clip, windows.mean(0), atol=1e-6)
    np.testing.assert_allclose(clip, pipe.analyse(wave).scores(), atol=1e-5)


def test_what_speaks_for_a_label_leaves_the_others_alone():
    from hf_encls.inference.explanation import log_odds, occlusion

    model = small_model("log_mel", problem_type=SEVERAL_LABELS, window_s=0.4)
    windows = torch.randn(2, 32, model.config.num_frames, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 2])
    with torch.no_grad():
        probability = model.probabilities(model.classify(windows))[[0, 1], targets]
        torch.testing.assert_close(log_odds(model.classify(windows), targets, several=True), probability.logit())
        before = occlusion(model, windows, targets)
        model.head.classifier.bias[1] += 5.0  # another label is there too
        torch.testing.assert_close(occlusion(model, windows, targets), before, rtol=1e-3, atol=1e-4)


def test_several_labels_have_no_unknown(clips, windows, tmp_path):
    data, config = windows
    args = EnclsTrainingArguments(str(tmp_path / "m"), report_to="none", disable_tqdm=True, unknown=0.1)
    with pytest.raises(ValueError, match=r"`unknown=0\.1` needs .* of several labels each has a probability"):
        train_windows(data, config, args=args)


def test_the_librarys_own_exporter_has_the_same_clips(tmp_path):
    """What transformers exports computes clips in another way than eager PyTorch does."""
    exporters = pytest.importorskip("transformers.exporters")
    model = small_model("log_mel", problem_type=SEVERAL_LABELS, window_s=0.4)
    wave = 0.1 * torch.randn(1, 50_000)
    program = exporters.DynamoExporter().export(model, {"input_values": wave}, exporters.DynamoConfig()).program
    with torch.no_grad():
        found, expected = program.module()(input_values=wave), model(input_values=wave)
    assert torch.allclose(found["logits"], expected.logits, atol=1e-5)


REPO = f"{USER}/several"


def test_what_is_found_says_all_its_labels(clips, windows):
    from hf_encls.features.search import SoundIndex

    audio, _, truth = clips
    found = SoundIndex(*windows).search(audio / "0.wav", top_k=3)
    assert [each.label for each in found] == [", ".join(truth[each.clip_id]) or None for each in found]


def test_published_features_keep_their_labels(clips, hub, tmp_path):
    audio, table, truth = clips
    data = ["--data_dir", str(audio), "--labels", str(table), "--multi_label", "--cache_dir", str(tmp_path / "cache")]
    publish([*data, *SMALL, "--push_to_hub", REPO])
    facts = json.loads(hub.files(REPO, "dataset")["log_mel/encls_features.json"])
    counts = {row["class"]: row["clips"] for row in facts["class_counts"]}
    assert counts == {label: sum(label in each for each in truth.values()) for label in PITCHES}
    place = ["--output_dir", str(tmp_path / "model"), "--report_to", "none", "--num_train_epochs", "1"]
    results = [
        train(["--dataset", REPO, *SMALL, *place, "--head", "statistics", "--overwrite", *more])
        for more in ([], ["--streaming"])
    ]
    assert all(each.problem_type == SEVERAL_LABELS and each.test.clip.micro_f1 > 0.8 for each in results)
    assert results[0].test.clip.micro_f1 == results[1].test.clip.micro_f1


def test_a_table_that_leaves_things_open(clips, hub, tmp_path):
    """OpenMIC says of a few labels of each file whether they are there: the rest is no no."""
    audio, _, truth = clips
    rng, table = np.random.default_rng(3), tmp_path / "open.csv"
    rows = [(name[:-4], label, int(label in truth[name])) for name in truth for label in PITCHES if rng.random() < 0.7]
    lines = [",".join(map(str, each)) for each in rows]
    table.write_text("\n".join(["sample_key,instrument,relevance", *lines]))
    data = ["--data_dir", str(audio), "--labels", str(table), "--multi_label", "--cache_dir", str(tmp_path / "cache")]
    publish([*data, *SMALL, "--push_to_hub", REPO])
    place = ["--output_dir", str(tmp_path / "model"), "--report_to", "none", "--num_train_epochs", "2", "--overwrite"]
    for more in (["--head", "statistics"], ["--streaming", "--head", "statistics"], ["--recipe", "recommended"]):
        results = train(["--dataset", REPO, *SMALL, *place, *more])
        assert sum(row["support"] for row in results.per_class) < sum(map(len, truth.values()))
        assert np.isfinite(results.test.clip.loss) and results.test.clip.mean_average_precision > 0.3
        assert "statistics" not in more or results.test.clip.micro_f1 > 0.8


MISTAKES = {
    ("train", "--multi_label"): "--multi_label is about several labels at once: name them with --labels",
    (
        "train",
        "--labels",
        "{table}",
        "--multi_label",
        "--min_overlap",
        "0.3",
    ): "has those of whole files: leave it out",
    ("train", "--labels", "{table}"): "several at once are learned with --multi_label",
    ("train", "--labels", "{table}", "--multi_label", "--protocol", "official"): "needs a data set with folds",
    ("check-labels", "--labels", "{table}", "--multi_label"): "--multi_label: labels are judged one for each sound",
}


@pytest.mark.parametrize("command", MISTAKES)
def test_mistakes_are_one_line(command, clips, tmp_path, capsys):
    audio, table, _ = clips
    given = [each.format(table=table) for each in command]
    where = ["--output_dir", str(tmp_path / "m")] if command[0] == "train" else ["--output", str(tmp_path / "f.csv")]
    assert cli([given[0], "--data_dir", str(audio), *where, "--features", "log_mel", *given[1:]]) == 2
    last = capsys.readouterr().err.strip().split("\n")[-1]
    assert last.startswith("error: ") and MISTAKES[command] in last
    assert not (tmp_path / "m/config.json").exists()


def test_what_knows_one_label_says_so(trained, clips, tmp_path, capsys):
    folder, _ = trained
    audio, _, _ = clips
    assert cli(["listen", str(audio / "0.wav"), "--model", str(folder)]) == 2
    assert "it tells several labels at once" in capsys.readouterr().err
    if find_spec("onnx"):  # without it, that is what is said
        assert cli(["export", "--page", str(tmp_path / "page"), "--model", str(folder)]) == 2
        assert "the page shows one label at a time" in capsys.readouterr().err and not (tmp_path / "page").exists()
    assert cli(["label-next", str(audio), "--model", str(folder)]) == 2
    assert "--model tells several labels at once" in capsys.readouterr().err
    from hf_encls.comparison.models import compare

    table = tmp_path / "one.csv"
    table.write_text("file,label\n0.wav,low\n1.wav,mid\n2.wav,high\n")
    found, _ = scan_recordings(audio, str(table))
    with pytest.raises(ValueError, match="expected m to answer with one class .*found a model of multi_label"):
        compare({"m": folder}, found)
