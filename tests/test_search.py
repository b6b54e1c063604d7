"""Sounds that are like one are found, in files with and without labels, from features that are there already."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hf_encls import SoundIndex, extract_features, feature_config
from hf_encls.audio import AudioError
from hf_encls.commands.cli import main as cli
from hf_encls.data.folders import scan_folder, scan_sounds

RATE = 16_000
LOOK = ["--features", "log_mel", "--window_s", "0.5"]


def tone(pitch: float, seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    bend = np.repeat(rng.uniform(0.95, 1.05, round(seconds * 10)), RATE // 10)
    return 0.3 * np.sin(2 * np.pi * np.cumsum(pitch * bend) / RATE) + rng.standard_normal(len(bend)) * 0.01


@pytest.fixture(scope="module")
def flat(tmp_path_factory) -> Path:
    """Recordings of four seconds of noise, in some of which a tone begins at 2 s; none has a label."""
    folder = tmp_path_factory.mktemp("search") / "recordings"
    (folder / "more").mkdir(parents=True)
    for number, pitch in enumerate((400, 900, 2000, 3500, 900)):
        sound = np.random.default_rng(number).standard_normal(4 * RATE) * 0.05
        sound[2 * RATE : 3 * RATE] = tone(pitch, 1.0, number)
        place = folder / "more" if number == 4 else folder
        soundfile.write(place / f"{number}_{pitch}.flac", sound, RATE)
    soundfile.write(folder / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(folder.parent / "like.wav", tone(900, 1.0, 77), RATE)
    return folder


def look(sound: Path, where: Path, *more: str) -> int:
    return cli(["search", str(sound), str(where), *LOOK, "--cache_dir", str(sound.parent / "cache"), *more])


def test_files_without_labels_are_found_with_their_time(flat, capsys, tmp_path):
    assert look(flat.parent / "like.wav", flat, "--top_k", "2", "--format", "json") == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)  # nothing else is on standard output
    assert {each["file"] for each in found} == {str(flat / "1_900.flac"), str(flat / "more" / "4_900.flac")}
    assert all(each["start_s"] in (2.0, 2.5) and each["label"] is None for each in found)
    assert 1 >= found[0]["similarity"] >= found[1]["similarity"] > 0.3
    # A second time from the cache, as a table of a file.
    assert look(flat.parent / "like.wav", flat, "--format", "csv", "--output", str(tmp_path / "found.csv")) == 0
    assert "of audio [" not in capsys.readouterr().err  # the bar of features that are computed
    with (tmp_path / "found.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["file", "start_s", "similarity", "label"] and len(rows) == 5  # the silent one is none
    assert rows[0]["file"] == found[0]["file"]


def test_the_features_of_training_are_used_and_the_sound_itself_is_left_out(tones, capsys):
    clips, _ = scan_folder(tones)
    cache = tones.parent / "cache"
    config = feature_config("log_mel", clips, window_s=0.5)
    windows = extract_features(clips, config, cache_dir=cache)
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("shard-*")}
    sound = tones / "mid" / "3.wav"
    assert cli(["search", str(sound), str(tones), *LOOK, "--cache_dir", str(cache), "--format", "jsonl"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert before == {path: path.stat().st_mtime_ns for path in cache.rglob("shard-*")}
    assert len(rows) == 10 and str(sound) not in {row["file"] for row in rows}
    assert [row["label"] for row in rows[:4]] == ["mid"] * 4
    # In Python the same; there the sound counts, and is the most similar one.
    matches = SoundIndex(windows, config).search(sound, top_k=None)
    assert len(matches) == len(clips) and matches[0].clip_id == "mid/3.wav"
    assert matches[0].similarity == pytest.approx(1.0, abs=1e-5)
    assert [row["file"] for row in rows] == [str(tones / each.clip_id) for each in matches[1:11]]


def test_codes_and_latents_can_be_searched(tones):
    from small_models import small_codec

    clips, _ = scan_folder(tones)
    codec = small_codec()
    for features in ("latents", "codes"):
        config = feature_config(features, clips, codec, codec_id="small", window_s=0.5)
        windows = extract_features(clips, config, codec, tones.parent / "cache")
        index = SoundIndex(windows, config, codec)
        best = index.search(tones / "low" / "0.wav", top_k=1)[0]
        assert best.clip_id == "low/0.wav" and best.similarity == pytest.approx(1.0, abs=1e-4)
        with pytest.raises(ValueError, match="needs the codec that made it"):
            SoundIndex(windows, config)


def test_sounds_without_classes_are_scanned(flat, tmp_path):
    clips, report = scan_sounds(flat)
    assert clips.features["label"].names == [] and set(clips["label"]) == {-1} and report.used == 6
    with pytest.raises(ValueError, match="expected audio in .*, found none"):
        scan_sounds(tmp_path)
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"expected audio in .*, found no usable file among 1:\n  bad.wav"):
        scan_sounds(tmp_path)


def test_mistakes_are_one_line(flat, capsys, tmp_path):
    like, silent = flat.parent / "like.wav", flat / "silent.wav"
    shutil.copy(silent, tmp_path / "s.wav")
    cases = {
        (str(tmp_path / "none.wav"), str(flat)): "expected a file of audio at",
        (str(like), str(like)): "found a file",
        (str(like), "no/such/folder"): "expected a folder of sounds or published features at 'no/such/folder'",
        (str(silent), str(flat)): f"{silent} is pure silence: there is nothing to look for",
        (str(like), str(flat), "--top_k", "0"): "--top_k must be 1 or more",
        (str(like), str(flat), "--hop_length", "0"): "expected --hop_length of 1 or more",
        (str(like), str(tmp_path)): "found nothing but silence",
    }
    for given, message in cases.items():
        assert cli(["search", *given, *LOOK, "--cache_dir", str(tmp_path / "cache")]) == 2
        assert message in capsys.readouterr().err
    (shard,) = (like.parent / "cache").glob("log_mel-*")
    assert look(like, shard) == 2
    assert "is a folder of the cache, which does not say how" in capsys.readouterr().err


def test_a_long_sound_is_refused_before_it_is_all_read(flat, monkeypatch):
    from hf_encls.features import search

    monkeypatch.setattr(search, "LONGEST_S", 0.5)
    clips, _ = scan_sounds(flat)
    config = feature_config("log_mel", clips, window_s=0.5)
    index = SoundIndex(extract_features(clips, config, cache_dir=flat.parent / "cache"), config)
    with pytest.raises(AudioError, match=r"like\.wav is longer than 0\.5 s"):
        index.search(flat.parent / "like.wav")
