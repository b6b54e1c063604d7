"""Lines for a step that takes long: the first at once, then one every few seconds, so that nothing seems to hang."""

import time
from collections.abc import Callable, Iterable, Iterator, Sized

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
