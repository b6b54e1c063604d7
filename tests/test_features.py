"""The map step: what a row holds, what is cached, and what makes it compute again."""

import os
import re

import numpy as np
import pytest
import soundfile
import torch
from small_models import small_codec

from hf_encls.codec.loading import load_codec
from hf_encls.commands.extract_features import main as extract_command
from hf_encls.data.folders import scan_folder
from hf_encls.features import extraction, frontends
from hf_encls.features.computing import Extractor
from hf_encls.features.extraction import extract_features, feature_config, feature_identity
from hf_encls.features.frontends import frontend_of
from hf_encls.model import layers_encls
from hf_encls.model.configuration_encls import EnclsConfig, FeatureConfig
from hf_encls.model.identity_encls import codec_hash
from hf_encls.model.mel_encls import LogMel, Mel
from hf_encls.model.modeling_encls import EnclsForAudioClassification


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for label, rate in (("a", 24_000), ("b", 24_000), ("c", 16_000)):
        (tmp_path / label).mkdir()
        for number, seconds in enumerate((2.0, 0.3)):
            soundfile.write(tmp_path / label / f"{number}.wav", rng.standard_normal(round(seconds * rate)) * 0.1, rate)
    quiet = np.zeros(48_000)
    quiet[30_000:] = 0.5
    soundfile.write(tmp_path / "a" / "half_silent.wav", quiet, 24_000)
    return tmp_path


@pytest.fixture
def calls(monkeypatch):
    """Counts the batches that are really computed."""
    made = []
    original = Extractor.__call__
    monkeypatch.setattr(Extractor, "__call__", lambda self, batch: made.append(1) or original(self, batch))
    return made


def test_rows(folder, tmp_path):
    codec = small_codec(24)
    clips, _ = scan_folder(folder)
    windows = extract_features(clips, feature_config("encodec_24khz", clips, codec), codec, tmp_path / "cache")
    assert windows.column_names == ["input_features", "label", "clip_id", "start", "group", "fold", "silent"]
    assert windows.features["input_features"].shape == (16, 75)
    assert windows.features["input_features"].dtype == "float16"
    assert windows.features["label"].names == ["a", "b", "c"]
    long = windows.filter(lambda row: row["clip_id"] == "c/0.wav")
    assert long["start"][:] == [0.0, 1.0] and long["label"][:] == [2, 2]
    assert windows.filter(lambda row: row["clip_id"] == "c/1.wav")["start"][:] == [0.0]
    silent = windows.filter(lambda row: row["clip_id"] == "a/half_silent.wav")
    assert silent["silent"][:] == [True, False]
    latents = codec.encoder(torch.from_numpy(soundfile.read(folder / "a" / "0.wav", dtype="float32")[0])[None, None])[
        0
    ]
    first = windows.with_format("numpy")[0]["input_features"]
    np.testing.assert_allclose(first, latents[:, :75].detach().numpy().astype(np.float16), atol=1e-3)


def test_power_mel_keeps_float32_and_the_commonest_rate(folder, tmp_path, caplog):
    clips, _ = scan_folder(folder)
    config = feature_config("mel", clips)
    assert config.sampling_rate == 24_000 and "commonest rate" in caplog.text
    windows = extract_features(clips, config, cache_dir=tmp_path / "cache")
    assert windows.features["input_features"].dtype == "float32"
    assert windows.features["input_features"].shape == (128, (24_000 - 512) // 128 + 1)


def test_the_second_time_computes_nothing(folder, tmp_path, calls):
    codec, cache = small_codec(24), tmp_path / "cache"
    clips, _ = scan_folder(folder)
    config = feature_config("encodec_24khz", clips, codec)
    first = extract_features(clips, config, codec, cache)
    assert calls
    calls.clear()
    # Another scan and another copy of the codec, as in a new process.
    again = extract_features(scan_folder(folder)[0], config, small_codec(24), cache)
    assert not calls
    assert first[:]["start"] == again[:]["start"]


def test_a_codec_is_prepared_once_in_a_process_and_again_when_its_weights_change(folder, tmp_path, monkeypatch):
    prepared, original = [], layers_encls._prepare
    monkeypatch.setattr(layers_encls, "_prepare", lambda *args: prepared.append(1) or original(*args))
    monkeypatch.setattr(frontends, "_COPIES", {})
    clips, _ = scan_folder(folder)

    def extract(codec, cache: str) -> np.ndarray:
        config = feature_config("encodec_24khz", clips, codec)
        windows = extract_features(clips, config, codec, tmp_path / cache)
        return windows.with_format("numpy")["input_features"][:]

    codec = small_codec(24)
    first = extract(codec, "first")
    assert len(prepared) == 1
    np.testing.assert_array_equal(extract(small_codec(24), "again"), first)  # an equal one, loaded anew
    assert len(prepared) == 1
    for weight in codec.encoder.parameters():
        weight.data.mul_(0.9)  # PyTorch counts no such change
    other = extract(codec, "other")
    assert len(prepared) == 2 and np.abs(other - first).max() > 0.01
    waveform = torch.from_numpy(soundfile.read(folder / "a" / "0.wav", dtype="float32")[0])
    expected = codec.encoder(waveform[None, None])[0, :, :75].detach().half().numpy()
    np.testing.assert_allclose(other[0], expected, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("change", ["weights", "window", "step", "kind", "dtype", "audio", "folder name"])
def test_what_matters_computes_again(folder, tmp_path, calls, change):
    cache = tmp_path / "cache"
    clips, _ = scan_folder(folder)
    codec = small_codec(24)
    extract_features(clips, feature_config("encodec_24khz", clips, codec), codec, cache)
    calls.clear()
    kind, settings = "encodec_24khz", {}
    if change == "weights":
        codec = small_codec(24, seed=1)
    elif change == "window":
        settings["window_s"] = 0.5
    elif change == "step":
        settings["step_s"] = 0.5
    elif change == "kind":
        kind, codec = "log_mel", None
    elif change == "dtype":
        settings["codec_dtype"] = "bfloat16"
    elif change == "audio":
        soundfile.write(folder / "b" / "0.wav", np.full(48_000, 0.1), 24_000)
    else:
        (folder / "b").rename(folder / "bb")
    clips, _ = scan_folder(folder)
    extract_features(clips, feature_config(kind, clips, codec, **settings), codec, cache)
    assert calls


def test_policy_is_part_of_what_features_are(folder, tmp_path, calls):
    codec, cache = small_codec(48), tmp_path / "cache"
    clips, _ = scan_folder(folder)
    rows = {}
    for policy in ("contiguous", "codec"):
        calls.clear()
        config = feature_config("encodec_48khz", clips, codec, codec_policy=policy)
        rows[policy] = extract_features(clips, config, codec, cache)
        assert calls
    # Frames of overlapping chunks run a little ahead of the clock: frame 150 is at 0.99 s.
    assert rows["contiguous"]["start"][:2] == [0.0, 1.0]
    assert rows["codec"]["start"][:2] == pytest.approx([0.0, 0.99])


def test_another_codec_than_the_configurations_is_refused(folder, tmp_path):
    clips, _ = scan_folder(folder)
    config = feature_config("encodec_24khz", clips, small_codec(24))
    with pytest.raises(ValueError, match="expected the codec with hash"):
        extract_features(clips, config, small_codec(24, seed=1), tmp_path)


def test_a_file_that_broke_since_the_scan_is_named(folder, tmp_path):
    clips, _ = scan_folder(folder)
    (folder / "b" / "0.wav").write_bytes(b"gone")
    with pytest.raises(ValueError, match=r"b.0\.wav .*fine when the folder was scanned"):
        extract_features(clips, feature_config("log_mel", clips), cache_dir=tmp_path / "cache")


@pytest.mark.parametrize("moment", ["after the scan", "after the checksums"])
@pytest.mark.parametrize("seconds", [2.0, 1.5])
def test_a_file_that_was_replaced_meanwhile_is_refused_or_what_it_is_now(
    folder, tmp_path, monkeypatch, moment, seconds
):
    clips, _ = scan_folder(folder)
    config, cache = feature_config("log_mel", clips), tmp_path / "cache"
    noise = np.random.default_rng(9).standard_normal(round(seconds * 24_000)) * 0.1
    soundfile.write(tmp_path / "other.wav", noise, 24_000)
    place = folder / "b" / "0.wav"
    before = place.stat()
    compute = extraction.compute

    def replace() -> None:
        os.replace(tmp_path / "other.wav", place)
        os.utime(place, ns=(before.st_atime_ns, before.st_mtime_ns))  # its date tells nothing

    def late(*args):
        replace()
        return compute(*args)

    if moment == "after the scan":
        replace()
    else:
        monkeypatch.setattr(extraction, "compute", late)
    if moment == "after the scan" and seconds == 2.0:  # as long as it was: it is what it is now
        found = extract_features(clips, config, cache_dir=cache)
    else:
        with pytest.raises(ValueError, match=r"b.0\.wav changed while features were made"):
            extract_features(clips, config, cache_dir=cache)
        monkeypatch.undo()
        clips, _ = scan_folder(folder)
        found = extract_features(clips, config, cache_dir=cache)
    clean = extract_features(scan_folder(folder)[0], config, cache_dir=tmp_path / "clean")
    assert found[:] == clean[:]


def test_a_file_that_is_gone_since_the_scan_is_named(folder, tmp_path):
    clips, _ = scan_folder(folder)
    (folder / "b" / "0.wav").unlink()
    with pytest.raises(ValueError, match=r"b.0\.wav cannot be read"):
        extract_features(clips, feature_config("log_mel", clips), cache_dir=tmp_path / "cache")


@pytest.mark.parametrize(
    "change",
    [
        {"normalize": True},
        {"chunk_length_s": 1.0, "overlap": 0.01},
        {"use_causal_conv": False},
        {"pad_mode": "constant"},
        {"dilation_growth_rate": 3},
    ],
)
def test_settings_of_a_codec_are_part_of_its_features_identity(change):
    plain, changed = small_codec(24), small_codec(24)
    for name, value in change.items():
        setattr(changed.config, name, value)
    one, other = (
        feature_identity(feature_config("encodec_24khz", codec=codec, codec_policy="whole"))
        for codec in (plain, changed)
    )
    assert one != other


def test_hashes_of_published_kinds_are_of_the_weights_alone():
    # They stand in published data sets and in docs/example_report.
    assert codec_hash(load_codec("mini")).startswith("f6c34114abf2faff")


def test_latents_that_are_no_numbers_are_refused(folder, tmp_path):
    codec = small_codec(24)
    with torch.no_grad():
        codec.encoder.layers[0].conv.bias.fill_(torch.nan)
    clips, _ = scan_folder(folder)
    config = feature_config("encodec_24khz", clips, codec)
    with pytest.raises(ValueError, match="found NaN or infinity"):
        extract_features(clips, config, codec, tmp_path / "cache")


def test_odd_clips_do_not_end_an_extraction(folder, tmp_path):
    for name, count, rate in (
        ("fast", 100, 10_000_000),
        ("slow", 200_000, 1),
        ("brief", 10, 768_000),
        ("one", 1, 24_000),
    ):
        soundfile.write(folder / "a" / f"{name}.wav", np.full(count, 0.1), rate)
    clips, report = scan_folder(folder)
    assert len(report.left_out) == 3
    codec = small_codec(24)
    for kind in ("encodec_24khz", "log_mel"):
        config = feature_config(kind, clips, codec)
        windows = extract_features(clips, config, codec, tmp_path / "cache")
        assert set(windows["clip_id"][:]) == set(clips["clip_id"][:]) and "a/one.wav" in windows["clip_id"][:]


def test_a_clip_too_loud_for_float16_is_named(folder, tmp_path):
    soundfile.write(folder / "b" / "loud.wav", np.full(24_000, 2e9), 24_000, subtype="FLOAT")
    clips, _ = scan_folder(folder)
    codec = small_codec(24)
    with pytest.raises(ValueError, match=r"within float16, found larger ones in those of b/loud.wav"):
        extract_features(clips, feature_config("encodec_24khz", clips, codec), codec, tmp_path / "cache")


def test_precisions_are_kinds_of_features():
    one, other = (
        feature_identity(feature_config("encodec_24khz", codec=small_codec(24), codec_dtype=name))
        for name in ("float32", "tf32")
    )
    assert one != other and other["codec_dtype"] == "tf32"


def test_bfloat16_features_of_earlier_versions_are_not_mixed_with_todays():
    codec = small_codec(24)
    exact = feature_config("encodec_24khz", codec=codec)
    rounded = feature_config("encodec_24khz", codec=codec, codec_dtype="bfloat16")
    earlier = {"format": 1} | rounded.identity()  # layers may have been wrong
    assert feature_identity(rounded) != earlier
    assert {name: feature_identity(rounded)[name] for name in earlier} == earlier
    # Those in float32, and mel, are what they were: caches and published sets stay valid.
    for config in (exact, feature_config("encodec_24khz", codec=codec, codec_dtype="tf32"), feature_config("mel")):
        assert feature_identity(config) == {"format": 1} | config.identity()


def test_a_hop_for_features_of_a_codec_is_refused(folder, tmp_path):
    args = ["--data_dir", str(folder), "--codec", "untrained", "--cache_dir", str(tmp_path / "cache")]
    with pytest.raises(ValueError, match="--hop_length is about mel"):
        extract_command([*args, "--hop_length", "256"])


def test_bytes_per_second_count_what_overlaps(folder, tmp_path):
    args = ["--data_dir", str(folder), "--features", "log_mel", "--cache_dir", str(tmp_path / "cache")]
    whole = extract_command([*args, "--window_s", "1", "--step_s", "1"])
    overlapping = extract_command([*args, "--window_s", "1", "--step_s", "0.5"])
    assert overlapping["bytes_per_second"] == pytest.approx(2 * whole["bytes_per_second"])


def test_a_policy_that_nobody_gave_is_part_of_the_identity(folder, tmp_path, calls):
    codec = small_codec(24)
    clips, _ = scan_folder(folder)
    config = feature_config("encodec_24khz", clips, codec)
    extract_features(clips, config, codec, tmp_path / "cache")
    calls.clear()
    config.codec_policy = None
    extract_features(clips, config, codec, tmp_path / "cache")
    assert not calls and config.codec_policy is None  # the caller's configuration stays as it was


def test_a_setting_that_is_no_field_is_refused_and_one_of_other_features_passed_over():
    with pytest.raises(TypeError, match="hop_lenght"):
        feature_config("log_mel", hop_lenght=256)
    config = feature_config("log_mel", hop_length=256, bandwidth=6.0, codec_id="mini")
    assert config.hop_length == 256 and config.bandwidth is config.codec_id is None


@pytest.mark.parametrize(
    ("rate", "n_fft"), [(44_100, 1024), (48_000, 1024), (22_050, 512), (16_000, 512), (8_000, 256)]
)
def test_new_log_mel_hears_in_every_band_at_a_hop_that_is_no_wait(rate, n_fft, caplog):
    config = feature_config("log_mel", sampling_rate=rate)
    assert (config.n_fft, config.hop_length) == (n_fft, n_fft // 2)
    assert LogMel.empty_bands(config) == [] and not caplog.records


def test_what_names_its_hop_is_made_as_ever():
    old = EnclsConfig(features="log_mel", sampling_rate=44_100)
    assert (old.n_fft, old.hop_length) == (512, 128)  # what a checkpoint means that says nothing
    named = feature_config("log_mel", sampling_rate=44_100, hop_length=128)
    assert named.identity() == FeatureConfig.of(old).identity()
    assert (
        feature_config("mel").identity() == EnclsConfig(features="mel", sampling_rate=44_100).identity()
    )  # the paper's
    assert feature_config("log_mel", n_fft=2048).hop_length == 128


def test_empty_bands_are_named_once_and_not_by_a_model_that_is_loaded(caplog, recwarn, tmp_path):
    config = feature_config("mel", sampling_rate=44_100)
    (said,) = caplog.messages
    assert said.startswith("11 of 128 mel bands are empty with `n_fft=512` at 44100 Hz (")
    assert len(re.search(r"\(([\d, ]+)\)", said)[1].split(", ")) == 11
    frontend = frontend_of(config, None)
    loud = frontend.windows([torch.randn(44_100)])[0][0]
    assert [int(band) for band in (loud == 0).all(dim=1).nonzero()] == Mel.empty_bands(config)
    EnclsForAudioClassification(config).save_pretrained(tmp_path)
    EnclsForAudioClassification.from_pretrained(tmp_path)
    assert len(caplog.messages) == 1 and not [each for each in recwarn if "mel" in str(each.message)]
