"""Where programs write: looked at before the work, and written to row by row."""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from hf_encls.files import keep_unfinished, new_file, writing


def output_file(text: str) -> str:
    """The type of an option that names a file to write. Raises `ArgumentTypeError` where none can be."""
    reason = _no_file(text)
    if reason:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be written: {reason}")
    return text


def check_file(path: str | os.PathLike, option: str, or_folder: bool = False) -> None:
    """Raise `ValueError` where `path`, the value of `option`, cannot be a file to write; `or_folder`: nor hold some."""
    if or_folder and Path(path).is_dir():
        check_folder(path, option)
        return
    reason = _no_file(str(path))
    if reason:
        raise ValueError(f"expected {option} to be a file to write, found {str(path)!r}: {reason}")


def check_folder(path: str | os.PathLike, option: str) -> None:
    """Raise `ValueError` where `path`, the value of `option`, cannot be a folder to write into."""
    reason = _no_folder(str(path))
    if reason:
        raise ValueError(f"expected {option} to be a folder to write into, found {str(path)!r}: {reason}")


@contextmanager
def output(path: str | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears when it is finished; an `OSError` of writing names it.

    After an interrupt or an error, what was written is kept under another name beside it, which is printed.
    """
    if path is None:
        with writing(None):
            yield sys.stdout
        return
    target = Path(path)
    with new_file(target) as partial:
        try:
            with partial.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
                yield file
        except BaseException:
            if partial.stat().st_size:
                kept = keep_unfinished(partial, target)
                print(f"{target} is not finished; what was written is in {kept}", file=sys.stderr)
            raise


def _no_file(text: str) -> str | None:
    path = Path(text)
    try:
        if not path.name or path.is_dir():
            return "that is a folder, name a file in it" if text else "it has no name"
        if path.exists() and not path.is_file():
            return "that is a device, a pipe or the like: leave the option out, or name a file"
        if path.exists() and not os.access(path, os.W_OK):
            return "you may not write there"
    except (OSError, ValueError) as error:
        return _reason(error)
    return _no_folder(str(path.parent))


def _no_folder(text: str) -> str | None:
    """Why there can be no folder to write into; None where there can."""
    if not text:
        return "it has no name"
    path = Path(text)
    try:
        path.stat()
    except FileNotFoundError:
        return _no_folder(str(path.parent)) if path.parent != path else "that is nowhere"
    except (OSError, ValueError) as error:
        return _reason(error)
    if not path.is_dir():
        return f"{path} is no folder"
    try:
        with tempfile.TemporaryFile(dir=path):
            return None
    except OSError as error:
        return f"nothing can be written into {path} ({_reason(error)})"


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()
