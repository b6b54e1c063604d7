"""Several labels at once: from tables and labels in time to a model, its thresholds, and timelines that overlap."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_server import USER
from small_labels import NAMES, PITCHES, SMALL, TRAINING, options, rows_of, write_clips, write_table
from small_models import CLASSES, save_small_model, small_model
from transformers import pipeline

from hf_encls import EnclsConfig, EnclsTrainingArguments, evaluate
from hf_encls.commands.cli import main as cli
from hf_encls.commands.publish import main as publish
from hf_encls.commands.train import main as train
from hf_encls.data.columns import label_array
from hf_encls.data.labelled import TimeLabels, scan_recordings
from hf_encls.data.splits import TEST, TRAIN, VALIDATION, make_splits
from hf_encls.features.extraction import extract_features, feature_config
from hf_encls.inference.pipeline import EnclsPipeline
from hf_encls.model.modeling_encls import EnclsForAudioClassification
from hf_encls.model.problem_encls import SEVERAL_LABELS
from hf_encls.training.metrics import best_thresholds, clip_probabilities
from hf_encls.training.run import probabilities
from hf_encls.training.run import train as train_windows


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> tuple[Path, Path, dict]:
    folder = tmp_path_factory.mktemp("clips")
    truth = write_clips(folder / "audio")
    return folder / "audio", write_table(folder / "labels.csv", truth), truth


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


def test_several_labels_have_no_unknown(clips, windows, tmp_path):
    data, config = windows
    args = EnclsTrainingArguments(str(tmp_path / "m"), report_to="none", disable_tqdm=True, unknown=0.1)
    with pytest.raises(ValueError, match=r"`unknown=0\.1` needs .* of several labels each has a probability"):
        train_windows(data, config, args=args)


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
