"""Tables that say which labels whole files have: a row for each file, or for each label of a file.

    file,label                    file,labels                   file,guitar,voice
    a.wav,guitar                  a.wav,guitar;voice            a.wav,1,0.9
    a.wav,voice                   b.wav,guitar                  b.wav,1,0

Rows of one file add up. A cell may hold several labels between `;`, `|` or `,` (not before a space: that comma is part of a
name). Without a column of labels every further column is a class, and its numbers say from 0 to 1 how sure it is. A column
`relevance` beside one of labels says the same of that label. From `PRESENT` on a label is there. Further columns:
`fold` (a number), `split` (train, validation, test) and `group`.
"""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hf_encls.files.escapes import csv_text, one_line
from hf_encls.timelines.reading import FILES, LABELS, STARTS, LabelsError, decoded, key_of, naming, place_of

PRESENT = 0.5
CLIP_FILES = (*FILES, "fname", "samplekey", "slicefilename", "clipname", "soundfile")
CLIP_LABELS = (*LABELS, "classes", "tags", "instrument", "genre", "genres", "events")
RELEVANCE = ("relevance", "probability", "present")
PARTS = ("split", "subset", "partition", "part")
SEPARATORS = re.compile(r"[;|]")
COMMA = re.compile(r",(?! )")


@dataclass
class ClipLabels:
    """What a table says of one file: its labels, what it was asked about, and where it belongs."""

    file: str
    labels: list[str] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)  # labels of which the table says whether they are there
    fold: int | None = None
    part: str | None = None
    group: str | None = None


def is_clip_table(where: str) -> bool:
    """Whether `where` is one table of labels of whole files: it names files, and no times."""
    path = Path(where)
    if path.suffix.lower() not in (".csv", ".tsv", ".txt") or not path.is_file():
        return False
    try:
        keys = [key_of(name) for name in _rows(path)[0][1]]
    except (LabelsError, ValueError, OSError, csv.Error, IndexError):
        return False  # said by whoever reads it
    return any(key in CLIP_FILES for key in keys) and not any(key in STARTS for key in keys)


def read_clip_table(where: str, column: str | None = None) -> list[ClipLabels]:
    """What a table says of each file that it names, in its order. `column` holds the labels, where its name does not tell.

    Raises `LabelsError`, with file and line, for a table that cannot be read, numbers that are none or not from 0 to 1,
    rows without a file, and rows of one file that contradict each other.
    """
    path = Path(where)
    with naming(path):
        return _read(_rows(path), column)


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    """The rows with their lines, the head first."""
    text = decoded(path)
    first = next((line for line in text.split("\n") if line.strip()), "")
    delimiter = "\t" if "\t" in first else max(",;", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    return [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]


def _read(rows: Sequence[tuple[int, list[str]]], column: str | None) -> list[ClipLabels]:
    head = rows[0][1]
    keys = [key_of(name) for name in head]
    places = {"file": place_of(keys, CLIP_FILES), "fold": place_of(keys, ("fold",)), "part": place_of(keys, PARTS)}
    places |= {"group": place_of(keys, ("group",)), "label": place_of(keys, CLIP_LABELS)}
    if column is not None:
        if column not in head:
            raise ValueError(f"expected a column {column!r}, found {', '.join(head)}")
        places["label"] = head.index(column)
    relevance = place_of(keys, RELEVANCE) if places["label"] is not None else None
    used = {place for place in places.values() if place is not None}
    classes = [i for i in range(len(head)) if i not in used] if places["label"] is None else []
    if places["label"] is None and not classes:
        raise ValueError(f"expected a column of labels, or one for each class, found {', '.join(head)}")
    clips: dict[str, ClipLabels] = {}
    for line, row in rows[1:]:
        if len(row) > len(head):
            raise ValueError(
                f"line {line}: expected {len(head)} cells, found {len(row)}: quote cells with commas in them"
            )
        row = [csv_text(cell).strip() for cell in row] + [""] * (len(head) - len(row))
        name = row[places["file"]]
        if not name:
            raise ValueError(
                f"line {line}: expected the name of a file in the column {head[places['file']]}, found none"
            )
        clip = clips.setdefault(name, ClipLabels(name))
        if places["label"] is None:
            shares = {csv_text(head[i]).strip(): _share(row[i], line, head[i]) for i in classes}
        else:
            share = 1.0 if relevance is None else _share(row[relevance], line, head[relevance])
            shares = dict.fromkeys(split_labels(row[places["label"]]), share)
        clip.asked |= shares.keys()
        clip.labels += [label for label, share in shares.items() if share >= PRESENT and label not in clip.labels]
        for name_of in ("fold", "part", "group"):
            if places[name_of] is not None:
                _set(clip, name_of, row[places[name_of]], line)
    return list(clips.values())


def split_labels(cell: str) -> list[str]:
    """The labels in a cell."""
    parts = SEPARATORS.split(cell) if SEPARATORS.search(cell) else COMMA.split(cell)
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _set(clip: ClipLabels, name: str, text: str, line: int) -> None:
    value: int | str | None = text or None
    if name == "fold" and value is not None:
        if not text.isascii() or not text.isdigit() or int(text) < 1:
            raise ValueError(f"line {line}: expected a fold of 1 or more, found {one_line(text)[:40]!r}")
        value = int(text)
    before = getattr(clip, name)
    if None not in (before, value) and before != value:
        raise ValueError(f"line {line}: expected one {name} of {clip.file}, found {before} and {value}")
    setattr(clip, name, before if value is None else value)


def _share(text: str, line: int, column: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:  # also where it is NaN
        raise ValueError(
            f"line {line}: expected a number from 0 to 1 in the column {one_line(column)[:40]}, found "
            f"{one_line(text)[:40]!r}; where a column holds labels, name it with `label_column`"
        )
    return value
