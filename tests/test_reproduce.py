"""The paper by one command, without a run: plans, and the numbers of a report, checked by hand."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from small_grid import data_set, history, report, row_of, write_results, write_tones
from torch.utils.flop_counter import FlopCounterMode

from hf_encls.comparison.turns import in_turns
from hf_encls.files import write_json
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.model.modeling_encls import EnclsForAudioClassification
from hf_encls.reproduction import runner
from hf_encls.reproduction.cells import finished_cells
from hf_encls.reproduction.data_sets import read_data_set
from hf_encls.reproduction.grid import SETTINGS, Cell, CellSettings, Input, not_run, plan, read_preset, read_variants
from hf_encls.reproduction.timing import inference_times, summary
from hf_encls.training.resuming import drop_broken_checkpoints

MEL, LOG_MEL, LATENTS = Input("mel"), Input("log_mel"), Input("encodec_24khz", "mini", "mini")


def paper_cells(*inputs: Input, seeds: tuple[int, ...] = (0,), **dataset: object) -> list[Cell]:
    """Cells of the preset paper, in its order of inputs."""
    return plan([data_set(**dataset)], inputs, [read_preset("paper", {})], seeds)


# ------------------------------------------------------------------------------------------------- by hand


def converged(folder: Path, mel: list[dict], *others: list[dict]) -> Mapping:
    """The report's row on log-mel against mel: a curve of mel, and one of log-mel for each seed."""
    cells = paper_cells(MEL, LOG_MEL, seeds=tuple(range(len(others))))
    for cell in cells:
        write_results(folder, cell, curve=mel if cell.input == MEL else others[cell.seed])
    return row_of(report(folder, cells)["convergence"], input="log_mel")


def test_convergence_is_the_first_epoch_above_the_last_of_the_baseline(tmp_path: Path):
    mel = history([0.1, 0.5, 0.3], [3.0, 2.0, 2.5])
    row = converged(tmp_path, mel, history([0.2, 0.3, 0.31, 0.2], [2.0, 1.0, 0.9, 1.1]))
    found = row["mel"]
    assert found["baseline_final"] == 0.3
    assert found["pass_epoch"] == 3  # 0.3 equals, it does not pass
    assert found["pass_s"] == 6.0
    assert (found["best_loss_epoch"], found["best_loss"], found["best_loss_s"]) == (3, 0.9, 6.0)
    assert found["pass_loss_epoch"] == 1  # 2.0, mel's lowest
    # Smoothed by 0.8: mel ends at (0.1 * 0.64 + 0.5 * 0.8 + 0.3) / (0.64 + 0.8 + 1) = 0.3131; the others never pass.
    assert found["pass_smoothed_epoch"] is None
    assert (row["final_accuracy"], row["best_accuracy"], row["epochs"]) == (0.2, 0.31, 4)


def test_a_run_that_never_passes_has_no_epoch_and_a_loss_that_is_no_number_is_not_the_best(tmp_path: Path):
    found = converged(tmp_path, history([0.9], [0.1]), history([0.1, 0.2], [math.nan, 5.0]))["mel"]
    assert found["pass_epoch"] is None and found["pass_s"] is None
    assert found["best_loss_epoch"] == 2


def test_the_mean_over_seeds_is_that_of_the_seeds_that_pass_and_says_how_many(tmp_path: Path):
    curves = [history(each, [1, 1, 1]) for each in ([0.4, 0.4, 0.6], [0.1, 0.1, 0.1], [0.6, 0.6, 0.6])]
    found = converged(tmp_path, history([0.5, 0.5, 0.5], [1, 1, 1]), *curves)["mel"]
    assert (found["pass_epoch"], found["passed"], found["runs"]) == (2.0, 2, 3)  # epochs 3 and 1
    assert found["both"] == {"raw": 1.0, "smoothed": 1.0, "runs": 1}  # smoothed, only the last of them passes


def test_a_curve_that_lacks_epochs_is_damaged(tmp_path: Path):
    cells, curve = paper_cells(MEL, LOG_MEL), history([0.1, 0.2], [1.0, 1.0])
    for rows in ([], curve[1:], [curve[0]] * 2, curve[::-1]):
        write_results(tmp_path, cells[0], curve=curve)
        write_results(tmp_path, cells[1], history=rows, epochs=2)
        with pytest.raises(ValueError, match=f"{cells[1].id}/results.json is damaged: .* of the epochs 1 to 2, found"):
            report(tmp_path, cells)
    write_results(tmp_path, cells[1], history=curve, epochs=10**12)  # of which no list is made
    with pytest.raises(ValueError, match=f"epochs 1 to {10**12}, found 1, 2"):
        report(tmp_path, cells)
    write_results(tmp_path, cells[1], history=[], epochs=0)
    with pytest.raises(ValueError, match="epochs 1 to 1, found none"):
        report(tmp_path, cells)


def test_a_cell_without_scores_of_clips_is_damaged(tmp_path: Path):
    cells = paper_cells(MEL, LOG_MEL)
    for cell in cells:
        write_results(tmp_path, cell)
    file = tmp_path / cells[1].id / "results.json"
    results = json.loads(file.read_text())
    file.write_text(json.dumps(results | {"test": results["test"] | {"clip": None}}))
    with pytest.raises(ValueError, match=f"{cells[1].id}/results.json is damaged: expected scores of the test clips"):
        report(tmp_path, cells)


@pytest.mark.parametrize("key", ["leak", "train", "validation", "epochs", "history", "device"])
def test_a_cell_has_all_that_this_version_writes(key, tmp_path: Path):
    cells = paper_cells(MEL, LOG_MEL)
    for cell in cells:
        write_results(tmp_path, cell)
    file = tmp_path / cells[1].id / "results.json"
    file.write_text(json.dumps({name: value for name, value in json.loads(file.read_text()).items() if name != key}))
    with pytest.raises(ValueError, match=f"{cells[1].id}/results.json is damaged: expected {key}, found none"):
        report(tmp_path, cells)


def test_accuracy_at_equal_epochs(tmp_path: Path):
    cells = paper_cells(MEL, LOG_MEL)
    write_results(tmp_path, cells[0], curve=history([0.0, 0.2, 0.2], [1, 1, 1]))
    write_results(tmp_path, cells[1], curve=history([0.1, 0.2, 0.3], [1, 1, 1]))
    found = report(tmp_path, cells)
    assert row_of(found["equal_epochs"], input="log_mel")["accuracy"] == {"1": 0.1, "2": 0.2, "3": 0.3}
    assert row_of(found["convergence"], input="log_mel")["above_mel"] == pytest.approx(2 / 3)


def test_frames_and_bytes_of_one_second(tmp_path: Path):
    inputs = [replace(LATENTS, features=f"encodec_{rate}khz") for rate in (24, 48)]
    found = report(tmp_path, paper_cells(MEL, *inputs))
    readings = {(row["sampling_rate"], row["hop_length"]): row for row in found["mel_readings"]}
    assert readings[44_100, 256]["frames"] == 171  # equation (1)
    assert readings[44_100, 256]["frames_centred"] == 173  # the figure in the text
    assert readings[22_050, 128]["frames_centred"] == 173
    sizes = {row["input"]: row for row in found["sizes"]}
    mel, latents, stereo = (sizes[entry.key] for entry in (MEL, *inputs))
    assert (mel["frames_per_s"], mel["bytes_per_s"], mel["paper_frames_per_s"]) == (341, 341 * 128 * 4, 173)
    assert (latents["frames_per_s"], latents["bytes_per_s"], latents["bytes_float32_per_s"]) == (75, 19_200, 38_400)
    assert latents["paper_frames_per_s"] == 75 and stereo["frames_per_s"] == stereo["paper_frames_per_s"] == 150


def test_multiply_adds_by_hand_and_by_torch(tmp_path: Path):
    cells = paper_cells(LATENTS, classes=50)
    write_results(tmp_path, cells[0])
    row = report(tmp_path, cells)["load"][0]
    assert row["conv1"] == 126 * 73 * 32 * 9
    assert row["conv2"] == 61 * 34 * 64 * 32 * 9
    assert row["linear"] == 64 * 30 * 17 * 50
    assert row["parameters"] == 1_650_866  # the paper's network on 128 x 75 and 50 classes
    assert row["per_epoch"] == 10 * row["training"] and row["of_mel"] is None
    model = EnclsForAudioClassification(cells[0].network())
    with FlopCounterMode(display=False) as forward:
        logits = model.classify(torch.zeros(1, 128, 75))
    assert forward.get_total_flops() == 2 * row["forward"]
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    assert forward.get_total_flops() + backward.get_total_flops() == 2 * row["training"]


def test_training_time_is_that_of_all_epochs_of_a_resumed_cell(tmp_path: Path):
    cells = paper_cells(MEL)
    write_results(tmp_path, cells[0], curve=history([0.1, 0.2, 0.3], [1, 1, 1], 7.0), times_s={"training": 7.5})
    found = report(tmp_path, cells)
    assert found["cells"][0]["training_s"] == found["made"]["training_s"] == 21.0  # the last session alone took 7.5 s


# ------------------------------------------------------------------------------------------------- plan


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
    cells = plan([data_set()], [Input("mel")], [preset, *variants], [0, 1])
    assert [cell.id for cell in cells if cell.seed == 1] == ["esc50/paper/paper/mel/seed1"]
    assert not read_variants(["hop_256"], read_preset("paper", {"hop_length": 256}))
    with pytest.raises(ValueError, match="hop_256"):
        read_variants(["no_such"], preset)


def test_official_has_a_cell_for_each_fold_and_none_where_there_are_no_folds():
    recommended = read_preset("recommended", {})
    cells = plan([data_set(), data_set("own", (0,))], [Input("mel")], [recommended], [0], ["official"])
    assert [cell.fold for cell in cells] == [1, 2, 3, 4, 5]
    assert {cell.dataset.key for cell in cells} == {"esc50"}


def test_the_hop_is_given_to_mel_alone(tmp_path: Path):
    inputs = [Input("mel"), Input("encodec_24khz", "mini", "mini")]
    mel, codec = plan([data_set()], inputs, [read_preset("paper", {})], [0])[:2]
    assert mel.settings.options["hop_length"] == 128 and "hop_length" not in codec.settings.options
    for cell in (mel, codec):
        (tmp_path / cell.id).mkdir(parents=True)
        write_json(cell.settings.as_dict(), tmp_path / cell.id / SETTINGS)
        write_json({}, tmp_path / cell.id / "results.json")
    runner.check_settings([mel, codec], tmp_path)
    assert runner.common_options(tmp_path, ["paper"], ["hop_length"]) == {"hop_length": 128}


def test_cells_of_version_0_1_kept_their_command_line_and_count(tmp_path: Path):
    inputs = [Input("mel"), Input("encodec_24khz", "mini", "mini")]
    cells = plan([data_set()], inputs, [read_preset("recommended", {"bf16": True})], [0], ["official"])
    for cell in cells:
        options = cell.settings.options_of_train()
        before = dict(zip(options[::2], options[1::2], strict=True)) | {"--hop_length": "128", "--report_to": "none"}
        (tmp_path / cell.id).mkdir(parents=True)
        write_json(before, tmp_path / cell.id / SETTINGS)
        assert CellSettings.read(tmp_path / cell.id / SETTINGS) == cell.settings
    runner.check_settings(cells, tmp_path)
    with pytest.raises(ValueError, match=r"other settings \(`seed` 0, now 1\)"):
        (tmp_path / cells[0].id).rename(tmp_path / replace(cells[0], seed=1).id)
        runner.check_settings([replace(cells[0], seed=1)], tmp_path)


def test_the_name_of_the_place_wins_where_most_files_fit(tmp_path: Path):
    for name in ("1-100032-A-0", "2-100038-A-14", "3-100210-A-36", "4-100263-A-36"):
        path = tmp_path / "sounds" / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, 0.1 * np.random.default_rng(len(name)).standard_normal(8_000), 8_000)
    known = read_data_set("esc50", str(tmp_path / "sounds"))
    assert known.name == "ESC-50" and known.data_name is None  # recognised without its name
    soundfile.write(tmp_path / "sounds" / "a note.wav", np.ones(8_000), 8_000)
    stray = read_data_set("esc50", str(tmp_path / "sounds"))
    assert (stray.name, stray.data_name, stray.left_out, stray.folds) == ("ESC-50", "esc50", 1, known.folds)
    cell = plan([stray], [Input("mel")], [read_preset("paper", {})], [0])[0]
    assert cell.settings.data_name == "esc50"
    own = read_data_set("esc50", str(write_tones(tmp_path / "own")))  # nothing fits: it stands in
    assert own.name == "own" and own.data_name is None
    sounds = write_tones(tmp_path / "talk")
    for old, new in (("high", "music"), ("low", "speech")):
        (sounds / old).rename(sounds / new)
    talk = read_data_set("gtzan_music_speech", str(sounds))  # folders of these names, but not that many files
    assert (talk.name, talk.data_name, talk.is_original) == ("talk", None, False)


def test_what_was_left_out_is_named():
    presets = [read_preset("paper", {}), read_preset("recommended", {})]
    variants = read_variants(["all"], presets[0])
    inputs = [Input("mel"), Input("log_mel"), Input("encodec_24khz", "a", "a"), Input("encodec_48khz", "b", "b")]
    everything = plan([data_set()], inputs, [*presets, *variants], [0])
    assert not_run(everything, [data_set()], presets) == []
    cells = plan([data_set()], inputs, [*presets, variants[1]], [0], ["paper", "recommended/clip"])
    assert not_run(cells, [data_set()], presets) == [
        "recommended/official",
        "variants standardized, batch_64, overlapping_chunks",
    ]
    without_folds = [data_set(folds=(0,))]
    assert not_run(plan(without_folds, inputs, presets[1:], [0]), without_folds, presets[1:])[:2] == [
        "preset paper",
        "recommended/official (no official division)",
    ]


def test_names_say_what_stands_in():
    assert data_set().label == "ESC-10 in place of ESC-50"
    assert Input("encodec_24khz", "x/full", "full", untrained=True).label == "24 kHz (full, untrained)"
    assert Input("encodec_48khz", "facebook/encodec_48khz", "facebook/encodec_48khz").key.count("/") == 0


def test_half_written_checkpoints_are_dropped(tmp_path: Path):
    for number, text in (
        (1, '{"global_step": 1, "max_steps": 4, "log_history": [], "train_batch_size": 8}'),
        (2, '{"global_step": 2, "max_st'),
        (3, None),
    ):
        (tmp_path / f"checkpoint-{number}").mkdir()
        if text is not None:
            (tmp_path / f"checkpoint-{number}" / "trainer_state.json").write_text(text)
    drop_broken_checkpoints(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]


def test_cells_of_several_settings_are_no_settings_of_a_report(tmp_path: Path):
    for name, epochs in (("mel", 2), ("log_mel", 3)):
        folder = tmp_path / "esc50" / "paper" / "paper" / name / "seed0"
        folder.mkdir(parents=True)
        settings = plan([data_set()], [Input("mel")], [read_preset("paper", {"num_train_epochs": epochs})], [0])[
            0
        ].settings
        write_json(settings.as_dict(), folder / SETTINGS)
        write_json({}, folder / "results.json")
    with pytest.raises(ValueError, match="expected one setting of num_train_epochs"):
        runner.common_options(tmp_path, ["paper"], ["num_train_epochs"])
    assert runner.common_options(tmp_path, ["recommended"], ["num_train_epochs"]) == {}


# ------------------------------------------------------------------------------------------------- side by side


def test_seeds_give_mean_and_deviation_beside_the_papers_figure(tmp_path: Path):
    original = replace(data_set(), name="ESC-50", is_original=True)
    cells = plan([original], [MEL, LOG_MEL, LATENTS], [read_preset("paper", {})], [0, 1])
    for cell in cells:
        accuracy = {MEL: 0.30, LOG_MEL: 0.5, LATENTS: 0.6}[cell.input] + 0.02 * cell.seed
        scores = {"accuracy": accuracy, "loss": 1.0 + cell.seed}
        write_results(tmp_path, cell, test={"window": scores, "clip": scores})
    rows = {row["input"]: row for row in report(tmp_path, cells)["table_1"]}
    mel = rows["mel"]
    deviation = pytest.approx(0.0141421, abs=1e-6)
    assert mel["window_accuracy"] == {"mean": pytest.approx(0.31), "deviation": deviation, "count": 2}
    assert mel["accuracy_difference"] == pytest.approx(0.31 - 0.3105)
    assert mel["loss_difference"] == pytest.approx(1.5 - 3.9)
    assert mel["over_log_mel"] == pytest.approx(-0.2)
    assert rows["log_mel"]["paper"] is None
    # Another codec than the paper's is never compared with its figure, on whatever data.
    assert rows["encodec_24khz-mini"]["accuracy_difference"] is None
    assert rows["encodec_24khz-mini"]["over_mel"] == pytest.approx(0.3)
    latents = [cell for cell in cells if cell.input == LATENTS]
    write_results(tmp_path, latents[0], codec={"id": "mini", "hash": "b"})
    with pytest.raises(ValueError, match="two different codecs"):
        finished_cells(latents, tmp_path)


def test_a_score_that_came_out_as_no_number_is_not_left_out_of_a_mean(tmp_path: Path):
    cells = paper_cells(MEL, seeds=(0, 1))
    for cell in cells:
        scores = {"accuracy": 0.5, "loss": 1.0 if cell.seed else math.nan}
        write_results(tmp_path, cell, test={"window": scores, "clip": scores})
    row = report(tmp_path, cells)["table_1"][0]
    assert math.isnan(row["window_loss"]["mean"]) and row["window_loss"]["count"] == 2


def test_what_stands_side_by_side_is_of_the_same_seeds(tmp_path: Path):
    as_written = read_preset("paper", {})
    presets = [as_written, *read_variants(["hop_256"], as_written), read_preset("recommended", {})]
    cells = plan([data_set()], [MEL, LOG_MEL], presets, [0, 1], ["paper", "recommended/clip"])
    scores = {("paper", "mel", 0): 0.3, ("paper", "mel", 1): 0.5, ("paper+hop_256", "mel", 0): 0.3}
    scores |= {("paper", "log_mel", 1): 0.6}  # its first seed is not finished
    scores |= {("recommended", "mel", 0): 0.2, ("recommended", "mel", 1): 0.4, ("recommended", "log_mel", 0): 0.1}
    for cell in cells:
        if (cell.preset.name, cell.input.key, cell.seed) in scores:
            write_results(tmp_path, cell, scores[cell.preset.name, cell.input.key, cell.seed])
    found = report(tmp_path, cells)
    answers = {entry["measured"]: entry["found"] for entry in found["ambiguities"]}
    about = {"dataset": "esc50", "input": "mel", "runs": 1}
    assert answers["hop_256"] == [about | {"chosen": 0.3, "other": 0.3}]  # not 0.4, the mean of both seeds
    assert answers["log_mel"] == [about | {"chosen": 0.5, "other": 0.6}]
    rows = {row["input"]: row for row in found["table_1"] if row["preset"] == "paper"}
    assert rows["log_mel"]["over_mel"] == pytest.approx(0.1) and rows["log_mel"]["over_mel_runs"] == 1
    assert rows["mel"]["window_accuracy"]["count"] == 2
    row = row_of(found["merit"], input="log_mel")
    assert row["over_mel_in_paper"]["difference"] == pytest.approx(0.1) and row["over_mel_in_paper"]["runs"] == 1
    row = row_of(found["merit"], input="mel")
    assert row["over_log_mel"]["difference"] == pytest.approx(0.1)  # 0.2 - 0.1, the one seed that both have
    assert (row["paper"]["count"], row["recommended_clip"]["count"], row["leak"]["runs"]) == (2, 2, 2)


def test_times_are_taken_in_turns_and_shown_as_median_and_spread():
    order = []
    works = {name: (lambda name=name: order.append(name)) for name in ("mel", "latents")}
    times = in_turns(works, 2)
    assert order == ["mel", "latents"] * 3 and [len(each) for each in times.values()] == [2, 2]
    rounds = [{"representation": r, "classification": c} for r, c in ((1.0, 5.0), (9.0, 2.0), (2.0, 3.0))]
    row = summary({"rounds": rounds})
    assert (row["representation"], row["classification"], row["total"]) == (2.0, 3.0, 6.0)
    assert row["spread"] == {"representation": [1.0, 9.0], "classification": [2.0, 5.0], "total": [5.0, 11.0]}
    assert (row["ms"]["total"], row["real_time"], row["repeats"]) == (6000, 1 / 6, 3)


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


def test_a_model_without_its_codec_has_no_time(tmp_path: Path):
    config = EnclsConfig(features="encodec_24khz", codec_id="gone", id2label={0: "a", 1: "b"})
    EnclsForAudioClassification(config).save_pretrained(tmp_path / "latents")
    soundfile.write(tmp_path / "a.wav", np.zeros(8_000), 8_000)
    with pytest.raises(ValueError, match="latents, found one without .gone.: remove"):
        inference_times({"latents": tmp_path / "latents"}, [tmp_path / "a.wav"], 1)


def test_claims_are_judged_by_what_was_measured(tmp_path: Path):
    cells = paper_cells(MEL, LATENTS, LOG_MEL)
    write_results(tmp_path, cells[0], 0.3, history([0.1, 0.3, 0.2], [3.0, 2.0, 2.5]))
    write_results(tmp_path, cells[1], 0.4, history([0.2, 0.4, 0.5], [3.0, 2.5, 2.0]))
    write_results(tmp_path, cells[2], 0.5, history([0.2, 0.4, 0.5], [3.0, 2.5, 2.0]))
    rounds = {"mel": [(2.0, 2.0), (9.0, 2.0)], LATENTS.key: [(5.0, 1.0), (9.0, 1.0)], "log_mel": [(1.0, 1.0)] * 2}
    times = [
        {"dataset": "esc50", "input": name}
        | summary({"rounds": [{"representation": r, "classification": c} for r, c in each]})
        for name, each in rounds.items()
    ]
    rows = report(tmp_path, cells, times)["claims"]
    judged = {row["claim"]: row for row in rows}
    assert len(rows) == len(judged) == 3  # of latents alone
    assert judged["epochs"]["pass_epoch"] == 2 and judged["epochs"]["mel_best_loss_epoch"] == 2
    assert judged["epochs"]["holds"] is False  # its accuracy passes mel's, but its loss comes down later
    assert judged["accuracy"]["over_mel"] == pytest.approx(0.1)
    assert judged["accuracy"]["over_log_mel"] == pytest.approx(-0.1)
    assert judged["accuracy"]["epochs_above"] == 1 and judged["accuracy"]["holds"] is True
    assert judged["speed"]["holds"] is False and judged["speed"]["times_mel_classification"] == 0.5
    assert judged["speed"]["times_mel_spread"] == [pytest.approx(10 / 11), 1.5]  # each round by itself
    write_results(tmp_path, cells[1], 0.4, history([0.2, 0.4, 0.5], [3.0, 2.0, 2.5]))
    assert report(tmp_path, cells)["claims"][0]["holds"] is True
    empty = report(tmp_path / "nothing", cells)
    assert empty["claims"] == [] and all(entry["found"] == [] for entry in empty["ambiguities"])
