"""What every program does at its door: errors that a user can mend are one message, Ctrl-C is not a stack of lines."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

# What an interrupt leaves, by program; the others say so themselves, or have nothing that is finished.
KEPT = {
    "codec_files": "files that were finished are kept",
    "extract_features": "finished features are in the cache: the same command goes on from there",
    "pretrain_codec": "checkpoints are kept: the same command goes on from the last one",
    "reproduce_paper": "finished cells are kept: the same command goes on from there",
    "train": "finished features and checkpoints are kept",
}


class Terminated(KeyboardInterrupt):
    """SIGTERM came: what Ctrl-C does happens."""


@contextmanager
def ending_cleanly() -> Iterator[None]:
    """Inside, SIGTERM raises `Terminated` where Ctrl-C raises `KeyboardInterrupt`; it changes nothing outside."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


def run(main: Callable[[], object]) -> None:
    """Call `main`; a `ValueError` ends with its message and status 2, Ctrl-C with status 130, SIGTERM with 143."""
    try:
        with ending_cleanly():
            main()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as stop:
        print(f"\n{interrupted(main)}", file=sys.stderr)
        sys.exit(status_of(stop))


def status_of(stop: KeyboardInterrupt) -> int:
    """What a shell calls the end by that signal: 143 for SIGTERM, 130 for Ctrl-C."""
    return 143 if isinstance(stop, Terminated) else 130


def interrupted(main: Callable) -> str:
    """The line for Ctrl-C and SIGTERM: what of the program's work is kept, where that is so."""
    code = getattr(main, "__code__", None)  # not __module__: that is __main__ for a script
    kept = KEPT.get(Path(code.co_filename).stem) if code else None
    return f"interrupted; {kept}" if kept else "interrupted"
