"""Commands make files out of files: classify, segment, encode, decode, embed."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from small_commands import run, save_models, write_bad, write_sounds
from small_models import CLASSES

from hf_encls.codec.bitstream import read_ecdc


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    return save_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def sounds(tmp_path) -> Path:
    return write_sounds(tmp_path / "sounds")


@pytest.fixture
def bad(sounds) -> Path:
    return write_bad(sounds)


def test_the_example_of_encode_runs(capsys, sounds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = run(capsys, "encode", "--help")[1].splitlines()
    example = next(line for line in lines if "hf-encls" in line and "--codec mini" in line)
    status, out, err = run(capsys, *example.split()[1:])
    assert (status, err) == (0, "") and out.count("->") == 3


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
