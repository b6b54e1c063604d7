"""Files on disk: written whole or not at all, found once each, known by their bytes.

What is written gets a temporary name in the folder where it will be, is handed to the disk (fsync) and then renamed, and
the folder is handed to the disk too: after a power cut there is the old file or the new one. A temporary file is locked
while somebody writes it, so that what a killed process left behind can be told from it; the next writer in the same
folder removes it.
"""

import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

TEMPORARY = ".hf_encls-"  # how every temporary name begins
HIDDEN = (".", "__MACOSX")  # how names begin that nobody means: hidden ones, and what macOS adds to archives
# What a file system says that cannot lock, or cannot hand a folder to the disk.
UNABLE = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK, errno.EBADF)
TORCH_CANNOT_WRITE = ("inline_container", "PytorchStreamWriter", "iostream error")  # in what torch.save says

_swept: set[Path] = set()  # folders in which this process has looked for what others left behind


@contextmanager
def new_file(path: str | os.PathLike) -> Iterator[Path]:
    """Inside, the file is written under the name that comes out; it appears as `path` when all of it is there.

    The name ends as that of `path` does: many writers choose a format by it. Folders above it are made. After an error
    nothing is left and what was at `path` before is untouched; an `OSError` names `path`, not the temporary file.
    """
    path = Path(path)
    with errors_name(path), _claimed(path.parent, path.suffix, _make_file) as temporary:
        yield temporary
        move_into_place(temporary, path)


@contextmanager
def new_folder(path: str | os.PathLike) -> Iterator[Path]:
    """As `new_file` for a folder with all that is in it. `path` must not exist, or be an empty folder, at the end."""
    path = Path(path)
    with errors_name(path), work_folder(path.parent) as temporary:
        yield temporary
        move_into_place(temporary, path)


@contextmanager
def work_folder(parent: str | os.PathLike) -> Iterator[Path]:
    """An empty folder in `parent` (made where it is missing) for files to come; it goes at the end."""
    with _claimed(Path(parent), "", os.mkdir) as folder:
        yield folder


@contextmanager
def errors_name(path: str | os.PathLike) -> Iterator[None]:
    """Inside, an error of writing that names no file, or a temporary one, becomes an `OSError` that names `path`."""
    try:
        yield
    except OSError as error:
        names = [error.filename, error.filename2]
        if error.errno is not None and (names[0] is None or any(TEMPORARY in str(name) for name in names if name)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    except Exception as error:
        # safetensors and torch raise errors of their own where a file cannot be written.
        is_of_torch = isinstance(error, RuntimeError) and any(text in str(error) for text in TORCH_CANNOT_WRITE)
        if not is_of_torch and type(error).__name__ != "SafetensorError":
            raise
        raise OSError(errno.EIO, f"cannot be written ({error})", str(path)) from error


def move_into_place(finished: Path, path: Path) -> None:
    """Rename a finished file, or a folder with all in it, within one file system, once the disk has it."""
    _settle(finished)
    os.replace(finished, path)
    _sync_folder(path.parent)


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


@dataclass
class Found:
    """Files below a folder in the order of their paths, and what was passed over although it was meant."""

    files: list[Path] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)  # `file`, `kind` (folder, link, file) and `reason`
    warnings: list[str] = field(default_factory=list)


def find_audio(root: str | os.PathLike, also: Iterable[str] = ()) -> Found:
    """Every file below a folder whose name ends as audio does, or in one of `also` (".ecdc"), as `find_files` finds them."""
    from hf_encls.audio import EXTENSIONS  # brings the decoders, which most of what writes files has no use for

    wanted = EXTENSIONS.union(also)
    return find_files(root, lambda path: path.suffix.lower() in wanted)


def find_files(root: str | os.PathLike, is_wanted: Callable[[Path], bool]) -> Found:
    """Every wanted file below a folder, at any depth, each file and each folder once, whatever links there are.

    Hidden ones are passed over. Links are followed after everything else, so that a file belongs to the folder it lies
    in. A link to a file that is found already, to nothing or to itself, what is no regular file, and a folder that
    cannot be read come back in `left_out`, a link to a folder that is read already in `warnings`.
    """
    root = Path(root)
    walk = _Walk(root, is_wanted)
    folders: list[Path] = [root]
    while folders or walk.links:
        if folders:
            folders += walk.read(folders.pop(0))
        else:
            folders += walk.follow(walk.links.pop(0))
    walk.found.files.sort()
    return walk.found


class _Walk:
    """One walk over a tree. Paths in what it reports are below the root, with forward slashes."""

    def __init__(self, root: Path, is_wanted: Callable[[Path], bool]):
        self.root, self.real, self.is_wanted = root, root.resolve(), is_wanted
        self.found, self.links = Found(), []
        self.folders, self.files = {self.real}, {}

    def read(self, folder: Path) -> list[Path]:
        """Take the files of a folder; returns the folders in it."""
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            self._leave_out(folder, "folder", f"this folder cannot be read: {error.strerror}")
            return []
        folders = []
        for entry in entries:
            path = folder / entry.name
            is_folder = _is_folder(entry)
            if entry.name.startswith(HIDDEN) or not (is_folder or self.is_wanted(path)):
                continue
            if entry.is_symlink():
                self.links.append(path)
            elif is_folder:
                folders.append(path)
                self.folders.add(path.resolve())
            else:
                self._take(path)
        return folders

    def follow(self, link: Path) -> list[Path]:
        """Take the file that a link leads to; returns the folder, if it is one and nobody has been there."""
        if not link.is_dir():
            self._take(link)
            return []
        target = link.resolve()
        if target in self.folders or self.real.is_relative_to(target):
            self.found.warnings.append(f"{self._name(link)} is a link to {target}, which is read already: passed over")
            return []
        self.folders.add(target)
        return [link]

    def _take(self, path: Path) -> None:
        """Add a file, unless it was found under another name."""
        if not path.is_file():  # a pipe would be waited for
            is_link = path.is_symlink()
            reason = "this link leads to itself or nowhere" if is_link else "this is no regular file"
            self._leave_out(path, "link" if is_link else "file", reason)
            return
        first = self.files.setdefault(path.resolve(), path)
        if first is path:
            self.found.files.append(path)
        else:
            self._leave_out(path, "link", f"is the same file as {self._name(first)}, by a link: it is used once")

    def _leave_out(self, path: Path, kind: str, reason: str) -> None:
        self.found.left_out.append({"file": self._name(path), "kind": kind, "reason": reason})

    def _name(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # links in a circle
        return False


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
        mask = os.umask(0)
        os.umask(mask)
        mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
        if 0o666 & ~mask & ~mode:
            path.chmod(mode | 0o666 & ~mask)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
