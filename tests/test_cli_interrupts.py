"""What commands leave behind an interrupt, and the files that they do not replace."""

import csv
import errno
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from small_commands import run, save_models, write_sounds

from hf_encls.commands.outputs import output
from hf_encls.files import unfinished


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def sounds(tmp_path) -> Path:
    return write_sounds(tmp_path / "sounds")


def test_originals_are_not_replaced(capsys, models, sounds):
    codec = ("--codec", models / "codec")
    original = sounds / "cats" / "d.wav"
    before = original.read_bytes()
    assert run(capsys, "encode", original, *codec)[0] == 0
    status, _, err = run(capsys, "decode", original.with_suffix(".ecdc"), *codec)
    assert status == 2 and "d.wav would be replaced" in err and "--overwrite" in err
    assert original.read_bytes() == before
    status, _, err = run(capsys, "encode", original, *codec)
    assert status == 2 and "d.ecdc would be replaced" in err
    status, out, _ = run(capsys, "encode", sounds, *codec, "--overwrite")
    assert status == 0 and out.count("->") == 3
    assert run(capsys, "decode", original.with_suffix(".ecdc"), *codec, "--overwrite")[0] == 0
    status, _, err = run(capsys, "encode", f"{sounds}/./cats/d.ecdc", *codec, "--overwrite")
    assert status == 2 and "what is made of it" in err


def test_an_interrupted_folder_is_continued(capsys, models, sounds, tmp_path):
    codec, codes, waves = ("--codec", models / "codec"), tmp_path / "codes", tmp_path / "waves"
    assert run(capsys, "encode", sounds, *codec, "--output", codes)[0] == 0
    first, second, third = sorted(codes.rglob("*.ecdc"))
    first.write_bytes(b"made before")
    third.unlink()
    status, out, _ = run(capsys, "encode", sounds, *codec, "--output", codes)
    assert status == 0 and "2 of 3 files are there already" in out and out.count("->") == 1
    assert third.exists() and first.read_bytes() == b"made before"
    status, out, _ = run(capsys, "encode", sounds, *codec, "--output", codes)
    assert status == 0 and "3 of 3 files" in out and "->" not in out
    assert run(capsys, "encode", sounds, *codec, "--output", codes, "--overwrite")[1].count("->") == 3
    assert first.read_bytes() != b"made before"
    assert run(capsys, "decode", codes, *codec, "--output", waves)[0] == 0
    (waves / second.relative_to(codes).with_suffix(".wav")).unlink()
    status, out, _ = run(capsys, "decode", codes, *codec, "--output", waves)
    assert status == 0 and "2 of 3 files" in out and out.count("->") == 1


def test_two_files_of_one_name_are_refused(capsys, models, sounds):
    soundfile.write(sounds / "cats" / "d.flac", np.zeros(4000), 24_000)
    status, _, err = run(capsys, "encode", sounds, "--codec", models / "codec", "--overwrite")
    assert status == 2 and "d.flac and" in err and "d.wav would all be written to" in err
    assert not list(sounds.rglob("*.ecdc"))


def test_interrupt_ends_cleanly(capsys, models, sounds, tmp_path, monkeypatch):
    from hf_encls.inference.pipeline import EnclsPipeline

    def interrupted(*_args, **_settings):
        yield from ()
        raise KeyboardInterrupt

    monkeypatch.setattr(EnclsPipeline, "analyse_many", interrupted)
    target = tmp_path / "out" / "x.csv"
    status, out, err = run(capsys, "classify", sounds, "--model", models / "mel", "--output", target)
    assert status == 130 and out == "" and "interrupted" in err
    assert list(target.parent.iterdir()) == []


def test_rows_before_an_interrupt_are_kept_and_named(capsys, models, sounds, tmp_path, monkeypatch):
    from hf_encls.inference.pipeline import EnclsPipeline

    whole = EnclsPipeline.analyse_many

    def interrupted(self, files, **settings):
        yield next(whole(self, files, **settings))
        raise KeyboardInterrupt

    monkeypatch.setattr(EnclsPipeline, "analyse_many", interrupted)
    target = tmp_path / "out" / "x.csv"
    command = ["classify", sounds, "--model", models / "mel", "--format", "csv", "--output", target]
    status, _, err = run(capsys, *command)
    (kept,) = target.parent.iterdir()
    assert status == 130 and str(kept) in err and str(os.getpid()) in kept.name
    assert len(list(csv.DictReader(kept.open(newline="")))) == 1


def left_by_an_error(folder: Path) -> Path:
    """The one file in a folder in which a command was broken off after a row."""
    with pytest.raises(ZeroDivisionError), output(str(folder / "x.csv")) as file:
        file.write("file,label\n")
        raise ZeroDivisionError
    (kept,) = folder.iterdir()
    assert kept == unfinished(folder / "x.csv") and kept.read_text() == "file,label\n"
    return kept


def test_what_is_kept_is_on_the_disk_before_it_has_a_name(tmp_path, monkeypatch):
    settled, sync = [], os.fsync

    def watched(descriptor: int) -> None:
        sync(descriptor)
        settled.append(os.fstat(descriptor).st_ino)

    monkeypatch.setattr(os, "fsync", watched)
    kept = left_by_an_error(tmp_path)
    assert settled == [kept.stat().st_ino, tmp_path.stat().st_ino]


def test_what_a_failing_disk_does_not_take_is_kept_all_the_same(tmp_path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    left_by_an_error(tmp_path)


def test_embeddings_before_an_interrupt_are_kept_and_named(capsys, models, sounds, tmp_path, monkeypatch):
    from datasets import load_dataset

    from hf_encls.inference.embeddings import EmbeddingModel

    whole, calls = EmbeddingModel.scene, []

    def interrupted(self, blocks):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(self, blocks)

    monkeypatch.setattr(EmbeddingModel, "scene", interrupted)
    target = tmp_path / "out" / "e.parquet"
    status, _, err = run(capsys, "embed", sounds, "--model", models / "mel", "--output", target)
    (kept,) = target.parent.iterdir()
    assert status == 130 and str(kept) in err and "2 of 3" in err
    rows = load_dataset("parquet", data_files=str(kept), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows["file"][:] == ["cats/d.wav", "dogs/a b.wav"]


def test_an_interrupt_promises_only_what_is_so(capsys, monkeypatch):
    def interrupted(*_args, **_settings):
        raise KeyboardInterrupt

    from hf_encls.commands import codec_files, export

    for module, said in ((export, "interrupted"), (codec_files, "interrupted; files that were finished are kept")):
        monkeypatch.setattr(module, "Parser", interrupted)
        name = "export" if module is export else "encode"
        status, _, err = run(capsys, name, "x", "--onnx", "y")
        assert status == 130 and err.strip() == said


@pytest.mark.parametrize(
    ("name", "first_call", "kept"),
    [
        ("train", "train.parse", "finished features and checkpoints are kept"),
        ("extract", "extract_features.prepare", "finished features are in the cache"),
        ("pretrain", "pretrain_codec.Accelerator", "checkpoints are kept"),
        ("reproduce", "reproduce_paper._datasets", "finished cells are kept"),
    ],
)
def test_sigterm_ends_as_ctrl_c_does(capsys, tmp_path, monkeypatch, name, first_call, kept):
    def killed(*_args, **_settings):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr(f"hf_encls.commands.{first_call}", killed)
    before = signal.getsignal(signal.SIGTERM)
    status, _, err = run(capsys, name, *(["--output_dir", tmp_path] if name == "pretrain" else []))
    assert status == 143 and f"interrupted; {kept}" in err and "Traceback" not in err
    assert signal.getsignal(signal.SIGTERM) == before


def test_files_that_are_there_are_not_replaced_unasked(capsys, models, sounds, tmp_path, monkeypatch):
    there = tmp_path / "mine"
    there.write_text("a day of work")
    for name, options in (
        ("export", ["--onnx", there]),
        ("embed", [sounds, "--output", there]),
        ("embed", [sounds, "--output", tmp_path / "new", "--map", there]),
    ):
        status, _, err = run(capsys, name, *options, "--model", models / "mel")
        assert status == 2 and f"{there} would be replaced" in err and "--overwrite" in err
    assert there.read_text() == "a day of work" and not (tmp_path / "new").exists()
    assert run(capsys, "embed", sounds, "--output", there, "--model", models / "mel", "--overwrite")[0] == 0
    assert there.read_bytes().startswith(b"PAR1")
