"""Pieces of clips that go through causal convolutions, and in which numbers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import nn

TILE_S = 1.0  # audio that goes through the causal convolutions at once: its activations stay in the cache of a core
LENGTHS = 16  # of last tiles in a second of audio: each new one costs a processor, or cuDNN, half as much as its pass


@dataclass(frozen=True)
class Tiling:
    """How causal convolutions see a clip: in pieces, each behind what its first frame still sees of the one before.

    Args:
        hop: samples of one frame that the convolutions make.
        context: samples before a piece that go along with it, whole frames.
        size: samples of a piece, whole frames.
    """

    hop: int
    context: int
    size: int

    @classmethod
    def of(cls, sampling_rate: int, hop: int, lookback: int) -> "Tiling":
        """Tiles of `TILE_S` for convolutions that see `lookback` samples before a frame's own."""
        return cls(hop, -(-lookback // hop) * hop, max(1, round(TILE_S * sampling_rate / hop)) * hop)

    def cut(self, waveform: torch.Tensor, position: int = 0) -> Iterator[tuple[torch.Tensor, int]]:
        """(tile with its context, frames of context) from `position` on; the last tile is not shorter than half one."""
        for start, end, context in self.places(len(waveform), position):
            yield waveform[start - context : end], context // self.hop

    def places(self, length: int, position: int = 0) -> Iterator[tuple[int, int, int]]:
        """Where `cut` cuts a waveform of `length` samples: (start, end, samples of context before the start)."""
        while position < length:
            end = position + self.size if length - position >= 1.5 * self.size else length
            yield position, end, min(position, self.context)
            position = end

    def filled(self, length: int, frames: int) -> int:
        """Samples up to which a tile behind `frames` of context is filled, so that tiles of all clips have few lengths.

        Very short ones stay as they are: there the codec's reflection at the start reaches their end.
        """
        samples = length - frames * self.hop
        if length <= self.context + self.hop or samples == self.size:
            return length
        step = max(1, round(self.size / self.hop / LENGTHS)) * self.hop
        return frames * self.hop + -(-samples // step) * step


def batch_size(device: torch.device) -> int:
    """Tiles or chunks per pass: one on a CPU, so that it stays in the cache; on an accelerator what memory allows."""
    if device.type != "cuda":
        return 1
    free, _ = torch.cuda.mem_get_info(device)
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # what PyTorch keeps for us
    fits = max(8, min(512, free // (192 << 20)))  # a second of a full-size codec needs about 100 MiB of activations
    return 1 << (
        fits.bit_length() - 1
    )  # the same again and again: each number of tiles is a shape of its own to cuDNN


def side_by_side(device: torch.device) -> int:
    """Sequences that go through the LSTM together: its steps cost almost as much for one as for many."""
    return 16 if device.type == "cpu" else 256


def through(layers: Sequence[nn.Module], hidden: torch.Tensor) -> torch.Tensor:
    """One layer after the other."""
    for layer in layers:
        hidden = layer(hidden)
    return hidden


def through_filled(layers: Sequence[nn.Module], hidden: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
    """As `through` for rows (B, C, n) that end after `lengths`, which must be long enough for the layers' reflections.

    What lies behind the ends changes nothing before them, except where a stride does not divide a length: there the
    codec completes the last step by reflection, and so does this.
    """
    for layer in layers:
        stride = getattr(layer, "stride", 1)
        if stride > 1:
            places = [(row, n + k, n - 2 - k) for row, n in enumerate(lengths) for k in range(-n % stride)]
            if places:
                row, to, source = on_device(torch.tensor(places), hidden.device).T
                hidden[row, :, to] = hidden[row, :, source]
            lengths = [-(-n // stride) for n in lengths]
        hidden = layer(hidden)
    return hidden


def on_device(index: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the host on a device, without waiting for what the device is at."""
    return index.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else index.to(device)


def parts(items: Sequence, size: int) -> Iterator[Sequence]:
    """Items in their order, at most `size` in each."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
