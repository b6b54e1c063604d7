"""The paper by one command: figures checked by hand, a grid that survives kill -9, a page with no number of its own."""

import json
import math
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.flop_counter import FlopCounterMode

from hf_encls.commands.reproduce_cell import main as run_cell
from hf_encls.commands.reproduce_paper import main
from hf_encls.commands.train import main as train
from hf_encls.hub.configuration_encls import EnclsConfig
from hf_encls.hub.modeling_encls import EnclsForAudioClassification
from hf_encls.reproduction import paper, runner, timing
from hf_encls.reproduction.assemble import Grid, build
from hf_encls.reproduction.collect import merit, table_1, table_2
from hf_encls.reproduction.evidence import ambiguities, claims
from hf_encls.reproduction.finished import Finished, finished
from hf_encls.reproduction.grid import Cell, Input, not_run, plan, read_preset, read_variants
from hf_encls.reproduction.measures import (
    at_equal_epochs,
    convergence,
    load,
    mean_and_deviation,
    mel_frames,
    multiply_adds,
    share_of_epochs_above,
    sizes,
)
from hf_encls.reproduction.others import compare_rows
from hf_encls.reproduction.report_page import render
from hf_encls.reproduction.sources import Source, read_source
from hf_encls.reproduction.timing import in_turns, inference_times, summary, timing_rows
from hf_encls.results import write_json
from hf_encls.resuming import drop_broken_checkpoints

EPOCHS = 12
CELL = "esc50/recommended/clip/mel/seed0"
OTHER = "esc50/recommended/clip/encodec_24khz-untrained/seed0"


def history(accuracies: list[float], losses: list[float], seconds: float = 2.0) -> list[dict]:
    """A learning curve with epochs from 1."""
    return [
        {"epoch": epoch, "validation_accuracy": accuracy, "validation_loss": loss, "epoch_s": seconds}
        for epoch, (accuracy, loss) in enumerate(zip(accuracies, losses, strict=True), 1)
    ]


# ------------------------------------------------------------------------------------------------- by hand


def test_convergence_is_the_first_epoch_above_the_last_of_the_baseline():
    mel = history([0.1, 0.5, 0.3], [3.0, 2.0, 2.5])
    latents = history([0.2, 0.3, 0.31, 0.2], [2.0, 1.0, 0.9, 1.1])
    found = convergence(latents, mel)
    assert found["baseline_final"] == 0.3
    assert found["pass_epoch"] == 3  # 0.3 equals, it does not pass
    assert found["pass_s"] == 6.0
    assert (found["best_loss_epoch"], found["best_loss"], found["best_loss_s"]) == (3, 0.9, 6.0)
    assert found["pass_loss_epoch"] == 1  # 2.0, mel's lowest
    # Smoothed by 0.8: mel ends at (0.1 * 0.64 + 0.5 * 0.8 + 0.3) / (0.64 + 0.8 + 1) = 0.3131; the latents never pass.
    assert found["pass_smoothed_epoch"] is None


def test_a_run_that_never_passes_has_no_epoch_and_a_loss_that_is_no_number_is_not_the_best():
    found = convergence(history([0.1, 0.2], [math.nan, 5.0]), history([0.9], [0.1]))
    assert found["pass_epoch"] is None and found["pass_s"] is None
    assert found["best_loss_epoch"] == 2


def test_accuracy_at_equal_epochs():
    curve = history([0.1, 0.2, 0.3], [1, 1, 1])
    assert at_equal_epochs(curve) == {"1": 0.1, "2": 0.2, "3": 0.3}
    assert share_of_epochs_above(curve, history([0.0, 0.2, 0.2], [1, 1, 1])) == pytest.approx(2 / 3)


def test_frames_of_mel_in_the_readings_of_the_paper():
    assert mel_frames(44_100, 1.0, 256) == 171  # equation (1)
    assert mel_frames(44_100, 1.0, 256, centred=True) == 173  # the figure in the text
    assert mel_frames(22_050, 1.0, 128, centred=True) == 173
    assert mel_frames(44_100, 1.0, 128) == 341


def test_sizes_of_one_second():
    latents = sizes(EnclsConfig(features="encodec_24khz"))
    assert (latents["frames_per_s"], latents["bytes_per_s"], latents["bytes_float32_per_s"]) == (75, 19_200, 38_400)
    assert sizes(EnclsConfig(features="encodec_48khz", sampling_rate=48_000))["frames_per_s"] == 150
    mel = sizes(EnclsConfig(features="mel", sampling_rate=44_100, hop_length=256))
    assert (mel["frames_per_s"], mel["bytes_per_s"]) == (171, 171 * 128 * 4)
    assert {key: paper.FRAMES_PER_S[key] for key in ("encodec_24khz", "encodec_48khz")} == {
        "encodec_24khz": 75,
        "encodec_48khz": 150,
    }


def test_multiply_adds_by_hand_and_by_torch():
    config = EnclsConfig(features="encodec_24khz", id2label={i: str(i) for i in range(50)})
    counts = multiply_adds(config)
    assert counts["conv1"] == 126 * 73 * 32 * 9
    assert counts["conv2"] == 61 * 34 * 64 * 32 * 9
    assert counts["linear"] == 64 * 30 * 17 * 50
    assert counts["parameters"] == 1_650_866  # the paper's network on 128 x 75 and 50 classes
    assert load(config, 10)["per_epoch"] == 10 * counts["training"]
    model = EnclsForAudioClassification(config)
    with FlopCounterMode(display=False) as forward:
        logits = model.classify(torch.zeros(1, 128, 75))
    assert forward.get_total_flops() == 2 * counts["forward"]
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    assert forward.get_total_flops() + backward.get_total_flops() == 2 * counts["training"]


def test_mean_and_deviation():
    assert mean_and_deviation([1.0, None, 3.0]) == {"mean": 2.0, "deviation": pytest.approx(math.sqrt(2)), "count": 2}
    assert mean_and_deviation([5.0])["deviation"] is None
    assert mean_and_deviation([])["mean"] is None


# ------------------------------------------------------------------------------------------------- plan


def source(key: str = "esc50", folds: tuple[int, ...] = (1, 2, 3, 4, 5)) -> Source:
    """A data set that is nowhere."""
    return Source(key, "folder", "ESC-10", ("a", "b"), 10, 50.0, 44_100, folds, {}, 0, False)


def test_presets_have_the_same_lines():
    first, second = read_preset("paper", {}), read_preset("recommended", {})
    assert list(first.options) == list(second.options)
    assert first.options["num_train_epochs"] == second.options["num_train_epochs"] == 1000
    assert (first.protocols, first.options["standardization"]) == (("paper",), "none")
    assert "mel" in first.inputs and "paper" not in second.protocols[:1]


def test_a_variant_changes_one_thing_and_runs_with_the_first_seed_only():
    preset = read_preset("paper", {"num_train_epochs": 3})
    variants = read_variants(["all"], preset)
    for variant in variants:
        assert sum(variant.options.get(name) != preset.options.get(name) for name in {*variant.options}) == 1
    cells = plan([source()], [Input("mel")], [preset, *variants], [0, 1])
    assert [cell.id for cell in cells if cell.seed == 1] == ["esc50/paper/paper/mel/seed1"]
    assert not read_variants(["hop_256"], read_preset("paper", {"hop_length": 256}))
    with pytest.raises(ValueError, match="hop_256"):
        read_variants(["no_such"], preset)


def test_official_has_a_cell_for_each_fold_and_none_where_there_are_no_folds():
    recommended = read_preset("recommended", {})
    cells = plan([source(), source("own", (0,))], [Input("mel")], [recommended], [0], ["official"])
    assert [cell.fold for cell in cells] == [1, 2, 3, 4, 5]
    assert {cell.source.key for cell in cells} == {"esc50"}


def test_the_name_of_the_place_wins_where_most_files_fit(tmp_path: Path):
    for name in ("1-100032-A-0", "2-100038-A-14", "3-100210-A-36", "4-100263-A-36"):
        path = tmp_path / "sounds" / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, 0.1 * np.random.default_rng(len(name)).standard_normal(8_000), 8_000)
    known = read_source("esc50", str(tmp_path / "sounds"))
    assert known.name == "ESC-50" and known.data_name is None  # recognised without its name
    soundfile.write(tmp_path / "sounds" / "a note.wav", np.ones(8_000), 8_000)
    stray = read_source("esc50", str(tmp_path / "sounds"))
    assert (stray.name, stray.data_name, stray.left_out, stray.folds) == ("ESC-50", "esc50", 1, known.folds)
    cell = plan([stray], [Input("mel")], [read_preset("paper", {})], [0])[0]
    assert runner.identity(cell.arguments(None))["--data_name"] == "esc50"
    own = read_source("esc50", str(write_tones(tmp_path / "own")))  # nothing fits: it stands in
    assert own.name == "own" and own.data_name is None
    sounds = write_tones(tmp_path / "talk")
    for old, new in (("high", "music"), ("low", "speech")):
        (sounds / old).rename(sounds / new)
    talk = read_source("gtzan_music_speech", str(sounds))  # folders of these names, but not that many files
    assert (talk.name, talk.data_name, talk.is_original) == ("talk", None, False)


def test_what_was_left_out_is_named():
    presets = [read_preset("paper", {}), read_preset("recommended", {})]
    variants = read_variants(["all"], presets[0])
    inputs = [Input("mel"), Input("log_mel"), Input("encodec_24khz", "a", "a"), Input("encodec_48khz", "b", "b")]
    everything = plan([source()], inputs, [*presets, *variants], [0])
    assert not_run(everything, [source()], presets) == []
    cells = plan([source()], inputs, [*presets, variants[1]], [0], ["paper", "recommended/clip"])
    assert not_run(cells, [source()], presets) == [
        "recommended/official",
        "variants standardized, batch_64, overlapping_chunks",
    ]
    without_folds = [source(folds=(0,))]
    assert not_run(plan(without_folds, inputs, presets[1:], [0]), without_folds, presets[1:])[:2] == [
        "preset paper",
        "recommended/official (no official division)",
    ]


def test_names_say_what_stands_in():
    assert source().label == "ESC-10 in place of ESC-50"
    assert Input("encodec_24khz", "x/full", "full", untrained=True).label == "24 kHz (full, untrained)"
    assert Input("encodec_48khz", "facebook/encodec_48khz", "facebook/encodec_48khz").key.count("/") == 0


def test_half_written_checkpoints_are_dropped(tmp_path: Path):
    for number, text in ((1, '{"global_step": 1, "max_steps": 4}'), (2, '{"global_step": 2, "max_st'), (3, None)):
        (tmp_path / f"checkpoint-{number}").mkdir()
        if text is not None:
            (tmp_path / f"checkpoint-{number}" / "trainer_state.json").write_text(text)
    drop_broken_checkpoints(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]


# ------------------------------------------------------------------------------------------------- the grid


def write_tones(root: Path) -> Path:
    """Two classes of seven short clips."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(("high", "low")):
        (root / name).mkdir(parents=True)
        for clip in range(7):
            time_s = np.arange(int(8_000 * 1.2)) / 8_000
            tone = 0.3 * np.sin(2 * np.pi * (300 if number else 900) * (1 + 0.05 * clip) * time_s)
            soundfile.write(root / name / f"{clip}.wav", tone + 0.05 * rng.standard_normal(len(time_s)), 8_000)
    return root


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


def kill_first_cell(sounds: Path, folder: Path, cache: Path) -> None:
    """Start the first cell as the grid would; when it has written a checkpoint, kill -9."""
    preset = read_preset("recommended", {"num_train_epochs": EPOCHS})
    cell = Cell(read_source("esc50", str(sounds)), Input("mel"), preset, "clip", None, 0)
    assert cell.id == CELL
    work = folder / "cells" / cell.id
    command = [sys.executable, "-m", "hf_encls.commands.reproduce_cell", str(work), *cell.arguments(str(cache))]
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
    assert "--resume_from_checkpoint" in resumed["command"]
    options = json.loads((folder / "cells" / CELL / runner.ARGUMENTS).read_text())
    options |= {"--output_dir": str(tmp_path / "whole"), "--cache_dir": str(folder.parent / "cache")}
    whole = train([text for pair in options.items() for text in pair])
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
    with pytest.raises(ValueError, match="num_train_epochs 12, now 13"):
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

    def run_here(cell: Cell, folder: Path, cache_dir: str | None, bar: object) -> None:
        folder.mkdir(parents=True)
        write_json(runner.identity(cell.arguments(cache_dir)), folder / runner.ARGUMENTS)
        run_cell(folder, cell.arguments(cache_dir))

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
    with pytest.raises(ValueError, match="hop_length 256, now 128"):
        main([*arguments, "--report_only", "--hop_length", "128"])


def test_other_models_are_measured_on_the_clips_of_one_split_beside_our_own(
    quick, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder, arguments = quick
    sounds = read_source("esc50", arguments[1])
    preset = read_preset("recommended", {})
    cells = plan([sounds], [Input("log_mel")], [preset], [0], ["clip"])
    runs = finished(cells, folder / "cells")
    ours = runs[0].results["test"]["clip"]["accuracy"]
    own, same = compare_rows(runs, [sounds], [str(runs[0].folder)])
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
    monkeypatch.setattr("transformers.pipeline", breaks)
    broken = compare_rows(runs, [sounds], ["some/model"])[-1]
    assert (broken["model"], broken["accuracy"], broken["reason"]) == ("some/model", None, "size mismatch")
    rows = [row for row in table_2(runs, [own, same, broken], [sounds]) if row["kind"] != "cited"]
    assert [(row["kind"], row.get("seed"), row["esc50"]) for row in rows] == [
        ("measured", None, ours),
        ("same_clips", 0, ours),
        ("compared", 0, ours),
        ("compared", 0, None),
    ]
    assert rows[0]["runs"] == {"esc50": 1}


def test_a_time_is_measured_again_when_it_was_measured_otherwise(quick, monkeypatch: pytest.MonkeyPatch):
    folder, arguments = quick
    sounds = read_source("esc50", arguments[1])
    cells = plan([sounds], [Input("log_mel")], [read_preset("recommended", {})], [0], ["clip"])
    runs = finished(cells, folder / "cells")
    file = folder / "timing" / "esc50.json"
    before = file.read_bytes()
    assert timing_rows(runs, 1, file.parent)[0]["repeats"] == timing.REPEATS and file.read_bytes() == before
    assert timing_rows(runs, 2, file.parent)[0]["clips"] == 2 and file.read_bytes() != before
    before = file.read_bytes()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert timing_rows(runs, 2, file.parent)[0]["threads"] == 3 and file.read_bytes() != before


def whole_report(quick: tuple[Path, list[str]], folder: Path) -> dict:
    """The report of a grid with every section, each cell with the results of the quick one."""
    sounds = replace(read_source("esc50", quick[1][1]), folds=(1, 2, 3) * 5)
    as_written = read_preset("paper", {})
    presets = [as_written, *read_variants(["all"], as_written), read_preset("recommended", {})]
    inputs = [Input("mel"), Input("log_mel"), Input("encodec_24khz", "untrained", "untrained", True)]
    cells = plan([sounds], inputs, presets, [0, 1])
    done = next((quick[0] / "cells").glob("**/results.json")).parent
    for number, cell in enumerate(cells[1:]):
        (folder / cell.id).mkdir(parents=True)
        shutil.copy(done / "clips.json", folder / cell.id)
        results = json.loads((done / "results.json").read_text())
        results["test"]["window"]["accuracy"] = results["test"]["clip"]["accuracy"] = number / len(cells)
        write_json(results, folder / cell.id / "results.json")
    runs = finished(cells, folder)
    missing = {"gtzan_genres": "no folder at x1"}
    grid = Grid(cells, [sounds], missing, inputs, {}, presets, {cells[0].id: "error 13"}, [0, 1], ["--x7"], folder)
    times = {"clips": 1, "audio_s": 1.2, "device": "cpu", "threads": 1, "load_average": 0.5}
    times["rounds"] = [{"representation": 0.1, "classification": 0.2}, {"representation": 0.3, "classification": 0.4}]
    about = {"dataset": "esc50", "cell": "x"}
    rows = [about | {"input": entry.key} | timing.shown(times) for entry in inputs]
    rows.append(about | {"input": "mel", "reason": "it has no codec 5"})
    compared = [{"dataset": "esc50", "model": "some/model9", "protocol": "official", "fold": 1, "seed": 0}]
    compared[0] |= {"accuracy": None, "reason": "error 404"}
    report = json.loads(json.dumps(build(grid, runs, rows, compared)))
    report["pictures"] = [
        {"kind": kind, "file": "a1.png", "title": "1"} for kind in ("figure_2", "figure_4", "timing")
    ]
    return report


def test_the_page_has_no_number_that_is_not_in_its_json(quick, tmp_path: Path):
    report = json.loads((quick[0] / "report" / "report.json").read_text())
    assert (quick[0] / "report" / "REPORT.md").read_text() == render(report)
    whole = whole_report(quick, tmp_path)
    for one in (report, whole):
        assert digits(render(one)) and not digits(render(without_digits(one)))
    assert all(f"## {whole['texts'][name]}" in render(whole) for name in SECTIONS)
    # And a changed number changes the page.
    whole["table_1"][0]["window_accuracy"]["mean"] = 0.12345
    assert "12.35" in render(whole) or "12.34" in render(whole)


def test_cells_of_several_settings_are_no_settings_of_a_report(tmp_path: Path):
    for name, epochs in (("mel", 2), ("log_mel", 3)):
        folder = tmp_path / "esc50" / "paper" / "paper" / name / "seed0"
        folder.mkdir(parents=True)
        write_json({"--num_train_epochs": str(epochs)}, folder / runner.ARGUMENTS)
        write_json({}, folder / "results.json")
    with pytest.raises(ValueError, match="expected one setting of num_train_epochs"):
        runner.settings_of(tmp_path, ["paper"], ["num_train_epochs"])
    assert runner.settings_of(tmp_path, ["recommended"], ["num_train_epochs"]) == {}


# ------------------------------------------------------------------------------------------------- side by side


def test_seeds_give_mean_and_deviation_beside_the_papers_figure(tmp_path: Path):
    original = replace(source(), name="ESC-50", is_original=True)
    inputs = [Input("mel"), Input("log_mel"), Input("encodec_24khz", "mini", "mini")]
    cells = plan([original], inputs, [read_preset("paper", {})], [0, 1])
    for cell in cells:
        accuracy = {"mel": 0.30, "log_mel": 0.5, "encodec_24khz": 0.6}[cell.input.features] + 0.02 * cell.seed
        scores = {"accuracy": accuracy, "loss": 1.0 + cell.seed}
        folder = tmp_path / cell.id
        folder.mkdir(parents=True)
        codec = {"hash": "a"} if cell.input.codec else None
        (folder / "results.json").write_text(json.dumps({"codec": codec, "test": {"window": scores, "clip": scores}}))
    rows = {row["input"]: row for row in table_1(finished(cells, tmp_path))}
    mel = rows["mel"]
    assert mel["window_accuracy"] == {
        "mean": pytest.approx(0.31),
        "deviation": pytest.approx(0.0141421, abs=1e-6),
        "count": 2,
    }
    assert mel["accuracy_difference"] == pytest.approx(0.31 - 0.3105)
    assert mel["loss_difference"] == pytest.approx(1.5 - 3.9)
    assert mel["over_log_mel"] == pytest.approx(-0.2)
    assert rows["log_mel"]["paper"] is None
    # Another codec than the paper's is never compared with its figure, on whatever data.
    assert rows["encodec_24khz-mini"]["accuracy_difference"] is None
    assert rows["encodec_24khz-mini"]["over_mel"] == pytest.approx(0.3)
    latents = [cell for cell in cells if cell.input.codec]
    (tmp_path / latents[0].id / "results.json").write_text(json.dumps({"codec": {"hash": "b"}}))
    with pytest.raises(ValueError, match="two different codecs"):
        finished(latents, tmp_path)


def write_results(folder: Path, cells: list[Cell], accuracy: dict[tuple[str, str, int], float]) -> list[Finished]:
    """Results with a test accuracy by preset, input and seed; cells without one are not finished."""
    for cell in cells:
        value = accuracy.get((cell.preset.name, cell.input.key, cell.seed))
        if value is not None:
            (folder / cell.id).mkdir(parents=True)
            test = {unit: {"accuracy": value, "loss": 1.0} for unit in ("window", "clip")}
            write_json({"codec": None, "test": test}, folder / cell.id / "results.json")
    return finished(cells, folder)


def test_what_stands_side_by_side_is_of_the_same_seeds(tmp_path: Path):
    as_written = read_preset("paper", {})
    presets = [as_written, *read_variants(["hop_256"], as_written), read_preset("recommended", {})]
    cells = plan([source()], [Input("mel"), Input("log_mel")], presets, [0, 1], ["paper", "recommended/clip"])
    scores = {("paper", "mel", 0): 0.3, ("paper", "mel", 1): 0.5, ("paper+hop_256", "mel", 0): 0.3}
    scores |= {("paper", "log_mel", 1): 0.6}  # its first seed is not finished
    scores |= {("recommended", "mel", 0): 0.2, ("recommended", "mel", 1): 0.4, ("recommended", "log_mel", 0): 0.1}
    runs = write_results(tmp_path, cells, scores)
    answers = {entry["measured"]: entry["found"] for entry in ambiguities(runs, [])}
    about = {"dataset": "esc50", "input": "mel", "runs": 1}
    assert answers["hop_256"] == [about | {"chosen": 0.3, "other": 0.3}]  # not 0.4, the mean of both seeds
    assert answers["log_mel"] == [about | {"chosen": 0.5, "other": 0.6}]
    rows = {row["input"]: row for row in table_1(runs) if row["preset"] == "paper"}
    assert rows["log_mel"]["over_mel"] == pytest.approx(0.1) and rows["log_mel"]["over_mel_runs"] == 1
    assert rows["mel"]["window_accuracy"]["count"] == 2
    row = {row["input"]: row for row in merit(runs)}["log_mel"]
    assert row["over_mel_in_paper"]["difference"] == pytest.approx(0.1) and row["over_mel_in_paper"]["runs"] == 1
    row = {row["input"]: row for row in merit(runs)}["mel"]
    assert row["over_log_mel"]["difference"] == pytest.approx(0.1)  # 0.2 - 0.1, the one seed that both have
    assert (row["paper"]["count"], row["recommended_clip"]["count"], row["leak"]["runs"]) == (2, 2, 2)


def test_times_are_taken_in_turns_and_shown_as_median_and_spread():
    order = []
    works = {name: (lambda name=name: order.append(name)) for name in ("mel", "latents")}
    times = in_turns(works, 2)
    assert order == ["mel", "latents"] * 3 and [len(each) for each in times.values()] == [2, 2]
    rounds = [{"representation": r, "classification": c} for r, c in ((1.0, 5.0), (9.0, 2.0), (2.0, 3.0))]
    numbers = summary(rounds)
    assert (numbers["representation"], numbers["classification"], numbers["total"]) == (2.0, 3.0, 6.0)
    assert numbers["spread"] == {"representation": [1.0, 9.0], "classification": [2.0, 5.0], "total": [5.0, 11.0]}


def test_one_network_on_one_shape_has_one_time(tmp_path: Path):
    labels = {0: "a", 1: "b"}
    for name, hop in (("mel", 256), ("log_mel", 256), ("other", 512)):
        config = EnclsConfig(
            features="mel" if name == "mel" else "log_mel", sampling_rate=8_000, hop_length=hop, id2label=labels
        )
        EnclsForAudioClassification(config).save_pretrained(tmp_path / name)
    soundfile.write(tmp_path / "a.wav", np.zeros(8_000), 8_000)
    found = inference_times({name: tmp_path / name for name in ("mel", "log_mel", "other")}, [tmp_path / "a.wav"], 2)
    times = {name: [one["classification"] for one in row["rounds"]] for name, row in found.items()}
    assert times["mel"] == times["log_mel"] != times["other"]
    assert found["log_mel"]["classification_of"] == "mel" and found["other"]["classification_of"] == "other"


def test_training_time_is_that_of_all_epochs_of_a_resumed_cell(tmp_path: Path):
    cells = plan([source()], [Input("mel")], [read_preset("paper", {})], [0])
    folder = tmp_path / cells[0].id
    folder.mkdir(parents=True)
    results = {"codec": None, "history": history([0.1, 0.2, 0.3], [1, 1, 1], 7.0), "times_s": {"training": 7.5}}
    write_json(results, folder / "results.json")
    assert finished(cells, tmp_path)[0].training_s == 21.0  # the last session alone took 7.5 s


def test_claims_are_judged_by_what_was_measured():
    about = {"dataset": "esc50", "preset": "paper", "protocol": "paper"}
    mel = {**about, "input": "mel", "own": {"best_loss_epoch": 5}, "mel": {"runs": 1}}
    latents = {**about, "input": "encodec_24khz", "own": {"best_loss_epoch": 6}, "above_mel": 0.9}
    latents["mel"] = {"passed": 1, "passed_loss": 1, "runs": 1, "pass_epoch": 2, "pass_loss_epoch": 6}
    latents["mel"]["baseline_best_loss_epoch"] = 5
    scores = [{**about, "input": "mel", "over_mel": None, "over_log_mel": None}]
    scores += [{**about, "input": "encodec_24khz", "over_mel": 0.1, "over_log_mel": -0.1, "over_mel_runs": 1}]
    rounds = {"mel": [(2.0, 2.0), (9.0, 2.0)], "encodec_24khz": [(5.0, 1.0), (9.0, 1.0)]}
    times = [
        {"dataset": "esc50", "input": name, "rounds": [{"representation": r, "classification": c} for r, c in each]}
        for name, each in rounds.items()
    ]
    times = [row | summary(row["rounds"]) for row in times]
    judged = {row["claim"]: row for row in claims([mel, latents], scores, times)}
    assert judged["epochs"]["holds"] is False  # its accuracy passes mel's, but its loss comes down later
    latents["mel"]["pass_loss_epoch"] = 5
    assert claims([mel, latents], scores, [])[0]["holds"] is True
    assert judged["accuracy"]["holds"] is True
    assert judged["speed"]["holds"] is False and judged["speed"]["times_mel_classification"] == 0.5
    assert judged["speed"]["times_mel_spread"] == [pytest.approx(10 / 11), 1.5]  # each round by itself
    assert all(entry["found"] == [] for entry in ambiguities([], []))
