"""The paper by one command, run small: a grid that survives kill -9, a page with no number of its own."""

import json
import math
import re
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_codecs import FAMILIES
from small_grid import data_set, history, row_of, write_results, write_tones
from small_grid import report as report_of
from small_models import small_codec

from hf_encls.codec.facts import CodecFacts
from hf_encls.commands import reproduce_cell
from hf_encls.commands.reproduce_cell import train_cell
from hf_encls.commands.reproduce_paper import main
from hf_encls.commands.train import main as train
from hf_encls.files import escapes, write_json
from hf_encls.reproduction import runner, timing
from hf_encls.reproduction.cells import finished_cells
from hf_encls.reproduction.data_sets import read_data_set
from hf_encls.reproduction.grid import SETTINGS, Cell, CellSettings, Input, plan, read_preset, read_variants
from hf_encls.reproduction.other_models import compare_rows
from hf_encls.reproduction.report_page import render
from hf_encls.reproduction.timing import timing_rows

EPOCHS = 12
CELL = "esc50/recommended/clip/mel/seed0"


# ------------------------------------------------------------------------------------------------- the grid


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    """A grid that was killed in its first cell and started again: its folder, its sounds, its arguments."""
    root = tmp_path_factory.mktemp("grid")
    sounds = write_tones(root / "sounds")
    arguments = ["--esc50", str(sounds), "--gtzan_genres", str(root / "nowhere"), "--codec_24khz", "untrained"]
    arguments += ["--codec_48khz", str(root / "no_codec"), "--inputs", "mel", "encodec_24khz", "encodec_48khz"]
    arguments += ["--presets", "recommended", "--protocols", "clip", "--variants", "none", "--epochs", str(EPOCHS)]
    arguments += ["--timing_clips", "1", "--output_dir", str(root / "out"), "--cache_dir", str(root / "cache")]
    kill_first_cell(sounds, root / "out", root / "cache")
    main(arguments)
    return root / "out", sounds, arguments


def test_a_codec_of_another_rate_is_refused_at_the_start(tmp_path):
    FAMILIES["dac"].make().save_pretrained(tmp_path / "codec")
    sounds = write_tones(tmp_path / "sounds")
    arguments = ["--esc50", str(sounds), "--codec_24khz", str(tmp_path / "codec"), "--inputs", "encodec_24khz"]
    with pytest.raises(ValueError, match="--codec_24khz .*codec: encodec_24khz needs a codec of the family encodec"):
        main([*arguments, "--output_dir", str(tmp_path / "out")])
    small_codec(48).save_pretrained(tmp_path / "wide")
    arguments[3] = str(tmp_path / "wide")
    with pytest.raises(
        ValueError, match="--codec_24khz .*wide: .*encodec_24khz needs a codec of 24000 Hz, found one of"
    ):
        main([*arguments, "--output_dir", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def kill_first_cell(sounds: Path, folder: Path, cache: Path) -> None:
    """Start the first cell as the grid would; when it has written a checkpoint, kill -9."""
    preset = read_preset("recommended", {"num_train_epochs": EPOCHS})
    cell = Cell(read_data_set("esc50", str(sounds)), Input("mel"), preset, "clip", None, 0)
    assert cell.id == CELL
    work = folder / "cells" / cell.id
    work.mkdir(parents=True)
    write_json(cell.settings.as_dict(), work / SETTINGS)
    command = reproduce_cell.command(work, str(cache))
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not list(work.glob("checkpoint-*/trainer_state.json")):
        assert process.poll() is None and time.monotonic() < deadline, "it ended before its first checkpoint"
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not (work / "results.json").exists()


@pytest.mark.slow
def test_a_killed_grid_ends_with_the_numbers_of_one_that_was_not(grid, tmp_path: Path):
    folder = grid[0]
    resumed = json.loads((folder / "cells" / CELL / "results.json").read_text())
    assert "--resume_from_checkpoint" not in resumed["command"]  # it is the command that makes this from nothing
    settings = CellSettings.read(folder / "cells" / CELL / SETTINGS)
    train_cell(settings, tmp_path / "whole", str(folder.parent / "cache"))
    whole = json.loads((tmp_path / "whole" / "results.json").read_text())
    options = [*settings.options_of_train(), "--report_to", "none"]  # the command that it names makes the same
    by_hand = train([*options, "--output_dir", str(tmp_path / "by_hand"), "--cache_dir", str(folder.parent / "cache")])
    assert by_hand.test.as_dict() == whole["test"] and by_hand.confusion_matrix == whole["confusion_matrix"]
    assert resumed["epochs"] == whole["epochs"] == EPOCHS
    for name in ("train", "validation", "test", "confusion_matrix", "best_epoch"):
        assert resumed[name] == whole[name]
    timeless = [[{k: v for k, v in row.items() if k != "epoch_s"} for row in r["history"]] for r in (resumed, whole)]
    assert timeless[0] == timeless[1]


@pytest.mark.slow
def test_finished_cells_are_not_run_again_and_other_settings_are_refused(grid):
    folder, _, arguments = grid
    before = {file: file.stat().st_mtime_ns for file in folder.glob("cells/**/results.json")}
    assert len(before) == 2 and not list(folder.glob("cells/**/checkpoint-*"))
    main([*arguments, "--timing_clips", "0"])
    assert before == {file: file.stat().st_mtime_ns for file in before}
    with pytest.raises(ValueError, match="`num_train_epochs` 12, now 13"):
        main([*arguments, "--epochs", "13"])


@pytest.mark.slow
def test_what_is_missing_is_listed_and_the_rest_runs(grid):
    report = json.loads((grid[0] / "report" / "report.json").read_text())
    datasets = {row["key"]: row["status"] for row in report["datasets"]}
    assert datasets == {"gtzan_music_speech": "missing", "gtzan_genres": "missing", "esc50": "used"}
    assert {row["label"]: row["status"] for row in report["inputs"]} == {
        "mel (power)": "used",
        "24 kHz (untrained)": "used",
        f"48 kHz ({grid[0].parent / 'no_codec'})": "missing",
    }
    rows = {row["input"]: row for row in report["table_1"]}
    assert rows["mel"]["paper"] == {"accuracy": 0.3105, "loss": 3.9}
    assert rows["mel"]["accuracy_difference"] is None  # a stand-in is not compared
    assert rows["encodec_24khz-untrained"]["over_mel"] is not None
    for row in report["cells"]:
        assert row["command"] and row["versions"]["torch"] and row["seed"] == 0


@pytest.mark.slow
def test_the_page_of_a_grid_has_no_number_that_is_not_in_its_json(grid):
    report = json.loads((grid[0] / "report" / "report.json").read_text())
    assert (grid[0] / "report" / "REPORT.md").read_text() == render(report)
    for picture in report["pictures"]:
        assert (grid[0] / "report" / picture["file"]).is_file()
    assert not digits(render(without_digits(report)))


# Words of the page's own that hold a digit: heads of columns, none of them a figure.
SECTIONS = (
    "claims table_1 merit figure_4 convergence equal figure_2 sizes load timing table_2 ambiguities cells".split()
)
OWN_WORDS = ("float32",)
# Names of the report's parts that hold a digit; the page looks them up, it does not show them.
PARTS = re.compile(r"(table|figure)_[12](_note)?|bytes_float32_per_s|bf16")


def digits(page: str) -> list[str]:
    """Words with a digit that are not the page's own."""
    return [word for word in re.findall(r"\w*\d\w*", page) if word not in OWN_WORDS]


def without_digits(value: object) -> object:
    """The same JSON with every number taken away, and every digit of its texts replaced by a letter."""
    if isinstance(value, dict):
        return {without_digits(key): without_digits(item) for key, item in value.items()}
    if isinstance(value, list):
        return [without_digits(item) for item in value]
    if isinstance(value, str):
        return value if PARTS.fullmatch(value) else value.translate(str.maketrans("0123456789", "abcdefghij"))
    return math.nan if isinstance(value, int | float) and not isinstance(value, bool) else value


# ------------------------------------------------------------------------------------------------- a quick grid


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A finished grid of one cell, log-mel, trained in this process: its folder and its arguments."""
    root = tmp_path_factory.mktemp("quick")
    sounds = write_tones(root / "sounds")

    def run_here(cell: Cell, folder: Path, *args: object) -> None:
        folder.mkdir(parents=True)
        write_json(cell.settings.as_dict(), folder / SETTINGS)
        train_cell(cell.settings, folder, str(root / "cache"))

    arguments = ["--esc50", str(sounds), "--inputs", "log_mel", "--presets", "recommended", "--protocols", "clip"]
    arguments += ["--variants", "none", "--timing_clips", "1", "--output_dir", str(root / "out")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "_run", run_here)
        main([*arguments, "--epochs", "2", "--hop_length", "256"])
    return root / "out", arguments


def test_a_report_alone_has_the_settings_of_its_cells_and_refuses_others(quick):
    folder, arguments = quick
    report = folder / "report" / "report.json"
    before = json.loads(report.read_text())
    report.unlink()
    main([*arguments, "--report_only"])
    after = json.loads(report.read_text())
    page = (folder / "report" / "REPORT.md").read_text()
    assert "without the inputs mel, encodec_24khz, encodec_48khz" in page
    assert "; not run: preset paper, recommended/official" in page and "variants standardized, hop_256" in page
    assert after["sizes"] == before["sizes"] and after["presets"] == before["presets"]
    assert after["sizes"][0]["hop_length"] == 256 and after["presets"]["recommended"]["num_train_epochs"] == 2
    with pytest.raises(ValueError, match="`hop_length` 256, now 128"):
        main([*arguments, "--report_only", "--hop_length", "128"])
    settings = next(folder.glob("cells/**/arguments.json"))
    whole = settings.read_text()
    settings.write_text(whole.replace('"hop_length": 256', '"hop_length": 256.0'))
    with pytest.raises(ValueError, match=r"arguments.json is damaged: expected options.hop_length"):
        main([*arguments, "--report_only"])
    settings.write_text(whole)


def test_a_report_alone_takes_the_data_from_wherever_it_is_now(quick, tmp_path, monkeypatch):
    _, arguments = quick
    sounds = Path(arguments[1])
    monkeypatch.chdir(sounds.parent)
    main([arguments[0], sounds.name, *arguments[2:], "--report_only"])
    main([arguments[0], sounds.name, *arguments[2:], "--epochs", "2", "--hop_length", "256"])  # the same folder
    moved = tmp_path / sounds.name
    shutil.copytree(sounds, moved)
    main([arguments[0], str(moved), *arguments[2:], "--report_only"])
    with pytest.raises(ValueError, match="other settings .`data_dir`"):
        main([arguments[0], str(moved), *arguments[2:], "--epochs", "2", "--hop_length", "256"])


def test_a_codec_that_is_not_there_is_missing_with_the_whole_reason(quick):
    folder, arguments = quick
    codec = "no codec. Without one"
    inputs = ["--inputs", "log_mel", "encodec_24khz", "--codec_24khz", codec]
    main([*arguments, *inputs, "--report_only", "--timing_clips", "0"])
    row = row_of(json.loads((folder / "report" / "report.json").read_text())["inputs"], features="encodec_24khz")
    assert row["status"] == "missing" and f"{codec!r}" in row["reason"] and row["reason"].endswith("need no codec")


def test_other_models_are_measured_on_the_clips_of_one_split_beside_our_own(
    quick, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder, arguments = quick
    sounds = read_data_set("esc50", arguments[1])
    preset = read_preset("recommended", {})
    cells = plan([sounds], [Input("log_mel")], [preset], [0], ["clip"])
    runs = finished_cells(cells, folder / "cells")
    ours = runs[0].results.test.clip.accuracy
    own, same = compare_rows(runs, [sounds], [str(runs[0].folder)])
    assert "note" not in same
    assert own["input"] == "log_mel" and "reason" not in same
    assert own["accuracy"] == same["accuracy"] == ours
    for row in (own, same):
        assert (row["protocol"], row["fold"], row["seed"]) == ("clip", None, 0)

    def breaks(*args: object, **kwargs: object) -> None:
        raise RuntimeError("size mismatch\nfor conv1")

    heard = shutil.copytree(runs[0].folder, tmp_path / "heard")
    parts = json.loads((heard / "clips.json").read_text())
    write_json({"train": parts["test"], "validation": [], "test": []}, heard / "clips.json")
    assert "never heard, found 3 of 3" in compare_rows(runs, [sounds], [str(heard)])[-1]["reason"]
    warned = shutil.copytree(runs[0].folder, tmp_path / "warned")
    replace(runs[0].results, codec=CodecFacts(id="x", untrained=True)).write(warned)
    noted = compare_rows(runs, [sounds], [str(warned)])[-1]
    assert noted["accuracy"] == ours and "untrained" in noted["note"]
    assert report_of(tmp_path, cells, compared=[noted])["table_2"][-1]["note"] == noted["note"]
    monkeypatch.setattr("transformers.pipeline", breaks)
    broken = compare_rows(runs, [sounds], ["some/model"])[-1]
    assert (broken["model"], broken["accuracy"], broken["reason"]) == ("some/model", None, "size mismatch")
    rows = report_of(folder / "cells", cells, compared=[own, same, broken])["table_2"]
    rows = [row for row in rows if row["kind"] != "cited"]
    assert [(row["kind"], row.get("seed"), row["esc50"]) for row in rows] == [
        ("measured", None, ours),
        ("same_clips", 0, ours),
        ("compared", 0, ours),
        ("compared", 0, None),
    ]
    assert rows[0]["runs"] == {"esc50": 1}


def test_a_time_is_measured_again_when_it_was_measured_otherwise(quick, monkeypatch: pytest.MonkeyPatch):
    folder, arguments = quick
    sounds = read_data_set("esc50", arguments[1])
    cells = plan([sounds], [Input("log_mel")], [read_preset("recommended", {})], [0], ["clip"])
    runs = finished_cells(cells, folder / "cells")
    file = folder / "timing" / "esc50.json"
    before = file.read_bytes()
    assert timing_rows(runs, 1, file.parent)[0]["repeats"] == timing.REPEATS and file.read_bytes() == before
    assert timing_rows(runs, 2, file.parent)[0]["clips"] == 2 and file.read_bytes() != before
    before = file.read_bytes()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert timing_rows(runs, 2, file.parent)[0]["threads"] == 3 and file.read_bytes() != before


def whole_report(folder: Path, name: str = "sounds") -> dict:
    """The report of a grid with every section, on a data set of that name."""
    sounds = replace(data_set(folds=(1, 2, 3) * 5), name=name)
    as_written = read_preset("paper", {})
    presets = [as_written, *read_variants(["all"], as_written), read_preset("recommended", {})]
    inputs = [Input("mel"), Input("log_mel"), Input("encodec_24khz", "untrained", "untrained", True)]
    cells = plan([sounds], inputs, presets, [0, 1])
    for number, cell in enumerate(cells[1:]):
        write_results(folder, cell, number / len(cells), history([0.1, 0.2 + number / 100], [2.0, 1.0]))
    times = {"clips": 1, "audio_s": 1.2, "device": "cpu", "threads": 1, "load_average": 0.5}
    times["rounds"] = [{"representation": 0.1, "classification": 0.2}, {"representation": 0.3, "classification": 0.4}]
    about = {"dataset": "esc50", "cell": "x"}
    rows = [about | {"input": entry.key} | timing.summary(times) for entry in inputs]
    compared = [{"dataset": "esc50", "model": "some/model9", "protocol": "official", "fold": 1, "seed": 0}]
    compared[0] |= {"accuracy": None, "reason": "error 404"}
    failed, missing = {cells[0].id: f"error 13 in {name}"}, {"gtzan_genres": f"no folder at {name}"}
    report = report_of(folder, cells, rows, compared, failed=failed, missing_datasets=missing)
    report["pictures"] = [
        {"kind": kind, "file": f"a1_{name}.png", "title": f"1 {name}"} for kind in ("figure_2", "figure_4", "timing")
    ]
    return report


def test_the_page_has_no_number_that_is_not_in_its_json(quick, tmp_path: Path):
    report = json.loads((quick[0] / "report" / "report.json").read_text())
    assert (quick[0] / "report" / "REPORT.md").read_text() == render(report)
    whole = whole_report(tmp_path)
    for one in (report, whole):
        assert digits(render(one)) and not digits(render(without_digits(one)))
    assert all(f"## {whole['sentences'][name]}" in render(whole) for name in SECTIONS)
    # And a changed number changes the page.
    whole["table_1"][0]["window_accuracy"]["mean"] = 0.12345
    assert "12.35" in render(whole) or "12.34" in render(whole)


def test_names_are_text_on_the_page_and_its_tables_are_whole(tmp_path: Path):
    name = "a*b* <i>|c_ [d](e)"
    page = render(whole_report(tmp_path, name))
    assert escapes.markdown(name) in page and name not in page
    assert page.count("](a1_a%2Ab%2A%20%3Ci%3E%7Cc_%20%5Bd%5D%28e%29.png)") == 3
    assert "<i>" not in page and "\n\n\n" not in page and page.endswith("|\n")
    tables = re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)
    assert len(tables) > 15
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table
    assert all(page.split(table)[0].endswith("\n\n") for table in tables)  # else it is none
