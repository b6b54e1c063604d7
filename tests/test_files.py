"""Files are written whole or not at all, and found by one rule."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from hf_encls.codec_training.corpus import sounds_below
from hf_encls.commands.classify import expand
from hf_encls.files import (
    TEMPORARY,
    checksum,
    new_file,
    new_folder,
    work_folder,
    write_json,
    write_text,
    writing,
)
from hf_encls.files.finding import find_audio, find_files

WRITER = """
import sys, time
from hf_encls.files import new_file, new_folder
with new_file(sys.argv[1] + "/a.txt") as file, new_folder(sys.argv[1] + "/b") as folder:
    file.write_text("half")
    (folder / "c").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def test_a_file_is_whole_or_as_before(tmp_path):
    path = tmp_path / "new" / "a.wav"
    write_text("before", path)
    with pytest.raises(KeyboardInterrupt), new_file(path) as temporary:
        assert temporary.parent == path.parent and temporary.suffix == ".wav"  # writers choose a format by it
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "before" and os.listdir(path.parent) == ["a.wav"]
    with new_file(path) as temporary:
        temporary.write_text("after")
        assert path.read_text() == "before"
    assert path.read_text() == "after" and os.listdir(path.parent) == ["a.wav"]


def test_a_folder_is_whole_or_not_there(tmp_path):
    with pytest.raises(ValueError, match="odd"), new_folder(tmp_path / "a") as temporary:
        (temporary / "b").write_text("half")
        raise ValueError("odd")
    assert not os.listdir(tmp_path)
    with new_folder(tmp_path / "a") as temporary:
        (temporary / "b").write_text("whole")
    assert (tmp_path / "a" / "b").read_text() == "whole"
    with pytest.raises(OSError, match=str(tmp_path / "a")), new_folder(tmp_path / "a") as temporary:
        (temporary / "b").write_text("other")
    assert (tmp_path / "a" / "b").read_text() == "whole" and os.listdir(tmp_path) == ["a"]


def test_the_disk_has_the_bytes_before_the_name(tmp_path, monkeypatch):
    done = []
    real = {name: getattr(os, name) for name in ("fsync", "replace")}

    def fsync(descriptor: int) -> None:
        done.append(("fsync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        real["fsync"](descriptor)

    def replace(source: Path, target: Path) -> None:
        done.append(("replace", str(target)))
        real["replace"](source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    write_text("text", tmp_path / "a.txt")
    assert [name for name, _ in done] == ["fsync", "replace", "fsync"]
    assert TEMPORARY in done[0][1] and done[1][1] == str(tmp_path / "a.txt") and done[2][1] == str(tmp_path)
    done.clear()
    with new_folder(tmp_path / "b") as temporary:
        (temporary / "c").mkdir()
        (temporary / "c" / "d").write_text("text")
    names = [Path(path).name for name, path in done]
    assert names[:2] == ["d", "c"] and names[3:] == ["b", tmp_path.name] and names[2].startswith(TEMPORARY)


def test_a_file_has_the_rights_of_any_new_file(tmp_path):
    before = os.umask(0o027)
    try:
        with new_file(tmp_path / "a") as temporary:
            temporary.chmod(0o600)  # as safetensors makes them
        with new_folder(tmp_path / "b") as temporary:
            (temporary / "c").touch(0o600)
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == (tmp_path / "b" / "c").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o750


def test_an_error_names_the_file_that_was_to_be_written(tmp_path, monkeypatch):
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device: .*results.json") as caught:
        write_json({}, tmp_path / "results.json")
    assert TEMPORARY not in str(caught.value) and "None" not in str(caught.value) and not os.listdir(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="no locks there")
def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(tmp_path):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        assert [writer.stdout.readline() for writer in writers] == ["writing\n"] * 2
        assert len(os.listdir(tmp_path)) == 4
        writers[0].send_signal(signal.SIGKILL)
        writers[0].wait()
        write_text("whole", tmp_path / "other.txt")
        left = sorted(os.listdir(tmp_path))
        assert left[-1] == "other.txt" and len(left) == 3 and all(name.startswith(TEMPORARY) for name in left[:2])
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()


def test_a_work_folder_goes(tmp_path):
    with work_folder(tmp_path / "new") as work:
        (work / "a").write_text("text")
    assert not os.listdir(tmp_path / "new")


def test_json_is_as_it_was(tmp_path):
    write_json({"name": "Käse"}, tmp_path / "a.json")
    assert (tmp_path / "a.json").read_bytes() == '{\n  "name": "Käse"\n}\n'.encode()
    assert checksum(tmp_path / "a.json") == hashlib.sha256((tmp_path / "a.json").read_bytes()).hexdigest()


@pytest.fixture
def tree(tmp_path) -> Path:
    """A tree with everything in it that a finder of files may stumble over."""
    root = tmp_path / "tree"
    for name in ("a/1.wav", "a/2.MP3", "a/notes.txt", "b/c/3.flac", ".hidden/4.wav", "a/.5.wav", "__MACOSX/6.wav"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "7.wav").write_bytes(b"7")
    (root / "linked").symlink_to(elsewhere)
    (root / "again").symlink_to(elsewhere)
    (root / "b" / "up").symlink_to(root)
    (root / "a" / "0.wav").symlink_to(root / "b" / "c" / "3.flac")
    (root / "a" / "nowhere.wav").symlink_to(root / "nothing.wav")
    (root / "a" / "circle.wav").symlink_to(root / "a" / "circle.wav")
    os.mkfifo(root / "a" / "pipe.wav")
    return root


def test_files_are_found_once_by_one_rule(tree, capsys):
    wanted = ["a/1.wav", "a/2.MP3", "again/7.wav", "b/c/3.flac"]
    found = find_audio(tree)
    assert [path.relative_to(tree).as_posix() for path in found.files] == wanted
    reasons = {row["file"]: row["reason"] for row in found.left_out}
    assert set(reasons) == {"a/0.wav", "a/nowhere.wav", "a/circle.wav", "a/pipe.wav"}
    assert "same file as b/c/3.flac" in reasons["a/0.wav"] and "no regular file" in reasons["a/pipe.wav"]
    assert "nowhere" in reasons["a/nowhere.wav"] and "itself" in reasons["a/circle.wav"]
    assert len(found.warnings) == 2 and "b/up" in "".join(found.warnings) and "linked" in "".join(found.warnings)
    # The other ways to a folder of sounds give the same files.
    assert sounds_below(tree).files == expand([str(tree)]) == found.files
    assert "a/pipe.wav" in capsys.readouterr().err
    assert find_files(tree, lambda path: path.suffix == ".txt").files == [tree / "a" / "notes.txt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
@pytest.mark.parametrize("library", ["torch", "python", "soundfile"])
def test_a_full_disk_is_the_error_of_the_system_whoever_writes(tmp_path, library):
    path = tmp_path / "out"
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left|cannot be written") as caught, writing("results"):
        if library == "torch":
            torch.save(torch.zeros(1 << 16), path)
        elif library == "python":
            with open(path, "wb") as file:
                file.write(bytes(1 << 16))
        else:
            soundfile.write(path, np.zeros(1 << 16), 8000, format="WAV")
    assert caught.value.filename == "results"


def test_a_file_that_pytorch_cannot_even_open_is_the_error_of_the_system(tmp_path):
    with pytest.raises(IsADirectoryError) as caught, writing("results"):
        torch.save(torch.zeros(2), tmp_path)
    assert caught.value.filename == "results"


def test_a_damaged_file_that_is_read_is_no_error_of_writing(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"damaged!" * 9)
    (tmp_path / "a.pt").write_bytes(b"PK\x03\x04" + b"damaged!" * 9)
    with pytest.raises(SafetensorError), writing(tmp_path / "results"):
        load_file(tmp_path / "a.safetensors")
    with pytest.raises(RuntimeError), writing(tmp_path / "results"):
        torch.load(tmp_path / "a.pt", weights_only=True)
