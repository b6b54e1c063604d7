"""The stock pipeline runs a checkpoint: after `import hf_encls`, and as remote code where it is not installed."""

import json
import subprocess
import sys

import numpy as np
import pytest
from small_models import CLASSES, save_small_model
from transformers import pipeline

from hf_encls import EnclsFeatureExtractor


def clip(num_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(num_samples).astype(np.float32) * 0.1


def scores(rows: list[dict]) -> dict[str, float]:
    return {row["label"]: row["score"] for row in rows}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_small_model(tmp_path_factory.mktemp("model") / "small_24khz", "encodec_24khz")


@pytest.fixture(scope="module")
def classifier(folder):
    return pipeline("audio-classification", model=str(folder))


def test_one_array(classifier):
    found = scores(classifier(clip(50_000)))
    assert set(found) == set(CLASSES) and sum(found.values()) == pytest.approx(1, abs=1e-5)


def test_batches_score_as_one_by_one(classifier):
    clips = [clip(length, seed) for seed, length in enumerate((60_000, 700, 24_000, 100_001, 36_000))]
    alone = [scores(classifier(x)) for x in clips]
    assert [scores(rows) for rows in classifier(clips)] == [pytest.approx(row, abs=1e-5) for row in alone]
    batched = [scores(rows) for rows in classifier(clips, batch_size=4)]
    assert batched == [pytest.approx(row, abs=1e-5) for row in alone]


def test_shorter_than_a_window_and_top_k(classifier):
    assert len(classifier(clip(1))) == 3
    assert len(classifier(clip(900), top_k=1)) == 1


def test_ten_minutes(classifier):
    assert sum(scores(classifier(clip(600 * 24_000))).values()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("features", ["encodec_48khz", "mel", "log_mel"])
def test_other_features_on_mono_input(features, tmp_path):
    run = pipeline("audio-classification", model=str(save_small_model(tmp_path / features, features)))
    rate = run.feature_extractor.sampling_rate
    clips = [clip(rate * 2 + 5), clip(rate // 3, 1)]
    alone = [scores(run(x)) for x in clips]
    assert [scores(rows) for rows in run(clips, batch_size=2)] == [pytest.approx(row, abs=1e-5) for row in alone]


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (np.zeros(0, np.float32), "empty waveform"),
        (np.full(100, np.nan, np.float32), "finite samples"),
        (np.zeros((2, 100), np.float32), "single channel|mono"),
        (np.zeros(100, np.int16), "divide by 32767"),
    ],
)
def test_bad_input_is_a_clear_error(classifier, audio, message):
    with pytest.raises(ValueError, match=message):
        classifier(audio)


def test_the_extractor_minds_the_sampling_rate():
    extractor = EnclsFeatureExtractor(sampling_rate=24_000)
    with pytest.raises(ValueError, match="expected audio at 24000 Hz, found 16000 Hz"):
        extractor(clip(100), sampling_rate=16_000)
    batch = extractor([clip(10), clip(4)], sampling_rate=24_000, return_tensors="pt")
    assert batch["input_values"].shape == (2, 10) and batch["attention_mask"].sum(-1).tolist() == [10, 4]
    with pytest.raises(ValueError, match=r"shape \(2, 100\)"):
        extractor(np.zeros((2, 100), np.float32), sampling_rate=24_000)


@pytest.mark.parametrize("features", ["encodec_24khz", pytest.param("log_mel", marks=pytest.mark.slow)])
def test_clean_interpreter_with_remote_code(features, tmp_path):
    folder = save_small_model(tmp_path / "remote", features)
    expected = scores(pipeline("audio-classification", model=str(folder))(clip(40_000)))
    code = """
import sys, json
sys.modules["hf_encls"] = None  # as if it were not installed
import numpy as np
from transformers import pipeline
run = pipeline("audio-classification", model=sys.argv[1], trust_remote_code=True)
rows = run(np.random.default_rng(0).standard_normal(40_000).astype(np.float32) * 0.1)
print(json.dumps({row["label"]: row["score"] for row in rows}))
"""
    environment = {"PATH": "", "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr[-2000:]
    assert json.loads(run.stdout.splitlines()[-1]) == pytest.approx(expected, abs=1e-6)
