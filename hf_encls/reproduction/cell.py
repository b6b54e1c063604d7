"""One cell of the grid as a process of its own: `python -m hf_encls.reproduction.cell FOLDER ARGUMENTS...`.

A cell is finished when its folder holds results.json. A broken one goes on from its last whole checkpoint. The lock is
the operating system's: it ends with the process, so a start of the grid after `kill -9` waits for a cell whose process
outlived it, and never runs one twice at once.
"""

import json
import shutil
import sys
from pathlib import Path

from filelock import FileLock
from transformers.trainer_utils import get_last_checkpoint

from hf_encls.commands.door import run
from hf_encls.commands.train import main as train

RESULTS = "results.json"


def main(folder: Path, arguments: list[str]) -> None:
    """Train the cell in `folder`, or what is left of it."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if (folder / RESULTS).is_file():
            return
        drop_broken_checkpoints(folder)
        resume = ["--resume_from_checkpoint", "last"] if get_last_checkpoint(folder) else []
        train([*arguments, "--output_dir", str(folder), *resume])
        for checkpoint in folder.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)


def drop_broken_checkpoints(folder: Path) -> None:
    """Remove checkpoints that were being written when the process was killed: the trainer's state comes last."""
    for checkpoint in folder.glob("checkpoint-*"):
        if progress(checkpoint) is None:
            shutil.rmtree(checkpoint)


def progress(checkpoint: Path) -> float | None:
    """The share of the training that a checkpoint has behind it; None for one that is not whole."""
    try:
        state = json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        return state["global_step"] / max(1, state["max_steps"])
    except (OSError, ValueError, KeyError):
        return None


if __name__ == "__main__":
    run(lambda: main(Path(sys.argv[1]), sys.argv[2:]))
