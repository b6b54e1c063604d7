"""Reduced precision that was checked: what this very machine computes in it, compared with float32 before it is used.

oneDNN's bfloat16 convolutions are plainly wrong for some shapes on Intel processors with AMX: errors as large as the
values themselves, without a word.
"""

import math
import warnings
from collections.abc import Callable, Sequence

import torch

# The largest error, as a share of the largest value, that still is rounding. bfloat16 keeps 8 bits: inputs, weights and
# results are each off by 1/256 at most, and 0.02 was measured in all; operators that were wrong were off by 0.5 to 1.5.
TOLERANCE = 0.05
LOUDNESS = 8.0  # of the noise: a bias must not hide what a convolution makes of its input

Operator = Callable[[torch.Tensor], Sequence[torch.Tensor]]


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
    for found, expected in pairs:
        largest = expected.abs().max().item()
        if math.isfinite(largest):
            error = (found.float() - expected).abs().max().item() / max(largest, torch.finfo(torch.float32).tiny)
            worst = max(worst, error if math.isfinite(error) else math.inf)
    return worst


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
