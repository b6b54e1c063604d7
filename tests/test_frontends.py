"""Features: shapes by hand, mel against librosa, latents against the codec itself."""

from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file
from small_models import small_codec
from transformers import EncodecConfig, EncodecModel

from hf_encls.commands.feature_arguments import FeatureArguments
from hf_encls.commands.inputs import check_options
from hf_encls.features.extraction import checked_config, feature_config
from hf_encls.features.frontends import frontend_of
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.model.mel_encls import LogMel, mel_filters


def noise(num_samples: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(num_samples, generator=torch.Generator().manual_seed(seed)) * 0.1


@pytest.mark.parametrize(
    ("settings", "frames"),
    [
        ({"features": "encodec_24khz"}, 75),
        ({"features": "encodec_48khz", "sampling_rate": 48_000}, 150),
        ({"features": "mel", "sampling_rate": 44_100}, 341),  # equation (1): (44100 - 512) // 128 + 1
        ({"features": "log_mel", "sampling_rate": 44_100, "hop_length": 256}, 171),
        ({"features": "mel", "sampling_rate": 22_050}, 169),
        ({"features": "encodec_24khz", "window_s": 2.0}, 150),
    ],
)
def test_frames_of_a_window(settings, frames):
    config = EnclsConfig(**settings)
    assert (config.num_bands, config.num_frames) == (128, frames)


@pytest.mark.parametrize(("features", "khz", "frames"), [("encodec_24khz", 24, 75), ("encodec_48khz", 48, 150)])
def test_shapes_of_real_size_latents(features, khz, frames):
    shape = {"num_filters": 2} if khz == 24 else {
        "num_filters": 2, "sampling_rate": 48_000, "audio_channels": 2, "normalize": True, "chunk_length_s": 1.0,
        "overlap": 0.01, "use_causal_conv": False, "norm_type": "time_group_norm", "target_bandwidths": [6.0],
    }  # fmt: skip
    codec = EncodecModel(EncodecConfig(**shape)).eval()
    frontend = frontend_of(feature_config(features, codec=codec), codec)
    assert frontend.windows([noise(khz * 1000)])[0].shape == (1, 128, frames)
    assert frontend.windows([noise(khz * 5000)])[0].shape == (5, 128, frames)
    assert frontend.windows([noise(100)])[0].shape == (1, 128, frames)


@pytest.mark.parametrize("features", ["mel", "log_mel"])
@pytest.mark.parametrize("rate", [22_050, 44_100])
def test_mel_is_librosas(features, rate):
    frontend = frontend_of(feature_config(features).__class__(features=features, sampling_rate=rate), None)
    clip = noise(2 * rate)
    windows = frontend.windows([clip])[0].numpy()
    for number, window in enumerate(windows):
        power = librosa.feature.melspectrogram(
            y=clip.numpy()[number * rate : (number + 1) * rate],
            sr=rate, n_fft=512, hop_length=128, window="hamming", center=False, n_mels=128, power=2.0,
        )  # fmt: skip
        if features == "mel":
            np.testing.assert_allclose(window, power, rtol=1e-4, atol=power.max() * 1e-7)
        else:
            np.testing.assert_allclose(window, librosa.power_to_db(power, amin=1e-10, top_db=None), atol=1e-3)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("rate", [16_000, 22_050, 11_025])
@pytest.mark.parametrize("n_fft", [512, 1024, 513])
def test_mel_filters_are_librosas(rate, n_fft):
    for htk, norm in ((False, "slaney"), (True, None)):
        theirs = librosa.filters.mel(sr=rate, n_fft=n_fft, n_mels=64, htk=htk, norm=norm).T
        np.testing.assert_allclose(mel_filters(n_fft, 64, rate, htk=htk), theirs, rtol=1e-5, atol=theirs.max() * 1e-6)


def test_mel_filters_are_those_of_published_checkpoints():
    folder = Path(__file__).with_name("data") / "v0_1" / "checkpoints" / "mel"
    config = EnclsConfig.from_pretrained(folder)
    published = load_file(folder / "model.safetensors")["frontend.filters"]
    made = mel_filters(config.n_fft, config.num_bands, config.sampling_rate)
    assert torch.equal(torch.from_numpy(made).float(), published)


def test_silence_is_minus_100_decibels():
    frontend = frontend_of(EnclsConfig(features="log_mel", sampling_rate=22_050), None)
    assert torch.all(frontend.windows([torch.zeros(22_050)])[0] == -100)


@pytest.mark.parametrize("num_samples", [24_000, 23_999, 24_001, 61_234, 700])
def test_the_quantizer_finds_the_codecs_codes_in_our_latents_24khz(num_samples):
    codec, clip = small_codec(24), noise(num_samples)
    config = feature_config("encodec_24khz", codec=codec, window_s=1.0)
    latents = frontend_of(config, codec).latents([clip])[0]
    expected = codec.encode(clip[None, None], bandwidth=6.0).audio_codes[0, 0]  # (K, F)
    assert torch.equal(codec.quantizer.encode(latents[None], 6.0)[:, 0], expected)


@pytest.mark.parametrize("num_samples", [48_000, 47_999, 240_000, 100_001])
def test_the_quantizer_finds_the_codecs_codes_in_our_latents_48khz(num_samples):
    codec, clip = small_codec(48), noise(num_samples)
    config = feature_config("encodec_48khz", codec=codec, codec_policy="codec")
    latents = frontend_of(config, codec).latents([clip])[0]
    output = codec.encode(clip.expand(1, 2, -1), bandwidth=6.0)
    chunks = list(output.audio_codes[:, 0])
    chunks[-1] = chunks[-1][:, : chunks[-1].shape[-1] - output.last_frame_pad_length]
    assert torch.equal(codec.quantizer.encode(latents[None], 6.0)[:, 0], torch.cat(chunks, dim=-1))


def test_frames_under_each_48khz_policy():
    codec, clip = small_codec(48), noise(5 * 48_000)
    frames = {}
    for policy in ("contiguous", "codec", "whole"):
        config = feature_config("encodec_48khz", codec=codec, codec_policy=policy)
        frames[policy] = frontend_of(config, codec).latents([clip])[0].shape[-1]
    assert frames == {"contiguous": 750, "codec": 758, "whole": 750}


@pytest.mark.parametrize(
    ("features", "khz", "policy"),
    [
        ("encodec_24khz", 24, "whole"),
        ("encodec_48khz", 48, "contiguous"),
        ("encodec_48khz", 48, "codec"),
        ("encodec_48khz", 48, "whole"),
        ("log_mel", None, None),
    ],
)
def test_batches_and_streams_give_what_one_clip_gives(features, khz, policy):
    codec = small_codec(khz) if khz else None
    config = feature_config(features, codec=codec, codec_policy=policy, window_s=0.6, step_s=0.4)
    frontend = frontend_of(config, codec)
    rate = config.sampling_rate
    clips = [noise(round(seconds * rate), seed) for seed, seconds in enumerate((0.05, 1.0, 2.71, 26.3))]
    together = frontend.windows(clips)
    for clip, windows in zip(clips, together, strict=True):
        alone = frontend.windows([clip])[0]
        torch.testing.assert_close(windows, alone, atol=1e-5, rtol=1e-5)
        pieces = torch.cat(list(frontend.stream(iter(clip.split(rate // 3)))))
        torch.testing.assert_close(pieces, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("num_samples", "policy"), [(1, "whole"), (1, "codec"), (48_001, "contiguous")])
def test_a_chunk_of_one_sample_is_encoded(num_samples, policy, monkeypatch):
    codec, clip = small_codec(48), noise(num_samples)
    config = feature_config("encodec_48khz", codec=codec, codec_policy=policy)
    found = frontend_of(config, codec).latents([clip])[0]
    # PyTorch's layer of its norm refuses a single value, as if it were there to train.
    monkeypatch.setattr(torch.nn.functional, "_verify_batch_size", lambda size: None)
    last = clip[-1:] / (clip[-1:].abs() + 1e-8)
    with torch.no_grad():
        expected = codec.encoder(last.expand(1, 2, 1))[0]
    assert found.shape[1] == -(-num_samples // 320) and expected.shape[1] == 1
    torch.testing.assert_close(found[:, -1:], expected, atol=1e-5, rtol=1e-4)


def test_windows_are_rounded_to_whole_frames_and_it_is_said(caplog):
    config = feature_config("encodec_24khz", codec=small_codec(24), window_s=0.9999, step_s=0.5)
    assert config.window_s == 1.0 and config.num_frames == 75
    assert config.step_s == pytest.approx(38 / 75) and config.step_units == 38
    assert "0.9999 is not a whole number of frames: rounded to 1" in caplog.text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window_s": 0.1}, r"too short for the network: 8 frames, it needs 10 \(0.133 s or more\)"),
        ({"window_s": -1.0}, "above 0"),
        ({"features": "encodec"}, "expected features to be latents, codes, mel"),
        ({"features": "encodec_48khz"}, "needs sampling_rate=48000"),
        ({"codec_policy": "overlap"}, "whole, contiguous, codec"),
        ({"features": "mel", "codec_policy": "whole"}, "has no codec"),
        ({"standardization": "batch"}, "band or none"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(StrictDataclassError, match=message):
        EnclsConfig(**settings)


def test_a_codec_of_another_rate_or_size_is_refused():
    with pytest.raises(ValueError, match="48000 Hz"):
        frontend_of(feature_config("encodec_24khz", codec=small_codec(48)), small_codec(48))
    with pytest.raises(ValueError, match="chunk_length_s"):
        frontend_of(feature_config("encodec_24khz", codec=small_codec(24), codec_policy="contiguous"), None)
    with pytest.raises(ValueError, match="needs a codec"):
        feature_config("encodec_24khz")
    with pytest.raises(ValueError, match="too short for the network"):
        feature_config("mel", window_s=0.01)


def test_a_floor_stands_for_everything_softer_and_nothing_else_changes(tmp_path):
    sound = noise(44_100)
    sound[:12_000] *= 1e-3
    usual = feature_config("log_mel", window_s=0.5)
    floored = feature_config("log_mel", window_s=0.5, floor_db=-60.0)
    (whole,), (cut,) = LogMel(usual).windows([sound]), LogMel(floored).windows([sound])
    assert whole.min() < -61 and cut.min() == pytest.approx(-60)
    torch.testing.assert_close(cut, whole.clamp_min(-60.0), atol=1e-4, rtol=0)
    torch.testing.assert_close(LogMel(floored).windows_in_graph(sound[None])[0], cut, atol=1e-2, rtol=0)
    torch.testing.assert_close(torch.cat(list(LogMel(floored).stream([sound]))), cut, atol=1e-4, rtol=0)
    floored.save_pretrained(tmp_path)
    assert EnclsConfig.from_pretrained(tmp_path).identity() == floored.identity()
    assert feature_config("log_mel", window_s=0.5, floor_db=-60).floor_db == -60.0  # a whole number is a number
    stored = torch.full((1, 2, 3), -41.7).half().float()  # a floor that half precision does not have
    assert torch.equal(LogMel.louder(stored, torch.full((1, 1, 1), 6.0), -41.7), stored)
    # What was made before has no such setting, and keeps its name in caches.
    assert "floor_db" not in usual.identity() and floored.identity() == usual.identity() | {"floor_db": -60.0}


def test_a_floor_is_of_decibels_alone():
    with pytest.raises(ValueError, match="floor_db is about log_mel and was given with mel: leave it out"):
        checked_config(features="mel", floor_db=-50.0)
    with pytest.raises(ValueError, match="expected floor_db from -100 to 100, found -200"):
        checked_config(features="log_mel", floor_db=-200.0)
    with pytest.raises(ValueError, match="expected floor_db from -100 to 100"):  # before a file is read
        check_options(FeatureArguments(data_dir="nowhere", features="log_mel", floor_db=-200.0))
    with pytest.raises(ValueError, match="--floor_db is about log_mel and was given, but not with mel"):
        check_options(FeatureArguments(data_dir="nowhere", features="mel", floor_db=-50.0))
