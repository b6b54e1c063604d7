"""Audio comes from every container that users have, and what is broken is named."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from hf_encls import audio
from hf_encls.audio import (
    AudioError,
    downmix,
    header_duration_s,
    inspect,
    load,
    open_wav,
    read,
    resample,
    resampled_length,
    stream,
)

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


WRITTEN = [
    (container, subtype)
    for container in soundfile.available_formats()
    if container not in ("RAW", "SD2")  # headerless: no container; two files, one of them hidden
    for subtype in soundfile.available_subtypes(container)
]
REFUSED = {"PAF", "IRCAM", "PVF", "XI", "MAT5"}


@pytest.mark.parametrize(("container", "subtype"), WRITTEN)
def test_half_of_a_file_is_never_taken_for_a_shorter_clip(container, subtype, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        data = file_bytes(sound(1), container, subtype, 8_000 if container == "WVE" else RATE)
    except soundfile.LibsndfileError:
        pytest.skip("libsndfile reads this one only")
    path = tmp_path / f"half.{container.lower()}"
    path.write_bytes(data[: len(data) // 2])
    for source in (data[: len(data) // 2], path, io.BytesIO(data[: len(data) // 2])):
        with pytest.raises(AudioError):
            inspect(source)
    with pytest.raises(AudioError):
        load(path)
    with pytest.raises(AudioError):
        list(stream(path))
    if container in REFUSED:
        with pytest.raises(AudioError, match=rf"\({container}\).*cannot be told from a whole one.*WAV or FLAC"):
            inspect(data)
    elif not subtype.startswith("DWVW"):  # libsndfile does not read what it writes
        assert inspect(data).num_samples >= 8_000


def test_a_nist_header_without_a_length_is_refused():
    data = file_bytes(sound(), "NIST")
    assert inspect(io.BytesIO(data)).num_samples == 48_000
    with pytest.raises(AudioError, match="without sample_count"):
        inspect(data.replace(b"sample_count -i 48000\n", b"sample_other -i 48000\n"))


def test_rates_that_no_sound_has():
    for rate in (1, 999, 768_001, 10_000_000):
        data = file_bytes(sound(0.1), rate=rate)
        for read_it in (inspect, load, lambda source: list(stream(source)), header_duration_s):
            with pytest.raises(AudioError, match=f"sampling rate of {rate} Hz: expected 1000 to 768000"):
                read_it(data)
    assert load(file_bytes(sound(0.1, rate=1_000), rate=1_000), RATE).shape == (2_400,)
    assert load(file_bytes(sound(0.1, rate=768_000), rate=768_000), RATE).shape == (2_400,)


def test_nothing_left_after_resampling_is_said():
    data = file_bytes(sound()[:10], rate=768_000)
    assert inspect(data).num_samples == 10
    for read_it in (load, lambda *given: list(stream(*given))):
        with pytest.raises(AudioError, match=r"no samples at 24000 Hz: it is too short \(10 at 768000 Hz\)"):
            read_it(data, RATE)
    one = file_bytes(sound()[:1])
    assert load(one, RATE).shape == (1,) and np.concatenate(list(stream(one, 48_000))).shape == (2,)


@pytest.mark.parametrize("rate", [1_000, 8_000, 44_100, 768_000])
@pytest.mark.parametrize("to_hz", [8_000, 24_000, 44_100])
def test_the_length_after_resampling_is_known(rate, to_hz):
    for length in [*range(1, 60), 1001]:
        expected = resampled_length(length, rate, to_hz)
        if expected:
            assert len(resample(np.ones(length, np.float32), rate, to_hz)) == expected


@pytest.mark.parametrize("channels", [33, 1000])
def test_many_channels_are_averaged_in_blocks_of_bounded_size(channels, monkeypatch):
    monkeypatch.setattr(audio, "MAX_BLOCK_VALUES", 5_000)
    samples = sound(0.01, channels=channels)
    data = file_bytes(samples, subtype="FLOAT")
    assert inspect(data).num_channels == channels
    blocks = list(stream(data))
    assert max(map(len, blocks)) <= 5_000 // channels
    np.testing.assert_allclose(np.concatenate(blocks), samples.mean(axis=1), atol=1e-7)


def test_samples_beyond_any_scale_are_refused():
    data = file_bytes(np.full((100, 2), 3e38, np.float32), subtype="FLOAT")
    for read_it in (inspect, load, lambda source: list(stream(source))):
        with pytest.raises(AudioError, match="3e[+]38: expected floats between -1 and 1"):
            read_it(data)
    header = bytearray(file_bytes(sound()))
    header[22:24] = b"\0\0"
    with pytest.raises(AudioError, match="Channel count is zero"):
        inspect(bytes(header))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has it")
def test_a_wav_file_that_cannot_be_written_is_named(tmp_path):
    with open_wav(tmp_path / "a.wav", 8_000, 1) as file:
        file.write(np.zeros(10))
        file.write(np.full(10, 0.5))
    samples, rate = soundfile.read(tmp_path / "a.wav")
    assert rate == 8_000 and len(samples) == 20 and samples[-1] == pytest.approx(0.5, abs=1e-4)
    with pytest.raises(OSError, match="/dev/full"), open_wav("/dev/full", 8_000, 1) as file:
        file.write(np.zeros(100_000))


def apple_double() -> bytes:
    """What macOS writes beside a file on a file system of others: 32 bytes for the Finder, and a fork left blank."""
    blank = struct.pack(">4I", 256, 256, 0, 30) + b"This resource fork intentionally left blank   ".ljust(240, b"\0")
    blank += struct.pack(">4I", 256, 256, 0, 30) + struct.pack(">I5H", 0, 0, 0, 28, 30, 0xFFFF)
    head = struct.pack(">II16sH", 0x00051607, 0x00020000, b"Mac OS X        ", 2)
    table = struct.pack(">6I", 9, 50, 32, 2, 82, len(blank))
    return head + table + bytes(32) + blank


@pytest.mark.parametrize("fork", [apple_double(), b""], ids=["apple double", "empty"])
@pytest.mark.parametrize(("container", "subtype"), [("MP3", "MPEG_LAYER_III"), ("WAV", "PCM_16"), ("OGG", "VORBIS")])
def test_a_file_beside_its_resource_fork_is_read(tmp_path, container, subtype, fork):
    path = tmp_path / f"x.{container.lower()}"
    path.write_bytes(file_bytes(sound(), container, subtype))
    expected = read(path)[0]
    path.with_name(f"._{path.name}").write_bytes(fork)
    np.testing.assert_array_equal(read(path)[0], expected)
    assert inspect(path).num_samples == len(expected) and header_duration_s(path) == pytest.approx(
        len(expected) / RATE
    )
    path.write_bytes(b"\xff\xfb\x90 no sound" * 40)
    with pytest.raises(AudioError, match="is not audio that libsndfile reads"):
        read(path)


def test_no_scan_takes_a_resource_fork_for_audio(tmp_path):
    from hf_encls.codec_training.corpus import sounds_below
    from hf_encls.commands.classify import expand
    from hf_encls.data.folders import scan_folder
    from hf_encls.files.finding import find_audio

    for number, label in enumerate(("rain", "rain", "bark", "bark")):
        path = tmp_path / label / f"{number}.mp3"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(file_bytes(sound(0.5 + 0.1 * number), "MP3", "MPEG_LAYER_III"))
        path.with_name(f"._{path.name}").write_bytes(apple_double())
    found = sorted(tmp_path.glob("*/[!.]*.mp3"))
    assert sounds_below(tmp_path).files == expand([str(tmp_path)]) == find_audio(tmp_path).files == found
    clips, report = scan_folder(tmp_path)
    assert len(clips) == 4 and not report.left_out
