"""Lines for a step that takes long: the first at once, then one every few seconds, so that nothing seems to hang."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager, suppress

EVERY_S = 10.0

Say = Callable[[str], object]


def silent(line: str) -> None:
    """Says nothing."""


class Pace:
    """True when something was last said `EVERY_S` seconds ago or more."""

    def __init__(self) -> None:
        self.said()

    def said(self) -> None:
        """Something is being said now."""
        self._last = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time to say something again."""
        return time.monotonic() - self._last >= EVERY_S


def with_progress(items: Iterable, title: str, say: Say, total: int | None = None) -> Iterator:
    """The items, with `title` said before the first and, where it takes long, how many of them are done."""
    count = total if total is not None else len(items) if isinstance(items, Sized) else None
    say(title)
    pace = Pace()
    for done, item in enumerate(items):
        if pace.due:
            say(f"{title}: {done}" + (f" of {count}" if count is not None else ""))
            pace.said()
        yield item


@contextmanager
def never_silent(say: Say) -> Iterator[Say]:
    """A `say` for the block, after whose every line another follows each `EVERY_S` seconds while nothing else is said.

    A single step of a large codec takes minutes where others are at work, and nothing inside it could say so.
    """
    lock, done = threading.Lock(), threading.Event()
    last, since, pace = "", time.monotonic(), Pace()

    def heard(line: str) -> None:
        nonlocal last, since
        with lock:
            say(line)
            last, since = line, time.monotonic()
            pace.said()

    def go_on() -> None:
        while not done.wait(min(1.0, max(0.05, EVERY_S / 4))):
            with lock:
                if pace.due and not done.is_set():
                    with suppress(
                        OSError, ValueError
                    ):  # whoever reads it has gone: the next line of the block says so
                        say(f"still at work, {time.monotonic() - since:.0f} s after: {last.partition('  ')[0][:80]}")
                    pace.said()

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        done.set()
        thread.join()
