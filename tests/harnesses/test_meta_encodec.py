"""Meta's own package: its latents, its codes and its files are ours, at both rates and every bandwidth."""

import numpy as np
import pytest
import torch
from transformers import EncodecConfig, EncodecModel
from upstream import stand_in

from hf_encls.codec.bitstream import pack, unpack
from hf_encls.codec.coding import decode, encode
from hf_encls.features.extraction import feature_config
from hf_encls.features.frontends import frontend_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
BANDWIDTHS = {24: [1.5, 3.0, 6.0, 12.0, 24.0], 48: [3.0, 6.0, 12.0, 24.0]}
STEREO = {
    **{"sampling_rate": 48_000, "audio_channels": 2, "normalize": True, "chunk_length_s": 1.0, "overlap": 0.01},
    **{"use_causal_conv": False, "norm_type": "time_group_norm"},
}
SECONDS = (0.21, 1.0, 2.37)


@pytest.fixture(scope="module")
def meta():
    """The package; while it is imported it finds a torchaudio, which it needs for files of sounds only."""
    pytest.importorskip("einops")
    with stand_in("torchaudio"):
        return pytest.importorskip("encodec")


@pytest.fixture(scope="module", params=[24, 48])
def pair(request, meta):
    """Meta's model of the published size with random weights, and the library's with the same."""
    khz = request.param
    torch.manual_seed(khz)
    theirs = meta.EncodecModel._get_model(
        BANDWIDTHS[khz], khz * 1000, 1 if khz == 24 else 2, causal=khz == 24,
        model_norm="weight_norm" if khz == 24 else "time_group_norm", audio_normalize=khz == 48,
        segment=None if khz == 24 else 1.0, name=f"encodec_{khz}khz",
    ).eval()  # fmt: skip
    with torch.no_grad():
        spread = theirs.encoder(torch.randn(1, theirs.channels, khz * 1000) * 0.1).std()
    for layer in theirs.quantizer.vq.layers:
        layer._codebook.embed.normal_(0, float(spread))
        layer._codebook.inited.fill_(1)
    ours = EncodecModel(EncodecConfig(target_bandwidths=BANDWIDTHS[khz], **(STEREO if khz == 48 else {}))).eval()
    weights = {}
    for part in ("encoder", "decoder", "quantizer"):  # the layers of each are in the same order
        names, values = (
            [(n, v) for n, v in model.state_dict().items() if n.startswith(part)] for model in (ours, theirs)
        )
        assert [value.shape for _, value in names] == [value.shape for _, value in values]
        weights |= {name: value for (name, _), (_, value) in zip(names, values)}
    ours.load_state_dict(weights)
    return khz, theirs, ours


def clip(khz: int, seconds: float) -> np.ndarray:
    random = np.random.default_rng(round(100 * seconds))
    return (0.1 * random.standard_normal(round(seconds * khz * 1000))).astype(np.float32)


def test_latents(pair):
    khz, theirs, ours = pair
    config = feature_config(f"encodec_{khz}khz", codec=ours, codec_policy="whole" if khz == 24 else "codec")
    frontend = frontend_of(config, ours)
    taken = []
    hook = theirs.encoder.register_forward_hook(lambda module, inputs, output: taken.append(output[0]))
    for seconds in SECONDS:
        wave = torch.from_numpy(clip(khz, seconds))
        taken.clear()
        with torch.no_grad():
            theirs.encode(wave.expand(1, theirs.channels, -1))
            found = frontend.latents([wave])[0]
        torch.testing.assert_close(found, torch.cat(taken, dim=-1)[..., : found.shape[-1]], atol=1e-5, rtol=1e-4)
    hook.remove()


def test_files_both_ways(pair, meta, monkeypatch, says):
    khz, theirs, ours = pair
    monkeypatch.setitem(meta.compress.__globals__["MODELS"], theirs.name, lambda: theirs)
    agreed = 0
    for bandwidth in BANDWIDTHS[khz]:
        theirs.set_target_bandwidth(bandwidth)
        for seconds in SECONDS:
            wave = clip(khz, seconds)
            made = meta.compress(theirs, torch.from_numpy(wave).expand(theirs.channels, -1))
            read, mine = unpack(made), encode(ours, [wave], bandwidth)
            assert read.num_samples == mine.num_samples == len(wave)
            for one, two in zip(read.chunks, mine.chunks, strict=True):
                assert np.array_equal(one, two)
            heard, rate = meta.decompress(pack(mine))
            expected = torch.from_numpy(decode(ours, mine)).T  # (channels, N)
            torch.testing.assert_close(heard, expected, atol=1e-4, rtol=1e-3)
            assert rate == khz * 1000
            agreed += 1
    assert agreed == len(BANDWIDTHS[khz]) * len(SECONDS)
    says("encodec", ".ecdc files equal, written and read both ways, at both rates and every bandwidth", agreed)
