"""One door to every data set on disk: what it is called decides who reads it, and without a name it is recognised."""

from pathlib import Path

from datasets import Dataset

from hf_encls.data import esc50, gtzan_genres, gtzan_music_speech
from hf_encls.data.esc50 import ESC10, ESC50, load_esc50
from hf_encls.data.facts import DatasetFacts
from hf_encls.data.folders import ScanReport, scan_folder
from hf_encls.data.gtzan_genres import GTZAN_GENRES, load_gtzan_genres
from hf_encls.data.gtzan_music_speech import GTZAN_MUSIC_SPEECH, load_gtzan_music_speech

KNOWN = (ESC50, ESC10, GTZAN_GENRES, GTZAN_MUSIC_SPEECH)
FOLDER = "folder"  # the name that asks for a plain class-named folder tree, whatever its files are called


def load_clips(
    data_dir: str | Path, dataset: str | None = None, strict: bool = False
) -> tuple[Dataset, ScanReport, DatasetFacts | None]:
    """Read a data set: its clips, the report of what was left out, and its facts (None for a folder of one's own).

    Args:
        data_dir: the folder.
        dataset: `esc50`, `esc10`, `gtzan_genres`, `gtzan_music_speech`, or `folder` for a plain class-named tree.
            None: recognised by the layout and the file names, a plain tree where nothing fits.
        strict: make every file that cannot be used an error.

    Raises `ValueError` for an unknown name and as the reader of that data set does.
    """
    name = dataset or recognise(data_dir)
    if name in (ESC50.name, ESC10.name):
        return load_esc50(data_dir, subset=dataset, strict=strict)  # recognised, not named: whichever it is
    if name == GTZAN_GENRES.name:
        return load_gtzan_genres(data_dir, strict=strict)
    if name == GTZAN_MUSIC_SPEECH.name:
        return load_gtzan_music_speech(data_dir, strict=strict)
    if name == FOLDER:
        return *scan_folder(data_dir, strict=strict), None
    names = ", ".join(facts.name for facts in KNOWN)
    raise ValueError(f"unknown data set {name!r}: expected one of {names}, or {FOLDER} for class-named folders")


def recognise(data_dir: str | Path) -> str:
    """The name of the data set that a folder holds, `folder` where it is none of the known ones."""
    root = Path(data_dir)
    if root.is_dir():
        if esc50.recognises(root):
            return ESC50.name
        if gtzan_genres.recognises(root):
            return GTZAN_GENRES.name
        if gtzan_music_speech.recognises(root):
            return GTZAN_MUSIC_SPEECH.name
    return FOLDER
