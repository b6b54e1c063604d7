"""Each fast path gives what the plain one gives, on random lengths: the packed and tiled codec, streams, mel, windows."""

import copy
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import small_codec, small_model
from torch import nn
from transformers import EncodecConfig, EncodecModel

from hf_encls.features.extraction import feature_config
from hf_encls.features.frontends import frontend_of
from hf_encls.model import encoding_encls, layers_encls, packed_encls, tiles_encls, together_encls
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.model.modeling_encls import EnclsForAudioClassification
from hf_encls.model.windows_encls import cut, cut_together, window_index

TOLERANCE = 1e-5  # relative to the largest latent, in float32
CODECS = {khz: small_codec(khz) for khz in (24, 48)}
examples = settings(max_examples=12, deadline=None, derandomize=True)


def noise(length: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(0.1 * np.random.default_rng(seed).standard_normal(length).astype(np.float32))


def plain_latents(codec: EncodecModel, wave: torch.Tensor, policy: str) -> torch.Tensor:
    """What transformers' own encoder makes of a clip (N,), chunk by chunk as the policy says: (C, F)."""
    config = codec.config
    size = len(wave) if policy == "whole" else config.chunk_length
    stride = config.chunk_stride if policy == "codec" else size
    parts = []
    for offset in range(0, len(wave), stride):
        chunk = wave[offset : offset + size]
        if config.normalize:
            chunk = chunk / (chunk.square().mean().sqrt() + 1e-8)
        with torch.no_grad():
            parts.append(codec.encoder(chunk.expand(1, config.audio_channels, -1))[0])
    return torch.cat(parts, dim=-1)


def assert_near(found: torch.Tensor, expected: torch.Tensor, tolerance: float = TOLERANCE) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


def frontend(khz: int, policy: str, dtype: str = "float32"):
    codec = CODECS[khz]
    config = feature_config(f"encodec_{khz}khz", codec=codec, codec_policy=policy, codec_dtype=dtype)
    return frontend_of(config, codec)


# Around the lengths where something changes: nothing but a start, one frame, one tile, a tile and a half, several tiles.
LENGTHS_24 = st.lists(
    st.one_of(st.integers(1, 3_000), st.integers(23_000, 38_000), st.integers(60_000, 130_000)), min_size=1, max_size=4
)


@examples
@given(lengths=LENGTHS_24)
def test_tiled_24khz_latents_are_the_encoders(lengths):
    waves = [noise(length, seed) for seed, length in enumerate(lengths)]
    for wave, found in zip(waves, frontend(24, "whole").latents(waves), strict=True):
        assert_near(found, plain_latents(CODECS[24], wave, "whole"))


@pytest.mark.parametrize("policy", ["contiguous", "codec", "whole"])
@settings(max_examples=8, deadline=None, derandomize=True)
@given(lengths=st.lists(st.integers(1_000, 150_000), min_size=1, max_size=3))
def test_48khz_latents_are_the_encoders(policy, lengths):
    waves = [noise(length, seed) for seed, length in enumerate(lengths)]
    for wave, found in zip(waves, frontend(48, policy).latents(waves), strict=True):
        assert_near(found, plain_latents(CODECS[48], wave, policy))


@examples
@given(length=st.integers(1, 200_000), data=st.data())
def test_a_stream_of_24khz_is_the_whole(length, data):
    wave = noise(length)
    ends = sorted(data.draw(st.lists(st.integers(1, length), max_size=6)))
    blocks = [wave[a:b] for a, b in zip([0, *ends], [*ends, length], strict=True) if b > a]
    codec = CODECS[24]
    pieces = list(encoding_encls.stream_causal(codec, iter(blocks), torch.float32, segment_s=1.5))
    assert_near(torch.cat(pieces, dim=-1), plain_latents(codec, wave, "whole"))


@settings(max_examples=10, deadline=None, derandomize=True)
@given(length=st.integers(2_000, 60_000), khz=st.sampled_from([24, 48]))
def test_bfloat16_is_near(length, khz):
    policy = "whole" if khz == 24 else "contiguous"
    wave = noise(length)
    found = frontend(khz, policy, "bfloat16").latents([wave])[0]
    expected = plain_latents(CODECS[khz], wave, policy)
    assert found.dtype == torch.float32
    assert (found - expected).norm() <= 0.05 * expected.norm()


def test_without_the_packed_operators_the_layers_are_plain(monkeypatch):
    monkeypatch.setattr(layers_encls, "_can_pack", lambda device: False)
    for khz, policy in ((24, "whole"), (48, "contiguous")):
        codec = small_codec(khz)
        config = feature_config(f"encodec_{khz}khz", codec=codec, codec_policy=policy)
        wave = noise(70_000)
        for dtype, tolerance in (("float32", TOLERANCE), ("bfloat16", 0.1)):
            config.codec_dtype = dtype
            assert_near(frontend_of(config, codec).latents([wave])[0], plain_latents(codec, wave, policy), tolerance)


def make_wrong(monkeypatch, packs: bool, kernel: int) -> None:
    """Convolutions with this kernel turn their results round in reduced precision, as some processors' do."""
    if packs and not (layers_encls._can_pack(torch.device("cpu")) and layers_encls._packs_in(torch.bfloat16)):
        pytest.skip("this machine has no packed convolutions in bfloat16")
    monkeypatch.setattr(layers_encls, "_can_pack", lambda device: packs)
    owner, name = (layers_encls.PackedConv1d, "forward") if packs else (nn.Conv1d, "_conv_forward")
    right = getattr(owner, name)

    def wrong(conv, *inputs):
        out = right(conv, *inputs)
        return -out if conv.kernel_size == (kernel,) and out.dtype != torch.float32 else out

    monkeypatch.setattr(owner, name, wrong)


@pytest.fixture
def warned(recwarn):
    """The warnings about reduced precision so far."""
    return lambda: [str(each.message) for each in recwarn.list if each.category is RuntimeWarning]


@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize(("khz", "policy"), [(24, "whole"), (48, "contiguous"), (48, "whole")])
def test_a_layer_that_is_wrong_in_bfloat16_computes_in_float32(packs, khz, policy, monkeypatch, warned):
    make_wrong(monkeypatch, packs, kernel=8)
    codec = small_codec(khz)
    config = feature_config(f"encodec_{khz}khz", codec=codec, codec_policy=policy, codec_dtype="bfloat16")
    prepared = frontend_of(config, codec)
    for wave in (noise(70_000), noise(3_000), noise(20_011)):
        expected = plain_latents(codec, wave, policy)
        assert (prepared.latents([wave])[0] - expected).norm() <= 0.05 * expected.norm()
        streamed = torch.cat(list(prepared.stream(iter(wave.split(9_000)))))
        torch.testing.assert_close(streamed, prepared.windows([wave])[0], rtol=0.05, atol=0.05 * expected.std().item())
    assert len(warned()) == 1, "one warning, whatever the number of layers, clips and lengths"
    assert "encoder.layers.6 (off by 2)" in warned()[0] and "bfloat16" in warned()[0]


needs_packs = pytest.mark.skipif(
    not (layers_encls._can_pack(torch.device("cpu")) and layers_encls._packs_in(torch.bfloat16)),
    reason="this machine has no packed layers in bfloat16",
)


@needs_packs
def test_the_lstm_is_in_bfloat16_only_where_it_is_right(monkeypatch, warned):
    codec, wave = small_codec(24), noise(30_000)
    lstm = encoding_encls.encoder_layers(codec, torch.bfloat16)[layers_encls.lstm_position(codec.encoder.layers)]
    assert next(lstm.parameters()).dtype == torch.bfloat16 and next(codec.parameters()).dtype == torch.float32
    before = len(warned())  # the convolutions of so narrow a codec are wrong on some processors
    right = layers_encls.ReducedLSTM.forward

    def wrong(self, *inputs):
        out, state = right(self, *inputs)
        return -out, state

    monkeypatch.setattr(layers_encls.ReducedLSTM, "forward", wrong)
    codec = small_codec(24)
    config = feature_config("encodec_24khz", codec=codec, codec_dtype="bfloat16")
    expected = plain_latents(codec, wave, "whole")
    assert (frontend_of(config, codec).latents([wave])[0] - expected).norm() <= 0.05 * expected.norm()
    position = layers_encls.lstm_position(codec.encoder.layers)
    assert len(warned()) > before and f"encoder.layers.{position} (off by 2)" in warned()[-1]


@pytest.mark.parametrize("inplace", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_elu_of_prepared_layers_is_pytorchs(dtype, inplace):
    values = torch.cat(
        [torch.randn(2, 40_000, 8) * 3, torch.tensor([0.0, -1e-7, -200.0, 1e30]).expand(2, 2, 4).reshape(2, 1, 8)], 1
    )
    values = values.to(dtype).transpose(1, 2)
    expected = nn.functional.elu(values)
    found = layers_encls.Elu(nn.ELU(inplace=inplace))(values)
    assert (found is values) == inplace and found.stride() == expected.stride()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7 if dtype == torch.float32 else 0)


@pytest.mark.parametrize(("dtype", "name"), [(torch.bfloat16, "bf16"), (torch.float16, "fp16")])
def test_a_processor_that_packs_float32_alone_has_plain_layers(dtype, name, monkeypatch):
    monkeypatch.setattr(torch.ops.mkldnn, f"_is_mkldnn_{name}_supported", lambda: False)
    made = layers_encls.encoder_layers(small_codec(24), dtype)
    packed = [i for i, layer in enumerate(made) for m in layer.modules() if isinstance(m, layers_encls.PackedConv1d)]
    assert not [i for i in packed if i < layers_encls.lstm_position(made)]


def test_every_layer_may_be_wrong_in_float16(monkeypatch, warned):
    monkeypatch.setattr(layers_encls, "_can_pack", lambda device: False)
    right = nn.Conv1d._conv_forward

    def wrong(conv, hidden, weight, bias):  # right in float32, and no numbers in float16, which some processors lack
        if hidden.dtype == torch.float16:
            return torch.full_like(right(conv, hidden.float(), weight.float(), bias.float()), torch.nan).half()
        return right(conv, hidden, weight, bias)

    monkeypatch.setattr(nn.Conv1d, "_conv_forward", wrong)
    codec, wave = small_codec(24), noise(30_000)
    found = encoding_encls.encode_causal(codec, [wave], torch.float16)[0]
    expected = plain_latents(codec, wave, "whole")
    assert (found - expected).norm() <= 0.05 * expected.norm()
    assert len(warned()) == 1
    assert "float16" in warned()[0] and "encoder.layers.1.block.3 (off by inf)" in warned()[0]


def test_float32_is_not_checked(monkeypatch, warned):
    monkeypatch.setattr(layers_encls, "error_of", None)
    encoding_encls.encode_causal(small_codec(24), [noise(30_000)], torch.float32)
    assert not warned()


def test_a_check_leaves_random_numbers_alone():
    codec, states = small_codec(24), []
    for dtype in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        with torch.no_grad():
            layers_encls._prepare(codec.encoder, 24_000, dtype, packs=False)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


@pytest.mark.parametrize("packs", [True, False])
@pytest.mark.parametrize("features", ["encodec_24khz", "encodec_24khz_codes", "encodec_48khz", "log_mel"])
def test_autocast_does_not_change_a_frontend(packs, features, monkeypatch, warned):
    make_wrong(monkeypatch, packs, kernel=8)
    model = small_model(features)
    waves = torch.stack([noise(60_000, seed) for seed in (0, 1)])
    expected = model.windows(waves)
    with torch.autocast("cpu", torch.bfloat16):
        model.train()(input_values=waves, labels=torch.tensor([0, 1])).loss.backward()
        found = model.eval().windows(waves)
        streamed = torch.cat(list(model.frontend.stream(iter(waves[0].split(7_000)))))
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    torch.testing.assert_close(streamed, expected[0], rtol=1e-4, atol=1e-4)
    assert not warned()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_loaded_checkpoint_on_bfloat16_latents_is_checked(dtype, tmp_path, monkeypatch, warned):
    model = small_model("encodec_24khz", codec_dtype="bfloat16")
    model.save_pretrained(tmp_path)
    wave = noise(60_000)[None]
    codec = model.frontend.codec
    expected = cut(plain_latents(codec, wave[0], "whole"), model.config.window_units, model.config.step_units)
    make_wrong(monkeypatch, False, kernel=8)
    loaded = EnclsForAudioClassification.from_pretrained(tmp_path, dtype=dtype).eval()
    with torch.no_grad():
        assert (loaded.windows(wave)[0] - expected).norm() <= 0.05 * expected.norm()
    assert len(warned()) == 1 and "encoder.layers.6" in warned()[0]


def test_paddings_of_prepared_layers_are_plain_numbers():
    codec = small_codec(24)
    with torch.no_grad():
        prepared = [*layers_encls._prepare(codec.encoder, 24_000, torch.float32, packs=True), *_plain_layers(codec)]
    convolutions = [m for layer in prepared for m in layer.modules() if hasattr(m, "padding_total")]
    assert len(convolutions) == 36
    for each in convolutions:
        assert {type(getattr(each, name)) for name in ("stride", "kernel_size", "padding_total")} == {int}
        assert type(each._get_extra_padding_for_conv1d(torch.zeros(1, 1, 77))) is int
    assert torch.is_tensor(codec.encoder.layers[0].padding_total)


def _plain_layers(codec):
    with torch.no_grad():
        return layers_encls._prepare(codec.encoder, 24_000, torch.float32, packs=False)


@examples
@given(length=st.integers(1, 5000), position=st.sampled_from([0, 3, 6, 9, 12]))
def test_extra_padding_is_the_codecs(length, position):
    original = CODECS[24].encoder.layers[position]
    hidden = torch.zeros(1, 1, length)
    prepared = _plain_layers(CODECS[24])[position]
    assert prepared._get_extra_padding_for_conv1d(hidden) == int(original._get_extra_padding_for_conv1d(hidden))


def test_float32_on_an_accelerator_is_not_tf32():
    cuda, cudnn = torch.device("cuda"), torch.backends.cudnn
    before = cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision, cudnn.allow_tf32
    for name, expected in (("float32", "ieee"), ("tf32", "tf32"), ("bfloat16", before[0])):
        with encoding_encls.precision(name, cuda):
            assert (cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision) == (expected, expected)
            assert cudnn.allow_tf32 == (expected == "tf32")
        assert (cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision, cudnn.allow_tf32) == before


def test_tf32_is_float32_on_a_cpu():
    wave = noise(30_000)
    one, other = (frontend(24, "whole", dtype).latents([wave])[0] for dtype in ("float32", "tf32"))
    assert torch.equal(one, other)


def test_the_full_size_architecture():
    torch.manual_seed(0)
    codec = EncodecModel(EncodecConfig()).eval()
    wave = noise(40_000)
    found = encoding_encls.encode_causal(codec, [wave], torch.float32)[0]
    assert_near(found, plain_latents(codec, wave, "whole"))
    # What TRAPS of this architecture say: 478 samples before the LSTM.
    assert encoding_encls.receptive_field(codec.config) <= 640


def test_new_weights_are_seen():
    codec = small_codec(24)
    wave = noise(30_000)
    before = encoding_encls.encode_causal(codec, [wave], torch.float32)[0]
    codec.load_state_dict(small_codec(24, seed=1).state_dict())
    after = encoding_encls.encode_causal(codec, [wave], torch.float32)[0]
    assert_near(after, plain_latents(codec, wave, "whole"))
    assert not torch.allclose(before, after)


LENGTHS = [1, 100, 319, 321, 640, 641, 959, 960, 961, 1281, 24_000, 24_001, 35_999, 36_001, 24_000, 61_234, 90_111]


def test_tiles_have_few_lengths_and_are_what_they_were(monkeypatch):
    waves = [noise(length, length) for length in [*LENGTHS, *range(13_000, 24_000, 997)]]
    shapes = set()
    through, through_filled = encoding_encls.through, encoding_encls.through_filled
    monkeypatch.setattr(encoding_encls, "through", lambda layers, x: (shapes.add(x.shape), through(layers, x))[1])
    filled = lambda layers, x, own: (shapes.add(x.shape), through_filled(layers, x, own))[1]  # noqa: E731
    monkeypatch.setattr(encoding_encls, "through_filled", filled)
    for wave, found in zip(waves, frontend(24, "whole").latents(waves), strict=True):
        assert_near(found, plain_latents(CODECS[24], wave, "whole"))
    tiles = {shape[-1] for shape in shapes if shape[1] == 1 and shape[-1] > 1600}
    assert len(tiles) <= 2 * (tiles_encls.LENGTHS + 1)


@pytest.mark.parametrize("size", [1, 4, 512])
def test_few_large_operations_make_the_same(monkeypatch, size):
    monkeypatch.setattr(together_encls, "batch_size", lambda device: size)
    monkeypatch.setattr(together_encls, "side_by_side", lambda device: size)
    for lengths in (LENGTHS, [48_000] * 3, [100], [24_000, 30_000]):
        waves = [noise(length, length + i) for i, length in enumerate(lengths)]
        for wave, found in zip(waves, together_encls.encode_together(CODECS[24], waves, torch.float32), strict=True):
            assert_near(found, plain_latents(CODECS[24], wave, "whole"))


def test_clips_are_cut_together_as_one_by_one():
    clips = [torch.randn(4, length) for length in (75, 150, 151, 75, 30, 150)]
    for window, step in ((75, 75), (75, 40), (20, 50)):
        for clip, found in zip(clips, cut_together(clips, window, step), strict=True):
            assert torch.equal(found, cut(clip, window, step))


def test_tiles_follow_the_free_memory_of_an_accelerator(monkeypatch):
    device = torch.device("cuda")
    for free_gib, expected in ((0, 8), (6, 32), (140, 512)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free_gib: (free << 30, 1 << 40))
        assert encoding_encls.batch_size(device) == expected


@pytest.mark.parametrize("size", [1, 3, 8, 512])
def test_any_number_of_tiles_in_a_pass_gives_the_same(monkeypatch, size):
    monkeypatch.setattr(encoding_encls, "batch_size", lambda device: size)
    waves = [noise(length, length) for length in (100_000, 24_000, 61_000, 5_000)]
    for wave, found in zip(waves, frontend(24, "whole").latents(waves), strict=True):
        assert_near(found, plain_latents(CODECS[24], wave, "whole"))


@examples
@given(
    length=st.integers(600, 60_000),
    rate=st.sampled_from([16_000, 22_050, 44_100]),
    kind=st.sampled_from(["mel", "log_mel"]),
    window_s=st.sampled_from([0.2, 0.37, 1.0]),
    hop=st.sampled_from([128, 256]),
)
def test_mel_is_the_full_matrix_product(length, rate, kind, window_s, hop):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # empty bands
        config = EnclsConfig(features=kind, sampling_rate=rate, window_s=window_s, step_s=window_s / 2, hop_length=hop)
        mel = frontend_of(config, None)
    wave = noise(length)
    found = mel.windows([wave])[0].double()
    pieces = wave[window_index(length, config.window_samples, config.step_samples)].double()
    frames = pieces.unfold(-1, 512, hop) * mel.taper.double()
    expected = (torch.fft.rfft(frames).abs().square() @ mel.filters.double()).transpose(1, 2)
    if kind == "log_mel":
        expected = 10 * expected.clamp_min(1e-10).log10()
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)
    else:
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(("window_s", "duration_s"), [(1.0, 3.0), (0.2, 2.5), (0.37, 0.3)])
@pytest.mark.parametrize("kind", ["mel", "log_mel"])
def test_mel_is_to_the_bit_what_caches_hold(kind, window_s, duration_s):
    """Products by groups of 16 bands over all windows of a part side by side, as they were always made."""
    config = EnclsConfig(features=kind, sampling_rate=44_100, window_s=window_s, step_s=window_s)
    mel = frontend_of(config, None)
    wave = noise(round(duration_s * 44_100))
    pieces = wave[window_index(len(wave), config.window_samples, config.step_samples)]
    frames = (pieces.unfold(-1, 512, 128) * mel.taper).flatten(0, 1)
    power = torch.view_as_real(torch.fft.rfft(frames)).square().flatten(1).T
    twice = mel.filters.repeat_interleave(2, dim=0)
    expected = torch.zeros(128, power.shape[1])
    for start in range(0, 128, 16):
        bands = slice(start, start + 16)
        rows = twice[:, bands].any(dim=1).nonzero()
        used = slice(int(rows[0]), int(rows[-1]) + 1)
        expected[bands] = twice[used, bands].T.contiguous() @ power[used]
    if kind == "log_mel":
        expected = 10 * expected.clamp_min(1e-10).log10()
    assert torch.equal(mel.windows([wave])[0], expected.unflatten(1, (len(pieces), -1)).transpose(0, 1))


@pytest.mark.parametrize(
    ("n_fft", "hop", "window_s"), [(512, 64, 1.0), (1024, 512, 1.0), (512, 128, 0.2), (4096, 64, 0.5)]
)
@pytest.mark.parametrize("kind", ["mel", "log_mel"])
def test_mel_uses_its_memory_again_and_nobody_sees_it(kind, n_fft, hop, window_s):
    """In and outside inference mode, for clips of other lengths, from several threads, and after a copy."""
    config = EnclsConfig(
        features=kind,
        sampling_rate=16_000,
        window_s=window_s,
        step_s=window_s,
        n_fft=n_fft,
        hop_length=hop,
        num_bands=20,
    )
    waves = [noise(length, length) for length in (40_000, 16_000, 16_000, 8_000, 52_345)]
    expected = [frontend_of(config, None).windows([wave])[0] for wave in waves]
    mel = frontend_of(config, None)
    with torch.inference_mode():
        found = [mel.windows([wave])[0] for wave in waves]
    found += [mel.windows([wave])[0] for wave in waves] + copy.deepcopy(mel).windows(waves)
    with ThreadPoolExecutor(4) as pool:
        found += [windows for each in pool.map(lambda _: mel.windows(waves), range(8)) for windows in each]
    assert all(torch.equal(*pair) for pair in zip(found, expected * (len(found) // len(waves)), strict=True))


@pytest.mark.parametrize("pickler", [pickle, ForkingPickler])
def test_mel_that_goes_to_another_process_computes_the_same_in_memory_of_its_own(pickler):
    """As `datasets.map` and a DataLoader's workers pickle it, when it has computed already."""
    mel, wave = frontend_of(EnclsConfig(features="log_mel", sampling_rate=16_000), None), noise(16_000, 1)
    expected = mel.windows([wave])[0]
    other = pickle.loads(pickler.dumps(mel))
    assert not other._kept and mel._kept
    assert torch.equal(other.windows([wave])[0], expected) and torch.equal(mel.windows([wave])[0], expected)


def test_mel_groups_its_filters_once_and_asks_its_configuration_little(monkeypatch):
    asked, grouped = [], []
    mel = frontend_of(EnclsConfig(features="mel", sampling_rate=16_000), None)
    look_up, repeat = EnclsConfig.__getattribute__, torch.Tensor.repeat_interleave
    monkeypatch.setattr(EnclsConfig, "__getattribute__", lambda self, name: asked.append(name) or look_up(self, name))
    monkeypatch.setattr(
        torch.Tensor, "repeat_interleave", lambda *args, **named: grouped.append(1) or repeat(*args, **named)
    )
    first = mel.windows([noise(16_000)] * 20)[0]
    assert len(asked) < 100 and len(grouped) == 1
    mel.filters.mul_(2)
    assert torch.equal(mel.windows([noise(16_000)])[0], 2 * first) and len(grouped) == 2
    mel.load_state_dict({**mel.state_dict(), "filters": mel.filters / 2})
    assert torch.equal(copy.deepcopy(mel).windows([noise(16_000)])[0], first)


@examples
@given(length=st.integers(1, 400), window=st.integers(1, 60), step=st.integers(1, 80))
def test_windows_are_cut_as_their_index_says(length, window, step):
    units = torch.arange(2 * length).reshape(2, length)
    expected = units[:, window_index(length, window, step)].transpose(0, 1)
    assert torch.equal(cut(units, window, step), expected)


@needs_packs
@pytest.mark.parametrize(("mode", "left", "right"), [("reflect", 6, 0), ("reflect", 3, 2), ("constant", 4, 1)])
def test_an_elu_leaves_the_room_that_a_padding_fills(mode, left, right):
    values = torch.randn(1, 5_000, 8).transpose(1, 2)
    elu = layers_encls.Elu(nn.ELU())
    expected = nn.functional.pad(elu(values.clone()), (left, right), mode)
    elu.room = (left, right)
    hidden = elu(values)
    padded = packed_encls.pad(hidden, (left, right), mode)
    assert torch.equal(padded, expected)
    assert padded.untyped_storage().data_ptr() == hidden.untyped_storage().data_ptr()  # nothing was copied
    wider = packed_encls.pad(hidden, (left, right + 1), mode)  # a clip that ends within a step has no room
    assert torch.equal(wider, nn.functional.pad(hidden, (left, right + 1), mode))


@needs_packs
def test_a_sum_that_is_wrong_in_bfloat16_is_taken_beside_the_convolution(monkeypatch):
    codec, wave = small_codec(24), noise(30_000)
    right = packed_encls.PackedConv1d.add_to

    def wrong(conv, other, hidden):
        return right(conv, other, hidden) if conv.dtype == torch.float32 else other

    monkeypatch.setattr(packed_encls.PackedConv1d, "add_to", wrong)
    expected = plain_latents(codec, wave, "whole")
    for dtype in (torch.float32, torch.bfloat16):
        found = encoding_encls.encode_causal(codec, [wave], dtype)[0]
        assert (found - expected).norm() <= 0.05 * expected.norm()
