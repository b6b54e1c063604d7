"""Several labels at once in timelines, in exported graphs and in explanations."""

import json

import numpy as np
import pytest
import torch
from small_models import save_small_model, small_model

from hf_encls.inference.pipeline import EnclsPipeline
from hf_encls.inference.timeline import Times, make_timeline
from hf_encls.model.problem_encls import SEVERAL_LABELS
from hf_encls.timelines.formats import FORMATS, render
from hf_encls.timelines.reading import read_timeline

TWO = np.array([[0.9, 0.1], [0.9, 0.8], [0.4, 0.8], [0.9, 0.8], [0.9, 0.1], [0.1, 0.1], [0.1, 0.1], [0.1, 0.1]])


def test_timelines_overlap_and_leave_gaps():
    times, names = Times(1.0, 1.0, 8.0), ["a", "b"]
    found = make_timeline(TWO, names, times, [0.5, 0.5])
    spans = [(each["start"], each["end"], each["label"]) for each in found]
    assert spans == [(0, 2, "a"), (1, 4, "b"), (3, 5, "a")]
    assert [each["score"] for each in found] == pytest.approx([0.9, 0.8, 0.9])
    raised = make_timeline(TWO, names, times, [0.9, 0.81])
    assert [(each["start"], each["end"], each["label"]) for each in raised] == [(0, 2, "a"), (3, 5, "a")]
    for settings, end in (({"min_duration_s": 1.5}, 5), ({"smoothing": "median"}, 4), ({"smoothing": "viterbi"}, 5)):
        joined = make_timeline(TWO, names, times, [0.5, 0.5], **settings)
        assert [(each["start"], each["end"]) for each in joined if each["label"] == "a"] == [(0, end)], settings
    assert make_timeline(TWO * 0, names, times, [0.5, 0.5]) == []


@pytest.mark.parametrize("format", FORMATS)
def test_overlaps_read_back_from_every_format(format, tmp_path):
    segments = make_timeline(TWO, ["a", 'b "c"'], Times(1.0, 1.0, 8.0), [0.5, 0.5])
    path = tmp_path / "x.txt"
    path.write_text(render(segments, format, name="x.wav", duration_s=8.0), encoding="utf-8")
    names = ("start", "end", "label")
    found = {tuple(each[name] for name in names) for each in read_timeline(path)}
    assert {(a, b, label.replace("_", " ")) for a, b, label in found} == {
        tuple(each[name] for name in names) for each in segments
    }
    if format == "textgrid":
        assert path.read_text().count('class = "IntervalTier"') == 2 and "xmax = 8" in path.read_text()


def test_a_graph_says_sigmoid(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from hf_encls.inference.onnx import export_onnx

    model = small_model("log_mel", problem_type=SEVERAL_LABELS, thresholds=[0.5, 0.25, 0.75], window_s=0.4)
    assert export_onnx(model, tmp_path / "m.onnx") < 1e-4
    about = json.loads({each.key: each.value for each in onnx.load(tmp_path / "m.onnx").metadata_props}["encls"])
    assert about["problem_type"] == SEVERAL_LABELS and about["thresholds"] == [0.5, 0.25, 0.75]


def test_a_graph_has_the_mean_of_its_windows(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    from hf_encls.inference.onnx import export_onnx

    folder = save_small_model(tmp_path / "m", "log_mel", problem_type=SEVERAL_LABELS, window_s=0.4)
    pipe = EnclsPipeline.from_pretrained(folder, device="cpu")
    export_onnx(pipe.model, tmp_path / "m.onnx")
    wave = 0.1 * np.random.default_rng(0).standard_normal(30_000).astype(np.float32)
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx", providers=["CPUExecutionProvider"])
    windows, clip = session.run(["probabilities", "clip"], {"waveform": wave})
    assert len(windows) > 1
    np.testing.assert_allclose(clip, windows.mean(0), atol=1e-6)
    np.testing.assert_allclose(clip, pipe.analyse(wave).scores(), atol=1e-5)


def test_what_speaks_for_a_label_leaves_the_others_alone():
    from hf_encls.inference.explanation import log_odds, occlusion

    model = small_model("log_mel", problem_type=SEVERAL_LABELS, window_s=0.4)
    windows = torch.randn(2, 32, model.config.num_frames, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 2])
    with torch.no_grad():
        probability = model.probabilities(model.classify(windows))[[0, 1], targets]
        torch.testing.assert_close(log_odds(model.classify(windows), targets, several=True), probability.logit())
        before = occlusion(model, windows, targets)
        model.head.classifier.bias[1] += 5.0  # another label is there too
        torch.testing.assert_close(occlusion(model, windows, targets), before, rtol=1e-3, atol=1e-4)


def test_the_librarys_own_exporter_has_the_same_clips(tmp_path):
    """What transformers exports computes clips in another way than eager PyTorch does."""
    exporters = pytest.importorskip("transformers.exporters")
    model = small_model("log_mel", problem_type=SEVERAL_LABELS, window_s=0.4)
    wave = 0.1 * torch.randn(1, 50_000)
    program = exporters.DynamoExporter().export(model, {"input_values": wave}, exporters.DynamoConfig()).program
    with torch.no_grad():
        found, expected = program.module()(input_values=wave), model(input_values=wave)
    assert torch.allclose(found["logits"], expected.logits, atol=1e-5)
