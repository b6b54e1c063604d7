"""How a run begins: anew, from a checkpoint, or not at all. Unfinished work goes only on request; runs never mix."""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from transformers import TrainerState
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from hf_encls.files import move_into_place, write_json
from hf_encls.files.records import RecordError, read_record
from hf_encls.training.places import LAST, NOTHING, SETTINGS
from hf_encls.training.results import RESULTS
from hf_encls.training.settings import changed_settings

STATE = "trainer_state.json"  # the last file of a checkpoint: without it, the checkpoint is broken
STATE_SHAPE = {
    **{"global_step": int, "max_steps": int, "log_history": [{"*": (float, None)}], "epoch?": (float, None)},
    **{"best_model_checkpoint?": (str, None), "stateful_callbacks?": (dict, None)},
    # What Trainer calculates with: numbers, whichever kind a version writes.
    **dict.fromkeys(("total_flos?", "num_input_tokens_seen?", "num_train_epochs?", "train_batch_size"), float),
    **dict.fromkeys(("logging_steps?", "eval_steps?", "save_steps?"), (float, None)),
    **dict.fromkeys(("best_metric?", "best_global_step?"), (float, None)),
}
PREVIOUS = "results.previous.json"  # while a run is done again, so that it does not look finished
MOST = 1e9  # epochs of a run, and seconds of an epoch: more is damage
LENGTH = ("num_train_epochs", "max_steps")  # a run may go on for longer than it was meant to


@dataclass(frozen=True)
class Start:
    """How a run in `folder` begins: from `checkpoint` (None: anew), or not, where all of it is there."""

    folder: Path
    settings: Mapping
    checkpoint: Path | None = None
    finished: bool = False


def plan_folds(
    folder: Path, resume: str | bool | None, settings: Mapping[int, Mapping], anew: bool = False
) -> dict[int, Start]:
    """How the runs of several folds begin, each in a folder of its own in `folder`; `settings`: fold -> its own.

    Changes nothing. Raises `ValueError` as `plan_start` does, also where some folds are finished and others are not.
    """
    starts = {
        fold: plan_start(folder / f"fold-{fold}", resume, of_fold, True, anew) for fold, of_fold in settings.items()
    }
    if anew:
        return starts
    some_finished = any((start.folder / RESULTS).is_file() for start in starts.values())
    if resume in NOTHING and some_finished and not (folder / RESULTS).is_file():
        raise ValueError(_unfinished(folder))
    return starts


def plan_start(
    folder: Path, resume: str | bool | None, settings: Mapping, one_of_several: bool = False, anew: bool = False
) -> Start:
    """How a run begins where `resume` is the value of `resume_from_checkpoint`. Changes nothing.

    A settings file may say false (nothing is asked) or true (the last checkpoint). `anew`: what is there is given up.

    Of several runs (`one_of_several`, the folds of a protocol) each goes on where it is: a finished one is left as it
    is, one without a checkpoint is started. Raises `ValueError` where an unfinished run would be lost, where the run
    there has other settings, and where there is no whole checkpoint to go on from.
    """
    last, finished = last_checkpoint(folder), (folder / RESULTS).is_file()
    if resume in NOTHING:
        if not anew and last is not None and not finished:
            raise ValueError(_unfinished(folder))
        if not anew and not one_of_several:
            refuse_unfinished_folds(folder)
        return Start(folder, settings)
    if not str(resume).strip():
        raise ValueError(f"expected `resume_from_checkpoint` to be a folder or last, found {resume!r}")
    if str(resume).lower() not in LAST:
        return _from_path(Path(str(resume)), folder, settings, one_of_several)
    if last is not None or finished:
        _check_same(folder, settings)
    if one_of_several and finished and _same_length(folder, settings):
        return Start(folder, settings, finished=True)
    if last is None and not one_of_several:
        is_over = finished and _same_length(folder, settings)
        found = (
            "a finished run, which left none: there is nothing to do" if is_over else "none: start without resuming"
        )
        raise ValueError(f"expected a whole checkpoint to resume from in {folder}, found {found}")
    return Start(folder, settings, last)


def refuse_unfinished_folds(folder: Path) -> None:
    """Raise `ValueError` where a folder holds a run of several folds that was broken off."""
    if (folder / RESULTS).is_file():
        return
    folds = sorted(path for path in folder.glob("fold-*") if path.is_dir())
    broken = [fold for fold in folds if last_checkpoint(fold) is not None and not (fold / RESULTS).is_file()]
    if broken or any((fold / RESULTS).is_file() for fold in folds):
        raise ValueError(_unfinished((broken or [folder])[0]))


def check_resumable(place: Path, resume: str | bool | None, settings: Mapping, *, anew: bool, folds: bool) -> None:
    """Raise `ValueError` where `plan_start` or `plan_folds` will, as far as `settings`, a part of a run's, can tell.

    `folds`: there may be several, or one that is called nothing.
    """
    if not folds:
        plan_start(place, resume, settings, anew=anew)
        return
    folders = sorted(path.parent for path in place.glob(f"fold-*/{SETTINGS}"))
    if resume not in NOTHING and str(resume).lower() not in LAST:
        _from_path(Path(str(resume)), place, settings, bool(folders))
        return
    settings = {name: value for name, value in settings.items() if name != "fold"}
    for each in folders:
        plan_start(each, resume, settings, True, anew)


def begin_folds(folder: Path, starts: Iterable[Start]) -> None:
    """Before the first of several folds, in one process only: what an earlier run left in those that start anew goes.

    Else a run that is killed between two folds would be resumed with results of the earlier one.
    """
    anew = [start.folder for start in starts if start.checkpoint is None and not start.finished]
    for each in (folder, *anew):
        set_results_aside(each)
    for each in anew:
        _drop_checkpoints(each)


def begin(start: Start) -> None:
    """Make the folder ready, in one process only: what is broken or of an earlier run goes, the settings are written."""
    start.folder.mkdir(parents=True, exist_ok=True)
    goes_on_here = start.checkpoint is not None and start.checkpoint.resolve().parent == start.folder.resolve()
    if goes_on_here:
        drop_broken_checkpoints(start.folder)
        _find_best_again(start.checkpoint)
    else:  # a finished run is done again: its checkpoints are of no more use
        _drop_checkpoints(start.folder)
    set_results_aside(start.folder)
    write_json(dict(start.settings), start.folder / SETTINGS)


def _find_best_again(checkpoint: Path) -> None:
    """A run whose folder was moved has its best checkpoint beside this one, not where it was."""
    state = _state(checkpoint)
    best = state.get("best_model_checkpoint")
    beside = checkpoint.parent / Path(best).name if best else None
    if beside is not None and str(beside) != best and beside.is_dir():
        write_json(state | {"best_model_checkpoint": str(beside)}, checkpoint / STATE)


def set_results_aside(folder: Path) -> None:
    """Results of an earlier run get another name until there are new ones."""
    if (folder / RESULTS).is_file():
        move_into_place(folder / RESULTS, folder / PREVIOUS)


def forget_previous(folder: Path) -> None:
    """Results that were set aside go when there are new ones."""
    (folder / PREVIOUS).unlink(missing_ok=True)


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint of a run that was written to its end."""
    whole = [checkpoint for checkpoint in _checkpoints(folder) if progress(checkpoint) is not None]
    return max(whole, key=_step, default=None)


def drop_broken_checkpoints(folder: Path) -> None:
    """Remove checkpoints that were being written when the process was killed: the trainer's state comes last."""
    for checkpoint in _checkpoints(folder):
        if progress(checkpoint) is None:
            _remove(checkpoint)


def _drop_checkpoints(folder: Path) -> None:
    for checkpoint in _checkpoints(folder):
        _remove(checkpoint)


def drop_old_checkpoints(folder: Path, limit: int | None, best: str | None) -> None:
    """Remove the oldest checkpoints until `limit` are left (None or 0: none goes); the newest and the best stay."""
    checkpoints = sorted(_checkpoints(folder), key=_step)
    kept = {checkpoint.name for checkpoint in checkpoints[-1:]} | {Path(best).name if best else ""}
    surplus = [checkpoint for checkpoint in checkpoints if checkpoint.name not in kept]
    room = max(0, limit - (len(checkpoints) - len(surplus))) if limit else len(surplus)
    for checkpoint in surplus[: len(surplus) - room]:
        _remove(checkpoint)


def _remove(checkpoint: Path) -> None:
    """Remove a checkpoint; broken off in the middle, it counts as broken."""
    (checkpoint / STATE).unlink(missing_ok=True)
    shutil.rmtree(checkpoint)


def progress(checkpoint: Path) -> float | None:
    """The share of the training that a checkpoint has behind it; None for one that is not whole."""
    try:
        state = _state(checkpoint)
        return state["global_step"] / max(1, state["max_steps"])
    except (OSError, ValueError, KeyError):
        return None


def seconds_before(checkpoint: Path | None) -> float:
    """Seconds of training that a checkpoint has behind it, as far as its log tells (`epoch_s`)."""
    log = _state(checkpoint)["log_history"] if checkpoint is not None else []
    return sum(entry.get("epoch_s") or 0.0 for entry in log)


def _from_path(checkpoint: Path, folder: Path, settings: Mapping, one_of_several: bool) -> Start:
    if one_of_several:
        raise ValueError(
            f"expected one run to resume from {str(checkpoint)!r}, found one for each fold: name one with `fold`, or "
            "take `resume_from_checkpoint=last`, which goes on with each fold"
        )
    if not checkpoint.is_dir():
        raise ValueError(
            f"expected a checkpoint folder at {str(checkpoint)!r}, found none; 'last' takes the newest of the run"
        )
    if progress(checkpoint) is None:
        raise ValueError(
            f"expected a whole checkpoint at {str(checkpoint)!r}, found one whose writing was broken off: take another, or "
            "'last', the newest whole one of the run"
        )
    home = checkpoint.resolve().parent
    _check_same(home, settings)
    elsewhere = home != folder.resolve()
    if elsewhere and last_checkpoint(folder) is not None and not (folder / RESULTS).is_file():
        raise ValueError(_unfinished(folder))
    return Start(folder, settings, checkpoint)


def _check_same(folder: Path, settings: Mapping) -> None:
    if not (folder / SETTINGS).is_file():
        return
    changed = [name for name in changed_settings(read_record(folder / SETTINGS), settings) if name not in LENGTH]
    if changed:
        raise ValueError(
            f"the run in {folder} is another one (it differs in {', '.join(changed)}): resume it with its own "
            "settings, or take another `output_dir`"
        )


def _same_length(folder: Path, settings: Mapping) -> bool:
    earlier = read_record(folder / SETTINGS) if (folder / SETTINGS).is_file() else {}
    return all(earlier.get(name) == settings.get(name) for name in LENGTH)


def _checkpoints(folder: Path) -> list[Path]:
    paths = folder.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
    return [path for path in paths if path.is_dir() and path.name.split("-", 1)[1].isdigit()]


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.split("-", 1)[1])


def _state(checkpoint: Path) -> dict:
    state = read_record(checkpoint / STATE, STATE_SHAPE)
    unknown = state.keys() - {each.name for each in fields(TrainerState)}
    if unknown:
        raise RecordError(
            f"{checkpoint / STATE} is damaged: expected the state of a Trainer, found {min(unknown)!r:.80}"
        )
    for entry in state["log_history"]:
        wrong = next((name for name in entry if not _is_possible(name, entry[name])), None)
        if wrong is not None:
            raise RecordError(
                f"{checkpoint / STATE} is damaged: expected {wrong[:80]} of an epoch, found {entry[wrong]!r:.60}"
            )
    return state


def _is_possible(name: str, value: float | None) -> bool:
    """Whether the log of a Trainer can say this: a loss may be no number, epochs, seconds and accuracies are one."""
    if value is None:
        return name != "epoch"
    if name in ("epoch", "epoch_s"):
        return 0 <= value <= MOST
    return not name.endswith("accuracy") or 0 <= value <= 1


def _unfinished(folder: Path) -> str:
    return (
        f"{folder} holds an unfinished run: go on with `resume_from_checkpoint=last`, take another `output_dir`, or say "
        "`overwrite=True` to begin anew"
    )
