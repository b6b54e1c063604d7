"""Reading audio: the only place that decodes.

libsndfile (through soundfile) decodes, soxr resamples. Nothing here needs ffmpeg, torchcodec or torchaudio.
A `source` is a path, the bytes of a file, a binary file object, or a `datasets` cell `{"bytes": ..., "path": ...}`.
"""

import errno
import io
import os
import stat
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from hf_encls.audio.containers import AudioError as AudioError
from hf_encls.audio.containers import FormatError as FormatError
from hf_encls.audio.containers import check_complete, check_container

Source = str | os.PathLike | bytes | BinaryIO | Mapping

# Names of the files that libsndfile reads and users have. MP3 needs libsndfile 1.1 (2022), in every soundfile wheel.
EXTENSIONS = frozenset(
    ".wav .flac .ogg .oga .opus .mp3 .au .snd .aif .aiff .aifc .caf .w64 .rf64 .wve .paf .sph .nist .voc .ircam".split()
)

BLOCK_SAMPLES = 1 << 18  # decoded at a time, so that a wrong header cannot make us allocate gigabytes
MAX_BLOCK_VALUES = 1 << 24  # samples times channels: a thousand channels do not make a block a thousand times larger
MIN_HZ, MAX_HZ = 1_000, 768_000  # other sampling rates are wrong headers, or no sounds
BAD_RESOURCE_FORK = 153  # libsndfile's number
MAX_PEAK = 2.0**31  # of samples in whole numbers, the largest there are; beyond it sums and squares overflow


@contextmanager
def open_wav(path: str | os.PathLike, sampling_rate: int, num_channels: int) -> Iterator[soundfile.SoundFile]:
    """A WAV file of 16 bits to write blocks of samples into.

    Raises `OSError` with its name where it was not written whole: libsndfile passes over an error at the very end.
    """
    try:
        with soundfile.SoundFile(path, "w", sampling_rate, num_channels, subtype="PCM_16", format="WAV") as file:
            yield file
            written = file.frames
    except soundfile.LibsndfileError as error:
        raise OSError(errno.EIO, f"cannot be written ({error.error_string})", os.fspath(path)) from error
    with open(path, "rb") as whole:  # not by libsndfile, which reads around a wrong header
        start, size = whole.read(8), whole.seek(0, os.SEEK_END)
    if int.from_bytes(start[4:], "little") != (size - 8) % 2**32 or size < 2 * written * num_channels:
        raise OSError(errno.EIO, "was not written whole", os.fspath(path))


@dataclass(frozen=True)
class AudioInfo:
    """What is known of a source after it was decoded to its end."""

    sampling_rate: int
    num_samples: int
    num_channels: int
    duration_s: float
    format: str


def inspect(source: Source) -> AudioInfo:
    """Decode a source to its end without keeping it, and say what it is.

    Raises `AudioError` with the reason when it is missing, empty, not audio, truncated, of zero length, of a sampling
    rate that no sound has, in a container that cannot tell whether it is whole, or holds samples that are not finite or
    beyond any scale.
    """
    with _open(source) as file:
        num_samples = num_bad = 0
        for block in _blocks(file, BLOCK_SAMPLES):
            num_samples += len(block)
            bad = _not_finite(block)
            num_bad += bad
            if not bad:
                check_peak(block)
        check_complete(file, num_samples)
        if num_bad:
            share = "all" if num_bad == num_samples else str(num_bad)
            raise AudioError(f"{share} of its {num_samples} samples are not finite numbers (NaN or infinity)")
        return AudioInfo(
            sampling_rate=file.samplerate,
            num_samples=num_samples,
            num_channels=file.channels,
            duration_s=num_samples / file.samplerate,
            format=f"{file.format} {file.subtype}",
        )


def read(source: Source) -> tuple[np.ndarray, int]:
    """Decode a whole source: samples of shape (N, channels) in float32, and the sampling rate in hertz.

    Raises `AudioError` as `inspect` does.
    """
    with _open(source) as file:
        blocks = list(_blocks(file, BLOCK_SAMPLES))
        samples = np.concatenate(blocks) if blocks else np.zeros((0, file.channels), np.float32)
        check_complete(file, len(samples))
        _check_samples(samples)
        return samples, file.samplerate


def load(source: Source, sampling_rate: int | None = None) -> np.ndarray:
    """Decode a source to mono float32 (N,), at `sampling_rate` hertz (its own where None).

    Raises `AudioError` as `inspect` does, and where nothing is left at `sampling_rate`.
    """
    samples, own_rate = read(source)
    return resample(downmix(samples), own_rate, sampling_rate or own_rate)


def stream(
    source: Source, sampling_rate: int | None = None, block_s: float = 10.0
) -> Generator[np.ndarray, None, float]:
    """Decode a source block by block in constant memory: mono float32 blocks (n,) at `sampling_rate` hertz.

    The blocks joined are what `load` returns (the resampler keeps its state between them); the value of `yield from` is
    the length of what was decoded, in seconds. Raises `AudioError` when the source turns out to be broken, which can be
    after some blocks.
    """
    with _open(source) as file:
        rate = sampling_rate or file.samplerate
        resampler = None if rate == file.samplerate else soxr.ResampleStream(file.samplerate, rate, 1, dtype="float32")
        num_samples = 0
        for block in _blocks(file, max(1, round(block_s * file.samplerate))):
            num_samples += len(block)
            _check_samples(block)
            mono = downmix(block)
            if resampler is not None:
                mono = resampler.resample_chunk(mono)
            if len(mono):
                yield mono
        check_complete(file, num_samples)
        _check_length(num_samples, file.samplerate, rate)
        if resampler is not None:
            rest = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
            if len(rest):
                yield rest
        return num_samples / file.samplerate


def blocks(source: Source) -> Iterator[np.ndarray]:
    """A source's own samples (n, channels) block by block. Raises `AudioError` where it cannot be read."""
    with _open(source) as file:
        yield from _blocks(file, BLOCK_SAMPLES)


def header_duration_s(source: Source) -> float | None:
    """What a source's header says of its length in seconds, without decoding; None where it does not know.

    For progress bars: a header can be wrong. A binary file object is left where it was. Raises `AudioError`.
    """
    position = source.tell() if hasattr(source, "read") else None
    with _open(source) as file:
        duration = file.frames / file.samplerate if 0 < file.frames < 2**62 else None
    if position is not None:
        source.seek(position)
    return duration


def downmix(samples: np.ndarray) -> np.ndarray:
    """(N, channels) -> (N,): the mean of the channels, as in the paper."""
    if samples.ndim == 1:
        return np.ascontiguousarray(samples, dtype=np.float32)
    return np.ascontiguousarray(samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1), dtype=np.float32)


def resample(samples: np.ndarray, from_hz: int, to_hz: int) -> np.ndarray:
    """(N,) at `from_hz` -> (N * to_hz / from_hz,) at `to_hz`, by soxr's high quality filter.

    Raises `AudioError` for a rate that no sound has, and where nothing is left.
    """
    check_rate(from_hz)
    if from_hz == to_hz:
        return samples
    _check_length(len(samples), from_hz, to_hz)
    return soxr.resample(samples, from_hz, to_hz).astype(np.float32, copy=False)


def resampled_length(num_samples: int, from_hz: int, to_hz: int) -> int:
    """Samples that `resample` makes of `num_samples`."""
    return int(num_samples * to_hz / from_hz + 0.5)


def check_rate(hz: float) -> None:
    """Raise `AudioError` for a sampling rate that no sound has."""
    if not MIN_HZ <= hz <= MAX_HZ:
        raise AudioError(
            f"has a sampling rate of {hz} Hz: expected {MIN_HZ} to {MAX_HZ}; write it anew with its true rate"
        )


def check_peak(samples: np.ndarray) -> None:
    """Raise `AudioError` for samples beyond any scale."""
    if samples.size and (peak := max(float(samples.max()), -float(samples.min()))) > MAX_PEAK:
        raise AudioError(f"has samples of up to {peak:.3g}: expected floats between -1 and 1")


def describe(source: Source) -> str:
    """A source's name for a message."""
    if isinstance(source, Mapping):
        return str(source.get("path") or "bytes")
    if isinstance(source, bytes):
        return f"{len(source)} bytes"
    return str(getattr(source, "name", source))


def _open(source: Source) -> soundfile.SoundFile:
    if isinstance(source, Mapping):
        if source.get("bytes") is None and source.get("path") is None:
            raise AudioError('neither "bytes" nor "path" is given')
        source = source["bytes"] if source.get("bytes") is not None else source["path"]
    if isinstance(source, bytes | bytearray | memoryview):
        if len(source) == 0:
            raise AudioError("is empty (0 bytes)")
        source = io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        path = Path(source)
        try:
            status = path.stat()
        except (OSError, ValueError):  # or a null byte
            raise AudioError("does not exist") from None
        if stat.S_ISDIR(status.st_mode):
            raise AudioError("is a folder, not an audio file")
        if not stat.S_ISREG(status.st_mode):
            raise AudioError("does not exist")
        if status.st_size == 0:
            raise AudioError("is empty (0 bytes)")
        source = str(path)
    try:
        file = _sound_file(source)
    except (soundfile.LibsndfileError, TypeError, OSError) as error:
        # A name such as x.raw makes soundfile ask for the layout of headerless audio: a TypeError.
        raise FormatError(f"is not audio that libsndfile reads ({_reason(error)})") from error
    try:
        check_rate(file.samplerate)
        check_container(file, source)
    except BaseException:
        file.close()
        raise
    return file


def _sound_file(source: str | BinaryIO) -> soundfile.SoundFile:
    try:
        return soundfile.SoundFile(source)
    except soundfile.LibsndfileError as error:
        if error.code != BAD_RESOURCE_FORK or not isinstance(source, str):
            raise
    # Beside an MP3, `._NAME`, as macOS leaves it on other file systems, is taken for the sound itself. Without a name
    # there is nothing beside it.
    return soundfile.SoundFile(os.open(source, os.O_RDONLY | getattr(os, "O_BINARY", 0)), closefd=True)


def _blocks(file: soundfile.SoundFile, size: int) -> Iterator[np.ndarray]:
    size = min(size, max(1, MAX_BLOCK_VALUES // file.channels))
    while True:
        try:
            block = file.read(size, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"is broken or truncated ({_reason(error)})") from error
        if len(block) == 0:
            return
        yield block


def _check_length(num_samples: int, from_hz: int, to_hz: int) -> None:
    if num_samples and not resampled_length(num_samples, from_hz, to_hz):
        raise AudioError(f"has no samples at {to_hz} Hz: it is too short ({num_samples} at {from_hz} Hz)")


def _not_finite(samples: np.ndarray) -> int:
    """How many samples (N,) or frames of samples (N, channels) hold NaN or infinity."""
    finite = np.isfinite(samples)
    return int(np.count_nonzero(~(finite if samples.ndim == 1 else finite.all(axis=-1))))


def _check_samples(samples: np.ndarray) -> None:
    """Raise `AudioError` where samples (N,) or (N, channels) are not finite, or beyond any scale."""
    bad = _not_finite(samples)
    if bad:
        raise AudioError(f"{bad} of {len(samples)} samples are not finite numbers (NaN or infinity)")
    check_peak(samples)


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).strip().rstrip(".")
