"""The train program, as a user runs it: on folders of WAV, in this process and in real ones."""

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hub_server import USER
from miniature_data import esc50_archive
from small_models import small_codec
from small_runs import SMALL, equal, newest, train, weights
from transformers import pipeline

import hf_encls
from hf_encls.commands.inputs import prepare
from hf_encls.commands.train import main
from hf_encls.commands.train_arguments import DataArguments
from hf_encls.data.splits import LeakReport
from hf_encls.features.store import FeatureStore, Windows
from hf_encls.hub.push_models import push_model
from hf_encls.model.modeling_encls import EnclsForAudioClassification
from hf_encls.report import run_report
from hf_encls.training import saving
from hf_encls.training.arguments import EnclsTrainingArguments
from hf_encls.training.results import Results
from hf_encls.training.resuming import Start, begin, begin_folds, drop_old_checkpoints, plan_folds, plan_start
from hf_encls.training.saving import public_command

ROOT = Path(__file__).parents[1]
SCORED = {"accuracy", "loss", "macro_f1", "ece", "calibrated_loss", "calibrated_ece"}


def test_what_a_run_leaves(trained, tones, capsys):
    folder, results = trained
    names = {path.name for path in folder.iterdir() if path.is_file()}
    assert names >= {
        "model.safetensors", "config.json", "preprocessor_config.json", "modeling_encls.py", "configuration_encls.py",
        "feature_extraction_encls.py", "representation_encls.py", "mel_encls.py", "codec_encls.py",
        "codec_features_encls.py", "encoding_encls.py", "layers_encls.py", "windows_encls.py",
        "results.json", "curves.png", "confusion_matrix.png", "README.md", "left_out.json",
    }  # fmt: skip
    assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(results.as_dict()))
    for part in ("train", "validation", "test"):
        for unit in ("window", "clip", "window_without_silence"):
            assert set(getattr(getattr(results, part), unit).as_dict()) == SCORED
    assert results.leak == LeakReport(results.test.num_windows, clip_leaks=0, group_leaks=0)
    assert len(results.history) == results.epochs == 2
    assert np.sum(results.confusion_matrix) == results.test.num_windows
    assert results.versions["torch"] and results.times_s["training"] > 0
    card = (folder / "README.md").read_text()
    assert f"{results.test.clip.accuracy:.3f}" in card and "protocol" in card


def test_the_saved_model_is_the_best_one_and_scores_as_reported(trained, tones):
    folder, results = trained
    run = pipeline("audio-classification", model=str(folder))
    clips = json.loads((folder / "clips.json").read_text())["test"]
    hits = [run(soundfile.read(tones / clip, dtype="float32")[0])[0]["label"] == clip.split("/")[0] for clip in clips]
    assert np.mean(hits) == pytest.approx(results.test.clip.accuracy)
    best = max(row["validation_accuracy"] for row in results.history)
    assert results.validation.window.accuracy == pytest.approx(best)


def test_standardisation_uses_training_windows_only(trained, tones, tmp_path):
    folder, _ = trained
    other = train(tones, tmp_path / "other", "--seed", "5") and tmp_path / "other"
    assert not torch.equal(weights(folder)["feature_mean"], weights(other)["feature_mean"])
    plain = train(tones, tmp_path / "plain", "--standardization", "none") and tmp_path / "plain"
    assert torch.all(weights(plain)["feature_scale"] == 1) and torch.all(weights(plain)["feature_mean"] == 0)


def test_one_seed_gives_one_model(trained, tones, tmp_path):
    train(tones, tmp_path / "again")
    assert equal(trained[0], tmp_path / "again")


def test_resuming_ends_where_an_unbroken_run_ends(tones, tmp_path):
    train(tones, tmp_path / "whole", "--num_train_epochs", "3", "--save_total_limit", "9")
    shutil.copytree(tmp_path / "whole", tmp_path / "broken")
    checkpoints = sorted((tmp_path / "broken").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    for newer in checkpoints[1:]:  # as if it had been killed in the second epoch
        shutil.rmtree(newer)
    (tmp_path / "broken" / "results.json").unlink()
    with pytest.raises(ValueError, match="unfinished run"):
        train(tones, tmp_path / "broken")
    with pytest.raises(ValueError, match="another one .*seed"):
        train(tones, tmp_path / "broken", "--resume_from_checkpoint", "last", "--seed", "9")
    resumed = ["--num_train_epochs", "3", "--resume_from_checkpoint", "last"]
    train(tones, tmp_path / "broken", *resumed)
    assert equal(tmp_path / "whole", tmp_path / "broken")


def test_a_run_that_goes_on_does_not_look_finished(trained, tones, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    shutil.copytree(trained[0], folder)
    longer = ["--num_train_epochs", "3", "--resume_from_checkpoint", "last"]

    def killed(self, *args, **kwargs):
        assert not (folder / "results.json").exists()
        raise KeyboardInterrupt

    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr("hf_encls.training.trainer.EnclsTrainer.train", killed)
        train(tones, folder, *longer)
    assert json.loads((folder / "results.previous.json").read_text())["epochs"] == 2
    with pytest.raises(ValueError, match="unfinished run"):
        train(tones, folder)
    assert train(tones, folder, *longer).epochs == 3
    assert (folder / "results.json").exists() and not (folder / "results.previous.json").exists()


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--dropout", "0.1"], "dropout"),
        (["--learning_rate", "0.01"], "learning_rate"),
        (["--standardization", "none"], "standardization"),
        (["--per_device_train_batch_size", "8"], "batch_size"),
        (["--weight_decay", "0.1", "--lr_scheduler_type", "cosine"], "lr_scheduler_type, weight_decay"),
        (["--label_smoothing_factor", "0.1", "--bf16", "--warmup_steps", "3"], "bf16, label_.*, warmup_steps"),
    ],
)
def test_a_run_is_resumed_with_its_own_settings(trained, tones, tmp_path, more, named):
    with pytest.raises(ValueError, match=f"another one .*{named}"):
        train(tones, trained[0], "--resume_from_checkpoint", "last", *more)
    checkpoint = str(newest(trained[0]))
    with pytest.raises(
        ValueError, match=f"another one .*{named}"
    ):  # read beside the checkpoint, not in the new folder
        train(tones, tmp_path / "new", "--resume_from_checkpoint", checkpoint, *more)


def test_an_empty_name_is_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="`resume_from_checkpoint` to be a folder or last, found ' '"):
        plan_start(tmp_path, " ", {})


def test_a_checkpoint_whose_writing_was_broken_off_is_not_resumed(trained, tones, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(trained[0], folder)
    (folder / "results.json").unlink()
    epochs = ["--num_train_epochs", "3", "--resume_from_checkpoint"]
    broken = folder / "checkpoint-9999"
    broken.mkdir()
    (broken / "model.safetensors").write_bytes(b"half of it")
    with pytest.raises(ValueError, match="whole checkpoint"):
        train(tones, folder, *epochs, str(broken))
    results = train(tones, folder, *epochs, "last")
    assert results.epochs == 3 and not broken.exists()
    # The seconds of the first session count too.
    assert results.times_s["training"] > sum(row["epoch_s"] for row in results.history)


def test_official_goes_on_fold_by_fold(trained, tones, tmp_path):
    data = tmp_path / "ESC-50"
    esc50_archive(data)
    folder = tmp_path / "model"
    options = ["--data_dir", str(data), "--protocol", "official", "--window_s", "0.04", "--num_train_epochs", "1"]
    options += ["--hop_length", "128"]
    whole = train(tones, folder, *options)
    assert list(whole.folds) == ["1", "2", "3", "4", "5"]
    assert (whole.clips, whole.expected_clips) == (45, 2000)
    assert "ESC-50 (45 of 2,000 clips)" in (folder / "fold-1" / "README.md").read_text()
    for fold in (2, 3, 4):  # as if it had been killed in the third one
        (folder / f"fold-{fold}" / "results.json").unlink()
    (folder / "fold-2" / "results.json").write_text((folder / "fold-1" / "results.json").read_text())
    shutil.rmtree(folder / "fold-4")
    (folder / "results.json").unlink()
    untouched = (folder / "fold-1" / "model.safetensors").stat().st_mtime_ns
    with pytest.raises(ValueError, match="fold-3 holds an unfinished run"):
        train(tones, folder, *options)
    assert (folder / "fold-1" / "results.json").is_file()  # nothing had begun
    with pytest.raises(ValueError, match="one for each fold"):
        train(tones, folder, *options, "--resume_from_checkpoint", str(newest(folder / "fold-3")))
    again = train(tones, folder, *options, "--resume_from_checkpoint", "last")
    assert (folder / "fold-1" / "model.safetensors").stat().st_mtime_ns == untouched
    assert again.folds["4"].test == whole.folds["4"].test
    assert again.folds["3"].test == whole.folds["3"].test
    with pytest.raises(ValueError, match="another one .*seed"):
        train(tones, folder, *options, "--resume_from_checkpoint", "last", "--seed", "3")


def test_folds_of_an_earlier_run_do_not_get_into_this_one(tmp_path):
    old, new = {"seed": 1}, {"seed": 2}

    def settings(own: dict) -> dict:
        return {fold: own | {"fold": fold} for fold in (1, 2, 3)}

    for fold, own in settings(old).items():  # a whole run, with a checkpoint in each fold
        home = tmp_path / f"fold-{fold}"
        begin(Start(home, own))
        (home / "checkpoint-5").mkdir()
        (home / "checkpoint-5" / "trainer_state.json").write_text('{"global_step": 5, "max_steps": 5}')
        (home / "results.json").write_text("{}")
    (tmp_path / "results.json").write_text("{}")
    assert all(start.finished for start in plan_folds(tmp_path, "last", settings(old)).values())

    starts = plan_folds(tmp_path, None, settings(new))
    begin_folds(tmp_path, starts.values())
    assert not [*tmp_path.rglob("results.json"), *tmp_path.rglob("checkpoint-*")]
    begin(starts[1])
    (tmp_path / "fold-1" / "results.json").write_text("{}")
    # Killed now, before the first checkpoint of fold 2.
    for nothing in (None, False, "false"):
        with pytest.raises(ValueError, match="unfinished run"):
            plan_folds(tmp_path, nothing, settings(new))
    for last in ("last", True):
        again = plan_folds(tmp_path, last, settings(new))
        assert [(start.finished, start.checkpoint) for start in again.values()] == [(True, None), *[(False, None)] * 2]


@pytest.mark.parametrize("value", ["true", "false"])
def test_a_settings_file_may_say_whether_to_resume(trained, tones, tmp_path, value):
    folder, file = tmp_path / "model", tmp_path / "settings.yaml"
    shutil.copytree(trained[0], folder)
    overwrite = "true" if value == "false" else "false"
    file.write_text(
        f"overwrite: {overwrite}\n"
        f"data_dir: {tones}\noutput_dir: {folder}\ncache_dir: {tones.parent / 'cache'}\nfeatures: log_mel\n"
        f"window_s: 0.3\nnum_train_epochs: 3\nreport_to: none\nresume_from_checkpoint: {value}\n"
    )
    results = main([str(file)])
    assert [row["epoch"] for row in results.history] == [1, 2, 3]


def test_what_is_published_holds_no_token_and_no_place(tones, tmp_path, hub):
    secret = "hf_this_is_secret"
    results = train(tones, tmp_path / "model", "--num_train_epochs", "1", "--hub_token", secret)
    assert "tones" in results.command and secret not in str(results)
    for one in ([f"--hub_token={secret}"], ["--hub_tok", secret], ["--hub-token", secret, "--seed", "1"]):
        assert secret not in str(public_command(one, [secret])) and "--hub_tok" not in public_command(one, [secret])
    # Resumed or not, the results are the same, and so is the command that makes them.
    for resumed in (["--resume_from_checkpoint", "last"], ["--resume_from_checkpoint=last"], ["--resume", "last"]):
        assert public_command(["--bf16", *resumed, "--seed", "1"]) == ["--bf16", "--seed", "1"]
    assert public_command(["--include_num_input_tokens_seen", "--bf16", "--cache_dir=/a/b"]) == [
        "--bf16",
        "--cache_dir=b",
    ]
    push_model(tmp_path / "model", f"{USER}/model")
    files = hub.files(f"{USER}/model")
    assert {"README.md", "results.json", "config.json"} <= set(files)
    for name, content in files.items():
        assert secret.encode() not in content and str(tmp_path.parent).encode() not in content, name


def test_a_run_counts_as_finished_when_all_of_it_is_there(tones, tmp_path, monkeypatch):
    def broken_off(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_report, "write_model_card", broken_off)
    with pytest.raises(KeyboardInterrupt):
        train(tones, tmp_path / "model", "--num_train_epochs", "1")
    assert (tmp_path / "model" / "curves.png").is_file() and not (tmp_path / "model" / "results.json").exists()


def test_old_checkpoints_go_by_their_number_and_not_by_their_date(tmp_path):
    for number in (10, 2, 3, 1):  # a clock that was set back, a removal that was broken off: dates say nothing
        (tmp_path / f"checkpoint-{number}").mkdir()
        (tmp_path / f"checkpoint-{number}" / "trainer_state.json").touch()
    drop_old_checkpoints(tmp_path, None, None)
    assert len(list(tmp_path.iterdir())) == 4
    drop_old_checkpoints(tmp_path, 3, str(tmp_path / "checkpoint-1"))
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-1", "checkpoint-3", "checkpoint-10"}
    drop_old_checkpoints(tmp_path, 1, str(tmp_path / "checkpoint-1"))
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-1", "checkpoint-10"}


def test_accumulated_gradients_give_the_loss_of_the_whole_batch(tones, tmp_path):
    common = ["--dropout", "0", "--num_train_epochs", "1", "--per_device_train_batch_size"]
    whole = train(tones, tmp_path / "whole", *common, "8")
    halves = train(tones, tmp_path / "halves", *common, "4", "--gradient_accumulation_steps", "2")
    found, expected = halves.history[0], whole.history[0]
    assert found["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-3)
    assert found["validation_loss"] == pytest.approx(expected["validation_loss"], rel=1e-2)


def test_label_smoothing(tones, tmp_path):
    results = train(tones, tmp_path / "model", "--label_smoothing_factor", "0.1", "--num_train_epochs", "1")
    assert 0 <= results.history[0]["train_accuracy"] <= 1


def test_the_loss_of_a_step_is_not_looked_at():
    assert EnclsTrainingArguments(use_cpu=True).logging_nan_inf_filter is False  # looking makes an accelerator wait


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("limit", [None, 0])
def test_batches_are_taken_where_the_windows_are(tones, device, limit):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs an accelerator")
    inputs = prepare(
        DataArguments(str(tones), features="log_mel", window_s=0.3, cache_dir=str(tones.parent / "cache"))
    )
    rows = np.array([5, 3, 40, 7])
    store = FeatureStore(Windows(inputs.windows, memory_limit_bytes=limit, device=device), rows)
    assert store.rows.device == store.windows.labels.device == store.windows.device
    assert store.windows.device.type == (device if limit is None else "cpu")
    batch = store.__getitems__([2, 0])
    expected = inputs.windows.with_format("numpy")[[40, 5]]
    np.testing.assert_array_equal(batch["input_features"].cpu().numpy(), expected["input_features"])
    assert batch["labels"].tolist() == expected["label"].tolist()
    assert store.labels.tolist() == [inputs.windows[int(row)]["label"] for row in rows]
    assert store.clip_ids.tolist() == [inputs.windows[int(row)]["clip_id"] for row in rows]
    assert store.silent.shape == (4,)


def test_codec_features_and_a_settings_file(tones, tmp_path):
    small_codec(24).save_pretrained(tmp_path / "my codec")
    settings = {
        "data_dir": str(tones), "output_dir": str(tmp_path / "model"), "features": "encodec_24khz", "window_s": 0.4,
        "codec": str(tmp_path / "my codec"), "cache_dir": str(tmp_path / "cache"), "num_train_epochs": 1,
        "report_to": "none", "protocol": "paper",
    }  # fmt: skip
    (tmp_path / "settings.yaml").write_text(json.dumps(settings))
    results = main([str(tmp_path / "settings.yaml")])
    assert results.codec.id == "my codec" and results.codec.policy == "whole"
    assert results.leak.clip_leaks > 0
    saved = EnclsForAudioClassification.from_pretrained(tmp_path / "model")
    expected = small_codec(24).state_dict()
    for name, value in saved.frontend.codec.state_dict().items():
        assert torch.equal(value, expected[name]), name
    checkpoint = next((tmp_path / "model").glob("checkpoint-*")) / "model.safetensors"
    assert checkpoint.stat().st_size < (tmp_path / "model" / "model.safetensors").stat().st_size


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--data_dir", "nowhere"], "found nothing"),
        (["--data_name", "esc99"], "esc50"),
        (["--protocol", "random"], "clip, paper, official"),
        (["--protocol", "official"], "needs a data set with folds"),
        (["--features", "mfcc"], "expected features"),
        (["--window_s", "0.01"], "too short"),
        (["--codec", "mini"], "is about latents and codes"),
        (["--features", "encodec_24khz", "--codec", "no/such-codec"], "HF_HUB_OFFLINE is set: give mini"),
        (["--resume_from_checkpoint", "last"], "found none"),
        (["--dataset", "some/features"], "found both"),
        (["--dataloader_num_workers", "2"], "lie in memory already"),
        (["--dataset_revision", "main"], "name them with --dataset"),
        (["--codec_policy", "whole"], "is about latents and codes"),
        (["--codec_dtype", "bfloat16"], "is about latents and codes"),
        (["--learning_rate=-inf"], "`learning_rate` of 0 or more, found -inf"),
        (["--learning_rate", "nan"], "`learning_rate` of 0 or more, found nan"),
        (["--per_device_train_batch_size", "999999999999999999999"], "`per_device_train_batch_size` from 1 to"),
        (["--per_device_eval_batch_size", "0"], "`per_device_eval_batch_size` from 1 to"),
        (["--gradient_accumulation_steps", "-1"], "`gradient_accumulation_steps` from 1 to"),
        (["--features", "encodec_24khz", "--codec", "untrained", "--bandwidth", "3"], "--bandwidth is about codes"),
    ],
)
def test_mistakes_are_explained(tones, tmp_path, monkeypatch, more, message):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=message):
        train(tones, tmp_path / "model", *more)


def test_a_training_that_diverges_names_its_learning_rate(tones, tmp_path):
    for validation in ("epoch", "no"):  # without it, the scores at the end tell
        more = ["--learning_rate", "1e30", "--num_train_epochs", "1", "--eval_strategy", validation]
        with pytest.raises(ValueError, match="try a lower `learning_rate` than 1e.30"):
            train(tones, tmp_path / validation, *more, "--save_strategy", "no", "--load_best_model_at_end", "false")


def test_the_program_ends_with_one_line_for_a_mistake(tmp_path):
    run = subprocess.run(
        [sys.executable, str(ROOT / "scripts/train.py"), "--data_dir", "nowhere"],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert run.returncode == 2
    assert (
        run.stderr.strip().splitlines()[-1].startswith("error: expected a folder of class-named folders at 'nowhere'")
    )


@pytest.mark.slow
def test_two_processes(tones, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", str(ROOT / "scripts/train.py")]
    command += [
        "--data_dir",
        str(tones),
        "--output_dir",
        str(tmp_path / "model"),
        "--cache_dir",
        str(tmp_path / "c"),
        *SMALL,
        *("--dropout", "0", "--per_device_train_batch_size", "8"),
    ]
    run = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert run.returncode == 0, run.stderr[-3000:]
    assert "2 processes on cpu" in run.stdout and "Grad strides" not in run.stderr
    results = Results.of(tmp_path / "model")
    one = train(tones, tmp_path / "one", "--dropout", "0", "--per_device_train_batch_size", "16")
    # The mean of both processes' losses, not their sum.
    assert results.history[0]["train_loss"] == pytest.approx(one.history[0]["train_loss"], rel=0.1)
    assert results.processes == 2 and results.test.num_windows == results.leak.test_windows


@pytest.mark.slow
def test_the_offline_default_and_its_three_lines(tmp_path):
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [sys.executable, str(ROOT / "scripts/train.py"), "--num_train_epochs", "2"],
        capture_output=True, text=True, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    lines = run.stdout.strip().splitlines()[-3:]
    pasted = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert pasted.returncode == 0 and "'score'" in pasted.stdout, pasted.stderr[-3000:]


def test_a_clone_that_is_not_installed_knows_its_version(monkeypatch):
    def version(name):
        if name == "hf_encls":
            raise PackageNotFoundError(name)
        return "1.0"

    monkeypatch.setattr(saving, "version", version)
    assert saving.versions()["hf_encls"] == hf_encls.__version__
