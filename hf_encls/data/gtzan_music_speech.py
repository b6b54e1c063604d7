"""GTZAN music/speech: 128 clips of 30 s, 64 of music and 64 of speech (Tzanetakis, 1999).

Where the facts come from: size and sha256 of `music_speech.tar.gz` are in tensorflow/datasets (checksums.tsv), one
source only; 64 + 64 is what the archive's users count (tensorflow/datasets' own text says 60 + 60). No index of its
files with checksums is published, so `validate` counts and measures. No licence is stated by anybody we found. The
address has not answered for years (mteb#2240) and we know of no copy with a stated checksum, so none is tried.
"""

from pathlib import Path

from datasets import Dataset

from hf_encls.data.facts import Archive, DatasetFacts, differences, refuse_twins
from hf_encls.data.folders import ScanReport, inspect_clips
from hf_encls.data.walk import roots
from hf_encls.files.finding import find_audio, require_folder

CLASSES = ("music", "speech")
FOLDERS = {"music_wav": "music", "speech_wav": "speech", "music": "music", "speech": "speech"}
GTZAN_MUSIC_SPEECH = DatasetFacts(
    name="gtzan_music_speech",
    title="GTZAN music/speech",
    source="http://marsyas.info/downloads/datasets.html",
    licence_id="unknown",
    licence="none stated (excerpts of published music and broadcasts: the audio is not ours to pass on)",
    citation="""@online{tzanetakis1999music,
  title = {GTZAN Music/Speech Collection},
  author = {Tzanetakis, George},
  year = {1999},
  url = {http://marsyas.info/index.html}
}""",
    classes=CLASSES,
    clips_per_class=64,
    sampling_rate=22_050,
    num_channels=1,
    durations_s={".wav": (29.0, 31.0)},
    official="",
    known_faults=("128 clips are few: one test clip of 26 is worth 3.8 points of clip accuracy",),
    archive=Archive(
        urls=(),
        file_name="music_speech.tar.gz",
        size=297_055_930,
        sha256="8753bc4129fc0a916d6efcf25dbcaf30e06b41acb44ad7c3d0b5c9d9c90ff546",
        max_members=600,
        max_unpacked=600_000_000,
        gone="its only address, http://opihi.cs.uvic.ca/sound/music_speech.tar.gz, has not answered for years",
    ),
    aliases=("music_speech", "music speech", "GTZAN music/speech collection"),
)
FACTS = (GTZAN_MUSIC_SPEECH,)
NAME = None  # its files have names of their own: it is known by its folders


def recognises(data_dir: Path) -> bool:
    """True for a folder with `music_wav` and `speech_wav`, directly or one level down."""
    return any((root / "music_wav").is_dir() and (root / "speech_wav").is_dir() for root in roots(data_dir))


def load(data_dir: str | Path, name: str | None, strict: bool) -> tuple[Dataset, ScanReport, DatasetFacts]:
    """Read `music_wav/` and `speech_wav/` (or `music/` and `speech/`); the classes are called music and speech.

    No groups and no folds are known. There is one data set here: `name` decides nothing. Raises `ValueError` for a folder
    that does not hold both, for two files of one name, and, with `strict`, for every file that had to be left out.
    """
    data_dir = require_folder(data_dir, "the folder of GTZAN music/speech")
    root = next((root for root in roots(data_dir) if any((root / name).is_dir() for name in FOLDERS)), data_dir)
    audio = find_audio(root)
    rows, left_out = [], audio.left_out
    for path in audio.files:
        label = FOLDERS.get(path.relative_to(root).parts[0].lower())
        if label is None:
            relative = path.relative_to(root).as_posix()
            left_out.append({"file": relative, "kind": "class", "reason": "is in neither music_wav/ nor speech_wav/"})
            continue
        rows.append({"path": path, "label": label})
    refuse_twins({row["path"]: f"{row['label']}/{row['path'].stem}" for row in rows}, root)
    if not rows:
        raise ValueError(f"expected the folders music_wav and speech_wav with WAV files under {data_dir}, found none")
    clips, report = inspect_clips(root, rows, strict=strict, left_out=left_out)
    report.warnings += differences(GTZAN_MUSIC_SPEECH, clips)
    return clips, report, GTZAN_MUSIC_SPEECH


def clip_name(stem: str) -> str:
    """The part of a file name that is the same in every edition: all of it."""
    return stem


def expected_clips(facts: DatasetFacts) -> dict[str, str]:
    """Empty: no list of this data set's file names is published."""
    return {}
