"""Any class-named folder tree becomes a `datasets.Dataset` of clips, and a report of what was left out and why."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

from datasets import Audio, Dataset, Features, List, Value
from tqdm.auto import tqdm

from hf_encls.audio import AudioError, AudioInfo, inspect, resampled_length
from hf_encls.data.columns import UNKNOWN, label_column
from hf_encls.data.facts import shorten
from hf_encls.data.known_files import KnownFiles, known_files
from hf_encls.data.walk import clip_id, equal_files, walk
from hf_encls.files import write_json
from hf_encls.files.finding import find_audio, reasons_text, require_folder

TIMED = ("segments", "min_overlap")  # columns of recordings with time-aligned labels
LOWEST_CODEC_HZ = 24_000  # clips are resampled to a codec's rate, or for mel to one of their own


@dataclass
class ScanReport:
    """What a scan used, and what it left out: rows of `file`, `kind` and `reason`.

    The kinds: `audio` (not usable), `missing` (listed, but not there), `unlisted`, `name` (does not fit the data set),
    `class` (unclear), `unlabelled`, `link` (not followed), `folder` (cannot be read).
    """

    data_dir: str
    used: int = 0
    expected: int | None = None  # clips of the whole data set, where it is a known one
    left_out: list[dict[str, str]] = field(default_factory=list)
    sampling_rates: dict[int, int] = field(default_factory=dict)
    num_channels: dict[int, int] = field(default_factory=dict)
    duration_s: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Lines for a person."""
        rates = ", ".join(f"{count} at {rate} Hz" for rate, count in sorted(self.sampling_rates.items()))
        lines = [f"{self.used} clips used from {self.data_dir}" + (f" ({rates})" if rates else "")]
        if self.duration_s:
            lines.append("durations {min:.2f} to {max:.2f} s, {total:.0f} s in all".format(**self.duration_s))
        if self.left_out:
            lines.append(f"{len(self.left_out)} files left out:")
            lines += [f"  {row['file']}: {row['reason']}" for row in self.left_out]
        return "\n".join(lines + [f"warning: {warning}" for warning in self.warnings])

    def save(self, path: str | os.PathLike) -> None:
        """Write the report as JSON."""
        write_json(asdict(self), path)


def scan_folder(data_dir: str | os.PathLike, strict: bool = False) -> tuple[Dataset, ScanReport]:
    """Read a tree `data_dir/CLASS/.../clip.wav`: the folder under `data_dir` is the label.

    Every file is decoded once, so that a broken one is named now and not hours later. The columns are described at
    `clips_to_dataset`.

    Raises `ValueError` when the path does not exist, holds no usable file or only one class, and, with `strict`,
    when any file had to be left out.
    """
    root = require_folder(data_dir, "a folder of class-named folders")
    files, left_out, warnings = walk(root)
    candidates = [{"path": path, "label": label} for path, label in files]
    clips, report = inspect_clips(root, candidates, strict=strict, left_out=left_out)
    report.warnings += warnings
    return clips, report


def scan_sounds(data_dir: str | os.PathLike, strict: bool = False) -> tuple[Dataset, ScanReport]:
    """Every file of audio below a folder, at any depth, without labels: their `label` is -1, and there are no classes.

    Otherwise as `scan_folder`, and it raises `ValueError` as that does.
    """
    root = require_folder(data_dir, "a folder of audio")
    below = find_audio(root)
    if not below.files and not below.left_out:
        raise ValueError(f"expected audio in {root}, found none")
    candidates = [{"path": path, "label": None} for path in below.files]
    clips, report = inspect_clips(root, candidates, strict=strict, class_names=(), left_out=below.left_out)
    report.warnings += below.warnings
    return clips, report


def inspect_clips(
    root: Path,
    candidates: Sequence[dict],
    strict: bool = False,
    class_names: Sequence[str] | None = None,
    left_out: Sequence[dict[str, str]] = (),
) -> tuple[Dataset, ScanReport]:
    """Decode candidates (dicts with `path`, `label` and optionally `group`, `fold`) and keep the usable ones.

    Those with time-aligned labels have `segments` and `min_overlap` too, and None as `label` where other windows have none.
    A `label` may be a list, of all candidates: each of its names is one.

    `class_names` fixes the labels and their order; without it they are the sorted labels of the usable clips. None at all
    (an empty one): the clips have no labels.
    `left_out` rows (`file`, `reason`) are what the caller has already put aside; they head the report's. So short a clip
    that nothing of it is left at the lowest rate that features of these clips can have is left out too. Files without a
    `group` that are equal to the byte share one, so that a copy never leaks; the report names them.
    Raises `ValueError` as `scan_folder` does.
    """
    report = ScanReport(str(root), left_out=list(left_out))
    records, alone = [], []
    # libsndfile decodes outside the interpreter's lock, so threads are enough.
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        known = known_files()  # of this thread
        results = pool.map(lambda candidate: _inspect(candidate["path"], known), candidates)
        bar = tqdm(zip(candidates, results, strict=True), total=len(candidates), desc="checking audio", unit="file")
        for candidate, result in _without_vanishing(list(bar)):
            name = clip_id(root, candidate["path"])
            if isinstance(result, str):
                report.left_out.append({"file": name, "kind": "audio", "reason": result})
                continue
            records.append(
                {
                    "path": str(candidate["path"].resolve()),
                    "label": candidate["label"],
                    "clip_id": name,
                    "group": candidate.get("group"),
                    "fold": candidate.get("fold", 0),
                    "sampling_rate": result.sampling_rate,
                    "duration_s": result.duration_s,
                    "num_channels": result.num_channels,
                    **{name: candidate[name] for name in (*TIMED, UNKNOWN) if name in candidate},
                }
            )
            if not candidate.get("group"):
                alone.append((candidate["path"], records[-1]))
        # After the bar: the pool works in order, and comparing would wait behind everything that is to be decoded.
        copies = equal_files([path for path, _ in alone], pool)
    for path, record in alone:
        record["group"] = clip_id(root, copies.get(path, path))
    _check_usable(root, records, report, strict, has_classes=class_names is None or len(class_names) > 0)
    _count(records, report)
    report.warnings += _about_copies(records)
    lost = sorted(_labels(candidates) - _labels(records))
    if lost:
        report.warnings.append(f"no usable file is left in {', '.join(lost)}: not a class of this data set")
    return clips_to_dataset(records, sorted(_labels(records)) if class_names is None else class_names), report


def clips_to_dataset(records: Iterable[dict], class_names: Sequence[str]) -> Dataset:
    """Clips as a `Dataset` of one row each.

    Columns: `audio` (`Audio(decode=False)`: `{"bytes": None, "path": ...}`), `label` (`ClassLabel`; a list of them where
    records have lists), `clip_id` (unique in the data set), `group` (the recording it was cut from; its own id where
    unknown), `fold` (0 where unknown), `sampling_rate` (hertz), `duration_s`, `num_channels`. With time-aligned labels:
    `segments` (`start` and `end` in seconds, `label`), `min_overlap`, and `label` is what windows are that no segment
    fills, -1 for none. Without any class all labels are -1. `unknown`, where records have it: the labels of which nothing
    is known. Raises `ValueError` for two clips with one id.
    """
    records = list(records)
    twice = [name for name, count in Counter(record["clip_id"] for record in records).items() if count > 1]
    if twice:
        raise ValueError(f"expected one file per clip id, found two or more for {', '.join(sorted(twice)[:5])}")
    audio = Features({"bytes": Value("binary"), "path": Value("string")})
    several = any(isinstance(record["label"], list) for record in records)
    features = Features(
        {
            "audio": dict(audio),
            "label": label_column(class_names, several),
            "clip_id": Value("string"),
            "group": Value("string"),
            "fold": Value("int32"),
            "sampling_rate": Value("int32"),
            "duration_s": Value("float64"),
            "num_channels": Value("int32"),
        }
    )
    number = {name: index for index, name in enumerate(class_names)}
    if any(UNKNOWN in record for record in records):
        features |= {UNKNOWN: label_column(class_names, several=True)}
        records = [record | {UNKNOWN: [each for each in record[UNKNOWN] if each in number]} for record in records]
    if any("segments" in record for record in records):
        segment = {"start": Value("float64"), "end": Value("float64"), "label": Value("int32")}
        features |= {"segments": List(segment), "min_overlap": Value("float64")}
        records = [
            record
            | {"label": [number.get(e, -1) for e in record["label"]] if several else number.get(record["label"], -1)}
            | {"segments": [{n: number.get(e[n], e[n]) for n in segment} for e in record["segments"]]}
            for record in records
        ]
    elif not class_names:
        records = [record | {"label": -1} for record in records]
    columns = {name: [record[name] for record in records] for name in features if name != "audio"}
    columns["audio"] = [{"bytes": None, "path": record["path"]} for record in records]
    dataset = Dataset.from_dict({name: columns[name] for name in features}, features=features)
    # A struct cast to Audio afterwards needs no torchcodec; a feature of that type from the start does.
    return dataset.cast_column("audio", Audio(decode=False))


def _count(records: Sequence[dict], report: ScanReport) -> None:
    report.used = len(records)
    report.sampling_rates = dict(Counter(record["sampling_rate"] for record in records))
    report.num_channels = dict(Counter(record["num_channels"] for record in records))
    durations = [record["duration_s"] for record in records]
    report.duration_s = {"min": min(durations), "max": max(durations), "total": sum(durations)}


def _about_copies(records: Sequence[dict]) -> list[str]:
    """Warnings about files that are equal to the byte: their group is another one's id."""
    copies = [record for record in records if record["group"] != record["clip_id"]]
    by_id = {record["clip_id"]: record for record in records}
    pairs = [(by_id[record["group"]], record) for record in copies if record["group"] in by_id]
    warnings = []
    for text, chosen in (
        ("equal to the byte, each pair is kept on one side of a split", pairs),
        (
            "equal to the byte, in two classes: one of them is wrong",
            [p for p in pairs if p[0]["label"] != p[1]["label"]],
        ),
    ):
        if chosen:
            names = shorten([f"{first['clip_id']} and {copy['clip_id']}" for first, copy in chosen])
            warnings.append(f"{len(chosen)} pairs of files are {text}: {names}")
    return warnings


def _without_vanishing(checked: list[tuple[dict, AudioInfo | str]]) -> Iterator[tuple[dict, AudioInfo | str]]:
    """Candidates with what was found; those of which resampling would leave nothing with the reason."""
    lowest = min([LOWEST_CODEC_HZ, *(outcome.sampling_rate for _, outcome in checked if not isinstance(outcome, str))])
    for candidate, outcome in checked:
        if isinstance(outcome, AudioInfo) and not resampled_length(outcome.num_samples, outcome.sampling_rate, lowest):
            length = f"{outcome.num_samples} samples at {outcome.sampling_rate} Hz"
            outcome = f"is too short: nothing of its {length} is left at {lowest} Hz"
        yield candidate, outcome


def _inspect(path: Path, known: KnownFiles) -> AudioInfo | str:
    def look() -> dict | str:
        try:
            return asdict(inspect(path))
        except AudioError as error:
            return str(error)

    try:
        outcome = known.ask(path, "sound", look)
    except OSError as error:  # the system's, which may be another one next time
        return str(error)
    return outcome if isinstance(outcome, str) else AudioInfo(**outcome)


def _check_usable(root: Path, records: list[dict], report: ScanReport, strict: bool, has_classes: bool) -> None:
    reasons = reasons_text(report.left_out)
    if not records:
        if report.left_out:
            where = f"in class-named folders under {root}" if has_classes else f"in {root}"
            raise ValueError(f"expected audio {where}, found no usable file among {len(report.left_out)}:{reasons}")
        raise ValueError(
            f"expected class-named folders with audio ({root}/CLASS/clip.wav), found none: files directly in {root} "
            "have no label; move them into one folder per class"
        )
    if strict and report.left_out:
        raise ValueError(f"`strict=True`, and {len(report.left_out)} files under {root} cannot be used:{reasons}")
    labels = sorted(_labels(records))
    if len(labels) < 2 and has_classes:
        listed = "segments" in records[0] or isinstance(records[0]["label"], list)
        kind = "labels of recordings" if listed else "folders with usable audio"
        classes_text = f"one: {labels[0]!r}" if labels else "none"
        raise ValueError(f"expected at least two classes ({kind}) under {root}, found {classes_text}{reasons}")


def _labels(records: Iterable[dict]) -> set[str]:
    """The names of all classes of clips or recordings."""
    timed = {segment["label"] for record in records for segment in record.get("segments", ())}
    names = [record["label"] if isinstance(record["label"], list) else [record["label"]] for record in records]
    return timed | {label for each in names for label in each if label is not None}
