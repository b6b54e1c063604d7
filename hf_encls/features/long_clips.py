"""A clip of minutes or hours: decoded and computed piece by piece, in memory that does not grow with it."""

import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from hf_encls.audio import AudioError, stream
from hf_encls.features.contents import broke, changed, digest_of, opened
from hf_encls.features.stages import one_ahead, to_device

if TYPE_CHECKING:
    from hf_encls.features.computing import Extractor

logger = logging.getLogger(__name__)

LONG_S = 600.0  # a longer clip goes piece by piece; of shorter ones all samples are in memory at once
ROWS = 100  # windows that are written together
ROWS_BYTES = 1 << 26  # of them at most
PIECE_S = 10.0


def read_in_pieces(sampling_rate: int, audio: dict, digest: str, duration_s: float) -> Iterator[np.ndarray]:
    """Blocks (n,) of a clip at the features' rate.

    The checksum of its file is compared before the first and after the last: an error then says that they were another's.
    """
    with opened(audio) as file:
        if digest_of(file) != digest:
            raise changed(audio)
        try:
            found_s = yield from stream(file, sampling_rate, PIECE_S)
        except AudioError as error:
            raise broke(audio, error) from error
        if found_s != duration_s or digest_of(file) != digest:
            raise changed(audio)


@dataclass(frozen=True)
class PieceOfClip:
    """Some windows of a long clip: `values` as `Computed.of` gives them, when each starts, and which are silent (W,)."""

    values: list[np.ndarray]
    starts_s: np.ndarray
    silent: np.ndarray
    duration_s: float  # that they are ahead of the piece before


def in_pieces(extractor: "Extractor", blocks: Iterator[np.ndarray], name: str) -> Iterator[PieceOfClip]:
    """The windows of a long clip that comes in blocks (n,), some at a time; they are those of the whole clip, to rounding.

    A block is read while the one before is computed. Where features depend on the whole sound there is no other way than
    to have all of it in memory: a warning says so.
    """
    heard = Heard(extractor)
    size = max(1, np.dtype(extractor.dtype).itemsize * int(np.prod(extractor.config.stored_shape)))
    at_once = max(1, min(ROWS, ROWS_BYTES // size))
    values: list[np.ndarray] | None = None  # that wait for their samples, or for others to be written with
    first = 0  # the number of the first of them
    with closing(one_ahead(blocks)) as ahead:  # its thread ends here also where an error is kept
        for more in _computed(extractor, heard.passing(ahead), name):
            values = more if values is None else [np.concatenate(each) for each in zip(values, more, strict=True)]
            ready = min(len(values[0]), heard.complete(first + len(values[0])) - first)
            ready -= ready % at_once
            if ready:
                yield heard.piece([each[:ready] for each in values], first)
                values, first = [each[ready:] for each in values], first + ready
    if values is not None and len(values[0]):
        yield heard.piece(values, first)


def _computed(extractor: "Extractor", blocks: Iterator[np.ndarray], name: str) -> Iterator[list[np.ndarray]]:
    frontend, config = extractor.frontend, extractor.config
    if frontend.delay_s(PIECE_S) is None:
        logger.warning(
            "%s is longer than %g minutes, and %s (`codec_policy=%s`) are made of whole sounds: all of it is in memory at "
            "once. If that is too much, cut it into shorter files",
            *(name, LONG_S / 60, config.feature_name, config.codec_policy),
        )
        yield extractor([np.concatenate(list(blocks))]).of(slice(0, 1))[1]
        return
    windows = frontend.stored_stream(to_device([block], extractor.device)[0] for block in blocks)
    while True:
        with torch.inference_mode():  # not while others compute
            some = next(windows, None)
            if some is None:
                return
            stored = extractor.kept(some, [len(some)])
        yield stored.of(slice(0, 1))[1]


class Heard:
    """The samples of a clip that went by, as far as they are needed to say which windows are silent."""

    def __init__(self, extractor: "Extractor"):
        self.extractor, self.config = extractor, extractor.config
        self.count = 0  # samples so far
        self.ended = False
        self._samples = np.zeros(0, np.float32)  # the newest ones
        self._silent: list[bool] = []  # of windows whose samples all have come
        self._starts_s = np.zeros(0)
        self._counted = 0  # samples that are in the pieces so far

    def passing(self, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """The blocks, looked at as they go by."""
        for block in blocks:
            self.count += len(block)
            self._samples = np.concatenate([self._samples, block])
            self._look()
            yield block
        self.ended = True

    def complete(self, windows: int) -> int:
        """How many of the first windows have all of their samples."""
        return windows if self.ended else min(windows, len(self._silent))

    def piece(self, values: list[np.ndarray], first: int) -> PieceOfClip:
        """The complete windows from number `first` on with what is known of them."""
        last = first + len(values[0])
        if last > len(self._silent):  # the end of the clip is mirrored in its last windows
            self._silent += self._silence(last).tolist()
        duration_s, self._counted = (self.count - self._counted) / self.config.sampling_rate, self.count
        return PieceOfClip(values, self._starts(last)[first:], np.array(self._silent[first:last]), duration_s)

    def _look(self) -> None:
        rate, size = self.config.sampling_rate, self.config.window_samples
        windows = len(self._silent) + 1
        while round(self._starts(windows)[-1] * rate) + size <= self.count:
            windows += 1
        self._silent += self._silence(windows - 1).tolist()
        # Of the newest there are enough for any that are mirrored.
        needed = min(round(self._starts(windows)[-1] * rate), self.count - size - 1)
        self._samples = self._samples[max(0, needed - (self.count - len(self._samples))) :]

    def _silence(self, last: int) -> np.ndarray:
        starts_s = self._starts(last)[len(self._silent) :]
        return self.extractor.silent(
            self._samples, starts_s - (self.count - len(self._samples)) / self.config.sampling_rate
        )

    def _starts(self, windows: int) -> np.ndarray:
        """When the first windows of the clip start, in seconds."""
        if windows > len(self._starts_s):
            self._starts_s = self.config.window_starts_s(2 * windows)
        return self._starts_s[:windows]
