"""What version 0.1 wrote is still read: `data/v0_1` was made by it, of untrained codecs and generated sounds."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForAudioClassification, pipeline

from hf_encls.codec.bitstream import read_ecdc
from hf_encls.features.extraction import feature_identity
from hf_encls.hub.pull_features import load_published
from hf_encls.inference.pipeline import EnclsPipeline

DATA = Path(__file__).with_name("data") / "v0_1"
SCORES = json.loads((DATA / "scores.json").read_text())


def noise(sampling_rate: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, sampling_rate).astype(np.float32)


@pytest.mark.parametrize("name", SCORES)
def test_a_checkpoint_gives_the_scores_that_it_gave(name):
    folder = DATA / "checkpoints" / name
    model = AutoModelForAudioClassification.from_pretrained(folder)
    with torch.no_grad():
        logits = model(input_values=torch.from_numpy(noise(model.config.sampling_rate))[None]).logits[0]
    torch.testing.assert_close(logits, torch.tensor(SCORES[name]), rtol=1e-4, atol=1e-4)
    stock = pipeline("audio-classification", model=str(folder))(noise(model.config.sampling_rate))
    scores = {row["label"]: row["score"] for row in stock}
    expected = torch.tensor(SCORES[name]).softmax(-1)
    for index, label in model.config.id2label.items():
        assert scores[label] == pytest.approx(float(expected[index]), abs=1e-4)


@pytest.mark.parametrize("name", SCORES)
def test_its_configuration_is_read_and_written_again(name, tmp_path):
    config = AutoConfig.from_pretrained(DATA / "checkpoints" / name)
    assert config.feature_name == name
    config.save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path)
    assert again.identity() == config.identity() and again.codec_config == config.codec_config


@pytest.mark.parametrize("name", ["encodec_24khz", "log_mel"])
@pytest.mark.parametrize("streaming", [False, True])
def test_published_features_are_read_and_known_again(name, streaming, tmp_path, no_network):
    shutil.copytree(DATA / "features", tmp_path / "features")
    features = load_published(tmp_path / "features", name, streaming=streaming)
    facts = json.loads((DATA / "features" / name / "encls_features.json").read_text())
    assert feature_identity(features.config) == facts["identity"]  # caches and shards are found by it
    rows = list(features.windows)
    assert len(rows) == facts["num_windows"] and rows[0]["clip_id"].startswith("dog bark/")


def test_a_bitstream_is_read_and_classified():
    codes = read_ecdc(DATA / "noise.ecdc")
    assert (codes.family, codes.num_codebooks, codes.num_samples) == ("encodec_24khz", 2, 24_000)
    pipe = EnclsPipeline.from_pretrained(DATA / "checkpoints" / "encodec_24khz_codes")
    scores = {row["label"]: row["score"] for row in pipe(DATA / "noise.ecdc")}
    expected = torch.tensor(SCORES["encodec_24khz_codes"]).softmax(-1)
    for index, label in pipe.model.config.id2label.items():
        assert scores[label] == pytest.approx(float(expected[index]), abs=1e-3)
