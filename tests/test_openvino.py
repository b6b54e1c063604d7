"""The convolutions by OpenVINO: the encoder's own latents, and nothing else where it is not installed or not worth it."""

import importlib.util

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import small_codec

from hf_encls.data.folders import scan_folder
from hf_encls.fast import onednn_tiles, openvino_tiles
from hf_encls.features.computing import Extractor
from hf_encls.features.extraction import extract_features, feature_config
from hf_encls.features.frontends import frontend_of

installed = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")
CODEC = small_codec(24)
CONFIG = feature_config("encodec_24khz", codec=CODEC)


@pytest.fixture(scope="module")
def by_openvino():
    made = frontend_of(CONFIG, CODEC)
    made.convolutions = openvino_tiles.openvino_convolutions(made.codec)
    return made


@installed
@pytest.mark.slow
def test_latents_are_the_encoders(by_openvino):
    @settings(deadline=None, max_examples=25)
    @given(lengths=st.lists(st.integers(1, 130_000), min_size=1, max_size=3))
    def check(lengths):
        waves = [0.1 * torch.randn(n, generator=torch.Generator().manual_seed(n)) for n in lengths]
        for wave, found in zip(waves, by_openvino.latents(waves), strict=True):
            expected = CODEC.encoder(wave[None, None])[0]
            assert found.shape == expected.shape
            assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()

    with torch.no_grad():
        check()


@installed
@pytest.mark.slow
def test_it_computes_the_usual_tiles_and_leaves_others(by_openvino):
    first, inner = openvino_tiles.tile_lengths(CODEC.config)
    assert by_openvino.convolutions(torch.zeros(1, 1, first), 0).shape[-1] == 75
    assert by_openvino.convolutions(torch.zeros(1, 1, inner), 2).shape[-1] > 75
    assert by_openvino.convolutions(torch.zeros(1, 1, first + 1), 0) is None


@installed
@pytest.mark.slow
def test_features_of_much_audio_are_those_of_little(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    for label in ("a", "b"):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        soundfile.write(tmp_path / "sounds" / label / "1.wav", 0.1 * rng.standard_normal(90_000), 24_000)
    clips, _ = scan_folder(tmp_path / "sounds")
    plain = extract_features(clips, CONFIG, CODEC, tmp_path / "plain")
    monkeypatch.setattr(openvino_tiles, "MUCH_S", 0.0)
    made = extract_features(clips, CONFIG, CODEC, tmp_path / "openvino")
    assert Extractor(CONFIG, CODEC, audio_s=1.0).frontend.convolutions is not None
    found, expected = (np.array(each["input_features"][:], np.float32) for each in (made, plain))
    np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())


def test_little_audio_and_other_machines_do_without(monkeypatch):
    assert Extractor(CONFIG, CODEC, audio_s=30.0).frontend.convolutions is None
    monkeypatch.setattr(onednn_tiles, "ENOUGH_S", float("inf"))
    monkeypatch.setattr(openvino_tiles.importlib.util, "find_spec", lambda name: None)
    assert Extractor(CONFIG, CODEC, audio_s=1e6).frontend.convolutions is None


@installed
def test_in_bfloat16_it_is_near_and_left_alone_where_it_is_wrong(monkeypatch):
    wave = torch.from_numpy(0.1 * np.random.default_rng(0).standard_normal(100_000).astype(np.float32))
    config = feature_config("encodec_24khz", codec=CODEC, codec_dtype="bfloat16")
    made = frontend_of(config, CODEC)
    assert made.takes_convolutions
    first, _ = openvino_tiles.tile_lengths(CODEC.config)
    made.convolutions = openvino_tiles.openvino_convolutions(made.codec, made.dtype)
    # So narrow a codec is wrong in bfloat16 on some processors: then its tiles are left to PyTorch, and right again.
    with torch.no_grad():
        expected = CODEC.encoder(wave[None, None])[0]
    assert (made.latents([wave])[0] - expected).norm() <= 0.05 * expected.norm()
    monkeypatch.setattr(openvino_tiles, "error_of", lambda *_: 1.0)
    refused = openvino_tiles.openvino_convolutions(made.codec, made.dtype)
    assert refused(torch.zeros(1, 1, first), 0) is None
