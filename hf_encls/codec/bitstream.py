"""`.ecdc`: the file format of the reference implementation of EnCodec, without its language-model coder.

All numbers in the header are big-endian:

    4 bytes   the letters ECDC
    1 byte    version, 0
    4 bytes   length of the metadata, unsigned
    metadata  JSON: "m" model, "al" samples of the clip, "nc" codebooks, "lm" whether the language model coded it
    chunks    for each: its scale as a 32-bit float (48 kHz only), then its codes

Codes are numbers of 10 bits, frame by frame and in a frame codebook by codebook. The first code takes the lowest bits
of the first byte; a chunk's last byte is filled with zeros. The files written here have one more key, "codebooks", the
SHA-256 of the codebooks; the reference implementation does not look at it. (Source: encodec/compress.py and
encodec/binary.py of facebookresearch/encodec, read as a description.)
"""

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from hf_encls.codec.codes import LAYOUTS, MAX_SAMPLES, Codes, CodesError, Layout
from hf_encls.files import write_bytes

MAGIC = b"ECDC"
HEADER = struct.Struct("!4sBI")
SCALE = struct.Struct("!f")
BITS = 10  # of a code: 1024 entries in a codebook
MAX_METADATA = 1 << 16  # bytes; real ones have about 60
BLOCK = 1 << 16  # groups of 8 codes unpacked at a time: its bits take a byte each


class BitstreamError(CodesError):
    """Bytes that are not an `.ecdc` file that can be read; the message says why."""


def write_ecdc(codes: Codes, path: str | os.PathLike) -> Path:
    """Write codes as an `.ecdc` file."""
    return write_bytes(pack(codes), path)


def read_ecdc(source: str | os.PathLike | bytes | BinaryIO) -> Codes:
    """Codes of an `.ecdc` file, its bytes or an open file. Raises `BitstreamError`."""
    if isinstance(source, bytes | bytearray | memoryview):
        return unpack(bytes(source))
    if hasattr(source, "read"):
        return unpack(source.read())
    try:
        return unpack(Path(source).read_bytes())
    except OSError as error:
        raise BitstreamError(f"cannot be read ({error.strerror})") from error


def is_ecdc(source: object) -> bool:
    """Whether a source looks like an `.ecdc` file: by its first bytes, or by its name where it cannot be opened."""
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source[:4]) == MAGIC
    if isinstance(source, str | os.PathLike):
        try:
            with Path(source).open("rb") as file:
                return file.read(4) == MAGIC or Path(source).suffix.lower() == ".ecdc"
        except OSError:
            return Path(source).suffix.lower() == ".ecdc"
    return False


def pack(codes: Codes) -> bytes:
    """Codes -> the bytes of an `.ecdc` file."""
    metadata = {"m": codes.family, "al": codes.num_samples, "nc": codes.num_codebooks, "lm": False}
    if codes.codebook_hash is not None:
        metadata["codebooks"] = codes.codebook_hash
    text = json.dumps(metadata).encode()
    parts = [HEADER.pack(MAGIC, 0, len(text)), text]
    for index, chunk in enumerate(codes.chunks):
        if codes.scales is not None:
            parts.append(SCALE.pack(codes.scales[index]))
        parts.append(pack_numbers(chunk.T.reshape(-1), BITS))
    return b"".join(parts)


def unpack(data: bytes) -> Codes:
    """The bytes of an `.ecdc` file -> codes.

    Every length that the file claims is compared with the bytes that are there before memory is taken for it, so
    memory is a small multiple of the file's size. Raises `BitstreamError`.
    """
    metadata, start = _metadata(data)
    if metadata.get("lm") is True:
        raise BitstreamError(
            "was coded with the language model, which is not read here: encode the audio again without it (-l of the "
            "reference implementation), or with hf-encls encode"
        )
    if metadata.get("lm") is not False:
        raise BitstreamError(f'expected "lm" to be true or false in its metadata, found {metadata.get("lm")!r:.50}')
    layout = _layout(metadata)
    num_samples = _integer(metadata, "al", MAX_SAMPLES)
    num_codebooks = _integer(metadata, "nc", layout.max_codebooks)
    expected = _payload_size(layout, num_samples, num_codebooks)
    if len(data) - start != expected:
        raise BitstreamError(
            f"is {'truncated' if len(data) - start < expected else 'too long'}: {num_samples} samples of "
            f"{layout.name} with {num_codebooks} codebooks take {expected} bytes, {len(data) - start} are there"
        )
    chunks, scales = [], []
    for index in range(layout.num_chunks(num_samples)):
        if layout.scaled:
            scales.append(SCALE.unpack_from(data, start)[0])
            start += SCALE.size
        shape = (layout.chunk_frames(num_samples, index), num_codebooks)
        size = _packed_size(shape[0] * shape[1])
        numbers = unpack_numbers(data[start : start + size], shape[0] * shape[1], BITS)
        chunks.append(np.ascontiguousarray(numbers.reshape(shape).T))
        start += size
    try:
        return Codes(layout.name, chunks, scales or None, num_samples, metadata.get("codebooks"))
    except CodesError as error:
        raise BitstreamError(str(error)) from error


def pack_numbers(numbers: np.ndarray, bits: int) -> bytes:
    """(n,) numbers below 2**bits -> bytes: the first number in the lowest bits of the first byte, zeros at the end."""
    out = []
    for i in range(0, len(numbers), 8 * BLOCK):  # 8 numbers end on a byte
        block = numbers[i : i + 8 * BLOCK, None].astype(np.uint16)
        out.append(np.packbits((block >> np.arange(bits, dtype=np.uint16)) & 1, bitorder="little").tobytes())
    return b"".join(out)


def unpack_numbers(data: bytes, count: int, bits: int) -> np.ndarray:
    """The inverse of `pack_numbers`: (count,) uint16. The caller has checked that the bytes are there."""
    out = np.empty(count, np.uint16)
    weights = (1 << np.arange(bits)).astype(np.uint16)
    packed = np.frombuffer(data, np.uint8)
    for i in range(0, count, 8 * BLOCK):
        part = min(8 * BLOCK, count - i)
        piece = packed[i * bits // 8 : (i * bits + part * bits + 7) // 8]
        unpacked = np.unpackbits(piece, count=part * bits, bitorder="little").reshape(part, bits)
        out[i : i + part] = (unpacked * weights).sum(axis=1, dtype=np.uint16)
    return out


def _metadata(data: bytes) -> tuple[dict, int]:
    if len(data) < HEADER.size:
        raise BitstreamError(f"expected an .ecdc file, found {len(data)} bytes, fewer than its header has")
    magic, version, length = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise BitstreamError(f"expected an .ecdc file, which begins with {MAGIC!r}, found {magic!r}")
    if version != 0:
        raise BitstreamError(f"expected version 0 of the format, found {version}")
    if length > MAX_METADATA or HEADER.size + length > len(data):
        raise BitstreamError(f"is broken: its header claims {length} bytes of metadata in a file of {len(data)}")
    try:
        metadata = json.loads(
            data[HEADER.size : HEADER.size + length].decode("utf-8"),
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constant,
        )
    except (ValueError, RecursionError) as error:
        raise BitstreamError(f"is broken: its metadata is not JSON ({str(error)[:100]})") from error
    if not isinstance(metadata, dict):
        raise BitstreamError("is broken: its metadata is not a JSON object")
    return metadata, HEADER.size + length


def _layout(metadata: Mapping) -> Layout:
    name = metadata.get("m")
    if not isinstance(name, str) or name not in LAYOUTS:
        raise BitstreamError(f'expected the model ("m") to be {" or ".join(LAYOUTS)}, found {str(name)[:50]!r}')
    codebooks = metadata.get("codebooks")
    if codebooks is not None and (not isinstance(codebooks, str) or len(codebooks) > 128):
        raise BitstreamError('expected "codebooks" in its metadata to be a SHA-256')
    return LAYOUTS[name]


def _integer(metadata: Mapping, key: str, largest: int) -> int:
    value = metadata.get(key)
    if type(value) is not int or not 1 <= value <= largest:  # bool is an int too
        raise BitstreamError(f'expected "{key}" in its metadata from 1 to {largest}, found {_short(value)}')
    return value


def _short(value: object) -> str:
    # The text of a huge integer takes long to make, or is refused.
    return f"{value.bit_length()} bits" if type(value) is int and value.bit_length() > 64 else repr(value)[:50]


def _payload_size(layout: Layout, num_samples: int, num_codebooks: int) -> int:
    """Bytes of all chunks, without walking through them: all but the last two are full."""
    count = layout.num_chunks(num_samples)
    scale = SCALE.size if layout.scaled else 0
    short = [layout.chunk_frames(num_samples, index) for index in range(max(0, count - 2), count)]
    total = sum(scale + _packed_size(frames * num_codebooks) for frames in short)
    if count > 2:
        total += (count - 2) * (scale + _packed_size(layout.chunk_frames(num_samples, 0) * num_codebooks))
    return total


def _packed_size(count: int) -> int:
    return -(-count * BITS // 8)


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key occurs twice")
    return dict(pairs)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")
