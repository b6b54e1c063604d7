"""Audio comes from every container that users have, and what is broken is named."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hf_encls.audio import AudioError, downmix, inspect, load, open_wav, read, stream

RATE = 24_000
FORMATS = [
    ("WAV", "PCM_16"),
    ("WAV", "FLOAT"),
    ("FLAC", "PCM_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
    ("AU", "PCM_16"),
    ("AIFF", "PCM_16"),
    ("W64", "PCM_16"),
    ("CAF", "PCM_16"),
]


def sound(seconds: float = 2.0, channels: int = 1, rate: int = RATE) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.standard_normal((round(seconds * rate), channels)) * 0.1).astype(np.float32)


def file_bytes(samples: np.ndarray, container: str = "WAV", subtype: str = "PCM_16", rate: int = RATE) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=container, subtype=subtype)
    return buffer.getvalue()


@pytest.mark.parametrize(("container", "subtype"), FORMATS)
@pytest.mark.parametrize("channels", [1, 2])
def test_reads(container, subtype, channels):
    data = file_bytes(sound(channels=channels), container, subtype)
    info = inspect(data)
    assert (info.sampling_rate, info.num_channels) == (RATE, channels)
    assert info.duration_s == pytest.approx(2.0, abs=0.1)
    mono = load(data)
    assert mono.dtype == np.float32 and mono.shape == (info.num_samples,)


@pytest.mark.parametrize(("container", "subtype"), FORMATS)
def test_a_truncated_file_is_named(container, subtype):
    data = file_bytes(sound(), container, subtype)
    with pytest.raises(AudioError, match="truncated|malformed|not audio|no samples"):
        inspect(data[: len(data) * 6 // 10])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"not audio at all, only text" * 50, "not audio"),
        (file_bytes(np.zeros((0, 1), np.float32)), "no samples"),
        (file_bytes(np.full((100, 1), np.nan, np.float32), subtype="FLOAT"), "all of its 100 samples are not finite"),
        (file_bytes(np.r_[sound(), [[np.inf]]].astype(np.float32), subtype="FLOAT"), "1 of its 48001"),
    ],
)
def test_reasons(data, reason):
    with pytest.raises(AudioError, match=reason):
        inspect(data)


def test_paths(tmp_path):
    with pytest.raises(AudioError, match="does not exist"):
        load(tmp_path / "none.wav")
    with pytest.raises(AudioError, match="is a folder"):
        load(tmp_path)
    path = tmp_path / "naïve name é.wav"
    path.write_bytes(file_bytes(sound()))
    np.testing.assert_array_equal(load(path), load({"bytes": None, "path": str(path)}))
    np.testing.assert_array_equal(load(path), load(io.BytesIO(path.read_bytes())))


def test_downmix_is_the_mean_of_the_channels():
    samples = sound(channels=5)
    np.testing.assert_allclose(downmix(samples), samples.mean(axis=1), atol=1e-7)


@pytest.mark.parametrize("rate", [8_000, 24_000, 44_100, 48_000])
@pytest.mark.parametrize("block_s", [0.01, 0.37, 100.0])
def test_a_stream_is_the_whole_in_pieces(rate, block_s):
    data = file_bytes(sound(1.7, channels=2, rate=44_100), rate=44_100)
    whole = load(data, rate)
    assert len(whole) == pytest.approx(1.7 * rate, abs=1)
    np.testing.assert_allclose(np.concatenate(list(stream(data, rate, block_s))), whole, atol=1e-6)


def test_a_wrong_length_in_the_header_allocates_nothing():
    data = bytearray(file_bytes(sound(0.1)))
    at = data.index(b"data") + 4
    data[at : at + 4] = (2**31).to_bytes(4, "little")
    with pytest.raises(AudioError, match="truncated"):
        read(bytes(data))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_wav_file_that_cannot_be_written_is_named(tmp_path):
    with open_wav(tmp_path / "a.wav", 8_000, 1) as file:
        file.write(np.zeros(10))
        file.write(np.full(10, 0.5))
    samples, rate = soundfile.read(tmp_path / "a.wav")
    assert rate == 8_000 and len(samples) == 20 and samples[-1] == pytest.approx(0.5, abs=1e-4)
    with pytest.raises(OSError, match="/dev/full"), open_wav("/dev/full", 8_000, 1) as file:
        file.write(np.zeros(100_000))
