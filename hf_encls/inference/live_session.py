"""Live sound that is handed over piece by piece, as a page in a browser does: the same windows as `Listener` gives."""

import queue
import threading
from collections import deque
from collections.abc import Iterator

import numpy as np

from hf_encls.audio import AudioError, check_rate, downmix
from hf_encls.inference.live import Heard, Listener, LiveTimeline
from hf_encls.inference.live_sources import resampled
from hf_encls.inference.pipeline import EnclsPipeline

KEPT = 20  # finished segments that a session remembers


class LiveSession:
    """One listener's sound, pushed in pieces of any length. Memory does not grow with the sound.

    The listener asks for blocks in a thread of its own; `push` returns when it asks for more.

    Raises `ValueError` for a model that cannot listen (`Listener`).
    """

    def __init__(self, pipe: EnclsPipeline):
        self.listener = each = Listener(pipe)
        self.timeline = LiveTimeline(each.labels, each.window_s, each.step_s, each.config)
        self.segments: deque[dict] = deque(maxlen=KEPT)
        self.scores: dict[str, float] | None = None  # of the newest window
        self._rate: int | None = None
        self._blocks: queue.SimpleQueue[np.ndarray | None] = queue.SimpleQueue()
        self._asks = threading.Semaphore(0)  # once for each block that the listener has taken in, and at its end
        self._new: list[Heard] = []
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None

    def push(self, samples: np.ndarray, sampling_rate: int) -> list[Heard]:
        """The next samples (n,) or (n, channels), floats or 16-bit integers -> the windows that are complete now.

        Raises `AudioError` for what are no samples, and where their rate changes.
        """
        samples = np.asarray(samples)
        if samples.dtype.kind == "i":
            samples = samples / np.float32(2.0 ** (8 * samples.dtype.itemsize - 1))
        samples = samples.astype(np.float32)
        if samples.ndim not in (1, 2) or not np.isfinite(samples).all():
            raise AudioError("expected samples (n,) or (n, channels), found something else: start again")
        if self._rate is None:
            check_rate(sampling_rate)
            self._rate = sampling_rate
            self._thread = threading.Thread(target=self._run, daemon=True)
            self._thread.start()
            self._asks.acquire()
        if sampling_rate != self._rate:
            raise AudioError(f"expected sound at {self._rate} Hz, as it began, found {sampling_rate} Hz: start again")
        return self._hand_over(samples if samples.ndim == 1 else downmix(samples))

    def finish(self) -> list[Heard]:
        """The windows of the end. Nothing can be pushed afterwards."""
        if self._thread is None:
            return []
        rest = self._hand_over(None)
        self._thread.join()
        self._thread = None
        self.segments.extend(self.timeline.finish(self.listener.duration_s))
        return rest

    def _hand_over(self, block: np.ndarray | None) -> list[Heard]:
        if self._error is not None:
            raise self._error
        self._blocks.put(block)
        self._asks.acquire()
        if self._error is not None:
            raise self._error
        heard, self._new = self._new, []
        for each in heard:
            self.segments.extend(self.timeline.push(each.as_trained))
            self.scores = dict(zip(self.listener.labels, map(float, each.probabilities), strict=True))
        return heard

    def _pushed(self) -> Iterator[np.ndarray]:
        while True:
            self._asks.release()
            block = self._blocks.get()
            if block is None:
                return
            yield block

    def _run(self) -> None:
        try:
            blocks = resampled(self._pushed(), self._rate, self.listener.config.sampling_rate)
            for heard in self.listener(blocks):
                self._new.append(heard)
        except Exception as error:  # it is raised again by whoever pushes
            self._error = error
        finally:
            self._asks.release()
