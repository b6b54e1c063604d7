"""Inference time per second of audio, split into representation and classification: all inputs in one measurement."""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import torch

from hf_encls.audio import read, resample
from hf_encls.comparison.turns import in_turns
from hf_encls.files import write_json
from hf_encls.files.records import read_record
from hf_encls.model.modeling_encls import EnclsForAudioClassification
from hf_encls.reproduction.cells import FinishedCell

REPEATS = 7
PARTS = ("representation", "classification")
KEPT_SHAPE = {"settings": dict, "measured": {"*": {"rounds": [dict.fromkeys(PARTS, float)]}}}


def timing_rows(runs: Sequence[FinishedCell], clips: int, folder: Path) -> list[dict]:
    """Inference time of each input of each data set, the inputs of a data set measured together.

    A measurement is read again from `folder` only if it was made of the same cells and clips, on the same device and
    processor, with as many threads.
    """
    first: dict[str, dict[str, FinishedCell]] = {}
    for run in runs if clips else ():
        if not run.preset.variant:
            first.setdefault(run.dataset.key, {}).setdefault(run.input.key, run)
    rows = []
    for dataset, by_input in first.items():
        for entry, measured in _measured(by_input, clips, folder / f"{dataset}.json").items():
            rows.append({"dataset": dataset, "input": entry, "cell": by_input[entry].id} | summary(measured))
    return rows


def _measured(by_input: Mapping[str, FinishedCell], clips: int, file: Path) -> dict[str, dict]:
    """What `inference_times` measures of the cells of one data set, kept in `file`."""
    first = next(iter(by_input.values()))
    chosen = first.test_clips[:: max(1, len(first.test_clips) // clips)][:clips]  # evenly spread over their names
    settings = {
        "cells": {entry: first.id for entry, first in by_input.items()},
        "codecs": {entry: first.results.codec and first.results.codec.hash for entry, first in by_input.items()},
        "clips": chosen,
        "repeats": REPEATS,
        "device": first.results.device if torch.cuda.is_available() else "cpu",
        "threads": torch.get_num_threads(),
        "processor": processor(),
    }
    kept = read_record(file, KEPT_SHAPE) if file.is_file() else {}
    if kept.get("settings") != settings:
        paths = [Path(first.dataset.files[clip][0]) for clip in chosen]
        folders = {entry: first.folder for entry, first in by_input.items()}
        kept = {"settings": settings, "measured": inference_times(folders, paths, REPEATS, settings["device"])}
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(kept, file)
    return kept["measured"]


def summary(measured: Mapping) -> dict:
    """A measurement as the report's row holds it.

    Added are the median over the rounds of each part and of their sum (`total`), in seconds and in `ms`, and `spread` and
    `ms_spread`: the fastest and the slowest round.
    """
    rounds = pd.DataFrame(measured["rounds"])[list(PARTS)].assign(total=lambda parts: parts.sum(axis="columns"))
    medians = rounds.median().to_dict()
    spread = {part: [min(each), max(each)] for part, each in rounds.to_dict("list").items()}
    ms = {part: 1000 * value for part, value in medians.items()}
    ms_spread = {part: [1000 * value for value in each] for part, each in spread.items()}
    row = {"spread": spread, "ms": ms, "ms_spread": ms_spread, "real_time": 1 / medians["total"]}
    return dict(measured) | medians | row | {"repeats": len(rounds)}


@torch.inference_mode()
def inference_times(
    folders: Mapping[str, Path], clips: Sequence[Path], repeats: int = REPEATS, device: str = "cpu"
) -> dict[str, dict]:
    """Seconds that each model needs for one second of audio, in `rounds` of `representation` and `classification`.

    Representation starts with the decoded mono waveform at the data set's own rate: resampling to the rate of the codec
    belongs to it, reading the file does not. Clips go through one by one. The models take turns in every round, so that
    a busy moment of the machine meets all of them, and a round that is not counted comes first. Models with the same
    network on windows of the same shape share one measurement of the classification: its time is the same.

    Raises `ValueError` for a model that was saved without its codec.
    """
    models = {name: EnclsForAudioClassification.from_pretrained(folder) for name, folder in folders.items()}
    for name, model in models.items():
        if model.frontend is None:
            raise ValueError(
                f"expected a model with its codec in {folders[name]}, found one without ({model.config.codec_id}): remove "
                "the folder, and it is trained again"
            )
    models = {name: model.to(device).eval() for name, model in models.items()}
    audio = [(samples.mean(axis=1), hz) for samples, hz in map(read, clips)]
    seconds = sum(len(waveform) / hz for waveform, hz in audio)
    windows = {name: _represent(model, audio, device) for name, model in models.items()}
    first_of_shape: dict[tuple, str] = {}  # a network and the shape of its input -> the model that is timed for it
    leader: dict[str, str] = {}
    works: dict[tuple[str, str], Callable[[], object]] = {}
    for name, model in models.items():
        shapes = (str(model.head), *(each.shape for each in windows[name]))
        leader[name] = first_of_shape.setdefault(shapes, name)
        works[name, "representation"] = partial(_represent, model, audio, device)
        if leader[name] == name:
            works[name, "classification"] = partial(_classify, model, windows[name])
    times = in_turns(works, repeats, device)
    conditions = {"clips": len(audio), "audio_s": seconds, "device": device, "threads": torch.get_num_threads()}
    conditions["load_average"] = round(os.getloadavg()[0], 1)
    measured = {}
    for name in models:
        parts = {part: times[owner, part] for part, owner in zip(PARTS, (name, leader[name]), strict=True)}
        rounds = [{part: each[index] / seconds for part, each in parts.items()} for index in range(repeats)]
        measured[name] = {"rounds": rounds, "classification_of": leader[name], **conditions}
    return measured


def _represent(model: EnclsForAudioClassification, audio: Sequence[tuple], device: str) -> list[torch.Tensor]:
    rate = model.config.sampling_rate
    resampled = (waveform if hz == rate else resample(waveform, hz, rate) for waveform, hz in audio)
    return [model.windows(torch.from_numpy(waveform)[None].to(device))[0] for waveform in resampled]


def _classify(model: EnclsForAudioClassification, windows: Sequence[torch.Tensor]) -> None:
    for clip_windows in windows:
        model.classify(clip_windows)


def processor() -> str:
    """The name of this machine's processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
