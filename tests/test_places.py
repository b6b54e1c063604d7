"""The folder of a run: what is finished stays whole, mistakes are told before anything is read, one run at a time."""

import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from small_runs import SMALL, arguments, equal, files_of, newest, train, weights

from hf_encls.commands.train import main
from hf_encls.training.places import occupied, put_in_place, settle

ROOT = Path(__file__).parents[1]


def nothing_is_read(monkeypatch) -> None:
    """Any file of sounds that is opened, any codec that is loaded or fetched, any feature is a failure."""

    def refused(*args, **kwargs):
        raise AssertionError("something was read, fetched or computed")

    for name in ("soundfile.SoundFile", "hf_encls.commands.inputs.load_clips", "hf_encls.commands.inputs.load_codec"):
        monkeypatch.setattr(name, refused)
    for name in ("extract_features", "write_synthetic", "codec_facts"):
        monkeypatch.setattr(f"hf_encls.commands.inputs.{name}", refused)
    monkeypatch.setattr("hf_encls.commands.train.published_inputs", refused)


@pytest.mark.parametrize("more", [[], ["--seed", "7"], ["--dataset", "some/features"]])
def test_a_finished_model_is_not_replaced_unasked(trained, tones, monkeypatch, more):
    before = files_of(trained[0])
    nothing_is_read(monkeypatch)
    with pytest.raises(ValueError, match="holds a finished model.*`overwrite=True`"):
        main(
            [
                "--output_dir",
                str(trained[0]),
                *([] if "--dataset" in more else ["--data_dir", str(tones)]),
                *SMALL,
                *more,
            ]
        )
    assert files_of(trained[0]) == before


def test_somebody_elses_model_is_not_replaced_unasked(tones, tmp_path, monkeypatch):
    folder = tmp_path / "gpt2"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "gpt2"}')
    nothing_is_read(monkeypatch)
    with pytest.raises(ValueError, match="`overwrite=True`"):
        train(tones, folder)
    assert files_of(folder) == {"config.json": b'{"model_type": "gpt2"}'}


def test_a_finished_model_stays_until_the_one_that_replaces_it_is_finished(trained, tones, tmp_path, monkeypatch):
    folder, other = tmp_path / "place" / "model", ["--seed", "7", "--overwrite"]
    train(tones, folder, "--seed", "7")
    expected = weights(folder)
    shutil.rmtree(folder)
    shutil.copytree(trained[0], folder)
    (folder / "notes.txt").write_text("mine")
    (folder / "ATTRIBUTION.md").write_text("of the codec before")
    before = files_of(folder)

    def killed(*args):
        raise KeyboardInterrupt  # trained, and about to be scored

    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr("hf_encls.training.run.score_parts", killed)
        train(tones, folder, *other)
    now = files_of(folder)
    assert {name: content for name, content in now.items() if not name.startswith(".replacement/")} == before
    with pytest.raises(ValueError, match="holds a finished model"):
        train(tones, folder, "--seed", "7")
    train(tones, folder, "--seed", "7", "--resume_from_checkpoint", "last")
    found = weights(folder)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert (folder / "notes.txt").read_text() == "mine" and not (folder / "ATTRIBUTION.md").exists()
    assert not list(folder.glob(".replacement*")) and newest(folder).is_dir()
    assert (
        ".replacement" not in (folder / "README.md").read_text() and str(folder) in (folder / "README.md").read_text()
    )
    # The best checkpoint is found where it is now.
    again = train(tones, folder, "--seed", "7", "--resume_from_checkpoint", "last")
    assert again.validation.as_dict() == json.loads((folder / "results.json").read_text())["validation"]
    assert all(torch.equal(weights(folder)[name], expected[name]) for name in expected)


def test_a_replacement_that_is_broken_off_at_any_file_is_completed(trained, tmp_path, monkeypatch):
    new = files_of(trained[0])
    moves = len(list(trained[0].iterdir()))  # the lock stays, and the first rename says that it is finished
    for at in range(moves):
        folder = tmp_path / str(at)
        shutil.copytree(trained[0], folder)
        (folder / "model.safetensors").write_bytes(b"old")
        (folder / "ATTRIBUTION.md").write_text("old")
        shutil.copytree(trained[0], folder / ".replacement")
        (folder / ".replacement" / ".run.lock").unlink(missing_ok=True)
        count = iter(range(1000))

        def killed(source, target, at=at, count=count, rename=os.replace):
            if "contents" not in str(target) and next(count) == at:
                raise KeyboardInterrupt
            rename(source, target)

        with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
            context.setattr("hf_encls.training.places.os.replace", killed)
            put_in_place(folder / ".replacement")
        if at == 0:  # nothing has begun
            assert (folder / "model.safetensors").read_bytes() == b"old" and (folder / "results.json").is_file()
            continue
        settle(folder)
        assert files_of(folder) == new


def test_folds_are_replaced_by_one_model(trained, tones, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(trained[0], folder / "fold-1")
    shutil.copyfile(trained[0] / "results.json", folder / "results.json")
    train(tones, folder, "--overwrite", "--num_train_epochs", "1")
    assert (folder / "model.safetensors").is_file() and not (folder / "fold-1").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--features", "mfcc"], "expected features"),
        (["--window_s", "0.001"], "too short"),
        (["--window_s", "nan"], "above 0"),
        (["--step_s", "0"], "`step_s` above 0"),
        (["--hop_length", "0"], "hop_length of 1 or more"),
        (["--standardization", "some"], "band or none"),
        (["--fold", "1"], "only the protocol official"),
        (["--protocol", "official"], "needs a data set with folds"),
        (["--data_name", "esc99"], "esc50"),
        (["--resume_from_checkpoint", "last"], "found none"),
        (["--resume_from_checkpoint", "no/checkpoint"], "found none"),
        (["--features", "encodec_24khz", "--codec", "./no/codec"], "check the path"),
        (["--features", "encodec_24khz", "--codec", "nope"], "check the path"),
        (["--features", "encodec_24khz", "--codec", "no/codec", "--codec_policy", "half"], "codec_policy"),
    ],
)
def test_what_needs_no_sounds_is_told_before_one_is_read(tones, tmp_path, monkeypatch, more, message):
    nothing_is_read(monkeypatch)
    if "--data_name" in more:
        monkeypatch.setattr("hf_encls.commands.train_checks.recognise", lambda folder: "folder")
    with pytest.raises(ValueError, match=message):
        train(tones, tmp_path / "model", *more)
    assert not (tmp_path / "model").exists()  # it was made for nothing


def test_a_run_that_cannot_be_resumed_is_refused_before_a_sound_is_read(trained, tones, monkeypatch):
    nothing_is_read(monkeypatch)
    with pytest.raises(ValueError, match="another one .*seed"):
        train(tones, trained[0], "--resume_from_checkpoint", "last", "--seed", "9")


def test_a_small_class_is_told_before_a_sound_is_read(tones, tmp_path, monkeypatch):
    shutil.copytree(tones, tmp_path / "few")
    for number in range(2, 8):
        (tmp_path / "few" / "mid" / f"{number}.wav").unlink()
    nothing_is_read(monkeypatch)
    with pytest.raises(ValueError, match="'mid' has 2 files"):
        train(tmp_path / "few", tmp_path / "model")


def test_a_class_that_cannot_be_divided_is_told_before_features_are_made(tones, tmp_path, monkeypatch):
    shutil.copytree(tones, tmp_path / "few")
    for number in range(2, 8):  # readable, but nothing can be used of them
        (tmp_path / "few" / "mid" / f"{number}.wav").write_bytes(b"no sound")

    def refused(*args, **kwargs):
        raise AssertionError("features were made")

    monkeypatch.setattr("hf_encls.commands.inputs.extract_features", refused)
    with pytest.raises(ValueError, match="'mid' has 2 clips"):
        train(tmp_path / "few", tmp_path / "model")


def test_a_folder_that_cannot_be_written_is_told_before_a_sound_is_read(tones, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    nothing_is_read(monkeypatch)
    for place in (tmp_path / "file", tmp_path / "file" / "model", Path("/proc/model")):
        with pytest.raises(ValueError, match=f"can be written at {place}"):
            train(tones, place)


HOLDER = """
import sys, time
from pathlib import Path
from hf_encls.training.places import occupied
with occupied(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_run_in_a_folder_is_refused_at_once_and_a_dead_one_is_no_hindrance(tones, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        with monkeypatch.context() as context:
            nothing_is_read(context)
            started = time.monotonic()
            with pytest.raises(ValueError, match=f"process {holder.pid} on {socket.gethostname()}"):
                train(tones, folder)
            assert time.monotonic() - started < 1
    finally:
        holder.kill()
        holder.wait()
    assert (folder / ".run.lock").is_file()  # of a process that is no more
    with occupied(folder):
        assert (folder / ".run.lock").read_text().split()[0] == str(os.getpid())
    assert not (folder / ".run.lock").exists()


@pytest.mark.slow
def test_the_processes_of_one_run_are_one(tones, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", str(ROOT / "scripts/train.py")]
    command += arguments(tones, tmp_path / "model", "--num_train_epochs", "1")
    settings = {"capture_output": True, "text": True, "env": os.environ | {"OMP_NUM_THREADS": "1"}}
    first = subprocess.run(command, **settings)
    assert first.returncode == 0, first.stderr[-3000:]
    again = subprocess.run(command, **settings)
    assert again.returncode != 0 and "holds a finished model" in again.stderr
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "model")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        refused = subprocess.run([*command, "--overwrite"], **settings)
        assert refused.returncode != 0 and f"process {holder.pid} on" in refused.stderr
    finally:
        holder.kill()
        holder.wait()


def test_sigterm_ends_like_ctrl_c_and_the_run_goes_on_to_the_bit(tones, tmp_path):
    epochs = ["--num_train_epochs", "12"]
    folder = tmp_path / "model"
    command = [sys.executable, str(ROOT / "scripts/train.py"), *arguments(tones, folder, *epochs)]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not list(folder.glob("checkpoint-*/trainer_state.json")):
        assert run.poll() is None
        time.sleep(0.002)
    run.terminate()
    said = run.communicate()[1].strip().splitlines()
    assert run.returncode == 143 and "interrupted; finished features and checkpoints are kept" in said
    assert "Traceback" not in "".join(said) and not (folder / "results.json").exists()
    train(tones, folder, *epochs, "--resume_from_checkpoint", "last")
    train(tones, tmp_path / "whole", *epochs)
    assert equal(folder, tmp_path / "whole")


def test_a_clock_that_jumps_backwards_changes_nothing(tones, tmp_path, monkeypatch):
    more = ["--num_train_epochs", "4", "--save_total_limit", "2"]
    expected = train(tones, tmp_path / "whole", *more)
    backwards = itertools.count(2_000_000_000, -100)
    monkeypatch.setattr("time.time", lambda: float(next(backwards)))
    dates = {}  # each file that is looked at is older than those before
    monkeypatch.setattr("os.path.getmtime", lambda path: dates.setdefault(str(path), float(next(backwards))))
    found = train(tones, tmp_path / "other", *more, "--cache_dir", str(tmp_path / "cache"))
    for name in ("train", "validation", "test", "best_epoch"):
        assert getattr(found, name) == getattr(expected, name)
    assert all(value >= 0 for value in found.times_s.values())
    assert all(row["epoch_s"] >= 0 for row in found.history)
    kept = [sorted(path.name for path in (tmp_path / name).glob("checkpoint-*")) for name in ("whole", "other")]
    assert kept[0] == kept[1] and f"checkpoint-{4}" in kept[1]
    assert equal(tmp_path / "whole", tmp_path / "other")
