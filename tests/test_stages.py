"""Extraction in stages: they overlap, keep the order, and an error of any of them ends all."""

import threading

import numpy as np
import pytest
import soundfile
from small_models import small_codec

from hf_encls.data.folders import scan_folder
from hf_encls.features import computing, shards
from hf_encls.features.extraction import extract_features, feature_config
from hf_encls.features.stages import Pace, in_stages

PACE = Pace(ahead=1, behind=1, readers=2, writers=1)


def test_all_three_are_at_work_at_once():
    meeting = threading.Barrier(3)

    def meet(job: int) -> None:
        if job in (2, 3, 4):  # while 3 is computed, 4 is read and 2 is written
            meeting.wait(30)

    def read(job):
        return [lambda: (job == 4 and meet(job), job)[1], lambda: -job]

    def compute(job, found):
        assert found == [job, -job]
        if job == 3:
            meet(job)
        return [lambda: (job == 2 and meet(job), job)[1]]

    assert list(in_stages(range(8), read, compute, PACE)) == list(range(8))


def test_no_more_is_read_than_was_asked_and_nobody_waits_for_what_is_not_there():
    begun, computed = [], []

    def jobs():
        yield 0
        yield 1
        assert computed == [0]  # one ahead
        yield None  # nothing now
        assert computed == [0, 1]
        yield 2

    def compute(job, _):
        computed.append(job)
        return []

    list(in_stages(jobs(), lambda job: [lambda: begun.append(job)], compute, PACE))
    assert begun == computed == [0, 1, 2]


@pytest.mark.parametrize("stage", ["jobs", "read", "compute", "write"])
def test_an_error_ends_all_and_no_thread_is_left(stage):
    def fail(here, job):
        if here == stage and job == 3:
            raise ValueError(f"expected {stage}")
        return job

    jobs = (fail("jobs", job) for job in range(50))
    before, done = threading.active_count(), []
    with pytest.raises(ValueError, match=f"expected {stage}"):
        for job in in_stages(
            jobs,
            lambda job: [lambda: fail("read", job)],
            lambda job, _: [lambda: fail("write", fail("compute", job))],
            PACE,
        ):
            done.append(job)
    assert done == list(range(len(done))) and len(done) <= 3
    assert threading.active_count() == before


@pytest.fixture
def sounds(tmp_path):
    rng = np.random.default_rng(0)
    for label in ("a", "b"):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        for number in range(5):
            samples = 0.1 * rng.standard_normal(rng.integers(12_000, 60_000))
            soundfile.write(tmp_path / "sounds" / label / f"{number}.wav", samples, 24_000)
    return tmp_path / "sounds"


def test_whole_shards_together_are_what_batches_are(sounds, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_S", 3.0)
    codec = small_codec(24)
    clips, _ = scan_folder(sounds)
    config = feature_config("encodec_24khz", clips, codec)
    plain = extract_features(clips, config, codec, tmp_path / "plain")
    jobs, sizes = computing._jobs, []

    def grouped(clips, columns, taken, whole_shards):
        for job in jobs(clips, columns, taken, True):
            sizes.append(len(job or ()))
            yield job

    monkeypatch.setattr(computing, "_jobs", grouped)
    monkeypatch.setattr(computing, "GROUP_S", 8.0)
    monkeypatch.setattr(computing, "ON_A_CPU", computing.ON_AN_ACCELERATOR)
    together = extract_features(clips, config, codec, tmp_path / "together")
    assert max(sizes) > 1 and len(sizes) > 1
    assert plain.remove_columns("input_features")[:] == together.remove_columns("input_features")[:]
    found, expected = (np.array(each["input_features"][:], np.float32) for each in (together, plain))
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


def test_after_an_error_all_shards_are_free(sounds, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_S", 3.0)
    clips, _ = scan_folder(sounds)
    config = feature_config("log_mel", clips)
    publish = shards.Shard.publish

    def full(shard, finished):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shards.Shard, "publish", full)
    with pytest.raises(OSError, match=r"No space left on device.*shard-"):
        extract_features(clips, config, cache_dir=tmp_path / "cache")
    monkeypatch.setattr(shards.Shard, "publish", publish)
    found = extract_features(clips, config, cache_dir=tmp_path / "cache")
    clean = extract_features(clips, config, cache_dir=tmp_path / "clean")
    assert found[:] == clean[:] and not list((tmp_path / "cache").glob("*/*.work"))
