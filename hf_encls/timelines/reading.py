"""Time-aligned labels from files: what `formats` writes, and what other programs write of the same kinds.

Audacity label tracks, NIST's RTTM, Praat TextGrids, Raven selection tables, JSON, JSON lines, CSV and other tables with a
start, an end (or a duration) and a label. What a file is, its contents tell.
"""

import codecs
import csv
import io
import json
import math
import os
import re
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hf_encls.files.escapes import csv_text, one_line
from hf_encls.timelines.formats import ESCAPE
from hf_encls.timelines.textgrid import read_textgrid

LARGEST = 256 << 20  # bytes of a file of labels; a day of them is a few megabytes
# What columns are called, without case and punctuation.
STARTS = ("start", "onset", "begin", "begintime", "starttime", "eventonset", "tmin", "xmin", "from")
ENDS = ("end", "offset", "stop", "endtime", "stoptime", "eventoffset", "tmax", "xmax", "to")
DURATIONS = ("duration", "dur", "length")
LABELS = (
    "label",
    "class",
    "eventlabel",
    "annotation",
    "species",
    "labels",
    "classname",
    "category",
    "calltype",
    "tag",
)
FILES = ("file", "filename", "beginfile", "recording", "audiofile", "beginpath", "path", "clip", "clipid", "audio")
RTTM_TYPES = frozenset(
    "SPEAKER SPKR-INFO LEXEME NON-LEX NON-SPEECH SEGMENT NOSCORE NO_RT_METADATA FILLER EDIT IP SU CB A/P".split()
)


class LabelsError(ValueError):
    """A file of labels that cannot be read as such; the message names it."""


def read_timeline(path: str | os.PathLike, *, tier: str | None = None, column: str | None = None) -> list[dict]:
    """The labelled segments in a file, in its order: `{"start", "end", "label"}`, seconds.

    `score`, `scores` and `file` (the recording that a row names) are there where the file has them. Text without a label
    is no segment; a point in time is one without length.

    Args:
        path: the file; an empty one holds no segments.
        tier: which tier of a TextGrid, where it has several of intervals.
        column: which column of a table holds the labels, where its name does not tell.

    Raises `LabelsError` for a file that cannot be read, is of no known kind, or holds times that cannot be.
    """
    path = Path(path)
    with naming(path):
        text = decoded(path)
        start = text.lstrip()[:1]
        if "ooTextFile" in text[:200]:
            segments = read_textgrid(text, tier)
        elif start == "[":
            segments = _objects(json.loads(text))
        elif start == "{":
            segments = _objects(json.loads(line) for line in text.split("\n") if line.strip())
        elif _is_rttm(text):
            segments = _rttm(text)
        else:
            segments = _table(text, column)
        return [_checked(number, segment) for number, segment in enumerate(segments, 1) if segment["label"]]


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Inside, errors of reading a file of labels become a `LabelsError` that names it."""
    try:
        yield
    except (json.JSONDecodeError, RecursionError, OverflowError, csv.Error) as error:
        raise LabelsError(f"{path} is damaged: {error}") from error
    except OSError as error:
        raise LabelsError(f"{path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise LabelsError(f"{path}: {error}") from error


def decoded(path: Path) -> str:
    """The text in a file of labels, of UTF-8 or UTF-16. Raises `ValueError` for another kind, and for one too large."""
    size = path.stat().st_size
    if size > LARGEST:
        raise ValueError(f"expected labels, found {size} bytes")
    data = path.read_bytes()
    if data.startswith(b"ooBinaryFile"):
        raise ValueError("is a binary TextGrid: save it in Praat as a text file")
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise ValueError("expected text in UTF-8 or UTF-16, found something else: save it anew as UTF-8") from None


def _checked(number: int, segment: dict) -> dict:
    start, end = segment["start"], segment["end"]
    if not (math.isfinite(start) and math.isfinite(end) and 0 <= start <= end):
        raise ValueError(
            f"label {number} ({one_line(segment['label'])[:60]}): expected a start of 0 or more and an end not before it, "
            f"found {start:g} and {end:g} s"
        )
    return segment


def _objects(values: Iterable) -> list[dict]:
    """Segments as `to_json` and `to_json_lines` write them."""
    kinds = {"start": (int, float), "end": (int, float), "label": (str,)}
    segments = []
    for value in values:
        right = isinstance(value, dict) and all(
            isinstance(value.get(name), kind) and not isinstance(value[name], bool) for name, kind in kinds.items()
        )
        if not right:
            raise ValueError(f"expected objects with start, end (seconds) and label, found {value!r:.80}")
        file = {"file": str(value["file"])} if value.get("file") is not None else {}
        scores = {name: value[name] for name in ("score", "scores") if name in value}
        times = {name: float(value[name]) for name in ("start", "end")}
        segments.append({**file, **times, "label": value["label"], **scores})
    return segments


def _is_rttm(text: str) -> bool:
    first = next((line for line in text.split("\n") if line.strip() and not line.startswith(";;")), "")
    words = first.split()
    return len(words) >= 8 and words[0] in RTTM_TYPES


def _rttm(text: str) -> list[dict]:
    segments = []
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        if not words or words[0] != "SPEAKER":
            continue
        if len(words) < 8:
            raise ValueError(f"line {number}: expected 8 words or more of RTTM, found {len(words)}")
        start, length = _number(words[3], number), _number(words[4], number)
        label = "" if words[7] == "<NA>" else urllib.parse.unquote(words[7]) if ESCAPE.search(words[7]) else words[7]
        score = {"score": float(words[8])} if len(words) > 8 and _is_number(words[8]) else {}
        end = round(start + length, 6)
        segments.append({"file": words[1], "start": start, "end": end, "label": label, **score})
    return segments


def _table(text: str, column: str | None) -> list[dict]:
    first = next((line for line in text.split("\n") if line.strip()), "")
    tabs = "\t" in first
    delimiter = "\t" if tabs else max(";,", key=first.count)
    # Programs that write tabs quote nothing.
    quoting = csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting)
    rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    if not rows:
        return []
    if len(rows[0][1]) < 2:
        raise ValueError(
            f"expected an Audacity track, RTTM, a TextGrid, JSON, or a table with start, end and label, found "
            f"{one_line(first)[:60]!r}"
        )
    cells = rows[0][1]
    if _is_number(cells[0]) and _is_number(cells[1]):
        return [_unnamed(number, row) for number, row in rows if row[0].strip() != "\\"]  # there: a range of pitch
    if len(cells) == 4 and _is_number(cells[1]) and _is_number(cells[2]):
        return [{"file": row[0], **_unnamed(number, row[1:])} for number, row in rows]
    return _named(cells, rows[1:], column, plain=tabs)


def _unnamed(number: int, row: Sequence[str]) -> dict:
    """Start, end, label: as Audacity and the data sets of DCASE have them."""
    if len(row) < 2:
        raise ValueError(f"line {number}: expected start, end and label, found {row}")
    label = row[2] if len(row) > 2 else ""
    if len(row) == 4 and label.strip() in ("1", "2") and not _is_number(row[3]):
        label = row[3]  # UrbanSound: start, end, salience (foreground, background), class
    return {"start": _number(row[0], number), "end": _number(row[1], number), "label": label.strip()}


def key_of(column: str) -> str:
    """The name of a column without case, punctuation and unit."""
    return re.sub(r"[^a-z]+", "", re.sub(r"\(.*?\)|_s$", "", column.strip().lower()))


def _named(head: Sequence[str], rows: Sequence[tuple[int, list[str]]], column: str | None, plain: bool) -> list[dict]:
    keys = [key_of(name) for name in head]
    places = {name: place_of(keys, known) for name, known in _KNOWN.items()}
    if column is not None:
        if column not in head:
            raise ValueError(f"expected a column {column!r}, found {', '.join(head)}")
        places["label"] = head.index(column)
    missing = [name for name in ("start", "label") if places[name] is None]
    if places["end"] is None and places["duration"] is None:
        missing.append("end (or duration)")
    if missing:
        raise ValueError(
            f"expected columns start, end and label, found {', '.join(head)}: no {', no '.join(missing)}"
            + ("; name the column of labels with `label_column`" if missing == ["label"] else "")
        )
    unescaped = str if plain else csv_text
    scores = {csv_text(name).removeprefix("score: "): i for i, name in enumerate(head) if name.startswith("score: ")}
    segments, seen = [], set()
    for number, row in rows:
        row = row + [""] * (len(head) - len(row))
        key = (row[places["selection"]], row[places["start"]]) if places["selection"] is not None else number
        if key in seen:  # Raven has a row for each view of a selection
            continue
        seen.add(key)
        start = _number(row[places["start"]], number)
        end = _number(row[places["end"]], number) if places["end"] is not None else None
        length = end - start if end is not None else _number(row[places["duration"]], number)
        segment = {"start": start, "end": start + length if end is None else end}
        if places["file"] is not None and row[places["file"]].strip():
            segment = {"file": unescaped(row[places["file"]]).strip(), **segment}
            if places["in_file"] is not None:  # Raven counts over all files that were opened together
                start = _number(row[places["in_file"]], number)
                segment |= {"start": start, "end": round(start + length, 6)}
        segment["label"] = unescaped(row[places["label"]]).strip()
        if places["score"] is not None and _is_number(row[places["score"]]):
            segment["score"] = float(row[places["score"]])
        if scores:
            segment["scores"] = {name: _number(row[i], number) for name, i in scores.items()}
        segments.append(segment)
    return segments


_KNOWN = {
    **{"start": STARTS, "end": ENDS, "duration": DURATIONS, "label": LABELS, "file": FILES},
    **{"score": ("score", "confidence"), "selection": ("selection",), "in_file": ("fileoffset",)},
}


def place_of(keys: Sequence[str], known: Sequence[str]) -> int | None:
    """Where the first of the `known` names that is there stands among `keys`."""
    return next((keys.index(name) for name in known if name in keys), None)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _number(text: str, line: int) -> float:
    if not _is_number(text):
        raise ValueError(f"line {line}: expected seconds, found {one_line(text)[:40]!r}")
    return float(text)
