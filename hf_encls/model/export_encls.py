"""A codec's encoder in a graph that is exported for every length: `torch.export`, and whatever is built on it.

The layers are the library's. What it computes with tensors, or decides by the length that the export is tried with, is
said here in whole numbers that may be symbols, while a graph is drawn and no longer.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module

import torch
from torch import nn
from torch._decomp import decompositions
from torch.fx.experimental import _config as symbols

LSTM_LAYER = torch.ops.aten.mkldnn_rnn_layer.default


class ExportError(ValueError):
    """A model that cannot be exported as it was asked for."""


def any_size():
    """While it is open, sizes that follow from the input's are not taken to be above 1 because they were in the trial."""
    return symbols.patch(backed_size_oblivious=True)


@contextmanager
def any_length(encoder: nn.Module) -> Iterator[None]:
    """While it is open, layers built as EnCodec's, as Mimi's are, take inputs (B, C, n) of an n that is a symbol.

    Raises `ExportError` for an LSTM that goes to ExecuTorch.
    """
    layer = decompositions.select_one_layer_lstm_function
    if getattr(layer, "refuses", False) and any(isinstance(module, nn.LSTM) for module in encoder.modules()):
        raise ExportError(
            "ExecuTorch has no LSTM: expected mel or log-mel features, found a codec whose encoder holds one: export this "
            "model to ONNX or OpenVINO"
        )
    if hasattr(layer, "is_ours"):
        layer.is_ours = True  # an exporter draws the graph a second time, without coming by here
    convolutions = [module for module in encoder.modules() if hasattr(module, "_pad1d")]
    for module in convolutions:
        module._get_extra_padding_for_conv1d = lambda hidden: 0  # a part of what `_padding` says
        module._pad1d = _padding(module)
    decompositions.select_one_layer_lstm_function = _lstm
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
        after = torch.minimum(after, 2 * (end - 1) - after)  # mirrored; OpenVINO leaves whole numbers below 0 in abs()
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


def _choice(original: Callable, refuses: bool = False) -> Callable:
    """PyTorch's choice of an LSTM while an exporter of the library is at work: ours once a model of ours was drawn.

    It is made anew for each export: other people's models are drawn as if this file was not there.
    """

    def choose(*args) -> Callable:
        return _lstm(*args) if choose.is_ours else original(*args)

    choose.is_ours, choose.refuses = False, refuses
    return choose


def _register() -> None:
    """Have the library's exporters keep the LSTM whole, also where they draw the graph a second time."""
    try:
        from transformers.exporters.utils import register_fx_node_fix, register_patch
    except ImportError:  # a version without them
        return
    chosen = "torch._decomp.decompositions.select_one_layer_lstm_function"
    for backend in ("onnx", "openvino", "executorch"):
        register_patch(backend, chosen)(partial(_choice, refuses=backend == "executorch"))
    register_fx_node_fix("openvino")(_keep_outputs_alone)
    register_patch("openvino", "transformers.exporters.exporter_openvino._OV_CONVERSION_EXTENSIONS")(_with_lstm)


def _keep_outputs_alone(graph_module: torch.fx.GraphModule, node: torch.fx.Node) -> bool:
    """Make an LSTM a node with one result, its outputs: of several OpenVINO would take the first row for the first."""
    if node.target is not LSTM_LAYER:
        return False
    backwards, biases = node.args[7], node.args[12]
    if backwards or not biases or any(user.args[1] != 0 and user.users for user in node.users):
        raise ExportError(
            "OpenVINO: expected an LSTM that runs forwards, has biases and is asked for its outputs alone"
        )
    for user in list(node.users):
        user.replace_all_uses_with(node)
        graph_module.graph.erase_node(user)
    return True


def _with_lstm(conversions: list) -> list:
    """Ways to say PyTorch's operators in OpenVINO's, and one for the LSTM."""
    # By its name: what this file imports would have to be installed wherever a checkpoint is loaded.
    extension = import_module("openvino.frontend.pytorch").ConversionExtension
    return [*conversions, extension(str(LSTM_LAYER), _lstm_in_openvino)]


def _lstm_in_openvino(context) -> list:
    """One layer, forwards: values (T, B, C) and PyTorch's weights -> outputs (T, B, H), by OpenVINO's own LSTM."""
    ops = import_module("openvino.opset14")
    values, inner, outer, bias_in, bias_out, hidden, cell = (context.get_input(place) for place in range(7))

    def swapped(each):
        return ops.transpose(each, ops.constant([1, 0, 2]))

    def gates(weights):  # PyTorch's order is input, forget, cell, output
        first, forget, *rest = ops.split(weights, 0, 4).outputs()
        return ops.unsqueeze(ops.concat([forget, first, *rest], 0), ops.constant(0))

    shape = ops.shape_of(values, output_type="i64")
    length, batch = (ops.gather(shape, ops.constant([place]), ops.constant(0)) for place in (0, 1))
    lstm = ops.lstm_sequence(
        *(swapped(each) for each in (values, hidden, cell)),
        ops.broadcast(length, batch),
        *(gates(each) for each in (inner, outer, ops.add(bias_in, bias_out))),
        outer.get_partial_shape()[1].get_length(),
        "forward",
    )
    return [swapped(ops.squeeze(lstm.output(0), ops.constant(1))).output(0)]


_register()
