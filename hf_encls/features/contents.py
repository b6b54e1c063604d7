"""What is in the files of clips: the checksums that features are kept under."""

import hashlib
import io
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import BinaryIO

from datasets import Dataset

from hf_encls.data.known_files import KnownFiles, known_files


def with_digests(clips: Dataset) -> Dataset:
    """Clips with the column `digest`: a checksum of each file, whatever its path or date, which machines differ in."""
    if "digest" in clips.column_names:
        return clips
    known = known_files()
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        return clips.add_column("digest", list(pool.map(lambda audio: _digest(audio, known), clips["audio"])))


def _digest(audio: dict, known: KnownFiles) -> str:
    if audio["bytes"] is None:
        return known.ask(audio["path"], "sha256", lambda: _sha256(audio))
    return _sha256(audio)


def _sha256(audio: dict) -> str:
    with opened(audio) as file:
        return digest_of(file)


def digest_of(file: BinaryIO) -> str:
    """The checksum of an open file, from its beginning on; it is left there."""
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256")
    file.seek(0)
    return digest.hexdigest()


@contextmanager
def opened(audio: dict) -> Iterator[BinaryIO]:
    """The file of a clip, or the bytes that it came with. Raises `ValueError` where it cannot be read."""
    if audio["bytes"] is not None:
        yield io.BytesIO(audio["bytes"])
        return
    try:
        with open(audio["path"], "rb") as file:
            yield file
    except OSError as error:
        raise broke(audio, f"cannot be read ({error.strerror})") from error


def broke(audio: dict, reason: object) -> ValueError:
    """The error that the file of a clip cannot be used any more."""
    return ValueError(f"{audio['path']} {reason}; it was fine when the folder was scanned")


def changed(audio: dict) -> ValueError:
    """The error that the file of a clip is another one than it was."""
    return ValueError(
        f"{audio['path']} changed while features were made: leave the files as they are, and start again"
    )
