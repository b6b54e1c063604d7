"""Heads: one contract, whatever is before it; what each of them promises beside."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_models import CLASSES, save_small_model, small_model
from small_runs import SMALL, train
from small_windows import windows_of
from transformers import AutoModelForAudioClassification, pipeline

import hf_encls
from hf_encls import EnclsConfig, EnclsForAudioClassification, EnclsTrainingArguments
from hf_encls.commands.train_arguments import ModelArguments
from hf_encls.features.extraction import checked_config, feature_config
from hf_encls.model import precision_encls
from hf_encls.model.configuration_encls import HEADS
from hf_encls.model.modulation_encls import LEAST_POWER, octaves
from hf_encls.model.statistics_encls import matrix_log, whitening
from hf_encls.training.results import Results
from hf_encls.training.resuming import plan_start

KINDS = ("encodec_24khz", "encodec_24khz_codes", "mel", "log_mel")
NEW = [name for name in HEADS if name != "mnist"]
each_head = pytest.mark.parametrize("head", HEADS)
new_head = pytest.mark.parametrize("head", NEW)
each_kind = pytest.mark.parametrize("kind", KINDS)
PAPERS = 1_650_866  # parameters of its network


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def set_at_random(model: EnclsForAudioClassification) -> EnclsForAudioClassification:
    """What a training would leave in a head: other values than those it begins with."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, value in model.head.state_dict().items():
            if name.endswith(("running_mean", "directions", "vector_mean", "bias")):
                value.add_(0.1 * torch.randn(value.shape, generator=generator))
            if name.endswith(("running_var", "vector_scale")):
                value.mul_(1 + torch.rand(value.shape, generator=generator))
    return model


def made(kind: str, head: str, **settings) -> EnclsForAudioClassification:
    return set_at_random(small_model(kind, head=head, window_s=0.4, **settings))


@each_kind
@each_head
def test_shapes_are_what_the_class_says(head, kind):
    model = made(kind, head)
    sizes = []
    for layer in model.head.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(lambda layer, inputs, output: sizes.append(output[0].numel()))
    windows = noise(5, model.config.num_bands, model.config.num_frames)
    seen = model.head.features(windows)
    assert seen.shape == (5, HEADS[head].num_features(model.config)) == (5, model.head.classifier.in_features)
    assert model.head(seen).shape == (5, len(CLASSES))
    assert max(sizes, default=0) <= HEADS[head].num_values(model.config)
    assert model.head.num_parameters() == sum(each.numel() for each in model.head.parameters())


@each_kind
@each_head
def test_batch_is_single_and_padding_changes_nothing(head, kind):
    model = made(kind, head)
    rate = model.config.sampling_rate
    lengths = (rate, rate // 3, 700)
    values, mask = torch.full((3, rate), 0.7), torch.zeros(3, rate, dtype=torch.int32)
    for row, length in enumerate(lengths):
        values[row, :length], mask[row, :length] = 0.1 * noise(length, seed=row), 1
    with torch.no_grad():
        together = model(input_values=values, attention_mask=mask).logits
        for row, length in enumerate(lengths):
            alone = model(input_values=values[row : row + 1, :length]).logits
            torch.testing.assert_close(together[row], alone[0], atol=1e-5, rtol=0)


@each_kind
@each_head
def test_save_reload_and_the_stock_pipeline(head, kind, tmp_path):
    model = made(kind, head)
    folder = save_small_model(tmp_path / "m", kind, head=head, window_s=0.4)
    model.save_pretrained(folder)
    reloaded = AutoModelForAudioClassification.from_pretrained(folder).eval()
    wave = 0.1 * noise(model.config.sampling_rate)
    with torch.no_grad():
        one, two = (each(input_values=wave[None]).logits for each in (model, reloaded))
    assert torch.equal(one, two)
    found = {row["label"]: row["score"] for row in pipeline("audio-classification", model=str(folder))(wave.numpy())}
    assert [found[name] for name in CLASSES] == pytest.approx(one[0].softmax(-1).tolist(), abs=1e-5)
    assert EnclsConfig.from_pretrained(folder).head == head


REMOTE = """
import sys, numpy
from transformers import pipeline
wave = numpy.random.default_rng(0).normal(0, 0.1, 44100).astype("float32")
rows = pipeline("audio-classification", model=sys.argv[1], trust_remote_code=True)(wave)
assert "hf_encls" not in sys.modules
print({row["label"]: row["score"] for row in rows})
"""


@new_head
def test_remote_code_where_nothing_of_ours_is(head, tmp_path):
    model = made("log_mel", head)
    folder = save_small_model(tmp_path / "m", "log_mel", head=head, window_s=0.4)
    model.save_pretrained(folder)
    environment = os.environ | {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", REMOTE, str(folder)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd=tmp_path,
    )
    wave = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, 44_100).astype(np.float32))
    expected = model(input_values=wave[None]).logits[0].softmax(-1).tolist()
    found = json.loads(run.stdout.strip().replace("'", '"'))
    assert [found[name] for name in CLASSES] == pytest.approx(expected, abs=1e-5)


@new_head
@pytest.mark.parametrize("kind", ["encodec_24khz", "encodec_24khz_codes", "log_mel"])
def test_onnx_gives_the_same(head, kind, tmp_path):
    pytest.importorskip("onnxruntime")
    from hf_encls.inference.onnx import export_onnx

    assert export_onnx(made(kind, head), tmp_path / "m.onnx") <= 1e-5


@new_head
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["encodec_24khz", "log_mel"])
def test_half_precision_scores_as_a_whole_one(head, kind, dtype, tmp_path):
    model = made(kind, head)
    model.save_pretrained(tmp_path)
    windows = noise(4, model.config.num_bands, model.config.num_frames)
    expected = model(input_features=windows).logits
    loaded = EnclsForAudioClassification.from_pretrained(tmp_path, dtype=dtype).eval()
    for each in (loaded, made(kind, head).to(dtype)):
        torch.testing.assert_close(each(input_features=windows).logits.float(), expected, atol=0.05, rtol=0)
    with torch.autocast("cpu", dtype):
        found = model(input_features=windows).logits
    torch.testing.assert_close(found.float(), expected, atol=0.05, rtol=0)
    if HEADS[head].is_fitted:  # a sum of many terms: it stays in float32
        assert {value.dtype for value in loaded.head.state_dict().values()} == {torch.float32}
        assert torch.equal(found, expected)


def test_a_convolution_of_conv_that_is_wrong_in_bfloat16_computes_in_float32(monkeypatch, recwarn):
    right = torch.nn.Conv2d._conv_forward

    def wrong(conv, image, weight, bias):
        out = right(conv, image, weight, bias)
        return -out if out.dtype != torch.float32 and conv.groups > 1 else out

    monkeypatch.setattr(torch.nn.Conv2d, "_conv_forward", wrong)
    monkeypatch.setattr(precision_encls, "_ERRORS", {})
    model = made("log_mel", "conv")
    windows = noise(3, model.config.num_bands, model.config.num_frames)
    expected = model(input_features=windows).logits
    with torch.autocast("cpu", torch.bfloat16):
        found = model(input_features=windows).logits
    torch.testing.assert_close(found.float(), expected, atol=0.05, rtol=0)
    assert any("blocks.0.depth (off by" in str(each.message) for each in recwarn.list)


@new_head
@pytest.mark.parametrize(
    "shape",
    [
        {"features": "log_mel", "window_s": 0.1},
        {"features": "latents", "window_s": 1 / 75, "step_s": 1 / 75},  # one frame
        {"features": "latents", "window_s": 5.0},
        {"features": "latents", "num_bands": 1024, "frame_length": 480},  # DAC's 50 a second
        {"features": "latents", "num_bands": 512, "frame_length": 1920},  # Mimi's 12.5 a second
    ],
    ids=str,
)
def test_any_size_of_window_goes_through(head, shape):
    config = EnclsConfig(head=head, num_labels=50, **shape)
    model = EnclsForAudioClassification(config)
    assert model.head.num_parameters() < PAPERS
    assert model.eval()(input_features=noise(2, config.num_bands, config.num_frames)).logits.isfinite().all()


def test_a_batch_of_one_frame_trains():
    config = EnclsConfig(head="conv", features="latents", num_labels=2, window_s=1 / 75, step_s=1 / 75)
    model = EnclsForAudioClassification(config).train()
    loss = model(input_features=noise(1, 128, 1), labels=torch.tensor([1])).loss
    loss.backward()
    assert loss.isfinite() and all(weight.grad.isfinite().all() for weight in model.parameters())


@each_head
def test_silence_and_bands_that_never_change_are_finite(head):
    model = made("log_mel", head)
    shape = (model.config.num_bands, model.config.num_frames)
    windows = torch.stack([torch.zeros(shape), torch.full(shape, -100.0), noise(*shape), 1e4 * noise(*shape)])
    windows[2, 3:] = 0.5
    windows.requires_grad_()
    logits = model(input_features=windows).logits
    assert logits.isfinite().all()
    logits.sum().backward()
    assert windows.grad.isfinite().all()


@pytest.mark.parametrize("size", [1, 2, 32, 128])
def test_the_logarithm_of_a_matrix_is_that_of_its_eigenvalues(size):
    generator = torch.Generator().manual_seed(0)
    ratio = 1 + 0.7 * size / 0.3
    values = torch.exp(-np.log(ratio) * torch.rand(16, size, generator=generator, dtype=torch.float64))
    values[:, -1], values[:, 0] = 1, 1 / ratio
    vectors = torch.linalg.qr(torch.randn(16, size, size, generator=generator, dtype=torch.float64))[0]
    most = torch.logspace(-4, 4, 16, dtype=torch.float64)[:, None, None]
    values = values[:, None] * most
    expected = (vectors * values.log()) @ vectors.mT
    found = matrix_log(((vectors * values) @ vectors.mT).float(), most.float(), ratio)
    torch.testing.assert_close(found.double(), expected, atol=1e-4, rtol=0)


def test_whitening_gives_deviations_of_one_in_blocks_as_in_one():
    windows = noise(20, 6, 30) * torch.tensor([5.0, 3.0, 2.0, 1.0, 0.1, 0.0])[:, None] + 3
    one, several = whitening(iter([windows]), 4), whitening(iter(windows.split(7)), 4)
    torch.testing.assert_close(one, several, atol=1e-4, rtol=1e-4)
    frames = (one @ windows).transpose(0, 1).flatten(1)
    torch.testing.assert_close(frames.cov(), torch.eye(4), atol=0.01, rtol=0)
    assert whitening(iter([torch.zeros(2, 3, 4)]), 3).abs().max() == 0  # nothing happens: nothing is blown up


@pytest.mark.parametrize("frames", [1, 2, 3, 75, 429])
def test_octaves_hold_each_bin_once(frames):
    bins = [number for first, end in octaves(frames) for number in range(first, end)]
    assert bins == list(range(1, frames // 2 + 1))


def test_modulation_hears_the_octave_in_which_a_band_changes():
    config = EnclsConfig(
        head="modulation", features="latents", num_bands=6, window_s=2.0, num_directions=0, num_labels=2
    )
    times = torch.arange(config.num_frames) / config.num_frames
    rates = torch.tensor([1.0, 3.0, 6.0, 12.0, 24.0, 48.0])  # in a window, each in an octave of its own
    model = EnclsForAudioClassification(config)
    for phase in (0.0, 1.0, 2.0):  # when is not heard, nor what came before
        windows = torch.sin(2 * np.pi * rates[:, None] * times + phase)[None]
        found = model.head.features(windows).unflatten(1, (-1, 6))[0, 2:]  # after means and deviations
        assert found.argmax(0).tolist() == [0, 1, 2, 3, 4, 5]
        louder = model.head.features(10 * windows).unflatten(1, (-1, 6))[0, 2:]
        power = [(each.exp() - LEAST_POWER).diagonal() for each in (found, louder)]
        torch.testing.assert_close(power[1] / power[0], torch.full((6,), 100.0), rtol=0.01, atol=0)


@each_head
def test_training_reaches_what_can_be_heard(head, tmp_path):
    config = feature_config("log_mel", window_s=0.3, hop_length=512, head=head)
    args = EnclsTrainingArguments(
        str(tmp_path), num_train_epochs=10, per_device_train_batch_size=12, report_to="none", disable_tqdm=True
    )
    run = hf_encls.train(windows_of(config), config, args=args)
    assert run.results.test.clip.accuracy >= 0.8
    assert run.results.head == head and run.results.parameters == run.model.head.num_parameters()
    assert run.results.epochs == (0 if HEADS[head].is_fitted else 10)
    assert hf_encls.evaluate(run.model, windows_of(config)).window.accuracy > 0.8


def test_a_fitted_head_leaves_what_a_trained_one_leaves(tones, tmp_path):
    folder = tmp_path / "m"
    results = train(tones, folder, "--head", "statistics")
    assert results.epochs == 0 and results.best_epoch is None and results.history == []
    assert 0 < results.fit["C"] <= 1 and results.test.clip.accuracy > 0.8
    assert not list(folder.glob("checkpoint-*"))
    names = {path.name for path in folder.iterdir()}
    assert {"model.safetensors", "statistics_encls.py", "conv_encls.py", "results.json", "README.md"} <= names
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "A linear classifier of statistics that classifies audio" in card
    assert f"| weights of the network | {results.parameters:,} |" in card and "| network | `statistics` |" in card
    again = train(tones, tmp_path / "again", "--head", "statistics")
    assert again.test == results.test
    one, two = load_file(folder / "model.safetensors"), load_file(tmp_path / "again" / "model.safetensors")
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.slow
def test_two_processes_have_the_fit_of_one(tones, tmp_path):
    more = ["--head", "statistics", "--recipe", "recommended"]
    alone = train(tones, tmp_path / "one", *more)
    script = Path(__file__).parents[1] / "scripts" / "train.py"
    args = ["--data_dir", tones, "--output_dir", tmp_path / "two", "--cache_dir", tones.parent / "cache", *SMALL]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", script, *args]
    subprocess.run([*map(str, command), *more], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    both = Results.of(tmp_path / "two")
    assert both.validation.clip.accuracy == alone.validation.clip.accuracy and alone.fit["refit_windows"] > 0
    assert both.test.clip.accuracy == alone.test.clip.accuracy and both.fit == pytest.approx(alone.fit)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"head": "deep"}, "expected head to be one of mnist, statistics, modulation, conv, found 'deep'"),
        (
            {"head": "statistics", "dropout": 0.5},
            "dropout is about the head mnist and conv and was given with statistics",
        ),
        ({"head": "conv", "pool_size": 2}, "pool_size is about the head mnist and was given with conv"),
        ({"num_directions": 8}, "num_directions is about the head statistics and modulation and was given with mnist"),
        ({"head": "statistics", "num_directions": -1}, "num_directions from 0 to 256"),
        ({"head": "conv", "kernel_size": 4}, "odd kernel_size"),
        ({"head": "conv", "conv_channels": [8]}, "2 to 8 conv_channels"),
        ({"head": "conv", "conv_channels": [1 << 14] * 8}, "layers with at most"),
        (
            {"head": "conv", "features": "log_mel", "conv_channels": [1 << 14, 8], "kernel_size": 1023},
            "layers with at",
        ),
        ({"head": "statistics", "num_bands": 60_000, "num_labels": 5000}, "a last layer of at most"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        checked_config(**{"features": "latents"} | settings)


def test_options_that_do_not_fit_are_refused():
    with pytest.raises(
        ValueError, match="expected --head to be one of mnist, statistics, modulation, conv, found 'deep'"
    ):
        ModelArguments(head="deep")
    with pytest.raises(ValueError, match="dropout is about the head mnist and conv"):
        ModelArguments(head="statistics", dropout=0.1)
    assert ModelArguments().network() == {"head": "mnist", "standardization": "band", "dropout": 0.5}


def test_a_run_of_version_0_1_is_not_gone_on_with_another_head(tmp_path):
    (tmp_path / "run.json").write_text('{"seed": 1}')
    (tmp_path / "results.json").write_text("{}")
    assert plan_start(tmp_path, "last", {"seed": 1, "head": "mnist"}, True).finished
    with pytest.raises(ValueError, match="differs in head"):
        plan_start(tmp_path, "last", {"seed": 1, "head": "conv"}, True)


def test_weights_with_version_0_1s_names_are_the_heads(tmp_path):
    model = small_model("log_mel")
    old = {name.removeprefix("head."): value for name, value in model.state_dict().items()}
    other = EnclsForAudioClassification(model.config)
    other.load_state_dict(dict(old))
    assert torch.equal(other.head.conv1.weight, model.head.conv1.weight)
    folder = Path(__file__).with_name("data") / "v0_1" / "checkpoints" / "log_mel"
    EnclsForAudioClassification.from_pretrained(folder).save_pretrained(tmp_path)  # it is written with today's
    assert load_file(tmp_path / "model.safetensors").keys() == model.state_dict().keys()


class Named(torch.utils._python_dispatch.TorchDispatchMode):
    """Notes which operators run inside."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, operator, types, args=(), kwargs=None):
        self.names.append(operator.name())
        return operator(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("settings", [{}, {"pool_size": 3}, {"pool_size": 1}, {"kernel_size": 1}])
def test_inference_of_mnist_is_to_the_bit_what_training_sees_and_notes_no_places(settings, dtype):
    head = made("log_mel", "mnist", **settings).eval().head.to(dtype)
    windows = noise(9, 64, 41)
    windows[3, 5, 7] = torch.nan
    with torch.enable_grad():
        expected = head.features(windows).detach()
    with torch.no_grad(), Named() as ran:
        found = head.features(windows)
    assert torch.equal(found.nan_to_num(9.0), expected.nan_to_num(9.0)) and found.isnan().any()
    assert not [name for name in ran.names if "max_pool" in name]
