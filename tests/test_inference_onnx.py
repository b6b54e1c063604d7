"""ONNX: one graph, any length, the model's probabilities."""

import json

import numpy as np
import pytest
from small_models import CLASSES, save_small_model, small_model

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from hf_encls.inference.onnx import ExportError, compare, export_onnx, plain_copy  # noqa: E402

KINDS = {
    "mel": {},
    "log_mel": {},
    "encodec_24khz": {},
    "encodec_48khz": {},
    "encodec_48khz codec": {"codec_policy": "codec"},
    "encodec_24khz_codes": {"bandwidth": 3.0},
}


@pytest.mark.parametrize("kind", KINDS)
def test_graph_gives_the_models_probabilities_at_any_length(kind, tmp_path):
    model = small_model(kind.split()[0], window_s=0.4, step_s=0.2, **KINDS[kind])
    path = tmp_path / "new" / "model.onnx"
    assert export_onnx(model, path) <= 1e-5
    rate = model.config.sampling_rate
    # Shorter than a frame, than the codec's reflection, than a window; on and around chunks, also where two are short.
    lengths = [20, 1500, rate // 2, rate, rate + 9, round(0.99 * rate) + 9, round(1.98 * rate) + 60]
    assert compare(plain_copy(model), path, lengths) <= 1e-5
    assert [each.name for each in path.parent.iterdir()] == ["model.onnx"]
    about = json.loads({each.key: each.value for each in onnx.load(path).metadata_props}["encls"])
    assert about["labels"] == CLASSES and about["sampling_rate"] == rate
    assert about["extractor"]["sampling_rate"] == rate
    assert about["window_s"] == pytest.approx(0.4, abs=1e-3)
    # Files of this machine and addresses of this process stay here.
    assert not any(node.metadata_props for node in onnx.load(path).graph.node)


def test_model_is_left_as_it_was(tmp_path):
    model = small_model("encodec_24khz", window_s=0.4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    export_onnx(model, tmp_path / "m.onnx")
    assert before.keys() == model.state_dict().keys()
    assert all(np.array_equal(before[name], value) for name, value in model.state_dict().items())


def test_without_codec_there_is_nothing_to_export(tmp_path):
    model = small_model("encodec_24khz", window_s=0.4)
    model.frontend = None
    with pytest.raises(ExportError, match="attach it first"):
        export_onnx(model, tmp_path / "m.onnx")


def test_command(tmp_path, capsys):
    from hf_encls.commands.cli import main

    folder = save_small_model(tmp_path / "m", "log_mel", window_s=0.4)
    assert main(["export", "--onnx", str(tmp_path / "m.onnx"), "--model", str(folder)]) == 0
    assert "m.onnx" in capsys.readouterr().out and (tmp_path / "m.onnx").is_file()
