"""The data sets of the grid: what is on disk, what stands in for what, and what is missing."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from datasets import Dataset

from hf_encls.data.facts import DatasetFacts, copy_text, title_of
from hf_encls.data.load import FOLDER, KNOWN, load_clips, module_of, recognise
from hf_encls.reproduction import paper

COMPLETE = 0.99  # share of the clips that a copy must have: a known broken file may be missing


@dataclass(frozen=True)
class DataSet:
    """A data set that takes the place of one of the paper's, or stands for itself."""

    key: str  # the place: esc50, gtzan_genres, gtzan_music_speech, or a name of the user's
    data_dir: str
    name: str  # what it really is
    classes: tuple[str, ...]
    clips: int
    seconds: float
    sampling_rate: int
    folds: tuple[int, ...]  # the `fold` column
    files: Mapping[str, tuple[str, str]]  # clip_id -> its path and its class
    left_out: int
    is_original: bool  # whether it is the paper's data set, complete
    data_name: str | None = None  # what it is read as where its layout alone would not say so
    expected_clips: int | None = None  # how many it has where it is whole

    @property
    def label(self) -> str:
        """What tables and pictures say: a stand-in is always named as one."""
        place = paper.DATASETS.get(self.key)
        name = copy_text(self.name, self.clips, self.expected_clips)
        if place is None or self.is_original:
            return name
        if self.name == place["title"]:
            return name if name != self.name else f"{name} (incomplete copy)"
        return f"{name} in place of {place['title']}"


def read_data_set(key: str, data_dir: str) -> DataSet | None:
    """Scan a data set; None where the folder is not there.

    A folder that is recognised is what it is, whatever place it takes. Otherwise `key` wins where it names a data set
    that most of the files fit: a stray file is then left out, and folds and recordings are known. A plain folder, in
    which most do not fit, stands in.

    Raises `ValueError` as `load_clips` does for a folder that holds nothing usable.
    """
    if not Path(data_dir).is_dir():
        return None
    data_name = _fits(key, data_dir)
    clips, report, facts = load_clips(data_dir, data_name)
    classes = tuple(clips.features["label"].names)
    rows = zip(clips["clip_id"][:], clips["audio"][:], clips["label"][:], strict=True)
    rates = Counter(clips["sampling_rate"][:])
    return DataSet(
        key=key,
        data_dir=data_dir,
        name=title_of(facts, data_dir),
        classes=classes,
        clips=len(clips),
        seconds=float(sum(clips["duration_s"][:])),
        sampling_rate=max(rates, key=lambda hz: (rates[hz], hz)),
        folds=tuple(clips["fold"][:]),
        files={clip_id: (audio["path"], classes[label]) for clip_id, audio, label in rows},
        left_out=len(report.left_out),
        is_original=bool(facts and facts.name == key and _is_whole(clips, facts)),
        data_name=data_name,
        expected_clips=report.expected,
    )


def _fits(key: str, data_dir: str) -> str | None:
    """`key` where it must be said what the folder holds, and most of it can be read as that."""
    if key not in {facts.name for facts in KNOWN} or recognise(data_dir) != FOLDER:
        return None
    try:
        clips, report, facts = load_clips(data_dir, key)
    except ValueError:
        return None
    # Folders called music and speech can hold anybody's sounds: where file names tell nothing, the number must be right.
    fits = len(clips) > len(report.left_out) if module_of(key).NAME else _is_whole(clips, facts)
    return key if fits else None


def _is_whole(clips: Dataset, facts: DatasetFacts) -> bool:
    return COMPLETE * facts.num_clips <= len(clips) <= facts.num_clips
