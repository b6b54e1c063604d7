"""Saving and resuming a codec's training: safetensors and JSON, nothing pickled, never half a checkpoint.

There is no state of a random generator in it: batches depend on the seed and the step, and the network has no dropout.
"""

import json
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from hf_encls.files import new_folder
from hf_encls.files.records import read_record

STATE_SHAPE = {"step": int, "recipe": dict}
STATE = "state.json"


def save_checkpoint(
    folder: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, state: Mapping
) -> Path:
    """Write `folder/step-N` (model, optimizer, `state` and the step) and remove older ones."""
    target = folder / f"step-{step:08d}"
    with new_folder(target) as partial:
        save_file(
            {name: value.contiguous() for name, value in model.state_dict().items()}, partial / "model.safetensors"
        )
        save_file(_optimizer_tensors(model, optimizer), partial / "optimizer.safetensors")
        (partial / STATE).write_text(json.dumps({**state, "step": step}, indent=1) + "\n", encoding="utf-8")
        if target.exists():
            shutil.rmtree(target)
    for old in list_checkpoints(folder)[:-2]:
        shutil.rmtree(old)
    return target


def list_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(path.parent for path in folder.glob(f"step-*/{STATE}"))


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict:
    """Restore model and optimizer in place and return the state, with `step`.

    Raises `ValueError` when the checkpoint is of another network.
    """
    state = read_record(path / STATE, STATE_SHAPE)
    try:
        model.load_state_dict(load_file(path / "model.safetensors"))
    except RuntimeError as error:
        raise ValueError(f"{path} holds another network than the one configured: {error}") from error
    tensors = load_file(path / "optimizer.safetensors")
    for name, parameter in model.named_parameters():
        kept = {
            key: tensors[f"{name}/{key}"] for key in ("exp_avg", "exp_avg_sq", "step") if f"{name}/{key}" in tensors
        }
        if kept:
            kept = {key: value if key == "step" else value.to(parameter.device) for key, value in kept.items()}
            optimizer.state[parameter] = kept
    return state


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    return {
        f"{name}/{key}": value.contiguous()
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


@contextmanager
def stop_requests() -> Iterator[Callable[[], int]]:
    """Inside, Ctrl-C and SIGTERM only ask to stop (a second one stops at once).

    Yields a call that says which one came: its number, 0 for none. `stop_now` does afterwards what it is there for.
    """
    signals: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        if signals:
            raise KeyboardInterrupt
        signals.append(number)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: signals[0] if signals else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_now(number: int) -> NoReturn:
    """End as the signal that was waited with would have; another process's counts as Ctrl-C."""
    if number == signal.SIGTERM:
        signal.raise_signal(signal.SIGTERM)
    raise KeyboardInterrupt
