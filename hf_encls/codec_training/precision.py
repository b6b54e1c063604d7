"""Training in mixed precision on a machine whose operators may be wrong in it: those layers stay in float32."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType

import torch
from torch import Tensor, nn

from hf_encls.codec_training.autoencoder import Autoencoder
from hf_encls.model.precision_encls import TOLERANCE, training_error, warn_of


@contextmanager
def checked_layers(model: Autoencoder, channels: int, samples: int, dtype: torch.dtype, warns: bool) -> Iterator[None]:
    """Inside, convolutions of `model` that are wrong in `dtype` on this machine compute in float32 under autocast.

    Compared with float32 are their results, and the gradients of their inputs and weights, on noise as long as what
    they get for crops (channels, samples). Warns once of those that are wrong, where `warns`.
    """
    errors = {}
    for name, shape in _input_shapes(model, channels, samples).items():
        error = training_error(model.get_submodule(name), shape, dtype)
        if error > TOLERANCE:
            errors[name] = error
    if warns:
        warn_of(errors, dtype)
    try:
        for name in errors:
            layer = model.get_submodule(name)
            layer.forward = MethodType(_forward_in_float32, layer)  # a bound method: a copy of the layer has its own
        yield
    finally:
        for name in errors:
            del model.get_submodule(name).forward


def _forward_in_float32(layer: nn.Module, hidden: Tensor) -> Tensor:
    with torch.autocast(hidden.device.type, enabled=False):
        return type(layer).forward(layer, hidden.float())


@torch.no_grad()
def _input_shapes(model: Autoencoder, channels: int, samples: int) -> dict[str, tuple[int, ...]]:
    """What each convolution gets for one crop: (1, channels, n), by the layer's name."""
    shapes, hooks = {}, []
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):

            def note(_, inputs: tuple[Tensor], name: str = name) -> None:
                shapes[name] = tuple(inputs[0].shape)

            hooks.append(layer.register_forward_pre_hook(note))
    try:
        model(torch.zeros(1, channels, samples, device=next(model.parameters()).device))
    finally:
        for hook in hooks:
            hook.remove()
    return shapes
