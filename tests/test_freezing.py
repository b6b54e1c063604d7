"""The codec inside a model is frozen, however the model came to be, and trainings leave it alone."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, load_model, save_model
from small_models import save_small_model, small_codec, small_model
from transformers import AutoModelForAudioClassification, EncodecModel, pipeline

from hf_encls import EnclsForAudioClassification, EnclsPipeline
from hf_encls.codec.loading import load_codec

WAYS = {
    "from_pretrained": EnclsForAudioClassification.from_pretrained,
    "auto class": AutoModelForAudioClassification.from_pretrained,
    "half precision": lambda folder: EnclsForAudioClassification.from_pretrained(folder, dtype=torch.bfloat16),
    "stock pipeline": lambda folder: pipeline("audio-classification", model=str(folder)).model,
    "own pipeline": lambda folder: EnclsPipeline.from_pretrained(folder, device="cpu").model,
    "configuration alone": lambda folder: AutoModelForAudioClassification.from_config(_config(folder)),
    "copy": lambda folder: copy.deepcopy(EnclsForAudioClassification.from_pretrained(folder)),
    "attached": lambda folder: small_model("encodec_24khz"),
    "safetensors": lambda folder: _reloaded(folder),
    "assigned": lambda folder: _reloaded(folder, assign=True),
    "made trainable as a whole": lambda folder: EnclsForAudioClassification(_config(folder)).requires_grad_(True),
}


def _config(folder: Path):
    return EnclsForAudioClassification.config_class.from_pretrained(folder)


def _reloaded(folder: Path, assign: bool = False) -> EnclsForAudioClassification:
    model = EnclsForAudioClassification(_config(folder))
    if assign:
        model.load_state_dict(load_file(folder / "model.safetensors"), assign=True)
    else:
        save_model(EnclsForAudioClassification.from_pretrained(folder), str(folder / "again.safetensors"))
        load_model(model, folder / "again.safetensors")
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("model"), "encodec_24khz")


@pytest.mark.parametrize("way", WAYS)
def test_the_codec_is_frozen_after_every_way_of_loading(way, folder):
    model = WAYS[way](folder).train()
    assert not any(weight.requires_grad for weight in model.frontend.parameters())
    network = list(model.head.parameters())
    assert all(weight.requires_grad for weight in network)
    assert model.num_parameters(only_trainable=True) == sum(weight.numel() for weight in network)
    assert not model.frontend.training


def test_loading_alone_freezes(folder):
    for way in ("from_pretrained", "auto class", "stock pipeline", "own pipeline"):
        assert not any(weight.requires_grad for weight in WAYS[way](folder).frontend.parameters()), way


def test_a_loaded_codec_is_frozen(tmp_path):
    small_codec().save_pretrained(tmp_path)
    assert any(weight.requires_grad for weight in EncodecModel.from_pretrained(tmp_path).parameters())
    for codec in (load_codec(tmp_path), load_codec("mini"), load_codec("untrained")):
        assert not any(weight.requires_grad for weight in codec.parameters())


@pytest.mark.slow
def test_two_processes_fine_tune_on_waveforms_and_leave_the_codec_to_the_bit(folder, tmp_path):
    worker = Path(__file__).with_name("ddp_worker.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    run = subprocess.run(
        [*command, str(worker), str(folder), str(tmp_path)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert [(tmp_path / f"processes{rank}.txt").read_text() for rank in (0, 1)] == ["2", "2"]
    before = load_file(folder / "model.safetensors")
    after, other = (load_file(tmp_path / f"rank{rank}.safetensors") for rank in (0, 1))
    for name, value in before.items():
        trained = name.startswith("head.")
        assert torch.equal(value, after[name]) != trained, name
        assert torch.equal(after[name], other[name]), name
