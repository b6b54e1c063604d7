"""Blocks of windows -> their windows in another order, and batches of them."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

ROWS_PER_BLOCK = 256  # the order that a seed gives hangs on it
Block = tuple[torch.Tensor, torch.Tensor]  # windows (n, C, T) as they are stored, and their labels (n,) or (n, L)


def mixed(blocks: Iterator[Block], random: np.random.Generator, most_bytes: int) -> Iterator[Block]:
    """All windows of the blocks, mixed among those that come near them: `most_bytes` of them are kept.

    What is kept stays where it is: an order of places is mixed, and a window is copied when it comes and when it goes.
    """
    kept: _Kept | None = None
    for windows, labels in blocks:
        kept = kept or _Kept(windows, labels, most_bytes)
        kept.add(windows, labels)
        if kept.nbytes >= most_bytes:
            kept.mix(random)
            yield from kept.given(kept.count // 2)
    if kept is not None:
        kept.mix(random)
        yield from kept.given(kept.count)


class _Kept:
    """Room for the windows that are mixed, of the kind of a block. NumPy copies rows to their places fastest."""

    def __init__(self, windows: torch.Tensor, labels: torch.Tensor, most_bytes: int):
        self.window_bytes = windows[0].nbytes
        # Half of them stay: of windows so large that a block is more than all, that is up to one block.
        most = max(-(-most_bytes // self.window_bytes), ROWS_PER_BLOCK) + ROWS_PER_BLOCK
        windows, labels = windows.numpy(), labels.numpy()
        # The system gives memory as it is filled.
        self.windows = np.empty((most, *windows.shape[1:]), windows.dtype)
        self.labels = np.empty((most, *labels.shape[1:]), labels.dtype)
        self.free, self.order, self.new = np.arange(most), np.empty(0, np.int64), []
        self.count = 0

    @property
    def nbytes(self) -> int:
        return self.count * self.window_bytes

    def add(self, windows: torch.Tensor, labels: torch.Tensor) -> None:
        places, self.free = self.free[: len(windows)], self.free[len(windows) :]
        self.windows[places], self.labels[places] = windows.numpy(), labels.numpy()
        self.new.append(places)
        self.count += len(places)

    def mix(self, random: np.random.Generator) -> None:
        """Put the places (n,) of all that is there into an order."""
        self.order = np.concatenate([self.order, *self.new])[random.permutation(self.count)]
        self.new = []

    def given(self, count: int) -> Iterator[Block]:
        """The first ones in their order, some at a time; their places are free when the last have been given."""
        places, self.order = self.order[:count], self.order[count:]
        for start in range(0, count, ROWS_PER_BLOCK):
            some = places[start : start + ROWS_PER_BLOCK]
            yield torch.from_numpy(self.windows[some]), torch.from_numpy(self.labels[some])
        self.free = np.concatenate([self.free, np.sort(places)])
        self.count -= count


class StreamedRow(Mapping):
    """A window of a block and its label, `input_features` (C, T) and `labels`; `joined` makes a batch of some."""

    __slots__ = ("at", "block")

    def __init__(self, block: dict[str, torch.Tensor], at: int):
        self.block, self.at = block, at

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.block[name][self.at]

    def __iter__(self) -> Iterator[str]:
        return iter(self.block)

    def __len__(self) -> int:
        return len(self.block)


def joined(rows: Sequence[StreamedRow]) -> dict[str, torch.Tensor]:
    """A batch of rows of a stream; those that follow each other in a block are not copied."""
    runs: list[tuple[dict[str, torch.Tensor], int, int]] = []
    for row in rows:
        if runs and runs[-1][0] is row.block and runs[-1][2] == row.at:
            runs[-1] = (row.block, runs[-1][1], row.at + 1)
        else:
            runs.append((row.block, row.at, row.at + 1))
    batch = {name: [block[name][first:last] for block, first, last in runs] for name in runs[0][0]}
    return {name: parts[0] if len(parts) == 1 else torch.cat(parts) for name, parts in batch.items()}
