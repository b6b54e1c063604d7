"""Any audio-classification models beside each other on the same test clips, through `evaluate.evaluator`.

Every model hears whole clips at its own sampling rate and answers with one class for each.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import evaluate
import torch
from datasets import Dataset
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, Pipeline, pipeline

from hf_encls.audio import load
from hf_encls.data.columns import class_names, require_one_label
from hf_encls.data.splits import division_rows, enforce, leak_check, make_splits
from hf_encls.files.checkpoints import find_model
from hf_encls.files.records import NoObjectError, read_record
from hf_encls.model.problem_encls import ONE_LABEL
from hf_encls.report.codec_texts import plain_warning
from hf_encls.training.metrics import load_metric
from hf_encls.training.results import RESULTS, Results, is_results, read_clips

SEED = 42  # what training draws its split with unasked: transformers' default


@dataclass(frozen=True)
class TrainingRun:
    """How the clips of a local model were divided: what `train` left in its folder."""

    folder: str
    protocol: str
    fold: int | None
    seed: int
    parts: Mapping[str, frozenset[str]]  # train, validation, test -> clip ids; empty where the folder does not tell
    codec_warning: str = ""  # what a reader must know of its codec


def run_of(model: str | os.PathLike) -> TrainingRun | None:
    """The run that a model folder came from; None for a Hub id and for a folder without a `results.json` of ours.

    Raises `ValueError` for a folder that holds the runs of several folds.
    """
    folder = Path(model)
    if not (folder / RESULTS).is_file():
        return None
    try:
        values = read_record(folder / RESULTS)
    except NoObjectError:
        return None
    if not is_results(values):
        return None
    results = Results.from_dict(values, folder / RESULTS)
    if results.folds:
        folds = ", ".join(str(folder / f"fold-{fold}") for fold in results.folds)
        raise ValueError(f"expected one model in {folder}, found one for each fold: name one of {folds}")
    return TrainingRun(
        str(folder),
        results.protocol,
        results.fold,
        results.seed,
        {part: frozenset(ids) for part, ids in read_clips(folder).items()},
        plain_warning(results.codec, results.dataset),
    )


def split_of(
    runs: Sequence[TrainingRun], protocol: str | None = None, fold: int | None = None, seed: int | None = None
) -> tuple[str, int | None, int | None]:
    """Protocol, fold and seed: what is given, else what the runs have in common, else what training takes unasked.

    Only `official` has a fold, only `clip` a seed. Raises `ValueError` where it is left to the runs and they differ, or
    one of them was trained under `paper`.
    """
    for run in runs:
        if protocol is None and run.protocol == "paper":
            raise ValueError(_heard_all(run))
    protocol = protocol or _common(runs, "protocol", "clip")
    same = [run for run in runs if run.protocol == protocol]
    if protocol == "official":
        return protocol, _common(same, "fold", None) if fold is None else fold, None
    return protocol, fold, _common(same, "seed", SEED) if seed is None else seed


def _common(runs: Sequence[TrainingRun], name: str, default: str | int | None) -> Any:
    values = {run.folder: getattr(run, name) for run in runs}
    if len(set(values.values())) > 1:
        listed = ", ".join(f"{folder}: {value}" for folder, value in values.items())
        raise ValueError(
            f"expected models that were trained with one {name}, found several ({listed}): the test clips of one are in "
            "the training of another; train them anew with the same one"
        )
    return next(iter(values.values()), default)


def check_unheard(run: TrainingRun, clips: Dataset, test: Dataset) -> int | None:
    """How many of the test clips the run is known not to have heard; None where its folder says nothing of these clips.

    `clips` is the whole data set: a test clip of a recording that the run trained on counts as heard, too. Raises
    `ValueError` when the run trained or validated on a test clip.
    """
    used = run.parts.get("train", frozenset()) | run.parts.get("validation", frozenset())
    ids, groups = clips["clip_id"][:], clips["group"][:]
    # Of training clips only: under official a few recordings may stand in the folds of test and validation.
    trained_groups = {group for clip, group in zip(ids, groups) if clip in run.parts.get("train", ())}
    if not run.parts or not any(clip in used for clip in ids):
        return None
    rows = list(zip(test["clip_id"][:], test["group"][:]))
    heard = [clip for clip, group in rows if clip in used or group in trained_groups]
    if heard and run.protocol == "paper":
        raise ValueError(_heard_all(run))
    if heard:
        raise ValueError(
            f"expected test clips that {run.folder} never heard, found {len(heard)} of {len(test)} in its training or "
            f"validation (such as {heard[0]}): its own split is protocol {run.protocol}, fold {run.fold}, seed "
            f"{run.seed}; leave `protocol`, `fold` and `seed` out to compare on its own test"
        )
    return sum(clip in run.parts.get("test", ()) for clip, _ in rows)


def _heard_all(run: TrainingRun) -> str:
    return (
        f"expected a model with clips that it never heard, found {run.folder}, trained under paper: that protocol divides "
        "windows, and the model has heard a part of the clips of its test; train it anew under clip or official"
    )


def test_clips(clips: Dataset, protocol: str, *, seed: int = 0, fold: int | None = None) -> Dataset:
    """The clips that training with this protocol, seed and fold keeps for the test.

    Raises `ValueError` for the protocol `paper`: it divides windows, and no whole clip is unheard there.
    """
    if protocol == "paper":
        raise ValueError("the protocol paper divides windows, not clips: compare models under clip or official")
    rows = division_rows(clips)
    splits = make_splits(rows, protocol, seed=seed, fold=fold)
    enforce(leak_check(rows, splits), protocol)
    return clips.select(splits["test"])


def compare(
    models: Mapping[str, str | os.PathLike | Pipeline], clips: Dataset, device: str | torch.device | None = None
) -> list[dict]:
    """Accuracy and macro F1 of each model on `clips`, with the time it took.

    Args:
        models: name -> audio-classification pipeline, or the folder or Hub id of a model for one. Remote code is not
            run: a model that needs it comes as a pipeline that the caller has made.
        clips: as `scan_folder` or a data set's loader returns them.
        device: where pipelines are put that are made here.

    Returns one dict for each model: `model`, `accuracy`, `macro_f1`, `num_clips`, `sampling_rate`, `seconds`,
    `clips_per_second`. Raises `ValueError` when a model's classes are not those of the clips, and for several
    labels at once.
    """
    require_one_label(clips, "comparing models")
    names = class_names(clips.features)
    rows = []
    for name, model in models.items():
        pipe = model if isinstance(model, Pipeline) else _pipe(os.fspath(model), device)
        label_mapping = _label_mapping(name, pipe, names)
        rate = pipe.feature_extractor.sampling_rate
        scores = evaluate.evaluator("audio-classification").compute(
            # Not the pipeline itself: evaluate 0.4 then asks transformers for a class that version 5 does not have.
            model_or_pipeline=pipe.model,
            feature_extractor=pipe.feature_extractor,
            device=pipe.device,
            data=_at_rate(clips, rate),
            metric=evaluate.combine([load_metric("window_accuracy"), load_metric("window_macro_f1")]),
            input_column="audio",
            label_column="label",
            label_mapping=label_mapping,
        )
        rows.append(
            {
                "model": name,
                "accuracy": scores["accuracy"],
                "macro_f1": scores["macro_f1"],
                "num_clips": len(clips),
                "sampling_rate": rate,
                "seconds": scores["total_time_in_seconds"],
                "clips_per_second": scores["samples_per_second"],
            }
        )
    return rows


def _pipe(model: str, device: str | torch.device | None) -> Pipeline:
    """A pipeline of a folder or Hub id. Its parts are loaded singly: the library tells their errors as stacks of lines."""
    where = {"local_files_only": find_model(model)}
    if Path(model).is_dir():
        read_record(Path(model, "config.json"), {"model_type?": str, "auto_map?": {"*": (str, [(str, None)])}})
    try:
        network = AutoModelForAudioClassification.from_pretrained(model, **where)
        extractor = AutoFeatureExtractor.from_pretrained(model, **where)
    except (OSError, ValueError) as error:
        raise ValueError(f"{model} cannot be used: {' '.join(str(error).split())}") from error
    return pipeline("audio-classification", model=network, feature_extractor=extractor, device=device)


def _label_mapping(name: str, pipe: Pipeline, classes: list[str]) -> dict[str, int]:
    problem = getattr(pipe.model.config, "problem_type", None)
    if problem not in (None, ONE_LABEL):
        raise ValueError(f"expected {name} to answer with one class ({ONE_LABEL}), found a model of {problem}")
    known = {str(label) for label in pipe.model.config.id2label.values()}
    if known != set(classes):
        missing, extra = sorted(set(classes) - known), sorted(known - set(classes))
        raise ValueError(
            f"expected {name} to know the {len(classes)} classes of the clips, found {len(missing)} missing "
            f"({', '.join(missing[:5])}) and {len(extra)} others ({', '.join(extra[:5])}): only models of the same "
            "classes can be compared"
        )
    return {label: index for index, label in enumerate(classes)}


def _at_rate(clips: Dataset, sampling_rate: int) -> Dataset:
    """The clips, each decoded when it is asked for."""

    def decode(batch: dict) -> dict:
        return {k: [load(a, sampling_rate) for a in v] if k == "audio" else v for k, v in batch.items()}

    return clips.select_columns(["audio", "label"]).with_transform(decode)
