"""Every data set on disk is loaded here: what it is called decides who reads it, and without a name it is recognised."""

import unicodedata
from pathlib import Path
from types import ModuleType

from datasets import Dataset

from hf_encls.data import esc50, gtzan_genres, gtzan_music_speech
from hf_encls.data.facts import DatasetFacts, shorten
from hf_encls.data.folders import ScanReport, scan_folder, scan_sounds
from hf_encls.data.labelled import TimeLabels, scan_recordings
from hf_encls.files.finding import find_audio

# Each has FACTS, NAME (how its files are called, None where that tells nothing), recognises(), load(), clip_name()
# and expected_clips(); asked in this order.
MODULES = (esc50, gtzan_genres, gtzan_music_speech)
KNOWN: tuple[DatasetFacts, ...] = tuple(facts for module in MODULES for facts in module.FACTS)
FOLDER = "folder"  # the name that asks for a plain class-named folder tree, whatever its files are called
DATA_NAMES = (*(facts.name for facts in KNOWN), FOLDER)
MOST_STRAYS = 0.5  # with a smaller share of other files, a folder looks like a known data set


def load_clips(
    data_dir: str | Path, name: str | None = None, strict: bool = False, labels: TimeLabels | None = None
) -> tuple[Dataset, ScanReport, DatasetFacts | None]:
    """Read a data set: its clips, the report of what was left out, and its facts (None for a folder of one's own).

    Args:
        data_dir: the folder.
        name: `esc50`, `esc10`, `gtzan_genres`, `gtzan_music_speech`, or `folder` for a plain class-named tree.
            None: recognised by the layout and the file names, a plain tree where nothing fits. Where most files, but
            not all, are named like those of a known data set, the report warns and names the others.
        strict: make every file that cannot be used an error.
        labels: time-aligned labels of the recordings in the folder, which is then none of the known data sets.

    Raises `ValueError` for an unknown name and as the reader of that data set does.
    """
    if labels is not None:
        return *scan_recordings(data_dir, labels, strict), None
    known_name = name or recognise(data_dir)
    if known_name != FOLDER:
        clips, report, facts = module_of(known_name).load(data_dir, name, strict)
        report.expected = facts.num_clips
        return clips, report, facts
    clips, report = scan_folder(data_dir, strict=strict)
    if name is None:
        report.warnings += nearly_known(data_dir)
    return clips, report, None


def load_sounds(
    data_dir: str | Path, name: str | None = None, strict: bool = False, labels: TimeLabels | None = None
) -> tuple[Dataset, ScanReport, DatasetFacts | None]:
    """As `load_clips`; a folder whose files do not all lie in two or more class-named folders gives them without labels.

    So what `load_clips` reads too has the same features in the cache.
    """
    root = Path(data_dir)
    if name is None and labels is None and root.is_dir() and recognise(root) == FOLDER:
        files = [path.relative_to(root).parts for path in find_audio(root).files]
        if any(len(parts) < 2 for parts in files) or len({parts[0] for parts in files}) < 2:
            return *scan_sounds(root, strict), None
    return load_clips(data_dir, name, strict, labels)


def recognise(data_dir: str | Path) -> str:
    """The name of the data set that a folder holds, `folder` where it is none of the known ones."""
    root = Path(data_dir)
    if root.is_dir():
        for module in MODULES:
            if module.recognises(root):
                return module.FACTS[0].name
    return FOLDER


def nearly_known(data_dir: str | Path, parameter: str = "data_name") -> list[str]:
    """A warning for a folder most of whose files, but not all, are named like those of a known data set.

    `parameter` is what says which data set it is.
    """
    root = Path(data_dir)
    files = find_audio(root).files
    for module in MODULES:
        if module.NAME is None:
            continue
        strays = [path.relative_to(root).as_posix() for path in files if not module.NAME.fullmatch(path.stem)]
        if 0 < len(strays) < MOST_STRAYS * len(files):
            facts = module.FACTS[0]
            return [
                f"THIS LOOKS LIKE {facts.title}, AND IS READ AS A PLAIN FOLDER: {len(files) - len(strays)} of "
                f"{len(files)} files are named as there, {len(strays)} are not ({shorten(strays)}). Its recordings and "
                "folds are not used, so clips cut from one recording can be on both sides of a split, and no leak "
                f"check sees it. Move these files away, or say what it is: `{parameter}={facts.name}` leaves them out, "
                f"`{parameter}={FOLDER}` keeps them and ends this warning"
            ]
    return []


def data_set_called(name: str) -> str:
    """What a data set is known as, from any of its names; of another one its own name, case and punctuation aside.

    ESC-10 is a part of ESC-50 and goes by that name. An empty string is no name.
    """
    plain_name = _plain(name)
    for module in MODULES:
        for facts in module.FACTS:
            if plain_name in {_plain(known) for known in (facts.name, facts.title, *facts.aliases)}:
                return module.FACTS[0].name
    return plain_name


def _plain(name: str) -> str:
    """Letters and digits of any script, without case; the name itself where it has none."""
    folded = unicodedata.normalize("NFKC", name).casefold().strip()
    return "".join(filter(str.isalnum, folded)) or folded


def module_of(name: str) -> ModuleType:
    """The module that holds a data set's facts and reads it. Raises `ValueError` for an unknown name."""
    for module in MODULES:
        if name in [facts.name for facts in module.FACTS]:
            return module
    names = ", ".join(facts.name for facts in KNOWN)
    raise ValueError(f"unknown data set {name!r}: expected one of {names}, or {FOLDER} for class-named folders")
