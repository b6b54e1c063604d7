"""Every program: what is wrong with files, places, devices, disks and the Hub is one line, which names it; no traceback."""

import ast
import errno
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from small_commands import save_parts

from hf_encls.commands import cli, errors
from hf_encls.commands.outputs import output_file
from hf_encls.files import writing
from hf_encls.files.records import RecordError, read_record

FEATURES = ("--features", "log_mel", "--window_s", "0.4", "--cache_dir", "{here}/c")
QUICK = (
    *("--max_steps", "1", "--report_to", "none", "--use_cpu", "true"),
    *("--save_strategy", "no", "--load_best_model_at_end", "false"),
)
# A call that works, by program; {in}: what it reads, {out}: what it writes.
PROGRAMS = {
    "classify": ("{in}", "--model", "{model}", "--output", "{out}"),
    "segment": ("{in}", "--model", "{model}", "--output", "{out}"),
    "embed": ("{in_dir}", "--model", "{model}", "--output", "{out}"),
    "export": ("--model", "{in_dir}", "--onnx", "{out}"),
    "train": ("--data_dir", "{in_dir}", *FEATURES, *QUICK, "--output_dir", "{out}"),
    "extract": ("--data_dir", "{in_dir}", *FEATURES[:4], "--cache_dir", "{out}"),
    "validate": ("--data_dir", "{in_dir}", "--dataset", "esc50", "--report", "{out}"),
    "publish": ("--model_dir", "{in_dir}", "--push_to_hub", "me/x", "--save_card", "{out}"),
    "compare": ("--data_dir", "{in_dir}", "--models", "{model}", "--output", "{out}"),
    "codecs": (
        *("--data_dir", "{in_dir}", "--codec", "{codec}", "--window_s", "0.4", "--epochs", "1"),
        *("--cache_dir", "{here}/c", "--output_dir", "{out}"),
    ),
    "reproduce": ("--esc50", "{in_dir}", "--inputs", "log_mel", "--report_only", "--output_dir", "{out}"),
    "encode": ("{in}", "--codec", "{codec}", "--output", "{out}"),
    "decode": ("{in}", "--codec", "{codec}", "--output", "{out}"),
    "pretrain": ("--data_dir", "{in_dir}", "--num_filters", "2", "--cpu", "true", "--output_dir", "{out}"),
}
ELSEWHERE = {"demo", "listen", "evaluate-timeline", "check-labels", "completion", "label-next", "search"}
# They have tests of their own.
assert set(PROGRAMS) | ELSEWHERE == set(cli.COMMANDS)
FOLDERS = ("train", "extract", "codecs", "reproduce", "pretrain")  # their output is a folder
WITH_DEVICE = ("classify", "segment", "embed", "export", "encode", "decode", "compare", "demo")


REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    return save_parts(tmp_path_factory.mktemp("good"))


def call(program: str, good: Path, here: Path, more: tuple[str, ...] = (), **places: object) -> list[str]:
    """The arguments of a program with everything in its place but what `places` says."""
    sound = good / "sounds" / "x" / "0.wav"
    where = {"model": good / "model", "codec": good / "codec", "in": sound, "in_dir": good / "sounds", "here": here}
    where["in_dir"] = good / "model" if program in ("export", "publish") else where["in_dir"]
    where["out"] = here / "out" / "result"
    args = PROGRAMS[program]
    if program == "classify" and "in" in places:  # a sound that cannot be used is a row: on the terminal
        args = args[:-2]
    return [program, *(each.format_map(where | places) for each in args), *more]


def needs(program: str) -> None:
    """Skip where a program's extra is not installed: it says that first."""
    if program == "export":
        pytest.importorskip("onnxruntime")


def refused(capsys, args: list[str], *named: object) -> str:
    """The one line that a program ends with; the status is 1 or 2, and one of `named` is in it."""
    status = cli.main(args)
    said = capsys.readouterr()
    assert status in (1, 2), said
    assert "Traceback" not in said.err + said.out
    lines = [line for line in (said.err + said.out).replace("\r", "\n").splitlines() if "error" in line.lower()]
    assert len(lines) == 1, (lines, said)
    assert any(str(name) in said.err + said.out for name in named), said
    return lines[0]


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_input_that_is_not_there_is_named(program, good, tmp_path, capsys):
    if program == "reproduce":
        pytest.skip("a data set that is not there is listed as missing")
    needs(program)
    nowhere = tmp_path / "nowhere"
    args = call(program, good, tmp_path, **{"in": nowhere, "in_dir": nowhere})
    refused(capsys, args, nowhere, nowhere.name)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_file_where_a_folder_should_be_and_a_folder_for_a_file_are_named(program, good, tmp_path, capsys):
    file, folder = tmp_path / "file.wav", tmp_path / "folder.wav"
    file.write_bytes(b"RIFF no")
    folder.mkdir()
    if program == "reproduce":
        pytest.skip("a data set that cannot be read is listed as missing")
    needs(program)
    refused(capsys, call(program, good, tmp_path, **{"in": folder, "in_dir": file}), "file.wav", "folder.wav")


@pytest.mark.parametrize("program", sorted(set(PROGRAMS) - {"publish"}))
@pytest.mark.parametrize("place", ["below a file", "in /proc", "taken"])
def test_a_place_that_cannot_be_written_is_named_before_the_work(program, place, good, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder").mkdir()
    taken = tmp_path / ("file" if program in FOLDERS else "folder")
    out = {"below a file": tmp_path / "file" / "result", "in /proc": Path("/proc/nowhere/result"), "taken": taken}[
        place
    ]
    if (program, place) in (("encode", "taken"), ("decode", "taken")):
        pytest.skip("a folder takes the files")
    source = {}
    if program == "decode":
        assert (
            cli.main(
                [
                    "encode",
                    str(good / "sounds" / "x" / "0.wav"),
                    *("--codec", str(good / "codec")),
                    *("--output", str(tmp_path / "a.ecdc")),
                ]
            )
            == 0
        )
        source = {"in": tmp_path / "a.ecdc"}
        capsys.readouterr()
    refused(capsys, call(program, good, tmp_path, out=out, **source), out, out.parent)


@pytest.mark.parametrize("program", ["classify", "encode", "decode", "publish"])
def test_a_device_is_no_place_for_a_result(program, good, tmp_path, capsys):
    null = tmp_path / "null"
    null.symlink_to(os.devnull)
    source = {}
    if program == "decode":
        source["in"] = tmp_path / "a.ecdc"
        args = [good / "sounds" / "x" / "0.wav", "--codec", good / "codec", "--output", source["in"]]
        assert cli.main(["encode", *map(str, args)]) == 0
        capsys.readouterr()
    assert "device" in refused(capsys, call(program, good, tmp_path, out=null, **source), null)
    assert null.is_symlink()


@pytest.mark.parametrize("program", WITH_DEVICE)
@pytest.mark.parametrize("name", ["cuda:99", "nonsense", "meta", ""])
def test_a_device_that_is_not_there_is_one_line(program, name, good, tmp_path, capsys):
    args = ["demo", "--model", str(good / "model")] if program == "demo" else call(program, good, tmp_path)
    line = refused(capsys, [*args, f"--device={name}"], "--device")
    assert "expected cpu" in line and repr(name) in line


FULL = """
import resource, sys, tempfile
from hf_encls.commands import cli
tempfile.gettempdir()  # tries to write, once: that disk has room
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # as on a full disk, every byte is one too many
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "program", sorted(set(PROGRAMS) - {"publish", "decode", "compare", "validate"})
)  # write nothing here
def test_a_disk_without_room_is_one_line_that_names_the_file(program, good, tmp_path):
    args = call(program, good, tmp_path, more=("--timing_clips", "0") if program == "reproduce" else ())
    done = subprocess.run(
        [sys.executable, "-c", FULL, *args], capture_output=True, text=True, cwd=tmp_path, timeout=120
    )
    assert done.returncode in (1, 2), done
    assert "Traceback" not in done.stderr
    (line,) = [each for each in done.stderr.replace("\r", "\n").splitlines() if each.lower().startswith("error")]
    assert str(tmp_path) in line and "large" in line


@pytest.mark.slow
def test_a_full_terminal_and_a_closed_one_are_no_traceback(good):
    command = [
        sys.executable,
        "-m",
        "hf_encls.commands.cli",
        "classify",
        str(good / "sounds" / "x" / "0.wav"),
        "--model",
        str(good / "model"),
    ]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: standard output: no space left on device: make room there, or name another place"
    ]
    reading, writing_end = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing_end, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(writing_end)
    assert done.returncode == 1 and done.stderr == ""


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "make room"),
        (errno.EROFS, "another place"),
        (errno.EACCES, "another place"),
        (errno.EISDIR, "is a"),
    ],
)
def test_an_error_of_the_system_names_the_file(number, said, capsys):
    def main():
        with writing("results/model"):
            raise OSError(number, os.strerror(number))

    assert errors.exit_status(main, "") == 1
    err = capsys.readouterr().err
    assert err.startswith("error: results/model: ") and said in err and err.count("\n") == 1


def test_memory_network_and_hub_are_one_line_and_a_fault_is_not_hidden(capsys):
    import httpx2
    from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

    for error, said in (
        (MemoryError(), "not enough memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), "not enough memory"),
        (httpx2.ConnectError("no route"), "the network failed: no route"),
        (OfflineModeIsEnabled("cannot reach x: offline mode"), "offline mode"),
        (LocalEntryNotFoundError("cannot find y\nand more"), "cannot find y"),
    ):

        def main(error=error):
            raise error

        assert errors.exit_status(main, "") == 1
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1
    with pytest.raises(TypeError):
        errors.exit_status(lambda: None + 1, "")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"[" * 100_000,
        b"9" * 5_000,
        b'{"a": "x"}',
        b'{"b": 1}',
        b'{"a": true}',
        b'{"a": 1, "c": [1, "x"]}',
    ],
)
def test_a_damaged_record_is_named(text, tmp_path):
    file = tmp_path / "record.json"
    file.write_bytes(text)
    with pytest.raises(RecordError, match=str(file)):
        read_record(file, {"a": int, "c?": [int]})
    file.write_text(json.dumps({"a": 1, "c": [2], "other": None}))
    assert read_record(file, {"a": float, "c?": [int]})["other"] is None


def test_a_place_is_looked_at_without_making_it(tmp_path):
    assert output_file(str(tmp_path / "new" / "er" / "x.csv")).endswith("x.csv")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "text",
    ['{"dropout": "x"}', '{"seed": 1.5}', '{"codec": [1]}', "[" * 9000, '{"nothing": 1}', '{"data_dir": "\\u0000"}'],
)
def test_a_settings_file_is_named_with_the_setting(text, tmp_path, capsys):
    file = tmp_path / "settings.json"
    file.write_text(text)
    refused(capsys, ["train", str(file)], file)


def test_a_service_that_is_not_installed_is_told_before_the_work(good, tmp_path, capsys):
    for name in ("wandb_that_is_not_here", "neptune"):
        more = ("--report_to", name)
        assert name in refused(capsys, call("train", good, tmp_path, more=more), "--report_to")
    (tmp_path / "list.json").write_text('{"report_to": [[]]}')
    refused(capsys, ["train", str(tmp_path / "list.json")], "--report_to")
    for value in ("nan", "inf", "-1", "1e308"):
        refused(capsys, call("train", good, tmp_path, more=("--memory_limit_gb", value)), "--memory_limit_gb")
    for value in ("nan", "inf"):
        refused(capsys, call("train", good, tmp_path, more=("--warmup_steps", value)), "--warmup_steps")
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    "text", ['{"per_device_train_batch_size": null}', '{"output_dir": false}', '{"features": null}', '{"seed": -1}']
)
def test_a_setting_that_cannot_be_null_or_a_switch_is_named(text, tmp_path, capsys):
    file = tmp_path / "settings.json"
    file.write_text(text)
    refused(capsys, ["train", str(file)], file, "--seed")


def test_half_of_a_letter_makes_a_record_damaged(tmp_path):
    file = tmp_path / "record.json"
    file.write_text('{"a": "\\ud800"}')
    with pytest.raises(RecordError, match="record.json"):
        read_record(file)
    file.write_text('{"a": "\\ud83d\\ude00"}')
    assert read_record(file)["a"] == "\U0001f600"


@pytest.mark.parametrize(
    "change",
    [
        *(
            {"best_model_checkpoint": 3},
            {"epochx": 1},
            {"log_history": [{"epoch": {"a": 1}}]},
            {"stateful_callbacks": 3},
        ),
        *({"total_flos": "x"}, {"train_batch_size": "x"}, {"train_batch_size": None}, {"best_metric": [1]}),
        *({"log_history": [{"epoch_s": value}]} for value in (math.nan, math.inf, -1)),
        *({"log_history": [{"epoch": value}]} for value in (None, math.inf, 1e30)),
        {"log_history": [{"epoch": 1.0, "eval_accuracy": 2**63}]},
    ],
)
def test_a_state_that_is_none_is_no_checkpoint(change, tmp_path):
    from hf_encls.training.resuming import last_checkpoint

    folder = tmp_path / "checkpoint-1"
    folder.mkdir()
    log = [{"epoch_s": 0.5, "loss": math.nan}, {"epoch_s": None}, {"eval_loss": None}]
    state = {"global_step": 1, "max_steps": 2, "log_history": log, "total_flos": 1, "train_batch_size": 8}
    (folder / "trainer_state.json").write_text(json.dumps(state))
    assert last_checkpoint(tmp_path) == folder
    (folder / "trainer_state.json").write_text(json.dumps(state | change))
    assert last_checkpoint(tmp_path) is None


@pytest.mark.parametrize(
    "option",
    [
        *("--save_steps=0", "--target_bandwidths=nan", "--max_hours=-1", "--crop_s=1e-9", "--decay_share=inf"),
        *("--validation_share=nan", "--validation_share=-1", "--generated_share=2", "--learning_rate=1e9"),
        *("--learning_rate=nan", "--anchor_weight=999999999999999999999", "--mel_weight=-1", "--waveform_weight=inf"),
    ],
)
@pytest.mark.usefixtures("own_accelerator")
def test_a_number_that_pretraining_cannot_use_is_named(option, good, tmp_path, capsys):
    refused(capsys, call("pretrain", good, tmp_path, more=(option,)), option[2:].split("=")[0])


@pytest.mark.parametrize(
    ("module", "status", "said"),
    [
        (
            "raise ModuleNotFoundError(\"No module named 'soxr'\", name='soxr')",
            1,
            "error: this installation is not whole",
        ),
        # A shell has the signal ignored where it runs the tests in the background.
        (
            "import signal as s; s.signal(s.SIGINT, s.default_int_handler); s.raise_signal(s.SIGINT)",
            130,
            "interrupted",
        ),
    ],
)
def test_a_program_that_cannot_be_imported_or_is_interrupted_there_says_so(module, status, said, tmp_path):
    (tmp_path / "soxr.py").write_text(module)
    path = os.pathsep.join([str(tmp_path), *sys.path])
    command = [sys.executable, "-m", "hf_encls.commands.cli", "validate", "--data_dir", str(tmp_path)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=60)
    assert done.returncode == status and "Traceback" not in done.stderr, done.stderr
    assert said in done.stderr


@pytest.mark.parametrize(
    "script", [*REPOSITORY.glob("scripts/*.py"), *REPOSITORY.glob("dataset_scripts/*.py")], ids=lambda path: path.stem
)
def test_a_script_imports_what_takes_seconds_where_an_interrupt_is_one_line(script):
    code = f"import runpy, sys; runpy.run_path({str(script)!r}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_a_program_named_by_its_module_gets_its_settings(capsys):
    with pytest.raises(SystemExit) as ended:
        errors.run_program("hf_encls.commands.prepare", args=["--data_dir", "nosuch"], dataset="esc10")
    assert ended.value.code == 2 and "nosuch" in capsys.readouterr().err


def test_a_parameter_in_an_error_becomes_an_option(capsys):
    def main():
        raise ValueError("take another `output_dir`, `overwrite=True`, or `codec_dtype=float32`; not `a b`")

    assert errors.exit_status(main, "") == 2
    expected = "error: take another --output_dir, --overwrite, or --codec_dtype float32; not `a b`\n"
    assert capsys.readouterr().err == expected


def test_no_sentence_below_the_commands_names_an_option():
    rooms = Path(errors.__file__).parents[1]
    for file in rooms.rglob("*.py"):
        if file.parent == rooms / "commands":
            continue
        tree = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
        docstrings = {node.value for node in tree if isinstance(node, ast.Expr)}
        for node in tree:
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
                assert " " not in node.value or not re.search(r"(?<!\S)--[a-z]", node.value), f"{file}:{node.lineno}"
