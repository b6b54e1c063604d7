"""Where programs write: looked at before the work, named when it fails in the end."""

import argparse
import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
def writing(path: str | os.PathLike | None) -> Iterator[None]:
    """Inside, an `OSError` without a file's name gets that of `path`, where the program writes; None: the terminal.

    Libraries have errors of their own for a full disk: they become the system's.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None and not isinstance(error, BrokenPipeError):
            error.filename = "standard output" if path is None else str(path)
        raise
    except Exception as error:
        number = _system_error(error)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _system_error(error: Exception) -> int | None:
    """The system's error behind one of safetensors, libsndfile or PyTorch while they write."""
    kind = type(error).__name__
    if kind not in ("SafetensorError", "LibsndfileError", "RuntimeError", "DatasetGenerationError"):
        return None
    if isinstance(error.__cause__, OSError) and error.__cause__.errno is not None:
        return error.__cause__.errno
    found = re.search(r"os error (\d+)", str(error))
    if found:
        return int(found[1])
    return errno.EIO if kind == "LibsndfileError" and "System error" in str(error) else None


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
