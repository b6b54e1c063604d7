"""What hf_encls did not write is kept by a push of features; several who publish at once lose nothing."""

import re
import threading

import pytest
from datasets import ClassLabel, load_dataset
from huggingface_hub import DatasetCard, HfApi
from test_publishing import CLASSES, MODEL, REPO, SOURCE, log_mel, trained_model, windows_of
from test_publishing_kept import GPT2, edit, put, readme, trained_again

from hf_encls.features.extraction import feature_columns
from hf_encls.hub.commit import PublishError
from hf_encls.hub.push_features import FeatureSet, push_features
from hf_encls.hub.push_models import push_model
from hf_encls.report.dataset_cards import DataSource


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def mel_windows():
    other = log_mel(features="mel")
    return windows_of(other).cast(feature_columns(other, ClassLabel(names=CLASSES))), other


# ----------------------------------------------------------------------------------------------- features


def test_what_people_add_to_a_card_of_features_is_kept(hub, caplog):
    config = log_mel()
    push_features(FeatureSet(windows_of(config), config, SOURCE), REPO)
    edit(hub, REPO, "## Source and licence\n", "## Source and licence\n\nAsk me first.\n", "dataset")
    edit(
        hub,
        REPO,
        "configs:\n- config_name: log_mel\n",
        "configs:\n- config_name: log_mel\n  default: true\n",
        "dataset",
    )
    edit(hub, REPO, "license: cc-by-4.0\n", "license: cc-by-4.0 # asked\nlanguage:   [de]\n", "dataset")
    put(REPO, {"README.md": readme(hub, REPO, "dataset") + "\n## Mine\n", "log_mel/notes.parquet": "mine"}, "dataset")
    commits = len(hub.commits(REPO, "dataset"))
    push_features(FeatureSet(windows_of(config), config, SOURCE), REPO)
    assert len(hub.commits(REPO, "dataset")) == commits
    push_features(FeatureSet(*mel_windows(), SOURCE), REPO)
    text = readme(hub, REPO, "dataset")
    assert "Ask me first." in text and "## Mine" in text and "| `mel` |" in text and "language:   [de]\n" in text
    data = DatasetCard(text).data
    assert [one["config_name"] for one in data.configs] == ["log_mel", "mel"] and data.configs[0]["default"] is True
    assert "log_mel/notes.parquet" in hub.files(REPO, "dataset") and "the part 'source-and-licence'" in caplog.text
    assert len(load_dataset(REPO, "mel", split="train")) == 12


def test_features_of_version_0_1_take_a_new_card(hub, caplog):
    config = log_mel()
    push_features(FeatureSet(windows_of(config), config, SOURCE), REPO)
    old = re.sub(r"<!-- hf_encls .*-->\n", "", readme(hub, REPO, "dataset"))
    put(REPO, {"README.md": old + "\n## Mine\n"}, "dataset")
    push_features(FeatureSet(*mel_windows(), SOURCE), REPO)
    text = readme(hub, REPO, "dataset")
    assert "| `mel` |" in text and text.count("## How to load it") == 1 and "## Mine" in text and not caplog.records


def test_another_data_set_is_refused(hub):
    config = log_mel()
    HfApi().create_repo(REPO, repo_type="dataset")
    theirs = {
        "README.md": "---\nlicense: mit\nconfigs:\n- config_name: x\n  data_files: a.csv\n---\n# Birds\n",
        "a.csv": "a\n1\n",
    }
    put(REPO, theirs, "dataset")
    before = dict(hub.files(REPO, "dataset"))
    with pytest.raises(PublishError, match=rf"expected {REPO} to be empty.*a\.csv.*`overwrite=True`"):
        push_features(FeatureSet(windows_of(config), config, SOURCE), REPO)
    assert hub.files(REPO, "dataset") == before
    push_features(FeatureSet(windows_of(config), config, SOURCE), REPO, overwrite=True)
    text = readme(hub, REPO, "dataset")
    assert "# Birds" in text and "a.csv" in hub.files(REPO, "dataset")
    assert [one["config_name"] for one in DatasetCard(text).data.configs] == ["log_mel", "x"]
    assert len(load_dataset(REPO, "log_mel", split="train")) == 12


def test_damaged_facts_and_folders_of_others_are_named(hub):
    config = log_mel()
    push_features(FeatureSet(windows_of(config), config, SOURCE), REPO)
    put(REPO, {"mel/train-00000-of-00001.parquet": "mine"}, "dataset")
    with pytest.raises(PublishError, match=r"no folder mel in .*found mel/train-0"):
        push_features(FeatureSet(*mel_windows(), SOURCE), REPO)
    put(REPO, {"mel/encls_features.json": "{"}, "dataset")
    with pytest.raises(PublishError, match=rf"mel/encls_features\.json of {REPO}.*damaged"):
        push_features(FeatureSet(windows_of(config), config, SOURCE), REPO)


# ----------------------------------------------------------------------------------------------- at the same time


def test_a_commit_in_between_is_not_lost(hub, tmp_path):
    folder = trained_model(tmp_path / "model")
    push_model(folder, MODEL)
    trained_again(folder)
    hub.meanwhile("POST", "/commit/", lambda: edit(hub, MODEL, "## Limits", "In between.\n\n## Limits"))
    push_model(folder, MODEL)
    assert "In between." in readme(hub) and "0.987" in readme(hub)
    assert len(hub.commits(MODEL)) == 4 and hub.asked("POST", f"{MODEL}/commit/") == 4  # the one that was refused, too


def test_a_repository_that_becomes_somebody_elses_in_between_is_refused(hub, tmp_path):
    HfApi().create_repo(MODEL)
    hub.meanwhile("POST", "/commit/", lambda: put(MODEL, GPT2))
    with pytest.raises(PublishError, match="gpt2"):
        push_model(trained_model(tmp_path / "model"), MODEL)
    assert hub.files(MODEL)["vocab.json"] == b"{}"


def test_tries_are_bounded(hub, tmp_path):
    folder = trained_model(tmp_path / "model")
    hub.fail("POST", "/commit/", 409, times=100)
    with pytest.raises(PublishError, match=r"409.*run the same command again"):
        push_model(folder, MODEL)
    assert hub.asked("POST", "/commit/") <= 10


def test_two_publishers_at_once_lose_nothing(hub):
    config, (others, other) = log_mel(), mel_windows()
    push_features(FeatureSet(windows_of(config, 8), config, SOURCE), REPO)
    failed = []
    both = threading.Barrier(2, timeout=20)
    for _ in range(2):
        hub.meanwhile("POST", f"{REPO}/commit/", both.wait)  # neither goes first

    def publish(*args) -> None:
        try:
            push_features(FeatureSet(*args, SOURCE), REPO)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=publish, args=args) for args in ((windows_of(config), config), (others, other))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    text = readme(hub, REPO, "dataset")
    assert [one["config_name"] for one in DatasetCard(text).data.configs] == ["log_mel", "mel"]
    assert "| `mel` |" in text and len(load_dataset(REPO, "log_mel", split="train")) == 12
    assert hub.asked("POST", f"{REPO}/commit/") == 4 and len(hub.commits(REPO, "dataset")) == 4


def test_another_source_may_not_join_unasked_but_the_same_one_may(hub):
    config = log_mel()
    push_features(FeatureSet(windows_of(config), config, SOURCE), REPO)
    with pytest.raises(PublishError, match="found those of 'Little sounds'"):
        push_features(FeatureSet(*mel_windows(), DataSource("Big sounds")), REPO)
    push_features(FeatureSet(*mel_windows(), DataSource("Little sounds")), REPO)
