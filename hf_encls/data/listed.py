"""Clips whose labels stand in a table: one or several of each, with the fold and the group that the table names."""

from pathlib import Path
from typing import TYPE_CHECKING

from datasets import Dataset

from hf_encls.data.columns import UNKNOWN
from hf_encls.data.facts import shorten
from hf_encls.data.folders import ScanReport, inspect_clips
from hf_encls.data.recording_names import RecordingNames
from hf_encls.data.splits import TEST, TRAIN, VALIDATION
from hf_encls.data.walk import clip_id
from hf_encls.files.finding import FoundFiles
from hf_encls.timelines.clip_tables import ClipLabels, read_clip_table
from hf_encls.timelines.reading import LabelsError

if TYPE_CHECKING:
    from hf_encls.data.labelled import TimeLabels

# What the parts of a fixed division are called in tables.
WORDS = {"train": TRAIN, "training": TRAIN, "dev": TRAIN, "val": VALIDATION, "valid": VALIDATION}
WORDS |= {"validation": VALIDATION, "test": TEST, "testing": TEST, "eval": TEST, "evaluation": TEST}


def scan_listed(root: Path, audio: FoundFiles, rule: "TimeLabels", strict: bool) -> tuple[Dataset, ScanReport]:
    """The files `audio` below `root` that the table of `rule` gives labels, as `scan_recordings` returns them.

    Raises `ValueError` for a table that cannot be read, one that names none of these files, and several labels of a file
    where that was not asked for.
    """
    listed = read_clip_table(rule.where, rule.column)
    known = RecordingNames(audio.files, root)
    places = [(clip, known.find(clip.file)) for clip in listed]
    if not any(path for _, path in places):
        there, here = (shorten(names, 3) for names in ([each.file for each in listed], [p.name for p in audio.files]))
        raise ValueError(
            f"expected labels of the files in {root} ({here}), found those of {there or 'none'} in {rule.where}"
        )
    left_out = list(audio.left_out)
    left_out += [
        _row(clip.file, "missing", f"{rule.where} names it, and it is not there") for clip, p in places if not p
    ]
    candidates, bare, judged = {}, [], _asked(listed) if rule.multi_label else set()
    for clip, path in places:
        if path is None:
            continue
        if path in candidates:
            raise LabelsError(
                f"{rule.where}: expected one name of {clip_id(root, path)}, found two, {clip.file!r} is one"
            )
        label = _label(clip, rule)
        if not clip.labels:
            bare.append(clip.file)
        if label is None:
            left_out.append(_row(clip_id(root, path), "unlabelled", f"{rule.where} gives it no label"))
        candidates[path] = {"path": path, "label": label, "group": clip.group, "fold": _fold(clip, rule.where)}
        if judged:
            candidates[path][UNKNOWN] = sorted(judged - clip.asked)
    left_out += [
        _row(clip_id(root, path), "unlisted", f"{rule.where} does not name it")
        for path in audio.files
        if path not in candidates
    ]
    used = [each for each in candidates.values() if each["label"] is not None]
    if not used:
        raise ValueError(f"expected labels in {rule.where}, found none: every cell of them is empty")
    clips, report = inspect_clips(root, used, strict=strict, left_out=left_out)
    report.warnings += audio.warnings + (_warnings(listed, bare) if rule.multi_label else [])
    return clips, report


def _label(clip: ClipLabels, rule: "TimeLabels") -> str | list[str] | None:
    """The label of a clip, or all of them; None: it is left out."""
    if not rule.multi_label and len(clip.labels) > 1:
        raise LabelsError(
            f"{rule.where}: expected one label of {clip.file}, found {shorten(clip.labels, 3)}: several at once are learned "
            "with `multi_label`"
        )
    if not clip.labels:
        if rule.unlabelled == "drop":
            return None
        labels = [] if rule.multi_label and rule.unlabelled == "keep" else [rule.unlabelled]
    else:
        labels = clip.labels
    return labels if rule.multi_label else labels[0]


def _fold(clip: ClipLabels, where: str) -> int:
    if clip.part is None:
        return clip.fold or 0
    if clip.part.lower() not in WORDS:
        raise LabelsError(
            f"{where}: expected the split of {clip.file} to be train, validation or test, found {clip.part!r}"
        )
    return WORDS[clip.part.lower()]


def _row(file: str, kind: str, reason: str) -> dict[str, str]:
    return {"file": file, "kind": kind, "reason": reason}


def _asked(listed: list[ClipLabels]) -> set[str]:
    """All labels of a table that says what is not there, too, and leaves some of it open; else none.

    A table that only says what is there means that all else is not.
    """
    judged = set().union(*(clip.asked for clip in listed))
    denies = any(set(clip.labels) != clip.asked for clip in listed)
    return judged if denies and any(clip.asked != judged for clip in listed) else set()


def _warnings(listed: list[ClipLabels], bare: list[str]) -> list[str]:
    warnings = []
    if bare:
        warnings.append(f"{len(bare)} files have none of the labels: {shorten(bare)}")
    judged = set().union(*(clip.asked for clip in listed))
    never = sorted(judged - {label for clip in listed for label in clip.labels})
    if never:
        warnings.append(f"no file has the label {shorten(never)}: not a class of this data set")
    said, pairs = sum(len(clip.asked) for clip in listed), len(judged) * len(listed)
    if _asked(listed):
        warnings.append(
            f"of {pairs} pairs of file and label the table says {said}: the others are unknown, and count neither in "
            "training nor in the scores"
        )
    return warnings
