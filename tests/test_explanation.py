"""explain(): the heat lies where the sound is that made the answer."""

import json

import numpy as np
import pytest
import soundfile
from small_models import save_small_model
from small_runs import train

import hf_encls
from hf_encls.audio import load
from hf_encls.commands.cli import main
from hf_encls.inference.explanation import explain
from hf_encls.inference.pipeline import EnclsPipeline
from hf_encls.model.configuration_encls import EnclsConfig
from hf_encls.model.mel_encls import mel_filters

RATE = 16_000
TONE_HZ, FROM_S, TO_S = 3000.0, 1.2, 1.8
HEADS = {"mnist": 5, "conv": 2, "statistics": 5}  # how much hotter its place is than the rest, at least


def noise(seconds: float, seed: int) -> np.ndarray:
    return 0.02 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))


def tone(seconds: float) -> np.ndarray:
    return 0.1 * np.sin(2 * np.pi * TONE_HZ * np.arange(round(seconds * RATE)) / RATE)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """Noise with a tone, and noise; and a sound of noise with a tone planted in the middle of it."""
    folder = tmp_path_factory.mktemp("tone")
    for label in ("tone", "noise"):
        (folder / "sounds" / label).mkdir(parents=True)
        for number in range(8):
            wave = noise(1.2, number) if label == "noise" else noise(1.2, 50 + number) + tone(1.2)
            soundfile.write(folder / "sounds" / label / f"{number}.wav", wave, RATE)
    wave = noise(3.0, 99)
    wave[round(FROM_S * RATE) : round(TO_S * RATE)] += tone(TO_S - FROM_S)
    soundfile.write(folder / "planted.wav", wave, RATE)
    return folder


@pytest.fixture(scope="module", params=HEADS)
def model(request, sounds, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    longer = ["--num_train_epochs", "40" if request.param == "conv" else "16", "--per_device_train_batch_size", "8"]
    kept = ["--save_strategy", "no", "--load_best_model_at_end", "false"]
    train(sounds / "sounds", folder, "--head", request.param, "--hop_length", "128", *longer, *kept)
    return folder


def test_the_heat_lies_where_the_tone_is(model, sounds):
    found = explain(sounds / "planted.wav", model, target="tone")
    assert found.row_name == "Mel band" and found.heat.shape[0] == 128
    assert found.heat.shape[1] * found.step_s == pytest.approx(3.0, abs=0.3)
    band = int(np.asarray(mel_filters(512, 128, RATE)).reshape(-1, 128)[round(TONE_HZ / RATE * 512)].argmax())
    times = (np.arange(found.heat.shape[1]) + 0.5) * found.step_s
    inside = np.zeros(found.heat.shape, dtype=bool)
    inside[band - band % 16 : band - band % 16 + 16, (times > FROM_S) & (times < TO_S)] = True  # of its patches
    peak = np.unravel_index(found.heat.argmax(), found.heat.shape)
    assert inside[peak]
    assert (
        found.heat[inside].mean() > HEADS[EnclsConfig.from_pretrained(model).head] * np.abs(found.heat[~inside]).mean()
    )


def test_each_window_is_asked_about_its_own_label(model, sounds):
    pipe = EnclsPipeline.from_pretrained(model)
    found = hf_encls.explain(sounds / "planted.wav", pipe)
    rows = pipe.analyse(sounds / "planted.wav").probabilities
    assert found.labels == [pipe.model.config.id2label[int(i)] for i in rows.argmax(1)]
    assert set(found.labels) == {"tone", "noise"}


@pytest.mark.parametrize("kind", ["encodec_24khz", "encodec_24khz_codes", "mel"])
@pytest.mark.parametrize("head", HEADS)
def test_every_head_and_input_can_be_asked(kind, head, tmp_path):
    folder = save_small_model(tmp_path / "m", kind, head=head, window_s=0.4, step_s=0.2)
    pipe = EnclsPipeline.from_pretrained(folder, device="cpu")
    wave = np.random.default_rng(0).normal(0, 0.1, round(1.03 * pipe.model.config.sampling_rate)).astype(np.float32)
    found = explain(wave, pipe)
    assert np.isfinite(found.heat).all() and np.abs(found.heat).max() > 0
    assert (len(found.heat) == 1) == (kind != "mel")
    assert found.heat.shape[1] == np.ceil(1.03 / found.step_s - 1e-6)


def test_bad_questions_are_answered(sounds, tmp_path):
    folder = save_small_model(tmp_path / "m", "log_mel", head="statistics", window_s=0.4)
    with pytest.raises(ValueError, match=r"`target` to be one of bark, rain, siren, found 'dog'"):
        explain(sounds / "planted.wav", folder, target="dog")
    with pytest.raises(ValueError, match="at most 30 s to explain"):
        explain({"array": np.zeros(31 * RATE, np.float32), "sampling_rate": RATE}, folder)
    (tmp_path / "a.wav").write_bytes(b"no sound")
    with pytest.raises(ValueError, match=r"a\.wav"):
        explain(tmp_path / "a.wav", folder)


def test_segment_draws_why(model, sounds, tmp_path, capsys):
    file = str(sounds / "planted.wav")
    plot = tmp_path / "p.png"
    assert main(["segment", file, "--model", str(model), "--plot", str(plot)]) == 0
    assert [row["label"] for row in json.loads(capsys.readouterr().out)][1] == "tone"
    from matplotlib.image import imread

    tall = imread(plot).shape[0]
    long = tmp_path / "long.wav"
    soundfile.write(long, np.tile(load(file, RATE), 11), RATE)
    assert main(["segment", str(long), "--model", str(model), "--plot", str(plot)]) == 0
    assert imread(plot).shape[0] < tall - 50  # more than half a minute: without it
