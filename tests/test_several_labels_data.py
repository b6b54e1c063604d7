"""Several labels at once in tables, in time, in splits and in scores."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from datasets import List
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from small_labels import NAMES, PITCHES, RATE, TRAINING, rows_of, sound

from hf_encls.commands.cli import main as cli
from hf_encls.commands.train import main as train
from hf_encls.data.labelled import TimeLabels, scan_recordings, window_label_sets
from hf_encls.data.splits import TRAIN, VALIDATION, leak_check, make_splits
from hf_encls.timelines.reading import read_timeline
from hf_encls.training.metrics import best_thresholds, clip_probabilities, evaluate_split, per_label

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
