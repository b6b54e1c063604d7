"""A clip of hours goes through extraction piece by piece: the same windows, in memory that does not grow with it."""

import threading
import tracemalloc

import numpy as np
import pytest
import soundfile
from small_models import small_codec

from hf_encls.data.folders import scan_folder
from hf_encls.data.labelled import scan_recordings
from hf_encls.features import computing, long_clips, shards
from hf_encls.features.contents import with_digests
from hf_encls.features.extraction import extract_features, feature_config
from hf_encls.features.progress import Progress

KINDS = [
    ("log_mel", None, {"sampling_rate": 16_000}),
    ("mel", None, {"sampling_rate": 16_000, "step_s": 0.3}),
    ("log_mel", None, {"sampling_rate": 16_000, "window_s": 0.5, "step_s": 1.3}),
    ("latents", 24, {"step_s": 0.4}),
    ("codes", 24, {}),
    ("latents", 48, {"codec_policy": "contiguous"}),
    ("latents", 48, {"codec_policy": "codec", "step_s": 0.5}),
]


@pytest.fixture
def sounds(tmp_path):
    """Two clips at 22,050 Hz with silence in the middle and at the end, and a short one."""
    rng = np.random.default_rng(0)
    for label, seconds in (("a", 12.4), ("b", 10.05), ("c", 1.5)):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        samples = 0.1 * rng.standard_normal(round(seconds * 22_050))
        samples[22_050 * 4 : 22_050 * 7] = 0
        samples[22_050 * 9 :] = 0
        soundfile.write(tmp_path / "sounds" / label / "1.flac", samples, 22_050)
    return tmp_path / "sounds"


@pytest.fixture
def in_pieces(monkeypatch):
    monkeypatch.setattr(shards, "SHARD_S", 5.0)
    monkeypatch.setattr(computing, "LONG_S", 5.0)
    monkeypatch.setattr(long_clips, "PIECE_S", 2.0)
    monkeypatch.setattr(long_clips, "ROWS", 3)


def same(found, expected) -> None:
    assert found.remove_columns("input_features")[:] == expected.remove_columns("input_features")[:]
    values = [np.array(each["input_features"][:], np.float32) for each in (found, expected)]
    np.testing.assert_allclose(*values, rtol=2e-3, atol=1e-5)  # a step of float16: other machines may round otherwise


@pytest.mark.parametrize(("kind", "khz", "settings"), KINDS)
def test_windows_are_those_of_the_whole(sounds, tmp_path, kind, khz, settings, request):
    codec = None if khz is None else small_codec(khz)
    clips, _ = scan_folder(sounds)
    config = feature_config(kind, clips, codec, **settings)
    whole = extract_features(clips, config, codec, tmp_path / "whole")
    request.getfixturevalue("in_pieces")
    found = extract_features(clips, config, codec, tmp_path / "pieces")
    assert any(found["silent"][:]) and not all(found["silent"][:])
    same(found, whole)


def test_recordings_with_labels_in_time(sounds, tmp_path, request):
    for name in "abc":
        (sounds / name / "1.txt").write_text("0\t4.5\tx\n6\t9\ty\n", encoding="utf-8")
    clips, _ = scan_recordings(sounds, sounds)
    config = feature_config("log_mel", clips, step_s=0.5)
    whole = extract_features(clips, config, cache_dir=tmp_path / "whole")
    request.getfixturevalue("in_pieces")
    same(extract_features(clips, config, cache_dir=tmp_path / "pieces"), whole)


def test_memory_does_not_grow_with_the_clip_and_the_bar_goes_on(tmp_path, monkeypatch):
    for label, seconds in (("a", 660), ("b", 1)):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        with soundfile.SoundFile(tmp_path / "sounds" / label / "1.wav", "w", 8000, 1) as file:
            for start in range(seconds):
                file.write(np.random.default_rng(start).uniform(-0.1, 0.1, 8000))
    clips, _ = scan_folder(tmp_path / "sounds")
    config = feature_config("log_mel", clips, num_bands=16)
    steps, add = [], Progress.add
    monkeypatch.setattr(Progress, "add", lambda self, *made: (steps.append(made), add(self, *made)))
    tracemalloc.start()
    try:
        windows = extract_features(clips, config, cache_dir=tmp_path / "cache")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(windows) == 661 and peak < 10e6  # its samples alone are 21 MB, the file 11
    assert sum(step[0] for step in steps) == pytest.approx(661) and len(steps) >= 6
    assert sum(step[1] for step in steps) == 661


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_file_that_changes_is_refused(sounds, when):
    clips = with_digests(scan_folder(sounds)[0])
    row = {name: clips[0][name] for name in ("audio", "digest", "duration_s")}
    file = sounds / "a" / "1.flac"
    blocks = long_clips.read_in_pieces(16_000, **row)
    if when == "meanwhile":
        next(blocks)
    with open(file, "r+b") as out:  # as long as before, and a sound
        out.seek(30)  # in the checksum that FLAC keeps of its samples
        out.write(b"0123456789")
    with pytest.raises(ValueError, match=r"1\.flac changed while features were made"):
        list(blocks)
    with pytest.raises(ValueError, match="changed while"):
        list(long_clips.read_in_pieces(16_000, **row | {"duration_s": 3.0}))


def test_what_is_made_of_whole_sounds_says_so(sounds, tmp_path, caplog, request):
    codec = small_codec(48)
    clips, _ = scan_folder(sounds)
    config = feature_config("latents", clips, codec, codec_policy="whole")
    whole = extract_features(clips, config, codec, tmp_path / "whole")
    assert not caplog.messages
    request.getfixturevalue("in_pieces")
    same(extract_features(clips, config, codec, tmp_path / "pieces"), whole)
    first, second = sorted(caplog.messages)
    assert "a/1.flac" in first and "b/1.flac" in second and "cut it into shorter files" in first


def test_after_an_error_no_thread_is_left_and_the_next_time_goes_on(sounds, tmp_path, monkeypatch, in_pieces):
    clips, _ = scan_folder(sounds)
    config = feature_config("log_mel", clips)
    threads, add = threading.active_count(), computing.ShardFile.add

    def full(self, rows):
        if self.writer is not None:
            raise OSError(28, "No space left on device")
        add(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(computing.ShardFile, "add", full)
        with pytest.raises(OSError, match=r"No space left on device.*shard-"):
            extract_features(clips, config, cache_dir=tmp_path / "cache")
    assert threading.active_count() == threads
    found = extract_features(clips, config, cache_dir=tmp_path / "cache")
    same(found, extract_features(clips, config, cache_dir=tmp_path / "clean"))
    assert not list((tmp_path / "cache").glob("*/*.work"))
