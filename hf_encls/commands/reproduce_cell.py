"""One cell of the grid as a process of its own: `python -m hf_encls.commands.reproduce_cell FOLDER ARGUMENTS...`.

A cell is finished when its folder holds results.json. A broken one goes on from its last whole checkpoint. The lock is
the operating system's: it ends with the process, so a start of the grid after `kill -9` waits for a cell whose process
outlived it, and never runs one twice at once.
"""

import shutil
import sys
from pathlib import Path

from filelock import FileLock

from hf_encls.commands.door import run
from hf_encls.commands.train import main as train
from hf_encls.training.results import RESULTS
from hf_encls.training.resuming import last_checkpoint


def main(folder: Path, arguments: list[str]) -> None:
    """Train the cell in `folder`, or what is left of it."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if (folder / RESULTS).is_file():
            return
        resume = ["--resume_from_checkpoint", "last"] if last_checkpoint(folder) else []
        train([*arguments, "--output_dir", str(folder), *resume])
        for checkpoint in folder.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)


if __name__ == "__main__":
    run(lambda: main(Path(sys.argv[1]), sys.argv[2:]))
