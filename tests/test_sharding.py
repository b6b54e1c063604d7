"""Extraction by several processes, killed ones among them: the same bytes as by one that nobody disturbs."""

import hashlib
import multiprocessing
import random
import signal
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from filelock import FileLock
from sharding_worker import work

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["hf_encls.features.extraction"])  # imported once for all workers


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    for label in ("a", "b", "c"):
        (folder / label).mkdir()
        for number in range(6):
            samples = 0.1 * rng.standard_normal(rng.integers(12_000, 40_000))
            soundfile.write(folder / label / f"{number}.wav", samples, 24_000)
    return folder


@pytest.fixture(scope="module")
def expected(sounds, tmp_path_factory) -> dict[str, str]:
    """Checksums of what one worker writes."""
    cache = tmp_path_factory.mktemp("undisturbed")
    finish(start(sounds, cache))
    found = shards(cache)
    assert len(found) >= 6
    return found


def start(sounds: Path, cache: Path):
    worker = PROCESSES.Process(target=work, args=(str(sounds), str(cache)), daemon=True)
    worker.start()
    return worker


def finish(worker) -> None:
    worker.join(240)
    assert worker.exitcode == 0


def shards(cache: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in cache.glob("*/shard-*.arrow")}


def computed(cache: Path) -> Counter:
    return Counter(line for path in cache.glob("*.computed") for line in path.read_text().split())


@pytest.mark.parametrize("count", [2, 3])
def test_workers_divide_the_work_and_write_the_same_bytes(sounds, expected, tmp_path, count):
    for worker in [start(sounds, tmp_path) for _ in range(count)]:
        finish(worker)
    assert shards(tmp_path) == expected
    assert computed(tmp_path) == Counter(expected.keys())  # each once
    assert not list(tmp_path.glob("*/*.work")) and not list(tmp_path.glob("*/.hf_encls-*"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_killed_at_random_moments(sounds, expected, tmp_path, seed):
    moments = random.Random(seed)
    begin = time.monotonic()
    finish(start(sounds, tmp_path / "timed"))
    whole_s = time.monotonic() - begin
    ended = Counter()
    for _ in range(6):
        workers = [start(sounds, tmp_path / "cache") for _ in range(2)]
        for worker in workers:
            time.sleep(moments.uniform(0, whole_s / 2))
            worker.kill()  # nothing happens to one that has ended already
            worker.join()
            ended[worker.exitcode] += 1
    assert ended[-signal.SIGKILL] and set(ended) <= {0, -signal.SIGKILL}, ended
    last = [start(sounds, tmp_path / "cache") for _ in range(2)]
    for worker in last:
        finish(worker)
    assert shards(tmp_path / "cache") == expected
    assert not list((tmp_path / "cache").glob("*/*.work")) and not list((tmp_path / "cache").glob("*/.hf_encls-*"))


def test_a_killed_worker_loses_the_shard_it_is_at_only(sounds, expected, tmp_path):
    worker = start(sounds, tmp_path)
    deadline = time.monotonic() + 200
    while len(list(tmp_path.glob("*/shard-*.json"))) < 2 and time.monotonic() < deadline and worker.is_alive():
        time.sleep(0.002)
    worker.kill()
    worker.join()
    done = {path.stem for path in tmp_path.glob("*/shard-*.json")}
    for note in tmp_path.glob("*.computed"):
        note.unlink()
    finish(start(sounds, tmp_path))
    assert shards(tmp_path) == expected
    assert {Path(name).stem for name in computed(tmp_path)} == {Path(name).stem for name in expected} - done


def test_what_a_worker_left_that_was_killed_after_the_last_rename_goes(sounds, tmp_path):
    finish(start(sounds, tmp_path))
    left, held = (path.with_suffix(".work") for path in sorted(tmp_path.glob("*/shard-*.arrow"))[:2])
    left.mkdir()
    held.mkdir()
    with FileLock(held.with_suffix(".lock")):  # somebody computes it
        finish(start(sounds, tmp_path))
        assert not left.exists() and held.exists()


@pytest.mark.parametrize("damage", ["a byte", "cut", "gone", "seal gone", "seal damaged", "seal of no text"])
def test_a_damaged_shard_is_computed_again_and_no_other(sounds, expected, tmp_path, damage):
    finish(start(sounds, tmp_path))
    for note in tmp_path.glob("*.computed"):
        note.unlink()
    path = sorted(tmp_path.glob("*/shard-*.arrow"))[1]
    if damage == "a byte":
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "gone":
        path.unlink()
    elif damage == "seal gone":
        path.with_suffix(".json").unlink()
    elif damage == "seal damaged":
        path.with_suffix(".json").write_text("{")
    else:
        seal = path.with_suffix(".json")
        seal.write_bytes(seal.read_bytes().replace(b"s", b"\xff", 1))
    finish(start(sounds, tmp_path))
    assert shards(tmp_path) == expected
    assert computed(tmp_path) == Counter([path.name])
