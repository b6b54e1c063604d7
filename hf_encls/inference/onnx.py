"""A model as one ONNX graph: waveform (samples,) at the model's rate -> probabilities of its windows (windows, classes).

The graph does what the frontend and the network do, for any length, in operations whose shapes may change: frontends in
Python decide by `if` and loop, a graph cannot. It is compared with the model at several lengths before it is kept.
"""

import copy
import json
import os
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

from hf_encls.files import new_file
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.model.modeling_encls import EnclsForAudioClassification
from hf_encls.model.problem_encls import has_several_labels, thresholds_of
from hf_encls.model.windows_encls import SHORTEST_REST

TOLERANCE = 1e-4
OPSET = 18


class ExportError(ValueError):
    """A model that cannot be exported, or whose graph does not give the model's probabilities."""


def export_onnx(model: EnclsForAudioClassification, path: str | os.PathLike) -> float:
    """Write `model` as an ONNX file and return the largest difference of a probability from PyTorch's.

    Metadata: `encls`, JSON with features, labels, sampling_rate, window_s, step_s and the extractor's settings. Raises
    `ExportError` where the checkpoint has no codec or the graph differs by more than 1e-4, `ValueError` for one whose
    probabilities are no numbers.
    """
    import onnx

    if model.frontend is None:
        raise ExportError(f"this checkpoint was saved without its codec ({model.config.codec_id}): attach it first")
    if model.config.representation.needs_codec and not model.frontend.adapter.exports:
        raise ExportError(
            f"expected a codec whose graph can be drawn, found {model.frontend.adapter.name}: take another or mel"
        )
    model = plain_copy(model)
    graph = Graph(model).eval()
    example = 0.1 * torch.randn(2 * model.config.window_samples + 3 * model.config.step_samples + 1234)
    with new_file(path) as partial:
        with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
            warnings.simplefilter("ignore")
            # The tracer, not torch.export: the codec computes its padding with tensors, which torch.export refuses.
            torch.onnx.export(
                graph,
                (example,),
                partial,
                dynamo=False,
                opset_version=OPSET,
                input_names=["waveform"],
                output_names=["probabilities"],
                dynamic_axes={"waveform": {0: "samples"}, "probabilities": {0: "windows"}},
            )
        loaded = onnx.load(partial)
        onnx.helper.set_model_props(loaded, {"encls": json.dumps(_about(model.config))})
        loaded.producer_name = "hf_encls"
        onnx.checker.check_model(loaded)
        onnx.save(loaded, partial)
        difference = compare(model, partial)
        if not difference <= TOLERANCE:
            raise ExportError(f"expected the graph's probabilities within {TOLERANCE}, found {difference:.2g} beside")
    return difference


def compare(
    model: EnclsForAudioClassification, path: str | os.PathLike, lengths: Sequence[int] | None = None
) -> float:
    """The largest difference between probabilities of the graph and of the model, over clips of several lengths."""
    import onnxruntime

    config = model.config
    window, step = config.window_samples, config.step_samples
    lengths = lengths or [window // 3, window, window + step // 2, 2 * window + 3 * step + 77, 5 * window + 4321]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])
    largest = 0.0
    generator = torch.Generator().manual_seed(0)
    for length in lengths:
        wave = 0.1 * torch.randn(length, generator=generator)
        with torch.no_grad():
            expected = model.probabilities(model.classify_in_parts(model.frontend.windows([wave])[0])).numpy()
        actual = session.run(None, {"waveform": wave.numpy()})[0]
        if actual.shape != expected.shape:
            raise ExportError(f"expected {len(expected)} windows for {length} samples, found {len(actual)}")
        largest = float(np.maximum(largest, np.abs(actual - expected).max()))  # max() would forget a NaN
    return largest


def plain_copy(model: EnclsForAudioClassification) -> EnclsForAudioClassification:
    """A copy in float32 on the CPU whose weights are plain tensors (no weight norm to compute in the graph)."""
    config = copy.deepcopy(model.config)
    if config.representation.needs_codec:
        config.codec_dtype = "float32"
    # Built anew: a deep copy would share its parametrised classes with the model, and removing there would break both.
    out = type(model)(config)
    out.load_state_dict(model.state_dict())
    out = out.cpu().float().eval()
    if config.representation.needs_codec:
        for module in out.frontend.codec.encoder.modules():
            if parametrize.is_parametrized(module):
                for name in list(module.parametrizations):
                    parametrize.remove_parametrizations(module, name)
            if hasattr(module, "_pad1d"):
                module._pad1d = reflect_pad
    return out


class Graph(nn.Module):
    """Frontend, windows and network in operations that can be traced for every length at once."""

    def __init__(self, model: EnclsForAudioClassification):
        super().__init__()
        self.model = model
        config = model.config
        if not config.representation.needs_codec:
            # The Fourier transform as a convolution: ONNX has no real FFT that every runtime knows.
            bins = torch.arange(config.n_fft // 2 + 1, dtype=torch.float64)[:, None]
            phase = 2 * torch.pi * bins * torch.arange(config.n_fft, dtype=torch.float64) / config.n_fft
            taper = torch.hamming_window(config.n_fft, dtype=torch.float64)
            kernels = torch.cat([phase.cos(), -phase.sin()]) * taper
            self.kernels = nn.Buffer(kernels.float()[:, None])  # (2 bins, 1, n_fft)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """(samples,) -> (windows, classes)."""
        config = self.model.config
        if config.representation.needs_codec:
            latents = self._latents(waveform)
            if config.representation.integers:
                frontend = self.model.frontend
                latents = frontend.embed(frontend.codes(latents))
            windows = latents[:, window_index(length_of(latents, 1), config)].transpose(0, 1)
        else:
            windows = self._mel(waveform[window_index(length_of(waveform, 0), config)])
        return self.model.probabilities(self.model.classify(windows))

    def _mel(self, pieces: torch.Tensor) -> torch.Tensor:
        config = self.model.config
        bins = nn.functional.conv1d(pieces[:, None], self.kernels, stride=config.hop_length)
        real, imaginary = bins.chunk(2, dim=1)
        power = (real.square() + imaginary.square()).transpose(1, 2) @ self.model.frontend.filters
        out = power.transpose(1, 2)
        return self.model.frontend.scaled(out)

    def _latents(self, waveform: torch.Tensor) -> torch.Tensor:
        """(samples,) -> (C, F)."""
        config, codec = self.model.config, self.model.frontend.codec.config
        if config.codec_policy == "whole":
            return self._encode(waveform[None])[0]
        size = codec.chunk_length
        stride = codec.chunk_stride if config.codec_policy == "codec" else size
        length = length_of(waveform, 0)
        # Whole chunks share a pass. The last chunk is short or just whole; of overlapping ones a second may be short.
        whole = torch.clamp(torch.div(length - 1 - size + stride, stride, rounding_mode="floor"), min=0)
        frames = -(-size // codec.hop_length)
        # One chunk of zeros goes along, so that there always is one; its latents are dropped.
        padded = nn.functional.pad(waveform, (0, 2 * size))
        index = torch.arange(whole)[:, None] * stride + torch.arange(size)
        chunks = torch.cat([padded.new_zeros(1, size), padded[index]])
        parts = [self._encode(chunks)[1:, :, :frames].transpose(0, 1).flatten(1)]
        for number in range(1 if stride == size else 2):
            start = (whole + number) * stride
            there = torch.clamp(length - start, min=0, max=size)
            # Where there is none, a frame of zeros stands in, and nothing of it is kept.
            piece = padded[start + torch.arange(torch.where(there > 0, there, codec.hop_length))]
            kept = torch.div(there + codec.hop_length - 1, codec.hop_length, rounding_mode="floor")
            parts.append(self._encode(piece[None])[0][:, torch.arange(kept)])
        return torch.cat(parts, dim=1)

    def _encode(self, chunks: torch.Tensor) -> torch.Tensor:
        """(B, samples) -> (B, C, F)."""
        frontend = self.model.frontend
        return frontend.adapter.encode(frontend.codec, chunks)


def length_of(values: torch.Tensor, dim: int) -> torch.Tensor:
    """The size of a dimension as a tensor, which the tracer keeps variable."""
    return torch._shape_as_tensor(values)[dim]


def window_index(length: torch.Tensor, config: EnclsConfig) -> torch.Tensor:
    """`model.windows_encls.window_index` of a length that is a tensor."""
    window, step = config.window_units, config.step_units
    full = torch.clamp(torch.div(length - window, step, rounding_mode="floor") + 1, min=1)
    covered = torch.maximum((full - 1) * step + window, full * step)
    rest = (length - covered).float() >= SHORTEST_REST * min(window, step)
    count = full + (rest & (length > window)).long()
    index = torch.arange(count)[:, None] * step + torch.arange(window)
    index = index.remainder(torch.clamp(2 * (length - 1), min=1))
    # A single sample or frame is its own mirror image.
    return torch.minimum(torch.minimum(index, (2 * (length - 1) - index).abs()), length - 1)


def reflect_pad(hidden: torch.Tensor, paddings: tuple, mode: str = "reflect", value: float = 0.0) -> torch.Tensor:
    """`EncodecConv1d._pad1d` without its `if`: reflection, with zeros on the right first where the input is too short."""
    left, right = (torch.as_tensor(each) for each in paddings)
    length = length_of(hidden, 2)
    if mode != "reflect":
        raise ExportError(f"expected a codec that pads by reflection, found {mode!r}")
    longest = torch.maximum(left, right)
    end = length + torch.clamp(longest - length + 1, min=0)  # where the zeros end
    zeros = hidden[..., :1].repeat(1, 1, 64) * 0
    index = (torch.arange(length + left + right) - left).abs()
    index = (end - 1) - ((end - 1) - index).abs()
    return torch.cat([hidden, zeros], dim=-1)[..., index]


def _about(config: EnclsConfig) -> dict:
    several = has_several_labels(config)
    return {
        "features": config.feature_name,
        "labels": [config.id2label[i] for i in range(config.num_labels)],
        **({"problem_type": config.problem_type, "thresholds": list(thresholds_of(config))} if several else {}),
        "sampling_rate": config.sampling_rate,
        "window_s": config.window_units * config.samples_per_unit / config.sampling_rate,
        "step_s": config.step_units * config.samples_per_unit / config.sampling_rate,
        "codec_id": config.codec_id,
        "codec_hash": config.codec_hash,
        "codec_policy": config.codec_policy,
        "extractor": {
            "feature_extractor_type": "EnclsFeatureExtractor",
            "feature_size": 1,
            "padding_value": 0.0,
            "sampling_rate": config.sampling_rate,
        },
    }
