"""What is known of a public data set before a byte of it is read. The values are in esc50.py and gtzan_*.py."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from datasets import Dataset


@dataclass(frozen=True, kw_only=True)
class Archive:
    """One file that holds the whole data set: where it is, and what it must be.

    `urls` are tried in this order, and the checksum decides whether a copy is the right one; without any, `gone` says
    where it was.
    """

    urls: tuple[str, ...]
    file_name: str
    size: int  # bytes
    sha256: str
    max_members: int
    max_unpacked: int  # bytes
    gone: str = ""


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """Facts of one data set, each with its source in the module that holds it.

    `licence_id` is the Hub's identifier, "unknown" where nobody states one. `durations_s` gives the shortest and the
    longest clip of an edition (by file name suffix). `checksums_file` is a list in md5sum's format beside this file.
    """

    name: str
    title: str
    source: str
    licence_id: str
    licence: str
    citation: str
    classes: tuple[str, ...]
    clips_per_class: int
    sampling_rate: int
    num_channels: int
    durations_s: Mapping[str, tuple[float, float]]
    official: str  # what the protocol `official` means here; "" where there is none
    known_faults: tuple[str, ...]
    archive: Archive | None = None
    checksums_file: str | None = None
    aliases: tuple[str, ...] = ()  # what people call it, and the folders they keep it in

    @property
    def num_clips(self) -> int:
        """Clips of a whole copy."""
        return len(self.classes) * self.clips_per_class

    def text(self) -> str:
        """The facts, for a person."""
        lines = [
            f"{self.title}: {self.num_clips} clips in {len(self.classes)} classes, {self.sampling_rate} Hz",
            f"source: {self.source}",
            f"licence: {self.licence}",
        ]
        return "\n".join(lines + [f"known fault: {fault}" for fault in self.known_faults])


def title_of(facts: DatasetFacts | None, data_dir: str | os.PathLike) -> str:
    """What a data set is called: its title where it is known, else the name of its folder."""
    return facts.title if facts else Path(data_dir).resolve().name


def copy_text(title: str, clips: int | None, expected: int | None) -> str:
    """What a copy of a data set is called beside a score: its title, with the count where it is not the whole.

    ("ESC-10", 200, 400) -> "ESC-10 (200 of 400 clips)". None where a number is not known.
    """
    if clips is None or expected is None or clips == expected:
        return title
    return (
        f"{title} ({clips:,} of {expected:,} clips)"
        if clips < expected
        else (f"{title} ({clips:,} clips in place of {expected:,})")
    )


def checksums(facts: DatasetFacts) -> dict[str, str]:
    """md5 of every file of the original edition by its path in the archive; empty where no index is published."""
    return _read_checksums(facts.checksums_file) if facts.checksums_file else {}


def differences(facts: DatasetFacts, clips: Dataset) -> list[str]:
    """How a copy differs from the full data set, as sentences; empty when it does not."""
    names = clips.features["label"].names
    labels = clips["label"][:]
    counts = {name: labels.count(index) for index, name in enumerate(names)}
    sentences = []
    if len(clips) != facts.num_clips:
        sentences.append(f"{facts.title} has {facts.num_clips} clips, this copy has {len(clips)} that can be used")
    missing = [name for name in facts.classes if not counts.get(name)]
    if missing:
        sentences.append(f"{len(missing)} of {len(facts.classes)} classes are not there: {shorten(missing)}")
    unknown = [name for name in names if name not in facts.classes]
    if unknown:
        sentences.append(f"classes that {facts.title} does not have: {shorten(unknown)}")
    uneven = [f"{name} ({counts[name]})" for name in facts.classes if 0 < counts.get(name, 0) != facts.clips_per_class]
    if uneven:
        sentences.append(f"classes with other than {facts.clips_per_class} clips: {shorten(uneven)}")
    return sentences


def normalise(name: str) -> str:
    """A folder's name as a class name: "001 - Dog bark" -> "dog_bark"."""
    name = re.sub(r"^\d+\s*-\s*", "", name.strip())
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def refuse_twins(files: Mapping[Path, str], root: Path) -> None:
    """Raise `ValueError` where two files carry one clip's name: the same sound could be trained on and tested."""
    first: dict[str, Path] = {}
    for path, stem in files.items():
        if stem in first:
            pair = f"{first[stem].relative_to(root)} and {path.relative_to(root)}"
            raise ValueError(f"two files are the clip {stem}: {pair}. Keep one of them")
        first[stem] = path


def shorten(names: list[str], most: int = 8) -> str:
    """The first few of many names."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


@cache
def _read_checksums(name: str) -> dict[str, str]:
    rows = (Path(__file__).parent / name).read_text(encoding="utf-8").splitlines()
    return {path: digest for digest, _, path in (row.partition("  ") for row in rows)}
