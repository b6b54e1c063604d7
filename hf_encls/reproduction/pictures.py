"""The pictures of the report: figure 4 for each preset and protocol, figure 2, and the bars of inference time."""

from collections.abc import Mapping, Sequence
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import torch

from hf_encls.audio import load
from hf_encls.codec.loading import load_codec
from hf_encls.features.extraction import feature_config
from hf_encls.features.frontends import frontend_of
from hf_encls.model.configuration_encls import FeatureConfig
from hf_encls.report.feature_pictures import feature_panel
from hf_encls.report.pictures import SMOOTHING, save_curve_panels, save_feature_picture, save_time_bars
from hf_encls.reproduction.cells import FinishedCell
from hf_encls.reproduction.data_sets import DataSet
from hf_encls.reproduction.grid import Input, Preset
from hf_encls.reproduction.timing import PARTS

# The paper's colours for its three inputs, the next one for log-mel; a second codec of a kind takes what is left.
ORDER = ("mel", "encodec_24khz", "encodec_48khz", "log_mel")
PAPER_COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#d62728", "#8c564b", "#17becf", "#7f7f7f")
COLOUR_OF = dict(zip(ORDER, PAPER_COLOURS))


def figure_4(runs: Sequence[FinishedCell], folder: Path) -> list[dict]:
    """One picture for each preset and protocol: validation curves of the first seed and fold."""
    pictures = []
    colours = _colours([run.input for run in runs])
    runs = [run for run in runs if not run.preset.variant]
    for preset, protocol in dict.fromkeys((run.preset.name, run.protocol) for run in runs):
        members = [run for run in runs if (run.preset.name, run.protocol) == (preset, protocol)]
        panels: dict[str, dict[str, list[dict]]] = {run.dataset.label: {} for run in members}
        for run in sorted(members, key=lambda run: ORDER.index(run.input.features)):
            panels[run.dataset.label].setdefault(run.input.label, run.results.history)
        leaks = " (leaks)" if protocol == "paper" else ""
        title = f"Preset {preset}, protocol {protocol}{leaks}; smoothed by {SMOOTHING}, raw values faint"
        name = f"figure_4_{preset}_{protocol}.png"
        save_curve_panels(panels, folder / name, title=title, colours=colours)
        pictures.append({"kind": "figure_4", "file": name, "title": title})
    return pictures


def _colours(inputs: Sequence[Input]) -> dict[str, str]:
    free = chain(PAPER_COLOURS[len(ORDER) :], repeat(PAPER_COLOURS[-1]))
    colours: dict[str, str] = {}
    for entry in dict.fromkeys(inputs):
        usual = COLOUR_OF[entry.features]
        colours[entry.label] = next(free) if usual in colours.values() else usual
    return colours


def figure_2(dataset: DataSet, inputs: Sequence[Input], preset: Preset, folder: Path) -> list[dict]:
    """Mel and the latents of every codec, of the same second: the loudest whole one of the first clip."""
    clip_id, (path, name) = next(iter(sorted(dataset.files.items())))
    start = _loudest_second(load(path, dataset.sampling_rate), dataset.sampling_rate)
    panels = []
    # One picture of mel is enough, in decibels as any picture of it.
    drawn_inputs = [Input("log_mel"), *(entry for entry in inputs if entry.codec is not None)]
    for entry in sorted(drawn_inputs, key=lambda entry: entry.features, reverse=True):
        codec = None if entry.codec is None else load_codec(entry.codec)
        if codec is None:
            options = {"hop_length": int(preset.options["hop_length"]), "sampling_rate": dataset.sampling_rate}
            config = FeatureConfig(features=entry.features, **options)
            title = f"Mel spectrogram, hop {config.hop_length}"
        else:
            config, title = feature_config(entry.features, codec=codec), f"Latents, {entry.label}"
        panels.append(feature_panel(_window(config, codec, path, start), config, title))
    title = f"{dataset.label}: second {start} of {clip_id} ({name})"
    save_feature_picture(panels, folder / "figure_2.png", title=title)
    return [{"kind": "figure_2", "file": "figure_2.png", "title": title}]


@torch.inference_mode()
def _window(config: FeatureConfig, codec: torch.nn.Module | None, path: str, start: int) -> np.ndarray:
    frontend = frontend_of(config, codec)
    waveform = torch.from_numpy(load(path, config.sampling_rate))
    return frontend.eval().windows([waveform])[0][start].numpy()


def _loudest_second(samples: np.ndarray, rate: int) -> int:
    whole = samples[: max(1, len(samples) // rate) * rate]
    seconds = np.array_split(whole, max(1, len(whole) // rate))
    return int(np.argmax([np.square(second).sum() for second in seconds]))


def time_bars(
    rows: Sequence[Mapping], labels: Mapping[str, str], names: Mapping[str, str], folder: Path
) -> list[dict]:
    """Inference time of each input, one picture for each data set."""
    pictures = []
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        measured = {labels[row["input"]]: row for row in rows if row["dataset"] == dataset}
        bars = {label: {part: row[part] for part in PARTS} for label, row in measured.items()}
        title, name = f"Inference time (medians), {names[dataset]}", f"inference_time_{dataset}.png"
        save_time_bars(bars, folder / name, title=title)
        pictures.append({"kind": "timing", "file": name, "title": title})
    return pictures
