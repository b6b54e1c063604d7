"""Files on disk: written whole or not at all, known by their bytes.

What is written gets a temporary name in the folder where it will be, is handed to the disk (fsync) and then renamed, and
the folder is handed to the disk too: after a power cut there is the old file or the new one. A temporary file is locked
while somebody writes it, so that what a killed process left behind can be told from it; the next writer in the same
folder removes it.
"""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

TEMPORARY = ".hf_encls-"  # how every temporary name begins
# What a file system says that cannot lock, or cannot hand a folder to the disk.
UNABLE = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK, errno.EBADF)
# In what safetensors, torch.save (three) and libsndfile say of a file that cannot be written; not of one to read.
CANNOT_WRITE = ("while serializing", "PytorchStreamWriter", "unexpected pos", "iostream error", "System error")

_ASKING = threading.Lock()
_swept: set[Path] = set()  # folders in which this process has looked for what others left behind


@contextmanager
def new_file(path: str | os.PathLike) -> Iterator[Path]:
    """Inside, the file is written under the name that comes out; it appears as `path` when all of it is there.

    The name ends as that of `path` does: many writers choose a format by it. Folders above it are made. After an error
    nothing is left and what was at `path` before is untouched; an `OSError` names `path`, not the temporary file.
    """
    path = Path(path)
    with writing(path), _claimed(path.parent, path.suffix, _make_file) as temporary:
        yield temporary
        move_into_place(temporary, path)


@contextmanager
def new_folder(path: str | os.PathLike) -> Iterator[Path]:
    """As `new_file` for a folder with all that is in it. `path` must not exist, or be an empty folder, at the end."""
    path = Path(path)
    with writing(path), work_folder(path.parent) as temporary:
        yield temporary
        move_into_place(temporary, path)


@contextmanager
def work_folder(parent: str | os.PathLike) -> Iterator[Path]:
    """An empty folder in `parent` (made where it is missing) for files to come; it goes at the end."""
    with _claimed(Path(parent), "", os.mkdir) as folder:
        yield folder


@contextmanager
def writing(path: str | os.PathLike | None) -> Iterator[None]:
    """Inside, an error of writing that names no file, or a temporary one, becomes an `OSError` that names `path`.

    None: the standard output. Libraries have errors of their own for a full disk: they become the system's.
    """
    name = "standard output" if path is None else str(path)
    try:
        yield
    except BrokenPipeError:  # nobody reads the standard output any more: no error of writing
        raise
    except OSError as error:
        names = [str(known) for known in (error.filename, error.filename2) if known is not None]
        if error.errno is not None and (not names or any(TEMPORARY in known for known in names)):
            raise OSError(error.errno, error.strerror, name) from error
        raise
    except Exception as error:
        number = _system_error(error)
        if number is None:
            raise
        reason = f"cannot be written ({error})" if number == errno.EIO else os.strerror(number)
        raise OSError(number, reason, name) from error


def _system_error(error: Exception) -> int | None:
    """The system's error behind one that safetensors, libsndfile, datasets or PyTorch raise while writing; None: none is."""
    kind = type(error).__name__
    if kind not in ("SafetensorError", "LibsndfileError", "RuntimeError", "DatasetGenerationError"):
        return None
    if isinstance(error.__cause__, OSError) and error.__cause__.errno is not None:
        return error.__cause__.errno
    number = re.search(r"os error (\d+)", str(error))
    if number:
        return int(number[1])
    reason = re.search(r"strerror: (.+)", str(error))  # of PyTorch, where a file cannot even be opened
    if reason:
        return next((code for code in errno.errorcode if os.strerror(code) == reason[1].strip()), errno.EIO)
    return errno.EIO if any(text in str(error) for text in CANNOT_WRITE) else None


def move_into_place(finished: Path, path: Path) -> None:
    """Rename a finished file, or a folder with all in it, within one file system, once the disk has it."""
    _settle(finished)
    os.replace(finished, path)
    _sync_folder(path.parent)


def unfinished(path: str | os.PathLike) -> Path:
    """The name beside `path` under which what an interrupted writer of it had made is kept, for people to find."""
    path = Path(path)
    return path.with_name(f"{path.stem}.partial-{os.getpid()}{path.suffix}")


def keep_unfinished(partial: Path, path: str | os.PathLike) -> Path:
    """Rename what an error or an interrupt left of `path` to the name beside it that `unfinished` gives; returns that.

    It is kept even where the disk, which may be what failed, does not say that it has it.
    """
    kept = unfinished(path)
    with suppress(OSError):
        _settle(partial)
    os.replace(partial, kept)
    with suppress(OSError):
        _sync_folder(kept.parent)
    return kept


def hand_to_disk(path: Path) -> None:
    """Return when a file, or a folder with all in it, would be there after a power cut."""
    _settle(path)
    _sync_folder(path.parent)


def write_bytes(data: bytes, path: str | os.PathLike) -> Path:
    """Write a whole file; returns its path."""
    with new_file(path) as temporary:
        temporary.write_bytes(data)
    return Path(path)


def write_text(text: str, path: str | os.PathLike) -> Path:
    """Write a whole file of UTF-8 with the line ends of `text`; returns its path."""
    return write_bytes(text.encode("utf-8"), path)


def write_json(value: object, path: str | os.PathLike) -> Path:
    """Write a whole JSON file for people to read, too; returns its path."""
    return write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", path)


def checksum(path: str | os.PathLike, algorithm: str = "sha256") -> str:
    """The checksum of a file's bytes, as hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


@contextmanager
def _claimed(folder: Path, suffix: str, make: Callable[[Path], object]) -> Iterator[Path]:
    """A new temporary file or folder in `folder`, locked while somebody works on it; what is left of it goes."""
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    while True:
        path = folder / f"{TEMPORARY}{secrets.token_hex(4)}{suffix}"
        make(path)
        try:
            lock = _lock(path)
            break
        except (BlockingIOError, FileNotFoundError):  # another process took it for one that was left behind
            continue
    try:
        yield path
    finally:
        _remove(path)
        if lock is not None:
            os.close(lock)


def _make_file(path: Path) -> None:
    path.open("xb").close()


def _lock(path: Path) -> int | None:
    """An open, locked descriptor of a file or folder; None where the system cannot lock it.

    Raises `BlockingIOError` where another process holds it, `FileNotFoundError` where it is gone.
    """
    if fcntl is None:
        return None
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
        raise FileNotFoundError(errno.ENOENT, "replaced", str(path))
    except OSError as error:
        os.close(descriptor)
        if error.errno in UNABLE:
            return None
        raise


def _sweep(folder: Path) -> None:
    """Remove what killed processes left in a folder: nobody holds its lock. A process looks once."""
    folder = folder.absolute()
    if folder in _swept:
        return
    _swept.add(folder)
    with suppress(OSError):  # a folder that cannot be listed may still be written to
        for name in os.listdir(folder):
            if name.startswith(TEMPORARY):
                with suppress(BlockingIOError, FileNotFoundError):
                    lock = _lock(folder / name)
                    if lock is not None:
                        _remove(folder / name)
                        os.close(lock)


def _remove(path: Path) -> None:
    """Remove a file or folder; what cannot be removed now is swept away later."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    elif path.exists():
        with suppress(OSError):
            path.unlink()


def _settle(path: Path) -> None:
    """Hand a file, or a folder with all in it, to the disk, but not its name.

    Files get the rights of any new file: safetensors makes files that only their owner can read.
    """
    if path.is_dir():
        for folder, _, names in os.walk(path, topdown=False):
            for name in names:
                _settle(Path(folder, name))
            _sync_folder(Path(folder))
        return
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        mask = _umask()
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if 0o666 & ~mask & ~mode:
            path.chmod(mode | 0o666 & ~mask)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    """The rights that new files do not get; it can only be asked for by setting it, so one thread at a time does."""
    with _ASKING:
        mask = os.umask(0)
        os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Hand the names in a folder to the disk, where the system can."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNABLE:
            raise
    finally:
        os.close(descriptor)
