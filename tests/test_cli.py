"""The command `hf-encls`: help, near names, wrong arguments, and what is imported for them."""

import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from small_commands import run, save_models, write_sounds

from hf_encls.commands.cli import COMMANDS
from hf_encls.commands.train_arguments import DataArguments, ModelArguments
from hf_encls.data.splits import PROTOCOLS
from hf_encls.model.configuration_encls import HEADS, REPRESENTATIONS
from hf_encls.training.arguments import EnclsTrainingArguments
from hf_encls.training.recipe import RECIPES

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def sounds(tmp_path) -> Path:
    return write_sounds(tmp_path / "sounds")


def test_overview_names_every_command(capsys):
    status, out, _ = run(capsys, "--help")
    assert status == 0
    for name, command in COMMANDS.items():
        assert f"  {name}" in out and command.help in out
    assert run(capsys)[0] == 2
    status, out, _ = run(capsys, "--version")
    assert status == 0 and out.startswith("hf-encls 0.")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_each_command(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    status, out, err = run(capsys, name, "--help")
    assert (status, err) == (0, "")
    assert out.startswith("usage: ")
    assert f"hf-encls {name} [-h]" in out.splitlines()[0]
    assert len(out.splitlines()) > 5


def test_near_names_are_suggested(capsys, models):
    status, _, err = run(capsys, "clasify", "x.wav")
    assert status == 2 and "did you mean classify?" in err
    status, _, err = run(capsys, "classify", "x.wav", "--model", models / "mel", "--fromat", "csv")
    assert status == 2 and "did you mean --format?" in err and err.count("did you mean") == 1
    status, _, err = run(capsys, "validate", "--data_dir=")
    assert status == 2 and "expected a folder at --data_dir, found no name" in err
    status, _, err = run(capsys, "validate", "--data_dri", "x")
    assert status == 2 and "did you mean --data_dir?" in err
    status, _, err = run(capsys, "something_else")
    assert status == 2 and "did you mean" not in err


@pytest.mark.parametrize(
    ("command", "wrong", "right"),
    [
        ("train --learning_rat 0.1", "learning_rat", "learning_rate"),
        ("train --num_train 3", "num_train", None),  # an abbreviation is a wrong name too
        ("extract --data-dri x", "data_dri", "data_dir"),
        ("publish --push_to_hup me/x --push_to_hub me/x", "push_to_hup", "push_to_hub"),
        ("check-labels --outptu x.csv", "outptu", "output"),
        ("pretrain --bach_size 2", "bach_size", "batch_size"),
        ("compare --modles a b --models a b --data_dir x", "modles", "models"),
        ("codecs --code mini --data_dir x", "code", "codec"),
        ("reproduce --epoch 3 --esc50 x", "epoch", "epochs"),
    ],
)
def test_an_unknown_option_of_any_command_is_one_line_with_the_near_one(capsys, command, wrong, right):
    status, out, err = run(capsys, *command.split())
    assert status == 2 and out == "" and err.count("\n") == 2, err
    assert f"unknown option --{wrong}" in err and (right is None or f"did you mean --{right}?" in err), err


@pytest.mark.parametrize("program", ["hf_encls/commands/cli.py", "scripts/train.py"])
def test_the_help_of_training_waits_for_nothing_and_begins_with_ours(program):
    words = ["train"] if program.endswith("cli.py") else []
    script = f"""
import runpy, sys
sys.argv = [{program!r}, *{words!r}, "--help"]
try:
    runpy.run_path({program!r}, run_name="__main__")
except SystemExit as stop:
    assert not stop.code
sys.exit(", ".join({{"torch", "transformers", "datasets", "numpy"}} & set(sys.modules)) or 0)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-500:]
    titles = [line for line in done.stdout.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert titles[:2] == ["sounds:", "features:"] and "what is written:" in titles
    assert "what else is ours:" not in titles, "give the option a place in THEMES"
    for name in (each.name for kind in (DataArguments, ModelArguments) for each in fields(kind) if each.init):
        assert f"  --{name} " in done.stdout or f"  --{name}\n" in done.stdout
    for name in (*REPRESENTATIONS, *HEADS, *PROTOCOLS, *RECIPES):
        assert name in done.stdout
    assert "--adam_beta1" not in done.stdout and "--help_all" in done.stdout


def test_classify_brings_nothing_heavy_beside_the_library(models, sounds):
    """What transformers brings with a model and its pipeline is there before; of the rest, decoding alone is needed."""
    heavy = [
        "datasets",
        "pandas",
        "pyarrow",
        "sklearn",
        "scipy",
        "librosa",
        "matplotlib",
        "evaluate",
        "onnx",
        "gradio",
    ]
    heavy += [
        "onnxruntime",
        "openvino",
        "tensorboard",
        "torchaudio",
        "torch._dynamo",
        "torch.distributed",
        "torch.onnx",
    ]
    heavy += ["transformers.trainer", "hf_encls.features", "hf_encls.training", "hf_encls.data", "hf_encls.report"]
    script = f"""
import sys
from transformers import AudioClassificationPipeline
before = set(sys.modules)
from hf_encls.commands.cli import main
status = main(["classify", {str(sounds / "cats" / "d.wav")!r}, "--model", {str(models / "mel")!r}])
new = set(sys.modules) - before
print(*sorted(name for name in new if name.startswith(tuple({heavy!r}))), file=sys.stderr)
sys.exit(status)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and "d.wav" in done.stdout, done.stderr[-500:]
    assert done.stderr.split() == []


def test_all_options_of_training_are_behind_help_all(capsys):
    status, out, _ = run(capsys, "train", "--help_all")
    assert status == 0 and out.index("--data_dir") < out.index("--output_dir") < out.index("--adam_beta1")
    for each in fields(EnclsTrainingArguments):
        assert each.init is False or out.count(f"  --{each.name} ") + out.count(f"  --{each.name}\n") == 1, each.name


def test_wrong_arguments_are_one_line(capsys, models, tmp_path):
    (tmp_path / "empty").mkdir()
    status, _, err = run(capsys, "classify", tmp_path / "empty", "--model", models / "mel")
    assert status == 2 and "holds no audio files" in err and "Traceback" not in err
    status, _, err = run(capsys, "classify", "x.wav", "--model", "nowhere")
    assert status == 2 and "a folder or USER/NAME" in err
    status, _, err = run(capsys, "classify", "x.wav", "--model", tmp_path / "empty")
    assert status == 2 and "could not be loaded" in err
    assert run(capsys, "classify", "x.wav", "--model", models / "mel", "--top_k", 0)[0] == 2
