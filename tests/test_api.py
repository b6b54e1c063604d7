"""The package as a library: what `hf_encls.NAME` gives, and that the examples in its docstrings run."""

import ast
import doctest
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch

import hf_encls
from hf_encls.training import run as run_module
from hf_encls.training.run import Execution


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on the synthetic sounds, with what it was made of."""
    folder = tmp_path_factory.mktemp("api")
    hf_encls.write_synthetic(folder / "sounds", clips_per_class=6)
    clips, _ = hf_encls.scan_folder(folder / "sounds")
    codec = hf_encls.load_codec("untrained")
    config = hf_encls.feature_config("latents", clips, codec, codec_id="untrained")
    windows = hf_encls.extract_features(clips, config, codec, folder / "cache")
    args = hf_encls.EnclsTrainingArguments(
        str(folder / "run"), num_train_epochs=2, report_to="none", disable_tqdm=True
    )
    lines = []
    run = hf_encls.train(windows, config, codec=codec, args=args, execution=Execution(say=lines.append))
    return run, windows, clips, lines


def test_every_public_name_is_there():
    for name in hf_encls.__all__:
        assert getattr(hf_encls, name) is not None


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    """Public functions of a file, and public methods that are not another class's."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from (each for each in node.body if isinstance(each, ast.FunctionDef) and not node.bases)
        elif isinstance(node, ast.FunctionDef):
            yield node


def test_public_functions_say_what_they_are():
    for file in sorted(Path(hf_encls.__file__).parent.rglob("*.py")):
        for function in functions(ast.parse(file.read_text(encoding="utf-8"))):
            assert function.name.startswith("_") or ast.get_docstring(function), f"{file}: {function.name}"


def test_the_documentation_of_the_library_names_every_parameter():
    for name in hf_encls.__all__:
        value = getattr(hf_encls, name)
        if inspect.isfunction(value):
            for parameter in inspect.signature(value).parameters:
                assert re.search(rf"\b{parameter}\b", value.__doc__), f"{name}: {parameter}"


def test_the_example_of_train_runs(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(run_module, optionflags=doctest.ELLIPSIS)
    assert result.attempted > 5 and not result.failed


def test_a_run_is_a_model_its_results_and_its_parts(trained, tmp_path):
    run, windows, clips, lines = trained
    assert lines[0].startswith("leak") or "leak" in lines[0]
    assert set(run.parts) == {"train", "validation", "test"}
    assert sorted(clip for part in run.parts.values() for clip in part) == sorted(clips["clip_id"])
    run.save(tmp_path / "model")
    written = json.loads((tmp_path / "model" / "results.json").read_text())
    assert written == json.loads(json.dumps(run.results.as_dict()))
    pipe = hf_encls.EnclsPipeline.from_pretrained(tmp_path / "model")  # the codec is in it: it takes sounds
    path = clips[0]["audio"]["path"]
    assert pipe(path)[0]["label"] in windows.features["label"].names
    segments = hf_encls.segment(path, tmp_path / "model", min_duration_s=0.5)
    assert segments[0]["start"] == 0 and segments == hf_encls.segment(path, pipe, min_duration_s=0.5)


def test_evaluate_gives_the_scores_of_the_run(trained):
    run, windows, _, _ = trained
    test = windows.select(np.flatnonzero(np.isin(windows["clip_id"][:], run.parts["test"])))
    scores = hf_encls.evaluate(run.model, test)
    for unit in ("window", "clip"):
        expected = getattr(run.results.test, unit).as_dict()
        assert getattr(scores, unit).as_dict() == pytest.approx(expected, abs=1e-5)


def test_evaluate_refuses_windows_of_other_classes(trained):
    run, windows, _, _ = trained
    names = ["other", *windows.features["label"].names[1:]]
    other = windows.cast_column("label", windows.features["label"].__class__(names=names))
    with pytest.raises(ValueError, match="another data set"):
        hf_encls.evaluate(run.model, other)


def again(folder, **changes):
    settings = {"num_train_epochs": 2, "report_to": "none", "disable_tqdm": True, "use_cpu": True} | changes
    return hf_encls.EnclsTrainingArguments(str(folder), **settings)


def test_a_run_is_not_gone_on_with_another_division(trained, tmp_path):
    _, _, clips, _ = trained
    config = hf_encls.feature_config("log_mel", clips, hop_length=2048)
    mel = hf_encls.extract_features(clips, config, cache_dir=tmp_path / "cache")
    hf_encls.train(mel, config, args=again(tmp_path / "run", num_train_epochs=1))
    groups = [f"recording {index // 2}" for index in range(len(mel))]
    other = mel.remove_columns("group").add_column("group", groups)
    with pytest.raises(ValueError, match="differs in division"):
        hf_encls.train(other, config, args=again(tmp_path / "run", resume_from_checkpoint="last"))


def test_a_fitted_head_never_says_a_class_that_training_lacks(trained, tmp_path):
    _, _, clips, _ = trained
    config = hf_encls.feature_config("log_mel", clips, hop_length=2048, head="statistics")
    mel = hf_encls.extract_features(clips, config, cache_dir=tmp_path / "cache")
    names = mel.features["label"].names
    for wider in ([*names, "zebra"], ["aardvark", *names]):
        shift = wider.index(names[0])
        labels = [label + shift for label in mel["label"]]
        more = mel.remove_columns("label").add_column("label", labels)
        more = more.cast_column("label", datasets.ClassLabel(names=wider))
        run = hf_encls.train(more, config, args=again(tmp_path / f"run{shift}"))
        assert run.results.test.clip.accuracy > 0.5
        scores = run.model.classify(torch.tensor(np.asarray(more["input_features"][:4]), dtype=torch.float32))
        assert (
            torch.isfinite(scores).all() and (scores.argmax(-1) != wider.index((set(wider) - set(names)).pop())).all()
        )


def test_codes_are_not_trained_on_without_their_codec(trained, tmp_path):
    _, _, clips, _ = trained
    codec = hf_encls.load_codec("mini")
    config = hf_encls.feature_config("codes", clips, codec, codec_id="mini")
    codes = hf_encls.extract_features(clips, config, codec, tmp_path / "cache")
    with pytest.raises(ValueError, match="expected the codec of windows of codes"):
        hf_encls.train(codes, config, args=again(tmp_path / "run"))
