"""Work divided into shards of clips, for any number of processes on any number of machines with one shared folder.

What is in a shard depends on the data alone. Each is written once, under a temporary name and then renamed, with its
checksum beside it. What was killed is taken up where it was, and ends with the same bytes.
"""

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Sequence
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


def complete(missing: Sequence[Shard], compute: Callable[[Shard], None], found: Callable[[Shard], None]) -> None:
    """Take shards until none is missing; those that another process holds are waited for.

    Args:
        missing: shards that were not complete when they were looked at.
        compute: computes one and publishes it; no other process computes it meanwhile.
        found: told of each that another process has completed.
    """
    missing[0].path.parent.mkdir(parents=True, exist_ok=True)
    # A worker starts at a place of its own, so that several do not queue for the same shard.
    offset = os.getpid() % len(missing)
    todo = [*missing[offset:], *missing[:offset]]
    while todo:
        waiting = []
        for shard in todo:
            # The operating system frees the lock of a killed process.
            lock = FileLock(str(shard.path.with_suffix(".lock")), timeout=0)
            try:
                lock.acquire()
            except Timeout:
                waiting.append(shard)
                continue
            try:
                if shard.is_complete():
                    found(shard)
                else:
                    compute(shard)
            finally:
                lock.release()
        if len(waiting) == len(todo):
            time.sleep(0.2)
        todo = waiting


def _seal_of(path: Path) -> dict:
    return {"sha256": checksum(path), "bytes": path.stat().st_size}
