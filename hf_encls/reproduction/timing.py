"""Inference time per second of audio, split into representation and classification, and the codec's multiply-adds."""

import math
import os
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import EncodecModel

from hf_encls.audio import read, resample
from hf_encls.hub.configuration_encls import EnclsConfig
from hf_encls.hub.modeling_encls import EnclsForAudioClassification


@torch.inference_mode()
def inference_time(model_folder: Path, clips: Sequence[Path], repeats: int = 3, device: str = "cpu") -> dict:
    """Seconds that a model needs for one second of audio: `representation`, `classification` and `total`.

    Representation starts with the decoded mono waveform at the data set's own rate: resampling to the rate of the codec
    belongs to it, reading the file does not. Clips go through one by one; each number is the fastest of `repeats` rounds
    after one that is not counted: whatever else the machine does can only add to it.

    Raises `ValueError` for a model that was saved without its codec.
    """
    model = EnclsForAudioClassification.from_pretrained(model_folder).to(device).eval()
    if model.frontend is None:
        raise ValueError(
            f"expected a model with its codec in {model_folder}, found one without: its time is not known"
        )
    rate = model.config.sampling_rate
    audio = [(samples.mean(axis=1), hz) for samples, hz in map(read, clips)]
    seconds = sum(len(waveform) / hz for waveform, hz in audio)
    rounds = []
    for _ in range(1 + repeats):
        representation = classification = 0.0
        for waveform, hz in audio:
            started = time.perf_counter()
            values = waveform if hz == rate else resample(waveform, hz, rate)
            windows = model.windows(torch.from_numpy(values)[None].to(device))[0]
            _wait(device)
            between = time.perf_counter()
            model.classify(windows)
            _wait(device)
            representation += between - started
            classification += time.perf_counter() - between
        rounds.append((representation / seconds, classification / seconds))
    counted = rounds[1:]
    parts = {name: min(r[i] for r in counted) for i, name in enumerate(("representation", "classification"))}
    return {
        **parts,
        "total": sum(parts.values()),
        "rounds": [{"representation": r, "classification": c} for r, c in counted],
        "clips": len(audio),
        "audio_s": seconds,
        "device": device,
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 1),
    }


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


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
