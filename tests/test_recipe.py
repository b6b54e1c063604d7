"""Recipes of training: what they do to batches, losses and weights, and that a run with one goes on to the bit."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset, Features
from safetensors.torch import load_file
from small_runs import arguments, equal, newest, train, weights, write_tones

from hf_encls.features.extraction import feature_columns, feature_config
from hf_encls.features.store import FeatureStore, NeighbourStore, Windows, neighbours
from hf_encls.model.codec_features_encls import Latents
from hf_encls.model.mel_encls import LogMel, Mel
from hf_encls.model.windows_encls import cut
from hf_encls.training.arguments import EnclsTrainingArguments
from hf_encls.training.augmentation import augment, class_weights, crop, soft_cross_entropy
from hf_encls.training.averaging import TRAINING_WEIGHTS
from hf_encls.training.recipe import RECIPES, Recipe

ROOT = Path(__file__).parents[1]
ALL = "recommended,mixup=0.4,time_masks=2,band_masks=2,average=0.9,class_weights=true,epochs=2"


@pytest.fixture(scope="module")
def tones(tmp_path_factory) -> Path:
    """Three classes of eight clips, of 0.9 s: three windows each."""
    return write_tones(tmp_path_factory.mktemp("data") / "tones")


def test_a_recipe_is_a_name_with_changes():
    assert Recipe.parse("paper") == Recipe() and not Recipe().changes_batches
    changed = Recipe.parse("recommended, mixup=0, crop=false,epochs=7")
    assert (changed.mixup, changed.crop, changed.epochs) == (0, False, 7)
    assert changed.average == RECIPES["recommended"].average
    for recipe in (changed, *RECIPES.values(), Recipe(class_weights=True)):
        assert Recipe.parse(recipe.text) == recipe
    assert [recipe.text for recipe in RECIPES.values()] == list(RECIPES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("best", "expected a recipe paper or recommended, found 'best'"),
        ("paper,mixup", "as name=value"),
        ("paper,mixdown=1", "as name=value, of crop, .* found 'mixdown=1'"),
        ("paper,mixup=much", "expected mixup of a recipe to be a number, found 'much'"),
        ("paper,time_masks=1.5", "time_masks of a recipe to be a whole number"),
        ("paper,crop=perhaps", "crop of a recipe to be true or false"),
        ("paper,average=1", "average of a recipe from 0 to"),
        ("paper,mask_share=nan", "mask_share of a recipe from 0 to 1, found nan"),
        ("paper,band_shift=-1", "band_shift of a recipe from 0 to 100, found -1"),
        ("paper,band_shift=1.5", "band_shift of a recipe to be a whole number"),
        ("paper,refit=2", "refit of a recipe to be true or false"),
        ("paper,epochs=0", "epochs of a recipe above 0"),
        ("paper,schedule=wild", "schedule of a recipe to be constant, linear, cosine, found 'wild'"),
    ],
)
def test_what_is_no_recipe_is_refused_in_one_line(text, message):
    with pytest.raises(ValueError, match=message) as refusal:
        EnclsTrainingArguments("unused", recipe=text)
    assert "\n" not in str(refusal.value)


def test_an_argument_goes_before_the_recipe(tmp_path):
    args = EnclsTrainingArguments(
        str(tmp_path), recipe="recommended", lr_scheduler_type="constant", num_train_epochs=15
    )
    recommended = RECIPES["recommended"]
    assert (args.lr_scheduler_type, args.num_train_epochs, args.warmup_steps) == ("constant", 15, recommended.warmup)
    plain = EnclsTrainingArguments(str(tmp_path), recipe="paper")
    assert (plain.lr_scheduler_type, plain.num_train_epochs) == ("constant", 15)
    assert (plain.warmup_steps, plain.label_smoothing_factor) == (0, 0)


def test_neighbours_touch_or_overlap_and_are_of_one_clip():
    clips, starts = np.array(["b", "a", "a", "b", "a", "c"]), np.array([1.0, 2.0, 0.0, 0.0, 1.0, 0.0])
    first, second, shift = neighbours(clips, starts, window_s=1.0, frame_rate=75.0)
    # The last window of a clip comes with the one before it, a clip's only one with itself.
    assert list(zip(first, second, shift, strict=True)) == [
        (3, 0, 75), (4, 1, 75), (2, 4, 75), (3, 0, 75), (4, 1, 75), (5, 5, 0),
    ]  # fmt: skip
    halves = np.arange(4) * 0.5
    first, second, shift = neighbours(np.zeros(4), halves, window_s=1.0, frame_rate=75.0)
    assert list(zip(first, second, shift, strict=True)) == [(0, 2, 75), (1, 3, 75), (2, 3, 38), (1, 3, 75)]
    gaps = neighbours(np.zeros(3), np.arange(3) * 1.5, window_s=1.0, frame_rate=75.0)
    assert gaps[0].tolist() == gaps[1].tolist() == [0, 1, 2]
    thirds = neighbours(np.zeros(3), np.arange(3) * 0.6, window_s=1.0, frame_rate=50.0)
    assert thirds[2].tolist() == [30, 30, 30]


@pytest.mark.parametrize("step", [8, 4, 6])
def test_a_crop_is_what_the_clip_has_there(step):
    config = feature_config("log_mel", window_s=0.3, hop_length=1024)
    window, clips = 8, {name: torch.randn(3, frames) for name, frames in (("a", 40), ("b", 8), ("c", 29))}
    rows = [
        {"input_features": piece.numpy(), "label": 0, "clip_id": name, "start": number * step / 10, "group": name,
         "fold": 0, "silent": False}
        for name, clip in clips.items() for number, piece in enumerate(cut(clip, window, step))
    ]  # fmt: skip
    columns = feature_columns(config, None)
    columns = {**columns, "label": Dataset.from_dict({"label": [0]}).features["label"]}
    columns["input_features"] = type(columns["input_features"])(shape=(3, window), dtype="float32")
    windows = Windows(Dataset.from_list(rows, features=Features(columns)))
    store = NeighbourStore(windows, np.arange(len(rows)), window_s=0.8, frame_rate=10.0)
    batch = store.__getitems__(list(range(len(rows))))
    assert batch["labels"].tolist() == [0] * len(rows)
    longest = {name: cut(clip, clip.shape[1] + window, step)[0] for name, clip in clips.items()}  # mirrored at its end
    at = np.random.default_rng(0)
    for _ in range(5):
        start = torch.from_numpy(at.integers(0, batch["shift"].numpy() + 1))
        found = crop(batch["input_features"], batch["following"], batch["shift"], start)
        for row, first in enumerate(store.first.tolist()):
            frame = round(rows[first]["start"] * 10) + int(start[row])
            whole = longest[rows[first]["clip_id"]]
            if frame + window <= whole.shape[1]:
                assert torch.equal(found[row], whole[:, frame : frame + window])
    assert batch["shift"][[row["clip_id"] == "b" for row in rows]].tolist() == [0]  # nothing to cut


def test_gain_is_exact_for_mel_and_leaves_latents_alone():
    sound = 0.1 * torch.randn(16_000)
    sound[:6_000] = 0
    for kind in (Mel, LogMel):
        frontend = kind(feature_config(kind.kind, window_s=0.5))
        (soft,), (loud,) = frontend.windows([sound]), frontend.windows([sound * 10 ** (5 / 20)])
        torch.testing.assert_close(kind.louder(soft, torch.full((len(soft), 1, 1), 5.0)), loud, rtol=1e-4, atol=1e-3)
    settings = {"window_s": 0.5, "floor_db": -40.0}
    (floored,) = LogMel(feature_config("log_mel", **settings)).windows([sound])
    softer = LogMel.louder(floored, torch.full((len(floored), 1, 1), -5.0), -40.0)
    (quiet,) = LogMel(feature_config("log_mel", **settings)).windows([sound * 10 ** (-5 / 20)])
    torch.testing.assert_close(softer, quiet, rtol=1e-4, atol=1e-3)
    assert softer.min() == -40
    assert torch.equal(Latents.louder(soft, torch.ones(len(soft), 1, 1)), soft)


def batch_of(count: int = 16) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {"input_features": torch.randn(count, 12, 20).half(), "labels": torch.arange(count) % 5}


def test_a_batch_is_drawn_from_seed_step_and_process():
    recipe = Recipe(gain_db=6, time_masks=1, band_masks=1, mixup=0.4)
    keys = [(0, 1, 0, 0), (0, 1, 0, 0), (1, 1, 0, 0), (0, 2, 0, 0), (0, 1, 1, 0), (0, 1, 0, 1)]
    torch.manual_seed(3)
    before = torch.get_rng_state()
    same, again, *others = (augment(batch_of(), recipe, LogMel, key)["input_features"] for key in keys)
    assert torch.equal(same, again) and not any(torch.equal(same, other) for other in others)
    torch.manual_seed(3)
    augment({name: value.clone() for name, value in batch_of().items()}, recipe, LogMel, keys[0])
    torch.manual_seed(3)
    assert torch.equal(before, torch.get_rng_state())  # dropout draws what it would have drawn


def test_masks_hide_up_to_their_share():
    batch = batch_of()
    windows = batch["input_features"].float()
    hidden = augment(batch, Recipe(time_masks=1, mask_share=0.5), LogMel, [0])["input_features"] != windows
    assert torch.equal(hidden.any(1), hidden.all(1))  # whole frames
    lengths = hidden.any(1).sum(1)
    assert 0 < lengths.max() <= 10 and len(lengths.unique()) > 2
    out = augment(batch, Recipe(band_masks=1, mask_share=0.5), LogMel, [0])["input_features"]
    mean = windows.mean(dim=(0, 2))[:, None].expand_as(windows)
    changed = out != windows
    assert torch.equal(out[changed], mean[changed]) and torch.equal(changed.any(2), changed.all(2))


def test_mixup_mixes_windows_and_labels_in_one_share():
    batch = batch_of()
    windows = batch["input_features"].float()
    out = augment(batch, Recipe(mixup=0.4), Latents, [0])
    share = out["share"]
    assert torch.equal(out["labels"], batch["labels"]) and share.min() >= 0.5 and share.max() <= 1
    for row, mixed in enumerate(out["input_features"]):
        partners = [
            other for other in windows if torch.allclose(other.lerp(windows[row], share[row]), mixed, atol=1e-5)
        ]
        assert partners


def test_the_loss_is_torchs():
    torch.manual_seed(0)
    logits, labels, other = torch.randn(9, 4), torch.arange(9) % 4, (torch.arange(9) + 1) % 4
    weight = torch.tensor([0.5, 1.0, 2.0, 4.0])
    torch_loss = torch.nn.functional.cross_entropy
    for weighted, smoothing in ((None, 0.0), (weight, 0.0), (None, 0.1), (weight, 0.1)):
        found = soft_cross_entropy(logits, {"labels": labels}, weighted, smoothing)
        expected = torch_loss(logits, labels, weight=weighted, label_smoothing=smoothing)
        torch.testing.assert_close(found, expected)
    share = torch.linspace(0.5, 1, 9)
    found = soft_cross_entropy(logits, {"labels": labels, "other_labels": other, "share": share})
    each = share * torch_loss(logits, labels, reduction="none")
    each += (1 - share) * torch_loss(logits, other, reduction="none")
    torch.testing.assert_close(found, each.mean())


def test_class_weights_are_of_the_training_part(tones, tmp_path, monkeypatch):
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.array([0] * 7 + [1] * 2 + [2])
    balanced = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(class_weights(labels, 3), balanced, rtol=1e-6)
    seen = []
    monkeypatch.setattr(
        "hf_encls.training.trainer.class_weights", lambda *args: seen.append(args) or class_weights(*args)
    )
    train(tones, tmp_path / "model", "--recipe", "paper,class_weights=true", "--num_train_epochs", "1")
    clips = json.loads((tmp_path / "model" / "clips.json").read_text())["train"]
    ((found, classes),) = seen
    assert classes == 3 and len(found) == 3 * len(clips)


def imbalanced(folder: Path) -> Path:
    """One class with all of its clips, two with three."""
    write_tones(folder)
    for name in ("low", "high"):
        for number in range(3, 8):
            (folder / name / f"{number}.wav").unlink()
    return folder


def test_weights_help_the_rare(tmp_path):
    data = imbalanced(tmp_path / "tones")
    options = ["--num_train_epochs", "3", "--learning_rate", "3e-4"]
    plain = train(data, tmp_path / "plain", *options, "--recipe", "paper")
    weighted = train(data, tmp_path / "weighted", *options, "--recipe", "paper,class_weights=true")
    assert weighted.test.window.macro_f1 >= plain.test.window.macro_f1
    assert not equal(tmp_path / "plain", tmp_path / "weighted")


def test_a_run_with_everything_goes_on_to_the_bit(tones, tmp_path):
    options = ["--recipe", ALL, "--num_train_epochs", "2", "--per_device_train_batch_size", "8"]
    options += ["--gradient_accumulation_steps", "2", "--save_strategy", "steps", "--save_steps", "1"]
    options += ["--eval_strategy", "steps", "--eval_steps", "1", "--save_total_limit", "20"]
    whole = train(tones, tmp_path / "whole", *options)
    assert whole.recipe == Recipe.parse(ALL).text
    shutil.copytree(tmp_path / "whole", tmp_path / "broken")
    for checkpoint in (tmp_path / "broken").glob("checkpoint-*"):
        if int(checkpoint.name.split("-")[1]) > 2:  # as if it had been killed in the first epoch
            shutil.rmtree(checkpoint)
    (tmp_path / "broken" / "results.json").unlink()
    with pytest.raises(ValueError, match="another one .*recipe"):
        other = [ALL + ",time_masks=5" if option == ALL else option for option in options]
        train(tones, tmp_path / "broken", *other, "--resume_from_checkpoint", "last")
    resumed = train(tones, tmp_path / "broken", *options, "--resume_from_checkpoint", "last")
    assert equal(tmp_path / "whole", tmp_path / "broken")
    last = [load_file(newest(tmp_path / name) / TRAINING_WEIGHTS) for name in ("whole", "broken")]
    assert all(torch.equal(weight, last[1][name]) for name, weight in last[0].items())
    assert resumed.test == whole.test


def test_the_average_is_what_is_kept_and_scored(tones, tmp_path):
    options = ["--recipe", "paper,average=0.9", "--num_train_epochs", "2", "--per_device_train_batch_size", "8"]
    results = train(tones, tmp_path / "model", *options, "--load_best_model_at_end", "false")
    last = newest(tmp_path / "model")
    kept, training = load_file(last / "model.safetensors"), load_file(last / TRAINING_WEIGHTS)
    found = weights(tmp_path / "model")
    assert all(torch.equal(found[name], kept[name]) for name in kept)
    assert not all(torch.equal(training[name], kept[name]) for name in kept)
    # The last validation was of these weights.
    accuracy = results.history[-1]["validation_accuracy"]
    assert accuracy == pytest.approx(results.validation.window.accuracy)
    plain = tmp_path / "plain"
    train(tones, plain, *options[:1], "paper", *options[2:], "--load_best_model_at_end", "false")
    trained = weights(plain)
    assert all(torch.equal(training[name], trained[name]) for name in training)  # it changes nothing of the training


def test_windows_as_they_are_are_scored(tones, tmp_path):
    """What is measured of the training part is measured of its windows, not of crops."""
    store = {}
    original = FeatureStore.statistics

    def kept(self):
        store["train"] = self
        return original(self)

    with pytest.MonkeyPatch.context() as context:
        context.setattr(FeatureStore, "statistics", kept)
        results = train(tones, tmp_path / "model", "--recipe", "recommended", "--num_train_epochs", "1")
    assert type(store["train"]) is FeatureStore and results.train.num_windows == len(store["train"])


def test_a_fitted_head_says_what_it_leaves_of_a_recipe(tones, tmp_path, capsys):
    train(tones, tmp_path / "model", "--head", "statistics", "--recipe", "recommended")
    assert (
        "no epochs, no learning rate, of the recipe class_weights, band_shift and refit alone"
        in capsys.readouterr().out
    )


def test_a_fitted_head_takes_what_it_says_and_nothing_else(tmp_path):
    data = imbalanced(tmp_path / "tones")
    tests, nothing = {}, "recommended,class_weights=false,band_shift=0,refit=false"
    for name in ("paper", nothing, "paper,class_weights=true"):
        tests[name] = train(data, tmp_path / name, "--head", "statistics", "--recipe", name).test
    assert tests["paper"] == tests[nothing]  # no average that was never updated is scored
    assert equal(tmp_path / "paper", tmp_path / nothing)
    assert not equal(tmp_path / "paper", tmp_path / "paper,class_weights=true")


@pytest.mark.slow
def test_two_processes_go_on_to_the_bit(tones, tmp_path):
    program = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    program += [str(ROOT / "scripts/train.py"), "--recipe", ALL, "--per_device_train_batch_size", "8"]

    def run(name: str, *more: str) -> Path:
        command = [*program, *arguments(tones, tmp_path / name), "--save_total_limit", "9", *more]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        assert done.returncode == 0, done.stderr[-3000:]
        return tmp_path / name

    whole = run("whole")
    shutil.copytree(whole, tmp_path / "broken")
    shutil.rmtree(newest(tmp_path / "broken"))
    (tmp_path / "broken" / "results.json").unlink()
    assert equal(whole, run("broken", "--resume_from_checkpoint", "last"))
