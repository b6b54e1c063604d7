"""What a representation and the network cost, from shapes alone: sizes, multiply-adds. No clip is read here."""

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import product

import torch
from torch.utils.flop_counter import FlopCounterMode

from hf_encls.codec.loading import load_codec
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.reproduction import paper
from hf_encls.reproduction.cells import FinishedCell
from hf_encls.reproduction.grid import Cell

BYTES = {"float16": 2, "float32": 4}
RATES = (22_050, 44_100)
N_FFT = 512


def first_of_each(cells: Iterable[Cell]) -> dict[tuple[str, str], Cell]:
    """The first cell of each data set and input."""
    first: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        first.setdefault((cell.dataset.key, cell.input.key), cell)
    return first


def size_rows(cells: Sequence[Cell]) -> list[dict]:
    """Frames, values and bytes per second of each representation, as the cells (variants left out) use them.

    `frames_per_s` counts the frames that the windows of one second hold, the paper's way of counting. `bytes_per_s` is
    what our feature files hold (float16 for latents and decibels, float32 for power mel), `bytes_float32_per_s` the same
    in single precision.
    """
    rows = []
    for (dataset, entry), cell in first_of_each(cell for cell in cells if not cell.preset.variant).items():
        config = cell.network()
        frames, stored = config.num_frames / config.step_s, config.representation.stored_dtype
        rows.append(
            {
                **{"dataset": dataset, "input": entry, "sampling_rate": config.sampling_rate},
                "hop_length": config.hop_length if cell.input.codec is None else None,
                "frames_per_window": config.num_frames,
                "frames_per_s": frames,
                "values_per_s": frames * config.num_bands,
                "dtype": stored,
                "bytes_per_s": frames * config.num_bands * BYTES[stored],
                "bytes_float32_per_s": frames * config.num_bands * BYTES["float32"],
                "paper_frames_per_s": paper.FRAMES_PER_S.get(cell.input.features),
            }
        )
    return rows


def mel_readings() -> list[dict]:
    """Frames of one second of mel in every reading of the paper: rate, hop, equation (1) or half a window of padding."""
    names = ("sampling_rate", "hop_length", "frames", "frames_centred")
    pairs = product(RATES, paper.MEL_HOPS)
    return [dict(zip(names, (rate, hop, (rate - N_FFT) // hop + 1, rate // hop + 1))) for rate, hop in pairs]


def load_rows(runs: Sequence[FinishedCell]) -> list[dict]:
    """Multiply-adds of the network for each input of each data set: per second of audio (forward), per epoch of
    training (forward and backward), and how they compare with mel's.
    """
    first = first_of_each(run for run in runs if not run.preset.variant)
    counts = {place: multiply_adds(run.network()) for place, run in first.items()}
    rows = []
    for (dataset, entry), run in first.items():
        count, mel, windows = counts[dataset, entry], counts.get((dataset, "mel")), run.results.train.num_windows
        per_s, per_epoch = count["forward"] / run.network().step_s, count["training"] * windows
        row = {"dataset": dataset, "input": entry, **count, "per_s": per_s, "train_windows": windows}
        row |= {"per_epoch": per_epoch, "per_s_millions": per_s / 1e6, "per_epoch_billions": per_epoch / 1e9}
        rows.append(row | {"of_mel": count["forward"] / mel["forward"] if mel else None})
    return rows


def multiply_adds(config: EnclsConfig) -> dict[str, int]:
    """Multiply-adds of the network for one window: `conv1`, `conv2`, `linear`, `forward`, and `training`.

    Training is the forward pass, the gradients of all weights, and the gradients of all inputs but the first layer's.
    """
    head, window = config.head_class(config), torch.zeros(1, config.num_bands, config.num_frames)
    conv1, forward = _counted(head.conv1, window), _counted(lambda each: head(head.features(each)), window)
    linear = _counted(head.classifier, torch.zeros(1, head.num_features(config)))
    counts = {"conv1": conv1, "conv2": forward - conv1 - linear, "linear": linear, "forward": forward}
    return counts | {"training": 3 * forward - conv1, "parameters": head.num_parameters()}


@torch.no_grad()
def _counted(layers: Callable[[torch.Tensor], object], inputs: torch.Tensor) -> int:
    """Multiply-adds of layers on these inputs."""
    with FlopCounterMode(display=False) as counter:
        layers(inputs)
    return counter.get_total_flops() // 2


def representation_rows(runs: Sequence[FinishedCell]) -> list[dict]:
    """Multiply-adds that make a second of each representation."""
    rows = []
    for (dataset, entry), run in first_of_each(runs).items():
        codec = run.input.codec
        counts = mel_multiply_adds(run.network()) if codec is None else codec_multiply_adds(codec)
        rows.append({"dataset": dataset, "input": entry, **counts, "per_s_billions": counts["per_s"] / 1e9})
    return rows


def mel_multiply_adds(config: EnclsConfig) -> dict:
    """Multiply-adds that make one second of mel: `per_s`, and `how` they were counted.

    An FFT of n samples as 2.5 n log2 n operations (half of them multiply-adds at best, counted whole), and the product
    with the filter bank.
    """
    fft = 2.5 * config.n_fft * math.log2(config.n_fft)
    filters = (config.n_fft // 2 + 1) * config.num_bands
    return {"per_s": config.num_frames / config.step_s * (fft + filters), "how": "estimated (FFT, filters)"}


@cache
def codec_multiply_adds(name: str) -> dict:
    """Multiply-adds of a codec's encoder on one second of audio: `per_s`, and `how` they were counted."""
    codec = load_codec(name)
    encoder = copy.deepcopy(codec.encoder).double()  # oneDNN's LSTM, of single precision, would count as nothing
    second = torch.zeros(1, codec.config.audio_channels, codec.config.sampling_rate, dtype=torch.float64)
    return {"per_s": float(_counted(encoder, second)), "how": "counted layer by layer"}
