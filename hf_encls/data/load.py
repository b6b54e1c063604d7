"""One door to every data set on disk: what it is called decides who reads it, and without a name it is recognised."""

from pathlib import Path
from types import ModuleType

from datasets import Dataset

from hf_encls.data import esc50, gtzan_genres, gtzan_music_speech
from hf_encls.data.facts import DatasetFacts
from hf_encls.data.folders import ScanReport, scan_folder

# Each has FACTS, recognises(), load(), clip_name() and expected_clips(); asked in this order.
MODULES = (esc50, gtzan_genres, gtzan_music_speech)
KNOWN: tuple[DatasetFacts, ...] = tuple(facts for module in MODULES for facts in module.FACTS)
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
    if name == FOLDER:
        return *scan_folder(data_dir, strict=strict), None
    return module_of(name).load(data_dir, dataset, strict)


def recognise(data_dir: str | Path) -> str:
    """The name of the data set that a folder holds, `folder` where it is none of the known ones."""
    root = Path(data_dir)
    if root.is_dir():
        for module in MODULES:
            if module.recognises(root):
                return module.FACTS[0].name
    return FOLDER


def module_of(name: str) -> ModuleType:
    """The module that holds a data set's facts and reads it. Raises `ValueError` for an unknown name."""
    for module in MODULES:
        if name in [facts.name for facts in module.FACTS]:
            return module
    names = ", ".join(facts.name for facts in KNOWN)
    raise ValueError(f"unknown data set {name!r}: expected one of {names}, or {FOLDER} for class-named folders")
