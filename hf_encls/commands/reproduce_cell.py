"""One cell of the grid as a process of its own: `python -m hf_encls.commands.reproduce_cell FOLDER CACHE_DIR`.

The folder holds the cell's settings. A cell is finished when it holds results.json, too; a broken one goes on from its
last whole checkpoint. The lock is the operating system's: it ends with the process, so a start of the grid after
`kill -9` waits for a cell whose process outlived it, and never runs one twice at once.
"""

import sys
from functools import partial
from pathlib import Path

import transformers
from filelock import FileLock

from hf_encls.commands.errors import run_program
from hf_encls.commands.parser import show_warnings
from hf_encls.files import writing
from hf_encls.reproduction.grid import SETTINGS, CellSettings
from hf_encls.reproduction.training import train_cell
from hf_encls.training.results import RESULTS


def command(folder: Path, cache_dir: str) -> list[str]:
    """The command line that trains the cell whose settings are in `folder`."""
    return [sys.executable, "-m", "hf_encls.commands.reproduce_cell", str(folder), cache_dir]


def main(folder: Path, cache_dir: str) -> None:
    """Train the cell in `folder`, or what is left of it."""
    show_warnings()
    transformers.utils.logging.disable_progress_bar()
    with writing(folder), FileLock(folder / ".lock"):
        if not (folder / RESULTS).is_file():
            train_cell(CellSettings.read(folder / SETTINGS), folder, cache_dir, partial(print, flush=True))


if __name__ == "__main__":
    run_program(lambda: main(Path(sys.argv[1]), sys.argv[2]))
