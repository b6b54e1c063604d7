"""Look for faults in a data set: labels that look wrong, copies, silence, clipping. Nothing is changed.

    hf-encls check-labels --data_dir my_sounds --features log_mel --page faults.html
    hf-encls check-labels --data_dir my_sounds --output faults.csv --save_groups groups.csv

Labels are judged by a classifier that has not heard the clip nor its recording. Copies are found whatever their format
and level; --save_groups writes groups in which they are together, for the --groups of training, so that none leaks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from datasets import Dataset

from hf_encls.commands.dataclass_options import parse_dataclasses
from hf_encls.commands.feature_arguments import FeatureArguments
from hf_encls.commands.inputs import Inputs, prepare
from hf_encls.commands.outputs import check_file
from hf_encls.files import write_text, writing


@dataclass
class CheckArguments:
    """What is written."""

    output: str = field(
        default="faults.csv", metadata={"help": "Table of all findings: .csv or .md. Replaced where it is there."}
    )
    page: str | None = field(
        default=None, metadata={"help": "Page (.html) to listen to the findings, sounds included."}
    )
    save_groups: str | None = field(
        default=None, metadata={"help": "Table (.csv) of clips and groups in which copies are together."}
    )


def _keep(value: str | None, written: str, name: str) -> None:
    """Raise `ValueError` where a file that is read would be replaced."""
    if value is not None and Path(value).resolve() in (Path(written).resolve(), Path(written).resolve().parent):
        raise ValueError(f"{written} would be written over what --{name} reads: name another file")


def main(args: list[str] | None = None) -> dict:
    """Run the program; returns how many findings there are of each kind, and `copies_across` the parts of a split."""
    features, options = parse_dataclasses([FeatureArguments, CheckArguments], args, __doc__.splitlines()[0])
    for name, ending in (("output", (".csv", ".md")), ("page", (".html",)), ("save_groups", (".csv",))):
        value = getattr(options, name)
        if value is not None:
            check_file(value, f"--{name}")
            if Path(value).suffix.lower() not in ending:
                raise ValueError(f"expected --{name} to end in {' or '.join(ending)}, found {value!r}")
            for option in ("labels", "groups"):
                _keep(getattr(features, option), value, option)
    if features.multi_label:
        raise ValueError("--multi_label: labels are judged one for each sound, not several at once: leave it out")
    inputs = prepare(features)
    from hf_encls.report.label_report import counts, to_csv, to_markdown, to_page

    findings, groups, across = find_faults(inputs)
    table = to_markdown(findings) if options.output.lower().endswith(".md") else to_csv(findings)
    with writing(options.output):
        write_text(table, options.output)
    if options.save_groups:
        from hf_encls.data.groups import write_groups

        with writing(options.save_groups):
            write_groups(groups, options.save_groups)
    if options.page:
        with writing(options.page):
            write_text(to_page(findings, f"{inputs.dataset}: what to listen to", _loader(inputs.clips)), options.page)
    numbers = counts(findings)
    print(
        f"{numbers['label']} labels look wrong, {numbers['copy']} pairs of copies, {numbers['silent']} silent, "
        f"{numbers['clipped']} clipped: {options.output}"
    )
    if across:
        print(
            f"{across} pairs of copies are on both sides of the split that train.py draws: --save_groups keeps them together"
        )
    return {**numbers, "copies_across": across}


def find_faults(inputs: Inputs) -> tuple[list, dict[str, str], int]:
    """All findings, the group of each clip with copies together, and how many pairs of copies a split tears apart."""
    from hf_encls.features.duplicates import find_copies, join_groups
    from hf_encls.features.store import codebooks_of
    from hf_encls.features.summaries import summarise
    from hf_encls.features.wrong_labels import out_of_fold, suspects
    from hf_encls.report.label_report import Finding

    windows, config = inputs.windows, inputs.config
    names = windows.features["label"].names
    books = codebooks_of(inputs.codec, config.num_codebooks) if config.representation.integers else None
    durations_s = dict(zip(inputs.clips["clip_id"][:], inputs.clips["duration_s"][:]))
    summaries = summarise(windows, config, durations_s, books)
    copies = find_copies(summaries.vectors, summaries.clip_ids, summaries.groups, summaries.sequences)
    groups = join_groups(summaries.clip_ids.tolist(), summaries.groups.tolist(), copies)
    summaries.groups = np.array([groups[clip] for clip in summaries.clip_ids])
    in_time = len(summaries) > len(summaries.sequences)

    def start(index: int) -> float | None:
        return round(float(summaries.starts_s[index]), 3) if in_time else None

    findings = []
    probabilities = out_of_fold(summaries)
    for each in suspects(probabilities, summaries.labels):
        name, suggested = names[summaries.labels[each.index]], names[each.suggested]
        reason = f"{each.score:.0%} {suggested}, {each.given:.0%} {name}, by others of the data set"
        details = {"score": each.score - each.given, "suggested": suggested, "start_s": start(each.index)}
        findings.append(Finding("label", str(summaries.clip_ids[each.index]), name, reason=reason, **details))
    label = dict(zip(summaries.clip_ids.tolist(), summaries.labels.tolist()))
    for copy in copies:
        first, second = names[label[copy.first]], names[label[copy.second]]
        reason = (
            "the same sound" if in_time or first == second else f"the same sound in two classes: {first} and {second}"
        )
        details = {"other": copy.second, "score": copy.similarity}
        findings.append(Finding("copy", copy.first, first, reason=reason, **details))
    for index in np.flatnonzero(summaries.silent >= 0.5):
        reason = f"{summaries.silent[index]:.0%} of its windows are pure silence"
        details = {"score": float(summaries.silent[index]), "start_s": start(index)}
        findings.append(
            Finding("silent", str(summaries.clip_ids[index]), names[summaries.labels[index]], reason=reason, **details)
        )
    findings += _clipped(inputs.clips, label, names)
    return findings, groups, _torn(windows, copies)


def _clipped(clips: Dataset, label: dict[str, int], names: Sequence[str]) -> list:
    from tqdm.auto import tqdm

    from hf_encls.data.clipping import CLIPPED, clipped_share
    from hf_encls.report.label_report import Finding

    findings = []
    rows = list(zip(clips["clip_id"][:], clips["audio"], strict=True))
    for clip, audio in tqdm(rows, desc="looking for clipping", unit="file", disable=None):
        share = clipped_share(audio)
        if share >= CLIPPED and clip in label:
            reason = f"{share:.1%} of its samples are cut off"
            findings.append(Finding("clipped", clip, names[label[clip]], share, reason))
    return sorted(findings, key=lambda each: -each.score)


def _torn(windows: Dataset, copies: Sequence) -> int:
    """Pairs of copies of which one is in training and one is not, under the protocol `clip` and the usual seed."""
    from hf_encls.data.splits import make_splits
    from hf_encls.training.arguments import EnclsTrainingArguments

    try:
        splits = make_splits(windows, "clip", seed=EnclsTrainingArguments.seed)
    except ValueError:  # too few clips for three parts: nothing is torn apart
        return 0
    clip_ids = np.asarray(windows["clip_id"][:])
    trained = set(clip_ids[splits["train"]].tolist())
    return sum((copy.first in trained) != (copy.second in trained) for copy in copies)


def _loader(clips: Dataset):
    from hf_encls.audio import downmix, read

    audio = dict(zip(clips["clip_id"][:], clips["audio"], strict=True))

    def load(clip: str) -> tuple[np.ndarray, int]:
        samples, rate = read(audio[clip])
        return downmix(samples), rate

    return load
