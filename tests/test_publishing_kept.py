"""What hf_encls did not write is kept by a push, whoever commits when; other people's repositories are refused."""

import json
import logging
import re

import pytest
from hub_server import Hub
from huggingface_hub import HfApi, ModelCard, metadata_update
from test_publishing import MODEL, results_of, trained_model

from hf_encls.data.synthetic import write_synthetic
from hf_encls.files import write_json
from hf_encls.hub.commit import PublishError
from hf_encls.hub.push_models import push_model
from hf_encls.report.cards import write_model_card


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)


def put(repo_id: str, files: dict[str, str], repo_type: str = "model") -> None:
    """What somebody else uploads."""
    for path, text in files.items():
        HfApi().upload_file(path_or_fileobj=text.encode(), path_in_repo=path, repo_id=repo_id, repo_type=repo_type)


def edit(hub: Hub, repo_id: str, old: str, new: str, repo_type: str = "model") -> str:
    """A change by hand on the Hub's page of a card."""
    text = hub.files(repo_id, repo_type)["README.md"].decode()
    assert old in text
    put(repo_id, {"README.md": text.replace(old, new, 1)}, repo_type)
    return text.replace(old, new, 1)


def readme(hub: Hub, repo_id: str = MODEL, repo_type: str = "model") -> str:
    return hub.files(repo_id, repo_type)["README.md"].decode()


def trained_again(folder) -> None:
    """Another run in the same folder: other scores."""
    results = results_of()
    results["test"] = results["test"] | {"clip": results["test"]["clip"] | {"accuracy": 0.9871}}
    write_json(results, folder / "results.json")
    write_model_card(folder)


# ----------------------------------------------------------------------------------------------- cards of models


def test_a_hand_edit_on_the_hub_is_kept_and_new_scores_arrive(hub, tmp_path, caplog):
    folder = trained_model(tmp_path / "model")
    push_model(folder, MODEL)
    edit(hub, MODEL, "- It is not made", "- Bees are called flies.\n- It is not made")
    put(MODEL, {"README.md": readme(hub) + "\n## Notes\n\nMeasured in my garden.\n"})
    trained_again(folder)
    with caplog.at_level(logging.WARNING):
        push_model(folder, MODEL)
    text = readme(hub)
    assert "Bees are called flies." in text and "Measured in my garden." in text and "| 0.987 |" in text
    assert ModelCard(text).data.eval_results[2].metric_value == 0.9871
    assert (
        f"README.md of {MODEL}" in caplog.text
        and "the part 'limits'" in caplog.text
        and "`overwrite=True`" in caplog.text
    )
    push_model(folder, MODEL, overwrite=True)
    assert "Bees" not in readme(hub) and "Measured in my garden." in readme(hub)


def test_front_matter_of_others_is_kept(hub, tmp_path):
    folder = trained_model(tmp_path / "model")
    push_model(folder, MODEL)
    metadata_update(MODEL, {"language": ["en"], "license": "mit", "mine": {"a": 1}}, overwrite=True)
    theirs = {"name": "BEANS", "type": "beans"}
    result = {"task": {"type": "audio-classification"}, "dataset": theirs, "metrics": [{"type": "wer", "value": 0.5}]}
    metadata_update(MODEL, {"model-index": [{"name": "sounds-log-mel", "results": [result]}]})
    edit(hub, MODEL, "- log_mel\n", "- log_mel\n- bees\n")
    trained_again(folder)
    push_model(folder, MODEL)
    data = ModelCard(readme(hub)).data
    assert (data.language, data.license, data["mine"]) == (["en"], "mit", {"a": 1}) and "bees" in data.tags
    assert data.model_name == "sounds-log-mel"
    values = {(one.dataset_name, one.metric_type): one.metric_value for one in data.eval_results}
    assert values["BEANS", "wer"] == 0.5 and len(data.eval_results) == 5
    assert [one.metric_value for one in data.eval_results if one.metric_value == 0.9871]
    commits = len(hub.commits(MODEL))
    push_model(folder, MODEL)
    assert len(hub.commits(MODEL)) == commits


def test_windows_line_ends_are_kept(hub, tmp_path):
    folder = trained_model(tmp_path / "model")
    push_model(folder, MODEL)
    put(MODEL, {"README.md": readme(hub).replace("\n", "\r\n") + "Mine.\r\n"})
    commits = len(hub.commits(MODEL))
    push_model(folder, MODEL)
    assert len(hub.commits(MODEL)) == commits
    trained_again(folder)
    push_model(folder, MODEL)
    text = readme(hub)
    assert text.count("\n") == text.count("\r\n") and "0.987" in text and "Mine.\r\n" in text


def test_a_card_that_cannot_be_read_is_named_and_nothing_changes(hub, tmp_path):
    folder = trained_model(tmp_path / "model")
    push_model(folder, MODEL)
    edit(hub, MODEL, "license: apache-2.0", "license: [apache-2.0")
    commits = len(hub.commits(MODEL))
    for overwrite in (False, True):
        with pytest.raises(PublishError, match=rf"README\.md of {MODEL}.*mend it"):
            push_model(folder, MODEL, overwrite=overwrite)
    assert len(hub.commits(MODEL)) == commits


def test_words_in_the_folders_card_are_published_and_its_path_is_not(hub, tmp_path):
    folder = trained_model(tmp_path / "model")
    text = (folder / "README.md").read_text()
    assert f'model="{folder}"' in text
    text = text.replace("## How to use it\n", '## How to use it\n\nSee model="some/other".\n').replace(
        "- f1\n", "- f1\n- wer\n"
    )
    (folder / "README.md").write_text(text + "\n## Notes\n\nMine.\n")
    for _ in range(2):
        push_model(folder, MODEL)
        sent = readme(hub)
        assert sent.count("Mine.") == 1 and 'model="some/other"' in sent and f'model="{MODEL}"' in sent
        assert str(folder) not in sent and "wer" in ModelCard(sent).data.metrics
    assert len(hub.commits(MODEL)) == 2


def test_a_card_somebody_wrote_himself_stays_as_a_whole(hub, tmp_path, caplog):
    folder = trained_model(tmp_path / "model")
    push_model(folder, MODEL)
    mine = "---\nlicense: mit\n---\n# Garden\n\nAll mine.\n"
    put(MODEL, {"README.md": mine})
    trained_again(folder)
    push_model(folder, MODEL)
    assert "the whole text" in caplog.text
    text = readme(hub)
    assert "# Garden\n\nAll mine.\n" in text and "## Scores" not in text and "license: mit\n" in text
    assert ModelCard(text).data.pipeline_tag == "audio-classification"
    push_model(folder, MODEL)
    trained_again(folder)
    assert len(ModelCard(readme(hub)).data.eval_results) == 4


def test_a_model_of_version_0_1_takes_a_new_card(hub, tmp_path, caplog):
    folder = trained_model(tmp_path / "model")
    push_model(folder, MODEL)
    old = re.sub(r"<!-- hf_encls .*-->\n", "", readme(hub)).replace("- It is not made", "- Mine.\n- It is not made")
    put(MODEL, {"README.md": old + "\n## Notes\n\nMine, too.\n"})
    trained_again(folder)
    push_model(folder, MODEL)
    text = readme(hub)
    assert (
        "- Mine.\n" in text and "Mine, too." in text and "0.987" in text and "0.833" not in text.split("All parts")[0]
    )
    assert len(ModelCard(text).data.eval_results) == 4 and "the part 'limits'" in caplog.text
    assert "'scores'" not in caplog.text


# ----------------------------------------------------------------------------------------------- other people's things


GPT2 = {
    "config.json": json.dumps({"model_type": "gpt2"}),
    "vocab.json": "{}",
    "pytorch_model.bin": "weights",
    "modeling_encls.py": "theirs = 1",
    "README.md": "---\nlanguage: en\ntags:\n- exbert\nlicense: mit\n---\n\n# GPT-2\n\nPretrained on English.\n",
}


def test_a_model_of_another_kind_is_refused(hub, tmp_path):
    from hf_encls.commands.publish import main as publish

    HfApi().create_repo(MODEL)
    put(MODEL, GPT2 | {"curves.png": "their picture"})
    before, commits = dict(hub.files(MODEL)), len(hub.commits(MODEL))
    folder = trained_model(tmp_path / "model")
    (folder / "curves.png").unlink()
    with pytest.raises(PublishError, match=rf"{MODEL}.*model_type 'gpt2'.*`overwrite=True`"):
        push_model(folder, MODEL)
    assert hub.files(MODEL) == before and len(hub.commits(MODEL)) == commits

    publish(["--model_dir", str(folder), "--push_to_hub", MODEL, "--overwrite"])
    files = hub.files(MODEL)
    assert json.loads(files["config.json"])["model_type"] == "encls"
    assert {path: files[path] for path in before if path not in ("config.json", "README.md", "modeling_encls.py")} == {
        path: text for path, text in before.items() if path not in ("config.json", "README.md", "modeling_encls.py")
    }
    data = ModelCard(readme(hub)).data
    assert data.language == "en" and "exbert" in data.tags and data.license == "apache-2.0"
    assert "Pretrained on English." in readme(hub) and "## Scores" in readme(hub)
    commits = len(hub.commits(MODEL))
    push_model(folder, MODEL)  # it is ours now
    assert len(hub.commits(MODEL)) == commits and "vocab.json" in hub.files(MODEL)


@pytest.mark.parametrize(
    "files",
    [
        {"notes.txt": "mine"},
        {"README.md": "# Mine\n"},
        {"config.json": "{", "README.md": "---\ntags: [hf_encls]\n---\n"},
        {"model.safetensors": "x", "README.md": "---\ntags: [birds]\n---\n"},
    ],
    ids=["file", "card", "broken config", "weights"],
)
def test_a_repository_without_our_mark_is_refused(hub, tmp_path, files):
    HfApi().create_repo(MODEL)
    put(MODEL, files)
    before = dict(hub.files(MODEL))
    with pytest.raises(PublishError, match=f"expected {MODEL} to be empty.*`overwrite=True`"):
        push_model(trained_model(tmp_path / "model"), MODEL)
    assert hub.files(MODEL) == before


def test_what_the_hub_puts_into_a_new_repository_is_no_obstacle(hub, tmp_path):
    HfApi().create_repo(MODEL)
    put(MODEL, {".gitattributes": "*.bin lfs", "LICENSE": "MIT", "README.md": "---\nlicense: mit\n---\n"})
    push_model(trained_model(tmp_path / "model"), MODEL)
    assert {".gitattributes", "LICENSE"} < set(hub.files(MODEL)) and "## Scores" in readme(hub)
    assert ModelCard(readme(hub)).data.license == "mit"


def test_files_of_others_beside_a_model_stay(hub, tmp_path, caplog):
    folder = trained_model(tmp_path / "model")
    push_model(folder, MODEL)
    theirs = {
        "mine_encls.py": "mine = 1",
        "ATTRIBUTION.md": "mine",
        "confusion_matrix.png": "mine",
        ".eval_results/a.yaml": "[]",
    }
    put(MODEL, theirs)
    put(MODEL, {".eval_results/little-sounds.yaml": "- mine"})
    (folder / "confusion_matrix.png").write_bytes(b"\x89PNG")
    for _ in range(2):
        push_model(folder, MODEL)
    files = hub.files(MODEL)
    assert {path: files[path].decode() for path in theirs} == theirs
    assert files[".eval_results/little-sounds.yaml"] == b"- mine" and "confusion_matrix.png" in caplog.text
    push_model(folder, MODEL, overwrite=True)
    files = hub.files(MODEL)
    assert files["confusion_matrix.png"] == b"\x89PNG" and files["mine_encls.py"] == b"mine = 1"
    assert files[".eval_results/little-sounds.yaml"] != b"- mine"


def test_training_asks_the_hub_and_the_folder_before_it_begins(hub, tmp_path):
    from hf_encls.commands.train import main as train

    HfApi().create_repo(MODEL)
    put(MODEL, GPT2)
    sounds = write_synthetic(tmp_path / "sounds", clips_per_class=3)
    options = ["--data_dir", str(sounds), "--features", "log_mel", "--cache_dir", str(tmp_path / "cache"), "--use_cpu"]
    options += ["--output_dir", str(tmp_path / "model")]
    for name in (MODEL, MODEL.split("/")[1]):
        with pytest.raises(PublishError, match="model_type 'gpt2'"):
            train([*options, "--push_to_hub", "--hub_model_id", name])
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "README.md").write_text("# My project\n")
    with pytest.raises(ValueError, match="somebody's own"):
        train(options)
    assert not (tmp_path / "cache").exists() and len(list((tmp_path / "model").iterdir())) == 1
