"""Recordings of any length with time-aligned labels beside them: each window gets the label that fills enough of it."""

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from datasets import Dataset

from hf_encls.data.facts import shorten
from hf_encls.data.folders import ScanReport, inspect_clips
from hf_encls.data.walk import clip_id
from hf_encls.files.finding import find_audio
from hf_encls.model.windows_encls import num_windows
from hf_encls.timelines.reading import read_timeline
from hf_encls.timelines.tracks import label_files

DROP = "drop"  # what becomes of windows that no label fills, unless a class is named
ROUNDING = 1e-6  # of a window; times in files have six decimals


@dataclass(frozen=True)
class TimeLabels:
    """Where labels of recordings are, and how windows get theirs.

    Args:
        where: a folder of label files, one file, or a pattern with `*`. A label file belongs to the recording whose name
            it has (`a.txt`, `a.wav.txt`, `a.Table.1.selections.txt` to `a.wav`), rows that name a file to that one.
        min_overlap: the share of a window, above 0 and up to 1, that a label must fill; of several the largest wins. Of a
            window that reaches beyond the recording's end, the part inside counts.
        unlabelled: `drop`, or the class of windows that no label fills so far.
        tier: the tier of TextGrids, where they have several.
        column: the column of tables that holds the labels, where its name does not tell.
    """

    where: str
    min_overlap: float = 0.5
    unlabelled: str = DROP
    tier: str | None = None
    column: str | None = None

    def __post_init__(self):
        if not 0 < self.min_overlap <= 1:
            raise ValueError(f"expected `min_overlap` above 0 and up to 1, found {self.min_overlap}")
        if not self.where:
            raise ValueError("expected a folder, a file or a pattern of `labels`, found none")
        if not self.unlabelled:
            raise ValueError("expected the name of a class as `unlabelled`, or drop, found none")

    def rule(self) -> dict:
        """How windows get their label, as JSON: it belongs to every score."""
        return {name: value for name, value in asdict(self).items() if name in ("min_overlap", "unlabelled")}


def scan_recordings(
    data_dir: str | os.PathLike, labels: str | os.PathLike | TimeLabels, strict: bool = False
) -> tuple[Dataset, ScanReport]:
    """Read recordings below `data_dir` with their labels: one row for each, as `scan_folder` has one for each clip.

    The columns are those of `clips_to_dataset`; `segments` holds the labels, and `label` is what a window is that no label
    fills, -1 for none. Recordings without a file of labels are left out. `strict` makes errors of files that cannot be used.

    Raises `ValueError` for a missing folder or file, labels that cannot be read (`LabelsError`), and as `scan_folder`.
    """
    root = Path(data_dir)
    rule = labels if isinstance(labels, TimeLabels) else TimeLabels(os.fspath(labels))
    if not root.is_dir():
        raise ValueError(
            f"expected a folder of recordings at {str(root)!r}, found {'a file' if root.exists() else 'nothing'}"
        )
    found = find_audio(root)
    if not found.files:
        raise ValueError(f"expected recordings below {root}, found no file that is named like audio")
    files, base = label_files(rule.where)
    tracks, strays = _assign(files, base, found.files, root, rule)
    unlabelled = None if rule.unlabelled == DROP else rule.unlabelled
    candidates, left_out = [], list(found.left_out)
    for path in found.files:
        if path in tracks:
            own = {"segments": tracks[path], "min_overlap": rule.min_overlap}
            candidates.append({"path": path, "label": unlabelled, **own})
        else:
            reason = f"no label of {rule.where} is of it: a file of labels is called like its recording, or names it"
            left_out.append({"file": clip_id(root, path), "kind": "unlabelled", "reason": reason})
    if not candidates:
        names = shorten([path.name for path in files], 3)
        raise ValueError(
            f"expected labels of the recordings in {root} ({shorten([p.name for p in found.files], 3)}), found none in "
            f"{rule.where} ({names}): a file of labels is called like its recording, or names it in a column"
        )
    clips, report = inspect_clips(root, candidates, strict=strict, left_out=left_out)
    report.warnings += found.warnings + _warnings(clips, strays)
    return clips, report


def window_labels(row: Mapping, starts_s: np.ndarray, window_s: float, num_labels: int) -> np.ndarray:
    """Classes (W,) of a recording's windows that start at `starts_s` (W,); -1 where a window has none.

    `row` has `segments`, `min_overlap`, `duration_s` and `label`, as in `scan_recordings`.
    """
    starts = np.asarray(starts_s, np.float64)
    ends = np.minimum(starts + window_s, row["duration_s"])
    spans = defaultdict(list)
    for segment in row["segments"]:
        spans[segment["label"]].append((segment["start"], segment["end"]))
    filled = np.zeros((len(starts), num_labels))
    for label, pieces in spans.items():
        filled[:, label] = _seconds_before(pieces, ends) - _seconds_before(pieces, starts)
    shares = filled / np.maximum(ends - starts, 1e-9)[:, None]
    best = shares.argmax(axis=1)
    enough = shares.max(axis=1) >= row["min_overlap"] - ROUNDING
    return np.where(enough, best, row["label"])


def approximate_windows(clips: Dataset, window_s: float, step_s: float) -> dict[str, np.ndarray]:
    """The columns by which windows are divided, before any is made: as the features' whole frames will round them."""
    columns = {name: [] for name in ("clip_id", "group", "fold", "label", "start")}
    names = clips.features["label"].names
    for row in clips.remove_columns("audio"):
        length, window, step = (max(1, round(1000 * value)) for value in (row["duration_s"], window_s, step_s))
        starts = np.arange(num_windows(length, window, step)) * step / 1000
        labels = window_labels(row, starts, window_s, len(names))
        for name, values in (("label", labels), ("start", starts)):
            columns[name] += values[labels >= 0].tolist()
        for name in ("clip_id", "group", "fold"):
            columns[name] += [row[name]] * int((labels >= 0).sum())
    return {name: np.asarray(values) for name, values in columns.items()}


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
    known = _Names(recordings, root)
    tracks: dict[Path, list[dict]] = {}
    strays = []
    for file in files:
        segments = read_timeline(file, tier=rule.tier, column=rule.column)
        own = known.of_labels(file, base)
        if own is None and len(files) == len(recordings) == 1 and not any("file" in each for each in segments):
            own = recordings[0]
        if own is not None:
            tracks.setdefault(own, []).extend(segments)
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


class _Names:
    """Recordings by what labels call them: their path below the folder, their name, either without its ending."""

    def __init__(self, recordings: Sequence[Path], root: Path):
        self.by_name = defaultdict(set)
        for path in recordings:
            relative = path.relative_to(root)
            for name in (relative, relative.with_suffix(""), Path(path.name), Path(path.stem)):
                self.by_name[name.as_posix()].add(path)

    def find(self, name: str) -> Path | None:
        """The recording that is called `name`. Raises `ValueError` where there are several."""
        name = name.replace("\\", "/").removeprefix("./")
        for each in (name, name.rsplit("/", 1)[-1]):
            found = sorted(self.by_name.get(each, ()))
            if len(found) > 1:
                raise ValueError(
                    f"labels of {name!r} could be of {found[0]} or of {found[1]}: call the recordings by different names, "
                    "or put the labels into folders as the recordings are"
                )
            if found:
                return found[0]
        return None

    def of_labels(self, file: Path, base: Path) -> Path | None:
        """The recording of a file of labels, by the names that are left when its endings go one by one."""
        name = file.relative_to(base).as_posix()
        while "." in name.rsplit("/", 1)[-1].lstrip("."):
            name = name.rpartition(".")[0]
            path = self.find(name)
            if path is not None:
                return path
        return None


def _warnings(clips: Dataset, strays: Sequence[str]) -> list[str]:
    found = []
    if strays:
        found.append(f"labels of no recording here: {shorten(list(strays))}")
    late, points = Counter(), 0
    for name, duration_s, segments in zip(
        clips["clip_id"][:], clips["duration_s"][:], clips["segments"][:], strict=True
    ):
        late[name] = sum(segment["start"] >= duration_s for segment in segments)
        points += sum(segment["start"] == segment["end"] for segment in segments)
    names = [f"{name} ({count})" for name, count in late.items() if count]
    if names:
        found.append(f"labels begin after the end of their recording, are they of another one? {shorten(names)}")
    if points:
        found.append(f"{points} labels are points in time: they fill no part of a window")
    return found
