"""What a representation and the network cost, from shapes alone: sizes, multiply-adds. No clip is read here."""

import math
from collections.abc import Sequence

import torch
from torch import nn
from transformers import EncodecModel

from hf_encls.codec.loading import load_codec
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.reproduction import paper
from hf_encls.reproduction.cells import FinishedCell
from hf_encls.reproduction.grid import Cell

BYTES = {"float16": 2, "float32": 4}
RATES = (22_050, 44_100)
HOPS = (128, 256)


def size_rows(cells: Sequence[Cell]) -> list[dict]:
    """Frames and bytes per second of each representation, as the cells (variants left out) use them."""
    rows, seen = [], set()
    for cell in cells:
        place = (cell.dataset.key, cell.input.key)
        if cell.preset.variant or place in seen:
            continue
        seen.add(place)
        config = cell.network()
        hop = config.hop_length if cell.input.codec is None else None
        row = {"dataset": place[0], "input": place[1], "sampling_rate": config.sampling_rate, "hop_length": hop}
        rows.append(row | sizes(config) | {"paper_frames_per_s": paper.FRAMES_PER_S.get(cell.input.features)})
    return rows


def sizes(config: EnclsConfig) -> dict:
    """What one second of a representation is: `frames_per_s`, `values_per_s`, and its bytes.

    `frames_per_s` counts the frames that the windows of one second hold, the paper's way of counting. `bytes_per_s` is
    what our feature files hold (float16 for latents and decibels, float32 for power mel), `bytes_float32_per_s` the same
    in single precision.
    """
    frames = config.num_frames / config.step_s
    values = frames * config.num_bands
    stored = config.representation.stored_dtype
    return {
        "frames_per_window": config.num_frames,
        "frames_per_s": frames,
        "values_per_s": values,
        "dtype": stored,
        "bytes_per_s": values * BYTES[stored],
        "bytes_float32_per_s": values * BYTES["float32"],
    }


def mel_readings() -> list[dict]:
    """Frames of one second of mel in every reading of the paper: rate, hop, centring."""
    return [
        {
            "sampling_rate": rate,
            "hop_length": hop,
            "frames": mel_frames(rate, 1.0, hop),
            "frames_centred": mel_frames(rate, 1.0, hop, centred=True),
        }
        for rate in RATES
        for hop in HOPS
    ]


def mel_frames(sampling_rate: int, window_s: float, hop_length: int, n_fft: int = 512, centred: bool = False) -> int:
    """Frames of a mel spectrogram: equation (1) of the paper, or with half a window of padding on both sides."""
    samples = round(sampling_rate * window_s)
    return samples // hop_length + 1 if centred else (samples - n_fft) // hop_length + 1


def load_rows(runs: Sequence[FinishedCell]) -> list[dict]:
    """Multiply-adds of the network for each input of each data set: per second of audio (forward), per epoch of
    training (forward and backward), and how they compare with mel's.
    """
    rows: dict[tuple[str, str], dict] = {}
    for run in runs:
        place = (run.cell.dataset.key, run.cell.input.key)
        if run.cell.preset.variant or place in rows:
            continue
        config, windows = run.cell.network(), run.results["train"]["num_windows"]
        counts = multiply_adds(config)
        per_s, per_epoch = counts["forward"] / config.step_s, counts["training"] * windows
        row = {"dataset": place[0], "input": place[1], **counts, "per_s": per_s, "train_windows": windows}
        row |= {"per_epoch": per_epoch, "per_s_millions": per_s / 1e6, "per_epoch_billions": per_epoch / 1e9}
        rows[place] = row
    for (dataset, _), row in rows.items():
        mel = rows.get((dataset, "mel"))
        row["of_mel"] = row["forward"] / mel["forward"] if mel else None
    return list(rows.values())


def multiply_adds(config: EnclsConfig) -> dict[str, int]:
    """Multiply-adds of the network for one window: `conv1`, `conv2`, `linear`, `forward`, and `training`.

    Training is the forward pass, the gradients of all weights, and the gradients of all inputs but the first layer's.
    """
    first, second = config.conv_channels
    kernel = config.kernel_size**2
    height, width = (size - config.kernel_size + 1 for size in (config.num_bands, config.num_frames))
    conv1 = height * width * first * kernel
    height, width = (size // config.pool_size - config.kernel_size + 1 for size in (height, width))
    conv2 = height * width * second * first * kernel
    height, width = height // config.pool_size, width // config.pool_size
    linear = second * height * width * config.num_labels
    forward = conv1 + conv2 + linear
    return {
        "conv1": conv1,
        "conv2": conv2,
        "linear": linear,
        "forward": forward,
        "training": 3 * forward - conv1,
        "parameters": (kernel + 1) * first + (first * kernel + 1) * second + linear + config.num_labels,
    }


def representation_rows(runs: Sequence[FinishedCell]) -> list[dict]:
    """Multiply-adds that make a second of each representation."""
    rows: dict[tuple[str, str], dict] = {}
    codecs: dict[str, dict] = {}
    for run in runs:
        cell = run.cell
        place = (cell.dataset.key, cell.input.key)
        if place in rows:
            continue
        codec = cell.input.codec
        if codec is None:
            counts = mel_multiply_adds(cell.network())
        else:
            counts = codecs[codec] = codecs.get(codec) or codec_multiply_adds(load_codec(codec))
        rows[place] = {"dataset": place[0], "input": place[1], **counts, "per_s_billions": counts["per_s"] / 1e9}
    return list(rows.values())


def mel_multiply_adds(config: EnclsConfig) -> dict:
    """Multiply-adds that make one second of mel: `per_s`, and `how` they were counted.

    An FFT of n samples as 2.5 n log2 n operations (half of them multiply-adds at best, counted whole), and the product
    with the filter bank.
    """
    fft = 2.5 * config.n_fft * math.log2(config.n_fft)
    filters = (config.n_fft // 2 + 1) * config.num_bands
    return {"per_s": config.num_frames / config.step_s * (fft + filters), "how": "estimated (FFT, filters)"}


@torch.no_grad()
def codec_multiply_adds(codec: EncodecModel) -> dict:
    """Multiply-adds of a codec's encoder, its convolutions and LSTM layer by layer on one second of audio: `per_s`, and
    `how` they were counted.
    """
    counts: list[int] = []

    def count(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        if isinstance(module, nn.Conv1d):
            channels = module.out_channels * module.in_channels // module.groups
            counts.append(output.shape[-1] * channels * module.kernel_size[0])
        else:
            weights = sum(weight.numel() for name, weight in module.named_parameters() if "weight" in name)
            counts.append(inputs[0].shape[0] * inputs[0].shape[1] * weights)

    layers = [module for module in codec.encoder.modules() if isinstance(module, nn.Conv1d | nn.LSTM)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    try:
        codec.encoder(torch.zeros(1, codec.config.audio_channels, codec.config.sampling_rate))
    finally:
        for hook in hooks:
            hook.remove()
    return {"per_s": float(sum(counts)), "how": "counted layer by layer"}
