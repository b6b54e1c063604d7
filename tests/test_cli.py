"""The command `hf-encls`: help, near names, exit statuses, and files out of files."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import soundfile
from small_models import CLASSES, save_small_model, small_codec

from hf_encls.codec.bitstream import read_ecdc
from hf_encls.commands.cli import COMMANDS, main
from hf_encls.commands.train_arguments import DataArguments, ModelArguments
from hf_encls.data.splits import PROTOCOLS
from hf_encls.model.configuration_encls import HEADS, REPRESENTATIONS
from hf_encls.training.arguments import EnclsTrainingArguments
from hf_encls.training.recipe import RECIPES

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("models")
    save_small_model(root / "mel", "log_mel", window_s=0.4, step_s=0.2)
    save_small_model(root / "codes", "encodec_24khz_codes", window_s=0.4, step_s=0.2, bandwidth=3.0)
    small_codec(24).save_pretrained(root / "codec")
    return root


@pytest.fixture
def sounds(tmp_path) -> Path:
    folder = tmp_path / "sounds"
    for index, name in enumerate(["dogs/a b.wav", "dogs/c.flac", "cats/d.wav"]):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        wave = 0.1 * np.random.default_rng(index).normal(size=(20_000 * (index + 1), 2))
        soundfile.write(path, wave, 44_100)
    (folder / "notes.txt").write_text("no audio")
    return folder


@pytest.fixture
def bad(sounds) -> Path:
    path = sounds / "dogs" / "broken.wav"
    path.write_bytes(b"RIFF no")
    return path


def run(capsys, *args: object) -> tuple[int, str, str]:
    status = main([str(each) for each in args])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_the_example_of_encode_runs(capsys, sounds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = run(capsys, "encode", "--help")[1].splitlines()
    example = next(line for line in lines if "hf-encls" in line and "--codec mini" in line)
    status, out, err = run(capsys, *example.split()[1:])
    assert (status, err) == (0, "") and out.count("->") == 3


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
    for name in (each.name for kind in (DataArguments, ModelArguments) for each in fields(kind)):
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


def test_what_the_library_brings_is_not_looked_through_for_garbage(models):
    script = f"""
import gc, sys
from argparse import Namespace
from hf_encls.commands.classify import load_pipe
collected = []
gc.callbacks.append(lambda phase, info: collected.append({{"torch", "hf_encls.inference.pipeline"}} & set(sys.modules)))
load_pipe(Namespace(model={str(models / "mel")!r}, device=None, revision=None))
assert gc.isenabled()
print(sum(names == {{"torch"}} for names in collected))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and done.stdout.split() == ["0"], done.stdout + done.stderr[-500:]


def test_all_options_of_training_are_behind_help_all(capsys):
    status, out, _ = run(capsys, "train", "--help_all")
    assert status == 0 and out.index("--data_dir") < out.index("--output_dir") < out.index("--adam_beta1")
    for each in fields(EnclsTrainingArguments):
        assert each.init is False or out.count(f"  --{each.name} ") + out.count(f"  --{each.name}\n") == 1, each.name


def test_classify_a_folder_as_a_table(capsys, models, sounds):
    status, out, err = run(capsys, "classify", sounds, "--model", models / "mel")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["file", "label"] and len(lines) == 4
    assert lines[1].startswith(str(sounds / "cats" / "d.wav"))
    assert lines[1].split()[-2] in CLASSES


def test_a_bad_file_is_a_row_and_a_status(capsys, models, sounds, bad):
    command = ["classify", sounds, sounds / "none.wav", "--model", models / "mel", "--format"]
    status, out, err = run(capsys, *command, "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert status == 1 and "2 of 5 files" in err
    assert len(rows) == 5
    errors = {Path(row["file"]).name: row["error"] for row in rows if row["error"]}
    assert errors.keys() == {"broken.wav", "none.wav"} and "does not exist" in errors["none.wav"]
    assert all(row["label"] in CLASSES and 0 < float(row["score"]) <= 1 for row in rows if not row["error"])
    status, out, _ = run(capsys, *command, "jsonl", "--top-k", "2")  # hyphens will do
    rows = [json.loads(line) for line in out.splitlines()]
    assert status == 1 and sum("error" in row for row in rows) == 2
    assert all(len(row["labels"]) == 2 for row in rows if "labels" in row)
    assert run(capsys, *command, "table")[1].count("ERROR") == 2


def test_codes_that_make_no_sense_are_a_row(capsys, models, tmp_path):
    from safetensors.numpy import save_file

    codes, nonsense = np.zeros((1, 1, 4, 75), np.uint16), {"family": ["x"], "num_samples": 24_000, "codebook_hash": 3}
    save_file({"audio_codes": codes}, tmp_path / "a.safetensors", metadata={"encls": json.dumps(nonsense)})
    save_file({"audio_codes": codes}, tmp_path / "b.safetensors")
    files = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    command = ["classify", *files, "--model", models / "codes", "--family", "encodec_24khz", "--assume_codec"]
    status, out, err = run(capsys, *command, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert status == 1 and "1 of 2 files" in err
    assert "expected codes of" in rows[0]["error"] and rows[1]["label"] in CLASSES


def test_output_goes_into_a_file_that_is_whole(capsys, models, sounds, tmp_path):
    target = tmp_path / "new" / "x.csv"
    status, out, _ = run(
        capsys, "classify", sounds, "--model", models / "mel", "--format", "csv", "--top_k", 9, "--output", target
    )
    assert status == 0 and out == ""
    rows = list(csv.DictReader(target.open(newline="")))
    assert len(rows) == 3 and {rows[0]["label"], rows[0]["label_2"], rows[0]["label_3"]} == set(CLASSES)
    assert [each.name for each in target.parent.iterdir()] == ["x.csv"]


def test_wrong_arguments_are_one_line(capsys, models, tmp_path):
    (tmp_path / "empty").mkdir()
    status, _, err = run(capsys, "classify", tmp_path / "empty", "--model", models / "mel")
    assert status == 2 and "holds no audio files" in err and "Traceback" not in err
    status, _, err = run(capsys, "classify", "x.wav", "--model", "nowhere")
    assert status == 2 and "a folder or USER/NAME" in err
    status, _, err = run(capsys, "classify", "x.wav", "--model", tmp_path / "empty")
    assert status == 2 and "could not be loaded" in err
    assert run(capsys, "classify", "x.wav", "--model", models / "mel", "--top_k", 0)[0] == 2


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("x.json", "[\n"),
        ("x.csv", "start,end,label,score\n"),
        ("x.rttm", "SPEAKER a_b 1 0 "),
        ("x.txt", "0.000000\t"),
        ("x.TextGrid", 'File type = "ooTextFile"'),
        ("x.jsonl", '{"file": "a b.wav"'),
    ],
)
def test_segment_writes_what_the_name_says(name, start, capsys, models, sounds, tmp_path):
    source, target = sounds / "dogs" / "a b.wav", tmp_path / name
    status, out, _ = run(capsys, "segment", source, "--model", models / "mel", "--output", target)
    assert (status, out) == (0, "")
    assert target.read_text(encoding="utf-8").startswith(start)


def test_segment_draws(capsys, models, sounds, tmp_path):
    source = sounds / "cats" / "d.wav"
    status, out, _ = run(
        capsys,
        *("segment", source, "--model", models / "mel", "--plot", tmp_path / "x.png"),
        *("--smoothing", "viterbi", "--min_duration_s", 0.4, "--all_scores"),
    )
    segments = json.loads(out)
    assert status == 0 and (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    assert segments[-1]["end"] == pytest.approx(60_000 / 44_100)
    assert set(segments[0]["scores"]) == set(CLASSES)
    status, _, err = run(capsys, "segment", tmp_path / "none.wav", "--model", models / "mel")
    assert status == 1 and "does not exist" in err


def test_encode_classify_decode(capsys, models, sounds, bad, tmp_path):
    codec = ("--codec", models / "codec")
    status, out, err = run(capsys, "encode", sounds, *codec, "--bandwidth", 3, "--output", tmp_path / "codes")
    assert status == 1 and "broken.wav: ERROR" in err and out.count("->") == 3
    file = tmp_path / "codes" / "dogs" / "a b.ecdc"
    assert read_ecdc(file).num_codebooks == 4
    status, out, _ = run(capsys, "classify", tmp_path / "codes", "--model", models / "codes", "--format", "csv")
    assert status == 0 and len(out.splitlines()) == 4
    by_audio = run(capsys, "classify", sounds / "dogs" / "a b.wav", "--model", models / "codes", "--format", "csv")[1]
    by_codes = run(capsys, "classify", file, "--model", models / "codes", "--format", "csv")[1]
    assert by_audio.splitlines()[1].split(",")[1] == by_codes.splitlines()[1].split(",")[1]
    status, _, _ = run(capsys, "decode", file, *codec, "--output", tmp_path / "back.wav")
    assert status == 0 and soundfile.info(tmp_path / "back.wav").frames == read_ecdc(file).num_samples
    status, _, err = run(capsys, "decode", sounds / "cats" / "d.wav", *codec, "--output", tmp_path / "no.wav")
    assert status == 1 and "begins with b'ECDC'" in err
    status, _, err = run(capsys, "encode", sounds / "cats" / "d.wav", *codec, "--bandwidth", 5)
    assert status == 2 and "1.5, 3, 6" in err
    saved = tmp_path / "saved.safetensors"
    command = ["encode", sounds / "cats" / "d.wav", *codec, "--format", "safetensors", "--output", saved]
    assert run(capsys, *command)[0] == 0
    assert run(capsys, "classify", saved, "--model", models / "codes")[0] == 0


def test_odd_clips_are_one_error_each(capsys, models, sounds, tmp_path):
    odd = sounds / "cats"
    for name, count, rate in (("brief", 1, 384_000), ("fast", 100, 10_000_000), ("slow", 2_000, 1)):
        soundfile.write(odd / f"{name}.wav", np.full(count, 0.1), rate)
    soundfile.write(odd / "whole.paf", np.full(1000, 0.1), 44_100, format="PAF")
    expected = {
        "brief": "too short",
        "fast": "10000000 Hz",
        "slow": "1 Hz",
        "whole": "cannot be told from a whole one",
    }
    model = ("--model", models / "mel")
    status, out, _ = run(capsys, "classify", odd, *model, "--format", "csv")
    errors = {Path(row["file"]).stem: row["error"] for row in csv.DictReader(io.StringIO(out)) if row["error"]}
    assert status == 1 and set(errors) == set(expected)
    status, out, err = run(capsys, "embed", sounds, *model, "--output", tmp_path / "e.parquet")
    assert status == 1 and err.count(": ERROR ") == 4 and "3 embeddings" in out
    for name, reason in expected.items():
        assert reason in errors[name] and reason in next(line for line in err.splitlines() if f"{name}." in line)
        path = next(odd.glob(f"{name}.*"))
        status, _, said = run(capsys, "segment", path, *model)
        assert status == 1 and reason in said and len(said.splitlines()) == 1


def test_embed_writes_parquet_and_a_map(capsys, models, sounds, bad, tmp_path):
    from datasets import load_dataset

    target = tmp_path / "e.parquet"
    status, out, err = run(
        capsys, "embed", sounds, "--model", models / "mel", "--output", target, "--map", tmp_path / "e.png"
    )
    assert status == 1 and "broken.wav: ERROR" in err and "3 embeddings of 64" in out
    rows = load_dataset("parquet", data_files=str(target), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.features["label"].names == ["cats", "dogs"]
    assert rows["file"][:] == ["cats/d.wav", "dogs/a b.wav", "dogs/c.flac"]
    assert len(rows[0]["embedding"]) == 64 and rows[0]["duration_s"] == pytest.approx(60_000 / 44_100)
    assert (tmp_path / "e.png").read_bytes().startswith(b"\x89PNG")


def test_originals_are_not_replaced(capsys, models, sounds):
    codec = ("--codec", models / "codec")
    original = sounds / "cats" / "d.wav"
    before = original.read_bytes()
    assert run(capsys, "encode", original, *codec)[0] == 0
    status, _, err = run(capsys, "decode", original.with_suffix(".ecdc"), *codec)
    assert status == 2 and "d.wav would be replaced" in err and "--overwrite" in err
    assert original.read_bytes() == before
    status, _, err = run(capsys, "encode", original, *codec)
    assert status == 2 and "d.ecdc would be replaced" in err
    status, out, _ = run(capsys, "encode", sounds, *codec, "--overwrite")
    assert status == 0 and out.count("->") == 3
    assert run(capsys, "decode", original.with_suffix(".ecdc"), *codec, "--overwrite")[0] == 0
    status, _, err = run(capsys, "encode", f"{sounds}/./cats/d.ecdc", *codec, "--overwrite")
    assert status == 2 and "what is made of it" in err


def test_an_interrupted_folder_is_continued(capsys, models, sounds, tmp_path):
    codec, codes, waves = ("--codec", models / "codec"), tmp_path / "codes", tmp_path / "waves"
    assert run(capsys, "encode", sounds, *codec, "--output", codes)[0] == 0
    first, second, third = sorted(codes.rglob("*.ecdc"))
    first.write_bytes(b"made before")
    third.unlink()
    status, out, _ = run(capsys, "encode", sounds, *codec, "--output", codes)
    assert status == 0 and "2 of 3 files are there already" in out and out.count("->") == 1
    assert third.exists() and first.read_bytes() == b"made before"
    status, out, _ = run(capsys, "encode", sounds, *codec, "--output", codes)
    assert status == 0 and "3 of 3 files" in out and "->" not in out
    assert run(capsys, "encode", sounds, *codec, "--output", codes, "--overwrite")[1].count("->") == 3
    assert first.read_bytes() != b"made before"
    assert run(capsys, "decode", codes, *codec, "--output", waves)[0] == 0
    (waves / second.relative_to(codes).with_suffix(".wav")).unlink()
    status, out, _ = run(capsys, "decode", codes, *codec, "--output", waves)
    assert status == 0 and "2 of 3 files" in out and out.count("->") == 1


def test_two_files_of_one_name_are_refused(capsys, models, sounds):
    soundfile.write(sounds / "cats" / "d.flac", np.zeros(4000), 24_000)
    status, _, err = run(capsys, "encode", sounds, "--codec", models / "codec", "--overwrite")
    assert status == 2 and "d.flac and" in err and "d.wav would all be written to" in err
    assert not list(sounds.rglob("*.ecdc"))


def test_interrupt_ends_cleanly(capsys, models, sounds, tmp_path, monkeypatch):
    from hf_encls.inference.pipeline import EnclsPipeline

    def interrupted(*_args, **_settings):
        yield from ()
        raise KeyboardInterrupt

    monkeypatch.setattr(EnclsPipeline, "analyse_many", interrupted)
    target = tmp_path / "out" / "x.csv"
    status, out, err = run(capsys, "classify", sounds, "--model", models / "mel", "--output", target)
    assert status == 130 and out == "" and "interrupted" in err
    assert list(target.parent.iterdir()) == []


def test_rows_before_an_interrupt_are_kept_and_named(capsys, models, sounds, tmp_path, monkeypatch):
    from hf_encls.inference.pipeline import EnclsPipeline

    whole = EnclsPipeline.analyse_many

    def interrupted(self, files, **settings):
        yield next(whole(self, files, **settings))
        raise KeyboardInterrupt

    monkeypatch.setattr(EnclsPipeline, "analyse_many", interrupted)
    target = tmp_path / "out" / "x.csv"
    command = ["classify", sounds, "--model", models / "mel", "--format", "csv", "--output", target]
    status, _, err = run(capsys, *command)
    (kept,) = target.parent.iterdir()
    assert status == 130 and str(kept) in err and str(os.getpid()) in kept.name
    assert len(list(csv.DictReader(kept.open(newline="")))) == 1


def test_embeddings_before_an_interrupt_are_kept_and_named(capsys, models, sounds, tmp_path, monkeypatch):
    from datasets import load_dataset

    from hf_encls.inference.embeddings import EmbeddingModel

    whole, calls = EmbeddingModel.scene, []

    def interrupted(self, blocks):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(self, blocks)

    monkeypatch.setattr(EmbeddingModel, "scene", interrupted)
    target = tmp_path / "out" / "e.parquet"
    status, _, err = run(capsys, "embed", sounds, "--model", models / "mel", "--output", target)
    (kept,) = target.parent.iterdir()
    assert status == 130 and str(kept) in err and "2 of 3" in err
    rows = load_dataset("parquet", data_files=str(kept), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows["file"][:] == ["cats/d.wav", "dogs/a b.wav"]


def test_an_interrupt_promises_only_what_is_so(capsys, monkeypatch):
    def interrupted(*_args, **_settings):
        raise KeyboardInterrupt

    from hf_encls.commands import codec_files, export

    for module, said in ((export, "interrupted"), (codec_files, "interrupted; files that were finished are kept")):
        monkeypatch.setattr(module, "Parser", interrupted)
        name = "export" if module is export else "encode"
        status, _, err = run(capsys, name, "x", "--onnx", "y")
        assert status == 130 and err.strip() == said


def test_a_map_is_made_by_one_thread(monkeypatch):
    # Threads of t-SNE spin while they wait for each other: on a busy machine it seemed to hang.
    import threadpoolctl
    from sklearn.manifold import TSNE

    from hf_encls.commands.embed import project

    seen = []
    fit = TSNE.fit_transform

    def watched(self, points):
        seen.extend(pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "openmp")
        return fit(self, points)

    monkeypatch.setattr(TSNE, "fit_transform", watched)
    points, how = project(np.random.default_rng(0).normal(size=(40, 8)))
    assert how == "t-SNE" and np.isfinite(points).all() and set(seen) == {1}


def test_a_map_of_many_files_ends_and_says_what_it_does(models, tmp_path):
    for index in range(32):
        path = tmp_path / "sounds" / f"c{index % 10}" / f"{index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * np.random.default_rng(index).standard_normal(8000), 16_000)
    command = ["embed", "sounds", "--model", models / "mel", "--output", "e.parquet", "--map", "e.png"]
    main_ = [sys.executable, "-m", "hf_encls.commands.cli", *map(str, command)]
    done = subprocess.run(main_, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "drawing the map of 32 files" in done.stderr
    assert (tmp_path / "e.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("name", "first_call", "kept"),
    [
        ("train", "train.parse", "finished features and checkpoints are kept"),
        ("extract", "extract_features.prepare", "finished features are in the cache"),
        ("pretrain", "pretrain_codec.Accelerator", "checkpoints are kept"),
        ("reproduce", "reproduce_paper._datasets", "finished cells are kept"),
    ],
)
def test_sigterm_ends_as_ctrl_c_does(capsys, tmp_path, monkeypatch, name, first_call, kept):
    def killed(*_args, **_settings):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    monkeypatch.setattr(f"hf_encls.commands.{first_call}", killed)
    before = signal.getsignal(signal.SIGTERM)
    status, _, err = run(capsys, name, *(["--output_dir", tmp_path] if name == "pretrain" else []))
    assert status == 143 and f"interrupted; {kept}" in err and "Traceback" not in err
    assert signal.getsignal(signal.SIGTERM) == before


def test_files_that_are_there_are_not_replaced_unasked(capsys, models, sounds, tmp_path, monkeypatch):
    there = tmp_path / "mine"
    there.write_text("a day of work")
    for name, options in (
        ("export", ["--onnx", there]),
        ("embed", [sounds, "--output", there]),
        ("embed", [sounds, "--output", tmp_path / "new", "--map", there]),
    ):
        status, _, err = run(capsys, name, *options, "--model", models / "mel")
        assert status == 2 and f"{there} would be replaced" in err and "--overwrite" in err
    assert there.read_text() == "a day of work" and not (tmp_path / "new").exists()
    assert run(capsys, "embed", sounds, "--output", there, "--model", models / "mel", "--overwrite")[0] == 0
    assert there.read_bytes().startswith(b"PAR1")
