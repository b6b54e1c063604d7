"""The public data sets: facts that agree with each other, every layout, and what is wrong with a copy said by name."""

import pkgutil
import re
import shutil
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from miniature_data import esc50_archive, gtzan_genres, gtzan_music_speech, write_noise

from hf_encls import data
from hf_encls.commands import prepare as prepare_command
from hf_encls.commands import validate as validate_command
from hf_encls.data import esc50
from hf_encls.data.esc50 import ESC10, ESC50
from hf_encls.data.facts import checksums
from hf_encls.data.gtzan_genres import EQUAL_FILES, GTZAN_GENRES, official_lists
from hf_encls.data.gtzan_genres import expected_clips as expected_genres
from hf_encls.data.gtzan_music_speech import GTZAN_MUSIC_SPEECH
from hf_encls.data.load import FOLDER, KNOWN, MODULES, load_clips, recognise
from hf_encls.data.splits import TEST, TRAIN, VALIDATION, enforce, leak_check, make_splits
from hf_encls.data.validate import validate


def labels_of(clips) -> dict[str, str]:
    names = clips.features["label"].names
    return {clip: names[label] for clip, label in zip(clips["clip_id"][:], clips["label"][:], strict=True)}


# Facts


@pytest.mark.parametrize("facts", KNOWN, ids=lambda facts: facts.name)
def test_every_data_set_states_its_facts(facts):
    assert re.fullmatch(r"[a-z0-9_]+", facts.name) and facts.title
    assert facts.source.startswith("http") and facts.licence_id and facts.licence and facts.known_faults
    assert facts.citation.startswith("@") and facts.citation.endswith("}")
    assert len(set(facts.classes)) == len(facts.classes) >= 2
    assert facts.num_clips == len(facts.classes) * facts.clips_per_class
    assert facts.sampling_rate > 0 and facts.durations_s
    assert facts.title in facts.text() and facts.licence in facts.text()
    archive = facts.archive
    assert re.fullmatch(r"[0-9a-f]{64}", archive.sha256) and archive.size > 0
    assert bool(archive.urls) != bool(archive.gone)
    assert archive.max_members > facts.num_clips and archive.max_unpacked > archive.size


@pytest.mark.parametrize("facts", [ESC50, GTZAN_GENRES], ids=lambda facts: facts.name)
def test_checksums_are_one_for_every_clip(facts):
    digests = checksums(facts)
    assert len(digests) == facts.num_clips
    assert all(re.fullmatch(r"[0-9a-f]{32}", digest) for digest in digests.values())


def test_esc50_classes_follow_from_the_published_names():
    everything, ten = esc50.expected_clips(ESC50), esc50.expected_clips(ESC10)
    assert (len(everything), len(ten)) == (2000, 400)
    folds = [name[0] for name in everything]
    assert all(folds.count(str(fold)) == 400 for fold in range(1, 6))
    assert set(ESC10.classes) < set(ESC50.classes) == set(everything.values())
    sources = {name: name.split("-")[1] for name in everything}
    twice = {s for name, s in sources.items() if any(t == s and other[0] != name[0] for other, t in sources.items())}
    assert twice == {"131943", "134049", "209698", "234879"}
    assert all(source in " ".join(ESC50.known_faults) for source in twice)


def test_gtzan_lists_are_443_197_290_and_split_no_pair_of_equal_files():
    lists = official_lists()
    assert [list(lists.values()).count(part) for part in (TRAIN, VALIDATION, TEST)] == [443, 197, 290]
    assert set(lists) < set(expected_genres(GTZAN_GENRES))
    digests = {path.rsplit("/", 1)[1].removesuffix(".wav"): digest for path, digest in checksums(GTZAN_GENRES).items()}
    for first, second in EQUAL_FILES:
        assert digests[first] == digests[second] and not {first, second} <= set(lists)
    assert len(set(digests.values())) == 1000 - len(EQUAL_FILES)


def test_every_module_with_facts_is_asked_and_has_a_script():
    modules = [import_module(f"hf_encls.data.{item.name}") for item in pkgutil.iter_modules(data.__path__)]
    assert {module for module in modules if hasattr(module, "FACTS")} == set(MODULES)
    scripts = Path(__file__).parents[1] / "dataset_scripts"
    for module in MODULES:
        assert (scripts / (module.__name__.rpartition(".")[2] + ".py")).is_file()
        assert all(callable(getattr(module, name)) for name in ("recognises", "load", "clip_name", "expected_clips"))
        assert module.__doc__ and "Where the facts come from" in module.__doc__


# ESC-50


def test_esc50_archive_layout(tmp_path):
    root = esc50_archive(tmp_path / "ESC-50-master")
    for data_dir in (root, tmp_path):
        clips, report, facts = load_clips(data_dir)
        assert facts is ESC50 and len(clips) == report.used == 45 and not report.left_out
        assert clips.features["label"].names == ["chirping_birds", "dog", "rain"]
        row = clips[clips["clip_id"][:].index("audio/2-2001-B-0.wav")]
        assert (row["fold"], row["group"], row["label"]) == (2, "freesound-2001", 1)
        assert any("47 of 50 classes are not there" in warning for warning in report.warnings)


@pytest.mark.parametrize("name", [".trash", "__MACOSX"])
def test_a_copy_in_a_hidden_folder_is_none(name, tmp_path):
    esc50_archive(tmp_path / name)
    write_noise(tmp_path / "mine" / "a.wav")
    assert recognise(tmp_path) == FOLDER


def test_esc50_official_and_clip_protocols_run_on_it_without_a_leak(tmp_path):
    clips, _, _ = load_clips(esc50_archive(tmp_path))
    rows = {name: clips[name][:] for name in ("clip_id", "group", "fold", "label")} | {"start": np.zeros(len(clips))}
    for protocol, fold in (("official", 1), ("official", 5), ("clip", None)):
        splits = make_splits(rows, protocol, fold=fold)
        enforce(leak_check(rows, splits), protocol)
    assert set(np.array(rows["fold"])[make_splits(rows, "official", fold=5)["validation"]]) == {1}


def test_esc10_subset(tmp_path):
    root = esc50_archive(tmp_path)
    clips, _, facts = load_clips(root, "esc10")
    assert facts is ESC10 and clips.features["label"].names == ["dog", "rain"] and len(clips) == 30


def test_ogg_edition_with_numbered_folders(tmp_path):
    for name in ("1-100032-A", "5-9032-A"):
        write_noise(tmp_path / "001 - Dog bark" / f"{name}.ogg")
    write_noise(tmp_path / "004 - Baby cry" / "1-187207-A.ogg")
    write_noise(tmp_path / "010 - Fire crackling" / "1-999999999-A.ogg")  # no clip of the index: the folder tells
    (tmp_path / "README.txt").write_text("attribution")
    assert recognise(tmp_path) == "esc50"
    clips, report, facts = load_clips(tmp_path)
    assert facts is ESC10 and not report.left_out
    assert labels_of(clips) == {
        "001 - Dog bark/1-100032-A.ogg": "dog",
        "001 - Dog bark/5-9032-A.ogg": "dog",
        "004 - Baby cry/1-187207-A.ogg": "crying_baby",
        "010 - Fire crackling/1-999999999-A.ogg": "crackling_fire",
    }
    assert clips["fold"][:] == [1, 5, 1, 1]
    _, report, facts = load_clips(tmp_path, "esc50")
    assert facts is ESC50 and "2000 clips" in report.warnings[0]


def test_class_folders_of_wav_and_a_flat_folder_of_wav(tmp_path):
    write_noise(tmp_path / "a" / "dog" / "1-100032-A-0.wav")
    write_noise(tmp_path / "a" / "chirping_birds" / "1-100038-A-14.wav")
    clips, _, facts = load_clips(tmp_path / "a")
    assert set(labels_of(clips).values()) == {"dog", "chirping_birds"} and facts is ESC50
    write_noise(tmp_path / "flat" / "1-100032-A-0.wav")
    write_noise(tmp_path / "flat" / "1-100038-A-14.wav")
    assert set(labels_of(load_clips(tmp_path / "flat")[0]).values()) == {"dog", "chirping_birds"}


def test_table_that_names_a_missing_file_and_file_that_no_table_names(tmp_path):
    root = esc50_archive(tmp_path)
    (root / "audio" / "1-1001-A-0.wav").unlink()
    write_noise(root / "audio" / "1-77-A-0.wav")
    clips, report, _ = load_clips(root)
    assert len(clips) == 44
    reasons = {row["file"]: row["reason"] for row in report.left_out}
    assert "is listed in meta/esc50.csv but not there" in reasons["audio/1-1001-A-0.wav"]
    assert "is not listed" in reasons["audio/1-77-A-0.wav"]
    assert "1-1001-A-0.wav" in report.text()
    assert {row["file"]: row["kind"] for row in report.left_out} == {
        "audio/1-1001-A-0.wav": "missing",
        "audio/1-77-A-0.wav": "unlisted",
    }
    with pytest.raises(ValueError, match="`strict=True`, and 2 files"):
        load_clips(root, strict=True)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1-1001-A-0.wav,1,", "1-1001-A-0.wav,2,", "says fold 2 .* whose name says fold 1"),
        ("1-1001-A-0.wav,1,", "../1-1001-A-0.wav,1,", "expected a plain file name"),
        ("1-1001-B-0.wav,1,", "1-1001-A-0.wav,1,", "twice"),
        ("filename,fold", "file,fold", "no column filename"),
        (",0,dog,True,1001,A\n", ",0,rain,True,1001,A\n", r"line 2 says category 'rain' \(10\) .* its target says 0"),
        (",0,dog,True,1001,A\n", ",10,rain,True,1001,A\n", r"line 2 .*'rain' \(10\) .* the file's name says 0"),
        (",0,dog,True,1001,A\n", ",0,doge,True,1001,A\n", "line 2 says category 'doge' .* no class of ESC-50"),
        (",0,dog,True,1001,A\n", ",0,,True,1001,A\n", "line 2 says category ''"),
        (",0,dog,True,1001,A\n", "\n", "line 2 has 2 cells, expected 7"),
        (",0,dog,True,1001,A\n", ",0,dog,True,1001,A,more\n", "line 2 has 8 cells, expected 7"),
        (",0,dog,True,1001,A\n", ',0,"dog,True,1001,A\n', "is damaged"),
        ("1-1001-A-0.wav,1,", "x.wav,\N{SUPERSCRIPT TWO},", "line 2 says fold '²' .* expected 1 to 5"),
        ("1-1001-A-0.wav,1,", "x.wav,,", "line 2 says fold '' .* expected 1 to 5"),
        ("1-1001-A-0.wav,1,", "x" * 10_000 + ".wav,1,", "line 2 names the file 'xxx.*expected a plain file name"),
        ("1-1001-A-0.wav,1,", "1-1001-A-0\0.wav,1,", "line 2 "),
        ("1-1001-A-0.wav,1,", "x" * 200_000 + ".wav,1,", "line 2 is damaged"),
        ("1-1001-B-0.wav,1,", "\udcff,1,", "line 3 is not UTF-8"),
    ],
)
def test_a_table_that_contradicts_the_files_is_an_error(tmp_path, old, new, message):
    root = esc50_archive(tmp_path)
    table = root / "meta" / "esc50.csv"
    text = table.read_text().replace(old, new, 1)
    table.write_text(text, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ValueError, match=message):
        load_clips(root)


def test_a_file_in_the_wrong_class_folder_is_left_out_by_name(tmp_path):
    write_noise(tmp_path / "001 - Dog bark" / "1-100032-A.ogg")
    write_noise(tmp_path / "002 - Rain" / "1-17367-A.ogg")
    write_noise(tmp_path / "002 - Rain" / "1-110389-A.ogg")  # a dog, says the index
    clips, report, _ = load_clips(tmp_path)
    assert len(clips) == 2
    assert report.left_out[0]["file"] == "002 - Rain/1-110389-A.ogg"
    assert "in the folder of rain, but its name is that of a clip of dog" in report.left_out[0]["reason"]
    with pytest.raises(ValueError, match="1-110389-A"):
        load_clips(tmp_path, strict=True)


def test_strict_names_every_file_whatever_is_wrong_with_it(tmp_path):
    root = esc50_archive(tmp_path)
    (root / "audio" / "1-1001-A-0.wav").unlink()
    (root / "audio" / "1-1002-A-0.wav").write_bytes(b"")
    with pytest.raises(ValueError, match=r"(?s)`strict=True`, and 2 files.*1-1001-A.*not there.*1-1002-A.*empty"):
        load_clips(root, strict=True)


def test_two_files_of_one_clip_are_an_error(tmp_path):
    write_noise(tmp_path / "dog" / "1-100032-A.ogg")
    write_noise(tmp_path / "dog" / "1-100032-A-0.wav")
    write_noise(tmp_path / "rain" / "1-17367-A.ogg")
    with pytest.raises(ValueError, match="two files are the clip 1-100032-A"):
        load_clips(tmp_path)


# GTZAN


@pytest.mark.parametrize("suffix", [".wav", ".au"])
def test_gtzan_genres_editions(tmp_path, suffix):
    clips, report, facts = load_clips(gtzan_genres(tmp_path, suffix=suffix))
    assert facts is GTZAN_GENRES and report.used == 12 and not report.left_out
    assert clips.features["label"].names == ["blues", "jazz", "rock"]
    folds = dict(zip(clips["clip_id"][:], clips["fold"][:], strict=True))
    assert folds[f"genres/blues/blues.00000{suffix}"] == VALIDATION
    assert folds[f"genres/jazz/jazz.00000{suffix}"] == TRAIN
    assert any("7 of 10 classes are not there" in warning for warning in report.warnings)


def test_gtzan_equal_files_share_a_group_and_the_official_lists_leave_out_the_rest(tmp_path):
    for name in ("metal.00058", "rock.00016", "rock.00010", "rock.00038", "metal.00002", "metal.00000", "metal.00012"):
        write_noise(tmp_path / f"{name}.wav", rate=22_050)
    clips, _, _ = load_clips(tmp_path)
    groups = dict(zip(clips["clip_id"][:], clips["group"][:], strict=True))
    assert groups["metal.00058.wav"] == groups["rock.00016.wav"] != groups["rock.00010.wav"]
    rows = {name: clips[name][:] for name in ("clip_id", "group", "fold", "label")} | {"start": np.zeros(len(clips))}
    splits = make_splits(rows, "official")
    assert {part: [rows["clip_id"][i][:-4] for i in splits[part]] for part in splits} == {
        "train": ["metal.00002", "rock.00016"],
        "validation": ["metal.00000", "rock.00038"],
        "test": ["metal.00012", "rock.00010"],
    }


def test_the_broken_jazz_file_is_reported_with_what_to_do(tmp_path):
    root = gtzan_genres(tmp_path)
    (root / "genres" / "jazz" / "jazz.00054.wav").write_bytes(b"\0" * 2000)
    (root / "genres" / "jazz" / "jazz.00055.wav").write_bytes(b"\0" * 2000)
    clips, report, _ = load_clips(root)
    reasons = {row["file"]: row["reason"] for row in report.left_out}
    assert "Go on without it" in reasons["genres/jazz/jazz.00054.wav"]
    assert "Go on" not in reasons["genres/jazz/jazz.00055.wav"] and len(clips) == 12


def test_gtzan_wrong_folder_wrong_name_and_two_editions(tmp_path):
    root = gtzan_genres(tmp_path)
    write_noise(root / "genres" / "rock" / "blues.00050.wav")
    write_noise(root / "genres" / "rock" / "my song.wav")
    _, report, _ = load_clips(root, GTZAN_GENRES.name)
    assert ["in the folder of rock, but its name" in row["reason"] for row in report.left_out] == [True, False]
    write_noise(root / "genres" / "rock" / "rock.00000.au")
    with pytest.raises(ValueError, match="two files are the clip rock"):
        load_clips(root, GTZAN_GENRES.name)


def test_gtzan_music_speech(tmp_path):
    clips, report, facts = load_clips(gtzan_music_speech(tmp_path / "music_speech"))
    assert facts is GTZAN_MUSIC_SPEECH and report.used == 8
    assert clips.features["label"].names == ["music", "speech"]
    assert "has 128 clips, this copy has 8" in report.warnings[0]
    write_noise(tmp_path / "music_speech" / "stray" / "x.wav")
    _, report, _ = load_clips(tmp_path, GTZAN_MUSIC_SPEECH.name)
    assert report.left_out[0]["file"] == "stray/x.wav"


# load_clips


def test_a_folder_of_ones_own_is_no_known_data_set(tmp_path):
    for name in ("cat", "dog"):
        write_noise(tmp_path / name / "1-100032-A-0.wav", seed=ord(name[0]))
    write_noise(tmp_path / "dog" / "recording 7.wav", seed=7)
    clips, _, facts = load_clips(tmp_path)
    assert facts is None and len(clips) == 3
    assert load_clips(tmp_path, "folder")[2] is None
    assert load_clips(tmp_path, name="folder")[1].warnings == []
    with pytest.raises(ValueError, match="unknown data set 'esc51'"):
        load_clips(tmp_path, "esc51")


def test_a_known_data_set_with_a_stray_file_warns_by_name_and_can_be_named(tmp_path):
    for take in "AB":
        for folder, recording in (("001 - Dog bark", 9032), ("002 - Rain", 17367)):
            write_noise(tmp_path / "esc" / folder / f"1-{recording}-{take}.ogg", seed=ord(take) + recording)
    stray = write_noise(tmp_path / "esc" / "002 - Rain" / "my take.ogg")
    clips, report, facts = load_clips(tmp_path / "esc")
    (warning,) = [warning for warning in report.warnings if "LOOKS LIKE ESC-50" in warning]
    assert facts is None and "4 of 5 files" in warning and "002 - Rain/my take.ogg" in warning and "esc50" in warning
    with pytest.raises(ValueError, match=r"nothing to compare it with\. THIS LOOKS LIKE ESC-50.*`dataset=esc50`"):
        validate(None, tmp_path / "esc")
    assert validate("esc50", tmp_path / "esc", compare_checksums=False).extra.count("002 - Rain/my take.ogg") == 1
    clips, report, facts = load_clips(tmp_path / "esc", name="esc50")
    assert facts is ESC50 and len(set(clips["group"][:])) == 2 and len(clips) == 4
    assert [row["file"] for row in report.left_out] == ["002 - Rain/my take.ogg"]
    stray.unlink()
    assert load_clips(tmp_path / "esc")[2] is ESC10

    root = gtzan_genres(tmp_path / "gtzan")
    write_noise(root / "genres" / "rock" / "my song.wav")
    assert any("LOOKS LIKE GTZAN genres" in warning for warning in load_clips(root / "genres")[1].warnings)


def test_esc10_of_a_full_copy_is_prepared_and_published_as_such(tmp_path, monkeypatch, capsys):
    from hf_encls.commands import publish

    asked = []
    monkeypatch.setattr(publish, "main", lambda args: asked.append(args) or {})
    root = esc50_archive(tmp_path / "esc50")
    result = prepare_command.main(["esc10", "--data_dir", str(root), "--push_to_hub", "me/esc10"])
    assert result["classes"] == ["dog", "rain"] and result["dataset"] == "esc10"
    assert asked[0][asked[0].index("--data_name") + 1] == "esc10"
    assert "--data_name esc10" in capsys.readouterr().out


@pytest.mark.parametrize("facts", KNOWN, ids=lambda facts: facts.name)
def test_missing_and_empty_folders_are_clear_errors(tmp_path, facts):
    with pytest.raises(ValueError, match="found nothing: check the path"):
        load_clips(tmp_path / "nothing", facts.name)
    (tmp_path / "clip.wav").write_bytes(b"")
    with pytest.raises(ValueError, match=r"clip\.wav', found a file: check the path"):
        load_clips(tmp_path / "clip.wav", facts.name)
    (tmp_path / "clip.wav").unlink()
    with pytest.raises(ValueError, match="found none"):
        load_clips(tmp_path, facts.name)


# Validation


def test_validate_names_what_is_missing_extra_and_wrong(tmp_path):
    write_noise(tmp_path / "dog" / "1-100032-A-0.wav", seconds=5.0)
    write_noise(tmp_path / "dog" / "1-110389-A-0.wav", seconds=4.9)
    write_noise(tmp_path / "dog" / "1-30226-A-0.wav", rate=22_050, seconds=5.0, channels=2)
    write_noise(tmp_path / "dog" / "1-5-A-0.wav", seconds=5.0)
    write_noise(tmp_path / "rain" / "1-17367-A.ogg", seconds=5.0)
    (tmp_path / "rain" / "1-21189-A.ogg").write_bytes(b"no audio")
    result = validate("esc50", tmp_path)
    reasons = {row["file"]: row["reason"] for row in result.wrong}
    assert not result.ok and result.checksums_compared == 3 and result.extra == ["dog/1-5-A-0.wav"]
    assert reasons["dog/1-100032-A-0.wav"].startswith("md5 is ")
    assert "4.900 s long, expected 5" in reasons["dog/1-110389-A-0.wav"]
    assert "22050 Hz, expected 44100; 2 channels, expected 1" in reasons["dog/1-30226-A-0.wav"]
    assert "rain/1-21189-A.ogg" in reasons and "rain/1-17367-A.ogg" not in reasons
    assert len(result.missing) == 1995 and "missing: 1995" in result.text() and "and 1975 more" in result.text()
    assert validate("esc50", tmp_path, compare_checksums=False).checksums_compared == 0


def test_validate_knows_a_right_file_by_its_checksum(tmp_path, monkeypatch):
    path = write_noise(tmp_path / "dog" / "1-100032-A-0.wav", seconds=5.0)
    write_noise(tmp_path / "rain" / "1-17367-A-10.wav", seconds=5.0)
    from hf_encls.data import validate as module

    real = module.checksum
    expected = checksums(ESC50)["audio/1-100032-A-0.wav"]
    monkeypatch.setattr(
        module, "checksum", lambda file, kind: expected if Path(file) == path.resolve() else real(file, kind)
    )
    assert [row["file"] for row in validate(None, tmp_path).wrong] == ["rain/1-17367-A-10.wav"]


def test_validate_a_file_that_only_the_table_knows_is_missing(tmp_path):
    root = esc50_archive(tmp_path)
    (root / "audio" / "1-1001-A-0.wav").unlink()
    result = validate("esc50", root)
    assert not any("1-1001-A" in row["file"] for row in result.wrong)
    assert len(result.extra) == 44  # the miniature's names are no clips of the index
    write_noise(tmp_path / "plain" / "but not there" / "1-9-A.wav")  # a folder's name says nothing of it
    for name in ("dog/1-8-A.wav", "rain/1-7-A.wav"):
        write_noise(tmp_path / "plain" / name)
    assert validate("esc50", tmp_path / "plain").extra == [
        "but not there/1-9-A.wav",
        "dog/1-8-A.wav",
        "rain/1-7-A.wav",
    ]


def test_validate_refuses_what_it_has_no_facts_of(tmp_path):
    write_noise(tmp_path / "cat" / "a.wav")
    with pytest.raises(ValueError, match="nothing to compare it with"):
        validate(None, tmp_path)


def test_programs(tmp_path, capsys):
    root = esc50_archive(tmp_path / "esc50")
    result = prepare_command.main(
        ["--data_dir", str(root), "--validate", "--report", str(tmp_path / "report.json")], dataset="esc50"
    )
    assert result["used"] == 45 and result["folds"] == [1, 2, 3, 4, 5] and not result["validation"]["ok"]
    printed = capsys.readouterr().out
    assert "CC BY-NC 3.0" in printed and "47 of 50 classes" in printed and "--protocol official" in printed
    assert (tmp_path / "report.json").is_file()
    result = validate_command.main(["--data_dir", str(root), "--report", str(tmp_path / "validation.json")])
    assert not result["ok"] and "not as it should be" in capsys.readouterr().out
    shutil.rmtree(root / "meta")
    with pytest.raises(ValueError, match="is not empty"):
        prepare_command.main(["esc50", "--data_dir", str(root), "--download"])
