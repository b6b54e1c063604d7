"""The second start on a folder looks at what changed, and at nothing else."""

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hf_encls import audio, files
from hf_encls.data import folders, known_files, walk
from hf_encls.data.folders import scan_folder
from hf_encls.data.known_files import remembering
from hf_encls.features import contents
from hf_encls.features.contents import with_digests


@pytest.fixture
def sounds(tmp_path, monkeypatch):
    """Four clips, two of them of one size; `decoded` and `hashed` note what is read."""
    monkeypatch.setattr(known_files, "SETTLED_S", 0.0)
    rng = np.random.default_rng(0)
    for name, length in (("a/1", 9000), ("a/2", 9000), ("b/1", 12_000), ("b/2", 15_000)):
        path = tmp_path / "sounds" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.standard_normal(length), 24_000)
    return tmp_path / "sounds"


@pytest.fixture
def read(monkeypatch):
    """Names of the files that were decoded or hashed since it was asked last."""
    seen = []

    def noting(look, name_of):
        return lambda given: seen.append(str(name_of(given))) or look(given)

    monkeypatch.setattr(folders, "inspect", noting(audio.inspect, lambda path: path.name))
    monkeypatch.setattr(walk, "checksum", noting(files.checksum, lambda path: path.name))
    monkeypatch.setattr(contents, "_sha256", noting(contents._sha256, lambda cell: Path(cell["path"]).name))

    def since() -> list[str]:
        found = sorted(seen)
        seen.clear()
        return found

    return since


def start(sounds, rescan: bool = False):
    with remembering(sounds, sounds.parent / "cache", rescan):
        clips, report = scan_folder(sounds)
        return with_digests(clips), report


def test_a_second_start_reads_no_file_and_finds_the_same(sounds, read):
    (sounds / "b" / "3.wav").write_bytes(b"no sound")
    first, report = start(sounds)
    assert len(read()) >= 5
    again, report_again = start(sounds)
    assert read() == []
    assert again.to_list() == first.to_list() and report_again == report
    plain, _ = scan_folder(sounds)
    assert with_digests(plain).to_list() == first.to_list()


def test_rescan_reads_all_again(sounds, read):
    start(sounds)
    wanted = read()
    start(sounds, rescan=True)
    assert read() == wanted
    start(sounds)
    assert read() == []


def test_a_changed_file_is_noticed_whatever_its_date_says(sounds, read):
    first, _ = start(sounds)
    read()
    path = sounds / "b" / "1.wav"
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    again, _ = start(sounds)
    assert set(read()) == {"1.wav"}
    assert [old != new for old, new in zip(first["digest"], again["digest"])] == [False, False, True, False]


def test_a_file_that_just_changed_is_not_trusted(sounds, read, monkeypatch):
    monkeypatch.setattr(known_files, "SETTLED_S", 60.0)
    start(sounds)
    wanted = read()
    start(sounds)
    assert read() == wanted


@pytest.mark.parametrize("damage", ["cut", "bit", "other", "version"])
def test_a_damaged_index_is_made_anew(damage, sounds, read, monkeypatch):
    first, _ = start(sounds)
    wanted = read()
    (index,) = (sounds.parent / "cache").glob("known-files-*.json")
    data = index.read_bytes()
    if damage == "version":
        monkeypatch.setattr(known_files, "FORMAT", known_files.FORMAT + 1)
    else:
        position = data.index(b"9000")
        index.write_bytes(
            {"cut": data[: len(data) // 2], "bit": data[:position] + b"8" + data[position + 1 :], "other": b"\xff"}[
                damage
            ]
        )
    again, _ = start(sounds)
    assert read() == wanted and again.to_list() == first.to_list()
    start(sounds)
    assert read() == []


def test_two_processes_keep_what_each_found(sounds, read):
    cache = sounds.parent / "cache"
    with remembering(sounds, cache) as one, remembering(sounds, cache) as other:
        one.ask(sounds / "a" / "1.wav", "sha256", lambda: "one")
        other.ask(sounds / "a" / "1.wav", "sound", lambda: "sound")
        other.ask(sounds / "a" / "2.wav", "sha256", lambda: "two")
    (index,) = cache.glob("known-files-*.json")
    found = json.loads(index.read_text().split("\n")[1])["files"]
    assert {Path(name).name: set(known) - {"state"} for name, known in found.items()} == {
        "1.wav": {"sha256", "sound"},
        "2.wav": {"sha256"},
    }


@pytest.mark.skipif(os.name == "nt", reason="its locks are others")
def test_of_several_that_begin_at_once_one_looks_and_the_others_wait(sounds, read, monkeypatch):
    import fcntl

    waiting = threading.Event()
    acquire = known_files.FileLock.acquire
    monkeypatch.setattr(known_files.FileLock, "acquire", lambda self: waiting.set() or acquire(self))
    cache = sounds.parent / "cache"
    start(sounds)
    (index,) = cache.glob("known-files-*.json")
    index.unlink()
    waiting.clear()
    read()
    with open(index.with_suffix(".lock"), "a") as held, ThreadPoolExecutor(1) as pool:
        fcntl.flock(held, fcntl.LOCK_EX)  # as by another process
        other = pool.submit(start, sounds)
        assert waiting.wait(30)
        first, _ = start(sounds, rescan=True)  # what that process does; to look at everything again needs no lock
        assert len(read()) == 8 and not other.done()
        fcntl.flock(held, fcntl.LOCK_UN)
        found, _ = other.result(30)
    assert found[:] == first[:] and read() == []


def test_a_cache_that_can_only_be_read_is_read(sounds, read, monkeypatch):
    first, _ = start(sounds)
    read()

    def refused(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", self.lock_file)

    monkeypatch.setattr(known_files.FileLock, "acquire", refused)
    assert start(sounds)[0][:] == first[:] and read() == []
