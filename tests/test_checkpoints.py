"""Where checkpoints come from: folders, the Hub, the cache; and how soon it is said that they do not."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from huggingface_hub import HfApi, constants
from small_models import save_small_model, small_codec

from hf_encls import EnclsPipeline
from hf_encls.codec.loading import CodecNotFoundError, load_codec
from hf_encls.codec.published import DEFAULT_CODECS
from hf_encls.commands import cli
from hf_encls.comparison.models import compare
from hf_encls.files.checkpoints import find_checkpoint
from hf_encls.hub.pull_features import load_published
from hf_encls.inference.embeddings import load_model
from hf_encls.model.identity_encls import codec_hash


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def refusing() -> str:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"http://127.0.0.1:{port}"


def point_to(monkeypatch: pytest.MonkeyPatch, endpoint: str, cache: Path) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))


@pytest.mark.parametrize("how", ["refusing", "silent", "no such name", "a name that nobody looks up"])
def test_without_a_network_it_is_said_at_once(how, monkeypatch, tmp_path, request):
    endpoint = request.getfixturevalue(how) if how in ("refusing", "silent") else "http://hub.invalid"
    if how.startswith("a name"):
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: time.sleep(30))
    elif how.startswith("no such"):
        monkeypatch.setattr(socket, "getaddrinfo", _unknown)
    point_to(monkeypatch, endpoint, tmp_path)
    slow = how in ("silent", "a name that nobody looks up")
    for load in (load_codec,) if slow else (load_codec, EnclsPipeline.from_pretrained, load_model):
        started = time.monotonic()
        with pytest.raises(ValueError, match="nor a copy in the cache") as caught:
            load(DEFAULT_CODECS[24_000])
        assert time.monotonic() - started < 5
        text = str(caught.value)
        assert "\n" not in text and endpoint in text and DEFAULT_CODECS[24_000] in text and "give" in text
    with pytest.raises(CodecNotFoundError, match=r"mini, which is bundled; or a folder .*; or take log-mel features"):
        load_codec(DEFAULT_CODECS[48_000])


@pytest.mark.parametrize("how", ["refusing", "silent"])
def test_features_are_asked_for_as_quickly(how, monkeypatch, tmp_path, request):
    endpoint = request.getfixturevalue(how)
    point_to(monkeypatch, endpoint, tmp_path)
    started = time.monotonic()
    with pytest.raises(ValueError, match="could not read the data set 'somebody/features'.*no copy") as caught:
        load_published("somebody/features", "log_mel")
    assert time.monotonic() - started < 5
    assert "\n" not in str(caught.value) and endpoint in str(caught.value)


def _unknown(*args, **kwargs):
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_a_program_says_it_in_one_line(refusing, tmp_path):
    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(24_000), 24_000)
    environment = os.environ | {"HF_ENDPOINT": refusing, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-m", "hf_encls.commands.cli", "encode", str(tmp_path / "a.wav")]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert run.returncode == 2 and run.stderr.count("\n") == 1, run.stderr
    assert f"{refusing} could not be reached" in run.stderr and "give mini, which is bundled" in run.stderr


def test_the_cache_stands_in_for_the_hub(hub, refusing, monkeypatch, tmp_path):
    small_codec().save_pretrained(tmp_path / "codec")
    save_small_model(tmp_path / "model", "encodec_24khz")
    for name in ("codec", "model"):
        HfApi().create_repo(f"me/{name}")
        HfApi().upload_folder(repo_id=f"me/{name}", folder_path=tmp_path / name)
    online = codec_hash(load_codec("me/codec"))
    wave = 0.1 * np.random.default_rng(0).standard_normal(24_000).astype(np.float32)
    answer = EnclsPipeline.from_pretrained("me/model", device="cpu")(wave)
    cache = Path(constants.HF_HUB_CACHE)
    for offline in (False, True):
        point_to(monkeypatch, refusing, cache)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        started = time.monotonic()
        assert codec_hash(load_codec("me/codec")) == online
        assert EnclsPipeline.from_pretrained("me/model", device="cpu")(wave) == answer
        assert load_model("me/model", device="cpu").timestamp_embedding_size == 16
        assert time.monotonic() - started < 10
        with pytest.raises(CodecNotFoundError, match="HF_HUB_OFFLINE is set" if offline else "could not be reached"):
            load_codec("me/other")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_hub_is_asked_again_and_not_for_long(hub, status, tmp_path):
    save_small_model(tmp_path / "model", "log_mel")
    HfApi().create_repo("me/model")
    HfApi().upload_folder(repo_id="me/model", folder_path=tmp_path / "model")
    hub.fail("HEAD", "/config.json", status, times=1000)
    started = time.monotonic()
    with pytest.raises(
        ValueError, match=rf"'me/model', found no .* is busy \(it says {status}\), try again later"
    ) as error:
        EnclsPipeline.from_pretrained("me/model", device="cpu")
    assert time.monotonic() - started < 5 and "\n" not in str(error.value)
    hub.failures.clear()
    hub.fail("HEAD", "/config.json", status, times=2)
    assert EnclsPipeline.from_pretrained("me/model", device="cpu").model.config.num_labels == 3
    hub.failures.clear()
    hub.fail("HEAD", "/config.json", status, times=1000)  # what is in the cache is enough
    assert EnclsPipeline.from_pretrained("me/model", device="cpu").model.config.num_labels == 3


def test_what_the_hub_has_not_is_said_as_it_says_it(hub):
    HfApi().create_repo("me/empty")
    for name, revision, reason in (("me/none", None, "404"), ("me/empty", None, "404"), ("me/empty", "v9", "404")):
        started = time.monotonic()
        with pytest.raises(CodecNotFoundError, match=f"{hub.endpoint} says {reason}") as caught:
            load_codec(name, revision)
        assert "\n" not in str(caught.value) and time.monotonic() - started < 5


@pytest.mark.parametrize("name", ["nope", "./nope", "a/b/c", "/nowhere/at/all", "../nope/x", ""])
def test_a_name_that_is_no_folder_and_no_name_of_the_hub_is_a_wrong_path(name, monkeypatch):
    monkeypatch.setattr("hf_encls.files.checkpoints.get_hf_file_metadata", None)  # nobody is asked
    with pytest.raises(
        CodecNotFoundError, match=r"a folder or USER/NAME on the Hub, found neither: give mini"
    ) as caught:
        load_codec(name or "bad name")
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="a folder or USER/NAME on the Hub, found neither"):
        EnclsPipeline.from_pretrained(name or "bad name")
    with pytest.raises(ValueError, match="a folder or USER/NAME on the Hub, found neither"):
        load_model(name or "bad name")
    with pytest.raises(ValueError, match="a folder or USER/NAME on the Hub, found neither"):
        find_checkpoint(name or "bad name", None, "a thing", "give another")


def test_programs_call_it_a_wrong_path(tmp_path, capsys):
    (tmp_path / "dogs").mkdir()
    soundfile.write(tmp_path / "dogs" / "a.wav", np.zeros(24_000), 24_000)
    wav = str(tmp_path / "dogs" / "a.wav")
    for command in (
        ["encode", wav, "--codec", "nope"],
        ["classify", wav, "--model", "nope"],
        ["segment", wav, "--model", "nope"],
        ["embed", str(tmp_path), "--model", "nope"],
    ):
        assert cli.main(command) == 2
        said = capsys.readouterr().err.removeprefix("loading the model\n")
        assert "'nope', a folder or USER/NAME on the Hub, found neither" in said and said.count("\n") == 1, said


def test_a_file_is_no_folder(tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"")
    with pytest.raises(CodecNotFoundError, match="found a file: name the folder that it lies in"):
        load_codec(file)


def test_models_to_compare_are_found_first(monkeypatch):
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"path": Value("string"), "label": ClassLabel(names=["a", "b"])})
    clips = Dataset.from_dict({"path": ["x.wav"], "label": [0]}, features=features)
    with pytest.raises(ValueError, match="found neither"):
        compare({"nope": "nope"}, clips)
