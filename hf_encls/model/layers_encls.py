"""The codec's encoder, made ready for inference once: the layers of transformers with what they recompute prepared.

Weight normalisation is folded. On a CPU with oneDNN the convolutions hold weights packed for it and keep activations
channels-last; elsewhere, and where this PyTorch lacks the operators, they are PyTorch's own. The results are equal to
rounding: which network it is stays in transformers. In a reduced precision each convolution is compared with float32
first, on any device: one that is wrong on this machine stays in float32.
"""

import copy
import math
import platform
import threading
from functools import partial
from itertools import pairwise
from weakref import WeakKeyDictionary

import torch
from torch import nn

from .packed_encls import Elu, Norm, PackedConv1d, adds_itself, leave_room, pad, residual
from .precision_encls import LOUDNESS, TOLERANCE, error_of, noise, warn_of

CHECKED_S = (1.0, 0.1)  # audio for which a reduced precision is compared: a tile or chunk, and a short end of a clip

# Per encoder: what its layers were made of, and the layers for each precision. Never part of a checkpoint.
_PREPARED: WeakKeyDictionary = WeakKeyDictionary()
_PREPARING = threading.Lock()


def encoder_layers(codec: nn.Module, dtype: torch.dtype = torch.float32) -> list[nn.Module]:
    """The layers of EnCodec's encoder, those up to the LSTM in `dtype` where they are right in it, the last in float32.

    They are made once and again when the weights change. They do not train.
    """
    return prepared_layers(codec.encoder, codec.config.sampling_rate, dtype)


def prepared_layers(encoder: nn.Module, sampling_rate: int, dtype: torch.dtype = torch.float32) -> list[nn.Module]:
    """The same of `encoder.layers`, any convolutions built as EnCodec's, the first of which hears `sampling_rate`."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return list(encoder.layers)  # an exported graph holds standard operators
    weights, state = weights_of(encoder)
    with _PREPARING:
        kept = _PREPARED.get(encoder)
        if kept is None or kept[0] != state:
            kept = _PREPARED[encoder] = (state, weights, {})
        layers = kept[2]
        if dtype not in layers:
            packs = _can_pack(weights[0].device) and _packs_in(dtype)
            with torch.inference_mode(False), torch.no_grad():
                layers[dtype] = _prepare(encoder, sampling_rate, dtype, packs)
        return layers[dtype]


def weights_of(encoder: nn.Module) -> tuple[list[torch.Tensor], list[tuple[int, int]]]:
    """The weights, and what changes when they do: where they lie, and how often they were written to.

    Who keeps the second keeps the first beside it, so that no others can come to lie there.
    """
    parameters = list(encoder.parameters())
    weights = [parameter.data for parameter in parameters]
    versions = [0 if parameter.is_inference() else parameter._version for parameter in parameters]
    return weights, [(weight.data_ptr(), version) for weight, version in zip(weights, versions)]


def lstm_position(layers: list[nn.Module]) -> int:
    """Which of the encoder's layers is its LSTM; how many there are where none is."""
    return next((i for i, layer in enumerate(layers) if hasattr(layer, "lstm")), len(layers))


def standard_convolutions(codec: nn.Module) -> nn.Sequential:
    """The layers of `codec.encoder` before its LSTM, prepared, of PyTorch's own operators: other runtimes can read them."""
    with torch.inference_mode(False), torch.no_grad():
        layers = _prepare(codec.encoder, codec.config.sampling_rate, torch.float32, packs=False)
    return nn.Sequential(*layers[: lstm_position(layers)])


def _prepare(encoder: nn.Module, sampling_rate: int, dtype: torch.dtype, packs: bool) -> list[nn.Module]:
    source = encoder.layers
    lstm_at = lstm_position(source)
    layers, errors = [], {}
    lengths = [round(seconds * sampling_rate) for seconds in CHECKED_S]
    for position, layer in enumerate(source):
        if position == lstm_at:
            layers.append(_lstm(layer, dtype, errors, f"encoder.layers.{position}") if packs else layer)
            continue
        dtype_here = dtype if position < lstm_at else torch.float32
        original, layer = layer, copy.deepcopy(layer).requires_grad_(False)
        if not packs:
            layer.to(dtype_here)
        for module, (name, plain) in zip(list(layer.modules()), list(original.named_modules())):
            if not hasattr(plain, "conv"):
                continue
            _fix_padding(module)
            lengths = [math.ceil(length / module.stride) for length in lengths]
            # The codec's own convolution is asked for its weight: the copy may be inside somebody's parametrize.cached().
            module.conv, error = _convolution(plain.conv, dtype_here, packs, lengths)
            if error > TOLERANCE:
                errors[".".join(filter(None, ("encoder.layers", str(position), name)))] = error
            if hasattr(plain, "norm"):
                module.norm = Norm(module.norm)
            if packs:
                module._pad1d = pad
        for steps in (getattr(layer, "block", ()), [layer]):
            for i, elu in enumerate(steps):
                if isinstance(elu, nn.ELU):
                    # All but a residual block's first have an input that nobody else uses.
                    elu.inplace = steps[0] is layer or i > 0
                    steps[i] = Elu(elu) if packs else elu
            for elu, conv in pairwise(steps):
                leave_room(elu, conv)
        if packs and adds_itself(layer) and _adds_right(layer.block[-1].conv, lengths):
            layer.forward = partial(residual, layer)
        layers.append(steps[0])
    for elu, conv in pairwise(layers[:lstm_at]):
        leave_room(elu, conv)
    warn_of(errors, dtype)
    return layers


def _lstm(layer: nn.Module, dtype: torch.dtype, errors: dict[str, float], name: str) -> nn.Module:
    """The codec's LSTM layer in `dtype` where it is right in it on this machine; else as it is, with its error noted."""
    if dtype == torch.float32:
        return layer
    reduced = ReducedLSTM(layer.lstm, dtype)
    # A quarter of a second at most: a step's error does not depend on how many follow.
    sample = noise(16, 1, layer.lstm.input_size, device=layer.lstm.weight_hh_l0.device) / LOUDNESS
    error = error_of(lambda x: reduced(x)[:1], lambda x: layer.lstm(x)[:1], sample)
    if error > TOLERANCE:
        errors[name] = error
        return layer
    prepared = copy.copy(layer)
    prepared._modules = {**layer._modules, "lstm": reduced}
    return prepared


def _convolution(conv: nn.Conv1d, dtype: torch.dtype, packs: bool, frames: list[int]) -> tuple[nn.Module, float]:
    """A convolution ready for use, and its error in `dtype` where it makes that many frames of noise."""

    def made(dtype: torch.dtype) -> nn.Module:
        return PackedConv1d(conv, dtype) if packs else _fold(conv).to(dtype)

    if dtype == torch.float32:
        return made(dtype), 0.0
    reduced = made(dtype)
    with torch.random.fork_rng(devices=[]):  # a new convolution draws its weights
        exact = made(torch.float32)
    field = (conv.kernel_size[0] - 1) * conv.dilation[0] + 1
    errors = [
        error_of(
            lambda sample: [reduced(sample.to(dtype))],
            lambda sample: [exact(sample)],
            # What a padded input of the encoder measures. The faults depend on it: other lengths may be right.
            noise(1, conv.in_channels, (count - 1) * conv.stride[0] + field, device=conv.weight.device),
        )
        for count in frames
    ]
    return (reduced if max(errors) <= TOLERANCE else InFloat32(exact)), max(errors)


def _adds_right(conv: PackedConv1d, frames: list[int]) -> bool:
    """Whether a convolution that is right by itself is so when it adds its result to another: that may be other code."""
    if conv.dtype == torch.float32:
        return True
    inputs = conv.weight.shape[1]
    addends = {count: noise(1, conv.bias.shape[0], count, seed=1).to(conv.dtype) for count in frames}
    errors = [
        error_of(
            lambda sample, addend=addend: [conv.add_to(addend.clone(), sample)],
            lambda sample, addend=addend: [(conv(sample) + addend).float()],
            noise(1, inputs, count),
        )
        for count, addend in addends.items()
    ]
    return max(errors) <= TOLERANCE


def _fix_padding(module: nn.Module) -> None:
    """Paddings of an `EncodecConv1d` as plain numbers: as tensors, every layer would wait for the device to say them."""
    for name in ("stride", "kernel_size", "padding_total"):
        value = int(getattr(module, name))
        delattr(module, name)
        setattr(module, name, value)
    stride, rest = module.stride, module.kernel_size - module.padding_total

    def extra(hidden: torch.Tensor) -> int:
        length = hidden.shape[-1]
        return -((rest - length) // stride) * stride + rest - length

    module._get_extra_padding_for_conv1d = extra


def _can_pack(device: torch.device) -> bool:
    return (
        device.type == "cpu"
        and platform.machine() in ("x86_64", "AMD64")
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        and hasattr(torch._C._nn, "mkldnn_reorder_conv2d_weight")
    )


def _packs_in(dtype: torch.dtype) -> bool:
    """Whether this processor has packed convolutions in a precision: older ones have them in float32 alone."""
    if dtype == torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if dtype == torch.float16:
        return torch.ops.mkldnn._is_mkldnn_fp16_supported()
    return dtype == torch.float32


def _fold(conv: nn.Conv1d) -> nn.Conv1d:
    folded = nn.Conv1d(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, dilation=conv.dilation, groups=conv.groups
    ).to(conv.weight.device)
    folded.weight.copy_(conv.weight)
    folded.bias.copy_(conv.bias)
    return folded.requires_grad_(False)


class ReducedLSTM(nn.Module):
    """An LSTM in a reduced precision between activations in float32; its state stays reduced."""

    def __init__(self, lstm: nn.LSTM, dtype: torch.dtype):
        super().__init__()
        self.lstm = copy.deepcopy(lstm).requires_grad_(False).to(dtype)
        self.dtype = dtype

    def forward(self, hidden: torch.Tensor, state: tuple | None = None) -> tuple[torch.Tensor, tuple]:
        out, state = self.lstm(hidden.to(self.dtype), state)
        return out.float(), state


class InFloat32(nn.Module):
    """A convolution in float32 among layers of a reduced precision."""

    def __init__(self, conv: nn.Module):
        super().__init__()
        self.conv = conv

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.conv(hidden.float()).to(hidden.dtype)
