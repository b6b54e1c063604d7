"""ESC-50 and its subset ESC-10: 2,000 clips of environmental sound, 50 classes of 40, five folds (Piczak, 2015).

Where the facts come from, each seen in two public copies:

- classes, targets and folds: `esc50.csv` of karolpiczak/ESC-50, and the file names in soundata's index
  (esc50_index.json, version 2.0.0); the 400 names of the ESC-10 OGG edition agree with both.
- size and sha256 of the archive at its pinned commit: two unrelated public repositories state the same pair. GitHub
  makes this archive on demand; should it ever be made differently, the md5 of each file still tells.
- md5 of each WAV (esc50.md5): soundata's index, one source only.

The licence and the caveat on band limits are from the data set's README. The recordings that stand in two folds were
found in the file names.
"""

import csv
import io
import os
import re
from dataclasses import replace
from pathlib import Path

from datasets import Dataset

from hf_encls.data.facts import Archive, DatasetFacts, checksums, differences, normalise, refuse_twins
from hf_encls.data.folders import ScanReport, inspect_clips
from hf_encls.data.walk import roots
from hf_encls.files.finding import find_audio, reasons_text, require_folder

# In the order of `target`, 0 to 49.
CLASSES = (
    *("dog", "rooster", "pig", "cow", "frog", "cat", "hen", "insects", "sheep", "crow"),
    *("rain", "sea_waves", "crackling_fire", "crickets", "chirping_birds"),
    *("water_drops", "wind", "pouring_water", "toilet_flush", "thunderstorm"),
    *("crying_baby", "sneezing", "clapping", "breathing", "coughing"),
    *("footsteps", "laughing", "brushing_teeth", "snoring", "drinking_sipping"),
    *("door_wood_knock", "mouse_click", "keyboard_typing", "door_wood_creaks", "can_opening"),
    *("washing_machine", "vacuum_cleaner", "clock_alarm", "clock_tick", "glass_breaking"),
    *("helicopter", "chainsaw", "siren", "car_horn", "engine"),
    *("train", "church_bells", "airplane", "fireworks", "hand_saw"),
)
ESC10_CLASSES = (
    *("dog", "rooster", "rain", "sea_waves", "crackling_fire"),
    *("crying_baby", "sneezing", "clock_tick", "helicopter", "chainsaw"),
)
# Folder names of the older OGG editions whose words differ from the class names above.
FOLDER_NAMES = {
    "dog_bark": "dog",
    "baby_cry": "crying_baby",
    "person_sneeze": "sneezing",
    "fire_crackling": "crackling_fire",
    "door_knock": "door_wood_knock",
}
COMMIT = "33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6"
ESC50 = DatasetFacts(
    name="esc50",
    title="ESC-50",
    source="https://github.com/karolpiczak/ESC-50",
    licence_id="cc-by-nc-3.0",
    licence="CC BY-NC 3.0 (attribution of every clip in the data set's LICENSE file)",
    citation="""@inproceedings{piczak2015dataset,
  title = {{ESC}: {Dataset} for {Environmental Sound Classification}},
  author = {Piczak, Karol J.},
  booktitle = {Proceedings of the 23rd {Annual ACM Conference} on {Multimedia}},
  date = {2015-10-13},
  url = {http://dl.acm.org/citation.cfm?doid=2733373.2806390},
  doi = {10.1145/2733373.2806390},
  location = {{Brisbane, Australia}},
  isbn = {978-1-4503-3459-4},
  publisher = {{ACM Press}},
  pages = {1015--1018}
}""",
    classes=CLASSES,
    clips_per_class=40,
    sampling_rate=44_100,
    num_channels=1,
    durations_s={".wav": (5.0, 5.0), ".ogg": (3.0, 8.0)},
    official="five folds of the data set: one tests, the next (cyclically) validates, three train",
    known_faults=(
        "recordings of some classes were band-limited beforehand (README, Caveats): a score can rest on that",
        "the clips of the Freesound recordings 131943, 134049, 209698 and 234879 stand in two folds, in two classes "
        "(rooster and hen, clock_tick and clock_alarm): under official, the half in training is left out where the "
        "other half is tested",
        "short sounds are followed by digital silence: of ESC-10's 1,993 one-second windows, 146 hold nothing else",
    ),
    archive=Archive(
        urls=(f"https://github.com/karolpiczak/ESC-50/archive/{COMMIT}.zip",),
        file_name=f"ESC-50-{COMMIT[:12]}.zip",
        size=645_832_161,
        sha256="661183a6f53ef04f12c9bd618fed0ddc1713280d6c94a5a5431e844ba6f6a21f",
        max_members=2_100,
        max_unpacked=1_500_000_000,
    ),
    checksums_file="esc50.md5",
    aliases=("ESC-50-master", f"ESC-50-{COMMIT}", "esc50-data", "Environmental Sound Classification"),
)
ESC10 = replace(
    ESC50,
    name="esc10",
    title="ESC-10",
    licence_id="cc-by-3.0",
    licence="CC BY 3.0 (a subset of ESC-50; attribution of every clip in the data set's LICENSE file)",
    classes=ESC10_CLASSES,
    aliases=("ESC-10-master",),
    known_faults=tuple(fault for fault in ESC50.known_faults if "131943" not in fault),
)
FACTS = (ESC50, ESC10)
META = Path("meta", "esc50.csv")
NEEDED = {"filename", "fold", "category", "src_file"}  # columns of it
ANEW = "get the table anew"
NAME = re.compile(r"(?P<fold>[1-5])-(?P<source>\d+)-(?P<take>[A-Z])(?:-(?P<target>\d{1,2}))?")


def recognises(data_dir: Path) -> bool:
    """True for a folder with `meta/esc50.csv`, and for one whose audio files are all named `fold-id-take[-target]`."""
    if _find_root(data_dir) is not None:
        return True
    files = find_audio(data_dir).files
    return bool(files) and all(NAME.fullmatch(path.stem) for path in files)


def load(data_dir: str | Path, name: str | None, strict: bool) -> tuple[Dataset, ScanReport, DatasetFacts]:
    """Read any edition: `audio/*.wav` with `meta/esc50.csv`, class folders, or the OGG edition's numbered folders.

    `fold` is the official fold, `group` the Freesound recording. `name` is "esc10" (only its ten classes are read),
    "esc50" (the copy is measured against all of it), or None: a copy that holds only classes of ESC-10 is taken for
    ESC-10, any other for ESC-50. What differs from the full set is a warning of the report; a file whose folder and
    name disagree is left out with the reason.

    Raises `ValueError` for a folder without usable clips, for two files that are one clip, for a table that
    contradicts its file names, and, with `strict`, for every file that had to be left out.
    """
    data_dir = require_folder(data_dir, "the folder of ESC-50")
    root = _find_root(data_dir) or data_dir
    rows, left_out = _from_table(root) if (root / META).is_file() else _from_names(root)
    refuse_twins({row["path"]: clip_name(row["path"].stem) for row in rows}, root)
    if name == ESC10.name:
        rows = [row for row in rows if row["label"] in ESC10_CLASSES]
    if not rows:
        raise ValueError(
            f"expected clips named FOLD-ID-TAKE-TARGET.wav under {root}, found none that fits:{reasons_text(left_out)}"
        )
    clips, report = inspect_clips(root, rows, strict=strict, left_out=left_out)
    only_esc10 = set(clips.features["label"].names) <= set(ESC10_CLASSES)
    facts = ESC10 if only_esc10 and name != ESC50.name else ESC50
    report.warnings += differences(facts, clips)
    return clips, report, facts


def clip_name(stem: str) -> str:
    """The part of a file name that is the same in every edition: "1-100032-A-0" -> "1-100032-A"."""
    match = NAME.fullmatch(stem)
    return stem if match is None else f"{match['fold']}-{match['source']}-{match['take']}"


def expected_clips(facts: DatasetFacts) -> dict[str, str]:
    """Every clip's name with its class, from the published index."""
    stems = [Path(path).stem for path in checksums(ESC50)]
    classes = {clip_name(stem): CLASSES[int(stem.rsplit("-", 1)[1])] for stem in stems}
    return {name: label for name, label in classes.items() if label in facts.classes}


def _find_root(data_dir: Path) -> Path | None:
    """The folder that holds `meta/esc50.csv`: `data_dir` itself, or the one folder an unpacked archive has."""
    return next((folder for folder in roots(data_dir) if (folder / META).is_file()), None)


def _from_table(root: Path) -> tuple[list[dict], list[dict[str, str]]]:
    """Clips listed in `meta/esc50.csv`, and what does not fit it."""
    rows, left_out, listed = [], [], set()
    for line, row in _table_rows(root / META):
        name = row["filename"]
        path = root / "audio" / name
        _check_row(row, f"{root / META}, line {line}")
        if name in listed:
            raise ValueError(f"{root / META}, line {line} lists {name} twice: {ANEW}")
        listed.add(name)
        if not path.is_file():
            reason = f"is listed in {META.as_posix()} but not there"
            left_out.append({"file": f"audio/{name}", "kind": "missing", "reason": reason})
            continue
        group = f"freesound-{row['src_file']}"
        rows.append({"path": path, "label": row["category"], "group": group, "fold": int(row["fold"])})
    for path in find_audio(root / "audio").files if (root / "audio").is_dir() else []:
        if path.name not in listed:
            relative = path.relative_to(root).as_posix()
            left_out.append({"file": relative, "kind": "unlisted", "reason": f"is not listed in {META.as_posix()}"})
    return rows, left_out


def _table_rows(table: Path) -> list[tuple[int, dict[str, str]]]:
    """(line number, cells) of the table's rows. Raises `ValueError` where it is no table, or a row is not whole."""
    data = table.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{table}, line {line} is not UTF-8 text ({error.reason}): {ANEW}") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        missing = NEEDED - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{table} has no column {', '.join(sorted(missing))}: it is not ESC-50's table; {ANEW}")
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise ValueError(f"{table}, line {reader.reader.line_num} is damaged ({error}): {ANEW}") from error
    for line, row in rows:
        cells = sum(value is not None for key, value in row.items() if key is not None) + len(row.get(None, ()))
        if cells != len(reader.fieldnames):
            raise ValueError(f"{table}, line {line} has {cells} cells, expected {len(reader.fieldnames)}: {ANEW}")
    return rows


def _check_row(row: dict[str, str], where: str) -> None:
    """Raise `ValueError` where a row contradicts itself, or the name of its file."""
    name, category, target = row["filename"], row["category"], row.get("target")
    # A name with a folder in it would reach outside of audio/.
    if not name or Path(name).name != name or len(os.fsencode(name)) > 255 or not name.isprintable():
        raise ValueError(f"{where} names the file '{_shown(name)}': expected a plain file name in audio/; {ANEW}")
    match = NAME.fullmatch(Path(name).stem)
    if match and (match["fold"] != row["fold"] or match["source"] != row["src_file"]):
        raise ValueError(
            f"{where} says fold {_shown(row['fold'])} and source {_shown(row['src_file'])} for {name}, whose name says fold "
            f"{match['fold']} and source {match['source']}: {ANEW}"
        )
    if not re.fullmatch("[1-5]", row["fold"]):
        raise ValueError(f"{where} says fold '{_shown(row['fold'])}' for {name}: expected 1 to 5; {ANEW}")
    if category not in CLASSES:
        raise ValueError(f"{where} says category '{_shown(category)}' for {name}: it is no class of ESC-50; {ANEW}")
    true = str(CLASSES.index(category))
    for source, number in (("its target", target), ("the file's name", match and match["target"])):
        if number and number.lstrip("0") != true.lstrip("0"):
            raise ValueError(
                f"{where} says category {category!r} ({true}) for {name}, but {source} says {_shown(number)}: {ANEW}"
            )


def _shown(cell: str) -> str:
    """A cell for a message: one line, not endless."""
    return repr(cell if len(cell) <= 80 else f"{cell[:80]}...")[1:-1]


def _from_names(root: Path) -> tuple[list[dict], list[dict[str, str]]]:
    """Clips by their names; the class is the target in the name, the index's, or the folder's, and they must agree."""
    index = expected_clips(ESC50)
    audio = find_audio(root)
    rows, left_out = [], audio.left_out
    for path in audio.files:
        relative = path.relative_to(root).as_posix()
        match = NAME.fullmatch(path.stem)
        if match is None or (match["target"] and int(match["target"]) >= len(CLASSES)):
            reason = "is not named FOLD-ID-TAKE or FOLD-ID-TAKE-TARGET"
            left_out.append({"file": relative, "kind": "name", "reason": reason})
            continue
        by_name = CLASSES[int(match["target"])] if match["target"] else index.get(clip_name(path.stem))
        folder = normalise(path.parent.name)
        folder = FOLDER_NAMES.get(folder, folder)
        by_folder = folder if folder in CLASSES and path.parent != root else None
        if by_name and by_folder and by_name != by_folder:
            reason = f"is in the folder of {by_folder}, but its name is that of a clip of {by_name}: move it"
            left_out.append({"file": relative, "kind": "class", "reason": reason})
            continue
        if not (by_name or by_folder):
            reason = f"its class is unknown: {path.parent.name!r} is no class of ESC-50"
            left_out.append({"file": relative, "kind": "class", "reason": reason})
            continue
        row = {"path": path, "label": by_name or by_folder, "fold": int(match["fold"])}
        rows.append(row | {"group": f"freesound-{match['source']}"})
    return rows, left_out
