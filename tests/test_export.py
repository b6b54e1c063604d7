"""transformers' own exporters and torch.export, asked as anybody would: waveforms of any length, the model's scores."""

import importlib.util

import pytest
import torch
from small_models import small_codec, small_model
from torch.export import Dim
from transformers.exporters import DynamoConfig, DynamoExporter, OpenVINOConfig, OpenVINOExporter
from transformers.exporters.utils import apply_patches

from hf_encls import EnclsModel
from hf_encls.model.export_encls import ExportError, any_length

exporters = pytest.importorskip("transformers.exporters")
ANY = {"input_values": {0: Dim.AUTO, 1: Dim.AUTO}}
RESULTS = ("logits", "window_logits", "num_windows")
if not hasattr(exporters, "ExportedModel"):
    pytest.skip("this transformers has other exporters", allow_module_level=True)


def waves(clips: int, length: int) -> torch.Tensor:
    return 0.1 * torch.randn(clips, length, generator=torch.Generator().manual_seed(length))


def lengths_of(model) -> list[int]:
    window, step = model.config.window_samples, model.config.step_samples
    return [window, window + 1, window + step, 2 * window + 77, 5 * window + 4321, window // 3]


def check_same(model, exported, lengths: list[int]) -> None:
    for clips, length in [(1, length) for length in lengths] + [(3, lengths[0]), (3, lengths[-1])]:
        with torch.no_grad():
            expected = model(input_values=waves(clips, length))
        actual = exported(input_values=waves(clips, length))
        for name in RESULTS:
            assert actual[name].shape == expected[name].shape, (name, clips, length)
            torch.testing.assert_close(actual[name], expected[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["mel", "log_mel", "encodec_24khz", "encodec_24khz_codes"])
def test_one_program_takes_clips_of_any_length(kind, tmp_path):
    settings = {"bandwidth": 3.0} if kind.endswith("codes") else {}
    model = small_model(kind, window_s=0.4, step_s=0.2, **settings)
    example = {"input_values": waves(2, 3 * model.config.window_samples + 777)}
    exported = DynamoExporter().export(model, example, DynamoConfig(dynamic_shapes=ANY))
    check_same(model, exported, lengths_of(model))
    exported.save_pretrained(tmp_path / "exported")
    again = exporters.ExportedModel.from_pretrained(tmp_path / "exported")
    check_same(model, again, lengths_of(model)[:1])


def test_chunks_of_48_khz_once_their_guards_are_left_out():
    # PyTorch guards the number of chunks that the trial had; the program computes right with any.
    model = small_model("encodec_48khz", window_s=0.4, step_s=0.2)
    example = {"input_values": waves(1, 120_077)}
    exported = DynamoExporter().export(model, example, DynamoConfig(dynamic_shapes={"input_values": {1: Dim.AUTO}}))
    program = exported.program.module(check_guards=False)
    for length in (19_200, 48_000, 48_009, 96_000, 150_001):
        with torch.no_grad():
            expected, actual = model(input_values=waves(1, length)), program(input_values=waves(1, length))
        for name in RESULTS:
            torch.testing.assert_close(actual[name], expected[name], rtol=1e-5, atol=1e-5)


def test_the_backbone_and_the_model_afterwards():
    model = small_model("log_mel", window_s=0.4)
    backbone = EnclsModel(model.config).eval()
    backbone.load_state_dict(model.state_dict())
    clip = waves(2, 2 * model.config.window_samples + 77)
    with torch.no_grad():
        expected = backbone(input_values=clip)
    exported = DynamoExporter().export(backbone, {"input_values": clip}, DynamoConfig(dynamic_shapes=ANY))
    for length in lengths_of(model):
        with torch.no_grad():
            want = backbone(input_values=waves(1, length))
        found = exported(input_values=waves(1, length))
        for name in ("last_hidden_state", "pooler_output"):
            torch.testing.assert_close(found[name], want[name], rtol=1e-5, atol=1e-4)
    with torch.no_grad():
        assert torch.equal(backbone(input_values=clip).pooler_output, expected.pooler_output)


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")
@pytest.mark.parametrize("kind", ["log_mel", "encodec_24khz"])
def test_openvino_in_its_accurate_mode(kind):
    model = small_model(kind, window_s=0.4, step_s=0.2)
    example = {"input_values": waves(2, 3 * model.config.window_samples + 777)}
    exported = OpenVINOExporter().export(model, example, OpenVINOConfig(dynamic_shapes=ANY))
    exported.to(config={"INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY"})
    check_same(model, exported, lengths_of(model))


def test_executorch_says_that_it_has_no_lstm():
    model = small_model("encodec_24khz", window_s=0.4)
    example = {"input_values": waves(2, 3 * model.config.window_samples + 777)}
    with (
        apply_patches("executorch"),
        pytest.raises(ExportError, match="ExecuTorch has no LSTM: expected mel or log-mel"),
    ):
        DynamoExporter().export(model, example, DynamoConfig(dynamic_shapes=ANY))
    DynamoExporter().export(model, example, DynamoConfig(dynamic_shapes=ANY))  # others are as they were


@pytest.mark.parametrize("backend", ["onnx", "openvino", "executorch"])
def test_other_peoples_lstms_are_drawn_as_if_nothing_of_ours_was_there(backend):
    if backend == "openvino":  # the others' patches need nothing of theirs
        pytest.importorskip("openvino")
    lstm = torch.nn.LSTM(3, 4, bidirectional=True, batch_first=True).eval()

    def whole_layers() -> int:
        program = torch.export.export(lstm, (torch.zeros(2, 5, 3),)).run_decompositions()
        return sum("rnn_layer" in str(node.target) for node in program.graph.nodes)

    expected = whole_layers()
    with apply_patches(backend):
        assert whole_layers() == expected


def test_an_attention_mask_cannot_be_exported():
    model = small_model("log_mel", window_s=0.4)
    clips = waves(2, model.config.window_samples)
    inputs = {"input_values": clips, "attention_mask": torch.ones(clips.shape, dtype=torch.long)}
    with pytest.raises(ExportError, match="input_values alone"):
        DynamoExporter().export(model, inputs, DynamoConfig())


def test_a_checkpoint_without_its_codec_says_so():
    model = small_model("encodec_24khz", window_s=0.4)
    clips = waves(1, model.config.window_samples)
    model.frontend = None
    with pytest.raises(ValueError, match="attach_codec"):
        DynamoExporter().export(model, {"input_values": clips}, DynamoConfig())


@pytest.mark.parametrize("khz", [24, 48])
def test_paddings_in_whole_numbers_are_the_codecs_own(khz):
    codec = small_codec(khz)
    channels = codec.config.audio_channels
    with torch.no_grad():
        for length in (2, 3, 19, 320, 321, 2239, 2240, 2241, 6400, 6733):
            clip = waves(channels, length)[None]
            expected = codec.encoder(clip)
            with any_length(codec.encoder):
                torch.testing.assert_close(codec.encoder(clip), expected, rtol=0, atol=1e-6)
            assert torch.equal(codec.encoder(clip), expected)
