"""How a folder of one's own is learned where nothing says how, and what leaves it to the paper's way."""

import json
from pathlib import Path

import pytest
from datasets import Dataset
from small_runs import write_tones

from hf_encls.commands import own_folder
from hf_encls.commands.train import main
from hf_encls.commands.train_arguments import parse
from hf_encls.training.results import Results

PAPER = ("mnist", "paper", 1.0, None)


def chosen(*args: str) -> tuple:
    model_args, data_args, training_args = parse([*args, "--report_to", "none"])
    window_s = None if data_args.window_of_clips else data_args.window_s
    return model_args.head, training_args.recipe, window_s, data_args.floor_db


@pytest.fixture(scope="module")
def tones(tmp_path_factory) -> Path:
    return write_tones(tmp_path_factory.mktemp("own") / "tones")


def test_a_folder_of_ones_own_is_learned_as_measured_best(tones, capsys):
    assert chosen("--data_dir", str(tones), "--features", "log_mel") == ("modulation", "recommended", None, -50.0)
    assert "--head modulation" in capsys.readouterr().out
    assert chosen("--data_dir", str(tones), "--codec", "mini") == ("modulation", "recommended", None, None)
    step = ("--data_dir", str(tones), "--features", "log_mel", "--step_s", "0.5")  # not with ten times as many windows
    assert chosen(*step) == ("modulation", "recommended", 1.0, -50.0)
    given = ("--window_s", "0.3", "--floor_db", "-80")
    assert chosen("--data_dir", str(tones), "--features", "log_mel", *given) == (
        "modulation",
        "recommended",
        0.3,
        -80.0,
    )


@pytest.mark.parametrize(
    "more",
    [
        "--head mnist",
        "--recipe paper",
        "--protocol paper",
        "--num_train_epochs 3",
        "--learning_rate 0.01",
        "--bf16",
        "--resume_from_checkpoint last",
    ],
)
def test_who_says_how_gets_the_papers_way(tones, more, capsys):
    assert chosen("--data_dir", str(tones), "--features", "log_mel", *more.split()) == PAPER
    assert capsys.readouterr().out == ""


def test_what_is_no_folder_of_ones_own_is_learned_as_in_the_paper(tones, tmp_path):
    known = tmp_path / "known"
    for number in range(10):  # ESC-50's names
        (known / "dog").mkdir(parents=True, exist_ok=True)
        (known / "dog" / f"1-{number}-A-0.wav").write_bytes(b"")
    assert chosen() == PAPER  # the sounds made here
    assert chosen("--data_dir", str(known), "--features", "log_mel") == PAPER
    assert chosen("--data_dir", str(tones), "--data_name", "esc50", "--features", "log_mel") == PAPER
    assert chosen("--data_dir", str(tones), "--labels", "labels.csv", "--features", "log_mel") == PAPER
    assert chosen("--dataset", "USER/FEATURES", "--features", "log_mel") == PAPER


def test_a_settings_file_says_the_same(tones, tmp_path):
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"data_dir": str(tones), "features": "log_mel", "floor_db": None, "report_to": "none"}))
    model_args, data_args, training_args = parse([str(file)])
    assert (model_args.head, training_args.recipe, data_args.floor_db) == ("modulation", "recommended", -50.0)
    assert data_args.window_of_clips
    file.write_text(json.dumps({"data_dirs": str(tones)}))
    with pytest.raises(ValueError, match="found 'data_dirs', which is not known; did you mean data_dir"):
        parse([str(file)])


def test_a_settings_file_that_resumes_nothing_names_no_network(tones, tmp_path):
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"data_dir": str(tones), "resume_from_checkpoint": False, "report_to": "none"}))
    assert parse([str(file)])[0].head == "modulation"


@pytest.mark.parametrize(
    ("durations", "expected"), [([5.0, 5.0, 0.2], 5.0), ([4.6, 4.6], 5.0), ([4.0, 9.0, 3.0], 2.0), ([0.3, 0.3], 1.0)]
)
def test_a_window_is_as_long_as_most_clips(durations, expected):
    assert own_folder.window_for(Dataset.from_dict({"duration_s": durations})) == expected


@pytest.mark.parametrize("features", ["mel", "encodec_24khz_codes"])
def test_what_was_not_measured_is_learned_as_in_the_paper(tones, features):
    assert chosen("--data_dir", str(tones), "--features", features) == PAPER


def test_an_option_that_is_off_asks_for_no_network(tones, tmp_path):
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"data_dir": str(tones), "bf16": False, "report_to": "none"}))
    assert parse([str(file)])[0].head == "modulation"


@pytest.mark.parametrize("features", ["log_mel", "encodec_24khz"])
def test_it_trains_to_its_end(tones, features, tmp_path):
    codec = ["--codec", "mini"] if features != "log_mel" else []
    where = ["--cache_dir", str(tones.parent / "cache"), "--output_dir", str(tmp_path / "model")]
    main(["--data_dir", str(tones), "--features", features, *codec, *where, "--report_to", "none"])
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["head"] == "modulation" and config["window_s"] == pytest.approx(1.0, abs=0.02)
    assert Results.of(tmp_path / "model").fit["C"] > 0
    assert "modulation" in (tmp_path / "model" / "README.md").read_text()
