"""Reading audio: the only place that decodes.

libsndfile (through soundfile) decodes, soxr resamples. Nothing here needs ffmpeg, torchcodec or torchaudio.
A `source` is a path, the bytes of a file, a binary file object, or a `datasets` cell `{"bytes": ..., "path": ...}`.
"""

import errno
import io
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

Source = str | os.PathLike | bytes | BinaryIO | Mapping

# Names of the files that libsndfile reads and users have. MP3 needs libsndfile 1.1 (2022), in every soundfile wheel.
EXTENSIONS = frozenset(
    ".wav .flac .ogg .oga .opus .mp3 .au .snd .aif .aiff .aifc .caf .w64 .rf64 .wve .paf .sph .nist .voc .ircam".split()
)

BLOCK_SAMPLES = 1 << 18  # decoded at a time, so that a wrong header cannot make us allocate gigabytes


class AudioError(ValueError):
    """A source that cannot be used as audio; the message is the reason."""


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

    Raises `AudioError` with the reason when it is missing, empty, not audio, truncated, of zero length, or holds
    samples that are not finite.
    """
    with _open(source) as file:
        num_samples = num_bad = 0
        for block in _blocks(file, BLOCK_SAMPLES):
            num_samples += len(block)
            num_bad += int(np.count_nonzero(~np.isfinite(block).all(axis=1)))
        _check_complete(file, num_samples)
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
        _check_complete(file, len(samples))
        _check_finite(samples)
        return samples, file.samplerate


def load(source: Source, sampling_rate: int | None = None) -> np.ndarray:
    """Decode a source to mono float32 (N,), at `sampling_rate` hertz (its own where None).

    Raises `AudioError` as `inspect` does.
    """
    samples, own_rate = read(source)
    return resample(downmix(samples), own_rate, sampling_rate or own_rate)


def stream(source: Source, sampling_rate: int | None = None, block_s: float = 10.0) -> Iterator[np.ndarray]:
    """Decode a source block by block in constant memory: mono float32 blocks (n,) at `sampling_rate` hertz.

    The blocks joined are what `load` returns (the resampler keeps its state between them). Raises `AudioError` when
    the source turns out to be broken, which can be after some blocks.
    """
    with _open(source) as file:
        rate = sampling_rate or file.samplerate
        resampler = None if rate == file.samplerate else soxr.ResampleStream(file.samplerate, rate, 1, dtype="float32")
        num_samples = 0
        for block in _blocks(file, max(1, round(block_s * file.samplerate))):
            num_samples += len(block)
            _check_finite(block)
            mono = downmix(block)
            if resampler is not None:
                mono = resampler.resample_chunk(mono)
            if len(mono):
                yield mono
        _check_complete(file, num_samples)
        if resampler is not None:
            rest = resampler.resample_chunk(np.zeros(0, np.float32), last=True)
            if len(rest):
                yield rest


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
    """(N,) at `from_hz` -> (N * to_hz / from_hz,) at `to_hz`, by soxr's high quality filter."""
    if from_hz == to_hz:
        return samples
    return soxr.resample(samples, from_hz, to_hz).astype(np.float32, copy=False)


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
        if path.is_dir():
            raise AudioError("is a folder, not an audio file")
        if not path.is_file():
            raise AudioError("does not exist")
        if path.stat().st_size == 0:
            raise AudioError("is empty (0 bytes)")
        source = str(path)
    try:
        file = soundfile.SoundFile(source)
    except (soundfile.LibsndfileError, TypeError, OSError) as error:
        # A name such as x.raw makes soundfile ask for the layout of headerless audio: a TypeError.
        raise AudioError(f"is not audio that libsndfile reads ({_reason(error)})") from error
    return file


def _blocks(file: soundfile.SoundFile, size: int) -> Iterator[np.ndarray]:
    while True:
        try:
            block = file.read(size, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise AudioError(f"is broken or truncated ({_reason(error)})") from error
        if len(block) == 0:
            return
        yield block


def _check_complete(file: soundfile.SoundFile, num_samples: int) -> None:
    """Raise where fewer samples came than the header promises. libsndfile mends sizes silently and says so in its log."""
    log = file.extra_info
    sizes = re.finditer(r"^\s*(?:data|riff|SSND)\s*(?:size)?\s*:\s*(\d+)\s*\(should be (\d+)\)", log, re.M | re.I)
    # RIFF sizes a few bytes off are a common harmless fault, and all ones means "not known" (a stream).
    for promised, there in (map(int, size.groups()) for size in sizes):
        if there + 16 < promised < 0xFFFFFFFF - 64:
            raise AudioError(f"is truncated: its header promises {promised} bytes, {there} are there")
    if "Junk after the last page" in log:
        raise AudioError("is truncated: its last Ogg page is not complete")
    if num_samples == 0:
        raise AudioError("has no samples (zero length)")
    # A frame count of 2**63 - 1 means that libsndfile could not know it (a pipe, a stream without sizes).
    if num_samples < file.frames < 2**62:
        raise AudioError(f"is truncated: its header promises {file.frames} samples, {num_samples} are there")


def _check_finite(samples: np.ndarray) -> None:
    bad = int(np.count_nonzero(~np.isfinite(samples).all(axis=-1)))
    if bad:
        raise AudioError(f"{bad} of {len(samples)} samples are not finite numbers (NaN or infinity)")


def _reason(error: Exception) -> str:
    return str(getattr(error, "error_string", error)).strip().rstrip(".")
