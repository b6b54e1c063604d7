"""Codebooks fitted after training: each leaves less over, and the library encodes and decodes with them."""

from itertools import pairwise

import pytest
import torch
from transformers import EncodecConfig, EncodecModel

from hf_encls.codec_training.codebooks import fit_codebooks, kmeans, nearest


def make_codec(**changes):
    settings = {"num_filters": 2, "hidden_size": 16, "codebook_dim": 16, "codebook_size": 32, "num_lstm_layers": 1}
    return EncodecModel(EncodecConfig(**{**settings, "target_bandwidths": [0.75, 1.5], **changes})).eval()


def make_latents(num_frames=3000, seed=0):
    generator = torch.Generator().manual_seed(seed)
    centres = 3 * torch.randn(10, 16, generator=generator)
    return centres[torch.randint(10, (num_frames,), generator=generator)] + torch.randn(
        num_frames, 16, generator=generator
    )


def test_every_codebook_leaves_less_over():
    codec, latents = make_codec(), make_latents()
    errors = fit_codebooks(codec, latents)
    assert len(errors) == len(codec.quantizer.layers) == 4
    assert all(later < earlier for earlier, later in pairwise(errors)) and errors[0] < 0.2
    # What the library's quantizer gives back is as far off as the errors say.
    for bandwidth, error in ((0.75, errors[1]), (1.5, errors[3])):
        codes = codec.quantizer.encode(latents.T[None], bandwidth)
        off = (codec.quantizer.decode(codes)[0].T - latents).square().sum(1).mean()
        assert (off / latents.var(0, unbiased=False).sum()).item() == pytest.approx(error, rel=1e-3)


def test_encode_and_decode_of_the_whole_model():
    codec = make_codec()
    x = 0.1 * torch.randn(1, 1, 9600, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        latents = codec.encoder(x)
        fit_codebooks(codec, latents[0].T)
        codes = codec.encode(x, bandwidth=1.5)
        y = codec.decode(codes.audio_codes, codes.audio_scales).audio_values
        # 30 frames have codes of their own, so nothing but rounding is lost.
        assert torch.allclose(y, codec.decoder(latents), atol=1e-3)
    assert codes.audio_codes.shape == (1, 1, 4, 30) and y.shape == x.shape


def test_same_seed_same_codes_and_another_seed_others():
    points = make_latents(500)
    assert torch.equal(kmeans(points, 32, seed=3)[0], kmeans(points, 32, seed=3)[0])
    assert not torch.equal(kmeans(points, 32, seed=3)[0], kmeans(points, 32, seed=4)[0])


def test_dead_codes_are_moved_to_where_points_are():
    # Nearly all points are one: a random start puts nearly all codes on it, and all but one of those die.
    points = torch.cat([torch.zeros(2000, 4), 5 * torch.randn(40, 4, generator=torch.Generator().manual_seed(0))])
    codes, counts = kmeans(points, 32)
    assert (counts > 0).sum() >= 30
    assert nearest(points, codes)[1].mean() < 0.3


def test_fewer_points_than_codes():
    points = torch.tensor([[0.0, 1.0], [2.0, 3.0], [2.0, 3.0]])
    codes, counts = kmeans(points, 8)
    assert codes.shape == (8, 2) and torch.isfinite(codes).all() and counts.sum() == 3
    assert nearest(points, codes)[1].max() < 1e-6


def test_nearest_is_what_a_plain_search_finds():
    points, codes = make_latents(200), make_latents(50, seed=1)
    index, distance = nearest(points, codes)
    expected = torch.cdist(points, codes).square().min(dim=1)
    assert torch.equal(index, expected.indices) and torch.allclose(distance, expected.values, rtol=1e-3)


def test_buffers_survive_half_precision():
    codec = make_codec()
    fit_codebooks(codec, 50 * make_latents())
    for layer in codec.quantizer.layers:
        book = layer.codebook
        assert torch.equal(book.embed, book.embed.half().float())
        assert all(torch.isfinite(value.half()).all() for value in book.state_dict().values())
        assert torch.allclose(book.embed_avg / book.cluster_size[:, None], book.embed, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("latents", [torch.zeros(5, 3), torch.zeros(0, 16), torch.full((5, 16), torch.nan)])
def test_unusable_latents_are_refused(latents):
    with pytest.raises(ValueError, match="expected"):
        fit_codebooks(make_codec(), latents)
