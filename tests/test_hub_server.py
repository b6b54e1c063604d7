"""The Hub on loopback answers the real clients as the real one does, and wrongly when told to."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset, load_dataset
from hub_server import DROP, READ_TOKEN, USER
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

REPO = f"{USER}/thing"


def test_model_files_come_back_as_they_were_sent(hub, tmp_path):
    api = HfApi()
    assert api.whoami()["name"] == USER
    assert api.create_repo(REPO).repo_id == REPO
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo(REPO)
    api.create_repo(REPO, exist_ok=True)

    weights = np.random.default_rng(0).bytes(100_000)
    add = [CommitOperationAdd("model.safetensors", weights), CommitOperationAdd("sub/config.json", b"{}")]
    first = api.create_commit(REPO, add, commit_message="one")
    api.create_commit(REPO, [CommitOperationDelete("sub/config.json")], commit_message="two")

    assert api.list_repo_files(REPO) == ["model.safetensors"]
    assert sorted(api.list_repo_files(REPO, revision=first.oid)) == ["model.safetensors", "sub/config.json"]
    with open(hf_hub_download(REPO, "model.safetensors"), "rb") as file:
        assert file.read() == weights
    folder = snapshot_download(REPO, revision=first.oid)
    assert Path(folder, "sub/config.json").is_file()
    assert [commit.title for commit in hub.commits(REPO)] == ["initial commit", "one", "two"]
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download(REPO, "model.safetensors", revision="0" * 40)
    with pytest.raises(RepositoryNotFoundError):
        api.model_info(f"{USER}/nothing")


def test_data_sets_are_pushed_loaded_and_streamed(hub):
    rows = {"x": np.arange(600, dtype=np.float32).reshape(100, 6), "label": list(range(100))}
    Dataset.from_dict(rows).push_to_hub(REPO, "numbers", split="train", num_shards=2)

    loaded = load_dataset(REPO, "numbers", split="train")
    assert loaded["label"] == rows["label"]
    streamed = load_dataset(REPO, "numbers", split="train", streaming=True)
    assert [row["label"] for row in streamed] == rows["label"]
    assert hub.asked("GET", "/resolve/") > 0


def test_another_process_finds_the_same_hub(hub, tmp_path):
    HfApi().create_repo(REPO)
    code = "import huggingface_hub as h; print(h.HfApi().model_info('tester/thing').sha)"
    environment = os.environ | hub.environment(str(tmp_path / "other"))
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == hub.commits(REPO)[-1].oid


def test_wrong_answers_on_purpose(hub):
    with pytest.raises(HfHubHTTPError, match="403"):
        HfApi(token=READ_TOKEN).create_repo(REPO)
    with pytest.raises(HfHubHTTPError, match="401"):
        HfApi(token="hf_of_nobody").create_repo(REPO)

    api = HfApi()
    api.create_repo(REPO)
    hub.fail("POST", "/commit/", 500)
    add = [CommitOperationAdd("README.md", b"# thing")]
    with pytest.raises(HfHubHTTPError, match="500"):
        api.create_commit(REPO, add, commit_message="fails")
    api.create_commit(REPO, add, commit_message="is fine")
    assert hub.files(REPO) == {"README.md": b"# thing"}


def test_an_upload_that_is_cut_off_is_sent_again_by_the_client(hub, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    api = HfApi()
    api.create_repo(REPO)
    hub.fail("PUT", "/lfs/", DROP)
    weights = np.random.default_rng(0).bytes(3_000_000)
    api.create_commit(REPO, [CommitOperationAdd("model.safetensors", weights)], commit_message="weights")
    assert hub.files(REPO)["model.safetensors"] == weights
    assert hub.asked("PUT", "/lfs/") == 2
