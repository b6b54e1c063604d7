"""The offline default: the same files each time, complete or absent, and no single number tells the classes apart."""

import numpy as np
import pytest
import soundfile

from hf_encls.data import synthetic
from hf_encls.data.folders import scan_folder
from hf_encls.data.synthetic import DURATION_S, SAMPLING_RATE, SOUNDS, write_synthetic


def contents(folder) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return write_synthetic(tmp_path_factory.mktemp("sounds") / "data", clips_per_class=3)


def test_it_is_the_same_to_the_byte_and_differs_by_seed(sounds, tmp_path):
    again = write_synthetic(tmp_path / "again", clips_per_class=3)
    assert contents(again) == contents(sounds)
    fewer = contents(write_synthetic(tmp_path / "fewer", clips_per_class=1))
    assert all(contents(sounds)[name] == data for name, data in fewer.items() if name.endswith(".wav"))
    other = contents(write_synthetic(tmp_path / "other", clips_per_class=1, seed=1))
    assert all(other[name] != data for name, data in fewer.items())


def test_every_class_has_clips_of_mixed_lengths_as_16_bit_mono(sounds):
    clips, report = scan_folder(sounds)
    assert clips.features["label"].names == sorted(SOUNDS) and len(SOUNDS) >= 5
    assert report.used == 3 * len(SOUNDS) and not report.left_out
    assert set(clips["sampling_rate"][:]) == {SAMPLING_RATE} and set(clips["num_channels"][:]) == {1}
    lengths = clips["duration_s"][:]
    assert DURATION_S[0] <= min(lengths) < max(lengths) <= DURATION_S[1] and len(set(lengths)) > 3
    assert {soundfile.info(row["path"]).subtype for row in clips["audio"][:]} == {"PCM_16"}


def test_no_clip_is_silent_or_clipped_and_levels_overlap(sounds):
    for path in sounds.rglob("*.wav"):
        samples, _ = soundfile.read(path)
        assert 0.1 < np.abs(samples).max() < 0.95 and np.sqrt(np.mean(samples**2)) > 1e-3


def test_the_mean_frequency_alone_does_not_tell_the_classes_apart(tmp_path):
    folder = write_synthetic(tmp_path / "data", clips_per_class=8)
    centroids = {}
    for name in SOUNDS:
        centroids[name] = []
        for path in sorted((folder / name).iterdir()):
            samples, rate = soundfile.read(path)
            power = np.abs(np.fft.rfft(samples)) ** 2
            centroids[name].append((np.fft.rfftfreq(len(samples), 1 / rate) * power).sum() / power.sum())
    values = np.array([value for row in centroids.values() for value in row])
    labels = np.repeat(np.arange(len(SOUNDS)), 8)
    distance = np.abs(values[:, None] - values[None])
    np.fill_diagonal(distance, np.inf)
    nearest_is_right = np.mean(labels[distance.argmin(axis=1)] == labels)
    assert nearest_is_right < 0.7


def test_a_finished_folder_is_kept_and_another_one_is_never_overwritten(sounds, tmp_path):
    before = (sounds / synthetic.MARKER).stat().st_mtime_ns
    assert write_synthetic(sounds, clips_per_class=3) == sounds
    assert (sounds / synthetic.MARKER).stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="is not the synthetic data set"):
        write_synthetic(sounds, clips_per_class=4)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="name an empty folder"):
        write_synthetic(tmp_path / "mine")
    with pytest.raises(ValueError, match="at least 1"):
        write_synthetic(tmp_path / "none", clips_per_class=0)


def test_an_interrupted_run_leaves_nothing_that_looks_finished(tmp_path, monkeypatch):
    def interrupted(rng, num_samples):
        raise KeyboardInterrupt

    monkeypatch.setitem(synthetic.SOUNDS, "rain", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_synthetic(tmp_path / "data", clips_per_class=1)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    (tmp_path / "data").mkdir()
    assert write_synthetic(tmp_path / "data", clips_per_class=1).is_dir()
