"""Class-named folder trees become data sets; what is left out is named with its reason."""

import json
import re

import numpy as np
import pytest
import soundfile

from hf_encls.data import folders
from hf_encls.data.folders import clips_to_dataset, scan_folder
from hf_encls.data.load import load_clips


def write(path, seconds=0.5, rate=16_000, channels=1, **kwargs):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(len(path.name))
    soundfile.write(path, rng.standard_normal((round(seconds * rate), channels)) * 0.1, rate, **kwargs)


@pytest.fixture
def tree(tmp_path):
    write(tmp_path / "dog bark" / "one.wav")
    write(tmp_path / "dog bark" / "take 2" / "deep" / "two.FLAC", rate=44_100, channels=2, format="FLAC")
    write(tmp_path / "Égoïne" / "scie à métaux.ogg", rate=22_050, seconds=1.0)
    write(tmp_path / "Égoïne" / "many.wav", channels=6)
    write(tmp_path / "ambient" / "x.mp3", rate=48_000)
    write(tmp_path / "ambient" / "y.au")
    return tmp_path


def test_tree(tree):
    clips, report = scan_folder(tree)
    assert clips.features["label"].names == ["ambient", "dog bark", "Égoïne"]
    assert clips.features["audio"].decode is False
    rows = {row["clip_id"]: row for row in clips}
    assert set(rows) == {
        "dog bark/one.wav",
        "dog bark/take 2/deep/two.FLAC",
        "Égoïne/scie à métaux.ogg",
        "Égoïne/many.wav",
        "ambient/x.mp3",
        "ambient/y.au",
    }
    two = rows["dog bark/take 2/deep/two.FLAC"]
    assert (two["sampling_rate"], two["num_channels"], two["duration_s"]) == (44_100, 2, 0.5)
    assert rows["Égoïne/many.wav"]["num_channels"] == 6
    assert report.used == 6 and not report.left_out


def test_bad_files_are_left_out_and_named(tree, tmp_path):
    (tree / "ambient" / "empty.wav").touch()
    (tree / "ambient" / "text.wav").write_text("hello")
    whole = (tree / "dog bark" / "one.wav").read_bytes()
    (tree / "ambient" / "cut.wav").write_bytes(whole[: len(whole) // 2])
    soundfile.write(tree / "ambient" / "nan.wav", np.full(100, np.nan), 8_000, subtype="FLOAT")
    soundfile.write(tree / "ambient" / "zero.wav", np.zeros(0), 8_000)
    (tree / "ambient" / "notes.txt").write_text("not a sound, and nobody thinks it is")
    (tree / "beside.wav").write_bytes(whole)
    _, report = scan_folder(tree)
    reasons = {row["file"].split("/")[1]: row["reason"] for row in report.left_out}
    assert set(reasons) == {"empty.wav", "text.wav", "cut.wav", "nan.wav", "zero.wav"}
    for name, reason in {
        "empty": "empty",
        "text": "not audio",
        "cut": "truncated",
        "nan": "NaN",
        "zero": "zero",
    }.items():
        assert reason in reasons[f"{name}.wav"]
        assert f"{name}.wav" in report.text()
    report.save(tmp_path / "report.json")
    assert len(json.loads((tmp_path / "report.json").read_text())["left_out"]) == 5
    with pytest.raises(ValueError, match=r"strict.*5 files") as error:
        scan_folder(tree, strict=True)
    assert "cut.wav" in str(error.value)


def test_clips_that_would_end_an_extraction_are_left_out(tree):
    for name, count, rate in (("fast", 100, 10_000_000), ("slow", 200_000, 1), ("brief", 10, 768_000)):
        soundfile.write(tree / "ambient" / f"{name}.wav", np.full(count, 0.1), rate)
    soundfile.write(tree / "ambient" / "one.wav", np.full(1, 0.1), 16_000)
    soundfile.write(tree / "ambient" / "loud.wav", np.full(100, 3e38), 16_000, subtype="FLOAT")
    soundfile.write(tree / "ambient" / "whole.nist", np.full(1000, 0.1), 16_000, format="NIST")
    soundfile.write(tree / "ambient" / "whole.paf", np.full(1000, 0.1), 16_000, format="PAF")
    whole = (tree / "ambient" / "whole.nist").read_bytes()
    (tree / "ambient" / "half.nist").write_bytes(whole[: len(whole) // 2])
    clips, report = scan_folder(tree)
    reasons = {row["file"].removeprefix("ambient/"): row["reason"] for row in report.left_out}
    expected = {
        "fast.wav": "sampling rate of 10000000 Hz: expected 1000 to 768000",
        "slow.wav": "sampling rate of 1 Hz",
        "brief.wav": "too short: nothing of its 10 samples at 768000 Hz is left at 16000 Hz",
        "loud.wav": "up to 3e[+]38",
        "whole.paf": "is an Ensoniq PARIS file",
        "half.nist": "truncated: its header promises 1000 samples",
    }
    assert set(reasons) == set(expected)
    for name, reason in expected.items():
        assert re.search(reason, reasons[name])
    assert {"ambient/one.wav", "ambient/whole.nist"} < set(clips["clip_id"][:])


def test_errors_say_what_was_expected_and_found(tmp_path):
    with pytest.raises(ValueError, match="found nothing"):
        scan_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="found none"):
        scan_folder(tmp_path)
    write(tmp_path / "loose.wav")
    with pytest.raises(ValueError, match="no label"):
        scan_folder(tmp_path)
    write(tmp_path / "only" / "a.wav")
    with pytest.raises(ValueError, match="found one: 'only'"):
        scan_folder(tmp_path)
    with pytest.raises(ValueError, match="found a file"):
        scan_folder(tmp_path / "loose.wav")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "b.wav").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"found one[\s\S]*b.wav"):
        scan_folder(tmp_path)


def test_a_class_that_lost_all_its_files_is_said(tree):
    (tree / "lost").mkdir()
    (tree / "lost" / "a.wav").write_bytes(b"junk")
    clips, report = scan_folder(tree)
    assert "lost" not in clips.features["label"].names
    assert "lost" in report.text()


def test_two_clips_with_one_id_are_refused():
    record = {"path": "a", "label": "x", "clip_id": "same", "group": "g", "fold": 0}
    record |= {"sampling_rate": 1, "duration_s": 1.0, "num_channels": 1}
    with pytest.raises(ValueError, match="same"):
        clips_to_dataset([record, record], ["x"])


def test_links_in_circles_and_to_files_of_the_tree_give_each_clip_once(tree, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write(elsewhere / "far.wav")
    (tree / "ambient" / "up").symlink_to(tree)
    (tree / "ambient" / "self").symlink_to(tree / "ambient")
    (tree / "aaa").symlink_to(tree / "dog bark")  # before it in the alphabet
    (tree / "ambient" / "far").symlink_to(elsewhere)
    (tree / "ambient" / "again.wav").symlink_to(tree / "dog bark" / "one.wav")
    (tree / "ambient" / "gone.wav").symlink_to(tree / "nowhere.wav")
    clips, report = scan_folder(tree)
    assert sorted(clips["clip_id"][:]) == sorted(
        [
            *("dog bark/one.wav", "dog bark/take 2/deep/two.FLAC", "Égoïne/scie à métaux.ogg", "Égoïne/many.wav"),
            *("ambient/x.mp3", "ambient/y.au", "ambient/far/far.wav"),
        ]
    )
    assert clips.features["label"].names == ["ambient", "dog bark", "Égoïne"]
    reasons = {row["file"]: row["reason"] for row in report.left_out}
    assert set(reasons) == {"ambient/again.wav", "ambient/gone.wav"}
    assert "same file as dog bark/one.wav" in reasons["ambient/again.wav"]
    assert sum("passed over" in warning for warning in report.warnings) == 3


def test_links_that_lead_to_themselves_are_left_out_with_the_reason(tree):
    for name, target in (("x", "x"), ("ambient/x.wav", "x.wav"), ("ambient/a", "b"), ("ambient/b", "a")):
        (tree / name).symlink_to(target)
    clips, report, _ = load_clips(tree)
    assert len(clips) == 6
    reasons = {row["file"]: row["reason"] for row in report.left_out}
    assert set(reasons) == {"ambient/x.wav", "ambient/a", "ambient/b"}
    assert all("to itself" in reason or "symbolic links" in reason for reason in reasons.values())


def test_the_bar_moves_before_copies_are_looked_for(tree, monkeypatch):
    events = []

    def bar(rows, **_):
        for row in rows:
            events.append("file")
            yield row

    monkeypatch.setattr(folders, "tqdm", bar)
    monkeypatch.setattr(folders, "equal_files", lambda paths, pool: events.append("copies") or {})
    clips, _ = scan_folder(tree)
    assert events == ["file"] * 6 + ["copies"]
    assert clips["group"][:] == clips["clip_id"][:]


def test_files_equal_to_the_byte_are_one_group_and_said(tree):
    one = (tree / "dog bark" / "one.wav").read_bytes()
    (tree / "dog bark" / "one (1).wav").write_bytes(one)
    (tree / "ambient" / "one.wav").write_bytes(one)
    write(tree / "dog bark" / "other.wav")  # of the same size, with other samples
    assert (tree / "dog bark" / "other.wav").stat().st_size == len(one)
    clips, report = scan_folder(tree)
    groups = dict(zip(clips["clip_id"][:], clips["group"][:], strict=True))
    assert groups["ambient/one.wav"] == groups["dog bark/one (1).wav"] == groups["dog bark/one.wav"]
    assert groups["dog bark/other.wav"] == "dog bark/other.wav" and len(set(groups.values())) == 7
    assert "2 pairs of files are equal to the byte" in report.text() and "one (1).wav" in report.text()
    assert "in two classes" in report.text()
