"""Pretraining a codec: any sounds in, an `EncodecModel` folder out; an interrupted run ends like an unbroken one."""

import copy
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file
from transformers import EncodecConfig, EncodecFeatureExtractor, EncodecModel

from hf_encls.codec.loading import codec_facts, load_codec
from hf_encls.codec_training import finishing, progress
from hf_encls.codec_training.autoencoder import Autoencoder, initialise, run_clip
from hf_encls.codec_training.corpus import Corpus, TrainingSounds, draw_batch, generated_corpus, read_corpus
from hf_encls.codec_training.finishing import save_example
from hf_encls.codec_training.losses import MelDistance, SpectralAnchor, si_sdr
from hf_encls.codec_training.measuring import measure, measure_bandwidths
from hf_encls.codec_training.precision import checked_layers
from hf_encls.codec_training.pretraining import Recipe
from hf_encls.codec_training.sounds import generate_sound
from hf_encls.commands import pretrain_codec
from hf_encls.features.extraction import feature_config
from hf_encls.features.frontends import frontend_of
from hf_encls.model.encodec_encls import PUBLISHED_ENCODEC
from hf_encls.model.identity_encls import codec_hash

pytestmark = pytest.mark.usefixtures("own_accelerator")
TINY = {
    "num_filters": 2,
    "hidden_size": 16,
    "codebook_dim": 16,
    "codebook_size": 16,
    "num_lstm_layers": 1,
    "target_bandwidths": [0.3, 0.6],
}
QUICK = [
    "--generated_sounds", "4", "--max_validation_clips", "1", "--batch_size", "2", "--crop_s", "0.3",
    "--eval_steps", "100", "--save_steps", "100", "--warmup_steps", "2", "--cpu", "true",
]  # fmt: skip


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "config.json"
    EncodecConfig(**TINY).to_json_file(path)
    return str(path)


@pytest.fixture(scope="module")
def trained(config_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained") / "codec"
    AcceleratorState._reset_state(reset_partial_state=True)  # what ran before in this process decided on a device
    results = pretrain_codec.main([*QUICK, "--config", config_file, "--max_steps", "4", "--output_dir", str(folder)])
    return folder, results


def tone(path, channels=1, rate=16_000, duration_s=0.5):
    path.parent.mkdir(parents=True, exist_ok=True)
    t = np.arange(round(duration_s * rate)) / rate
    soundfile.write(path, np.stack([0.3 * np.sin(2 * np.pi * 440 * (c + 1) * t) for c in range(channels)], 1), rate)


def test_result_loads_with_the_library_and_with_ours(trained):
    folder, results = trained
    codec, info = EncodecModel.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert load_codec(folder).config.num_filters == 2
    assert results["hash"] == codec_hash(load_codec(folder))
    assert all(
        value.dtype in (torch.float16, torch.int64) for value in load_file(folder / "model.safetensors").values()
    )
    assert EncodecFeatureExtractor.from_pretrained(folder).sampling_rate == 24_000
    codes = codec.encode(torch.randn(1, 1, 4800) * 0.1, bandwidth=0.6)
    assert codes.audio_codes.shape == (1, 1, 2, 15)
    assert codec.decode(codes.audio_codes, codes.audio_scales).audio_values.shape == (1, 1, 4800)
    assert results["validation"]["num_clips"] == 1 and len(results["quantizer_error"]) == 2


def test_everything_promised_is_written_and_nothing_is_pickled(trained):
    folder, results = trained
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {
        "README.md",
        "example.png",
        "example.wav",
        "codec_training.json",
        "config.json",
        "model.safetensors",
    } <= names
    assert {name.rsplit(".", 1)[-1] for name in names} <= {"md", "png", "wav", "json", "safetensors"}
    assert not [name for name in names if "partial" in name or name.rsplit("/")[-1].startswith(".")]
    card = (folder / "README.md").read_text()
    assert "not one of Meta's" in card and f"{results['validation']['mel_distance']:.3f}" in card
    assert json.loads((folder / "codec_training.json").read_text())["steps"] == 4
    sound, rate = soundfile.read(folder / "example.wav")
    assert rate == 24_000 and np.isfinite(sound).all()


def test_interrupted_and_resumed_run_ends_like_an_unbroken_one(config_file, tmp_path, monkeypatch, capsys):
    args = [*QUICK, "--config", config_file, "--max_steps", "10", "--log_steps", "5", "--float16", "false"]
    args += ["--encoder_steps", "4", "--anchor_weight", "1", "--anchor_bands", "8"]
    pretrain_codec.main([*args, "--output_dir", str(tmp_path / "whole")])

    def press_ctrl_c(*lines, **_):
        if str(lines[0]).startswith("step 5/"):
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pretrain_codec, "print", press_ctrl_c, raising=False)
        pretrain_codec.main([*args, "--output_dir", str(tmp_path / "broken")])
    (stopped,) = (tmp_path / "broken/checkpoints").glob("step-*")
    assert 5 <= int(stopped.name[5:]) < 10 and not (tmp_path / "broken/model.safetensors").exists()
    resumed = pretrain_codec.main([*args, "--output_dir", str(tmp_path / "broken")])
    assert resumed["steps"] == 10 and "resuming after step" in capsys.readouterr().out
    for name in ("model.safetensors", "checkpoints/step-00000010/optimizer.safetensors"):
        whole, broken = load_file(tmp_path / "whole" / name), load_file(tmp_path / "broken" / name)
        assert whole.keys() == broken.keys()
        assert all(torch.equal(whole[key], broken[key]) for key in whole), name


def test_resume_refuses_another_recipe(config_file, tmp_path):
    args = [*QUICK, "--config", config_file, "--max_steps", "2", "--output_dir", str(tmp_path)]
    pretrain_codec.main(args)
    with pytest.raises(ValueError, match=r"learning_rate was 0\.0005, is 0\.001"):
        pretrain_codec.main([*args, "--learning_rate", "0.001"])


def test_a_finished_codec_is_not_replaced_unasked(trained, config_file, tmp_path, monkeypatch):
    folder = tmp_path / "codec"
    shutil.copytree(trained[0], folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    args = [*QUICK, "--config", config_file, "--max_steps", "4", "--output_dir", str(folder)]

    def refused(*args):
        raise AssertionError("sounds were read")

    with monkeypatch.context() as patch, pytest.raises(ValueError, match="finished.*`overwrite=True`"):
        patch.setattr(pretrain_codec, "read_sounds", refused)
        pretrain_codec.main(args)

    def killed(*args, **settings):
        assert {path: path.read_bytes() for path in before} == before
        raise KeyboardInterrupt

    other = [*args, "--overwrite", "true", "--learning_rate", "0.001"]
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pretrain_codec, "finish_codec", killed)
        pretrain_codec.main(other)
    results = pretrain_codec.main(other)  # only what was missing
    assert results["recipe"]["learning_rate"] == 0.001 and codec_hash(load_codec(folder)) == results["hash"]
    assert not list(folder.glob(".*"))
    assert json.loads((folder / "codec_training.json").read_text())["recipe"]["learning_rate"] == 0.001


def test_a_run_is_not_gone_on_with_on_other_sounds(config_file, tmp_path, monkeypatch):
    tone(tmp_path / "sounds/a.wav")
    tone(tmp_path / "sounds/b.wav")
    args = [*QUICK, "--config", config_file, "--max_steps", "4", "--output_dir", str(tmp_path / "codec")]
    args += ["--data_dir", str(tmp_path / "sounds")]

    def killed(*args, **settings):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pretrain_codec, "finish_codec", killed)
        pretrain_codec.main(args)
    tone(tmp_path / "sounds/c.wav")
    with pytest.raises(ValueError, match="begun with other sounds .*clips"):
        pretrain_codec.main(args)


def test_init_goes_on_from_a_checkpoint(trained, tmp_path):
    folder, _ = trained
    tone(tmp_path / "other/a.wav")
    args = [*QUICK, "--init", str(folder), "--max_steps", "1", "--learning_rate", "1e-9"]
    args += ["--measure_dir", str(tmp_path / "other"), "--output_dir", str(tmp_path)]
    results = pretrain_codec.main(args)
    assert codec_facts(tmp_path).trained_on == ["generated sounds"]
    assert results["unheard"]["num_clips"] == 1 and "`other`" in (tmp_path / "README.md").read_text()
    before, after = load_codec(folder).encoder.state_dict(), load_codec(tmp_path).encoder.state_dict()
    assert all(torch.allclose(before[key], after[key], atol=1e-3) for key in before)
    assert "base_model" in (tmp_path / "README.md").read_text()
    with pytest.raises(ValueError, match="leave out --num_filters"):
        pretrain_codec.main([*args, "--num_filters", "4"])


def test_stereo_48khz_with_chunks_and_normalization(tmp_path):
    for name in ("a", "b"):
        tone(tmp_path / f"sounds/{name}.wav", channels=2, rate=48_000, duration_s=1.3)
    config = EncodecConfig(**{**TINY, **PUBLISHED_ENCODEC[48_000], "target_bandwidths": [1.2]})
    config.to_json_file(tmp_path / "config.json")
    args = ["--data_dir", str(tmp_path / "sounds"), "--config", str(tmp_path / "config.json"), "--batch_size", "1"]
    results = pretrain_codec.main([*args, "--max_steps", "1", "--anchor_weight", "1", "--anchor_bands", "8",
                                   "--cpu", "true", "--output_dir", str(tmp_path / "out")])  # fmt: skip
    assert results["recipe"]["crop_samples"] == 48_000
    assert load_codec(tmp_path / "out").config.normalize


def test_numbers_beyond_any_machine_are_refused_by_name(tmp_path):
    for name in ("a", "b"):
        tone(tmp_path / f"sounds/{name}.wav")
    args = ["--data_dir", str(tmp_path / "sounds"), "--num_filters", "2", "--cpu", "true"]
    args += ["--output_dir", str(tmp_path / "out")]
    with pytest.raises(ValueError, match="--batch_size of at most 65536 crops, found 9999999999999"):
        pretrain_codec.main([*args, "--batch_size", "9999999999999"])
    with pytest.raises(ValueError, match=r"at least two clips in .*sounds within --max_hours 1e-09, found one"):
        pretrain_codec.main([*args, "--max_hours", "1e-9"])


def test_any_nested_folder_is_read_and_broken_files_are_named(tmp_path, monkeypatch):
    tone(tmp_path / "a.wav")
    tone(tmp_path / "x/y/z/b.flac", channels=2)
    (tmp_path / "x/broken.wav").write_bytes(b"RIFFnot audio")
    (tmp_path / "x/notes.txt").write_text("no audio")
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    said = []
    corpus = read_corpus([tmp_path], 24_000, 1, say=said.append)
    assert said[-1] == "reading sounds: 3 of 3"
    assert [clip.shape for clip in corpus.clips] == [(1, 12_000)] * 2
    assert [row["file"].endswith("broken.wav") for row in corpus.left_out] == [True]
    assert read_corpus([tmp_path], 24_000, 2).clips[0].shape == (2, 12_000)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="expected audio files"):
        read_corpus([tmp_path / "empty"], 24_000, 1)


def test_batches_depend_on_seed_step_and_process_only():
    sounds = TrainingSounds([generated_corpus(2, 24_000, 1)], [1.0])
    settings = {"batch_size": 3, "crop_samples": 7200, "seed": 1}
    first = draw_batch(sounds, step=5, **settings)
    assert first.shape == (3, 1, 7200) and first.dtype == np.float32 and np.abs(first).max() <= 1
    assert np.array_equal(first, draw_batch(sounds, step=5, **settings))
    assert not np.array_equal(first, draw_batch(sounds, step=6, **settings))
    assert not np.array_equal(first, draw_batch(sounds, step=5, rank=1, **settings))


def test_generated_sounds_are_the_same_every_time_and_differ_from_each_other():
    sounds = [generate_sound(0, index, 16_000, duration_s=1.0) for index in range(20)]
    assert all(s.shape == (16_000,) and np.isfinite(s).all() and 0.05 < np.abs(s).max() <= 0.9 for s in sounds)
    assert np.array_equal(sounds[3], generate_sound(0, 3, 16_000, duration_s=1.0))
    assert all(np.abs(a - b).max() > 0.01 for a, b in pairwise(sounds))


def test_initialisation_makes_latents_that_move():
    codec = EncodecModel(EncodecConfig(num_filters=4)).eval()
    x = torch.from_numpy(generate_sound(0, 1, 24_000, duration_s=1.0))[None]
    before = run_clip(Autoencoder(codec), x)[0].std(dim=1).mean()
    initialise(codec, seed=0)
    assert run_clip(Autoencoder(codec), x)[0].std(dim=1).mean() > 3 * before


def test_losses_know_equal_sounds_and_known_ratios():
    x = torch.from_numpy(generate_sound(0, 2, 24_000, duration_s=1.0))[None, None]
    assert MelDistance(24_000)(x, x).item() == 0
    noise = torch.randn(1, 24_000, generator=torch.Generator().manual_seed(0))
    tone_ = torch.sin(torch.arange(24_000) * 0.1)[None]
    noise -= (noise * tone_).sum() / tone_.square().sum() * tone_  # orthogonal, so that the ratio is known
    noise *= tone_.norm() / noise.norm() / 10
    assert si_sdr(tone_, 0.5 * (tone_ + noise)).item() == pytest.approx(20, abs=0.1)


def test_anchor_looks_at_the_frame_that_the_encoder_has_seen():
    anchor = SpectralAnchor(24_000, 320, num_bands=32, causal=True)
    x = torch.zeros(1, 1, 24_000)
    x[..., 12_000:] = 0.1 * torch.randn(12_000, generator=torch.Generator().manual_seed(0))
    target = anchor.target(x)
    assert target.shape == (1, 32, 75)
    assert target[..., :37].max() < -1.9 and target[..., 40:].mean() > -1.5  # 12,000 samples are 37.5 frames
    assert anchor(torch.cat([target, target], dim=1), x).item() == 0


def test_learning_rate_rises_stays_and_falls_to_zero():
    recipe = Recipe(100, 1, 1, 1.0, 10, 20, 1, 1, 0, 0, 0, 0.5, 0.9, 1, 0, 1, "no")
    assert recipe.rate_at(0) == pytest.approx(0.1)
    assert recipe.rate_at(10) == recipe.rate_at(80) == 1
    assert recipe.rate_at(99) == pytest.approx(0.05)


@pytest.mark.parametrize("preset", [{}, PUBLISHED_ENCODEC[48_000]])
@pytest.mark.parametrize("length", [1, 200, 1000, 1024])
def test_short_held_out_clips_are_measured(preset, length, tmp_path):
    codec = EncodecModel(EncodecConfig(**{**preset, **TINY, "num_filters": 4, "target_bandwidths": [1.2]})).eval()
    clip = np.random.default_rng(0).uniform(-0.5, 0.5, (codec.config.audio_channels, length)).astype(np.float32)
    corpus = Corpus(["short"], [clip])
    numbers = measure(Autoencoder(codec), corpus, codec)
    assert np.isfinite(list(numbers.values())).all()
    assert all(np.isfinite(list(row.values())).all() for row in measure_bandwidths(codec, corpus).values())
    save_example(Autoencoder(codec), codec, clip, tmp_path)
    assert (tmp_path / "example.png").exists()


def test_a_codec_of_any_rate_makes_latents(config_file):
    arguments = pretrain_codec.CodecArguments(config=config_file, sampling_rate=44_100)
    codec = pretrain_codec.build_codec(arguments, seed=0)
    config = feature_config("latents", codec=codec, window_s=0.5)
    assert (config.sampling_rate, config.feature_name) == (44_100, "encodec_44100hz")
    waveform = torch.zeros(44_100)
    windows = frontend_of(config, codec).windows([waveform])[0]
    assert windows.shape[1:] == (config.num_bands, config.num_frames)


class WrongGradient(torch.autograd.Function):
    """A tensor as it is, whose gradient is turned round."""

    @staticmethod
    def forward(ctx, value):
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


FAULTS = {
    "encoder.layers.6.conv": ("conv1d", "result", (8,)),
    "encoder.layers.9.conv": ("conv1d", "weight", (10,)),
    "encoder.layers.12.conv": ("conv1d", "input", (16,)),
    "decoder.layers.3.conv": ("conv_transpose1d", "input", (16,)),
    "decoder.layers.6.conv": ("conv_transpose1d", "weight", (10,)),
    "decoder.layers.12.conv": ("conv_transpose1d", "result", (4,)),
}


@pytest.fixture
def wrong_in_bfloat16(monkeypatch):
    """One kind of fault in each of six layers, under autocast only."""
    if torch.backends.mkldnn.is_available() and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("PyTorch's LSTM does not run in bfloat16 on this processor")
    for name in ("conv1d", "conv_transpose1d"):
        right = getattr(torch.nn.functional, name)
        faults = {kernel: part for function, part, kernel in FAULTS.values() if function == name}

        def wrong(hidden, weight, *settings, right=right, faults=faults):
            part = faults.get(tuple(weight.shape[2:])) if torch.is_autocast_enabled("cpu") else None
            hidden = WrongGradient.apply(hidden) if part == "input" else hidden
            weight = WrongGradient.apply(weight) if part == "weight" else weight
            out = right(hidden, weight, *settings)
            return -out if part == "result" else out

        monkeypatch.setattr(torch.nn.functional, name, wrong)


def test_layers_that_are_wrong_in_mixed_precision_train_in_float32(wrong_in_bfloat16):
    codec = EncodecModel(EncodecConfig(**TINY))
    initialise(codec, 0)
    model = Autoencoder(codec)
    x = 0.1 * torch.randn(2, 1, 7200, generator=torch.Generator().manual_seed(0))

    def gradients(autocast):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            latents, y = model(x)
        ((y.float() - x).square().mean() + latents.float().square().mean()).backward()
        return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])

    exact, wrong = gradients(False), gradients(True)
    assert (wrong - exact).norm() > 0.5 * exact.norm()
    with pytest.warns(RuntimeWarning) as warned, checked_layers(model, 1, 7200, torch.bfloat16, warns=True):
        assert (gradients(True) - exact).norm() <= 0.05 * exact.norm()
        copied = copy.deepcopy(model)
    assert len(warned) == 1 and all(name in str(warned[0].message) for name in FAULTS)
    assert copied.encoder.layers[6].conv.forward.__self__ is copied.encoder.layers[6].conv
    assert not any("forward" in vars(module) for module in model.modules())


def test_mixed_precision_says_once_what_it_leaves_out(trained, wrong_in_bfloat16, config_file, tmp_path, recwarn):
    args = [*QUICK, "--config", config_file, "--max_steps", "1", "--mixed_precision", "bf16"]
    results = pretrain_codec.main([*args, "--output_dir", str(tmp_path)])
    found = [str(each.message) for each in recwarn.list if each.category is RuntimeWarning]
    assert len(found) == 1 and all(name in found[0] for name in FAULTS)
    assert results["history"][0]["loss"] == pytest.approx(trained[1]["history"][0]["loss"], rel=0.02)


def test_no_more_clips_are_encoded_than_the_frames_need(monkeypatch):
    codec = EncodecModel(EncodecConfig(**TINY)).eval()
    corpus = generated_corpus(12, 24_000, 1)  # of 4 s
    encoded = []

    def counted(model, clip, chunk):
        encoded.append(clip.shape[-1])
        return run_clip(model, clip, chunk)

    monkeypatch.setattr(finishing, "run_clip", counted)
    monkeypatch.setattr(finishing, "MAX_FRAMES", 400)
    latents = finishing.collect_latents(codec, [corpus], seed=0)
    assert latents.shape == (400, 16)
    assert encoded == [48_000] * 3  # excerpts of 2 s, 150 frames each
    monkeypatch.setattr(finishing, "MAX_FRAMES", 100_000)
    assert finishing.collect_latents(codec, [corpus], seed=0).shape == (3600, 16)


def test_crops_are_drawn_by_length():
    corpus = Corpus(["a", "b"], [np.zeros((1, 100), np.float32), np.zeros((1, 300), np.float32)])
    assert corpus.odds.tolist() == [0.25, 1.0]
    assert corpus.odds is corpus.odds


def test_a_bandwidth_is_measured_as_if_it_were_encoded_alone():
    codec = EncodecModel(EncodecConfig(**TINY)).eval()
    for layer in codec.quantizer.layers:
        torch.nn.init.normal_(layer.codebook.embed, std=0.05)
    x = torch.from_numpy(generate_sound(0, 1, 24_000, duration_s=1.0))[None]
    found = measure_bandwidths(codec, Corpus(["a"], [x.numpy()]))
    for bandwidth in (0.3, 0.6):
        with torch.no_grad():
            y = codec.decode(*codec.encode(x[None], bandwidth=bandwidth)[:2]).audio_values[..., : x.shape[-1]]
        assert found[str(bandwidth)]["mel_distance"] == MelDistance(24_000)(x[None], y).item()


def test_every_slow_part_says_what_it_does_and_goes_on_saying_it(config_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    pretrain_codec.main([*QUICK, "--config", config_file, "--max_steps", "5", "--output_dir", str(tmp_path / "out")])
    lines = capsys.readouterr().out.splitlines()
    parts = ["making the codec", "reading sounds", "training", "step 1/5", "measuring 1 clips", "step 5"]
    parts += ["encoding clips for the codebooks", "fitting 2 codebooks", "codebook 1/2"]
    said = [next((i for i, line in enumerate(lines) if line.startswith(part)), None) for part in parts]
    assert None not in said and "measuring 1 clips at 2 bandwidths" in lines
    assert [line.split()[1] for line in lines if re.match(r"step \d/5 ", line)] == ["1/5", "2/5", "3/5", "4/5", "5/5"]
    assert "encoding clips for the codebooks: 1 of 3" in lines


def test_a_step_that_takes_long_is_not_silent(config_file, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(progress, "EVERY_S", 0.2)
    monkeypatch.setattr(pretrain_codec, "read_sounds", lambda *_: time.sleep(1.0) or pytest.fail("enough"))
    args = [*QUICK, "--config", config_file, "--max_steps", "1", "--output_dir", str(tmp_path / "out")]
    with pytest.raises(pytest.fail.Exception):
        pretrain_codec.main(args)
    lines = capsys.readouterr().out.splitlines()
    meanwhile = [line for line in lines if re.fullmatch(r"still at work, \d+ s after: reading sounds", line)]
    assert len(meanwhile) >= 2 and lines[-1] in meanwhile
    assert not any(thread.name.endswith("(go_on)") for thread in threading.enumerate())


@pytest.mark.parametrize("name", ["data_dir", "measure_dir"])
def test_no_name_is_no_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tone(tmp_path / "a.wav")
    tone(tmp_path / "b.wav")
    with pytest.raises(ValueError, match=f"expected a folder at --{name}, found no name"):
        pretrain_codec.main([*QUICK, f"--{name}=", "--max_steps", "1", "--output_dir", "out"])
    assert not (tmp_path / "out").exists()


def test_five_steps_end_in_a_process_of_their_own(config_file, tmp_path):
    script = str(Path(pretrain_codec.__file__).parents[2] / "scripts" / "pretrain_codec.py")
    command = [
        sys.executable,
        script,
        *QUICK,
        "--config",
        config_file,
        "--max_steps",
        "5",
        "--output_dir",
        tmp_path / "o",
    ]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=240, check=True)
    assert done.stderr.startswith("loading PyTorch")
    assert done.stdout.startswith("making the codec\n") and (tmp_path / "o" / "README.md").is_file()
