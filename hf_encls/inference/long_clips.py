"""What long clips need: rows that do not scatter, codes in pieces, and a count of what went by."""

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from tqdm.auto import tqdm

from hf_encls.codec.codes import Codes
from hf_encls.inference.sources import Clip


class Rows:
    """Rows of L numbers that come in pieces, in one block of memory.

    A piece of its own for every ten seconds would lie between the large blocks of the computation, which could then
    neither be joined again nor go back to the system: memory grew with the clip.
    """

    def __init__(self, length: int):
        self.length, self._bytes = length, bytearray()

    def add(self, rows: np.ndarray) -> None:
        """Append rows (n, L), float32."""
        self._bytes += rows.tobytes()

    def all(self) -> np.ndarray:
        """(N, L) float32."""
        return np.frombuffer(self._bytes, np.float32).reshape(-1, self.length)


def pieces_of(codes: Codes, codebooks: int, frames: int) -> Iterator[torch.Tensor]:
    """Codes -> (K, f) int64 with the model's K codebooks, at most `frames` at a time."""
    for chunk in codes.chunks:
        for start in range(0, chunk.shape[1], frames):
            yield torch.from_numpy(chunk[:codebooks, start : start + frames].astype(np.int64))


class Counter:
    """Passes blocks on, counts their samples and shows a progress bar."""

    def __init__(self, clip: Clip, rate: int, progress: bool | None):
        self.rate, self.num_samples = rate, 0
        total = None if clip.expected_s is None else round(clip.expected_s)
        # None lets tqdm decide: it shows bars on terminals only.
        self.bar = tqdm(
            total=total, desc=clip.name[-40:], unit="s", disable=None if progress is None else not progress
        )

    def __call__(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for block in blocks:
            yield block
            before = self.num_samples // self.rate
            self.num_samples += len(block)
            self.bar.update(self.num_samples // self.rate - before)

    def __enter__(self) -> "Counter":
        return self

    def __exit__(self, *_) -> None:
        self.bar.close()
