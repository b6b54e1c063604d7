"""GTZAN genres: 1,000 excerpts of music of about 30 s, 10 genres of 100 (Tzanetakis and Cook, 2002).

Where the facts come from:

- size and sha256 of `genres.tar.gz`: tensorflow/datasets (checksums.tsv); the same sha256 is in torchaudio.
- md5 of each WAV (gtzan_genres.md5): mirdata's index (gtzan_genre_index_1.0.json), one source only.
- the fault-filtered lists of 443, 197 and 290 clips (Kereliuk, Sturm and Larsen, 2015): compared name by name in two
  public copies, torchaudio 2.11 (datasets/gtzan.py) and coreyker/dnn-mgr (the authors'; numbers 1 to 1000 in the order
  of the genres). They agree.
- pairs of equal files: found as equal md5 in mirdata's index; none of them has both halves in the lists.

No licence is stated by anybody we found; mirdata says the same. The first address is a copy on the Hub, whose
checksum we could not compare: the sha256 decides. The second, the original one, has been out of order for years
(mirdata#549).
"""

import re
from pathlib import Path

from datasets import Dataset

from hf_encls.data.facts import Archive, DatasetFacts, checksums, differences, normalise, refuse_twins
from hf_encls.data.folders import ScanReport, inspect_clips
from hf_encls.data.splits import TEST, TRAIN, VALIDATION
from hf_encls.files.finding import find_audio, reasons_text, require_folder

CLASSES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
GTZAN_GENRES = DatasetFacts(
    name="gtzan_genres",
    title="GTZAN genres",
    source="http://marsyas.info/downloads/datasets.html",
    licence_id="unknown",
    licence="none stated (excerpts of published music: the audio is not ours to pass on)",
    citation="""@article{tzanetakis2002musical,
  title = {Musical genre classification of audio signals},
  author = {Tzanetakis, George and Cook, Perry},
  journal = {IEEE Transactions on Speech and Audio Processing},
  volume = {10},
  number = {5},
  pages = {293--302},
  year = {2002},
  doi = {10.1109/TSA.2002.800560}
}""",
    classes=CLASSES,
    clips_per_class=100,
    sampling_rate=22_050,
    num_channels=1,
    durations_s={".wav": (29.0, 31.0), ".au": (29.0, 31.0)},
    official="the fault-filtered lists: 443 clips train, 197 validate, 290 test, 70 are left out",
    known_faults=(
        "jazz.00054 is broken in the copy that most people have (Kaggle's): it is left out",
        "copies, several excerpts of one recording, many excerpts of one artist, wrong labels and distortions "
        "(Sturm, arXiv:1306.1461): scores above about 94.5 % point to a leak",
        "14 pairs of files are equal to the byte, one of them in two genres (rock.00016, metal.00058): each pair is "
        "one group here; copies that are not equal to the byte, and artists, are not known to this module",
    ),
    archive=Archive(
        urls=(
            "https://huggingface.co/datasets/marsyas/gtzan/resolve/d2146561ecc7df707d9e6b8318885fe6a39668a2/data/genres.tar.gz",
            "http://opihi.cs.uvic.ca/sound/genres.tar.gz",
        ),
        file_name="genres.tar.gz",
        size=1_225_571_541,
        sha256="24347e0223d2ba798e0a558c4c172d9d4a19c00bb7963fe055d183dadb4ef2c6",
        max_members=2_200,
        max_unpacked=2_000_000_000,
    ),
    checksums_file="gtzan_genres.md5",
    aliases=("GTZAN", "genres", "genres_original", "GTZAN genre", "GTZAN genre collection", "marsyas/gtzan"),
)
FACTS = (GTZAN_GENRES,)
BROKEN = {
    "jazz.00054": (
        "known: this file is broken in the common copy of GTZAN. Go on without it (999 clips), or take it from the "
        "original genres.tar.gz (md5 8f0ab76fff2d2c6bc80eb9c9362318ca)"
    )
}
EQUAL_FILES = (
    *(("disco.00098", "disco.00099"), ("hiphop.00039", "hiphop.00045"), ("hiphop.00076", "hiphop.00078")),
    *(("metal.00034", "metal.00094"), ("metal.00040", "metal.00061"), ("metal.00041", "metal.00062")),
    *(("metal.00042", "metal.00063"), ("metal.00043", "metal.00064"), ("metal.00044", "metal.00065")),
    *(("metal.00045", "metal.00066"), ("metal.00058", "rock.00016"), ("pop.00054", "pop.00060")),
    *(("pop.00067", "pop.00071"), ("reggae.00081", "reggae.00082")),
)
# The fault-filtered lists as ranges of numbers, both ends included.
FILTERED = {
    TRAIN: {
        "blues": "29-49 73-97",
        "classical": "30-33 43-48 50-67 80-99",
        "country": "19-26 28-29 65-99",
        "disco": "5 15-20 22-37 39-45 47 49 53-54 56-57 59 61 70 73-74 89",
        "hiphop": "2-25 28-29 31-38 41-42 55-61 77-80",
        "jazz": "0-1 11-24 41 47-72",
        "metal": "2-3 5 21 24 35 46-57 59-66 69 71-72 79-80 84 86 89-99",
        "pop": "2-9 11-12 16-20 23-29 31-36 38-42 44 46 49-50 80 97-99",
        "reggae": "0-2 4 6 9 11-12 14-32 42-45 49-51 54-60 63 69",
        "rock": "0-9 16-26 57-70 91-99",
    },
    VALIDATION: {
        "blues": "0-11 50-60",
        "classical": "0-10 68-76",
        "country": "0-7 9-18 27 41-42 45 49",
        "disco": "0 2-4 6-14 46 48 52 67-68 72 75 90 95",
        "hiphop": "81-98",
        "jazz": "2-10 25-32",
        "metal": "0-1 6-11 16-20 36-37 68 76-77 81-82",
        "pop": "10 53 55 58-62 81 83-86",
        "reggae": "61-62 70 72 74 76-78 85 92-99",
        "rock": "38 49-56 71-85",
    },
    TEST: {
        "blues": "12-28 61-72 98-99",
        "classical": "11-29 34-41 49 77-79",
        "country": "30-40 43-44 46-48 50-51 53-64",
        "disco": "1 21 58 62-66 69 76-88 91-94 96-97 99",
        "hiphop": "0 26-27 30 40 43-45 51-54 62-75 99",
        "jazz": "73-99",
        "metal": "12-15 22-23 25-33 38-39 67 70 73-75 78 83 85 87-88",
        "pop": "0-1 13-14 43 63-66 69-79 82 88-96",
        "reggae": "34-40 46-48 52-53 64-68 71 79 82-84 87-90",
        "rock": "10-15 27-37 39-48 86-90",
    },
}
NAME = re.compile(rf"(?P<genre>{'|'.join(CLASSES)})\.(?P<number>\d{{5}})")


def recognises(data_dir: Path) -> bool:
    """True where every audio file is named `genre.NNNNN`."""
    files = find_audio(data_dir).files
    return bool(files) and all(NAME.fullmatch(path.stem) for path in files)


def load(data_dir: str | Path, name: str | None, strict: bool) -> tuple[Dataset, ScanReport, DatasetFacts]:
    """Read the `.wav` or the `.au` edition, in genre folders at any depth or in one folder: the name gives the genre.

    `fold` is TRAIN, VALIDATION or TEST of splits.py for the clips of the fault-filtered lists and 0 for the 70 others;
    `group` joins files that are equal to the byte. What differs from the full set is a warning of the report.
    There is one data set here: `name` decides nothing.

    Raises `ValueError` for a folder without usable clips, for two editions of one clip, and, with `strict`, for every
    file that had to be left out.
    """
    root = require_folder(data_dir, "the folder of GTZAN genres")
    folds = official_lists()
    groups = {name: f"equal-{pair[0]}" for pair in EQUAL_FILES for name in pair}
    audio = find_audio(root)
    rows, left_out = [], audio.left_out
    for path in audio.files:
        relative = path.relative_to(root).as_posix()
        match = NAME.fullmatch(path.stem)
        if match is None:
            reason = "is not named GENRE.NNNNN, as in blues.00000.wav"
            left_out.append({"file": relative, "kind": "name", "reason": reason})
            continue
        folder = normalise(path.parent.name).replace("hip_hop", "hiphop")
        if path.parent != root and folder in CLASSES and folder != match["genre"]:
            reason = f"is in the folder of {folder}, but its name is that of a clip of {match['genre']}: move it"
            left_out.append({"file": relative, "kind": "class", "reason": reason})
            continue
        row = {"path": path, "label": match["genre"], "fold": folds.get(path.stem, 0)}
        rows.append(row | {"group": groups.get(path.stem, path.stem)})
    refuse_twins({row["path"]: row["path"].stem for row in rows}, root)
    if not rows:
        reasons = reasons_text(left_out)
        raise ValueError(f"expected clips named GENRE.NNNNN.wav or .au under {root}, found none:{reasons}")
    clips, report = inspect_clips(root, rows, strict=strict, left_out=left_out)
    for row in report.left_out:
        advice = BROKEN.get(Path(row["file"]).stem)
        if advice:
            row["reason"] = f"{row['reason']} ({advice})"
    report.warnings += differences(GTZAN_GENRES, clips)
    return clips, report, GTZAN_GENRES


def official_lists() -> dict[str, int]:
    """Clip name -> TRAIN, VALIDATION or TEST, for the 930 clips of the fault-filtered lists."""
    lists = {}
    for part, genres in FILTERED.items():
        for genre, ranges in genres.items():
            for item in ranges.split():
                first, _, last = item.partition("-")
                for number in range(int(first), int(last or first) + 1):
                    lists[f"{genre}.{number:05d}"] = part
    return lists


def clip_name(stem: str) -> str:
    """The part of a file name that is the same in every edition: all of it."""
    return stem


def expected_clips(facts: DatasetFacts) -> dict[str, str]:
    """Every clip's name with its genre."""
    return {Path(path).stem: Path(path).parent.name for path in checksums(facts)}
