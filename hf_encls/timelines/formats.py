"""Timelines as text: JSON, JSON lines, CSV, RTTM, Audacity labels and Praat TextGrids.

A segment is a dict with `start` and `end` in seconds, `label`, `score`, and `scores` of all classes where asked for.
`hf_encls.timelines.reading` reads what is written here.
"""

import json
import re
import urllib.parse
from collections.abc import Sequence
from itertools import pairwise
from pathlib import PurePath

from hf_encls import audio
from hf_encls.files.escapes import csv_row, one_line

EXTENSIONS = {
    "json": ".json",
    "jsonl": ".jsonl",
    "csv": ".csv",
    "rttm": ".rttm",
    "audacity": ".txt",
    "textgrid": ".TextGrid",
}
FORMATS = tuple(EXTENSIONS)
ESCAPE = re.compile(r"%(?:20|25|[01][0-9A-F]|7F|C2%85|C2%A0|E[123]%[0-9A-F]{2}%[0-9A-F]{2})")  # of white space and %
SOURCES = audio.EXTENSIONS | {".ecdc", ".safetensors", ".npy"}  # endings of recordings and of their codes


def render(
    segments: Sequence[dict],
    format: str,
    name: str = "audio",
    duration_s: float | None = None,
    labels: Sequence[str] = (),
) -> str:
    """Segments as text in one of `FORMATS`; it ends with a newline.

    `name` is the recording's name, for the formats that carry one (JSON lines, RTTM). `duration_s` is the clip's
    length for a TextGrid; the last segment's end where None. `labels` are those of segments that are written elsewhere:
    RTTM keeps them apart. Raises `ValueError` for an unknown format.
    """
    match format:
        case "json":
            return to_json(segments)
        case "jsonl":
            return to_json_lines(segments, name)
        case "csv":
            return to_csv(segments)
        case "rttm":
            return to_rttm(segments, name, labels)
        case "audacity":
            return to_audacity(segments)
        case "textgrid":
            return to_textgrid(segments, duration_s)
    raise ValueError(f"expected a format of {', '.join(FORMATS)}, found {format!r}")


def to_json(segments: Sequence[dict]) -> str:
    """A JSON list, one segment a line."""
    if not segments:
        return "[]\n"
    return "[\n" + ",\n".join("  " + _dump(segment) for segment in segments) + "\n]\n"


def to_json_lines(segments: Sequence[dict], name: str) -> str:
    """One JSON object a line, each with the recording's name as `file`."""
    return "".join(_dump({"file": name, **segment}) + "\n" for segment in segments)


def to_csv(segments: Sequence[dict]) -> str:
    """`start,end,label,score`, then one column `score: CLASS` for each class where segments have `scores`.

    Quoting as in RFC 4180, with line feeds between rows. A label that a spreadsheet would compute (`=1+1`) gets an
    apostrophe before it.
    """
    classes = list(segments[0].get("scores", ())) if segments else []
    rows = [["start", "end", "label", "score", *(f"score: {name}" for name in classes)]]
    for segment in segments:
        scores = [f"{segment['scores'][name]:.6f}" for name in classes]
        row = [_seconds(segment["start"]), _seconds(segment["end"]), segment["label"], f"{segment['score']:.6f}"]
        rows.append([*row, *scores])
    return "".join(map(csv_row, rows))


def to_rttm(segments: Sequence[dict], name: str, labels: Sequence[str] = ()) -> str:
    """NIST's Rich Transcription Time Marked: ten fields between spaces, the label as speaker, the score as confidence.

    Files are called without their ending, as in other tools' RTTM: `show` for `show.wav`.
    The format has no escapes: white space in the name and in labels becomes `_`. Labels that would be the same then
    are percent-encoded instead (`a%20b` beside `a_b`), and so are those that look as if they were.
    Fields: type, file, channel, start, duration, orthography, subtype, name, confidence, look-ahead.
    """
    words = {label: _word(label) for label in [*labels, *(segment["label"] for segment in segments)]}
    written = list(words.values())
    words = {
        label: _encoded(label) if written.count(word) > 1 or ESCAPE.search(word) else word
        for label, word in words.items()
    }
    stem = PurePath(name).stem if PurePath(name).suffix.lower() in SOURCES else name
    return "".join(
        f"SPEAKER {_word(stem)} 1 {_seconds(segment['start'])} {_seconds(segment['end'] - segment['start'])} "
        f"<NA> <NA> {words[segment['label']]} {segment['score']:.6f} <NA>\n"
        for segment in segments
    )


def to_audacity(segments: Sequence[dict]) -> str:
    """Audacity's label track: start, end and label between tabs. White space in labels becomes single spaces."""
    return "".join(
        f"{segment['start']:.6f}\t{segment['end']:.6f}\t{one_line(segment['label'])}\n" for segment in segments
    )


def to_textgrid(segments: Sequence[dict], duration_s: float | None = None) -> str:
    """A Praat TextGrid (long text format). Quotes in labels are doubled.

    It has one interval tier, and where segments overlap one for each label, named after it: intervals of a tier lie side by
    side, without gaps.
    """
    end = duration_s if duration_s is not None else max((segment["end"] for segment in segments), default=0.0)
    tiers = {"labels": list(segments)}
    if any(round(after["start"] - before["end"], 6) < 0 for before, after in pairwise(segments)):
        tiers = {}
        for segment in segments:
            tiers.setdefault(segment["label"], []).append(segment)
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {_seconds(end)}"]
    lines += ["tiers? <exists>", f"size = {len(tiers)}", "item []:"]
    for place, (name, spans) in enumerate(tiers.items(), start=1):
        intervals = _without_gaps(spans, end)
        lines += [
            f"    item [{place}]:",
            '        class = "IntervalTier"',
            f"        name = {_quoted(name)}",
            "        xmin = 0",
            f"        xmax = {_seconds(end)}",
            f"        intervals: size = {len(intervals)}",
        ]
        for number, (start, stop, label) in enumerate(intervals, start=1):
            lines += [
                f"        intervals [{number}]:",
                f"            xmin = {_seconds(start)}",
                f"            xmax = {_seconds(stop)}",
                f"            text = {_quoted(label)}",
            ]
    return "\n".join(lines) + "\n"


def _without_gaps(segments: Sequence[dict], end: float) -> list[tuple[float, float, str]]:
    """The intervals of a tier: Praat wants them side by side, so that gaps are intervals without a text."""
    intervals, at = [], 0.0
    for segment in segments:
        if _seconds(segment["start"]) != _seconds(at) and segment["start"] > at:
            intervals.append((at, segment["start"], ""))
        intervals.append((segment["start"], segment["end"], segment["label"]))
        at = segment["end"]
    if intervals and _seconds(at) != _seconds(end) and at < end:
        intervals.append((at, end, ""))
    return intervals


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def _dump(value: dict) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _seconds(value: float) -> str:
    """Up to six decimals, no exponent, no trailing zeros: 0, 1.5, 0.000001."""
    return f"{value:.6f}".rstrip("0").rstrip(".") or "0"


def _word(text: str) -> str:
    return re.sub(r"[\s\x00-\x1f\x7f]+", "_", text.strip()) or "<NA>"


def _encoded(text: str) -> str:
    """The word itself where it has nothing to encode, so that it stays apart from those that have."""
    return re.sub(r"[\s%\x00-\x1f\x7f]", lambda match: urllib.parse.quote(match[0]), text) or "<NA>"
