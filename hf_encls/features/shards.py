"""Work divided into shards of clips, for any number of processes on any number of machines with one shared folder.

What is in a shard depends on the data alone. Each is written once, under a temporary name and then renamed, with its
checksum beside it. What was killed is taken up where it was, and ends with the same bytes.
"""

import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from hf_encls.files import checksum, move_into_place, write_text

logger = logging.getLogger(__name__)

SHARD_S = 240.0  # seconds of audio in a shard: what a killed worker loses at most


@dataclass(frozen=True)
class Shard:
    """Some clips, and the file that holds their windows once they are computed."""

    path: Path
    clips: tuple[int, ...]
    duration_s: float
    fingerprint: str

    @property
    def _seal(self) -> Path:
        return self.path.with_suffix(".json")

    @property
    def work(self) -> Path:
        """The folder in which the file is written."""
        return self.path.with_suffix(".work")

    def is_complete(self) -> bool:
        """Whether the file is there and is what was written. The seal of a damaged one is removed."""
        damage = "its checksum differs"
        try:
            if json.loads(self._seal.read_text(encoding="utf-8")) == _seal_of(self.path):
                return True
        except FileNotFoundError:
            return False
        except (ValueError, RecursionError):  # no UTF-8, no JSON, a number of a million digits, a million brackets
            damage = f"its seal {self._seal.name} cannot be read"
        logger.warning("%s is damaged (%s): it is computed again", self.path, damage)
        self._seal.unlink(missing_ok=True)
        return False

    def publish(self, finished: Path) -> None:
        """Move a finished file to its place. The seal comes last: without it a file does not count."""
        self._seal.unlink(missing_ok=True)
        seal = json.dumps(_seal_of(finished))
        move_into_place(finished, self.path)
        write_text(seal, self._seal)


def tidy(shards: Sequence[Shard]) -> None:
    """Remove the folders of finished shards that a killed worker left; those that somebody is at stay."""
    for work in shards[0].path.parent.glob("*.work"):
        with suppress(Timeout, OSError), _lock(work).acquire():
            shutil.rmtree(work, ignore_errors=True)


def _lock(path: Path) -> FileLock:
    """Who has it may write a shard. The operating system frees that of a killed process; any thread may release it."""
    return FileLock(str(path.with_suffix(".lock")), timeout=0, thread_local=False)


def divide(durations_s: Sequence[float], folder: Path, key: str) -> list[Shard]:
    """Clips of these durations as shards in `folder`; `key` names their content and what is made of it."""
    groups: list[list[int]] = []
    filled = 0.0
    for index, duration in enumerate(durations_s):
        if not groups or filled + duration > SHARD_S:
            groups.append([])
            filled = 0.0
        groups[-1].append(index)
        filled += duration
    return [
        Shard(
            path=folder / f"shard-{number:05d}-of-{len(groups):05d}.arrow",
            clips=tuple(group),
            duration_s=sum(durations_s[i] for i in group),
            fingerprint=hashlib.sha256(f"{key} {number}".encode()).hexdigest()[:16],
        )
        for number, group in enumerate(groups)
    ]


@contextmanager
def taking(missing: Sequence[Shard], on_completed: Callable[[Shard], None]) -> Iterator["Taken"]:
    """Shards to compute, one by one, until none is missing; at the end none is held any more.

    Args:
        missing: shards that were not complete when they were looked at.
        on_completed: called with each that another process has completed.
    """
    taken = Taken(missing, on_completed)
    try:
        yield taken
    finally:
        taken.release_all()


class Taken:
    """Shards that this process alone may compute, from when they are handed out until `release`.

    In place of one comes None where all that are left are held by other processes: they are asked for again.
    """

    def __init__(self, missing: Sequence[Shard], on_completed: Callable[[Shard], None]):
        missing[0].path.parent.mkdir(parents=True, exist_ok=True)
        # A worker starts at a place of its own, so that several do not queue for the same shard.
        offset = os.getpid() % len(missing)
        self._todo = [*missing[offset:], *missing[:offset]]
        self._on_completed = on_completed
        self._locks: dict[Path, FileLock] = {}

    def __iter__(self) -> Iterator[Shard | None]:
        while self._todo:
            todo, self._todo = self._todo, []
            for shard in todo:
                lock = _lock(shard.path)
                try:
                    lock.acquire()
                except Timeout:
                    self._todo.append(shard)
                    continue
                self._locks[shard.path] = lock
                if shard.is_complete():
                    self.release(shard)
                    self._on_completed(shard)
                else:
                    yield shard
            if len(self._todo) == len(todo):
                yield None
                time.sleep(0.2)

    def release(self, shard: Shard) -> None:
        """Say that a shard is finished."""
        self._locks.pop(shard.path).release()

    def release_all(self) -> None:
        """Leave what is not finished to others."""
        while self._locks:
            self._locks.popitem()[1].release()


def _seal_of(path: Path) -> dict:
    return {"sha256": checksum(path), "bytes": path.stat().st_size}
