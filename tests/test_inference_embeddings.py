"""Embeddings: HEAR's interface, even times, and pieces that are the whole."""

import numpy as np
import pytest
import torch
from small_models import save_small_model, small_codec, small_model

from hf_encls.audio import resample
from hf_encls.inference import embeddings as module
from hf_encls.inference.embeddings import (
    EmbeddingModel,
    get_scene_embeddings,
    get_timestamp_embeddings,
    load_model,
)

HEAR = ("load_model", "get_scene_embeddings", "get_timestamp_embeddings")

KINDS = {
    "log_mel": {},
    "encodec_24khz": {},
    "encodec_48khz": {},
    "encodec_48khz codec": {"codec_policy": "codec"},
    "encodec_24khz_codes": {"bandwidth": 3.0},
}


@pytest.fixture(scope="module", params=KINDS)
def model(request) -> EmbeddingModel:
    return EmbeddingModel(small_model(request.param.split()[0], window_s=0.4, **KINDS[request.param]))


def sounds(model: EmbeddingModel, seconds: float, count: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(count, round(seconds * model.sample_rate), generator=generator)


def test_sizes_and_rate(model):
    assert model.sample_rate in (16_000, 22_050, 32_000, 44_100, 48_000)
    audio = sounds(model, 1.3)
    scenes = get_scene_embeddings(audio, model)
    frames, times = get_timestamp_embeddings(audio, model)
    assert scenes.shape == (2, model.scene_embedding_size) and scenes.dtype == torch.float32
    assert frames.shape == (2, times.shape[1], model.timestamp_embedding_size)
    assert times.shape == (2, frames.shape[1]) and times.dtype == torch.float32
    assert torch.isfinite(frames).all()
    # HEAR advises 50 ms or less between timestamps; they rise, and lie in the sound.
    assert (times.diff(dim=1) <= 50).all() and times.min() >= 0 and times.max() <= 1300
    torch.testing.assert_close(scenes[:, : frames.shape[2]], frames.mean(dim=1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scenes[:, frames.shape[2] :], frames.std(dim=1, correction=0), atol=1e-4, rtol=1e-4)


def test_a_sound_alone_and_in_blocks_is_the_same(model, monkeypatch):
    audio = sounds(model, 2.7)
    frames, _ = get_timestamp_embeddings(audio, model)
    monkeypatch.setattr(module, "BLOCK_S", 0.31)
    alone, _ = get_timestamp_embeddings(audio[1:], model)
    torch.testing.assert_close(frames[1:], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("samples", [900, 51_360, 51_500])
def test_times_lie_in_the_sound(model, samples):
    frames, times = get_timestamp_embeddings(torch.rand(1, samples), model)
    assert frames.shape[1] == times.shape[1] >= 1
    assert times.min() >= 0 and times.max() <= 1000 * samples / model.sample_rate + 1e-4


def test_frames_are_the_codecs_latents():
    classifier = small_model("encodec_24khz", window_s=0.4)
    model = EmbeddingModel(classifier)
    audio = sounds(model, 1.0, count=1)
    frames, times = get_timestamp_embeddings(audio, model)
    wave = torch.from_numpy(resample(audio[0].numpy(), 48_000, 24_000))
    with torch.no_grad():
        latents = classifier.frontend.codec.encoder(wave[None, None])[0].T
    torch.testing.assert_close(frames[0], latents * classifier.feature_scale, atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(times[0].numpy(), 1000 * (np.arange(75) + 0.5) / 75, atol=1e-3)


def test_mel_frames_are_one_even_series():
    classifier = small_model("log_mel", window_s=0.4, hop_length=128)
    model = EmbeddingModel(classifier)
    assert model.sample_rate == 44_100
    audio = sounds(model, 0.5, count=1)
    frames, times = get_timestamp_embeddings(audio, model)
    assert frames.shape[1] == (22_050 - 512) // 128 + 1
    np.testing.assert_allclose(times.diff().numpy(), 1000 * 128 / 44_100, rtol=1e-3)
    # The 21st frame alone, from its own samples.
    own = audio[0, 20 * 128 : 20 * 128 + 512]
    power = torch.fft.rfft(own * torch.hamming_window(512)).abs().square()
    bands = 10 * (power @ classifier.frontend.filters).clamp_min(1e-10).log10()
    torch.testing.assert_close(frames[0, 20], bands * classifier.feature_scale, atol=1e-3, rtol=1e-4)


def test_hear_finds_its_names():
    import hf_encls.embeddings

    assert all(getattr(hf_encls.embeddings, name) is getattr(module, name) for name in HEAR)


def test_load_model_and_wrong_input(tmp_path):
    model = load_model(str(save_small_model(tmp_path / "m", "encodec_24khz", window_s=0.4)), device="cpu")
    assert (model.sample_rate, model.timestamp_embedding_size, model.scene_embedding_size) == (48_000, 16, 32)
    small_codec(24).save_pretrained(tmp_path / "codec")
    alone = load_model(str(tmp_path / "codec"), device="cpu")
    assert (alone.sample_rate, alone.timestamp_embedding_size) == (48_000, 16)
    with pytest.raises(ValueError, match="expected a checkpoint or a codec"):
        load_model(str(tmp_path))
    uneven = save_small_model(tmp_path / "uneven", "encodec_48khz", window_s=0.4, codec_policy="codec")
    with pytest.raises(ValueError, match="uneven: expected frames at even distances.* use a model with codec_policy"):
        load_model(str(uneven), device="cpu")
    for wrong in (torch.zeros(10), torch.zeros(1, 0), torch.zeros(1, 10, dtype=torch.int16), np.zeros((1, 10))):
        with pytest.raises(ValueError, match="n_sounds, n_samples"):
            get_scene_embeddings(wrong, model)
    with pytest.raises(ValueError, match="finite"):
        get_scene_embeddings(torch.full((1, 1000), torch.nan), model)
