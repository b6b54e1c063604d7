"""The folder of a run: one run at a time, and what is finished there stays whole until what replaces it is finished.

A run that replaces a finished one works in a folder inside, and is moved out of it at its end. The move begins with one
rename; a move that was broken off is completed by the next start.
"""

import json
import os
import shutil
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from filelock import FileLock, Timeout

from hf_encls.codec.facts import TRAINING_FACTS
from hf_encls.files import move_into_place, write_json
from hf_encls.training.results import CLIPS, RESULTS

SETTINGS = "run.json"  # what a run is, so that another one is never resumed by mistake
LOCK = ".run.lock"
WORK = ".replacement"  # in it works a run that will replace a finished one
DONE = ".replacement.finished"  # the same, finished: it only has to be moved out
CONTENTS = ".contents.json"  # what a finished replacement holds, while it is moved out
LAST = ("last", "true")
NOTHING = (None, False, "false")
# What else those two leave in their folder; anything else is somebody's own.
OF_A_RUN = (
    *(RESULTS, SETTINGS, "results.previous.json", CLIPS, "left_out.json", "curves.png", "confusion_matrix.png"),
    *("config.json", "model.safetensors", "preprocessor_config.json", "*_encls.py", "README.md", "ATTRIBUTION.md"),
    *(".eval_results", "checkpoint-[0-9]*", "fold-[0-9]*"),
)
OF_A_CODEC = (
    *(
        TRAINING_FACTS,
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "README.md",
        "example.png",
        "example.wav",
    ),
    *("checkpoints", "examples"),
)


@contextmanager
def occupied(folder: Path) -> Iterator[None]:
    """Keep other runs out of `folder`, which is made where it is missing, and complete what an earlier one moved out.

    The processes of one run count as one. The lock is the operating system's: that of a dead process is free. A folder
    that was made here and is left empty goes again. Raises `ValueError`, in every process of the run, where another run
    holds the folder, and where it cannot be written.
    """
    is_main, is_new = PartialState().is_main_process, not folder.exists()
    lock, refusal = None, [None]
    if is_main:
        try:
            lock = _lock(folder)
            settle(folder)
        except (ValueError, OSError) as error:
            refusal = [str(error)]
    if PartialState().num_processes > 1:
        broadcast_object_list(refusal)
    try:
        if refusal[0] is not None:
            raise ValueError(refusal[0])
        yield
    finally:
        if lock is not None:
            with suppress(OSError):
                (folder / LOCK).unlink()
                if is_new:
                    folder.rmdir()  # not where something is in it
            lock.release()


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a finished model or codec, one finished fold of several, or a model that is no run's."""
    if (folder / RESULTS).is_file() or (folder / TRAINING_FACTS).is_file() or any(folder.glob(f"fold-*/{RESULTS}")):
        return True
    begun = (folder / SETTINGS).is_file() or (folder / "checkpoints").is_dir()
    return not begun and any((folder / name).is_file() for name in ("config.json", "model.safetensors"))


def workplace(folder: Path, resume: str | bool | None, overwrite: bool) -> Path:
    """Where a run works that ends in `folder`: there, or in the folder of replacements where it replaces a finished one.

    `resume` is the value of `resume_from_checkpoint`: a finished run may go on where it is. Changes nothing. Raises
    `ValueError` where something finished would be replaced and `overwrite` does not say so.
    """
    if not is_finished(folder):
        return folder
    work = folder / WORK
    if resume not in NOTHING:
        if str(resume).lower() in LAST:
            return work if work.is_dir() else folder
        home = Path(str(resume)).resolve().parent
        for place in (work, folder):
            if home.is_relative_to(place.resolve()):
                return place
    if not overwrite:
        raise ValueError(
            f"{folder} holds a finished model: take another `output_dir`, or say `overwrite=True` to replace it (it stays "
            "until the new one is finished)"
        )
    return work


def home_of(place: Path) -> Path:
    """The folder in which what is made in `place` will lie in the end."""
    return Path(*(part for part in place.parts if part != WORK))


def clear(place: Path) -> None:
    """Take away what a run that is given up left in a workplace, in one process only; `begin` does the rest."""
    if place.name == WORK:
        shutil.rmtree(place, ignore_errors=True)
    _remove(fold.parent for fold in list(place.glob(f"fold-*/{SETTINGS}")))


def put_in_place(place: Path) -> None:
    """Let a finished run replace what is in its folder, in one process only; nothing to do where it worked there."""
    if place.name != WORK:
        return
    folder, new = place.parent, sorted(path.name for path in place.iterdir())
    write_json({"new": new, "old": [name for name in _left_by_ours(folder) if name not in new]}, place / CONTENTS)
    move_into_place(place, folder / DONE)
    settle(folder)


def settle(folder: Path) -> None:
    """Move a finished replacement out; it can be broken off at any moment and done again."""
    done = folder / DONE
    if not done.is_dir():
        return
    if (done / CONTENTS).is_file():
        contents = json.loads((done / CONTENTS).read_text(encoding="utf-8"))
        # The results come last, and those of the old run go first: in between, the folder does not look finished.
        for name in (RESULTS, TRAINING_FACTS):
            if (done / name).exists():
                (folder / name).unlink(missing_ok=True)
        _remove(folder / name for name in contents["old"])
        for name in sorted(contents["new"], key=lambda name: (name in (RESULTS, TRAINING_FACTS), name)):
            if (done / name).exists():
                _move(done / name, folder / name)
    shutil.rmtree(done)


def _lock(folder: Path) -> FileLock:
    file = folder / LOCK
    lock = FileLock(file, timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        file.write_text(f"{os.getpid()} {socket.gethostname()}\n", encoding="utf-8")
    except Timeout:
        raise ValueError(
            f"another run works in {folder} ({_holder(file)}): wait for it, end it, or take another `output_dir`"
        ) from None
    except OSError as error:
        raise ValueError(
            f"expected a folder that can be written at {folder}, and it cannot ({error.strerror or error}): take another "
            "`output_dir`"
        ) from error
    return lock


def _holder(file: Path) -> str:
    """Who holds a lock, as far as its file tells."""
    with suppress(OSError, UnicodeDecodeError):
        process, _, host = file.read_text(encoding="utf-8").strip().partition(" ")
        if process and host:
            return f"process {process} on {host}"
    return "it has not said who it is"


def _left_by_ours(folder: Path) -> list[str]:
    """The names in a folder that a run or a codec's training left there; none where neither was there."""
    patterns: list[str] = []
    if (folder / SETTINGS).is_file() or any(folder.glob(f"fold-*/{SETTINGS}")):
        patterns += OF_A_RUN
    if (folder / TRAINING_FACTS).is_file():
        patterns += OF_A_CODEC
    return sorted({path.name for pattern in patterns for path in folder.glob(pattern)})


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _move(source: Path, target: Path) -> None:
    """Move a file or folder over what has its name. Logs of several runs lie side by side."""
    if source.name == "runs" and target.is_dir():
        for log in list(source.iterdir()):
            _move(log, target / log.name)
        source.rmdir()
        return
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    move_into_place(source, target)
