"""Running the cells one after the other, each in its own process and folder, with the progress of the whole."""

import os
import subprocess
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from tqdm.auto import tqdm

from hf_encls.files import write_json
from hf_encls.reproduction.grid import SETTINGS, Cell, CellSettings
from hf_encls.training.results import RESULTS, Results
from hf_encls.training.resuming import last_checkpoint, progress

LOG = "log.txt"
POLL_S = 1.0


def check_settings(cells: Sequence[Cell], folder: Path, report_only: bool = False) -> None:
    """Raise `ValueError` where a cell's folder was made with other settings: numbers of two kinds never mix.

    A report alone does not ask where the data lay when the cells were trained.
    """
    for cell in cells:
        file = folder / cell.id / SETTINGS
        if file.is_file():
            before, now = CellSettings.read(file).flat(), cell.settings.flat()
            names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
            changed = [f"`{name}` {before.get(name)}, now {now.get(name)}" for name in names]
            if changed and not (report_only and names == ["data_dir"]):
                raise ValueError(
                    f"{folder / cell.id} was started with other settings ({', '.join(changed)}): give the same ones, or "
                    "another `output_dir`"
                )


def common_options(folder: Path, presets: Sequence[str], names: Collection[str]) -> dict[str, object]:
    """What the finished cells of `presets` were trained with: those of the options `names` that are set.

    Raises `ValueError` when two cells differ in one of them.
    """
    values: dict[str, dict[object, Path]] = {name: {} for name in names}
    for file in sorted(folder.glob(f"*/*/**/{SETTINGS}")):
        if file.relative_to(folder).parts[1] not in presets or not (file.parent / RESULTS).is_file():
            continue
        settings = CellSettings.read(file)
        for name in names:
            if name != "hop_length" or settings.codec is None:  # a codec's features have none
                values[name].setdefault(settings.options.get(name), file.parent)
    for name, folders in values.items():
        if len(folders) > 1:
            (first, first_folder), (second, second_folder) = list(folders.items())[:2]
            raise ValueError(
                f"expected one setting of {name} in {folder}, found {first} in {first_folder} and {second} in "
                f"{second_folder}: say which one the report is of, or give another `output_dir`"
            )
    return {name: value for name, folders in values.items() for value in folders if value is not None}


def run_cells(cells: Sequence[Cell], folder: Path, command: Callable[[Path], Sequence[str]]) -> dict[str, str]:
    """Run what is not finished; returns the ids of cells that failed, with the last lines they said.

    `command` is the command line that trains the cell in a folder by the settings that are in it. A cell that fails does
    not stop the others. `check_settings` comes first.
    """
    work = {folder / cell.id: _work(cell) for cell in cells}
    todo = [cell for cell in cells if not (folder / cell.id / RESULTS).is_file()]
    failed = {}

    def done() -> float:
        return sum(_share(place) * values for place, values in work.items())

    def advance() -> None:
        bar.update(max(0.0, done() - bar.n))
        bar.refresh()

    layout = "{l_bar}{bar}| {elapsed} so far, {remaining} left"
    # The mean speed of this start: progress comes in lumps, one for each checkpoint.
    with tqdm(total=sum(work.values()), initial=done(), desc="the whole grid", bar_format=layout, smoothing=0) as bar:
        bar.write(f"{len(cells)} cells, {len(cells) - len(todo)} of them finished")
        for number, cell in enumerate(todo, len(cells) - len(todo) + 1):
            bar.write(f"[{number}/{len(cells)}] {cell.title}")
            started = time.monotonic()
            error = _run(cell, folder / cell.id, command, advance)
            if error is None:
                test = Results.of(folder / cell.id).test
                scores = f"{test.window.accuracy:.3f} of windows, {test.clip.accuracy:.3f} of clips"
                bar.write(f"    test accuracy {scores}, {time.monotonic() - started:.0f} s")
            else:
                failed[cell.id] = error
                bar.write(f"    failed: {error} (all of it in {folder / cell.id / LOG})")
    return failed


def _run(
    cell: Cell, folder: Path, command: Callable[[Path], Sequence[str]], advance: Callable[[], object]
) -> str | None:
    """Run a cell, calling `advance` meanwhile; returns the last line that a failed one said, of an error what it was."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(cell.settings.as_dict(), folder / SETTINGS)
    with (folder / LOG).open("ab") as log:
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(command(folder), stdout=log, stderr=subprocess.STDOUT, env=environment)
        try:
            while process.poll() is None:
                time.sleep(POLL_S)
                advance()
        finally:
            process.terminate()
            process.wait()
        advance()
    if process.returncode == 0 and (folder / RESULTS).is_file():
        return None
    lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").replace("\r", "\n").strip().splitlines()
    return lines[-1].strip() if lines else f"ended with status {process.returncode}"


def _work(cell: Cell) -> float:
    """Values that go through the network in the whole run, which its time follows roughly."""
    config = cell.network()
    values = config.num_bands * config.num_frames * cell.dataset.seconds / config.step_s
    return values * float(cell.preset.options["num_train_epochs"])


def _share(folder: Path) -> float:
    """The share of a cell's training that is done: all of it, or what its newest checkpoint has behind it."""
    checkpoint = last_checkpoint(folder)
    return 1.0 if (folder / RESULTS).is_file() else (checkpoint and progress(checkpoint)) or 0.0
