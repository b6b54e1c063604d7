"""What can be classified: everything that `open_source` turns into blocks of samples or into codes."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from hf_encls.audio import AudioError, check_peak, check_rate, describe, downmix, header_duration_s, resample, stream
from hf_encls.codec.bitstream import MAGIC, is_ecdc, read_ecdc
from hf_encls.codec.codes import Codes, CodesError, from_arrays, load_codes

ARRAY_BLOCK_S = 10.0
MAX_CHANNELS = 32  # more rows than this on the shorter side of an array are no channels


@dataclass
class Clip:
    """A source that was opened: blocks of mono samples at the model's rate, or codes."""

    name: str
    blocks: Iterator[np.ndarray] | None = None
    codes: Codes | None = None
    expected_s: float | None = None  # length in seconds as the header says, for progress bars


def open_source(source: object, sampling_rate: int, array_rate: int | None = None, family: str | None = None) -> Clip:
    """Open a source for a model that hears `sampling_rate` hertz.

    Args:
        source: path, bytes or binary file object of an audio file or an `.ecdc` file; path of saved codes; array or
            tensor of shape (N,), (N, channels) or (channels, N); `{"array" or "raw", "sampling_rate"}`;
            `{"bytes", "path"}`; a row of `datasets` with an `audio` column; `Codes`, or what `EncodecModel.encode`
            returns.
        sampling_rate: the model's rate in hertz; blocks come at this rate.
        array_rate: rate of plain arrays in hertz; the model's where None.
        family: of codes that do not say what they are (`encodec_24khz`).

    Raises `AudioError` or `CodesError` (both `ValueError`) with the reason; a file that turns out to be broken raises
    while its blocks are read.
    """
    if hasattr(source, "get_all_samples"):  # the decoder that `datasets` gives where torchcodec is installed
        samples = source.get_all_samples()
        return _array(samples.data, samples.sample_rate, sampling_rate)
    if isinstance(source, Codes):
        return _codes(source, "codes")
    if hasattr(source, "audio_codes"):  # an output of EncodecModel.encode is a mapping too
        return _codes(_encoder_output(source, family), "codes")
    if isinstance(source, Mapping):
        return _mapping(source, sampling_rate, array_rate, family)
    if hasattr(source, "__array__") or isinstance(source, torch.Tensor):
        return _array(source, array_rate or sampling_rate, sampling_rate)
    if isinstance(source, str | os.PathLike | bytes | bytearray | memoryview) or hasattr(source, "read"):
        return _file(source, sampling_rate, family)
    raise AudioError(
        f"expected a path, bytes, a file, an array, a dict or codes, found {type(source).__name__}: a list is taken "
        "as several sources, so make one waveform an array"
    )


def name_of(source: object) -> str:
    """A source's name for a message: its file where it has one."""
    if isinstance(source, Mapping):
        inner = source.get("audio")
        return name_of(inner) if inner is not None else str(source.get("path") or "dict")
    if isinstance(source, str | os.PathLike | bytes) or hasattr(source, "read"):
        return describe(source)
    return type(source).__name__


def _file(source, sampling_rate: int, family: str | None) -> Clip:
    name = describe(source)
    if isinstance(source, str | os.PathLike):
        if str(source).startswith(("http://", "https://")):
            raise AudioError("is an address: download it first, for example with huggingface_hub or urllib")
        if Path(source).suffix.lower() in (".safetensors", ".npy"):
            return _codes(load_codes(source, family), name)
    if hasattr(source, "read"):
        if not source.seekable():
            source = source.read()
        else:
            start = source.read(len(MAGIC))
            source.seek(-len(start), os.SEEK_CUR)
            if start == MAGIC:
                return _codes(read_ecdc(source), name)
    if is_ecdc(source):
        return _codes(read_ecdc(source), name)
    expected_s = header_duration_s(source)
    return Clip(name, stream(source, sampling_rate), expected_s=expected_s)


def _mapping(source: Mapping, sampling_rate: int, array_rate: int | None, family: str | None) -> Clip:
    if "audio_codes" in source:
        return _codes(_encoder_output(source, family), "codes")
    samples = source.get("array", source.get("raw"))
    if samples is not None:
        rate = source.get("sampling_rate", array_rate)
        if rate is None:
            raise AudioError('expected a dict with "array" to have "sampling_rate" too')
        clip = _array(samples, rate, sampling_rate)
        clip.name = str(source.get("path") or clip.name)
        return clip
    if source.get("bytes") is not None or source.get("path") is not None:
        data = source["bytes"] if source.get("bytes") is not None else source["path"]
        clip = _file(data, sampling_rate, family)
        clip.name = describe(source)
        return clip
    if source.get("audio") is not None:
        return open_source(source["audio"], sampling_rate, array_rate, family)
    raise AudioError(
        'expected a dict with "array" and "sampling_rate", "bytes" or "path", "audio", or "audio_codes"; '
        f"found the keys {', '.join(map(str, source)) or 'none'}"
    )


def _encoder_output(source, family: str | None) -> Codes:
    get = source.get if isinstance(source, Mapping) else lambda key, default=None: getattr(source, key, default)
    family = get("family", family) or family
    if family is None:
        raise CodesError("expected to be told what codec the codes are of: add family=encodec_24khz or encodec_48khz")
    values = [get("audio_codes"), get("audio_scales")]
    codes, scales = (_numpy(each) for each in values)
    return from_arrays(
        codes,
        scales,
        get("last_frame_pad_length", 0),
        family=family,
        num_samples=get("num_samples"),
        codebook_hash=get("codebook_hash"),
    )


def _numpy(value):
    if isinstance(value, list | tuple):
        return [_numpy(each) for each in value]
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value


def _codes(codes: Codes, name: str) -> Clip:
    return Clip(name, codes=codes, expected_s=codes.duration_s)


def _array(samples, from_hz: int, to_hz: int) -> Clip:
    samples = np.asarray(_numpy(samples))
    if samples.dtype.kind not in "f":
        scale = f": divide by {np.iinfo(samples.dtype).max}" if samples.dtype.kind in "iu" else ""
        raise AudioError(f"expected float samples between -1 and 1, found {samples.dtype}{scale}")
    if samples.ndim == 2:
        # soundfile has channels last, torch first; the shorter side is the channels.
        samples = samples.T if samples.shape[0] < samples.shape[1] else samples
        if samples.shape[1] > MAX_CHANNELS:
            raise AudioError(f"expected at most {MAX_CHANNELS} channels, found an array of shape {samples.shape}")
    if samples.ndim not in (1, 2):
        raise AudioError(f"expected one clip, (N,) or (N, channels), found an array of shape {samples.shape}")
    if not samples.size:
        raise AudioError("expected at least one sample, found an empty array")
    if not (isinstance(from_hz, int | np.integer) or float(from_hz).is_integer()) or not from_hz > 0:
        raise AudioError(f"expected a sampling rate in whole hertz above 0, found {from_hz}")
    check_rate(from_hz)
    bad = samples.size - int(np.count_nonzero(np.isfinite(samples)))
    if bad:
        raise AudioError(f"expected finite samples, found {bad} NaN or infinite of {samples.size}")
    check_peak(samples)
    mono = resample(downmix(samples), int(from_hz), to_hz)
    size = max(1, round(ARRAY_BLOCK_S * to_hz))
    blocks = (mono[i : i + size] for i in range(0, len(mono), size))
    return Clip("array", blocks, expected_s=len(samples) / from_hz)
