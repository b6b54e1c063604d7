"""Models go to a Hub with what belongs to them and nothing else."""

import json
import os
import subprocess
import sys

import pytest
from huggingface_hub import HfApi
from test_publishing import CLASSES, MODEL, results_of, trained_model

from hf_encls import EnclsConfig
from hf_encls.hub.commit import PublishError
from hf_encls.hub.push_models import push_model
from hf_encls.report.cards import write_model_card


def test_only_named_files_of_a_model_are_sent(hub, tmp_path):
    folder = trained_model(tmp_path / "model")
    readme = (folder / "README.md").read_text()
    push_model(folder, MODEL)
    files = set(hub.files(MODEL))
    assert files == {
        "README.md",
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "results.json",
        "curves.png",
        ".eval_results/little-sounds.yaml",
        *(path.name for path in folder.glob("*_encls.py")),
    }
    assert "modeling_encls.py" in files
    sent = hub.files(MODEL)["README.md"].decode()
    assert f'model="{MODEL}"' in sent and str(folder) not in sent
    assert (folder / "README.md").read_text() == readme

    push_model(folder, MODEL)  # nothing is new: no commit
    assert len(hub.commits(MODEL)) == 2


def test_what_the_folder_no_longer_has_goes_from_the_hub_too(hub, tmp_path):
    folder = trained_model(tmp_path / "model")
    push_model(folder, MODEL, save_card=tmp_path / "cards" / "one.md")
    pictures = f"](http://{hub.endpoint.split('//')[1]}/{MODEL}/resolve/main/curves.png)"
    sent = hub.files(MODEL)["README.md"].decode()
    assert "](curves.png)" in sent
    assert (tmp_path / "cards" / "one.md").read_text() == sent.replace("](curves.png)", pictures)
    for mine in ("notes.txt", ".eval_results/mine.yaml"):
        HfApi().upload_file(path_or_fileobj=b"mine", path_in_repo=mine, repo_id=MODEL)
    (folder / "curves.png").unlink()
    (folder / "results.json").write_text(json.dumps(results_of() | {"dataset": "Other sounds"}))
    write_model_card(folder)
    push_model(folder, MODEL)
    files = set(hub.files(MODEL))
    assert "curves.png" not in files and "notes.txt" in files
    scores = {path for path in files if path.startswith(".eval")}
    assert scores == {".eval_results/other-sounds.yaml", ".eval_results/mine.yaml"}

    HfApi().upload_file(path_or_fileobj=b'["not ours"]', path_in_repo="results.json", repo_id=MODEL)
    (folder / "results.json").write_text(json.dumps(results_of()))
    write_model_card(folder)
    push_model(folder, MODEL)
    assert scores < set(hub.files(MODEL))


def test_a_model_without_its_codec_is_not_sent(hub, tmp_path):
    config = EnclsConfig(features="encodec_24khz", codec_id="some/codec", id2label=dict(enumerate(CLASSES)))
    folder = trained_model(tmp_path / "model", config)
    with pytest.raises(PublishError, match=r"saved without some/codec.*Train again"):
        push_model(folder, MODEL)
    assert not hub.requests


def test_a_model_of_features_that_are_none_is_named(hub, tmp_path):
    folder = trained_model(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"features": " "}))
    with pytest.raises(PublishError, match=r"model/config.json: expected features to be latents"):
        push_model(folder, MODEL)
    assert not hub.requests


@pytest.mark.slow
def test_pipeline_runs_it_from_the_hub_in_a_clean_interpreter(hub, tmp_path):
    push_model(trained_model(tmp_path / "model"), MODEL)
    code = f"""
import numpy as np
from transformers import pipeline
classify = pipeline("audio-classification", model="{MODEL}", trust_remote_code=True)
found = classify(np.sin(np.arange(12_000, dtype=np.float32)))
assert sorted(f["label"] for f in found) == {CLASSES!r}, found
assert abs(sum(f["score"] for f in found) - 1) < 1e-5
import sys
assert "hf_encls" not in sys.modules
"""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= hub.environment(str(tmp_path / "home"))
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def test_an_unfinished_model_is_not_sent(hub, tmp_path):
    folder = trained_model(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    with pytest.raises(PublishError, match=r"found no model\.safetensors"):
        push_model(folder, MODEL)
    assert not hub.requests


@pytest.mark.parametrize(
    ("there", "gone"), [("results.previous.json", None), ("run.json", "results.json")], ids=["previous", "no results"]
)
def test_a_run_that_was_interrupted_is_not_sent(hub, tmp_path, there, gone):
    folder = trained_model(tmp_path / "model")
    (folder / there).write_text("{}")
    if gone:
        (folder / gone).unlink()
    with pytest.raises(PublishError, match="finish it first"):
        push_model(folder, MODEL)
    assert not hub.requests


def test_a_split_that_leaks_is_not_published_as_one_that_does_not(hub, tmp_path):
    folder = trained_model(tmp_path / "model")
    (folder / "results.json").write_text(json.dumps(results_of() | {"protocol": "clip"}))
    with pytest.raises(ValueError, match="results.json: .* promises that nothing leaks"):
        push_model(folder, MODEL)
    assert not hub.requests
