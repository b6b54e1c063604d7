"""A codec's encoder in a graph that is exported for every length: `torch.export`, and whatever is built on it.

The layers are the library's. What it computes with tensors, or decides by the length that the export is tried with, is
said here in whole numbers that may be symbols, while a graph is drawn and no longer.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch._decomp import decompositions
from torch.fx.experimental import _config as symbols


class ExportError(ValueError):
    """A model that cannot be exported as it was asked for."""


def any_size():
    """While it is open, sizes that follow from the input's are not taken to be above 1 because they were in the trial."""
    return symbols.patch(backed_size_oblivious=True)


@contextmanager
def any_length(encoder: nn.Module) -> Iterator[None]:
    """While it is open, convolutions built as EnCodec's, as Mimi's are, take inputs (B, C, n) of an n that is a symbol."""
    convolutions = [module for module in encoder.modules() if hasattr(module, "_pad1d")]
    for module in convolutions:
        module._get_extra_padding_for_conv1d = lambda hidden: 0  # a part of what `_padding` says
        module._pad1d = _padding(module)
    layer, decompositions.select_one_layer_lstm_function = decompositions.select_one_layer_lstm_function, _lstm
    try:
        yield
    finally:
        decompositions.select_one_layer_lstm_function = layer
        for module in convolutions:
            del module._get_extra_padding_for_conv1d, module._pad1d


def _padding(module: nn.Module) -> Callable[..., torch.Tensor]:
    """`EncodecConv1d._pad1d` of one convolution: reflection, behind zeros where the input is too short for it."""
    conv = module.conv
    stride, size = conv.stride[0], (conv.kernel_size[0] - 1) * conv.dilation[0] + 1
    left = size - stride if module.causal else size - stride - (size - stride) // 2
    fixed = size - stride - left  # on the right, before what the last frame needs

    def pad(hidden: torch.Tensor, paddings: tuple, mode: str = "zero", value: float = 0.0) -> torch.Tensor:
        # As much as a last frame may need, whatever the length: what a stride leaves over is seen by no frame.
        most = fixed + stride - 1
        if mode != "reflect":
            return nn.functional.pad(hidden, (left, most), mode, value)
        # Only the ends are looked up: the middle is the input as it lies.
        length = length_of(hidden)
        right = fixed + (-length).remainder(stride)
        end = torch.maximum(length, right.clamp(min=left) + 1)  # where the zeros end
        before = torch.arange(left, 0, -1, device=hidden.device)
        after = length + torch.arange(most, device=hidden.device)
        after = end - 1 - (end - 1 - after).abs()
        return torch.cat([_at(hidden, before), hidden, _at(hidden, after)], dim=-1)

    return pad


def _at(hidden: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Values (B, C, m) at places m of hidden (B, C, n); zeros where those lie behind its end."""
    length = length_of(hidden)
    return hidden[..., torch.minimum(index, length - 1)] * (index < length)


def length_of(values: torch.Tensor) -> torch.Tensor:
    """The size of the last dimension as a tensor (), which a graph computes with as with any other number."""
    return torch.full((), values.shape[-1], dtype=torch.long, device=values.device)


def _lstm(input: torch.Tensor, hx: tuple, params: list) -> Callable:
    """Instead of `select_one_layer_lstm_function`: the one whose shapes can be told without a step at a time.

    PyTorch's own choice binds the graph, which holds the whole LSTM, to the length of the trial.
    """
    return decompositions.mkldnn_one_layer_lstm


def _register() -> None:
    """Have the library's exporters keep the LSTM whole, also where they draw the graph a second time."""
    try:
        from transformers.exporters.utils import register_patch
    except ImportError:  # a version without them
        return
    for backend in ("onnx", "openvino"):
        register_patch(backend, "torch._decomp.decompositions.select_one_layer_lstm_function")(lambda original: _lstm)


_register()
