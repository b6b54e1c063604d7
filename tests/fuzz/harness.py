"""One case: a program met with a broken file, as a user meets it, and what to call that.

ok      the file was still good, or good enough, and the result is one that can be
clear   it was refused in a line that names the file or the option
unclear a traceback, or a message that names nothing
wrong   it was accepted, with a result that cannot be
hang    more than the time or the memory that a case has, or a process that died
"""

import contextlib
import io
import os
import re
import resource
import shutil
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Protocol

KINDS = ("ok", "clear", "unclear", "wrong", "hang")
BAD = ("unclear", "wrong", "hang")
LIMIT_S = 5.0  # of processor time
LIMIT_BYTES = 2 << 30  # above what the process has when it begins
LONGEST = 3000  # letters of a message that a person reads


@dataclass(frozen=True)
class Result:
    """What a program said."""

    status: int
    out: str
    err: str


@dataclass
class Case:
    """A call, what its message may name, and whether a result can be (`check` returns what is wrong with it).

    `args` are those of `hf-encls`; a callable is a program as scripts run one. `accepts` is a text that
    stands for success although the status is another: a push that would have begun, say.
    """

    args: list[object] | Callable[[], object]
    names: tuple[str, ...]
    check: Callable[[Result], str | None] = lambda result: None
    note: str = ""
    accepts: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What a case came to: one of `KINDS`, and why, in the same words for the same fault."""

    kind: str
    why: str = ""
    detail: str = field(default="", compare=False)


class Target(Protocol):
    """A kind of files. `prepare` writes good ones once, `case` breaks a copy of them in `work`."""

    name: str
    share: float

    def prepare(self, root: Path) -> None: ...

    def case(self, random: Random, root: Path, work: Path) -> Case: ...


def random_of(seed: int, target: str, number: int) -> Random:
    """The same case for the same three."""
    return Random(f"{seed}/{target}/{number}")


def limit_memory() -> None:
    """From here on this process gets `LIMIT_BYTES` more, and then errors instead of memory."""
    now = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + LIMIT_BYTES, resource.RLIM_INFINITY))


def run_case(target: Target, seed: int, number: int, root: Path, work: Path) -> Verdict:
    """Make the case in the empty folder `work`, run it there, judge it."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    before = Path.cwd()
    os.chdir(work)
    try:
        return judge(target.case(random_of(seed, target.name, number), root / target.name, work))
    finally:
        os.chdir(before)


def judge(case: Case) -> Verdict:
    """Run a case and say what it came to."""
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = _status(case.args)
    except BaseException as error:
        text = "".join(traceback.format_exception(error))
        if isinstance(error, MemoryError) or "allocate memory" in str(error) or "std::bad_alloc" in str(error):
            return Verdict("hang", f"memory at {place(error)}", text)
        return Verdict("unclear", f"{type(error).__name__} at {place(error)}", f"{case.note}\n{text}")
    result = Result(status, out.getvalue(), err.getvalue())
    said = result.err + (result.out if status == 1 else "")
    shown = f"{case.note}\nstatus {status}\n{result.out[-1500:]}{result.err[-3000:]}"
    if "Traceback (most recent call last)" in said:
        return Verdict("unclear", "prints a traceback", shown)
    if case.accepts and case.accepts in said:
        status = 0
    if status == 0:
        try:
            wrong = case.check(Result(0, result.out, result.err))
        except Exception as error:  # what was accepted cannot even be read
            wrong = f"{type(error).__name__} when it is looked at"
            shown += "".join(traceback.format_exception(error))
        return Verdict("wrong", wrong, shown) if wrong else Verdict("ok", "", shown)
    message = last_message(result.err) if status == 2 else said
    if not any(name in message for name in case.names):
        return Verdict("unclear", f"names no file: {plain(message)}", shown)
    if len(message) > LONGEST and status == 2:
        return Verdict("unclear", f"{len(message)} letters", shown)
    return Verdict("clear", "", shown)


def _status(args: list[object] | Callable[[], object]) -> int:
    from hf_encls.commands import cli, errors

    if not callable(args):
        return cli.main([str(each) for each in args])
    try:
        errors.run_program(args)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return 0


def last_message(err: str) -> str:
    """From the last line that begins as an error does to the end: what stands before are progress bars."""
    lines = err.replace("\r", "\n").splitlines()
    at = [index for index, line in enumerate(lines) if "error:" in line.lower() or "ERROR" in line]
    return "\n".join(lines[at[-1] if at else 0 :])


def plain(message: str) -> str:
    """A message without what differs from case to case, to count by."""
    line = next((line for line in message.splitlines() if "error" in line.lower()), message.strip())
    return re.sub(r"\d+(\.\d+)?|'[^']*'|\"[^\"]*\"|/\S+", "…", line)[:110]


def place(error: BaseException) -> str:
    """The last line of ours on the way to an error."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "hf_encls" in frame.filename and "/fuzz/" not in frame.filename]
    frame = (ours or list(frames))[-1]
    return f"{'/'.join(Path(frame.filename).parts[-2:])}:{frame.name}"


def quiet() -> None:
    """What libraries would say beside the point, and waits for a network that is not asked for."""
    import logging
    import warnings

    import datasets
    import transformers

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    datasets.utils.logging.set_verbosity_error()
    sys.setrecursionlimit(1000)
