"""Reduced precision that was checked: what this very machine computes in it, compared with float32 before it is used.

oneDNN's bfloat16 convolutions are plainly wrong for some shapes on Intel processors with AMX: errors as large as the
values themselves, without a word.
"""

import copy
import math
import warnings
from collections.abc import Callable, Sequence

import torch
from torch import nn

# The largest error, as a share of the largest value, that still is rounding. bfloat16 keeps 8 bits: inputs, weights and
# results are each off by 1/256 at most, and 0.02 was measured in all; operators that were wrong were off by 0.5 to 1.5.
TOLERANCE = 0.05
LOUDNESS = 8.0  # of the noise: a bias must not hide what a convolution makes of its input

Operator = Callable[[torch.Tensor], Sequence[torch.Tensor]]

_ERRORS: dict[tuple, float] = {}  # of `convolve`'s shapes, found once in a process


class KeepsPrecision(nn.Module):
    """A module whose weights and buffers move with the model, and stay in the precision they were made in."""

    def _apply(self, fn, recurse: bool = True):
        def moved(tensor: torch.Tensor) -> torch.Tensor:
            out = fn(tensor)
            return out if out.dtype == tensor.dtype else tensor.to(out.device)

        return super()._apply(moved, recurse)


def noise(*shape: int, device: torch.device | str = "cpu", seed: int = 0) -> torch.Tensor:
    """Loud noise of a shape, always the same, that leaves the random numbers of everybody else alone."""
    return LOUDNESS * torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)


def error_of(reduced: Operator, exact: Operator, sample: torch.Tensor) -> float:
    """The largest error of `reduced`'s results on a sample against its float32 twin's, relative to the largest value.

    Above `TOLERANCE` it is not rounding. Where float32 itself gives no finite numbers there is nothing to compare: 0.
    """
    with torch.autocast(sample.device.type, enabled=False):
        pairs = list(zip(reduced(sample), exact(sample), strict=True))
    worst = 0.0
    for actual, expected in pairs:
        largest = expected.abs().max().item()
        if math.isfinite(largest):
            error = (actual.float() - expected).abs().max().item() / max(largest, torch.finfo(torch.float32).tiny)
            worst = max(worst, error if math.isfinite(error) else math.inf)
    return worst


def training_error(layer: nn.Module, shape: Sequence[int], dtype: torch.dtype, channels_last: bool = False) -> float:
    """The error of a float32 convolution under autocast: of its results, and of its input's and weight's gradients.

    The input (B, C, ...) lies in memory as `channels_last` says: processors have other code for each.
    """

    def step(sample: torch.Tensor, autocast: bool) -> list[torch.Tensor]:
        sample = sample.clone().requires_grad_()
        # Inside, a weight under weight norm is one tensor, that a gradient can be asked for.
        with nn.utils.parametrize.cached():
            with torch.autocast(sample.device.type, dtype, enabled=autocast):
                out = layer(sample)
            above = noise(*out.shape, device=out.device, seed=1).to(out.dtype)
            return [out.detach(), *torch.autograd.grad(out, [sample, layer.weight], above)]

    device = next(layer.parameters()).device
    with torch.inference_mode(False), torch.enable_grad():
        sample = noise(*shape, device=device)
        if channels_last:
            sample = sample.movedim(1, -1).clone(memory_format=torch.contiguous_format).movedim(-1, 1)
        return error_of(lambda x: step(x, True), lambda x: step(x, False), sample)


def convolve(name: str, conv: nn.Conv2d, image: torch.Tensor) -> torch.Tensor:
    """What a convolution makes of (B, C, h, w), in float32 where the reduced precision asked for is wrong for it here.

    The precision is that of autocast, else that of the weights. Each shape is compared once.
    """
    device = image.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else conv.weight.dtype
    if dtype in (torch.float32, torch.float64) or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return conv(image)
    channels_last = image.stride(1) == 1
    key = (device, dtype, tuple(conv.weight.shape), tuple(image.shape[1:]), channels_last)
    if key not in _ERRORS:
        with torch.inference_mode(False):
            twin = copy.deepcopy(conv).float().requires_grad_()
        _ERRORS[key] = training_error(twin, (1, *image.shape[1:]), dtype, channels_last)
        if _ERRORS[key] > TOLERANCE:
            warn_of({name: _ERRORS[key]}, dtype)
    if _ERRORS[key] <= TOLERANCE:
        return conv(image)
    with torch.autocast(device, enabled=False):
        bias = None if conv.bias is None else conv.bias.float()
        return conv._conv_forward(image.float(), conv.weight.float(), bias).to(dtype)


def warn_of(errors: dict[str, float], dtype: torch.dtype) -> None:
    """Say once which layers compute in float32 because of their errors in `dtype`; nothing where there are none."""
    if errors:
        named = ", ".join(f"{name} (off by {error:.2g})" for name, error in errors.items())
        warnings.warn(
            f"this machine's {str(dtype).removeprefix('torch.')} convolutions are wrong for {named}; at most {TOLERANCE:g} "
            "of the largest value would be rounding: these layers compute in float32 instead",
            RuntimeWarning,
            stacklevel=2,
        )
