"""A feature data set in a folder: what a push would hold, and nothing of others is lost."""

import json
from pathlib import Path

import numpy as np
import pytest
from datasets import load_dataset
from test_publishing import SOURCE, log_mel, windows_of

from hf_encls.commands.cli import main as cli
from hf_encls.commands.publish import main as publish
from hf_encls.hub.commit import PublishError
from hf_encls.hub.pull_features import load_published
from hf_encls.hub.push_features import FeatureSet, push_features
from hf_encls.hub.save_features import save_features
from hf_encls.report.dataset_cards import DataSource


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def test_a_folder_holds_what_a_push_would_hold(hub, tmp_path):
    config, windows = log_mel(), windows_of(log_mel())
    pushed = push_features(FeatureSet(windows, config, SOURCE), "hf-encls-tests/some")
    folder = tmp_path / "some"
    assert save_features(FeatureSet(windows, config, SOURCE), folder, repo_id=pushed.repo_id) == folder
    repository = hub.files(pushed.repo_id, "dataset")
    assert files_of(folder) == {path: data for path, data in repository.items() if path != ".gitattributes"}


def test_the_command_writes_what_loads_and_trains_and_is_searched(tones, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    args = ["--data_dir", str(tones), "--features", "log_mel", "--window_s", "0.3", "--output_dir", "feats"]
    found = publish([*args, "--cache_dir", str(tones.parent / "cache")])
    assert found == {"config_name": "log_mel", "output_dir": "feats"}
    assert "scripts/train.py --dataset feats --dataset_config log_mel" in capsys.readouterr().out
    assert 'load_dataset("feats", "log_mel", split="train")' in (tmp_path / "feats" / "README.md").read_text()
    windows = load_dataset("feats", "log_mel", split="train", cache_dir=str(tmp_path / "c"))
    assert windows.features["label"].names == ["high", "low", "mid"]
    published = load_published("feats", "log_mel")
    assert published.windows["clip_id"][:] == windows["clip_id"][:] and published.source == "tones"
    # No audio and no folder of sounds is needed to search it; a configuration is chosen where there is one.
    assert cli(["search", str(tones / "mid" / "1.wav"), "feats", "--top_k", "2", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["file"] == "mid/1.wav"
    assert str(tmp_path) not in (tmp_path / "feats" / "README.md").read_text()


def test_another_configuration_and_what_people_wrote_stay(tmp_path):
    config, other = log_mel(), log_mel(window_s=1.0, step_s=1.0)
    folder = tmp_path / "set"
    save_features(FeatureSet(windows_of(config), config, SOURCE), folder)
    (folder / "log_mel" / "notes.txt").write_text("mine")
    (folder / "eval.yaml").write_text("name: mine")
    card = folder / "README.md"
    card.write_text(card.read_text() + "\nMy own words.\n")
    save_features(FeatureSet(windows_of(other), other, SOURCE, "long"), folder)
    with pytest.raises(PublishError, match="has other features under the name 'long'"):
        save_features(FeatureSet(windows_of(config), config, SOURCE, "long"), folder)
    save_features(FeatureSet(windows_of(config, seed=1), config, SOURCE), folder)  # the same kind of the same source
    assert "My own words." in card.read_text() and (folder / "eval.yaml").read_text() == "name: mine"
    assert (folder / "log_mel" / "notes.txt").read_text() == "mine"
    for name, values in (("log_mel", windows_of(config, seed=1)), ("long", windows_of(other))):
        found = load_published(folder, name).windows.with_format("numpy")["input_features"][:]
        assert np.array_equal(found, values.with_format("numpy")["input_features"][:])
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_a_foreign_folder_is_refused_before_any_work(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.tex").write_text("mine")
    monkeypatch.setattr("hf_encls.commands.publish.prepare", lambda *args: pytest.fail("features were made"))
    common = ["publish", "--data_dir", str(tmp_path), "--features", "log_mel"]
    assert cli([*common, "--output_dir", str(folder)]) == 2
    message = capsys.readouterr().err
    assert "to be empty or to hold features of hf_encls, found what hf_encls did not write (thesis.tex)" in message
    assert "Take another --output_dir" in message and len(message.splitlines()) == 1
    cases = {
        (): "expected a place to publish at, found none: name it with --push_to_hub or --output_dir",
        ("--model_dir", "m"): "name it with --push_to_hub",
        ("--model_dir", "m", "--push_to_hub", "a/b", "--output_dir", "x"): "--output_dir is about features",
        ("--private", "--output_dir", "x"): "--private is about the Hub",
        ("--output_dir", str(folder / "thesis.tex")): "expected --output_dir to be a folder to write into",
    }
    for given, text in cases.items():
        assert cli([*common, *given]) == 2
        assert text in capsys.readouterr().err


def test_another_source_is_refused_and_a_failure_leaves_the_folder_as_it_was(tmp_path, monkeypatch):
    config, folder = log_mel(), tmp_path / "set"
    save_features(FeatureSet(windows_of(config), config, SOURCE), folder)
    before = files_of(folder)
    with pytest.raises(PublishError, match="one card would be about both. Take another `output_dir`"):
        save_features(FeatureSet(windows_of(config), config, DataSource("Other"), "other"), folder)
    monkeypatch.setattr(
        "hf_encls.hub.save_features.shutil.copyfile", lambda *args: (_ for _ in ()).throw(OSError(28, "full"))
    )
    for place in (folder, tmp_path / "new"):
        with pytest.raises(OSError, match=str(place)):
            save_features(FeatureSet(windows_of(config, seed=2), config, SOURCE), place)
    assert files_of(folder) == before and not (tmp_path / "new").exists()
