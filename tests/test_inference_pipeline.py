"""EnclsPipeline: every input, and the same scores alone, in a batch and in pieces."""

import io
import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from datasets import Audio, Dataset
from small_models import CLASSES, save_small_model, small_codec, small_model
from transformers import pipeline

from hf_encls.audio import AudioError, load
from hf_encls.codec.bitstream import write_ecdc
from hf_encls.codec.codes import CodesError, save_codes
from hf_encls.codec.coding import encode
from hf_encls.inference import pipeline as module
from hf_encls.inference.embeddings import load_model
from hf_encls.inference.pipeline import EnclsPipeline

KINDS = {
    "log_mel": {},
    "encodec_24khz": {},
    "encodec_48khz": {},
    "encodec_48khz codec": {"codec_policy": "codec"},
    "encodec_24khz_codes": {"bandwidth": 3.0},
    "encodec_48khz_codes codec": {"bandwidth": 3.0, "codec_policy": "codec"},
}


def noise(seconds: float, rate: int, seed: int = 0) -> np.ndarray:
    """Noise whose loudness changes, so that windows differ."""
    rng = np.random.default_rng(seed)
    count = round(seconds * rate)
    envelope = np.interp(np.arange(count), np.linspace(0, count, 12), rng.random(12))
    return (0.5 * envelope * rng.normal(size=count)).astype(np.float32)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    made = {}
    for kind, settings in KINDS.items():
        features = kind.split()[0]
        folder = tmp_path_factory.mktemp(kind.replace(" ", "_"))
        made[kind] = save_small_model(folder, features, window_s=0.4, step_s=0.2, **settings)
    return made


@pytest.fixture(scope="module")
def pipes(folders) -> dict[str, EnclsPipeline]:
    return {kind: EnclsPipeline.from_pretrained(folder, device="cpu", top_k=None) for kind, folder in folders.items()}


def by_label(answer: list[dict]) -> np.ndarray:
    scores = {each["label"]: each["score"] for each in answer}
    return np.array([scores[name] for name in CLASSES])


@pytest.mark.parametrize("kind", KINDS)
def test_one_line_and_stock_constructor_agree_with_the_model(kind, folders, pipes):
    pipe = pipes[kind]
    rate = pipe.model.config.sampling_rate
    wave = noise(1.3, rate)
    with torch.no_grad():
        expected = pipe.model(input_values=torch.from_numpy(wave)[None]).logits[0].softmax(-1).numpy()
    np.testing.assert_allclose(by_label(pipe(wave)), expected, atol=1e-6)
    other = pipeline("audio-classification", model=str(folders[kind]), pipeline_class=EnclsPipeline, device="cpu")
    assert isinstance(other, EnclsPipeline)
    np.testing.assert_allclose(by_label(other(wave)), expected, atol=1e-6)
    stock = pipeline("audio-classification", model=str(folders[kind]), device="cpu")
    np.testing.assert_allclose(by_label(stock(wave)), expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_batch_equals_single(kind, pipes):
    pipe = pipes[kind]
    rate = pipe.model.config.sampling_rate
    clips = [noise(seconds, rate, seed) for seed, seconds in enumerate([0.05, 2.3, 0.4, 1.0, 0.9, 3.1])]
    together = pipe(clips, batch_size=4)
    for clip, answer in zip(clips, together, strict=True):
        np.testing.assert_allclose(by_label(answer), by_label(pipe(clip)), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_pieces_equal_the_whole(kind, pipes, monkeypatch):
    pipe = pipes[kind]
    rate = pipe.model.config.sampling_rate
    wave = noise(23.7, rate)
    whole = pipe.analyse(wave)
    monkeypatch.setattr(module, "SHORT_S", 1.0)
    pieces = pipe.analyse(wave)
    np.testing.assert_allclose(pieces.probabilities, whole.probabilities, atol=1e-5)
    assert pieces.duration_s == whole.duration_s == pytest.approx(23.7)


def test_scores_differ_between_clips(pipes):
    # The tests above would pass with a constant model.
    for pipe in pipes.values():
        rate = pipe.model.config.sampling_rate
        loud, quiet = by_label(pipe(noise(1.0, rate))), by_label(pipe(1e-3 * noise(1.0, rate, 5)))
        assert np.abs(loud - quiet).max() > 1e-4


def test_every_source_gives_the_same_answer(pipes, tmp_path):
    pipe = pipes["encodec_24khz"]
    stereo = np.stack([noise(1.2, 44_100, 0), noise(1.2, 44_100, 1)], axis=1)
    path = tmp_path / "a b.wav"
    soundfile.write(path, stereo, 44_100, subtype="FLOAT")
    data = path.read_bytes()
    expected = by_label(pipe(load(path, 24_000)))
    rows = Dataset.from_dict({"audio": [str(path)]}).cast_column("audio", Audio(decode=False))
    sources = [
        path,
        str(path),
        data,
        io.BytesIO(data),
        {"bytes": data, "path": None},
        {"path": str(path), "bytes": None},
        {"array": stereo, "sampling_rate": 44_100},
        {"raw": stereo.T, "sampling_rate": 44_100},
        {"array": torch.from_numpy(stereo.mean(axis=1)), "sampling_rate": 44_100, "path": "x"},
        rows[0],
        rows[0]["audio"],
    ]
    for source in sources:
        np.testing.assert_allclose(by_label(pipe(source)), expected, atol=1e-5)
    np.testing.assert_allclose(by_label(pipe(stereo, sampling_rate=44_100)), expected, atol=1e-5)
    with path.open("rb") as file:
        np.testing.assert_allclose(by_label(pipe(file)), expected, atol=1e-5)
    for answer in pipe(sources[:3]) + list(pipe(iter([path, path]))) + list(pipe(rows)):
        np.testing.assert_allclose(by_label(answer), expected, atol=1e-5)


def test_a_generator_is_read_as_its_answers_are_taken(pipes):
    taken = []

    def sources():
        for index in range(100):
            taken.append(index)
            yield noise(0.4, 44_100, index)

    answers = pipes["log_mel"](sources())
    assert len(list(itertools.islice(answers, 3))) == 3
    assert len(taken) <= 4


def test_top_k(pipes, folders):
    wave = noise(1.0, 44_100)
    pipe = pipes["log_mel"]
    assert len(pipe(wave)) == 3 and len(pipe(wave, top_k=2)) == 2 and len(pipe(wave, top_k=50)) == 3
    scores = [each["score"] for each in pipe(wave)]
    assert scores == sorted(scores, reverse=True) and sum(scores) == pytest.approx(1.0)
    one = EnclsPipeline.from_pretrained(folders["log_mel"], device="cpu", top_k=1)
    assert len(one(wave)) == 1 and len(one(wave, top_k=None)) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_timeline(kind, pipes, tmp_path):
    pipe = pipes[kind]
    path = tmp_path / "x.flac"
    soundfile.write(path, noise(3.3, 16_000), 16_000)
    found = pipe(path, return_timestamps=True, smoothing="median", min_duration_s=0.4, all_scores=True)
    assert found[0]["start"] == 0.0
    assert found[-1]["end"] == pytest.approx(3.3, abs=1e-4)
    assert set(found[0]) == {"start", "end", "label", "score", "scores"}
    assert all(left["end"] == right["start"] for left, right in itertools.pairwise(found))
    assert all(each["end"] - each["start"] >= 0.4 - 1e-6 for each in found) or len(found) == 1


def test_another_step_than_in_training(folders):
    pipe = EnclsPipeline.from_pretrained(folders["encodec_24khz"], device="cpu")
    wave = noise(2.0, 24_000)
    before = pipe.analyse(wave)
    pipe.set_step(0.1)
    after = pipe.analyse(wave)
    assert after.step_s == pytest.approx(8 / 75)  # whole frames
    assert len(after.probabilities) > len(before.probabilities)
    np.testing.assert_allclose(after.probabilities[0], before.probabilities[0], atol=1e-5)
    for step_s in (0.001, 0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="one frame|step_s above 0"):
            pipe.set_step(step_s)


@pytest.mark.parametrize("kind", ["encodec_24khz", "log_mel"])
@pytest.mark.parametrize("duration_s", [2.0, 62.0])  # a batch, and a stream
def test_a_step_is_the_pipelines_own(kind, duration_s, folders, tmp_path):
    pipe = EnclsPipeline.from_pretrained(folders[kind], device="cpu")
    published = pipe.model.config.to_dict()
    wave = noise(duration_s, pipe.model.config.sampling_rate)
    whole = pipe.model(input_values=torch.from_numpy(wave[None, :50_000])).num_windows
    pipe.set_step(0.4)
    found = pipe.analyse(wave)
    assert pipe.model.config.to_dict() == published
    assert pipe.model(input_values=torch.from_numpy(wave[None, :50_000])).num_windows == whole
    pipe.save_pretrained(tmp_path / "saved")
    saved = EnclsPipeline.from_pretrained(tmp_path / "saved", device="cpu")
    assert saved.model.config.step_s == published["step_s"]
    # A model that was made with this step says the same.
    saved.model.config.step_s = found.step_s
    expected = saved.analyse(wave)
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)
    np.testing.assert_array_equal(found.starts_s, expected.starts_s)
    assert found.timeline(smoothing="median") == expected.timeline(smoothing="median")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (np.zeros(0, np.float32), "empty"),
        (np.full(2000, np.nan, np.float32), "2000 NaN"),
        (np.zeros(2000, np.int16), "divide by 32767"),
        (np.zeros((40, 50, 2), np.float32), "found an array of shape"),
        (np.zeros((40, 50), np.float32), "channels"),
        (b"", "is empty"),
        (b"not audio", "libsndfile"),
        (Path("none.wav"), "none.wav: does not exist"),
        ({"array": np.zeros(2000, np.float32)}, "sampling_rate"),
        ({"array": np.zeros(2000, np.float32), "sampling_rate": 0}, "sampling rate"),
        ({"text": 5}, "found the keys text"),
        (5, "found int"),
        ("https://example.org/a.wav", "download it first"),
    ],
)
def test_what_cannot_be_classified_is_said(source, message, pipes):
    with pytest.raises(AudioError, match=message):
        pipes["log_mel"](source)


def test_one_bad_file_of_several(pipes, tmp_path):
    good, bad = tmp_path / "good.wav", tmp_path / "bad.wav"
    soundfile.write(good, noise(0.5, 44_100), 44_100)
    bad.write_bytes(good.read_bytes()[:1000])
    pipe = pipes["log_mel"]
    found = list(pipe.analyse_many([good, bad, good, bad], batch_size=2, return_errors=True))
    assert [isinstance(each, ValueError) for each in found] == [False, True, False, True]
    with pytest.raises(AudioError, match=r"bad\.wav: is truncated"):
        pipe([good, bad])


def test_unknown_settings_are_refused(pipes):
    wave = noise(0.5, 44_100)
    with pytest.raises(ValueError, match="unknown setting return_timestamp; known are"):
        pipes["log_mel"](wave, return_timestamp=True)
    with pytest.raises(ValueError, match="return_timestamps=True"):
        pipes["log_mel"](wave, smoothing="median")


# ------------------------------------------------------------------------------------------------ codes


@pytest.mark.parametrize(("kind", "khz"), [("encodec_24khz_codes", 24), ("encodec_48khz_codes codec", 48)])
def test_bitstreams_and_saved_codes_give_the_waveforms_scores(kind, khz, pipes, tmp_path):
    pipe, codec = pipes[kind], small_codec(khz)
    wave = noise(2.7, khz * 1000)
    expected = pipe.analyse(wave)
    codes = encode(codec, [wave], bandwidth=6.0)  # more than the model's 3 kbps
    ecdc = write_ecdc(codes, tmp_path / "x.ecdc")
    saved = save_codes(codes, tmp_path / "x.safetensors")
    output = codec.encode(torch.from_numpy(wave).expand(1, codec.config.audio_channels, -1), bandwidth=3.0)
    told = {"family": f"encodec_{khz}khz", "assume_codec": True}
    with ecdc.open("rb") as file:
        found = [pipe.analyse(each) for each in (codes, ecdc, str(ecdc), ecdc.read_bytes(), file, saved)]
    found += [pipe.analyse(output, **told), pipe.analyse(dict(output), **told)]
    for analysis in found:
        # Rounding may move single codes; the embeddings then differ in single frames.
        assert np.abs(analysis.probabilities - expected.probabilities).max() < 0.02
        assert np.abs(analysis.scores() - expected.scores()).max() < 2e-3
        assert analysis.duration_s == pytest.approx(2.7, abs=0.01)


def test_long_codes_in_pieces_equal_the_whole(pipes, monkeypatch):
    pipe = pipes["encodec_24khz_codes"]
    codes = encode(small_codec(24), [noise(9.3, 24_000)], bandwidth=3.0)
    whole = pipe.analyse(codes)
    monkeypatch.setattr(module, "PIECE_S", 0.3)
    np.testing.assert_allclose(pipe.analyse(codes).probabilities, whole.probabilities, atol=1e-6)


def test_codes_that_do_not_fit_are_refused(pipes, tmp_path):
    codes = encode(small_codec(24, seed=7), [noise(1.0, 24_000)], bandwidth=3.0)
    path = write_ecdc(codes, tmp_path / "x.ecdc")
    with pytest.raises(CodesError, match=r"x\.ecdc: expected codes of the codebooks .* encode the audio again"):
        pipes["encodec_24khz_codes"](path)
    assert pipes["encodec_24khz_codes"](path, assume_codec=True)
    with pytest.raises(CodesError, match="give it the audio, or train a model with `features=codes`"):
        pipes["encodec_24khz"](path)
    contiguous = small_model("encodec_48khz_codes", bandwidth=3.0, codec_policy="contiguous")
    pipe = EnclsPipeline(model=contiguous, task="audio-classification", device="cpu")
    with pytest.raises(CodesError, match="chunks overlap"):
        pipe(encode(small_codec(48), [noise(1.0, 48_000)], bandwidth=3.0))
    with pytest.raises(CodesError, match="family"):
        pipes["encodec_24khz_codes"]({"audio_codes": codes.chunks[0]})


def test_weights_that_are_pickled_are_not_loaded(tmp_path):
    folder = save_small_model(tmp_path / "model", "log_mel")
    (folder / "model.safetensors").unlink()
    torch.save(small_model("log_mel").state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        EnclsPipeline.from_pretrained(folder)
    with pytest.raises(OSError, match="safetensors"):
        load_model(str(folder))


def test_it_says_that_it_hears(pipes):
    assert "'input_modalities': 'audio'" in repr(pipes["log_mel"])


SEGMENT = """
import resource, sys
import numpy as np
from hf_encls.inference.pipeline import EnclsPipeline

pipe = EnclsPipeline.from_pretrained(sys.argv[1], device="cpu")
pipe.set_step(0.2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
analysis = pipe.analyse(sys.argv[2], progress=False)
print(len(analysis.probabilities), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss has other units elsewhere")
def test_a_fine_step_needs_no_gigabyte(tmp_path):
    folder = save_small_model(tmp_path / "model", "log_mel", num_bands=128)
    soundfile.write(tmp_path / "x.flac", noise(65, 44_100), 44_100)
    command = [sys.executable, "-c", SEGMENT, str(folder), str(tmp_path / "x.flac")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    count, grown_mb = map(int, done.stdout.split())
    assert count == 321 and grown_mb < 400
