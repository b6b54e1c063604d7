"""Training on published latents: their codec's facts, options that fit them or are refused, models without a codec."""

import json
from pathlib import Path

import numpy as np
import pytest
from datasets import ClassLabel, Dataset
from hub_server import USER
from small_models import CLASSES, small_codec

from hf_encls.codec.facts import CodecFacts
from hf_encls.commands.train import main
from hf_encls.features.extraction import feature_columns, feature_config
from hf_encls.hub.push_features import FeatureSet, PublishError, push_features
from hf_encls.hub.push_models import push_model
from hf_encls.model.modeling_encls import EnclsForAudioClassification
from hf_encls.report.dataset_cards import DataSource
from hf_encls.training.results import Results

REPO = f"{USER}/little-latents"
WINDOW_S = 0.4


@pytest.fixture
def published(hub, monkeypatch) -> str:
    """Latents of a codec that cannot be reached; it was trained on the very clips."""
    config = feature_config("encodec_24khz", codec=small_codec(24), window_s=WINDOW_S, codec_id=f"{USER}/not-there")
    count = 60
    labels = np.arange(count // 2).repeat(2) % 3
    windows = np.random.default_rng(0).normal(0, 1, (count, *config.stored_shape))
    windows[np.arange(count), labels * 4] += 3
    rows = {
        "input_features": windows.astype(np.float16),
        "label": labels,
        "clip_id": [f"{CLASSES[label]}/{number // 2}.wav" for number, label in enumerate(labels)],
        "start": [WINDOW_S * (number % 2) for number in range(count)],
        "group": [f"{number // 2}" for number in range(count)],
        "fold": [0] * count,
        "silent": [False] * count,
    }
    features = Dataset.from_dict(rows, features=feature_columns(config, ClassLabel(names=CLASSES)))
    source = DataSource("Little sounds", "CC0", "cc0-1.0", "https://example.org", "Nobody")
    push_features(
        FeatureSet(features, config, source, codec=CodecFacts(id="mine", trained_on=["Little sounds"])), REPO
    )
    return REPO


def train(folder: Path, *more: str) -> Results:
    args = ["--dataset", REPO, "--window_s", str(WINDOW_S), "--num_train_epochs", "1", "--report_to", "none"]
    return main([*args, "--output_dir", str(folder), *more])


def test_the_facts_of_the_codec_come_with_the_features(published, tmp_path, capsys):
    results = train(tmp_path / "model")
    assert results.codec.trained_on == ["Little sounds"] and results.codec.heard_test_clips
    assert "was itself trained on Little sounds" in capsys.readouterr().out


def test_a_model_without_its_codec_says_so_and_is_not_published(published, tmp_path, capsys, hub):
    results = train(tmp_path / "model")
    assert results.holds_codec is False
    assert json.loads((tmp_path / "model" / "results.json").read_text())["holds_codec"] is False
    said = capsys.readouterr().out
    assert "It holds no codec" in said and "attach_codec" in said and "import pipeline" not in said
    with pytest.raises(ValueError, match="without its codec .* is not published"):
        train(tmp_path / "other", "--push_to_hub", "--hub_model_id", f"{USER}/model")
    assert not (tmp_path / "other").exists()  # nothing was trained


def test_a_codec_that_is_put_in_later_can_be_published(published, tmp_path, capsys, hub):
    folder = tmp_path / "model"
    train(folder)
    with pytest.raises(PublishError, match="write_model_card"):
        push_model(folder, f"{USER}/model")
    small_codec(24).save_pretrained(tmp_path / "codec")
    advice = capsys.readouterr().out.split("To put the codec in:")[1]
    exec(advice.replace("FOLDER_OF_THE_CODEC", str(tmp_path / "codec")), {})  # as it is printed
    card = (folder / "README.md").read_text()
    assert "does **not** hold" not in card and "also holds the encoder" in card
    push_model(folder, f"{USER}/model")
    assert "model.safetensors" in hub.files(f"{USER}/model")


def test_the_codec_may_lie_elsewhere(published, tmp_path, capsys, hub):
    small_codec(24).save_pretrained(tmp_path / "codec")
    results = train(
        tmp_path / "model", "--codec", str(tmp_path / "codec"), "--push_to_hub", "--hub_model_id", f"{USER}/model"
    )
    assert results.holds_codec is True and results.codec.trained_on == ["Little sounds"]
    assert "import pipeline" in capsys.readouterr().out
    assert EnclsForAudioClassification.from_pretrained(tmp_path / "model").frontend is not None
    assert "model.safetensors" in hub.files(f"{USER}/model")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--strict"], "--strict is about reading audio"),
        (["--cache_dir", "somewhere"], "--cache_dir is about reading audio"),
        (["--bandwidth", "3"], "--bandwidth is about codes"),
        (["--hop_length", "256"], "--hop_length is about mel and log_mel"),
        (["--step_s", "0.2"], r"step_s=0\.2, found step_s=0\.4"),
        (["--codec_policy", "contiguous"], "found codec_policy='whole'"),
        (["--codec_dtype", "bfloat16"], "found codec_dtype='float32'"),
        (["--codec_revision", "abc"], "leave `codec_revision` out"),
        (["--features", "mel", "--dataset_config", "encodec_24khz"], "expected features mel, found encodec_24khz"),
        (["--codec", "untrained"], "found another one at untrained"),
        (["--streaming", "--memory_limit_gb", "1"], "give one of them"),
    ],
)
def test_options_are_compared_or_refused(published, tmp_path, more, message):
    with pytest.raises(ValueError, match=message):
        train(tmp_path / "model", *more)
    assert not (tmp_path / "model").exists()


def test_options_that_agree_are_welcome(published, tmp_path):
    agreeing = ["--step_s", "0.4", "--codec_policy", "whole", "--codec_dtype", "float32"]
    assert train(tmp_path / "model", *agreeing, "--features", "encodec_24khz").step_s == pytest.approx(0.4)


@pytest.mark.parametrize("streaming", [False, True])
def test_codes_that_no_codebook_has_are_refused_by_row(hub, tmp_path, streaming):
    codec = small_codec(24)
    codec.save_pretrained(tmp_path / "codec")
    settings = {"codec": codec, "window_s": WINDOW_S, "codec_id": "codec", "bandwidth": 3.0}
    config = feature_config("encodec_24khz_codes", **settings)
    size, count = codec.config.codebook_size, 30
    windows = np.random.default_rng(0).integers(0, size, (count, *config.stored_shape))
    windows[17, 1, 2] = size
    rows = {
        **{"input_features": windows.astype(np.uint16), "label": [number % 3 for number in range(count)]},
        **{"clip_id": [f"{number}.wav" for number in range(count)], "start": [0.0] * count},
        **{"group": [str(number) for number in range(count)], "fold": [0] * count, "silent": [False] * count},
    }
    features = Dataset.from_dict(rows, features=feature_columns(config, ClassLabel(names=CLASSES)))
    push_features(FeatureSet(features, config, DataSource("Little sounds")), REPO)
    more = ["--features", "encodec_24khz_codes", "--codec", str(tmp_path / "codec")]
    expected = rf"{REPO} \(encodec_24khz_codes\), row 17 \(17.wav\) has the code {size}, expected 0 to {size - 1}"
    with pytest.raises(ValueError, match=expected):
        train(tmp_path / "model", *more, *(["--streaming", "true"] if streaming else []))
