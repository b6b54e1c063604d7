"""Our model and a transformer side by side, on the same test clips, through the stock evaluator."""

import json
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import (
    AutoFeatureExtractor,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
)
from transformers import pipeline as make_pipeline

from hf_encls import EnclsConfig, EnclsFeatureExtractor, EnclsForAudioClassification
from hf_encls.comparison.models import SEED, TrainingRun, check_unheard, compare, run_of
from hf_encls.comparison.models import test_clips as clips_of_test
from hf_encls.data.folders import scan_folder
from hf_encls.data.synthetic import write_synthetic

SCORES = {"accuracy": 0.5, "loss": 1.0}
RUN = {
    **{"dataset": "sounds", "features": "log_mel", "protocol": "clip", "fold": None, "seed": 42},
    **{"classes": ["a", "b"], "test": {"window": SCORES, "clip": SCORES}},
}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = write_synthetic(tmp_path_factory.mktemp("sounds"), clips_per_class=5)
    return scan_folder(folder)[0]


@pytest.fixture
def ours(tmp_path, clips):
    torch.manual_seed(0)
    names = clips.features["label"].names
    settings = {"id2label": dict(enumerate(names)), "label2id": {name: index for index, name in enumerate(names)}}
    config = EnclsConfig(features="log_mel", sampling_rate=22_050, num_bands=32, **settings)
    EnclsForAudioClassification(config).save_pretrained(tmp_path / "ours")
    EnclsFeatureExtractor(sampling_rate=22_050).save_pretrained(tmp_path / "ours")
    return tmp_path / "ours"


@pytest.fixture
def theirs(tmp_path, clips):
    names = clips.features["label"].names
    config = Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        conv_dim=(8, 8), classifier_proj_size=8,
        conv_kernel=(10, 8), conv_stride=(5, 8), num_feat_extract_layers=2, num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2, id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )  # fmt: skip
    Wav2Vec2ForSequenceClassification(config).save_pretrained(tmp_path / "theirs")
    Wav2Vec2FeatureExtractor(sampling_rate=16_000).save_pretrained(tmp_path / "theirs")
    return tmp_path / "theirs"


def test_two_models_hear_the_same_clips_each_at_its_own_rate(clips, ours, theirs, no_network):
    test = clips_of_test(clips, "clip")
    assert 0 < len(test) < len(clips)
    rows = compare({"ours": ours, "wav2vec2": make_pipeline("audio-classification", model=str(theirs))}, test)
    assert [(row["model"], row["sampling_rate"], row["num_clips"]) for row in rows] == [
        ("ours", 22_050, len(test)),
        ("wav2vec2", 16_000, len(test)),
    ]
    assert all(0 <= row["accuracy"] <= 1 and 0 <= row["macro_f1"] <= 1 and row["seconds"] > 0 for row in rows)

    # The same accuracy by hand.
    from hf_encls.audio import load

    classify, names = make_pipeline("audio-classification", model=str(ours)), clips.features["label"].names
    right = [classify(load(row["audio"], 22_050), top_k=1)[0]["label"] == names[row["label"]] for row in test]
    assert rows[0]["accuracy"] == pytest.approx(sum(right) / len(right))


def test_the_program_prints_a_row_for_each_model(clips, ours, theirs, tmp_path, capsys):
    from hf_encls.commands.compare import main

    folder = Path(clips[0]["audio"]["path"]).parents[1]
    output = tmp_path / "rows.json"
    result = main(["--data_dir", str(folder), "--models", str(ours), str(theirs), "--output", str(output)])
    assert json.loads(output.read_text()) == result
    assert [row["model"] for row in result["models"]] == [str(ours), str(theirs)]
    printed = capsys.readouterr().out
    assert "seed 42" in printed and printed.count("cannot be known") == 2  # no run lies in these folders


@pytest.fixture(scope="module")
def trained(clips, tmp_path_factory):
    """Two models that were trained on the clips, with two seeds, without a word about either."""
    from hf_encls.commands.train import main

    root, data = tmp_path_factory.mktemp("runs"), Path(clips[0]["audio"]["path"]).parents[1]
    options = ["--data_dir", str(data), "--features", "log_mel", "--hop_length", "512", "--num_train_epochs", "1"]
    options += ["--report_to", "none", "--use_cpu", "--cache_dir", str(root / "cache")]
    for name, more in (("usual", []), ("seed 7", ["--seed", "7"])):
        main([*options, *more, "--output_dir", str(root / name)])
    return data, root


def test_the_split_is_that_of_the_trained_models(trained, theirs, capsys):
    from hf_encls.commands.compare import main

    data, root = trained
    for name, seed in (("usual", 42), ("seed 7", 7)):
        own = json.loads((root / name / "clips.json").read_text())
        results = json.loads((root / name / "results.json").read_text())
        found = main(["--data_dir", str(data), "--models", str(root / name), str(theirs)])
        assert (found["protocol"], found["seed"]) == ("clip", seed)
        ours, other = found["models"]
        assert ours["num_clips"] == ours["clips_known_unheard"] == len(own["test"])
        assert ours["accuracy"] == pytest.approx(results["test"]["clip"]["accuracy"])
        assert other["clips_known_unheard"] is None
        printed = capsys.readouterr().out
        assert "they are its own test" in printed and f"{theirs}: whether it was trained" in printed


def test_clips_that_a_model_was_trained_on_are_no_test_of_it(trained):
    from hf_encls.commands.compare import main

    data, root = trained
    common = ["--data_dir", str(data), "--models", str(root / "usual")]
    with pytest.raises(ValueError, match=r"never heard, found \d+ of \d+ in its training .* seed 42"):
        main([*common, "--seed", "0"])
    with pytest.raises(ValueError, match=r"trained with one seed, found several .*: 42, .*: 7"):
        main([*common, str(root / "seed 7")])


def test_a_run_under_paper_has_no_test_clips_and_folds_are_named(tmp_path, clips):
    from hf_encls.commands.compare import main

    folder = Path(clips[0]["audio"]["path"]).parents[1]
    (tmp_path / "results.json").write_text(json.dumps(RUN | {"protocol": "paper"}))
    (tmp_path / "clips.json").write_text(
        json.dumps(dict.fromkeys(("train", "validation", "test"), clips["clip_id"][:]))
    )
    for protocol in ([], ["--protocol", "clip"]):  # one answer to both
        with pytest.raises(ValueError, match="trained under paper.* anew under clip or official"):
            main(["--data_dir", str(folder), "--models", str(tmp_path), *protocol])
    (tmp_path / "results.json").write_text(
        json.dumps(RUN | {"protocol": "official", "folds": {"1": {"test": RUN["test"]}}})
    )
    with pytest.raises(ValueError, match="fold-1"):
        main(["--data_dir", str(folder), "--models", str(tmp_path)])


@pytest.mark.parametrize(
    "results",
    [{"accuracy": 0.9}, ["a list"], {"dataset": "x", "protocol": "v2", "seed": 1}, RUN | {"codec": "mp3"}],
)
def test_results_of_another_program_are_no_run_of_ours(tmp_path, results):
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert run_of(tmp_path) is None
    (tmp_path / "results.json").write_text(json.dumps(RUN))
    assert run_of(tmp_path).protocol == "clip"


@pytest.mark.parametrize("auto_map", [0.5, [], {"AutoConfig": 3}])
def test_a_damaged_map_of_classes_is_named(clips, tmp_path, auto_map):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "encls", "auto_map": auto_map}))
    with pytest.raises(ValueError, match="config.json is damaged: expected auto_map"):
        compare({"model": str(tmp_path)}, clips)


def test_the_seed_without_any_run_is_that_of_training():
    from transformers import TrainingArguments

    assert TrainingArguments.__dataclass_fields__["seed"].default == SEED


def test_models_of_other_classes_are_refused(clips, theirs):
    model = Wav2Vec2ForSequenceClassification.from_pretrained(theirs, id2label={0: "cat", 1: "dog"}, num_labels=2,
                                                              ignore_mismatched_sizes=True)  # fmt: skip
    pipe = make_pipeline(
        "audio-classification", model=model, feature_extractor=AutoFeatureExtractor.from_pretrained(theirs)
    )
    with pytest.raises(ValueError, match=r"expected theirs to know the \d classes .* others \(cat, dog\)"):
        compare({"theirs": pipe}, clips)


def test_windows_of_a_clip_are_no_test_of_it(clips):
    with pytest.raises(ValueError, match="clip or official"):
        clips_of_test(clips, "paper")


def test_a_run_that_does_not_tell_its_test_clips_has_none_of_these():
    clips = Dataset.from_dict({"clip_id": ["a", "b"], "group": ["a", "b"]})
    run = TrainingRun("model", "clip", None, 0, {"train": frozenset("a")})
    assert check_unheard(run, clips, clips.select([1])) == 0
