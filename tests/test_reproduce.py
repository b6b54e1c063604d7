"""The paper by one command, without a run: figures checked by hand, plans, and what stands side by side."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from small_grid import history, source, write_tones
from torch.utils.flop_counter import FlopCounterMode

from hf_encls.commands.inputs import FeatureArguments
from hf_encls.files import write_json
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.model.modeling_encls import EnclsForAudioClassification
from hf_encls.reproduction import paper, runner
from hf_encls.reproduction.collect import merit, table_1
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
from hf_encls.reproduction.sources import read_source
from hf_encls.reproduction.timing import in_turns, inference_times, summary
from hf_encls.training.resuming import drop_broken_checkpoints

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


def test_the_hop_is_given_to_mel_alone(tmp_path: Path):
    inputs = [Input("mel"), Input("encodec_24khz", "mini", "mini")]
    mel, codec = plan([source()], inputs, [read_preset("paper", {})], [0])[:2]
    assert "--hop_length" in mel.arguments(None) and "--hop_length" not in codec.arguments(None)
    before = {**runner.identity(codec.arguments(None)), "--hop_length": "128"}  # as earlier versions gave it
    (tmp_path / codec.id).mkdir(parents=True)
    write_json(before, tmp_path / codec.id / runner.ARGUMENTS)
    write_json({}, tmp_path / codec.id / "results.json")
    (tmp_path / mel.id).mkdir(parents=True)
    write_json(runner.identity(mel.arguments(None)), tmp_path / mel.id / runner.ARGUMENTS)
    write_json({}, tmp_path / mel.id / "results.json")
    runner.check_settings([mel, codec], tmp_path, None)
    assert runner.settings_of(tmp_path, ["paper"], ["hop_length"]) == {"hop_length": "128"}


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
    assert "data_name" in FeatureArguments.__dataclass_fields__  # what the cell is given, training knows
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
    for number, text in (
        (1, '{"global_step": 1, "max_steps": 4, "log_history": []}'),
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
