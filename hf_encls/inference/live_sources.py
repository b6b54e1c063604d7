"""Where live sound comes from: a microphone, a pipe of raw samples, or a file; all as blocks that can be broken off."""

import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import BinaryIO

import numpy as np
import soxr

from hf_encls.audio import AudioError, check_rate, downmix

SAMPLE_TYPES = {"s16le": ("<i2", 2.0**15), "s32le": ("<i4", 2.0**31), "f32le": ("<f4", 1.0)}
WAITING_BLOCKS = 100  # of a microphone; when more wait, this machine is too slow


class Stop:
    """Whether somebody has asked to stop: the first Ctrl-C or SIGTERM ends the sound, the second one the program."""

    def __init__(self):
        self.asked = False
        self._waits = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Inside, signals stop the sound. Outside of the main thread they are somebody else's."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._signal) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def wait_for(self, read: Callable[[], bytes]) -> bytes:
        """What `read` returns, or nothing where it is broken off."""
        try:
            self._waits = True
            return b"" if self.asked else read()
        except KeyboardInterrupt:
            return b""
        finally:
            self._waits = False

    def _signal(self, _number: int, _frame: FrameType | None) -> None:
        again, self.asked = self.asked, True
        if again or self._waits:
            raise KeyboardInterrupt


def until_stopped(blocks: Iterator[np.ndarray], stop: Stop) -> Iterator[np.ndarray]:
    """Blocks, until somebody asks to stop."""
    for block in blocks:
        yield block
        if stop.asked:
            return


def first_seconds(blocks: Iterator[np.ndarray], seconds: float, sampling_rate: int) -> Iterator[np.ndarray]:
    """The first `seconds` of blocks (n,)."""
    left = round(seconds * sampling_rate)
    for block in blocks:
        yield block[:left]
        left -= len(block)
        if left <= 0:
            return


def raw_blocks(
    file: BinaryIO, sample_type: str, num_channels: int, rates: tuple[int, int], block_s: float, stop: Stop
) -> Iterator[np.ndarray]:
    """Raw samples as blocks (n,), mono float32. `rates`: theirs, and the one that is wanted, in hertz.

    Raises `AudioError` where samples are no numbers.
    """
    dtype, scale = SAMPLE_TYPES[sample_type]
    frame = np.dtype(dtype).itemsize * num_channels
    size = max(1, round(block_s * rates[0])) * frame
    kept = b""

    def blocks() -> Iterator[np.ndarray]:
        nonlocal kept
        read = getattr(file, "read1", file.read)
        while data := stop.wait_for(lambda: read(size)):
            data = kept + data
            whole = len(data) - len(data) % frame
            kept = data[whole:]
            samples = np.frombuffer(data[:whole], dtype).astype(np.float32).reshape(-1, num_channels) / np.float32(
                scale
            )
            if not np.isfinite(samples).all():
                raise AudioError(
                    f"expected raw samples of type {sample_type}, found NaN or infinity: is it another type?"
                )
            if len(samples):
                yield downmix(samples)

    return resampled(blocks(), *rates)


def microphone_blocks(
    device: int | str | None, sampling_rate: int, block_s: float, stop: Stop
) -> Iterator[np.ndarray]:
    """What a microphone hears as blocks (n,), mono float32 at `sampling_rate` hertz, until somebody stops it.

    Blocks that come while too many wait are lost, and counted on standard error. Raises `ValueError` where there is no
    such microphone, or sounddevice is not installed.
    """
    sounddevice = import_sounddevice()
    try:
        facts = sounddevice.query_devices(device, "input")
        rate = round(facts["default_samplerate"])
        check_rate(rate)
        waiting: queue.Queue[np.ndarray] = queue.Queue(WAITING_BLOCKS)
        lost = 0

        def heard(samples: np.ndarray, _frames: int, _time, _status) -> None:
            nonlocal lost
            try:
                waiting.put_nowait(samples[:, 0].copy())
            except queue.Full:
                lost += 1

        settings = {"samplerate": rate, "channels": 1, "dtype": "float32", "blocksize": round(block_s * rate)}
        stream = sounddevice.InputStream(device=device, callback=heard, **settings)
    except (ValueError, sounddevice.PortAudioError) as error:
        name = "a microphone" if device is None else f"the microphone {device!r}"
        raise ValueError(
            f"expected {name}, and it cannot be used: {error}. hf-encls listen lists them with `inputs=True`"
        ) from error

    def blocks() -> Iterator[np.ndarray]:
        with stream:
            while not stop.asked:
                try:
                    yield waiting.get(timeout=0.1)
                except queue.Empty:
                    continue
        if lost:
            print(f"{lost} blocks of {block_s:g} s were lost: this machine is too slow", file=sys.stderr)  # noqa: T201

    return resampled(blocks(), rate, sampling_rate)


def import_sounddevice() -> ModuleType:
    """sounddevice. Raises `ValueError` that names the extra where it, or PortAudio, is missing."""
    try:
        import sounddevice
    except ImportError as error:
        raise ValueError("sounddevice is missing: pip install 'hf_encls[live]'") from error
    except OSError as error:
        raise ValueError(f"PortAudio is missing, which sounddevice needs ({error}): install libportaudio2") from error
    return sounddevice


def resampled(blocks: Iterator[np.ndarray], from_hz: int, to_hz: int) -> Iterator[np.ndarray]:
    """Blocks (n,) at another rate; joined they are what resampling all at once gives."""
    if from_hz == to_hz:
        yield from blocks
        return
    resampler = soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32")
    for block in blocks:
        yield resampler.resample_chunk(block)
    yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)
