"""One cell of the grid as a process of its own: `python -m hf_encls.commands.reproduce_cell FOLDER CACHE_DIR`.

The folder holds the cell's settings. A cell is finished when it holds results.json, too; a broken one goes on from its
last whole checkpoint. The lock is the operating system's: it ends with the process, so a start of the grid after
`kill -9` waits for a cell whose process outlived it, and never runs one twice at once.
"""

import shutil
import sys
import time
from pathlib import Path

import transformers
from filelock import FileLock

from hf_encls.commands.dataclass_options import of_options
from hf_encls.commands.errors import run_program
from hf_encls.commands.inputs import prepare
from hf_encls.commands.parser import show_warnings
from hf_encls.commands.saved_run import origin, train_and_save
from hf_encls.commands.train_arguments import DataArguments, ModelArguments
from hf_encls.files import writing
from hf_encls.reproduction.grid import SETTINGS, CellSettings
from hf_encls.training.arguments import EnclsTrainingArguments
from hf_encls.training.places import occupied
from hf_encls.training.results import RESULTS
from hf_encls.training.resuming import plan_start
from hf_encls.training.settings import run_settings


def command(folder: Path, cache_dir: str) -> list[str]:
    """The command line that trains the cell whose settings are in `folder`."""
    return [sys.executable, "-m", "hf_encls.commands.reproduce_cell", str(folder), cache_dir]


def main(folder: Path, cache_dir: str) -> None:
    """Train the cell in `folder`, or what is left of it."""
    show_warnings()
    transformers.utils.logging.disable_progress_bar()
    with writing(folder), FileLock(folder / ".lock"):
        if not (folder / RESULTS).is_file():
            train_cell(CellSettings.read(folder / SETTINGS), folder, cache_dir)


def train_cell(settings: CellSettings, folder: Path, cache_dir: str) -> None:
    """Train a cell in `folder` as scripts/train.py would; what was broken off goes on from its last whole checkpoint.

    Raises `ValueError` as `prepare` and `train` do.
    """
    places = {"output_dir": str(folder), "cache_dir": cache_dir}
    values = settings.flat() | places | {"report_to": "none"}
    network, data, args = of_options((ModelArguments, DataArguments, EnclsTrainingArguments), values)
    started = time.monotonic()
    inputs = prepare(data, **network.network())
    options = [*settings.options_of_train(), "--output_dir", str(folder)]
    facts = origin(inputs, options, time.monotonic() - started)
    with occupied(folder):
        wanted = run_settings(inputs.windows, inputs.config, args, data.protocol, data.fold)
        train_and_save(inputs, args, plan_start(folder, "last", wanted, one_of_several=True), facts)
        for checkpoint in folder.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)


if __name__ == "__main__":
    run_program(lambda: main(Path(sys.argv[1]), sys.argv[2]))
