"""Rows of the report that follow from shapes alone: sizes, readings of mel, multiply-adds."""

import math
from collections.abc import Sequence

import torch
from torch import nn
from transformers import EncodecModel

from hf_encls.codec.loading import load_codec
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.reproduction import paper
from hf_encls.reproduction.finished import Finished
from hf_encls.reproduction.grid import Cell
from hf_encls.reproduction.measures import load, mel_frames, sizes

RATES = (22_050, 44_100)
HOPS = (128, 256)


def size_rows(cells: Sequence[Cell]) -> list[dict]:
    """Frames and bytes per second of each representation, as the cells use them."""
    rows = []
    for cell in _one_each(cells):
        cited = paper.FRAMES_PER_S.get(cell.input.features)
        rows.append(
            {
                "dataset": cell.source.key,
                "input": cell.input.key,
                "sampling_rate": cell.network().sampling_rate,
                "hop_length": cell.network().hop_length if cell.input.codec is None else None,
                **sizes(cell.network()),
                "paper_frames_per_s": cited,
            }
        )
    return rows


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


def load_rows(runs: Sequence[Finished]) -> list[dict]:
    """Multiply-adds of the network for each input of each data set, and how they compare with mel's."""
    rows, seen = [], {}
    for run in runs:
        cell = run.cell
        if cell.preset.variant or (cell.source.key, cell.input.key) in seen:
            continue
        seen[cell.source.key, cell.input.key] = load(cell.network(), run.results["train"]["num_windows"])
    for (dataset, entry), counts in seen.items():
        mel = seen.get((dataset, "mel"))
        shown = {"per_s_millions": counts["per_s"] / 1e6, "per_epoch_billions": counts["per_epoch"] / 1e9}
        ratio = counts["forward"] / mel["forward"] if mel else None
        rows.append({"dataset": dataset, "input": entry, **counts, **shown, "of_mel": ratio})
    return rows


def representation_rows(runs: Sequence[Finished]) -> list[dict]:
    """Multiply-adds that make a second of each representation."""
    rows, codecs = [], {}
    seen = set()
    for run in runs:
        cell = run.cell
        where = (cell.source.key, cell.input.key)
        if where in seen:
            continue
        seen.add(where)
        name = cell.input.codec
        if name is not None and name not in codecs:
            codecs[name] = representation_multiply_adds(cell.network(), load_codec(name))
        counts = codecs[name] if name is not None else representation_multiply_adds(cell.network(), None)
        rows.append({"dataset": where[0], "input": where[1], **counts, "per_s_billions": counts["per_s"] / 1e9})
    return rows


def _one_each(cells: Sequence[Cell]) -> list[Cell]:
    """The first cell of each data set and input, variants left out."""
    seen: dict[tuple[str, str], Cell] = {}
    for cell in cells:
        if not cell.preset.variant:
            seen.setdefault((cell.source.key, cell.input.key), cell)
    return list(seen.values())


@torch.no_grad()
def representation_multiply_adds(config: EnclsConfig, codec: EncodecModel | None) -> dict:
    """Multiply-adds that make one second of a representation: `per_s`, and `how` they were counted.

    A codec's convolutions and LSTM are counted layer by layer on one second of audio. Mel: an FFT of n samples as
    2.5 n log2 n operations (half of them multiply-adds at best, counted whole), and the product with the filter bank.
    """
    if codec is None:
        frames = config.num_frames / config.step_s
        fft = 2.5 * config.n_fft * math.log2(config.n_fft)
        return {
            "per_s": frames * (fft + (config.n_fft // 2 + 1) * config.num_bands),
            "how": "estimated (FFT, filters)",
        }
    counts: list[int] = []

    def convolution(module: nn.Conv1d, inputs: tuple, output: torch.Tensor) -> None:
        counts.append(
            output.shape[-1] * module.out_channels * module.in_channels // module.groups * module.kernel_size[0]
        )

    def recurrence(module: nn.LSTM, inputs: tuple, output: tuple) -> None:
        steps = inputs[0].shape[0] * inputs[0].shape[1]
        counts.append(steps * sum(weight.numel() for name, weight in module.named_parameters() if "weight" in name))

    hooks = []
    for module in codec.encoder.modules():
        if isinstance(module, nn.Conv1d):
            hooks.append(module.register_forward_hook(convolution))
        elif isinstance(module, nn.LSTM):
            hooks.append(module.register_forward_hook(recurrence))
    try:
        codec.encoder(torch.zeros(1, codec.config.audio_channels, codec.config.sampling_rate))
    finally:
        for hook in hooks:
            hook.remove()
    return {"per_s": float(sum(counts)), "how": "counted layer by layer"}
