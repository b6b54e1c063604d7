"""The model: its size, its initialisation, saving, batches, and what training changes."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from packaging.version import Version
from small_models import save_small_model, small_codec, small_model
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification, pipeline
from transformers.dynamic_module_utils import check_imports, get_imports, get_relative_import_files

from hf_encls import EnclsConfig, EnclsFeatureExtractor, EnclsForAudioClassification, EnclsModel
from hf_encls.model import precision_encls
from hf_encls.model.modeling_encls import PART_BYTES

MODEL_ROOM = Path(__file__).parents[1] / "hf_encls" / "model"


def waves(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A padded batch and its mask; the padding is loud, so that a model that hears it is found out."""
    generator = torch.Generator().manual_seed(3)
    values = torch.full((len(lengths), max(lengths)), 0.7)
    mask = torch.zeros(values.shape, dtype=torch.int32)
    for row, length in enumerate(lengths):
        values[row, :length] = torch.randn(length, generator=generator) * 0.1
        mask[row, :length] = 1
    return values, mask


def test_size_is_the_reference_networks():
    model = EnclsForAudioClassification(EnclsConfig(num_labels=50))
    assert sum(weight.numel() for weight in model.parameters()) == 1_650_866


def test_initialisation_is_pytorchs_own():
    torch.manual_seed(0)
    model = EnclsForAudioClassification(EnclsConfig(num_labels=50))
    for layer in (model.head.conv1, model.head.conv2, model.head.classifier):
        fan_in = layer.weight[0].numel()
        # uniform within 1/sqrt(fan_in) has this deviation; the library's would be 0.02
        assert layer.weight.std().item() == pytest.approx((3 * fan_in) ** -0.5, rel=0.1)
        assert layer.bias.abs().max() > 0


@pytest.mark.parametrize("features", ["encodec_24khz", "encodec_48khz", "encodec_24khz_codes", "mel", "log_mel"])
def test_save_and_reload_to_the_bit(features, tmp_path):
    model = small_model(features)
    folder = save_small_model(tmp_path / "model", features)
    reloaded = AutoModelForAudioClassification.from_pretrained(folder).eval()
    values, mask = waves(model.config.sampling_rate * 2, 3000)
    with torch.no_grad():
        one, two = (m(input_values=values, attention_mask=mask) for m in (model, reloaded))
    assert torch.equal(one.logits, two.logits) and torch.equal(one.window_logits, two.window_logits)
    assert isinstance(AutoConfig.from_pretrained(folder), EnclsConfig)
    assert isinstance(AutoFeatureExtractor.from_pretrained(folder), EnclsFeatureExtractor)


@pytest.mark.parametrize("features", ["encodec_24khz", "encodec_48khz", "log_mel"])
def test_padding_never_changes_a_score(features):
    model = small_model(features)
    rate = model.config.sampling_rate
    lengths = (rate * 3 + 17, 500, rate, rate + rate // 2)
    values, mask = waves(*lengths)
    with torch.no_grad():
        together = model(input_values=values, attention_mask=mask)
        for row, length in enumerate(lengths):
            alone = model(input_values=values[row : row + 1, :length])
            torch.testing.assert_close(together.logits[row], alone.logits[0], atol=1e-5, rtol=0)
            count = together.num_windows[row]
            torch.testing.assert_close(together.window_logits[row, :count], alone.window_logits[0], atol=1e-5, rtol=0)
    assert together.num_windows.tolist() == [3, 1, 1, 2]


def test_a_clips_probabilities_are_the_mean_of_its_windows():
    model = small_model("log_mel")
    values, _ = waves(model.config.sampling_rate * 4)
    with torch.no_grad():
        output = model(input_values=values)
        windows = model.windows(values)[0]
        expected = model(input_features=windows).logits.softmax(-1).mean(0)
    torch.testing.assert_close(output.logits.softmax(-1)[0], expected)
    torch.testing.assert_close(output.logits.exp().sum(-1), torch.ones(1))


def test_standardisation_shifts_a_band_without_change_and_scales_the_others():
    model = small_model("log_mel")
    std = torch.ones(model.config.num_bands) * 4
    std[3] = 0
    model.set_standardization(torch.full_like(std, -100), std)
    assert model.feature_scale[3] == 1 and model.feature_scale[0] == 0.25 and model.feature_mean[3] == -100


def test_inputs_that_do_not_fit_are_refused():
    model = small_model("log_mel", hop_length=128)
    with pytest.raises(ValueError, match="both or neither"):
        model()
    with pytest.raises(ValueError, match=r"expected windows of shape \(batch_size, 32, 341\), found \(2, 32, 75\)"):
        model(input_features=torch.zeros(2, 32, 75))
    with pytest.raises(ValueError, match=r"\(batch_size, num_samples\)"):
        model(input_values=torch.zeros(1, 1, 2000))
    with pytest.raises(ValueError, match="at least one sample"):
        model(input_values=torch.zeros(1, 2000), attention_mask=torch.zeros(1, 2000))
    bare = EnclsForAudioClassification(EnclsConfig(num_labels=2, codec_id="some/codec"))
    with pytest.raises(ValueError, match=r"without its codec \(some/codec\)"):
        bare(input_values=torch.zeros(1, 24_000))


def test_training_changes_every_weight_of_the_network_and_none_of_the_codec():
    model = small_model("encodec_24khz")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    assert not model.frontend.training
    optimizer = torch.optim.Adam([weight for weight in model.parameters() if weight.requires_grad], lr=1e-2)
    values, mask = waves(24_000 * 2, 24_000)
    loss = model(input_values=values, attention_mask=mask, labels=torch.tensor([0, 1])).loss
    loss.backward()
    optimizer.step()
    network = "head."
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) != name.startswith(network), name


def test_it_can_learn_eight_clips_by_heart():
    torch.manual_seed(0)
    model = EnclsForAudioClassification(EnclsConfig(num_labels=4, features="log_mel", num_bands=32, window_s=0.3))
    windows = torch.randn(8, 32, model.config.num_frames)
    labels = torch.arange(8) % 4
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    model.train()
    for _ in range(40):
        optimizer.zero_grad()
        model(input_features=windows, labels=labels).loss.backward()
        optimizer.step()
    assert (model.eval()(input_features=windows).logits.argmax(-1) == labels).all()


def test_attached_codec_is_a_copy_and_must_fit():
    codec = small_codec(24)
    model = small_model("encodec_24khz", codec=codec)
    assert codec.decoder is not None and model.frontend.codec.decoder is None
    with pytest.raises(ValueError, match="48000 Hz"):
        model.attach_codec(small_codec(48))
    with pytest.raises(ValueError, match="needs no codec"):
        small_model("mel").attach_codec(codec)


def test_another_codec_of_the_same_shape_is_refused():
    model = small_model("encodec_24khz", codec=small_codec(24))
    with pytest.raises(ValueError, match="expected the codec that made this model's features"):
        model.attach_codec(small_codec(24, seed=1))
    shifted = small_codec(24)
    shifted.config.pad_mode = "constant"
    with pytest.raises(ValueError, match="its weights or settings differ"):
        model.attach_codec(shifted)
    codes = small_model("encodec_24khz_codes", codec=small_codec(24))
    refitted = small_codec(24)
    refitted.quantizer.layers[0].codebook.embed += 1
    with pytest.raises(ValueError, match="codebook_hash"):
        codes.attach_codec(refitted)


@pytest.mark.parametrize(("khz", "policy"), [(24, "whole"), (48, "contiguous")])
def test_a_policy_that_nobody_gave_is_filled_in(khz, policy):
    codec = small_codec(khz)
    config = EnclsConfig(features=f"encodec_{khz}khz", sampling_rate=khz * 1000, num_labels=2, num_bands=16)
    model = EnclsForAudioClassification(config).eval()
    model.attach_codec(codec)
    assert model(input_values=torch.zeros(1, 30_000)).logits.shape == (1, 2)
    assert model.config.codec_policy == policy and config.codec_policy is None
    assert EnclsConfig(**model.config.to_dict() | {"codec_policy": None}).codec_policy == policy


@pytest.mark.parametrize("features", ["log_mel", "encodec_24khz"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_takes_waveforms(features, dtype, tmp_path):
    folder = save_small_model(tmp_path / "model", features)
    whole = small_model(features)
    wave = 0.1 * torch.randn(whole.config.sampling_rate * 2, generator=torch.Generator().manual_seed(0))
    expected = whole(input_values=wave[None]).logits
    loaded = EnclsForAudioClassification.from_pretrained(folder, dtype=dtype).eval()
    for model in (loaded, small_model(features).to(dtype), small_model(features).half()):
        assert model.head.conv1.weight.dtype in (dtype, torch.float16)
        assert {value.dtype for value in model.frontend.state_dict().values()} == {torch.float32}
        torch.testing.assert_close(model(input_values=wave[None]).logits, expected, atol=0.03, rtol=0)
    pipe = pipeline("audio-classification", model=str(folder), dtype=dtype, top_k=3)
    assert len(pipe(wave.numpy())) == 3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("way", ["weights", "autocast", "training"])
@pytest.mark.parametrize("part", ["result", "gradient"])
def test_a_convolution_that_is_wrong_in_a_reduced_precision_computes_in_float32(
    dtype, way, part, monkeypatch, recwarn
):
    right = torch.nn.Conv2d._conv_forward

    def wrong(conv, image, weight, bias):
        out = right(conv, image, weight, bias)
        if out.dtype == torch.float32 or conv.out_channels != 48:
            return out
        if part == "result":
            return -out
        return 2 * out - out.detach()  # the same numbers, twice the gradient

    monkeypatch.setattr(torch.nn.Conv2d, "_conv_forward", wrong)
    monkeypatch.setattr(precision_encls, "_ERRORS", {})
    model = small_model("encodec_24khz", conv_channels=(8, 48), dropout=0.0)
    windows = torch.randn(3, *model.config.stored_shape, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2])
    expected = model.train(way == "training")(input_features=windows, labels=labels)
    expected.loss.backward()
    gradients = torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None])
    model.zero_grad()
    model = model.to(dtype) if way == "weights" else model
    for _ in range(2):
        with torch.autocast("cpu", dtype, enabled=way != "weights"), torch.set_grad_enabled(way == "training"):
            found = model(input_features=windows, labels=labels)
    torch.testing.assert_close(found.logits.float(), expected.logits, atol=0.03, rtol=0)
    if way == "training":
        found.loss.backward()
        rounded = torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None])
        assert (rounded - gradients).norm() <= 0.05 * gradients.norm()
    messages = [str(each.message) for each in recwarn.list if each.category is RuntimeWarning]
    assert len(messages) == 1 and "conv2 (off by" in messages[0]


def test_the_convnet_computes_channels_last_what_the_paper_says(monkeypatch, tmp_path):
    """Scores to 1e-5 of the largest, gradients to 1e-3: where two values of a pool are equal to rounding, either may win."""
    model = small_model("encodec_24khz", dropout=0.0).train()
    windows = torch.randn(5, *model.config.stored_shape, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 0, 1])
    seen = []
    model.head.conv2.register_forward_hook(lambda conv, inputs, out: seen.append((inputs[0].stride(1), out.stride(1))))

    def step() -> tuple[torch.Tensor, list[torch.Tensor]]:
        model.zero_grad()
        out = model(input_features=windows, labels=labels)
        out.loss.backward()
        return out.logits, [each.grad.clone() for each in model.parameters() if each.grad is not None]

    found, gradients = step()
    assert seen == [(1, 1)]

    def plain(head, windows):
        hidden = head.pool(head.conv1(windows[:, None]).relu())
        return head.pool(head.conv2(hidden).relu()).flatten(1)

    monkeypatch.setattr(type(model.head), "features", plain)
    expected, wanted = step()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item())
    for gradient, each in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient, each, rtol=0, atol=1e-3 * each.abs().max().item())
        assert gradient.is_contiguous()
    assert all(each.is_contiguous() for each in model.head.parameters())


def test_trainer_is_told_to_gather_the_logits_only():
    assert EnclsConfig.keys_to_ignore_at_inference == ["window_logits", "num_windows", "hidden_states"]
    assert "keys_to_ignore_at_inference" not in EnclsConfig().to_dict()


def test_published_files_import_each_other_flat_and_nothing_of_ours():
    modeling = MODEL_ROOM / "modeling_encls.py"
    travelling = {Path(file).name for file in get_relative_import_files(str(modeling))}
    names = ("configuration", "representation", "mel", "codec_features", "codec", "identity", "encoding", "layers")
    names += (
        "head",
        "mnist",
        "statistics",
        "modulation",
        "conv",
        "adapter",
        "encodec",
        "dac",
        "mimi",
        "vibevoice",
        "xcodec",
        "names",
        "calibration",
        "limits",
        "loading",
        "precision",
        "problem",
        "windows",
        "export",
        "together",
        "tiles",
        "packed",
    )
    assert travelling == {f"{name}_encls.py" for name in names}
    for file in MODEL_ROOM.glob("*.py"):
        check_imports(str(file))
        # Whoever loads a checkpoint must have every package that is imported, wherever in the file.
        packages = set(get_imports(str(file))) - sys.stdlib_module_names
        assert packages <= {"huggingface_hub", "numpy", "safetensors", "torch", "transformers"}, file
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not any(name.name.split(".")[0] == "hf_encls" for name in node.names), file
            if isinstance(node, ast.ImportFrom):
                assert node.level == 1 or (node.module or "").split(".")[0] != "hf_encls", file
                assert node.level != 1 or (node.module and "." not in node.module), f"{file}: not flat"


@pytest.mark.parametrize("features", ["log_mel", "encodec_24khz"])
def test_the_backbone_gives_what_the_classifier_sees(features, tmp_path):
    folder = save_small_model(tmp_path / "model", features)
    model, backbone = small_model(features), AutoModel.from_pretrained(folder).eval()
    assert type(backbone) is EnclsModel
    values, mask = waves(model.config.sampling_rate * 2, model.config.sampling_rate // 2)
    with torch.no_grad():
        seen = backbone(input_values=values, attention_mask=mask)
        windows = model.windows(values, mask)[0]
        scores = model.head(seen.last_hidden_state[0])
        torch.testing.assert_close(scores, model.classify(windows), atol=1e-5, rtol=0)  # another batch: other rounding
    assert seen.num_windows.tolist() == [2, 1] and not seen.last_hidden_state[1, 1].any()
    assert seen.pooler_output.shape == (2, model.config.hidden_size)
    torch.testing.assert_close(seen.pooler_output[1], seen.last_hidden_state[1, 0])
    backbone.save_pretrained(tmp_path / "again")
    names = AutoConfig.from_pretrained(tmp_path / "again").auto_map
    assert names["AutoModel"] == "backbone_encls.EnclsModel" and (tmp_path / "again" / "backbone_encls.py").is_file()
    assert names.get("AutoModelForAudioClassification", "modeling_encls.EnclsForAudioClassification").startswith(
        "modeling"
    )
    again = EnclsForAudioClassification.from_pretrained(tmp_path / "again").eval()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


def test_hidden_states_are_the_maps_of_the_convolutions():
    model = small_model("log_mel")
    windows = torch.randn(2, *model.config.stored_shape, generator=torch.Generator().manual_seed(0))
    bands, frames = model.config.stored_shape
    plain, asked = model(input_features=windows), model(input_features=windows, output_hidden_states=True)
    assert plain.hidden_states is None and torch.equal(plain.logits, asked.logits)
    first, second = asked.hidden_states
    assert first.shape == (2, 32, bands - 2, frames - 2) and second.shape[:2] == (2, 64)
    values, mask = waves(model.config.sampling_rate * 2, model.config.sampling_rate)
    with torch.no_grad():
        assert len(model(input_values=values, attention_mask=mask, output_hidden_states=True).hidden_states[0]) == 3
    assert not model.head.conv1._forward_hooks
    with pytest.raises(ValueError, match="does not support (activation|gradient) checkpointing"):
        model.gradient_checkpointing_enable()


@pytest.mark.parametrize("features", ["mel", "log_mel"])
def test_constants_are_made_again_on_a_model_without_values(features):
    config = small_model(features).config
    with torch.device("meta"):
        model = EnclsForAudioClassification(config)
    model.to_empty(device="cpu")
    for buffer in model.frontend.buffers():
        buffer.fill_(7)
    model.init_weights()
    for name, buffer in EnclsForAudioClassification(config).frontend.named_buffers():
        assert torch.equal(model.frontend.get_buffer(name), buffer), name


def test_a_configuration_says_the_same_after_a_round_trip(tmp_path):
    config = EnclsConfig(features="mel", num_labels=3)
    config.save_pretrained(tmp_path)
    assert EnclsConfig.from_pretrained(tmp_path).to_dict() == config.to_dict()


# What stays in transformers when its feature extractors become audio processors; `Preprocessor` has both names.
STAYS = {
    *("PreTrainedConfig", "PreTrainedModel", "BatchFeature", "ModelOutput", "EncodecConfig", "TensorType", "logging"),
    *("SequenceFeatureExtractor", "BaseAudioProcessor"),
}


def test_published_files_ask_transformers_for_nothing_that_moves():
    for file in MODEL_ROOM.glob("*.py"):
        nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
        tried = [each for node in nodes if isinstance(node, ast.Try) for each in node.body]  # may be missing
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "transformers":
                if node in tried:
                    continue
                assert not {name.name for name in node.names} - STAYS, file


def test_padding_on_the_left_is_refused():
    with pytest.raises(ValueError, match="expected padding_side right"):
        EnclsFeatureExtractor(sampling_rate=24_000, padding_side="left")


def test_a_batch_of_examples_is_padded_as_the_extractor_pads():
    extractor = EnclsFeatureExtractor(sampling_rate=24_000)
    clips = [np.full(length, 0.5, np.float32) for length in (7, 12)]
    examples = [{"input_values": torch.from_numpy(clip), "labels": label} for label, clip in enumerate(clips)]
    padded = extractor.pad(examples, pad_to_multiple_of=8)
    assert padded["input_values"].shape == (2, 16) and padded["labels"].tolist() == [0, 1]
    assert padded["attention_mask"].sum(-1).tolist() == [7, 12]
    cut = extractor.pad(examples, truncation=True, max_length=5, return_tensors="np")
    assert cut["input_values"].shape == cut["attention_mask"].shape == (2, 5)
    with pytest.raises(ValueError, match="need max_length"):
        extractor.pad(examples, padding="max_length")
    with pytest.raises(ValueError, match="expected padding True"):
        extractor.pad(examples, padding="shortest")
    with pytest.raises(ValueError, match="expected input_values"):
        extractor.pad([{"labels": 1}])


def fresh(code: str) -> list[str]:
    """What a new interpreter prints, in words."""
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.split()


def test_importing_the_package_loads_nothing():
    code = "import hf_encls, sys; print([name for name in ('torch', 'transformers', 'numpy') if name in sys.modules])"
    assert fresh(code) == ["[]"]
    heavy = ["datasets", "matplotlib", "sklearn", "evaluate", "accelerate", "tensorboard", "gradio"]
    if Version(transformers.__version__) >= Version("5.23"):  # before, its exporters bring it where it is installed
        heavy.append("onnx")
    code = "import transformers.modeling_utils as _, sys; before = set(sys.modules); import hf_encls;"
    code += f"print([name for name in {heavy} if name in set(sys.modules) - before]);"
    code += "import hf_encls.report.pictures; print('matplotlib' in sys.modules)"  # loaded when a picture is drawn
    assert fresh(code) == ["[]", "False"]


@pytest.mark.parametrize(
    "first",
    [
        "import hf_encls",
        "import transformers; import hf_encls",
        "import hf_encls; import transformers.models.encodec.modeling_encodec",
        "import hf_encls.model.modeling_encls",
        "from hf_encls import EnclsForAudioClassification",
        "from hf_encls.audio import load",
    ],
)
def test_the_auto_classes_know_a_checkpoint_whatever_is_imported_first(first, tmp_path):
    save_small_model(tmp_path, "log_mel")
    code = f"{first}; from transformers import pipeline; pipe = pipeline('audio-classification', model={str(tmp_path)!r});"
    code += "print(type(pipe.model).__module__, pipe.model._auto_class)"
    assert fresh(code) == ["hf_encls.model.modeling_encls", "AutoModelForAudioClassification"]


def test_one_clip_is_padded_as_a_batch_is():
    extractor = EnclsFeatureExtractor(sampling_rate=24_000)
    clip = np.full(700, 0.5, np.float32)
    settings = {"sampling_rate": 24_000, "padding": "max_length", "max_length": 1000, "return_tensors": "np"}
    alone, batch = extractor(clip, **settings), extractor([clip, clip], **settings)
    assert alone["input_values"].shape == (1, 1000) and alone["attention_mask"].sum() == 700
    for name in ("input_values", "attention_mask"):
        np.testing.assert_array_equal(alone[name][0], batch[name][1])
    assert extractor(clip, sampling_rate=24_000, pad_to_multiple_of=512)["input_values"][0].shape == (1024,)
    assert extractor(clip, sampling_rate=24_000)["input_values"][0].shape == (700,)


def test_the_mask_is_given_where_it_is_wanted():
    extractor = EnclsFeatureExtractor(sampling_rate=24_000)
    clips = [np.full(length, 0.5, np.float32) for length in (700, 900)]
    for wanted, names in ((None, {"input_values", "attention_mask"}), (True, {"input_values", "attention_mask"})):
        assert set(extractor(clips, sampling_rate=24_000, return_attention_mask=wanted)) == names
    assert set(extractor(clips, sampling_rate=24_000, return_attention_mask=False)) == {"input_values"}


def test_many_windows_go_through_in_parts_to_the_same_bits():
    model = small_model("log_mel", hop_length=128)
    windows = torch.randn(
        64, model.config.num_bands, model.config.num_frames, generator=torch.Generator().manual_seed(0)
    )
    sizes = []
    model.head.conv1.register_forward_hook(lambda module, inputs, output: sizes.append(output.nbytes))
    whole = model.classify(windows)
    with torch.no_grad():
        parts = model.classify(windows)
    assert sizes[0] > 2 * PART_BYTES and max(sizes[1:]) <= PART_BYTES
    assert torch.equal(parts, whole)
