"""Fetching an archive whose size and checksum are known, and unpacking it without trusting it."""

import bz2
import errno
import gzip
import lzma
import os
import socket
import stat
import tarfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from hf_encls.data.facts import Archive
from hf_encls.files import checksum, move_into_place, new_folder

BLOCK = 1 << 20
TIMEOUT_S = 20.0  # without a single byte
RETRIES = 3  # connections per address: each goes on where the last one broke
MAX_RATIO = 100  # unpacked bytes per byte of archive; audio stays below 10
MAX_PART_BYTES, MAX_NAME_BYTES = (
    255,
    1024,
)  # of a member's name: what disks take, and what the folder above leaves of it
COMPRESSED = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\x00", lzma.open),
)  # first bytes -> who reads it
# What the standard library raises for broken archives, and for members that are in each other's way.
BROKEN = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError),
    *(UnicodeDecodeError, NotImplementedError, RuntimeError, FileExistsError, NotADirectoryError, IsADirectoryError),
)

Progress = Callable[[int], None]


class DownloadError(ValueError):
    """An archive could not be fetched as it should be, or would not unpack safely."""


def fetch(
    archive: Archive, folder: str | os.PathLike, *, url: str | None = None, progress: Progress | None = None
) -> Path:
    """Download an archive into `folder` and return its path, once its size and sha256 are right.

    A file that is already there and right is kept. The bytes go to `NAME.part`; an interrupted download is continued
    where the server allows it and begun anew where it does not. `url` names another copy of the same archive (a
    mirror); the checksum decides as ever. `progress` is called with the number of bytes of every block.

    Raises `DownloadError`: no address answered, the file ended early, or it is not the file it should be.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / archive.file_name
    if target.is_file() and target.stat().st_size == archive.size and checksum(target) == archive.sha256:
        return target
    reasons = []
    for address in (url,) if url else archive.urls:
        try:
            return _fetch_one(archive, address, target, progress or (lambda count: None))
        except (DownloadError, OSError, HTTPException) as error:
            reasons.append(f"{address}: {error}")
    listed = "".join(f"\n  {reason}" for reason in reasons or [archive.gone])
    raise DownloadError(
        f"{archive.file_name} could not be downloaded:{listed}\nGet it by other means (somebody who has it, a search "
        f"for its name), check that its sha256 is {archive.sha256}, unpack it, and name the folder as `data_dir`; or "
        "name another address as `url`"
    )


def unpack(path: str | os.PathLike, folder: str | os.PathLike, *, max_members: int, max_unpacked: int) -> Path:
    """Unpack a zip or tar archive into `folder`, which must not exist yet (or be empty), and return it.

    Every member's name is checked before it is written: only plain files and folders below `folder`, no empty or
    endless name, no absolute one, no `..`, no link, no device, no name twice, at most `max_members`. What comes out is
    counted: at most `max_unpacked` bytes, at most MAX_RATIO times the archive. All is unpacked beside `folder` and
    moved there at the end.

    Raises `DownloadError` for an archive that breaks a rule or is broken; nothing is left behind then.
    """
    path, folder = Path(path), Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DownloadError(f"{folder} exists and is not empty: nothing was unpacked into it")
    limit = min(max_unpacked, MAX_RATIO * path.stat().st_size + BLOCK)
    try:
        with new_folder(folder) as partial:
            if zipfile.is_zipfile(path):
                _unpack_zip(path, partial, max_members, limit)
            else:
                _unpack_tar(path, partial, max_members, limit)
    except DownloadError as error:
        raise DownloadError(f"{path}: {error}") from error
    except (*BROKEN, OSError) as error:
        # A damaged offset is an invalid argument to the system, bz2's own errors have no number; others are the disk's.
        if not isinstance(error, BROKEN) and error.errno not in (None, errno.EINVAL):
            raise
        reason = " ".join(str(error).split())[:300]
        raise DownloadError(
            f"{path.name} cannot be unpacked, it is broken or no zip or tar archive: {reason}"
        ) from error
    return folder


def _fetch_one(archive: Archive, url: str, target: Path, progress: Progress) -> Path:
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError("expected an http or https address")
    partial = target.with_name(target.name + ".part")
    resumed = partial.is_file() and partial.stat().st_size > 0
    for attempt in range(RETRIES):
        try:
            _receive(archive, url, partial, progress)
        except (OSError, HTTPException) as error:
            if _is_final(error) or attempt + 1 == RETRIES:
                raise
            continue
        size = partial.stat().st_size
        if size < archive.size:
            if attempt + 1 < RETRIES:
                continue
            raise DownloadError(f"ended after {size} of {archive.size} bytes (kept: another try goes on there)")
        digest = checksum(partial)
        if size == archive.size and digest == archive.sha256:
            move_into_place(partial, target)
            return target
        partial.unlink()
        if not resumed:
            raise DownloadError(f"expected {_identity(archive)}, got {size} with {digest}: not the same file")
        resumed = False  # the beginning may have been another file's: once more, from nothing
    raise DownloadError(f"expected {_identity(archive)}, and never got them")


def _is_final(error: Exception) -> bool:
    """Whether trying again is of no use: the server refuses, or nobody answers at that address."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code < 500
    reason = getattr(error, "reason", None)  # of a connection that was never made
    return isinstance(reason, TimeoutError | socket.gaierror | ConnectionRefusedError)


def _receive(archive: Archive, url: str, partial: Path, progress: Progress) -> None:
    have = partial.stat().st_size if partial.is_file() else 0
    if have >= archive.size:
        return
    request = urllib.request.Request(url, headers={"User-Agent": "hf_encls", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        if urllib.parse.urlsplit(response.geturl()).scheme not in ("http", "https"):
            raise DownloadError("was redirected away from http")
        goes_on = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        with partial.open("ab" if have and goes_on else "wb") as file:
            if file.tell():
                progress(have)
            while block := response.read(BLOCK):
                file.write(block)
                progress(len(block))
                if file.tell() > archive.size:
                    return  # more than it should be: the checksum says the rest


def _unpack_zip(path: Path, folder: Path, max_members: int, limit: int) -> None:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        _check_count(len(members), max_members)
        names = []
        for member in members:
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise DownloadError(f"the archive holds {member.filename!r}, which is a link or a device")
            # ZipInfo.is_dir() of Python 3.11 fails for an empty name.
            names.append((member.filename, member.filename.endswith("/")))
        targets = _targets(names, folder)
        _check_size(sum(member.file_size for member in members), limit)
        written = 0
        for member, target in zip(members, targets, strict=True):
            if member.filename.endswith("/"):
                target.mkdir(parents=True, exist_ok=True)
            else:
                with archive.open(member) as source:
                    written = _write(source, target, written, limit)


def _unpack_tar(path: Path, folder: Path, max_members: int, limit: int) -> None:
    with _decompressed(path) as file, tarfile.open(fileobj=_Guarded(file), mode="r:") as archive:
        written = 0
        for member, target in _tar_members(archive, folder, max_members):
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            _check_size(written + member.size, limit)
            with archive.extractfile(member) as source:
                written = _write(source, target, written, limit)


def _decompressed(path: Path) -> BinaryIO:
    with path.open("rb") as file:
        start = file.read(8)
    return next((opener for magic, opener in COMPRESSED if start.startswith(magic)), open)(path, "rb")


class _Guarded:
    """A file of which nothing is read that is larger than a block.

    tarfile reads a long name or an extended header at once, however endless its member says that it is. What is read
    here of a member is a block at most, so anything longer is such a name.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def read(self, size: int) -> bytes:
        if not 0 <= size <= BLOCK:
            raise DownloadError(f"the archive holds a name or header of {size} bytes: not what it should be")
        return self._file.read(size)


def _tar_members(archive: tarfile.TarFile, folder: Path, max_members: int) -> Iterator[tuple[tarfile.TarInfo, Path]]:
    """Members one after the other: a list of them would read a compressed archive twice."""
    seen: set[str] = set()
    for count, member in enumerate(archive, start=1):
        _check_count(count, max_members)
        if not (member.isreg() or member.isdir()):
            raise DownloadError(f"the archive holds {member.name!r}, which is a link or a device")
        yield member, _target(member.name, member.isdir(), folder, seen)


def _targets(names: list[tuple[str, bool]], folder: Path) -> list[Path]:
    seen: set[str] = set()
    return [_target(name, is_folder, folder, seen) for name, is_folder in names]


def _target(name: str, is_folder: bool, folder: Path, seen: set[str]) -> Path:
    """Where a member goes. Its name is judged by the rules of both families of systems, wherever we run."""
    parts = PurePosixPath(name).parts
    if not name:
        raise DownloadError("the archive holds a member without a name: not what it should be")
    lengths = [len(part.encode("utf-8", "surrogateescape")) for part in parts]
    if max(lengths, default=0) > MAX_PART_BYTES or sum(lengths) + len(lengths) > MAX_NAME_BYTES:
        raise DownloadError(
            f"the archive holds {name[:60]!r}..., a name of {len(name)} characters: too long for a file"
        )
    absolute = name.startswith(("/", "\\")) or PureWindowsPath(name).drive or PureWindowsPath(name).is_absolute()
    if absolute or ".." in parts or "\\" in name or "\0" in name or not (parts or is_folder):
        raise DownloadError(f"the archive holds {name!r}, which would leave its folder")
    target = folder.joinpath(*parts)
    key = "/".join(parts).casefold()
    if not is_folder and key in seen:
        raise DownloadError(f"the archive holds {name!r} twice")
    seen.add(key)
    return target


def _write(source: BinaryIO, target: Path, written: int, limit: int) -> int:
    target.parent.mkdir(parents=True, exist_ok=True)
    # "x": a member that is a file already (as another's folder, or by a name that the disk takes for the same) fails.
    with target.open("xb") as file:
        while block := source.read(BLOCK):
            written += len(block)
            _check_size(written, limit)
            file.write(block)
    return written


def _check_count(count: int, most: int) -> None:
    if count > most:
        raise DownloadError(f"the archive holds more than {most} members: not what it should be")


def _check_size(size: int, limit: int) -> None:
    if size > limit:
        raise DownloadError(f"the archive unpacks to more than {limit} bytes: not what it should be")


def _identity(archive: Archive) -> str:
    return f"{archive.size} bytes with sha256 {archive.sha256}"
