"""Labels of sound that is still coming: windows one by one, in memory that does not grow, and their timeline."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hf_encls.inference.pipeline import EnclsPipeline
from hf_encls.inference.timeline import DECIMALS, SHORTEST_CELL
from hf_encls.model.calibration_encls import UNKNOWN, tempered
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.model.problem_encls import has_several_labels

PIECE_S = 0.2  # of sound that goes through a codec together: less would be computed more often for little


@dataclass(frozen=True)
class Heard:
    """What a model says of one window."""

    start_s: float
    end_s: float
    label: str
    score: float
    probabilities: np.ndarray  # (L,)
    as_trained: np.ndarray  # (L,) the same before any temperature


class Listener:
    """Turns blocks of samples into windows with labels, as they come.

    They are the windows of `EnclsPipeline` on the whole sound, to rounding, however it is divided into blocks: of EnCodec
    at 24 kHz the state of the convolutions and the LSTM is carried on.

    Args:
        pipe: the model, with the step that `set_step` gave.
        piece_s: seconds of sound that go through a codec together; None: a step, at most `PIECE_S`.

    Raises `ValueError` for a model whose windows depend on the end of the sound, and for one of several labels at once.
    """

    def __init__(self, pipe: EnclsPipeline, piece_s: float | None = None):
        self.pipe, self.config = pipe, pipe.grid
        if has_several_labels(self.config):
            raise ValueError(
                "this model cannot listen: it tells several labels at once, and what is heard is one at a time. hf-encls "
                "segment takes a recording"
            )
        self.frontend = pipe._frontend
        self.piece_s = min(self.step_s, PIECE_S) if piece_s is None else piece_s
        delay_s = self.frontend.delay_s(self.piece_s)
        if delay_s is None or self.config.codec_policy == "codec":
            how = f"policy {self.config.codec_policy}" if self.config.codec_policy else "its codec"
            raise ValueError(
                f"this model cannot listen: {self.config.feature_name} ({how}) is made of whole sounds or of overlapping "
                "chunks. hf-encls segment takes a recording"
            )
        self.delay_s: float = delay_s
        self.num_samples = 0
        self.computing_s = 0.0  # in all
        self.longest_s = 0.0  # for one block

    @property
    def labels(self) -> list[str]:
        """Names of the L classes."""
        return [self.config.id2label[i] for i in range(self.config.num_labels)]

    @property
    def step_s(self) -> float:
        """Seconds between windows."""
        return self.config.step_units * self.config.samples_per_unit / self.config.sampling_rate

    @property
    def window_s(self) -> float:
        """Seconds of a window."""
        return self.config.window_units * self.config.samples_per_unit / self.config.sampling_rate

    @property
    def duration_s(self) -> float:
        """Seconds heard so far."""
        return self.num_samples / self.config.sampling_rate

    def __call__(self, blocks: Iterable[np.ndarray]) -> Iterator[Heard]:
        """Windows of blocks (n,), mono float32 at the model's rate, each as soon as it is there; at the end the rest."""
        labels, count = self.labels, 0
        for probabilities in self._probabilities(iter(blocks)):
            for row in probabilities:
                start = count * self.step_s
                honest = tempered(row, self.config.window_temperature)
                label, score = answer(honest, labels, self.config.window_unknown_below)
                yield Heard(start, min(start + self.window_s, self.duration_s), label, score, honest, row)
                count += 1

    def _probabilities(self, blocks: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        waited = 0.0

        def counted() -> Iterator[torch.Tensor]:
            nonlocal waited
            while True:
                began = time.monotonic()
                block = next(blocks, None)
                waited += time.monotonic() - began
                if block is None:
                    return
                self.num_samples += len(block)
                if len(block):
                    yield torch.from_numpy(np.ascontiguousarray(block, np.float32)).to(self.pipe.device)

        stream = self.frontend.stream(counted(), self.piece_s)
        while True:
            began, waited = time.monotonic(), 0.0
            with torch.inference_mode():
                piece = next(stream, None)
                rows = None if piece is None else self.pipe._classify(piece)
            took = time.monotonic() - began - waited
            self.computing_s += took
            self.longest_s = max(self.longest_s, took)
            if rows is None:
                return
            yield rows


def answer(probabilities: np.ndarray, labels: Sequence[str], unknown_below: float | None) -> tuple[str, float]:
    """The most probable label of (L,) and its probability; `unknown` and what that lacks of 1, where it is too low."""
    best = int(probabilities.argmax())
    score = float(probabilities[best])
    if unknown_below is not None and score < unknown_below:
        return UNKNOWN, 1 - score
    return labels[best], score


class LiveTimeline:
    """Windows one by one -> segments, those that `segments_of` makes of all without smoothing.

    Only the windows that the next cell needs are kept, and the segment that goes on. `config` has the temperature and the
    threshold of windows; None: without.
    """

    def __init__(self, labels: Sequence[str], window_s: float, step_s: float, config: EnclsConfig | None = None):
        self.labels, self.window_s, self.step_s = labels, window_s, step_s
        self.temperature = None if config is None else config.window_temperature
        self.unknown_below = None if config is None else config.window_unknown_below
        self.recent: deque[np.ndarray] = deque(maxlen=max(1, -(-round(window_s * 1e6) // round(step_s * 1e6))))
        self.newest = -1  # number of the newest window, which completes the cell that begins with it
        self.pending: tuple[int, np.ndarray] | None = None  # the newest cell: it may turn out to be none
        self.first, self.label, self.sums, self.seconds = 0, None, np.zeros(len(labels)), 0.0

    def push(self, probabilities: np.ndarray) -> list[dict]:
        """One more window (L,), as trained -> the segments that are finished now: none or one."""
        done = [] if self.pending is None else self._take(self.step_s)
        self.newest += 1
        self.recent.append(np.asarray(probabilities, np.float64))
        self.pending = (self.newest, self._cell(self.newest))
        return done

    def finish(self, duration_s: float) -> list[dict]:
        """The rest, once it is known how long the sound was."""
        if self.pending is None:
            return []
        cells = max(1, int(np.ceil(duration_s / self.step_s - SHORTEST_CELL)))
        done = []
        for cell in range(self.newest, cells):
            if cell > self.newest:
                self.pending = (cell, self._cell(cell))
            done += self._take(duration_s - cell * self.step_s if cell == cells - 1 else self.step_s)
        return [*done, self._segment(duration_s)]

    def _cell(self, cell: int) -> np.ndarray:
        """(L,) the mean of the windows that cover a cell, weighted by the seconds."""
        sums, total = 0.0, 0.0
        for age, row in enumerate(reversed(self.recent), start=cell - self.newest):
            weight = min(self.window_s - age * self.step_s, self.step_s)
            if weight > 1e-6 * self.step_s:
                sums, total = sums + weight * row, total + weight
        return sums / total if total else self.pending[1]

    def _take(self, seconds: float) -> list[dict]:
        """Let the pending cell, of that length, be part of the timeline."""
        cell, probabilities = self.pending
        probabilities = tempered(probabilities, self.temperature)
        label, done = answer(probabilities, self.labels, self.unknown_below)[0], []
        if label != self.label:
            done = [] if self.label is None else [self._segment(cell * self.step_s)]
            self.first, self.label, self.sums, self.seconds = cell, label, np.zeros(len(self.labels)), 0.0
        self.sums = self.sums + seconds * probabilities
        self.seconds += seconds
        return done

    def _segment(self, end: float) -> dict:
        start = round(self.first * self.step_s, DECIMALS)
        means = self.sums / self.seconds
        score = 1 - means.max() if self.label == UNKNOWN else means[self.labels.index(self.label)]
        return {"start": start, "end": round(end, DECIMALS), "label": self.label, "score": float(score)}
