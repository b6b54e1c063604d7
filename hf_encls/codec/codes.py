"""Codes of EnCodec's residual quantizer: what they are and how they are saved.

A clip's codes come in chunks: one for the 24 kHz model, chunks of 1 s every 0.99 s for the 48 kHz model. The hundredth
of a second that neighbours share is coded twice.
"""

import json
import operator
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hf_encls.codec.published import PUBLISHED, PublishedCodec
from hf_encls.files import write_bytes

MAX_SAMPLES = 1 << 48  # beyond any recording: refused before it is calculated with


class CodesError(ValueError):
    """Codes that cannot be used; the message says why and what would fit."""


@dataclass(frozen=True)
class Layout:
    """How a family of EnCodec models divides a clip."""

    name: str
    sampling_rate: int
    frame_length: int  # samples per frame
    channels: int
    max_codebooks: int
    chunk: int | None  # samples; None: one chunk, the whole clip
    stride: int | None
    scaled: bool  # every chunk is divided by its root mean square, which is stored
    codebook_size: int = 1024

    def num_chunks(self, num_samples: int) -> int:
        """Chunks of a clip."""
        return 1 if self.stride is None else -(-num_samples // self.stride)

    def chunk_samples(self, num_samples: int, index: int) -> int:
        """Samples of a clip's chunk number `index`."""
        return num_samples if self.chunk is None else min(self.chunk, num_samples - index * self.stride)

    def chunk_frames(self, num_samples: int, index: int) -> int:
        """Frames of a clip's chunk number `index`."""
        return -(-self.chunk_samples(num_samples, index) // self.frame_length)


def _layout(codec: PublishedCodec) -> Layout:
    config = codec.config
    return Layout(
        codec.name,
        config.sampling_rate,
        config.hop_length,
        config.audio_channels,
        config.num_quantizers,
        config.chunk_length,
        config.chunk_stride,
        config.normalize,
    )


LAYOUTS = {codec.name: _layout(codec) for codec in PUBLISHED.values()}


@dataclass(frozen=True)
class Codes:
    """The codes of one clip, checked against their layout.

    Args:
        family: `encodec_24khz` or `encodec_48khz`.
        chunks: (K, F) uint16 each.
        scales: the root mean square of each chunk for 48 kHz, None for 24 kHz.
        num_samples: length of the clip.
        codebook_hash: identity of the codebooks, None where it is not known.

    Raises `CodesError` where they contradict each other.
    """

    family: str
    chunks: list[np.ndarray]
    scales: list[float] | None
    num_samples: int
    codebook_hash: str | None = None

    def __post_init__(self):
        layout = self.layout
        if not _is_whole(self.num_samples) or not 0 < self.num_samples < MAX_SAMPLES:
            raise CodesError(f"expected at least one sample, found a length of {self.num_samples!r:.50}")
        if self.codebook_hash is not None and not isinstance(self.codebook_hash, str):
            raise CodesError(f"expected codebook_hash to be a SHA-256 as text, found {self.codebook_hash!r:.50}")
        count = layout.num_chunks(self.num_samples)
        if len(self.chunks) != count:
            raise CodesError(
                f"expected {count} chunks for {self.num_samples} samples of {self.family}, found {len(self.chunks)}"
            )
        if not 1 <= self.num_codebooks <= layout.max_codebooks:
            raise CodesError(f"expected 1 to {layout.max_codebooks} codebooks, found {self.num_codebooks}")
        for index, chunk in enumerate(self.chunks):
            expected = (self.num_codebooks, layout.chunk_frames(self.num_samples, index))
            if chunk.shape != expected or chunk.dtype != np.uint16:
                raise CodesError(
                    f"expected chunk {index} of shape {expected}, uint16, found {chunk.shape}, {chunk.dtype}"
                )
            if chunk.max() >= layout.codebook_size:
                raise CodesError(f"expected codes below {layout.codebook_size}, found {chunk.max()} in chunk {index}")
        if (self.scales is not None) != layout.scaled or (self.scales is not None and len(self.scales) != count):
            raise CodesError(
                f"expected {count if layout.scaled else 'no'} scales for {self.family}, "
                f"found {'none' if self.scales is None else len(self.scales)}"
            )
        for index, scale in enumerate(self.scales or ()):
            if not (np.isfinite(scale) and scale >= 0):
                raise CodesError(f"expected a finite scale of 0 or more, found {scale} in chunk {index}")

    @property
    def layout(self) -> Layout:
        """How the family divides a clip. Raises `CodesError` for an unknown family."""
        return layout_of(self.family)

    @property
    def num_codebooks(self) -> int:
        """Codebooks K of each frame."""
        return len(self.chunks[0])

    @property
    def duration_s(self) -> float:
        """Length of the clip in seconds."""
        return self.num_samples / self.layout.sampling_rate


def layout_of(family: str) -> Layout:
    """The layout of a family. Raises `CodesError` for a name that is none."""
    if not isinstance(family, str) or family not in LAYOUTS:
        raise CodesError(f"expected codes of {' or '.join(LAYOUTS)}, found {family!r:.50}")
    return LAYOUTS[family]


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _plain(value: object) -> object:
    """A whole number as an `int`, also out of a tensor of one; anything else as it is, to be refused by its check."""
    try:
        return value if isinstance(value, bool) else operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        return value


def from_arrays(
    audio_codes,
    audio_scales=None,
    last_frame_pad_length: int = 0,
    *,
    family: str,
    num_samples: int | None = None,
    codebook_hash: str | None = None,
) -> Codes:
    """`EncodecModel.encode`'s output of one clip -> `Codes`.

    Args:
        audio_codes: (chunks, 1, K, F) integers; (K, F) for a single chunk is taken too.
        audio_scales: a number for each chunk (48 kHz), or Nones (24 kHz).
        last_frame_pad_length: frames of padding at the end of the last chunk.
        family: `encodec_24khz` or `encodec_48khz`.
        num_samples: length of the clip; as long as its frames allow where None.
        codebook_hash: identity of the codebooks that the codes point into.

    Raises `CodesError`.
    """
    layout = layout_of(family)
    array = np.asarray(audio_codes)
    array = array[None, None] if array.ndim == 2 else array
    if array.ndim != 4 or array.shape[1] != 1 or not array.size or array.dtype.kind not in "iu":
        raise CodesError(
            "expected integer audio_codes of one clip, of shape (chunks, 1, codebooks, frames), "
            f"found {array.shape}, {array.dtype}"
        )
    if array.min() < 0 or array.max() >= layout.codebook_size:
        raise CodesError(f"expected codes from 0 to {layout.codebook_size - 1}, found {array.min()} to {array.max()}")
    pad = 0 if last_frame_pad_length is None else _plain(last_frame_pad_length)
    num_samples = _plain(num_samples)
    if not _is_whole(pad) or not 0 <= pad < array.shape[-1]:
        raise CodesError(f"expected last_frame_pad_length from 0 to {array.shape[-1] - 1}, found {pad!r:.50}")
    chunks = [np.ascontiguousarray(chunk[0], dtype=np.uint16) for chunk in array]
    chunks[-1] = chunks[-1][:, : chunks[-1].shape[1] - pad]
    if num_samples is None:
        last = chunks[-1].shape[1] * layout.frame_length
        # A chunk longer than the stride is never the last: another one would begin inside it.
        num_samples = last if layout.stride is None else (len(chunks) - 1) * layout.stride + min(last, layout.stride)
    scales = None
    if layout.scaled:
        scales = _scales(audio_scales)
        if scales is None or len(scales) != len(chunks):
            raise CodesError(f"expected {len(chunks)} audio_scales, one number for each chunk of {family}")
    return Codes(family, chunks, scales, num_samples, codebook_hash)


def _scales(values) -> list[float] | None:
    """A number for each chunk; None where they are none."""
    try:
        return [float(np.asarray(value).reshape(-1)[0]) for value in values]
    except (TypeError, ValueError, IndexError):
        return None


def save_codes(codes: Codes, path: str | os.PathLike) -> Path:
    """Write codes as safetensors: `audio_codes` (chunks, 1, K, F) uint16 and `audio_scales`, with metadata."""
    from safetensors.numpy import save

    longest = max(chunk.shape[1] for chunk in codes.chunks)
    array = np.zeros((len(codes.chunks), 1, codes.num_codebooks, longest), np.uint16)
    for row, chunk in zip(array, codes.chunks):
        row[0, :, : chunk.shape[1]] = chunk
    tensors = {"audio_codes": array}
    if codes.scales is not None:
        tensors["audio_scales"] = np.array(codes.scales, np.float32)
    metadata = {"family": codes.family, "num_samples": codes.num_samples, "codebook_hash": codes.codebook_hash}
    return write_bytes(save(tensors, metadata={"encls": json.dumps(metadata)}), path)


def load_codes(path: str | os.PathLike, family: str | None = None, codebook_hash: str | None = None) -> Codes:
    """Read saved codes: safetensors of `save_codes` or of plain `audio_codes` and `audio_scales`, or an `.npy` array.

    `family` and `codebook_hash` say what a file without our metadata holds. Raises `CodesError`; nothing is unpickled.
    """
    path = Path(path)
    try:
        if path.suffix == ".npy":
            arrays, metadata = {"audio_codes": np.load(path, mmap_mode="r", allow_pickle=False)}, {}
        else:
            arrays, metadata = _read_safetensors(path)
    except Exception as error:  # numpy and safetensors raise many kinds
        raise CodesError(f"is not a file of codes ({str(error).splitlines()[0][:150]})") from error
    if "audio_codes" not in arrays:
        raise CodesError(f"expected a tensor audio_codes, found {', '.join(sorted(arrays)) or 'none'}")
    family = metadata.get("family", family)
    if family is None:
        raise CodesError(f"does not say which codec it is of: give family={' or '.join(LAYOUTS)}")
    num_samples = metadata.get("num_samples")
    scales = arrays.get("audio_scales")
    if num_samples is None:
        return from_arrays(arrays["audio_codes"], scales, family=family, codebook_hash=codebook_hash)
    if not _is_whole(num_samples) or not 0 < num_samples < MAX_SAMPLES:
        raise CodesError(f"expected a number of samples in its metadata, found {num_samples!r:.50}")
    layout, array = layout_of(family), arrays["audio_codes"]
    chunked = array.ndim == 4 and array.shape[:2] == (layout.num_chunks(num_samples), 1)
    if not chunked or array.dtype != np.uint16:
        raise CodesError(f"expected codes of {num_samples} samples, found shape {array.shape}, {array.dtype}")
    if array.size and array.max() >= layout.codebook_size:  # also behind the end of the clip, where no chunk reaches
        raise CodesError(f"expected codes below {layout.codebook_size}, found {array.max()}")
    chunks = [chunk[0, :, : layout.chunk_frames(num_samples, i)] for i, chunk in enumerate(array)]
    scales = None if scales is None else _scales(scales.reshape(-1))
    return Codes(family, chunks, scales, num_samples, metadata.get("codebook_hash"))


def _read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], Mapping]:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        header = json.loads((file.metadata() or {}).get("encls", "{}"))
        if not isinstance(header, dict):
            raise ValueError("its metadata is no object")
        names = [name for name in file.keys() if name in ("audio_codes", "audio_scales")]  # noqa: SIM118
        return {name: file.get_tensor(name) for name in names}, header
