"""The convolutions as oneDNN's graphs: the encoder's own latents, for much audio, where this PyTorch has them."""

import numpy as np
import pytest
import torch
from small_models import save_small_model, small_codec

from hf_encls.fast import onednn_tiles
from hf_encls.features.computing import Extractor
from hf_encls.features.extraction import feature_config
from hf_encls.features.frontends import frontend_of
from hf_encls.inference.pipeline import EnclsPipeline
from hf_encls.model.encoding_encls import tile_lengths

pytestmark = pytest.mark.skipif(not onednn_tiles.is_worth_it(1e6), reason="this PyTorch has no graphs of oneDNN")
CODEC = small_codec(24)
FIRST, INNER = tile_lengths(CODEC.config)
FRAMES = (INNER - FIRST) // CODEC.config.hop_length


def noise(length: int) -> torch.Tensor:
    return torch.from_numpy(0.1 * np.random.default_rng(length).standard_normal(length).astype(np.float32))


@pytest.fixture(scope="module")
def by_onednn():
    before = torch.jit.onednn_fusion_enabled()
    made = frontend_of(feature_config("encodec_24khz", codec=CODEC), CODEC)
    made.convolutions = onednn_tiles.onednn_convolutions(made.codec)
    assert torch.jit.onednn_fusion_enabled() == before  # the setting is the whole process's
    return made


# A clip as long as a tile with its context has none: its start is reflected.
@pytest.mark.parametrize("lengths", [[INNER], [FIRST, 3 * FIRST], [2 * FIRST + 7, 100, 100_001]])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_latents_are_the_encoders(by_onednn, lengths, mode):
    with mode():
        for wave, found in zip(map(noise, lengths), by_onednn.latents(list(map(noise, lengths))), strict=True):
            expected = CODEC.encoder(wave[None, None])[0]
            assert found.shape == expected.shape
            assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_it_computes_the_usual_tiles_and_leaves_others(by_onednn):
    assert by_onednn.convolutions(torch.zeros(1, 1, FIRST), 0).shape[-1] == FIRST // CODEC.config.hop_length
    assert by_onednn.convolutions(torch.zeros(1, 1, INNER), FRAMES).shape[-1] == INNER // CODEC.config.hop_length
    for length, frames in ((INNER, 0), (FIRST, FRAMES), (FIRST + 1, 0)):
        assert by_onednn.convolutions(torch.zeros(1, 1, length), frames) is None


@pytest.mark.parametrize(("length", "frames"), [(FIRST, 0), (INNER, FRAMES)])
def test_no_elu_is_left_to_pytorch(by_onednn, length, frames):
    tile = noise(length)[None, None]
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        by_onednn.convolutions(tile, frames)
    names = {event.name for event in profile.events()}
    assert "aten::elu" not in names and any(name.startswith("LlgaPartition") for name in names)


def test_in_bfloat16_it_is_near_and_left_alone_where_it_is_wrong(monkeypatch):
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this machine has no bfloat16")
    wave = noise(100_000)
    made = frontend_of(feature_config("encodec_24khz", codec=CODEC, codec_dtype="bfloat16"), CODEC)
    made.convolutions = onednn_tiles.onednn_convolutions(made.codec, made.dtype)
    with torch.no_grad():
        expected = CODEC.encoder(wave[None, None])[0]
    # So narrow a codec is wrong in bfloat16 on some processors: then its tiles are left to PyTorch, and right again.
    assert (made.latents([wave])[0] - expected).norm() <= 0.05 * expected.norm()
    monkeypatch.setattr(onednn_tiles, "_KEPT", {})
    monkeypatch.setattr(onednn_tiles, "error_of", lambda *_: 1.0)
    refused = onednn_tiles.onednn_convolutions(made.codec, made.dtype)
    assert refused(torch.zeros(1, 1, FIRST), 0) is None and refused(torch.zeros(1, 1, INNER), FRAMES) is None


def test_graphs_of_one_codec_are_made_once(by_onednn, monkeypatch):
    monkeypatch.setattr(onednn_tiles, "_make", None)
    again = frontend_of(feature_config("encodec_24khz", codec=CODEC), CODEC)
    assert onednn_tiles.onednn_convolutions(again.codec) is by_onednn.convolutions


def test_much_audio_has_it_and_little_does_without(monkeypatch):
    config = feature_config("encodec_24khz", codec=CODEC)
    asked = []
    monkeypatch.setattr(onednn_tiles, "onednn_convolutions", lambda codec, dtype: asked.append(dtype) or len)
    assert Extractor(config, CODEC, "cpu", audio_s=onednn_tiles.ENOUGH_S - 1).frontend.convolutions is None
    assert Extractor(config, CODEC, "cpu", audio_s=onednn_tiles.ENOUGH_S).frontend.convolutions is len
    assert asked == [torch.float32]


def test_a_pipeline_takes_them_once_it_has_heard_enough(tmp_path, monkeypatch):
    monkeypatch.setattr(onednn_tiles, "ENOUGH_S", 5.0)
    model = save_small_model(tmp_path / "model", "encodec_24khz", window_s=0.4)
    clip, long = noise(3 * FIRST).numpy(), noise(70 * FIRST).numpy()

    def pipe() -> EnclsPipeline:
        return EnclsPipeline.from_pretrained(model, device="cpu", top_k=None)

    def scores(answer: list[dict]) -> list[float]:
        return [each["score"] for each in sorted(answer, key=lambda each: each["label"])]

    short = pipe()
    before = scores(short(clip))
    assert short._frontend.convolutions is None
    after = [scores(short(clip)) for _ in range(2)]
    graphs = short._frontend.convolutions
    assert graphs(torch.zeros(1, 1, FIRST), 0) is not None
    np.testing.assert_allclose(after, [before, before], atol=1e-5)
    at_once = pipe()
    assert at_once(long) and at_once._frontend.convolutions is graphs  # a long one is enough by itself
    assert at_once.model.frontend.convolutions is None  # which somebody may save, or use elsewhere


def test_a_pipeline_of_mel_needs_none(tmp_path, monkeypatch):
    monkeypatch.setattr(onednn_tiles, "ENOUGH_S", 0.0)
    pipe = EnclsPipeline.from_pretrained(save_small_model(tmp_path / "model", "log_mel", window_s=0.4), device="cpu")
    assert pipe(noise(20_000).numpy()) and pipe._frontend.convolutions is None


def test_a_pipeline_follows_its_codecs_weights_and_precision(tmp_path, monkeypatch):
    monkeypatch.setattr(onednn_tiles, "ENOUGH_S", 0.0)
    model = save_small_model(tmp_path / "model", "encodec_24khz", window_s=0.4)
    pipe = EnclsPipeline.from_pretrained(model, device="cpu", top_k=None)
    clip = noise(3 * FIRST)
    graphs = pipe._frontend.convolutions
    assert graphs is not None and pipe._frontend.convolutions is graphs
    with torch.no_grad():
        for weight in pipe.model.frontend.codec.encoder.parameters():
            weight.mul_(0.8)
        found = pipe._frontend.latents([clip])[0]
        expected = pipe.model.frontend.codec.encoder(clip[None, None])[0]
    assert pipe._frontend.convolutions is not graphs
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
