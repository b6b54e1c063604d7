"""What earlier starts found in audio files, so that an unchanged folder is not decoded and hashed again.

A file counts as unchanged while its size, inode and times of change (`mtime` and `ctime`, in nanoseconds) are the same.
Programs can put the first of the times back but not the second: an edited file is noticed on any system that keeps a
`ctime` (not on Windows, where a file of the same size with its date put back is not). Files that changed less than
`SETTLED_S` before they were looked at are looked at again, because clocks of file systems tick slowly. What is decoded
for features is compared with its checksum in any case.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from importlib.metadata import version
from pathlib import Path

import soundfile
from filelock import FileLock

from hf_encls.files import write_text

logger = logging.getLogger(__name__)

SETTLED_S = 2.0
FORMAT = 1


class KnownFiles:
    """The index of one folder of audio, kept at `path`; None keeps nothing. `rescan` begins with an empty one."""

    def __init__(self, path: Path | None = None, rescan: bool = False):
        self.path = path
        self._files: dict[str, dict] = {} if path is None or rescan else self._read()
        self._new: dict[str, dict] = {}

    def ask(self, path: str | os.PathLike, key: str, look: Callable[[], object]) -> object:
        """What `look` finds in a file, or what it found when the file was the same; values are those of JSON."""
        if self.path is None:
            return look()
        path = path if isinstance(path, Path) else Path(path)  # a copy of one takes longer than to ask for its state
        name, state, now = str(path.absolute()), _state(path), time.time_ns()
        known = self._new.get(name) or self._files.get(name)
        if known is None or known["state"] != state:
            known = {"state": state}
        if key in known:
            return known[key]
        value = look()
        # It may have been written to while it was read.
        if state is not None and state == _state(path) and now - max(state[1:3]) > SETTLED_S * 1e9:
            self._new[name] = {**known, **self._new.get(name, {}), key: value}
        return value

    def save(self) -> None:
        """Write what is new, beside what other processes wrote meanwhile; files that are gone are forgotten."""
        if self.path is None or not self._new:
            return
        files = {name: known for name, known in self._read().items() if Path(name).exists()}
        for name, known in self._new.items():
            same = files.get(name, {}).get("state") == known["state"]
            files[name] = {**files[name], **known} if same else known
        data = json.dumps({"made_by": _made_by(), "files": files}, sort_keys=True)
        write_text(f"{hashlib.sha256(data.encode()).hexdigest()}\n{data}", self.path)
        self._new = {}

    def _read(self) -> dict[str, dict]:
        try:
            seal, data = self.path.read_text(encoding="utf-8").split("\n", 1)
            if seal == hashlib.sha256(data.encode()).hexdigest():
                content = json.loads(data)
                return content["files"] if content["made_by"] == _made_by() else {}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):  # not UTF-8, or no second line
            pass
        logger.warning("%s is damaged: the files are looked at again", self.path)
        return {}


_CURRENT: ContextVar[KnownFiles | None] = ContextVar("known_files", default=None)


def known_files() -> KnownFiles:
    """The index in use here; outside of `remembering` one that keeps nothing."""
    return _CURRENT.get() or KnownFiles()


@contextmanager
def remembering(
    data_dir: str | os.PathLike, cache_dir: str | os.PathLike, rescan: bool = False
) -> Iterator[KnownFiles]:
    """Inside, files below `data_dir` are looked at once; what was found is kept in `cache_dir`, and saved at the end.

    `save` may be called before. `rescan` looks at all of them again. Of several processes that come at once, the first one
    looks, and the others wait for what it found.
    """
    place = hashlib.sha256(os.fsencode(os.path.realpath(data_dir))).hexdigest()[:16]
    path = Path(cache_dir) / f"known-files-{place}.json"
    with nullcontext() if rescan else _one_after_the_other(path):
        known = KnownFiles(path, rescan)
        token = _CURRENT.set(known)
        try:
            yield known
        finally:
            _CURRENT.reset(token)
        known.save()


@contextmanager
def _one_after_the_other(path: Path) -> Iterator[None]:
    lock = FileLock(
        str(path.with_suffix(".lock")), thread_local=False, is_singleton=True
    )  # within a process nobody waits
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (OSError, NotImplementedError):  # a cache that can only be read, or a file system without locks
        pass
    try:
        yield
    finally:
        lock.release()


def _state(path: Path) -> list[int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _made_by() -> list:
    """Who found it: another decoder may find something else."""
    return [FORMAT, version("soundfile"), soundfile.__libsndfile_version__]
