"""Sliding windows: how many a clip has, and the last one completed by reflection.

One unit is one frame of latents, or one sample where windows are cut from the waveform (mel).
"""

import math
from collections.abc import Sequence

import torch

from .export_encls import length_of

# A rest shorter than a tenth of a step makes no window of its own: it would be nearly all mirror. Real clips are a
# little too long (the OGG edition of ESC-10 has 5.001 s, GTZAN 30.013 s) and would each gain such a window.
SHORTEST_REST = 0.1


def num_windows(length: int, window: int, step: int) -> int:
    """How many windows of `window` units, `step` apart, a clip of `length` units has; at least one."""
    # The shortest rest that makes a window of its own, behind what overlaps: one formula without an `if`, so that an
    # exported graph can hold it for a length that is not known yet.
    rest = max(0, window - step) + math.ceil(SHORTEST_REST * min(window, step))
    return torch.sym_max((length - rest) // step + 1, 1)


def reflect(index: torch.Tensor, length: int) -> torch.Tensor:
    """Fold indices beyond a clip's end back into it, as often as needed, without repeating the end (`np.pad`'s reflect).

    With length 5: 0 1 2 3 4 5 6 7 8 9 -> 0 1 2 3 4 3 2 1 0 1.
    """
    if length == 1:
        return torch.zeros_like(index)
    index = index.remainder(2 * (length - 1))
    return torch.minimum(index, 2 * (length - 1) - index)


def window_index(length: int, window: int, step: int, device: torch.device | str | None = None) -> torch.Tensor:
    """Indices of shape (W, window) into a clip of `length` units: row w starts at w * step, its end is reflected."""
    starts = torch.arange(num_windows(length, window, step), device=device) * step
    return reflect(starts[:, None] + torch.arange(window, device=device), length)


def cut_in_graph(units: torch.Tensor, window: int, step: int) -> torch.Tensor:
    """(B, length) -> (B, W, window), (B, C, length) -> (B, W, C, window): as `cut` does, in a graph for any length."""
    index = torch.arange(num_windows(units.shape[-1], window, step), device=units.device)[:, None] * step
    last = length_of(units) - 1
    index = (index + torch.arange(window, device=units.device)).remainder((2 * last).clamp(min=1))
    index = torch.minimum(torch.minimum(index, (2 * last - index).abs()), last)
    # Looked up in front, so that clips and windows lie one after the other, whatever their number.
    return units[:, index] if units.ndim == 2 else units.transpose(1, 2)[:, index].transpose(2, 3)


def cut(units: torch.Tensor, window: int, step: int) -> torch.Tensor:
    """(C, length) -> (W, C, window): the rows of `window_index`, without an index for those that lie inside the clip.

    They may be views of the clip.
    """
    length = units.shape[-1]
    count = num_windows(length, window, step)
    inside = min(count, max(0, (length - window) // step + 1))
    windows = []
    if inside:
        windows.append(units.unfold(-1, window, step)[:, :inside].transpose(0, 1))
    if count > inside:  # the last one
        index = reflect(torch.arange(window, device=units.device) + inside * step, length)
        windows.append(units[:, index][None])
    return windows[0] if len(windows) == 1 else torch.cat(windows)


def cut_together(clips: Sequence[torch.Tensor], window: int, step: int) -> list[torch.Tensor]:
    """Clips (C, length), each as by `cut`, those of one length at once: in few operations, but copied."""
    by_length: dict[int, list[int]] = {}
    for i, clip in enumerate(clips):
        by_length.setdefault(clip.shape[-1], []).append(i)
    out: list[torch.Tensor] = [None] * len(clips)
    for indices in by_length.values():
        block = torch.stack([clips[i] for i in indices])
        windows = cut(block.flatten(0, 1), window, step)  # (W, B * C, window)
        windows = windows.unflatten(1, block.shape[:2]).transpose(0, 1).unbind()
        for i, clip in zip(indices, windows, strict=True):
            out[i] = clip
    return out


class WindowStream:
    """Cuts windows from units that arrive piece by piece, in memory that does not grow with the clip.

    The windows are those that `cut` makes of the whole.
    """

    def __init__(self, window: int, step: int):
        self.window, self.step = window, step
        self.buffer: torch.Tensor | None = None  # (C, kept)
        self.start = 0  # unit at which the buffer begins
        self.count = 0  # windows given so far

    def push(self, units: torch.Tensor) -> torch.Tensor:
        """(C, n) more units -> (W, C, window) windows that are complete now; W may be 0."""
        self.buffer = units if self.buffer is None else torch.cat([self.buffer, units], dim=-1)
        first = self.count * self.step - self.start  # may lie beyond the buffer where steps leave gaps
        ready = max(0, (self.buffer.shape[-1] - first - self.window) // self.step + 1)
        # All lie inside what is there: views of it, for which no index and no copy is needed.
        windows = (
            self.buffer[:, first:].unfold(-1, self.window, self.step)[:, :ready].transpose(0, 1)
            if ready
            else self._gather(torch.arange(0))
        )
        self.count += ready
        # The last `window` units are kept as well: the rest may have to be reflected into them.
        drop = min(self.count * self.step - self.start, self.buffer.shape[-1] - self.window)
        if drop > 0:
            self.buffer, self.start = self.buffer[:, drop:], self.start + drop
        return windows

    def finish(self) -> torch.Tensor:
        """(W, C, window) with W 0 or 1: the rest of the clip, completed by reflection."""
        if self.buffer is None:
            raise ValueError("expected at least one sample, found an empty clip")
        length = self.start + self.buffer.shape[-1]
        left = num_windows(length, self.window, self.step) - self.count
        return self._gather((self.count + torch.arange(left)) * self.step - self.start)

    def _gather(self, starts: torch.Tensor) -> torch.Tensor:
        index = starts[:, None] + torch.arange(self.window)
        index = reflect(index + self.start, self.start + self.buffer.shape[-1]) - self.start
        return self.buffer[:, index.to(self.buffer.device)].transpose(0, 1)
