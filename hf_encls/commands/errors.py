"""How every program ends: an error that a user can mend is one line, so is Ctrl-C, and the exit status says which.

Exit status: 1 what the program needs is not there or cannot be used (a file, room on the disk, memory, the Hub), 2 wrong
arguments, 130 interrupted, 143 terminated. What is none of these is a fault of the program, and keeps its stack of lines.
"""

import errno
import importlib
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from hf_encls.commands.parser import as_options

# What an interrupt leaves, by program; the others say so themselves, or have nothing that is finished.
KEPT_AFTER_INTERRUPT = {
    "codec_files": "files that were finished are kept",
    "compare_codecs": "finished cells are kept: the same command goes on from there",
    "extract_features": "finished features are in the cache: the same command goes on from there",
    "few_examples": "finished draws are kept: the same command goes on from there",
    **dict.fromkeys(
        ("pretrain_codec", "pretrain_loading"), "checkpoints are kept: the same command goes on from the last one"
    ),
    "reproduce_paper": "finished cells are kept: the same command goes on from there",
    "train": "finished features and checkpoints are kept",
}
LONGEST_MESSAGE = 2000  # letters of a message that a person reads
ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "make room there, or name another place"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "name another place, or ask for the right to use it"),
}


class Terminated(KeyboardInterrupt):
    """SIGTERM came: what Ctrl-C does happens."""


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
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


def run_program(main: str | Callable[..., object], **settings: object) -> None:
    """Call `main` with `settings`, and end the program with its `exit_status`, where that is not 0.

    A text is the module whose `main` that is. It is imported here: imports take seconds, and may fail or be interrupted.
    """

    def call() -> object:
        work = importlib.import_module(main).main if isinstance(main, str) else main
        return work(**settings)

    status = exit_status(call, main if isinstance(main, str) else _module_of(main))
    if status:
        sys.exit(status)


def exit_status(call: Callable[[], object], program: str) -> int:
    """The exit status of `call`, once what went wrong is said in one line; its own number, where it returns one.

    `program` is the module whose work an interrupt leaves behind.
    """
    for stream in (sys.stdout, sys.stderr):  # a file's name may hold what the terminal has no letters for
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        with sigterm_as_interrupt():
            status = call()
        sys.stdout.flush()
        return status if isinstance(status, int) and not isinstance(status, bool) else 0
    except ValueError as error:
        text = as_options(str(error))
        if len(text) > LONGEST_MESSAGE:  # a value that a damaged file holds, say
            text = f"{text[: LONGEST_MESSAGE // 2]} [...] {text[-LONGEST_MESSAGE // 4 :]}"
        print(f"error: {text}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"\n{interrupt_message(program)}", file=sys.stderr)
        return 143 if isinstance(stop, Terminated) else 130  # as a shell calls the end by that signal
    except BrokenPipeError:  # the reader, `head` say, has gone
        _discard_output()
        return 1
    except Exception as error:
        line = error_message(error)
        if line is None:
            raise
        print(f"error: {line}", file=sys.stderr)
        with suppress(OSError, ValueError):
            sys.stdout.flush()
            return 1
        _discard_output()
        return 1


def error_message(error: Exception) -> str | None:
    """What to tell a user of the disk, the memory, the Hub, the installation; None for a fault of the program."""
    if isinstance(error, OSError):
        if error.errno is None:  # the Hub's, and those that libraries make of it
            text = next(iter(str(error).strip().splitlines()), type(error).__name__)
            return text if " " in text else f"{text[:LONGEST_MESSAGE]}: this cannot be found or used"  # a name alone
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        reason = error.strerror or os.strerror(error.errno)
        todo = ADVICE.get(error.errno)
        return ": ".join([*names[:1], reason[:1].lower() + reason[1:], *([todo] if todo else [])])
    text = str(error)
    if isinstance(error, ImportError) and not (error.name or "").startswith("hf_encls"):
        return f"this installation is not whole ({' '.join(text.split())}): install hf_encls again, with what it needs"
    if isinstance(error, MemoryError) or "allocate memory" in text or "out of memory" in text:
        return f"there is not enough memory for this ({' '.join(text.split())[:150] or 'none is left'})"
    if type(error).__module__.startswith(("httpx", "httpcore", "urllib3", "requests")):
        return f"the network failed: {' '.join(text.split()) or type(error).__name__}"
    return None


def _module_of(main: Callable) -> str:
    """The module that a function was written in; `__module__` is `__main__` for a script."""
    code = getattr(main, "__code__", None)
    return Path(code.co_filename).stem if code else ""


def interrupt_message(program: str) -> str:
    """The line for Ctrl-C and SIGTERM: what of the program's work is kept, where that is so."""
    kept = KEPT_AFTER_INTERRUPT.get(program.rpartition(".")[2])
    return f"interrupted; {kept}" if kept else "interrupted"


def _discard_output() -> None:
    """What could not be written to the terminal's side is not tried again at the end of the process."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
