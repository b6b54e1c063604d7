"""Features and models go to a Hub and come back, whatever the Hub answers."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from datasets import ClassLabel, Dataset, load_dataset
from hub_server import DROP, LOST, READ_TOKEN, USER
from huggingface_hub import DatasetCard, HfApi, ModelCard

from hf_encls import EnclsConfig, EnclsFeatureExtractor, EnclsForAudioClassification
from hf_encls.commands.publish import main as publish
from hf_encls.commands.published_inputs import published_inputs
from hf_encls.commands.train_arguments import DataArguments
from hf_encls.data.synthetic import write_synthetic
from hf_encls.features.extraction import feature_columns
from hf_encls.hub.commit import PublishError
from hf_encls.hub.pull_features import check_expected, load_published
from hf_encls.hub.push_features import FeatureSet, config_name_of, push_features
from hf_encls.hub.push_models import push_model
from hf_encls.report.cards import write_model_card
from hf_encls.report.dataset_cards import DataSource

REPO = f"{USER}/sounds-features"
MODEL = f"{USER}/sounds-log-mel"
CLASSES = ["dog bark", "rain, heavy"]
SOURCE = DataSource("Little sounds", "CC BY 4.0", "cc-by-4.0", "https://example.org/sounds", "Somebody, 2020")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def log_mel(**changes) -> EnclsConfig:
    settings = {"features": "log_mel", "sampling_rate": 8000, "window_s": 0.5, "step_s": 0.5, "num_bands": 32}
    return EnclsConfig(**settings | {"n_fft": 256, "id2label": dict(enumerate(CLASSES))} | changes)


def windows_of(config: EnclsConfig, count: int = 12, seed: int = 0) -> Dataset:
    shape = (count, config.num_bands, config.num_frames)
    rows = {
        "input_features": np.random.default_rng(seed).normal(-40, 20, shape).astype(np.float16),
        "label": [number // 2 % 2 for number in range(count)],
        "clip_id": [f"{CLASSES[number // 2 % 2]}/{number // 2}.wav" for number in range(count)],
        "start": [0.5 * (number % 2) for number in range(count)],
        "group": [f"recording {number // 2}" for number in range(count)],
        "fold": [0] * count,
        "silent": [number == 0 for number in range(count)],
    }
    return Dataset.from_dict(rows, features=feature_columns(config, ClassLabel(names=CLASSES)))


def results_of() -> dict:
    scores = {"accuracy": 0.8125, "loss": 0.7, "macro_f1": 0.7812}
    split = {"window": scores, "clip": scores | {"accuracy": 0.8333}, "num_windows": 16, "num_clips": 6}
    return {
        "dataset": "Little sounds",
        "dataset_id": "tester/little-sounds",
        "features": "log_mel",
        "protocol": "paper",
        "fold": None,
        "seed": 3,
        "codec": None,
        "classes": CLASSES,
        "leak": {"test_windows": 16, "clip_leaks": 13, "group_leaks": 14},
        **dict.fromkeys(("train", "validation", "test"), split),
        "per_class": [
            {"class": name, "support": 8, "precision": 0.9, "recall": 0.75, "f1": 0.8182} for name in CLASSES
        ],
        "epochs": 7,
        "best_epoch": 5,
        "times_s": {"features": 1.234, "training": 5.678},
        "versions": {"torch": "2.13.0"},
        "command": ["scripts/train.py", "--data_dir", "my sounds"],
    }


def trained_model(folder: Path, config: EnclsConfig | None = None) -> Path:
    model = EnclsForAudioClassification(config or log_mel())
    model.save_pretrained(folder)
    EnclsFeatureExtractor(sampling_rate=model.config.sampling_rate).save_pretrained(folder)
    (folder / "results.json").write_text(json.dumps(results_of()))
    (folder / "curves.png").write_bytes(b"\x89PNG")
    write_model_card(folder)
    for name in ("training_args.bin", "optimizer.pt", "notes.txt", "other.py", ".env"):
        (folder / name).write_text("private")
    for name in ("checkpoint-7/model.safetensors", "runs/events", "sub/config_encls.py"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("private")
    return folder


# ----------------------------------------------------------------------------------------------- features


def test_features_are_pushed_loaded_and_streamed(hub):
    config = log_mel()
    windows = windows_of(config)
    published = push_features(FeatureSet(windows, config, SOURCE), REPO)
    assert published.repo_id == REPO and published.commit == hub.commits(REPO, "dataset")[-1].oid

    plain = load_dataset(REPO, "log_mel", split="train")
    assert plain.features == windows.features
    assert (plain.with_format("numpy")["input_features"][:] == windows.with_format("numpy")["input_features"][:]).all()
    streamed = list(load_dataset(REPO, "log_mel", split="train", streaming=True).with_format("numpy"))
    assert [row["clip_id"] for row in streamed] == windows["clip_id"][:]
    assert streamed[0]["input_features"].shape == (config.num_bands, config.num_frames)

    for streaming in (False, True):
        loaded, found, source, _ = load_published(REPO, "log_mel", streaming=streaming)
        assert source == "Little sounds"
        assert (found.features, found.num_frames, found.sampling_rate) == ("log_mel", config.num_frames, 8000)
        assert next(iter(loaded))["clip_id"] == windows[0]["clip_id"]


def test_a_partial_copy_is_published_as_one_and_trained_on_as_one(hub, tmp_path):
    config = log_mel()
    push_features(FeatureSet(windows_of(config, count=24), config, replace(SOURCE, expected_clips=40)), REPO)
    card = DatasetCard.load(REPO)
    assert "Little sounds (12 of 40 clips)" in card.text and "(12 of 40 clips)" in card.data.pretty_name
    inputs = published_inputs(DataArguments(dataset=REPO, features="log_mel", window_s=0.5), {})
    assert (inputs.num_clips, inputs.expected_clips) == (12, 40)


def test_a_card_is_saved_over_nothing_but_a_card_of_the_same_model(hub, tmp_path):
    folder, card = trained_model(tmp_path / "model"), tmp_path / "card.md"
    card.write_text("My notes")
    options = ["--model_dir", str(folder), "--push_to_hub", MODEL, "--save_card", str(card)]
    with pytest.raises(ValueError, match="would be replaced and is no card of"):
        publish(options)
    assert card.read_text() == "My notes" and ("model", MODEL) not in hub.repos
    card.unlink()
    for _ in range(2):
        publish(options)
    assert f'model="{MODEL}"' in card.read_text()


def test_windows_that_datasets_keeps_in_memory_are_loaded(hub, monkeypatch):
    config = log_mel()
    push_features(FeatureSet(windows_of(config), config, SOURCE), REPO)
    monkeypatch.setattr("datasets.config.IN_MEMORY_MAX_SIZE", 1 << 30)
    windows = load_published(REPO, "log_mel").windows
    assert not windows.cache_files and len(windows) == 12


def test_what_is_published_says_what_it_is_and_holds_no_audio(hub):
    push_features(FeatureSet(windows_of(log_mel()), log_mel(), SOURCE), REPO)
    files = hub.files(REPO, "dataset")
    assert set(files) == {
        "README.md",
        "log_mel/encls_features.json",
        "log_mel/picture.png",
        "log_mel/train-00000-of-00001.parquet",
    }
    card = DatasetCard(files["README.md"].decode())
    assert card.data.license == "cc-by-4.0"
    assert [config["config_name"] for config in card.data.configs] == ["log_mel"]
    assert card.data.dataset_info["splits"][0]["num_examples"] == 12
    for words in ("CC BY 4.0", "https://example.org/sounds", "rain, heavy | 6 | 3", "Somebody, 2020", REPO):
        assert words in card.text, words

    with pytest.raises(PublishError, match="never audio"):
        push_features(FeatureSet(windows_of(log_mel()).add_column("audio", [b"RIFF"] * 12), log_mel(), SOURCE), REPO)


def test_a_second_configuration_keeps_the_first(hub):
    one, other = log_mel(), log_mel(features="mel")
    push_features(FeatureSet(windows_of(one), one, SOURCE), REPO)
    push_features(
        FeatureSet(windows_of(other, 8).cast(feature_columns(other, ClassLabel(names=CLASSES))), other, SOURCE), REPO
    )
    card = DatasetCard(hub.files(REPO, "dataset")["README.md"].decode())
    assert [config["config_name"] for config in card.data.configs] == ["log_mel", "mel"]
    assert len(load_dataset(REPO, "log_mel", split="train")) == 12
    assert len(load_dataset(REPO, "mel", split="train")) == 8
    assert "power mel" in card.text and "decibels" in card.text


def test_pushing_again_replaces_the_same_features_only(hub, monkeypatch):
    config = log_mel()
    with monkeypatch.context() as patch:
        patch.setattr("hf_encls.hub.push_features.SHARD_BYTES", 10_000)
        push_features(FeatureSet(windows_of(config), config, SOURCE), REPO)
    assert sum(path.endswith(".parquet") for path in hub.files(REPO, "dataset")) > 1
    push_features(FeatureSet(windows_of(config, 8), config, SOURCE), REPO)
    assert sum(path.endswith(".parquet") for path in hub.files(REPO, "dataset")) == 1
    assert len(load_dataset(REPO, "log_mel", split="train")) == 8

    longer = log_mel(window_s=1.0)
    before = len(hub.commits(REPO, "dataset"))
    with pytest.raises(PublishError, match=r"window_s 0\.5 there and 1\.0 here"):
        push_features(FeatureSet(windows_of(longer), longer, SOURCE), REPO)
    assert len(hub.commits(REPO, "dataset")) == before
    push_features(FeatureSet(windows_of(longer), longer, SOURCE), REPO, replace=True)
    assert load_published(REPO, "log_mel")[1].window_s == 1.0


def test_features_of_another_data_set_are_not_replaced_unasked(hub):
    config = log_mel()
    push_features(FeatureSet(windows_of(config), config, SOURCE), REPO)
    before = len(hub.commits(REPO, "dataset"))
    with pytest.raises(PublishError, match=r"source 'Little sounds' there and 'Big sounds' here.*`replace=True`"):
        push_features(FeatureSet(windows_of(config), config, DataSource("Big sounds")), REPO)
    classes = windows_of(config).cast(feature_columns(config, ClassLabel(names=["cat", "dog"])))
    with pytest.raises(PublishError, match="classes .* there"):
        push_features(FeatureSet(classes, config, SOURCE), REPO)
    assert len(hub.commits(REPO, "dataset")) == before
    push_features(
        FeatureSet(windows_of(config), config, DataSource("Big sounds", licence_id="mit")), REPO, replace=True
    )
    card = DatasetCard(hub.files(REPO, "dataset")["README.md"].decode())
    assert card.data.license == "mit" and "Little sounds" not in card.text


def test_every_configuration_keeps_its_licence_source_and_citation(hub):
    one, other = log_mel(), log_mel(features="mel")
    push_features(FeatureSet(windows_of(one), one, SOURCE), REPO)
    windows = windows_of(other).cast(feature_columns(other, ClassLabel(names=CLASSES)))
    big = DataSource("Big sounds", "CC0", "cc0-1.0", citation="Nobody, 1999")
    with pytest.raises(
        PublishError, match=r"features of 'Big sounds', found those of 'Little sounds'.*`overwrite=True`"
    ):
        push_features(FeatureSet(windows, other, big), REPO)
    push_features(FeatureSet(windows, other, big), REPO, overwrite=True)
    push_features(FeatureSet(windows, other, big), REPO)  # it holds both now
    card = DatasetCard(hub.files(REPO, "dataset")["README.md"].decode())
    assert card.data.license == ["cc-by-4.0", "cc0-1.0"]
    for words in ("`log_mel`: Little sounds, from https://example.org/sounds. Licence of the audio: CC BY 4.0", "CC0"):
        assert words in card.text
    assert "`mel`: Big sounds. Licence of the audio: CC0" in card.text
    assert "Somebody, 2020" in card.text and "Nobody, 1999" in card.text
    facts = json.loads(hub.files(REPO, "dataset")["mel/encls_features.json"])
    assert facts["source"] == "Big sounds" and facts["about_source"]["licence_id"] == "cc0-1.0"


def test_what_is_not_said_again_is_not_lost(hub):
    one, other = log_mel(), log_mel(features="mel")
    push_features(FeatureSet(windows_of(one), one, SOURCE), REPO)
    windows = windows_of(other).cast(feature_columns(other, ClassLabel(names=CLASSES)))
    push_features(FeatureSet(windows, other, DataSource(SOURCE.name)), REPO)
    push_features(FeatureSet(windows_of(one), one, DataSource(SOURCE.name)), REPO)
    card = DatasetCard(hub.files(REPO, "dataset")["README.md"].decode())
    assert card.data.license == "cc-by-4.0" and "CC BY 4.0" in card.text and "Somebody, 2020" in card.text


def test_names_of_configurations():
    assert config_name_of(log_mel()) == "log_mel"
    for features, policy, name in (
        ("encodec_24khz", "whole", "encodec_24khz"),
        ("encodec_48khz", "contiguous", "encodec_48khz"),
        ("encodec_48khz", "whole", "encodec_48khz_whole"),
        ("encodec_48khz_codes", "codec", "encodec_48khz_codes_codec"),
    ):
        rate = 24_000 if "24" in features else 48_000
        assert config_name_of(EnclsConfig(features=features, sampling_rate=rate, codec_policy=policy)) == name


def test_features_of_another_window_length_are_refused(hub):
    push_features(FeatureSet(windows_of(log_mel()), log_mel(), SOURCE), REPO)
    with pytest.raises(ValueError, match=r"expected features with window_s=1\.0, found window_s=0\.5"):
        check_expected(load_published(REPO, "log_mel").config, {"window_s": 1.0}, REPO)
    with pytest.raises(ValueError, match=r"no configuration 'mel'.*it has log_mel"):
        load_published(REPO, "mel")
    with pytest.raises(ValueError, match="could not read the data set 'tester/nothing'"):
        load_published(f"{USER}/nothing", "log_mel")
    HfApi().create_repo(f"{USER}/other", repo_type="dataset")
    with pytest.raises(ValueError, match="no feature data set"):
        load_published(f"{USER}/other", "log_mel")
    with pytest.raises(PublishError, match=r"expected windows of 32 x .*, found \(32, "):
        push_features(FeatureSet(windows_of(log_mel()), log_mel(window_s=1.0), SOURCE), REPO)


# ----------------------------------------------------------------------------------------------- commands


def test_from_a_folder_to_the_hub_to_a_trained_model_on_the_hub(hub, tmp_path, capsys):
    """Publish features, train on them with neither codec nor audio, publish the model, each with its own command."""
    from hf_encls.commands.publish import main as publish
    from hf_encls.commands.train import main as train

    sounds = write_synthetic(tmp_path / "sounds", clips_per_class=3)
    options = ["--features", "log_mel", "--window_s", "0.5", "--hop_length", "512"]
    arguments = ["--data_dir", str(sounds), *options, "--cache_dir", str(tmp_path / "cache")]
    published = publish([*arguments, "--push_to_hub", REPO, "--license", "cc0-1.0"])
    assert published["repo_id"] == REPO and published["config_name"] == "log_mel"
    assert "protocol clip: 0 of " in capsys.readouterr().out
    files = hub.files(REPO, "dataset")
    facts = json.loads(files["log_mel/encls_features.json"])
    assert [row["clip_leaks"] for row in facts["leaks"] if row["protocol"] == "clip"] == [0]
    assert next(row["clip_leaks"] for row in facts["leaks"] if row["protocol"] == "paper") > 0
    assert not [path for path in files if path.endswith((".wav", ".ogg", ".flac"))]

    training = ["--dataset", REPO, "--features", "log_mel", "--output_dir", str(tmp_path / "model")]
    training += ["--num_train_epochs", "1", "--use_cpu", "--push_to_hub", "--hub_model_id", MODEL]
    with pytest.raises(ValueError, match=r"window_s=1\.0, found window_s=0\.5"):
        train(training)
    results = train([*training, "--window_s", "0.5"])
    assert results.dataset == "sounds" and results.dataset_id == REPO
    sent = hub.files(MODEL)
    assert json.loads(sent["results.json"])["test"] == results.test.as_dict()
    assert not [path for path in sent if "training_args" in path or path.startswith(("runs", "checkpoint"))]
    assert ModelCard(sent["README.md"].decode()).data.datasets == [REPO]

    hub.repos.clear()
    assert publish(["--model_dir", str(tmp_path / "model"), "--push_to_hub", MODEL])["repo_id"] == MODEL
    assert set(hub.files(MODEL)) == set(sent)


# ----------------------------------------------------------------------------------------------- wrong answers


@pytest.mark.parametrize(
    "failure",
    [
        ("POST", "/api/repos/create", 500),
        ("POST", "/preupload/", 503),
        ("POST", "/commit/", 500),
        ("POST", "/commit/", DROP),
        ("POST", "/commit/", LOST),
        ("PUT", "/lfs/", DROP),
        ("PUT", "/lfs/", 500),
        ("GET", "/api/models/", DROP),
    ],
)
def test_what_fails_once_succeeds_after_another_try(hub, tmp_path, failure):
    folder = trained_model(tmp_path / "model")
    hub.fail(*failure)
    push_model(folder, MODEL)
    assert hub.files(MODEL)["model.safetensors"] == (folder / "model.safetensors").read_bytes()
    assert len(hub.commits(MODEL)) == 2


def test_a_push_that_breaks_half_way_can_be_repeated(hub, tmp_path):
    folder = trained_model(tmp_path / "model")
    hub.fail("POST", "/commit/", 500, times=100)
    with pytest.raises(PublishError, match=r"500.*run the same command again") as caught:
        push_model(folder, MODEL)
    assert "\n" not in str(caught.value)
    assert hub.files(MODEL) == {}
    EnclsForAudioClassification.from_pretrained(folder)

    hub.failures.clear()
    push_model(folder, MODEL)
    assert hub.asked("PUT", "/lfs/") == 2  # the weights and the picture went up once, in the first run


def test_features_survive_a_connection_that_breaks(hub):
    config = log_mel()
    hub.fail("PUT", "/lfs/", DROP)
    hub.fail("POST", "/commit/", 502)
    push_features(FeatureSet(windows_of(config), config, SOURCE), REPO)
    assert len(load_dataset(REPO, "log_mel", split="train")) == 12


def test_somebody_else_commits_in_between(hub):
    config, other = log_mel(), log_mel(features="mel")
    push_features(FeatureSet(windows_of(config), config, SOURCE), REPO)
    hub.fail("POST", "/commit/", 412)
    push_features(
        FeatureSet(windows_of(other).cast(feature_columns(other, ClassLabel(names=CLASSES))), other, SOURCE), REPO
    )
    assert len(DatasetCard(hub.files(REPO, "dataset")["README.md"].decode()).data.configs) == 2


@pytest.mark.parametrize(
    ("token", "message"),
    [("hf_of_nobody", "401.*hf auth login"), (READ_TOKEN, "403.*may not write to tester/sounds-log-mel")],
)
def test_refusals_are_not_tried_again(hub, tmp_path, token, message):
    folder = trained_model(tmp_path / "model")
    with pytest.raises(PublishError, match=message):
        push_model(folder, MODEL, token=token)
    assert hub.asked("POST", "/api/repos/create") == 1
    with pytest.raises(PublishError, match=message.replace("log-mel", "features")):
        push_features(FeatureSet(windows_of(log_mel()), log_mel(), SOURCE), REPO, token=token)


def test_a_repository_that_exists_is_used(hub, tmp_path):
    HfApi().create_repo(MODEL)
    push_model(trained_model(tmp_path / "model"), "sounds-log-mel")  # the name alone, too
    card = ModelCard(hub.files(MODEL)["README.md"].decode())
    assert card.data.eval_results[0].dataset_config == "paper"
    entries = yaml.safe_load(hub.files(MODEL)[".eval_results/little-sounds.yaml"])
    assert [entry["value"] for entry in entries] == [0.8125, 0.8333]


def test_offline_mode_is_said(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PublishError, match="HF_HUB_OFFLINE"):
        push_model(trained_model(tmp_path / "model"), MODEL)
