"""Recordings of any length with time-aligned labels beside them: each window gets the label that fills enough of it.

Of several labels at once it gets all that do. Labels of whole files are read by `listed`.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset

from hf_encls.data.columns import class_names, several_labels
from hf_encls.data.facts import shorten
from hf_encls.data.folders import ScanReport, inspect_clips
from hf_encls.data.listed import scan_listed
from hf_encls.data.recording_names import RecordingNames
from hf_encls.data.walk import clip_id
from hf_encls.files.finding import find_audio, require_folder
from hf_encls.model.windows_encls import num_windows
from hf_encls.timelines.clip_tables import is_clip_table
from hf_encls.timelines.reading import read_timeline
from hf_encls.timelines.tracks import label_files

DROP, KEEP = "drop", "keep"  # what becomes of windows that no label fills, unless a class is named
ROUNDING = 1e-6  # of a window; times in files have six decimals


@dataclass(frozen=True)
class TimeLabels:
    """Where labels of recordings are, and how windows get theirs.

    Args:
        where: a folder of label files, one file, or a pattern with `*`. A label file belongs to the recording whose name
            it has (`a.txt`, `a.wav.txt`, `a.Table.1.selections.txt` to `a.wav`), rows that name a file to that one. A
            table that names files and no times holds the labels of whole files (`clip_tables`).
        min_overlap: the share of a window, above 0 and up to 1, that a label must fill; of several the largest wins. Of a
            window that reaches beyond the recording's end, the part inside counts.
        unlabelled: what becomes of windows that no label fills so far, and of files without a label: `drop`, or the class
            that they are. With `multi_label` also `keep`, which is the default there: they have none of the labels.
        tier: the tier of TextGrids, where they have several.
        column: the column of tables that holds the labels, where its name does not tell.
        multi_label: a window has every label that fills enough of it, a file all that the table gives it.
    """

    where: str
    min_overlap: float = 0.5
    unlabelled: str | None = None
    tier: str | None = None
    column: str | None = None
    multi_label: bool = False

    def __post_init__(self):
        if not 0 < self.min_overlap <= 1:
            raise ValueError(f"expected `min_overlap` above 0 and up to 1, found {self.min_overlap}")
        if not self.where:
            raise ValueError("expected a folder, a file or a pattern of `labels`, found none")
        if self.unlabelled is None:
            object.__setattr__(self, "unlabelled", KEEP if self.multi_label else DROP)
        if not self.unlabelled:
            raise ValueError("expected the name of a class as `unlabelled`, or drop, found none")

    def rule(self) -> dict:
        """How windows get their label, as JSON: it belongs to every score."""
        names = ("min_overlap", "unlabelled", *(["multi_label"] if self.multi_label else []))
        return {name: value for name, value in asdict(self).items() if name in names}


def scan_recordings(
    data_dir: str | os.PathLike, labels: str | os.PathLike | TimeLabels, strict: bool = False
) -> tuple[Dataset, ScanReport]:
    """Read recordings below `data_dir` with their labels: one row for each, as `scan_folder` has one for each clip.

    The columns are those of `clips_to_dataset`; `segments` holds the labels, and `label` is what a window is that no label
    fills, -1 for none. Recordings without a file of labels are left out. With `multi_label` it is a list of classes, and
    [-1] for none. Labels of whole files give clips instead, as of `scan_folder`. `strict` makes errors of files that cannot
    be used.

    Raises `ValueError` for a missing folder or file, labels that cannot be read (`LabelsError`), and as `scan_folder`.
    """
    rule = labels if isinstance(labels, TimeLabels) else TimeLabels(os.fspath(labels))
    root = require_folder(data_dir, "a folder of recordings")
    audio = find_audio(root)
    if not audio.files:
        raise ValueError(f"expected recordings below {root}, found no file that is named like audio")
    if is_clip_table(rule.where):
        return scan_listed(root, audio, rule, strict)
    files, base = label_files(rule.where)
    tracks, strays = _assign(files, base, audio.files, root, rule)
    unlabelled: str | list | None = None if rule.unlabelled == DROP else rule.unlabelled
    if rule.multi_label:
        unlabelled = [] if rule.unlabelled == KEEP else [unlabelled]
    candidates, left_out = [], list(audio.left_out)
    for path in audio.files:
        if path in tracks:
            timing = {"segments": tracks[path], "min_overlap": rule.min_overlap}
            candidates.append({"path": path, "label": unlabelled, **timing})
        else:
            reason = f"no label of {rule.where} is of it: a file of labels is called like its recording, or names it"
            left_out.append({"file": clip_id(root, path), "kind": "unlabelled", "reason": reason})
    if not candidates:
        names = shorten([path.name for path in files], 3)
        raise ValueError(
            f"expected labels of the recordings in {root} ({shorten([p.name for p in audio.files], 3)}), found none in "
            f"{rule.where} ({names}): a file of labels is called like its recording, or names it in a column"
        )
    clips, report = inspect_clips(root, candidates, strict=strict, left_out=left_out)
    report.warnings += audio.warnings + _warnings(clips, strays)
    return clips, report


def window_labels(row: Mapping, starts_s: np.ndarray, window_s: float, num_labels: int) -> np.ndarray:
    """Classes (W,) of a recording's windows that start at `starts_s` (W,); -1 where a window has none.

    `row` has `segments`, `min_overlap`, `duration_s` and `label`, as in `scan_recordings`.
    """
    shares = _shares(row, starts_s, window_s, num_labels)
    enough = shares.max(axis=1) >= row["min_overlap"] - ROUNDING
    return np.where(enough, shares.argmax(axis=1), row["label"])


def window_label_sets(
    row: Mapping, starts_s: np.ndarray, window_s: float, num_labels: int
) -> tuple[np.ndarray, np.ndarray]:
    """The same of several labels at once: which classes each window has (W, L), and which windows are kept (W,)."""
    sets = _shares(row, starts_s, window_s, num_labels) >= row["min_overlap"] - ROUNDING
    bare = ~sets.any(axis=1)
    if row["label"] == [-1]:
        return sets, ~bare
    sets[np.ix_(bare, row["label"])] = True
    return sets, np.ones(len(sets), bool)


def _shares(row: Mapping, starts_s: np.ndarray, window_s: float, num_labels: int) -> np.ndarray:
    """How much of each window every label fills (W, L)."""
    starts = np.asarray(starts_s, np.float64)
    ends = np.minimum(starts + window_s, row["duration_s"])
    spans = defaultdict(list)
    for segment in row["segments"]:
        spans[segment["label"]].append((segment["start"], segment["end"]))
    filled = np.zeros((len(starts), num_labels))
    for label, pieces in spans.items():
        filled[:, label] = _seconds_before(pieces, ends) - _seconds_before(pieces, starts)
    return filled / np.maximum(ends - starts, 1e-9)[:, None]


def approximate_windows(clips: Dataset, window_s: float, step_s: float) -> dict[str, Any]:
    """The columns by which windows are divided, before any is made: as the features' whole frames will round them.

    With `class_names`, as `division_rows` has them.
    """
    columns = {name: [] for name in ("clip_id", "group", "fold", "label", "start")}
    names, several = class_names(clips.features), several_labels(clips)
    count = len(names)
    for row in clips.remove_columns("audio"):
        length, window, step = (max(1, round(1000 * value)) for value in (row["duration_s"], window_s, step_s))
        starts = np.arange(num_windows(length, window, step)) * step / 1000
        if several:
            labels, used = window_label_sets(row, starts, window_s, count)
        else:
            labels = window_labels(row, starts, window_s, count)
            used = labels >= 0
        for name, values in (("label", labels), ("start", starts)):
            columns[name] += values[used].tolist()
        for name in ("clip_id", "group", "fold"):
            columns[name] += [row[name]] * int(used.sum())
    return {name: np.asarray(values) for name, values in columns.items()} | {"class_names": names}


def _seconds_before(pieces: Sequence[tuple[float, float]], times: np.ndarray) -> np.ndarray:
    """Seconds of the union of `pieces` before each of the times (n,)."""
    edges, totals = [0.0], [0.0]
    for start, end in sorted(pieces):
        start = max(start, edges[-1])
        if end > start:
            edges += [start, end]
            totals += [totals[-1], totals[-1] + end - start]
    return np.interp(times, edges, totals)


def _assign(
    files: Sequence[Path], base: Path, recordings: Sequence[Path], root: Path, rule: TimeLabels
) -> tuple[dict[Path, list[dict]], list[str]]:
    """The segments of each recording, and what belongs to none."""
    known = RecordingNames(recordings, root)
    tracks: dict[Path, list[dict]] = {}
    strays = []
    for file in files:
        segments = read_timeline(file, tier=rule.tier, column=rule.column)
        recording = known.of_labels(file, base)
        if recording is None and len(files) == len(recordings) == 1 and not any("file" in each for each in segments):
            recording = recordings[0]
        if recording is not None:
            tracks.setdefault(recording, []).extend(segments)
            continue
        lost = set()
        for segment in segments:
            path = known.find(segment["file"]) if "file" in segment else None
            if path is None:
                lost.add(f"{file.name}: {segment['file']}" if "file" in segment else file.name)
            else:
                tracks.setdefault(path, []).append(segment)
        strays += sorted(lost) or ([file.name] if not segments else [])
    return tracks, strays


def _warnings(clips: Dataset, strays: Sequence[str]) -> list[str]:
    warnings = []
    if strays:
        warnings.append(f"labels of no recording here: {shorten(list(strays))}")
    late, points = Counter(), 0
    for name, duration_s, segments in zip(
        clips["clip_id"][:], clips["duration_s"][:], clips["segments"][:], strict=True
    ):
        late[name] = sum(segment["start"] >= duration_s for segment in segments)
        points += sum(segment["start"] == segment["end"] for segment in segments)
    names = [f"{name} ({count})" for name, count in late.items() if count]
    if names:
        warnings.append(f"labels begin after the end of their recording, are they of another one? {shorten(names)}")
    if points:
        warnings.append(f"{points} labels are points in time: they fill no part of a window")
    return warnings
