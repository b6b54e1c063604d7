"""Live sound: the same windows as of the whole, however it comes; sources, Ctrl-C, constant memory, files as it goes on."""

import io
import json
import os
import signal
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
from small_models import save_small_model, small_model

from hf_encls.commands.cli import main
from hf_encls.inference.live import Listener, LiveTimeline
from hf_encls.inference.live_sources import Stop, microphone_blocks, raw_blocks
from hf_encls.inference.pipeline import EnclsPipeline
from hf_encls.inference.timeline import Times, make_timeline
from hf_encls.model.feature_extraction_encls import EnclsFeatureExtractor
from hf_encls.timelines.reading import read_timeline

KINDS = {
    "log_mel": {"window_s": 0.4, "step_s": 0.2},
    "encodec_24khz": {"window_s": 0.4, "step_s": 0.1},
    "encodec_24khz_codes": {"window_s": 0.4, "step_s": 0.4, "bandwidth": 3.0},
    "encodec_48khz": {"window_s": 1.0, "step_s": 0.5},
}


def pipe_of(features: str, **settings) -> EnclsPipeline:
    model = small_model(features, **(KINDS[features] | settings))
    extractor = EnclsFeatureExtractor(sampling_rate=model.config.sampling_rate)
    return EnclsPipeline(model=model, feature_extractor=extractor, task="audio-classification")


def sound(rate: int, seconds: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.uniform(0, 0.5, round(seconds * 10) + 1), rate // 10)[: round(seconds * rate)]
    return (rng.standard_normal(len(level)) * level).astype(np.float32)


def chunks(wave: np.ndarray, sizes) -> list[np.ndarray]:
    out, at = [], 0
    while at < len(wave):
        size = int(next(sizes))
        out.append(wave[at : at + size])
        at += size
    return out


@pytest.mark.parametrize("features", KINDS)
@pytest.mark.parametrize("seconds", [0.05, 0.31, 3.977])
def test_any_chunking_is_the_whole(features, seconds):
    pipe = pipe_of(features)
    rate = pipe.model.config.sampling_rate
    wave = sound(rate, seconds)
    whole = pipe.analyse({"array": wave, "sampling_rate": rate})
    rng = np.random.default_rng(1)
    for sizes in (iter(lambda: 1_000, 0), iter(lambda: rng.integers(1, rate), -1), iter(lambda: 320, 0)):
        listener = Listener(pipe)
        heard = list(listener(chunks(wave, sizes)))
        tolerance = 1e-5 if pipe.device.type == "cpu" else 1e-3  # an accelerator convolves in TF32
        assert np.allclose([each.probabilities for each in heard], whole.probabilities, atol=tolerance, rtol=0)
        assert np.allclose([each.start_s for each in heard], whole.starts_s)
        assert listener.duration_s == pytest.approx(len(wave) / rate)


def test_the_state_of_the_lstm_is_carried_on():
    """Windows of a second half that is heard alone are others: what went before is not forgotten."""
    pipe = pipe_of("encodec_24khz", window_s=0.4, step_s=0.4)
    wave = sound(24_000, 4.0)
    live = [each.probabilities for each in Listener(pipe)(np.split(wave, 40))]
    alone = [each.probabilities for each in Listener(pipe)(np.split(wave[48_000:], 20))]
    assert np.abs(np.array(live[5:]) - np.array(alone)).max() > 1e-4


@pytest.mark.parametrize("features", KINDS)
def test_a_label_comes_as_soon_as_is_said(features):
    pipe = pipe_of(features)
    rate, given = pipe.model.config.sampling_rate, 0
    listener = Listener(pipe)
    block = rate // 50

    def blocks():
        nonlocal given
        wave = sound(rate, 4.0)
        for at in range(0, len(wave), block):
            given = at + block
            yield wave[at : at + block]

    late = [given / rate - (each.start_s + listener.window_s) for each in listener(blocks())]
    assert max(late[:-1]) <= listener.delay_s + block / rate + 1e-6
    assert listener.delay_s <= (1.0 if features == "encodec_48khz" else 0.21)


@pytest.mark.parametrize("window_s, step_s", [(1.0, 1.0), (1.0, 0.25), (0.5, 0.3), (0.5, 0.8)])
@pytest.mark.parametrize("duration_s", [0.1, 1.0, 3.97, 4.02, 4.3])
def test_segments_are_those_of_a_recording(window_s, step_s, duration_s):
    from hf_encls.model.windows_encls import num_windows

    count = num_windows(*(round(100 * value) for value in (duration_s, window_s, step_s)))
    rows = np.random.default_rng(count).dirichlet([0.5, 0.5, 0.5], count)
    rows = np.repeat(rows[::2], 2, axis=0)[:count]  # runs
    grid = {"window_s": window_s, "step_s": step_s}
    timeline = LiveTimeline("abc", **grid)
    segments = [each for row in rows for each in timeline.push(row)] + timeline.finish(duration_s)
    expected = make_timeline(rows, "abc", Times(duration_s=duration_s, **grid))
    assert [each["label"] for each in segments] == [each["label"] for each in expected]
    for name in ("start", "end", "score"):
        assert [each[name] for each in segments] == pytest.approx([each[name] for each in expected])


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("models") / "mel", "log_mel", window_s=0.4)


def test_memory_does_not_grow(model):
    import tracemalloc

    pipe = EnclsPipeline.from_pretrained(model)
    rate = pipe.model.config.sampling_rate
    wave = sound(rate, 1.0)
    timeline = LiveTimeline(list("abc"), 0.4, 0.4)
    sizes = []

    def blocks():
        for number in range(100):
            if number in (20, 99):
                sizes.append(tracemalloc.get_traced_memory()[0])
            yield wave

    tracemalloc.start()
    for heard in Listener(pipe)(blocks()):
        timeline.push(heard.probabilities)
    tracemalloc.stop()
    assert sizes[1] - sizes[0] < 200_000  # 80 s of sound are 14 MB


@pytest.mark.parametrize("format", ["jsonl", "csv", "rttm", "audacity", "json", "textgrid"])
def test_the_command_hears_what_segment_says(format, model, tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", sound(22_050, 5.3), 22_050, subtype="FLOAT")
    assert main(["segment", str(tmp_path / "a.wav"), "--model", str(model)]) == 0
    expected = json.loads(capsys.readouterr().out)
    out = tmp_path / "heard"
    command = ["listen", str(tmp_path / "a.wav"), "--model", str(model), "--output", str(out), "--format", format]
    assert main(command) == 0
    printed = capsys.readouterr()
    lines = [line.split() for line in printed.out.splitlines()]
    assert len(lines) == 14 and lines[1][:2] == ["0.40", "0.80"]
    assert "a label comes at most 0.10 s after the end of its window" in printed.err and "heard 5.3 s" in printed.err
    found = read_timeline(out)
    assert [each["label"] for each in found] == [each["label"] for each in expected]
    assert [each["end"] for each in found] == pytest.approx([each["end"] for each in expected], abs=1e-5)


def test_raw_samples_from_a_pipe(model, capsys, monkeypatch):
    wave = sound(48_000, 3.0)
    data = np.stack([wave, wave], axis=1).astype("<f4").tobytes()
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(data)))
    command = ["listen", "-", "--model", str(model), "--raw_rate", "48000", "--seconds", "2"]
    assert main([*command, "--raw_channels", "2", "--raw_type", "f32le"]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 5 and "heard 2.0 s" in printed.err


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_signal_ends_it_cleanly(number, model, tmp_path):
    command = [sys.executable, "-u", "-m", "hf_encls.commands.cli", "listen", "-", "--model", str(model)]
    command += ["--raw_rate", "44100", "--output", str(tmp_path / "heard.TextGrid")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:
        process.stdin.write((sound(44_100, 2.0) * 32_767).astype("<i2").tobytes())
        process.stdin.flush()
        for _ in range(4):
            assert process.stdout.readline()
        time.sleep(0.3)
        process.send_signal(number)  # the pipe stays open: it waits in a read
        assert process.wait(timeout=60) == 0
        said = process.stderr.read()
    assert b"Traceback" not in said and b"heard 2.0 s" in said
    assert read_timeline(tmp_path / "heard.TextGrid")[-1]["end"] == pytest.approx(2.0)
    assert os.listdir(tmp_path) == ["heard.TextGrid"]


def test_pieces_of_samples_are_joined():
    wave = (sound(8_000, 1.0) * 32_767).astype("<i2")

    class Dribble(io.BytesIO):
        def read1(self, size: int = -1) -> bytes:
            return self.read(min(size, 333))

    blocks = list(raw_blocks(Dribble(wave.tobytes()), "s16le", 1, (8_000, 8_000), 0.1, Stop()))
    assert np.array_equal(np.concatenate(blocks), wave.astype(np.float32) / 32_768)


def fake_sounddevice(monkeypatch, blocks: list[np.ndarray], rate: int, stop: Stop) -> None:
    """A microphone that gives these blocks at once, and then somebody presses Ctrl-C."""

    class InputStream:
        def __init__(self, callback, **settings):
            self.callback, self.settings = callback, settings

        def __enter__(self):
            for block in blocks:
                self.callback(block[:, None], len(block), None, None)

        def __exit__(self, *_):
            pass

    class PortAudioError(Exception):
        pass

    def query_devices(device=None, kind=None):
        if device == 9:
            raise ValueError("No input device matching 9")
        return {"default_samplerate": float(rate)}

    module = types.SimpleNamespace(InputStream=InputStream, PortAudioError=PortAudioError, query_devices=query_devices)
    monkeypatch.setitem(sys.modules, "sounddevice", module)


def test_a_microphone(monkeypatch):
    wave, stop = sound(44_100, 1.0), Stop()
    fake_sounddevice(monkeypatch, np.split(wave, 10), 44_100, stop)
    heard = []
    for block in microphone_blocks(None, 24_000, 0.1, stop):
        heard.append(block)
        stop.asked = sum(map(len, heard)) > 23_000
    assert sum(map(len, heard)) == 24_000
    with pytest.raises(
        ValueError, match="expected the microphone 9, and it cannot be used: No input device matching 9"
    ):
        next(microphone_blocks(9, 24_000, 0.1, stop))


MISTAKES = {
    ("-",): "raw samples do not say their rate: name it with --raw_rate",
    ("-", "--raw_rate", "3"): "has a sampling rate of 3 Hz",
    ("{sound}", "--raw_rate", "8000"): "--raw_rate is about raw samples",
    ("{sound}", "--input", "1"): "--input names a microphone",
    ("{sound}", "--format", "csv"): "--format is that of --output",
    ("{sound}", "--seconds", "0"): "expected --seconds above 0",
    ("{sound}.mp3",): "does not exist",
    (): "sounddevice is missing: pip install 'hf_encls[live]'",
}


@pytest.mark.parametrize("options", MISTAKES)
def test_mistakes_are_one_line(options, model, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    soundfile.write(tmp_path / "a.wav", sound(8_000, 1.0), 8_000)
    given = [each.format(sound=tmp_path / "a.wav") for each in options]
    assert main(["listen", *given, "--model", str(model)]) == 2
    error = capsys.readouterr().err.strip().split("\n")[-1]
    assert error.startswith("error: ") and MISTAKES[options] in error


def test_a_model_that_needs_the_whole_sound_is_refused():
    pipe = pipe_of("encodec_48khz", codec_policy="codec")
    with pytest.raises(ValueError, match="this model cannot listen: encodec_48khz"):
        Listener(pipe)
