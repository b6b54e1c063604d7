"""Broken weights and configurations: one line that names the file, in no time and in little memory."""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from small_models import save_small_model, small_codec, small_model
from transformers import AutoModelForAudioClassification, EncodecModel, pipeline

from hf_encls import EnclsConfig, EnclsForAudioClassification, EnclsPipeline
from hf_encls.codec.loading import ASSETS, CodecNotFoundError, load_codec
from hf_encls.commands import cli
from hf_encls.features.extraction import feature_config
from hf_encls.inference.embeddings import load_model

KINDS = ("encodec_24khz", "encodec_24khz_codes", "log_mel")
NAN, INFINITY = float("nan"), float("inf")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict[str, Path]:
    """A whole checkpoint of each kind, and a codec."""
    root = tmp_path_factory.mktemp("whole")
    folders = {kind: save_small_model(root / kind, kind) for kind in KINDS}
    small_codec().save_pretrained(root / "codec")
    return folders | {"codec": root / "codec"}


@pytest.fixture
def broken(whole, tmp_path):
    """A function: a copy of a whole checkpoint whose configuration and weights are changed."""

    def make(kind: str = "encodec_24khz", config=None, codec=None, weights=None) -> Path:
        folder = tmp_path / f"broken{len(list(tmp_path.iterdir()))}"
        shutil.copytree(whole[kind], folder)
        if config or codec:
            values = json.loads((folder / "config.json").read_text())
            values.update(config or {})
            if codec:
                values["codec_config"].update(codec)
            (folder / "config.json").write_text(json.dumps(values))
        if weights:
            tensors = load_file(folder / "model.safetensors")
            weights(tensors)
            save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    return make


def one_line(error: BaseException, *parts: str) -> None:
    """The message is a single line that holds all of `parts`."""
    text = str(error)
    assert "\n" not in text and len(text) < 600, text
    for part in parts:
        assert part in text, text


def put(name: str, value: float):
    """Weights of which one number is another."""

    def change(tensors: dict) -> None:
        tensors[name].view(-1)[0] = value

    return change


@pytest.mark.parametrize("value", [NAN, INFINITY, -INFINITY])
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("encodec_24khz", "head.conv1.weight"),
        ("encodec_24khz", "feature_mean"),
        ("encodec_24khz", "frontend.codec.encoder.layers.0.conv.bias"),
        ("encodec_24khz_codes", "frontend.codec.quantizer.layers.1.codebook.embed"),
        ("log_mel", "frontend.filters"),
    ],
)
def test_weights_that_are_no_numbers_are_refused(kind, name, value, broken):
    folder = broken(kind, weights=put(name, value))
    with pytest.raises(ValueError, match="expected finite weights") as caught:
        EnclsPipeline.from_pretrained(folder, device="cpu")
    one_line(caught.value, str(folder / "model.safetensors"), name)


@pytest.mark.parametrize("kind", KINDS)
def test_each_tensor_is_missed(kind, whole, broken):
    names = sorted(load_file(whole[kind] / "model.safetensors"))
    for name in [*names[:: max(1, len(names) // 6)], "feature_scale", "head.classifier.bias"]:
        folder = broken(kind, weights=lambda tensors: tensors.pop(name))  # noqa: B023
        with pytest.raises(ValueError, match="expected all tensors") as caught:
            EnclsForAudioClassification.from_pretrained(folder)
        one_line(caught.value, str(folder / "model.safetensors"), name)


@pytest.mark.parametrize("length", [0, 7, 200, -1])
@pytest.mark.parametrize("kind", ["encodec_24khz", "codec"])
def test_a_file_cut_short_is_refused(kind, length, broken):
    folder = broken(kind)
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(ValueError, match="cut short") as caught:
        load_codec(folder) if kind == "codec" else EnclsPipeline.from_pretrained(folder)
    one_line(caught.value, str(file))


@pytest.mark.parametrize("dtype", [torch.int32, torch.complex64, torch.bool])
def test_weights_of_other_types_are_refused(dtype, broken):
    folder = broken(
        weights=lambda tensors: tensors.update({"head.conv1.weight": tensors["head.conv1.weight"].to(dtype)})
    )
    with pytest.raises(ValueError, match=r"expected weights as F64, F32, F16, BF16") as caught:
        EnclsPipeline.from_pretrained(folder)
    one_line(caught.value, str(folder / "model.safetensors"), "head.conv1.weight")


def test_shapes_of_another_model_are_named(broken, caplog):
    folder = broken(weights=lambda tensors: tensors.update({"head.classifier.weight": torch.zeros(7, 7)}))
    with pytest.raises(ValueError, match=r"classifier\.weight of the shape \(3, 2176\).*found \(7, 7\)") as caught:
        EnclsPipeline.from_pretrained(folder)
    one_line(caught.value, str(folder / "model.safetensors"))
    assert "REPORT" not in caplog.text
    model = EnclsForAudioClassification.from_pretrained(folder, ignore_mismatched_sizes=True)  # asked for
    assert model.head.classifier.weight.shape == (3, 2176)
    fewer = EnclsForAudioClassification.from_pretrained(folder, ignore_mismatched_sizes=True, num_labels=5)
    assert fewer.head.classifier.weight.shape == (5, 2176)


CONFIGURATIONS = [
    ({"hop_length": 0}, "hop_length"),
    ({"hop_length": -128}, "hop_length"),
    ({"num_bands": 10**9}, "num_bands"),
    ({"n_fft": 10**9}, "n_fft"),
    ({"kernel_size": 0}, "kernel_size"),
    ({"pool_size": 0}, "pool_size"),
    ({"frame_length": 0}, "frame_length"),
    ({"sampling_rate": 0}, "sampling_rate"),
    ({"conv_channels": [10**9, 10**9]}, "conv_channels"),
    ({"conv_channels": [-1, 64]}, "conv_channels"),
    ({"window_s": INFINITY}, "window_s"),
    ({"window_s": NAN}, "window_s"),
    ({"window_s": 1e7}, "window_s"),
    ({"window_s": "one"}, "window_s"),
    ({"step_s": 0.0}, "step_s"),
    ({"dropout": 7.0}, "dropout"),
    ({"dtype": "float99"}, "dtype"),
    ({"dtype": "int8"}, "dtype"),
    ({"id2label": None, "num_labels": 10**10}, "num_labels"),
    ({"num_labels": 10**10}, "num_labels"),
    ({"id2label": {"0": "a", "7": "b", "9": "c"}}, "id2label"),
    ({"id2label": {"x": "a"}}, "id2label"),
    ({"id2label": {}}, "num_labels"),
    ({"features": "mfcc"}, "features"),
    ({"model_type": "bert"}, "model_type"),
]


@pytest.mark.parametrize(("values", "name"), CONFIGURATIONS)
@pytest.mark.parametrize("kind", ["encodec_24khz", "log_mel"])
def test_configurations_that_cannot_work_are_refused(kind, values, name, broken):
    folder = broken(kind, config=values)
    started = time.monotonic()
    with pytest.raises(ValueError) as caught:
        EnclsPipeline.from_pretrained(folder)
    assert time.monotonic() - started < 5
    one_line(caught.value, str(folder / "config.json"), name)


CODECS = [
    {"num_lstm_layers": 10**12},
    {"num_lstm_layers": 0},
    {"num_residual_layers": 10**9},
    {"num_filters": 10**6},
    {"num_filters": "2"},
    {"hidden_size": 0},
    {"upsampling_ratios": [0, 5, 4, 2]},
    {"upsampling_ratios": [2] * 1000},
    {"upsampling_ratios": []},
    {"target_bandwidths": [1e12]},
    {"target_bandwidths": []},
    {"compress": 0},
    {"codebook_size": 1000},
    {"codebook_size": 10**12},
    {"kernel_size": 0},
    {"norm_type": "none"},
    {"pad_mode": "none"},
    {"audio_channels": 0},
    {"chunk_length_s": -1.0},
    {"chunk_length_s": 1e-9},
    {"overlap": 2.0},
    {"dilation_growth_rate": 10**6},
    {"trim_right_ratio": 5.0},
    {"sampling_rate": 0},
]


@pytest.mark.parametrize("values", CODECS, ids=str)
def test_codecs_that_cannot_be_built_are_refused(values, broken):
    (name,) = values
    inside, alone = broken(codec=values), broken("codec", config=values)
    started = time.monotonic()
    with pytest.raises(ValueError) as caught:
        EnclsPipeline.from_pretrained(inside)
    one_line(caught.value, str(inside / "config.json"), "codec_config", name)
    with pytest.raises(CodecNotFoundError) as caught:
        load_codec(alone)
    one_line(caught.value, str(alone / "config.json"), name)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("values", [{"kernel_size": 2}, {"num_filters": 16}, {"num_lstm_layers": 2}], ids=str)
def test_codecs_of_another_shape_are_refused(values, broken):
    for folder, load in ((broken(codec=values), EnclsPipeline.from_pretrained), (broken("codec", values), load_codec)):
        with pytest.raises(ValueError, match="is of another model") as caught:
            load(folder)
        one_line(caught.value, str(folder / "model.safetensors"), "layers.")


def test_a_codec_whose_weights_are_broken_is_refused(broken):
    for change, reason in (
        (put("encoder.layers.0.conv.bias", NAN), "expected finite weights"),
        (put("decoder.layers.0.conv.bias", INFINITY), "expected finite weights"),
        (lambda tensors: tensors.pop("decoder.layers.0.conv.bias"), "expected all tensors"),
        (lambda tensors: tensors.pop("quantizer.layers.0.codebook.embed"), "expected all tensors"),
    ):
        folder = broken("codec", weights=change)
        with pytest.raises(CodecNotFoundError, match=reason) as caught:
            load_codec(folder)
        one_line(caught.value, str(folder / "model.safetensors"))


def test_a_codec_saved_without_its_decoder_is_one_without_it(tmp_path):
    codec = small_codec()
    expected = codec.encoder.state_dict()
    codec.decoder = None
    codec.save_pretrained(tmp_path)
    loaded = load_codec(tmp_path)
    assert loaded.decoder is None and loaded.quantizer is not None
    assert all(torch.equal(value, expected[name]) for name, value in loaded.encoder.state_dict().items())


def test_a_codec_is_no_classifier_and_the_other_way_round(whole):
    for load in (EnclsPipeline.from_pretrained, EnclsForAudioClassification.from_pretrained):
        with pytest.raises(ValueError, match="expected a classifier") as caught:
            load(whole["codec"])
        one_line(caught.value, str(whole["codec"] / "config.json"), "`codec`")
    for kind in KINDS:  # whose codec_config is inside, where the library would find it
        with pytest.raises(CodecNotFoundError, match="expected a codec") as caught:
            load_codec(whole[kind])
        one_line(caught.value, str(whole[kind] / "config.json"), "`model`")


@pytest.mark.parametrize("text", ["{", "[1]", "7", "", '"x"', "\x00"])
@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
def test_files_that_are_no_json_objects_are_refused(name, text, broken):
    folder = broken()
    (folder / name).write_text(text)
    with pytest.raises(ValueError) as caught:
        EnclsPipeline.from_pretrained(folder)
    one_line(caught.value, str(folder / name))


def test_a_folder_without_a_configuration_is_no_checkpoint(broken):
    folder = broken()
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match="expected the configuration of a classifier, found none"):
        EnclsPipeline.from_pretrained(folder)


def test_an_extractor_of_another_rate_is_refused(broken):
    folder = broken()
    values = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(values | {"sampling_rate": 8000}))
    with pytest.raises(ValueError, match=r"preprocessor_config\.json: expected sampling_rate 24000.*found 8000"):
        EnclsPipeline.from_pretrained(folder)


@pytest.mark.parametrize("command", ["classify", "segment", "embed", "export", "demo"])
def test_every_command_says_it_in_one_line(command, broken, tmp_path, capsys):
    pytest.importorskip({"export": "onnxruntime", "demo": "gradio"}.get(command, "torch"))
    sounds = tmp_path / "sounds"
    sounds.mkdir()
    soundfile.write(sounds / "a.wav", 0.1 * torch.randn(24_000).numpy(), 24_000)
    source = {"embed": [str(sounds)], "export": ["--onnx", str(tmp_path / "m.onnx")], "demo": []}
    source = source.get(command, [str(sounds / "a.wav")])
    for folder, file in (
        (broken(weights=put("head.conv1.weight", NAN)), "model.safetensors"),
        (broken(codec={"num_lstm_layers": 10**12}), "config.json"),
    ):
        assert cli.main([command, *source, "--model", str(folder)]) == 2
        said = "\n".join(line for line in capsys.readouterr().err.strip().splitlines() if line != "loading the model")
        assert said.startswith(f"error: {folder / file}: ") and "\n" not in said, said
    assert not list(tmp_path.glob("m.onnx"))


def test_the_stock_pipeline_and_the_embeddings_refuse_them_too(broken):
    nan, wide = broken(weights=put("head.conv1.weight", NAN)), broken(config={"num_bands": 10**9})
    for load in (
        lambda folder: pipeline("audio-classification", model=str(folder)),
        AutoModelForAudioClassification.from_pretrained,
        lambda folder: load_model(str(folder), device="cpu"),
    ):
        with pytest.raises(ValueError, match="expected finite weights"):
            load(nan)
        with pytest.raises(ValueError, match="expected num_bands"):
            load(wide)


REMOTE = """
import sys
from transformers import pipeline
try:
    pipeline("audio-classification", model=sys.argv[1], trust_remote_code=True)
except ValueError as error:
    assert "hf_encls" not in sys.modules
    print(str(error).strip().splitlines()[-1])
"""


def test_the_code_that_travels_refuses_them(broken, tmp_path):
    folder = broken(weights=put("head.conv1.weight", NAN))
    environment = os.environ | {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run(
        [sys.executable, "-c", REMOTE, str(folder)], capture_output=True, text=True, check=True, env=environment
    )
    assert f"{folder / 'model.safetensors'}: expected finite weights" in run.stdout


def test_a_huge_network_takes_neither_time_nor_memory(broken, tmp_path):
    soundfile.write(tmp_path / "a.wav", 0.1 * torch.randn(24_000).numpy(), 24_000)
    folder = broken(codec={"num_lstm_layers": 10**12})
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [
        sys.executable,
        "-m",
        "hf_encls.commands.cli",
        "classify",
        str(tmp_path / "a.wav"),
        "--model",
        str(folder),
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run.returncode == 2 and run.stderr.count("\n") == 1
    assert (
        after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 30
    )  # of the processor, imports included
    assert after.ru_maxrss < 2_000_000  # KiB


def test_what_was_whole_stays_so(tmp_path):
    """Half precision, a checkpoint without its codec, and one whose statistics are at their limits still load."""
    model = small_model("log_mel")
    model.set_standardization(torch.zeros(32), torch.full((32,), 1e-38))
    model.save_pretrained(tmp_path / "limits")
    assert EnclsForAudioClassification.from_pretrained(tmp_path / "limits").feature_scale.max() > 1e37
    small_model("log_mel").half().save_pretrained(tmp_path / "half")
    assert EnclsForAudioClassification.from_pretrained(tmp_path / "half").head.conv1.weight.dtype == torch.float16
    bare = EnclsForAudioClassification(EnclsConfig(num_labels=2, codec_id="some/codec"))
    bare.save_pretrained(tmp_path / "bare")
    assert EnclsForAudioClassification.from_pretrained(tmp_path / "bare").frontend is None
    published = EncodecModel.from_pretrained(ASSETS / "mini", dtype=torch.float32)
    assert torch.equal(published.encoder.layers[0].conv.weight, load_codec("mini").encoder.layers[0].conv.weight)


def huge(tensors: dict) -> None:
    """Weights that are finite, of a network whose scores are not."""
    tensors["head.classifier.weight"].fill_(3e38)
    tensors["head.classifier.weight"][::2] *= -1
    tensors["head.conv2.weight"].fill_(1e30)


@pytest.mark.parametrize("program", ["classify", "segment", "export"])
def test_a_model_whose_scores_are_no_numbers_is_named(program, broken, tmp_path, capsys):
    folder, sound = broken("log_mel", weights=huge), tmp_path / "a.wav"
    soundfile.write(sound, 0.1 * torch.randn(44_100).numpy(), 44_100)
    if program == "export":
        pytest.importorskip("onnxruntime")
    args = {
        "classify": ["classify", str(sound)],
        "segment": ["segment", str(sound)],
        "export": ["export", "--onnx", str(tmp_path / "m.onnx")],
    }[program]
    assert cli.main([*args, "--model", str(folder)]) in (1, 2)
    said = capsys.readouterr().err
    assert f"{folder / 'model.safetensors'}: expected finite scores" in said and "Traceback" not in said
    assert not (tmp_path / "m.onnx").exists()


def test_embeddings_that_are_no_numbers_name_the_model(broken):
    def wide(tensors: dict) -> None:
        tensors["feature_scale"].fill_(3e38)

    model = load_model(str(broken("log_mel", weights=wide)))
    with pytest.raises(ValueError, match=r"model\.safetensors: expected finite embeddings"):
        model.scene(iter([torch.randn(48_000)]))


def test_the_stock_pipeline_gives_no_scores_that_are_no_numbers(broken):
    folder = broken("log_mel", weights=huge)
    pipe = pipeline("audio-classification", model=str(folder))
    with pytest.raises(ValueError, match="expected finite scores"):
        pipe(torch.randn(24_000).numpy())


@pytest.mark.parametrize("seconds", [1e308, 1e12, INFINITY, NAN, 0.0])
def test_seconds_that_no_sound_has_are_refused(seconds, whole):
    with pytest.raises(ValueError, match="step_s above 0"):
        EnclsPipeline.from_pretrained(whole["log_mel"]).set_step(seconds)
    with pytest.raises(ValueError, match="window_s above 0"):
        feature_config("log_mel", window_s=seconds)


def test_a_codec_that_contradicts_the_configuration_is_told_with_its_file(broken):
    folder = broken(codec={"upsampling_ratios": [8, 5, 4, 4]})
    with pytest.raises(ValueError, match=r"config\.json: codec_config: expected a codec with latents"):
        EnclsForAudioClassification.from_pretrained(folder)
