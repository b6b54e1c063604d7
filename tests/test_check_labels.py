"""Faults that were planted are found: exchanged labels, copies coded anew, silence, clipping."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hf_encls import write_synthetic
from hf_encls.commands.check_labels import main as check_labels
from hf_encls.commands.cli import main as cli
from hf_encls.data.clipping import clipped_share
from hf_encls.data.folders import scan_folder
from hf_encls.data.groups import with_groups
from hf_encls.features.duplicates import Copy, find_copies, join_groups, similarity
from hf_encls.features.wrong_labels import suspects

RATE = 16_000
PITCHES = {"low": 200, "mid": 800, "high": 3000}


def tone(rng: np.random.Generator, pitch: float, seconds: float = 2.0) -> np.ndarray:
    """A tone with a tune of its own in noise."""
    steps = round(seconds * 10)
    level, bend = (np.repeat(rng.uniform(low, high, steps), RATE // 10) for low, high in ((0.0, 0.4), (0.9, 1.1)))
    return level * np.sin(2 * np.pi * np.cumsum(pitch * bend) / RATE) + rng.standard_normal(len(level)) * 0.01


@pytest.fixture(scope="module")
def faulty(tmp_path_factory) -> tuple[Path, dict]:
    """Thirty tones, and what is wrong with some."""
    folder, rng = tmp_path_factory.mktemp("data") / "tones", np.random.default_rng(0)
    for label, pitch in PITCHES.items():
        (folder / label).mkdir(parents=True)
        for number in range(10):
            soundfile.write(folder / label / f"{number}.wav", tone(rng, pitch), RATE)
    (folder / "low" / "0.wav").rename(folder / "high" / "was_low.wav")
    (folder / "mid" / "0.wav").rename(folder / "low" / "was_mid.wav")
    samples, _ = soundfile.read(folder / "mid" / "3.wav")
    soundfile.write(folder / "mid" / "copy.mp3", samples * 0.4, RATE)
    samples, _ = soundfile.read(folder / "high" / "5.wav")
    soundfile.write(folder / "high" / "copy.flac", samples * 0.2, RATE)
    soundfile.write(folder / "low" / "silent.wav", np.zeros(2 * RATE), RATE)
    soundfile.write(folder / "low" / "clipped.wav", np.clip(tone(rng, PITCHES["low"]) * 4, -0.5, 0.5), RATE)
    return folder, {
        "label": {"high/was_low.wav": "low", "low/was_mid.wav": "mid"},
        "copy": {("mid/3.wav", "mid/copy.mp3"), ("high/5.wav", "high/copy.flac")},
    }


def check(folder: Path, place: Path, *more: str) -> list[dict]:
    command = ["check-labels", "--data_dir", str(folder), "--cache_dir", str(folder.parent / "cache")]
    command += ["--features", "log_mel", "--window_s", "0.5", "--output", str(place / "found.csv")]
    assert cli([*command, *more]) == 0
    with (place / "found.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_planted_faults_are_found(faulty, tmp_path, capsys):
    folder, planted = faulty
    more = ["--page", str(tmp_path / "p.html"), "--save_groups", str(tmp_path / "groups.csv")]
    rows = check(folder, tmp_path, *more)
    suspected = {row["clip"]: row["suggested"] for row in rows if row["kind"] == "label"}
    assert planted["label"].items() <= suspected.items() and len(suspected) <= 5
    assert {(row["clip"], row["other"]) for row in rows if row["kind"] == "copy"} == planted["copy"]
    assert [row["clip"] for row in rows if row["kind"] == "silent"] == ["low/silent.wav"]
    assert [row["clip"] for row in rows if row["kind"] == "clipped"] == ["low/clipped.wav"]
    assert "2 pairs of copies, 1 silent, 1 clipped" in capsys.readouterr().out
    # The page holds its sounds, and nothing is asked of elsewhere.
    page = (tmp_path / "p.html").read_text(encoding="utf-8")
    assert page.count("data:audio/mpeg;base64,") >= len(rows) and "high/was_low.wav" in page
    assert not re.search(r"(?:src|href)=\"(?!data:)", page)
    # The groups keep copies on one side.
    clips, _ = scan_folder(folder)
    grouped = with_groups(clips, tmp_path / "groups.csv")
    assert grouped.features == clips.features
    group = dict(zip(grouped["clip_id"], grouped["group"]))
    assert all(group[one] == group[other] for one, other in planted["copy"])
    assert len(set(group.values())) == len(clips) - 2
    # With them there is nothing left to find, in Markdown too.
    found = ["--groups", str(tmp_path / "groups.csv"), "--output", str(tmp_path / "found.md")]
    check(folder, tmp_path, *found)
    assert "| copy |" not in (tmp_path / "found.md").read_text(encoding="utf-8")


def test_confident_learning_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 1])
    first = np.array([0.9, 0.8, 0.1, 0.2, 0.45, 0.7])
    found = suspects(np.stack([first, 1 - first], axis=1), labels)
    # Means where it is the label: 0.6 and 0.55. The last one is 0.7 of class 0, the third 0.9 of class 1.
    assert [(each.index, each.suggested) for each in found] == [(2, 1), (5, 0)]


def test_similarity_is_that_of_what_is_in_both():
    rng = np.random.default_rng(0)
    sound = rng.standard_normal((8, 200))
    assert similarity(sound, 3 * sound[:, 40:]) > 0.99
    assert similarity(sound[:, :150], sound[:, 40:]) > 0.99
    assert similarity(sound, rng.standard_normal((8, 200))) < 0.4
    assert similarity(sound, np.zeros((8, 200))) == 0


def test_sounds_that_are_loud_at_the_same_time_are_no_copies_and_cut_ones_are():
    """Barks: they begin, fade, and are silent. What tells them apart is little beside that."""
    rng = np.random.default_rng(0)
    fading = np.concatenate([np.zeros(50), np.linspace(1, 0, 50), np.zeros(150)])
    barks = {str(i): fading * 10 + fading * rng.standard_normal((16, 250)) * 2 for i in range(12)}
    rain = {f"rain {i}": rng.standard_normal((16, 250)) + 3 * np.sin(np.arange(250) / (9 + i)) for i in range(4)}
    sounds = barks | rain
    sounds["half"] = barks["3"][:, 40:130]  # with another mean than the whole has
    centred = {name: (each - each.mean(axis=1, keepdims=True)).astype(np.float16) for name, each in sounds.items()}
    vectors = np.stack([np.concatenate([each.mean(axis=1), each.std(axis=1)]) for each in sounds.values()])
    names = list(sounds)
    copies = find_copies(vectors, names, names, centred)
    assert [(copy.first, copy.second) for copy in copies] == [("3", "half")] and copies[0].similarity > 0.9


def test_groups_of_copies_of_copies():
    copies = [Copy("a", "b", 1.0), Copy("b", "c", 1.0), Copy("d", "e", 1.0)]
    assert join_groups(list("abcdef"), ["a", "b", "c", "x", "x", "f"], copies) == {
        **dict.fromkeys("abc", "a"),
        **dict.fromkeys("de", "x"),
        "f": "f",
    }


def test_what_is_not_cut_off_is_not_clipped(tmp_path):
    wave = 0.5 * np.sin(2 * np.pi * 50 * np.arange(RATE) / RATE)
    for name, sound, expected in (("a", wave, 0.0), ("b", np.clip(wave, -0.3, 1), 0.29), ("c", wave * 0, 0.0)):
        soundfile.write(tmp_path / f"{name}.wav", np.stack([wave * 0.7, sound], axis=1), RATE)
        share = 2 * clipped_share(tmp_path / f"{name}.wav")
        assert share == pytest.approx(expected, abs=0.02)


MISTAKES = {
    ("--output", "x.json"): "expected --output to end in .csv or .md, found 'x.json'",
    ("--page", "x.pdf"): "expected --page to end in .html",
    ("--groups", "{folder}/low/1.wav"): "is damaged",
    ("--groups", "{folder}/none.csv"): "cannot be read",
}


@pytest.mark.parametrize("options", MISTAKES)
def test_mistakes_are_one_line(options, faulty, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, _ = faulty
    given = [each.format(folder=folder) for each in options]
    assert cli(["check-labels", "--data_dir", str(folder), "--features", "log_mel", *given]) == 2
    assert MISTAKES[options] in capsys.readouterr().err


@pytest.mark.slow
def test_recall_on_synthetic_sounds(tmp_path):
    """A tenth of the labels exchanged, and copies of a tenth of the clips in another format and level."""
    write_synthetic(tmp_path / "sounds")
    rng = np.random.default_rng(0)
    files = sorted((tmp_path / "sounds").rglob("*.wav"))
    classes = sorted({file.parent.name for file in files})
    chosen = rng.permutation(len(files))
    copies, exchanged = set(), set()
    for number, index in enumerate(chosen[:12]):
        file = files[index]
        samples, rate = soundfile.read(file)
        ending = [".ogg", ".mp3", ".wav", ".flac"][number % 4]
        copy = file.with_name(f"copy_{number}{ending}")
        soundfile.write(copy, np.clip(samples * 0.5, -1, 1), rate)
        copies.add(tuple(sorted(path.relative_to(tmp_path / "sounds").as_posix() for path in (file, copy))))
    for index in chosen[12:24]:
        other = rng.choice([name for name in classes if name != files[index].parent.name])
        target = files[index].parents[1] / other / files[index].name
        files[index].rename(target)
        exchanged.add(target.relative_to(tmp_path / "sounds").as_posix())
    (tmp_path / "sounds" / ".hf_encls_synthetic.json").unlink()
    command = [
        "check-labels",
        "--data_dir",
        str(tmp_path / "sounds"),
        "--features",
        "encodec_24khz",
        "--codec",
        "mini",
    ]
    assert cli([*command, "--cache_dir", str(tmp_path), "--output", str(tmp_path / "found.csv")]) == 0
    with (tmp_path / "found.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    pairs = {(row["clip"], row["other"]) for row in rows if row["kind"] == "copy"}
    suspected = [row["clip"] for row in rows if row["kind"] == "label"]
    print(f"copies: {len(pairs & copies)} of {len(copies)}, {len(pairs - copies)} others")
    right = len(exchanged & set(suspected))
    print(f"labels: {right} of {len(exchanged)}, {len(suspected) - right} others")
    assert len(pairs & copies) >= 11 and len(pairs - copies) <= 6  # bells are alike
    assert right >= 9


def test_what_is_read_is_not_written_over(tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("mine")
    (tmp_path / "sounds").mkdir()
    for more in (["--output", str(labels)], ["--save_groups", str(labels), "--output", str(tmp_path / "faults.csv")]):
        with pytest.raises(ValueError, match="over what --labels reads"):
            check_labels(
                ["--data_dir", str(tmp_path / "sounds"), "--features", "log_mel", "--labels", str(labels), *more]
            )
    assert labels.read_text() == "mine"
