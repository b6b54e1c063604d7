"""`.ecdc` files and saved codes: packed by an independent description, fuzzed, and through small untrained codecs."""

import io
import json
import struct
import time
import tracemalloc
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import SMALL, small_codec
from transformers import EncodecConfig, EncodecModel

from hf_encls.codec.bitstream import BitstreamError, is_ecdc, pack, pack_numbers, read_ecdc, unpack, write_ecdc
from hf_encls.codec.codes import Codes, CodesError, from_arrays, layout_of, load_codes, save_codes
from hf_encls.codec.coding import decode, decode_blocks, encode
from hf_encls.codec.identity import check_fits, codebooks_of
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.model.encoding_encls import stream_causal
from hf_encls.model.identity_encls import codebook_hash


@pytest.fixture(scope="module", params=[24, 48])
def codec(request) -> EncodecModel:
    return small_codec(request.param)


def file_by_hand(metadata: dict | bytes, chunks: list[tuple[float | None, list[list[int]]]]) -> bytes:
    """A file from the description: one big number whose lowest bits are the first code, written little end first."""
    text = metadata if isinstance(metadata, bytes) else json.dumps(metadata).encode()
    out = b"ECDC" + bytes([0]) + len(text).to_bytes(4, "big") + text
    for scale, frames in chunks:
        if scale is not None:
            out += struct.pack(">f", scale)
        number = sum(code << (10 * i) for i, code in enumerate(code for frame in frames for code in frame))
        out += number.to_bytes(-(-10 * sum(map(len, frames)) // 8), "little")
    return out


def random_frames(rng, frames: int, codebooks: int) -> list[list[int]]:
    return rng.integers(0, 1024, (frames, codebooks)).tolist()


# ------------------------------------------------------------------------------------------------ reading, writing


def test_ten_bits_by_hand():
    # 0b1111111111, 0b0000000001, 0b1000000000 from the lowest bit up.
    assert pack_numbers(np.array([1023, 1, 512], np.uint16), 10) == bytes([0xFF, 0b00000111, 0, 0b00100000])


@pytest.mark.parametrize(("samples", "codebooks"), [(1, 2), (320, 4), (321, 3), (24_000, 32), (100_001, 1)])
def test_24khz_file_packed_by_hand(samples, codebooks):
    frames = random_frames(np.random.default_rng(0), -(-samples // 320), codebooks)
    data = file_by_hand({"m": "encodec_24khz", "al": samples, "nc": codebooks, "lm": False}, [(None, frames)])
    codes = read_ecdc(data)
    assert (codes.family, codes.num_samples, codes.scales) == ("encodec_24khz", samples, None)
    assert codes.chunks[0].T.tolist() == frames
    assert pack(codes) == data


@pytest.mark.parametrize(
    ("samples", "lengths"),
    [
        (1, [1]),
        (48_000, [150, 2]),
        (240_000, [150] * 5 + [8]),
        (47_520, [149]),
        # A rest of less than 480 samples: the last chunk but one is not full either.
        (95_100, [150, 149, 1]),
    ],
)
def test_48khz_file_packed_by_hand(samples, lengths):
    rng = np.random.default_rng(1)
    chunks = [(0.25 * (i + 1), random_frames(rng, length, 2)) for i, length in enumerate(lengths)]
    data = file_by_hand({"m": "encodec_48khz", "al": samples, "nc": 2, "lm": False}, chunks)
    codes = read_ecdc(io.BytesIO(data))
    assert [chunk.T.tolist() for chunk in codes.chunks] == [frames for _, frames in chunks]
    assert codes.scales == [scale for scale, _ in chunks]
    assert pack(codes) == data


def test_file_on_disk(tmp_path):
    codes = Codes("encodec_24khz", [np.arange(300, dtype=np.uint16).reshape(4, 75)], None, 24_000, "ab" * 32)
    path = write_ecdc(codes, tmp_path / "new" / "x.ecdc")
    again = read_ecdc(path)
    assert again.codebook_hash == "ab" * 32
    np.testing.assert_array_equal(again.chunks[0], codes.chunks[0])
    assert [each.name for each in path.parent.iterdir()] == ["x.ecdc"]
    assert (
        is_ecdc(path) and is_ecdc(path.read_bytes()) and not is_ecdc(b"RIFF....") and not is_ecdc(tmp_path / "y.wav")
    )
    # 32 codebooks at 24 kHz take 3,000 bytes a second when packed.
    second = Codes("encodec_24khz", [np.zeros((32, 75), np.uint16)], None, 24_000)
    assert (
        len(pack(second)) - len(file_by_hand({"m": "encodec_24khz", "al": 24_000, "nc": 32, "lm": False}, [])) == 3000
    )


def test_language_model_is_refused_with_the_way_out():
    data = file_by_hand({"m": "encodec_24khz", "al": 320, "nc": 2, "lm": True}, []) + b"\x00" * 40
    with pytest.raises(BitstreamError, match=r"without it \(-l of the reference"):
        read_ecdc(data)


GOOD = {"m": "encodec_24khz", "al": 320, "nc": 2, "lm": False}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "0 bytes"),
        (b"RIFF" + bytes(60), "begins with"),
        (b"ECDC\x01" + bytes(60), "version 0"),
        (b"ECDC\x00\xff\xff\xff\xff" + bytes(60), "claims 4294967295 bytes"),
        (file_by_hand(b"[1, 2]", []), "not a JSON object"),
        (file_by_hand(b"{", []), "not JSON"),
        (file_by_hand(b"\xff\xfe", []), "not JSON"),
        (file_by_hand(b"[" * 60_000, []), "not JSON"),
        (file_by_hand(b'{"m": "encodec_24khz", "al": 320, "al": 320, "nc": 2, "lm": false}', []), "twice"),
        (file_by_hand(b'{"m": "encodec_24khz", "al": NaN, "nc": 2, "lm": false}', []), "NaN"),
        (file_by_hand(b'{"m": "encodec_24khz", "al": 1e999, "nc": 2, "lm": false}', []), '"al"'),
        (file_by_hand(b'{"m": "encodec_24khz", "al": ' + b"9" * 3000 + b', "nc": 2, "lm": false}', []), '"al"'),
        (file_by_hand(b'{"m": "encodec_24khz", "al": ' + b"9" * 50_000 + b', "nc": 2, "lm": false}', []), "not JSON"),
        (file_by_hand(GOOD | {"m": "unset"}, []), "encodec_48khz"),
        (file_by_hand(GOOD | {"m": ["encodec_24khz"]}, []), "the model"),
        (file_by_hand(GOOD | {"al": 0}, []), '"al"'),
        (file_by_hand(GOOD | {"al": True}, []), '"al"'),
        (file_by_hand(GOOD | {"al": 320.0}, []), '"al"'),
        (file_by_hand(GOOD | {"nc": 33}, []), '"nc"'),
        (file_by_hand(GOOD | {"lm": 0}, []), '"lm"'),
        (file_by_hand(GOOD | {"codebooks": 5}, []), "SHA-256"),
        (file_by_hand(GOOD | {"al": 2**47}, []), "truncated"),
        (file_by_hand(GOOD | {"m": "encodec_48khz", "al": 2**47}, []), "truncated"),
        (file_by_hand(GOOD, [(None, [[1, 2]])])[:-1], "truncated"),
        (file_by_hand(GOOD, [(None, [[1, 2]])]) + b"x", "too long"),
        (file_by_hand(GOOD | {"m": "encodec_48khz"}, [(float("nan"), [[1, 2]])]), "scale"),
        (file_by_hand(GOOD | {"m": "encodec_48khz"}, [(-1.0, [[1, 2]])]), "scale"),
    ],
)
def test_broken_files_are_refused_quickly_in_little_memory(data, message):
    tracemalloc.start()
    begin = time.perf_counter()
    with pytest.raises(BitstreamError, match=message) as raised:
        read_ecdc(data)
    assert time.perf_counter() - begin < 1.0
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()
    assert len(str(raised.value)) < 400


def test_a_missing_file_is_a_clear_error(tmp_path):
    with pytest.raises(BitstreamError, match="cannot be read"):
        read_ecdc(tmp_path / "none.ecdc")


def codes_or_error(data: bytes) -> None:
    try:
        codes = unpack(data)
    except BitstreamError as error:
        assert str(error)
    else:
        assert all(chunk.max() < 1024 for chunk in codes.chunks)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"ECDC", b"ECDC\x00", b"ECDC\x00\x00\x00\x00\x02{}"]))
def test_any_bytes_give_codes_or_an_error(data, start):
    codes_or_error(start + data)


@settings(max_examples=300, deadline=None)
@given(
    family=st.sampled_from(["encodec_24khz", "encodec_48khz"]),
    samples=st.integers(1, 100_000),
    changes=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=4),
    cut=st.integers(-20, 20),
)
def test_changed_files_give_codes_or_an_error(family, samples, changes, cut):
    layout = Codes("encodec_24khz", [np.zeros((1, 1), np.uint16)], None, 1).layout if family[8] == "2" else None
    if layout:
        chunks = [np.zeros((2, layout.chunk_frames(samples, 0)), np.uint16)]
        codes = Codes(family, chunks, None, samples)
    else:
        count = -(-samples // 47_520)
        lengths = [-(-min(48_000, samples - i * 47_520) // 320) for i in range(count)]
        codes = Codes(family, [np.zeros((2, length), np.uint16) for length in lengths], [1.0] * count, samples)
    data = bytearray(pack(codes))
    for position, value in changes:
        data[position % len(data)] = value
    data = data[:cut] if cut < 0 else data + bytes(cut)
    codes_or_error(bytes(data))


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["m", "al", "nc", "lm", "codebooks", "x"]),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(),
            st.sampled_from(["encodec_24khz", "encodec_48khz", ""]),
            st.lists(st.integers(), max_size=2),
        ),
    ),
    st.binary(max_size=50),
)
def test_any_metadata_gives_codes_or_an_error(metadata, payload):
    codes_or_error(file_by_hand(metadata, []) + payload)


# ------------------------------------------------------------------------------------------------ codecs


def blocks(waveform: np.ndarray, size: int = 7001):
    return (waveform[i : i + size] for i in range(0, len(waveform), size))


@pytest.mark.parametrize("seconds", [0.02, 0.7, 1.0, 2.6])
def test_encode_is_the_codecs_own(codec, seconds):
    rate, channels = codec.config.sampling_rate, codec.config.audio_channels
    waveform = (0.1 * np.random.default_rng(0).normal(size=round(seconds * rate))).astype(np.float32)
    values = torch.from_numpy(waveform).expand(1, channels, -1)
    output = codec.encode(values, bandwidth=3.0)
    expected = from_arrays(
        output.audio_codes,
        output.audio_scales,
        output.last_frame_pad_length,
        family=f"encodec_{rate // 1000}khz",
        num_samples=len(waveform),
    )
    codes = encode(codec, blocks(waveform), bandwidth=3.0)
    for ours, theirs in zip(codes.chunks, expected.chunks, strict=True):
        # Rounding may move a latent over the border of two entries; in 2.6 s hardly one.
        assert (ours != theirs).mean() < 0.005
    if codes.scales:
        assert codes.scales == pytest.approx(expected.scales, rel=1e-5)
    again = read_ecdc(pack(codes))
    assert again.codebook_hash == codebook_hash(codec)
    wave = decode(codec, again)
    theirs = codec.decode(
        output.audio_codes, output.audio_scales, last_frame_pad_length=output.last_frame_pad_length
    ).audio_values[0, :, : len(waveform)]
    assert wave.shape == (len(waveform), channels)
    np.testing.assert_allclose(wave, decode(codec, expected), atol=0.02)
    np.testing.assert_allclose(decode(codec, expected), theirs.detach().T.numpy(), atol=1e-5)


@pytest.mark.parametrize("num_samples", [47_521, 47_600, 47_680, 47_900, 95_040])
def test_chunks_are_joined_as_the_codec_does(num_samples):
    codec, layout = small_codec(48), layout_of("encodec_48khz")
    generator = torch.Generator().manual_seed(0)
    count = layout.num_chunks(num_samples)
    frames = [layout.chunk_frames(num_samples, index) for index in range(count)]
    numbers = torch.randint(0, 1024, (count, 1, 4, frames[0]), generator=generator)
    scales = [0.1 + torch.rand(1, 1, generator=generator) for _ in frames]
    rest = frames[0] - frames[-1]
    with torch.no_grad():
        theirs = codec.decode(numbers, scales, last_frame_pad_length=rest).audio_values[0, :, :num_samples]
    arrays = numbers.numpy(), [scale.numpy() for scale in scales]
    codes = from_arrays(*arrays, rest, family="encodec_48khz", num_samples=num_samples)
    np.testing.assert_allclose(decode(codec, codes), theirs.T.numpy(), atol=1e-4)


def test_length_at_which_the_last_chunk_but_one_is_short():
    codec = small_codec(48)
    waveform = (0.1 * np.random.default_rng(0).normal(size=95_100)).astype(np.float32)
    codes = encode(codec, [waveform])
    assert [chunk.shape[1] for chunk in codes.chunks] == [150, 149, 1]
    assert decode(codec, read_ecdc(pack(codes))).shape == (95_100, 2)


def test_encode_and_decode_refuse_what_does_not_fit(codec):
    with pytest.raises(CodesError, match="empty"):
        encode(codec, [])
    with pytest.raises(CodesError, match="expected a bandwidth of"):
        encode(codec, [np.zeros(100, np.float32)], bandwidth=5.0)
    codes = encode(codec, [np.zeros(1000, np.float32)])
    other = small_codec(24 if codec.config.sampling_rate == 48_000 else 48)
    with pytest.raises(CodesError, match="found codes of"):
        decode(other, codes)
    same = small_codec(codec.config.sampling_rate // 1000)
    torch.nn.init.zeros_(same.quantizer.layers[0].codebook.embed)
    with pytest.raises(CodesError, match="another codec"):
        decode(same, codes)


def test_codec_of_no_family_is_refused():
    codec = EncodecModel(EncodecConfig(**SMALL, upsampling_ratios=[4, 4, 4, 4]))
    with pytest.raises(CodesError, match="built as encodec_24khz"):
        encode(codec, [np.zeros(1000, np.float32)])


@pytest.mark.parametrize("change", [{"use_causal_conv": False}, {"norm_type": "time_group_norm"}])
def test_codec_that_is_not_causal_is_no_24khz_one(change):
    with pytest.raises(CodesError, match="built as encodec_24khz"):
        encode(EncodecModel(EncodecConfig(**SMALL, **change)), [np.zeros(1000, np.float32)])


def test_a_last_convolution_of_one_frame():
    torch.manual_seed(0)
    codec = EncodecModel(EncodecConfig(**SMALL, last_kernel_size=1)).eval()
    wave = torch.randn(30_000) * 0.1
    pieces = list(stream_causal(codec, iter(wave.split(7000)), torch.float32, segment_s=0.3))
    assert len(pieces) > 2
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(pieces, dim=-1), codec.encoder(wave[None, None])[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("frames", [1, 3, 29, 30, 31, 75, 200])
@pytest.mark.parametrize("shape", [{}, {"last_kernel_size": 1, "num_residual_layers": 3}, {"kernel_size": 1}])
def test_segments_are_the_whole_decode(frames, shape, monkeypatch):
    torch.manual_seed(0)
    codec = EncodecModel(EncodecConfig(**SMALL, **shape, target_bandwidths=[3.0])).eval()
    for layer in codec.quantizer.layers:
        torch.nn.init.normal_(layer.codebook.embed)
    numbers = np.random.default_rng(0).integers(0, 1024, (4, frames)).astype(np.uint16)
    codes = Codes("encodec_24khz", [numbers], None, 320 * frames - 100)
    monkeypatch.setattr("hf_encls.codec.coding.SEGMENT_S", 0.4)  # 30 frames
    pieces = list(decode_blocks(codec, codes))
    assert len(pieces) == -(-frames // 30) and len(pieces[0]) <= 30 * 320
    with torch.no_grad():
        embedded = codec.quantizer.decode(torch.from_numpy(numbers.astype(np.int64))[:, None])
        whole = codec.decoder(embedded)[0].T[: codes.num_samples]
    np.testing.assert_allclose(np.concatenate(pieces), whole.numpy(), atol=1e-5)


def test_codes_beyond_the_codebooks_are_refused():
    torch.manual_seed(0)
    codec = EncodecModel(EncodecConfig(**SMALL, codebook_size=512, target_bandwidths=[3.0])).eval()
    with pytest.raises(CodesError, match="expected codes below 512"):
        decode(codec, Codes("encodec_24khz", [np.full((2, 3), 600, np.uint16)], None, 900))


# ------------------------------------------------------------------------------------------------ saved codes


def test_saved_codes_come_back(codec, tmp_path):
    waveform = (0.1 * np.random.default_rng(0).normal(size=100_000)).astype(np.float32)
    codes = encode(codec, [waveform])
    again = load_codes(save_codes(codes, tmp_path / "x.safetensors"))
    assert (again.family, again.num_samples, again.codebook_hash) == (
        codes.family,
        codes.num_samples,
        codes.codebook_hash,
    )
    assert again.scales is None or again.scales == pytest.approx(codes.scales)
    for ours, theirs in zip(again.chunks, codes.chunks, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_plain_array_needs_to_be_told_what_it_is(tmp_path):
    np.save(tmp_path / "x.npy", np.full((1, 1, 2, 75), 7))
    with pytest.raises(CodesError, match="which codec"):
        load_codes(tmp_path / "x.npy")
    codes = load_codes(tmp_path / "x.npy", family="encodec_24khz")
    assert (codes.num_samples, codes.num_codebooks, codes.codebook_hash) == (24_000, 2, None)


def test_saved_codes_that_are_none_are_refused(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(b"\xff" * 100)
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr': '|O', 'fortran_order': False, 'shape': (3,)}\n")
    for name in ("x.safetensors", "x.npy", "none.safetensors"):
        with pytest.raises(CodesError, match="not a file of codes"):
            load_codes(tmp_path / name, family="encodec_24khz")
    for array in (np.full((1, 1, 2, 3), 1024), np.full((1, 1, 2, 3), -1), np.zeros((2, 1, 2, 3), int), np.zeros(3)):
        np.save(tmp_path / "bad.npy", array)
        with pytest.raises(CodesError, match="expected"):
            load_codes(tmp_path / "bad.npy", family="encodec_24khz")


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"family": ["encodec_24khz"]}, "expected codes of encodec_24khz or"),
        ({"family": {}}, "expected codes of"),
        ({"codebook_hash": 7}, "SHA-256 as text"),
        ({"num_samples": True}, "a number of samples"),
        ({"num_samples": "960"}, "a number of samples"),
        ({"shape": (1, 0, 2, 3)}, "expected codes of 960 samples"),
        ({"shape": (1, 2, 2, 3)}, "expected codes of 960 samples"),
    ],
)
def test_metadata_of_other_types_is_refused(about, message, tmp_path):
    from safetensors.numpy import save_file

    metadata = {"family": "encodec_24khz", "num_samples": 960} | about
    array = np.zeros(metadata.pop("shape", (1, 1, 2, 3)), np.uint16)
    save_file({"audio_codes": array}, tmp_path / "x.safetensors", metadata={"encls": json.dumps(metadata)})
    with pytest.raises(CodesError, match=message):
        load_codes(tmp_path / "x.safetensors")


def test_a_code_behind_the_end_of_a_clip_is_in_a_codebook_too(tmp_path):
    from safetensors.numpy import save_file

    metadata = {"family": "encodec_48khz", "num_samples": 48_000, "codebook_hash": None}
    array = np.zeros((2, 1, 2, 150), np.uint16)  # of the second chunk, 2 frames are of the clip
    for last, accepted in ((1023, True), (16_384, False)):
        array[1, 0, 1, 96] = last
        tensors = {"audio_codes": array, "audio_scales": np.ones(2, np.float32)}
        save_file(tensors, tmp_path / "x.safetensors", metadata={"encls": json.dumps(metadata)})
        with nullcontext() if accepted else pytest.raises(CodesError, match="codes below 1024, found 16384"):
            load_codes(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    "settings_",
    [
        {"family": ["encodec_24khz"]},
        {"num_samples": "960"},
        {"last_frame_pad_length": "x"},
        {"codebook_hash": b"a"},
        {"family": "encodec_48khz", "audio_scales": 3},
        {"family": "encodec_48khz", "audio_scales": [[]]},
    ],
)
def test_encoder_output_of_other_types_is_refused(settings_):
    with pytest.raises(CodesError, match="expected"):
        from_arrays(np.zeros((1, 1, 2, 3), int), **({"family": "encodec_24khz"} | settings_))


def test_encoder_output_may_be_tensors_of_one_number():
    codes = from_arrays(
        np.zeros((1, 1, 2, 3), int), last_frame_pad_length=torch.tensor(1), family="encodec_24khz",
        num_samples=np.int64(600),
    )  # fmt: skip
    assert type(codes.num_samples) is int and codes.chunks[0].shape == (2, 2)


# ------------------------------------------------------------------------------------------------ identity


def config(khz: int = 24, **changes) -> EnclsConfig:
    values = {
        "features": f"encodec_{khz}khz_codes",
        "sampling_rate": khz * 1000,
        "bandwidth": 3.0,
        "codec_id": "mini",
        "codebook_hash": "a" * 64,
        "codec_policy": "whole" if khz == 24 else "codec",
    }
    return EnclsConfig(**(values | changes))


def codes_24(codebooks: int = 4, digest: str | None = "a" * 64) -> Codes:
    return Codes("encodec_24khz", [np.zeros((codebooks, 75), np.uint16)], None, 24_000, digest)


def test_codebooks_of_a_bandwidth():
    assert [codebooks_of(config(bandwidth=kbps)) for kbps in (1.5, 3.0, 6.0, 12.0, 24.0)] == [2, 4, 8, 16, 32]
    assert codebooks_of(config(48, bandwidth=24.0)) == 16


def test_a_model_without_a_bandwidth_is_named():
    with pytest.raises(CodesError, match="bandwidth or num_codebooks"):
        check_fits(codes_24(), config(bandwidth=None))


def test_codes_fit_by_their_identity():
    check_fits(codes_24(), config())
    check_fits(codes_24(codebooks=8), config())  # more codebooks hold fewer
    check_fits(codes_24(digest=None), config(codec_id="facebook/encodec_24khz"))
    check_fits(codes_24(digest=None), config(), assume_codec=True)


@pytest.mark.parametrize(
    ("codes", "settings_", "message"),
    [
        (codes_24(digest="b" * 64), {}, "encode the audio again with mini"),
        (codes_24(digest=None), {}, "`assume_codec=True`"),
        (codes_24(digest="b" * 64), {"codec_id": "facebook/encodec_24khz"}, "found codes of bbbbbbbbbbbb"),
        (codes_24(codebooks=2), {}, "at least 4 codebooks"),
        (codes_24(), {"features": "encodec_24khz"}, "`features=codes`"),
        (codes_24(), {"features": "log_mel", "codec_policy": None}, "`features=codes`"),
        (codes_24(), {"khz": 48}, "expected encodec_48khz_codes"),
    ],
)
def test_codes_that_do_not_fit_are_refused(codes, settings_, message):
    with pytest.raises(CodesError, match=message):
        check_fits(codes, config(**settings_))


def test_48khz_bitstream_does_not_fit_a_contiguous_model():
    codes = Codes("encodec_48khz", [np.zeros((4, 100), np.uint16)], [1.0], 32_000, "a" * 64)
    check_fits(codes, config(48))
    with pytest.raises(CodesError, match="codec_policy 'codec' would fit"):
        check_fits(codes, config(48, codec_policy="contiguous"))
