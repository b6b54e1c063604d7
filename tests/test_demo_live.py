"""Live sound on the page, without a browser: pieces of any length are the whole sound."""

import json
import threading

import numpy as np
import pytest
from small_models import save_small_model

from hf_encls.audio import AudioError, resample
from hf_encls.inference.demo.answers import Limits
from hf_encls.inference.demo.live import hearer, stopper
from hf_encls.inference.demo.page import make_page
from hf_encls.inference.live_session import LiveSession
from hf_encls.inference.pipeline import EnclsPipeline

RATE = 48_000


@pytest.fixture(scope="module")
def pipe(tmp_path_factory) -> EnclsPipeline:
    return EnclsPipeline.from_pretrained(
        save_small_model(tmp_path_factory.mktemp("m") / "m", "encodec_24khz", step_s=0.5)
    )


def microphone(seconds: float = 3.3) -> np.ndarray:
    """As Gradio hands it over: 16-bit integers."""
    return (np.random.default_rng(0).standard_normal(round(seconds * RATE)) * 3000).astype(np.int16)


@pytest.mark.parametrize("size", [997, 24_000, 10**6])
def test_pieces_of_any_length_give_the_windows_of_the_whole(size, pipe):
    sound, session, heard = microphone(), LiveSession(pipe), []
    for at in range(0, len(sound), size):
        heard += session.push(sound[at : at + size], RATE)
    heard += session.finish()
    whole = resample(sound.astype(np.float32) / 2**15, RATE, 24_000)
    analysis = pipe.analyse({"array": whole, "sampling_rate": 24_000})
    assert np.abs(np.stack([each.probabilities for each in heard]) - analysis.probabilities).max() < 1e-5
    assert [each["label"] for each in session.segments] == [each["label"] for each in analysis.timeline()]
    assert session.segments[-1]["end"] == analysis.timeline()[-1]["end"]


def test_the_page_hears_and_stops(pipe):
    before = threading.active_count()
    hear, stop = hearer(pipe, Limits()), stopper()
    assert hear(None, None) == (None, "", None)
    session, sound = None, microphone()
    for at in range(0, len(sound), RATE // 2):
        scores, text, session = hear((RATE, sound[at : at + RATE // 2]), session)
    assert set(scores) == set(session.listener.labels) and sum(scores.values()) == pytest.approx(1)
    assert "s heard" in text
    text, gone = stop(session)
    assert gone is None and "3.3 s heard" in text and "0.00 to " in text
    assert threading.active_count() == before and stop(None) == ("", None)
    assert stopper("as it was")(None) == ("as it was", None)  # the clearing that follows a stop


def test_what_is_no_sound_is_said_and_ends_the_session(pipe):
    hear, before = hearer(pipe, Limits(max_minutes=0.01)), threading.active_count()
    _, _, session = hear((RATE, microphone(1.0)), None)
    assert "0.01 minutes are over" in hear((RATE, microphone(0.5)), session)[1]
    hear = hearer(pipe, Limits())
    assert hear((16_000, microphone(0.1)), session)[1:] == (
        "This sound cannot be used: expected sound at 48000 Hz, as it began, found 16000 Hz: start again",
        None,
    )
    assert threading.active_count() == before
    with pytest.raises(AudioError, match="expected samples"):
        LiveSession(pipe).push(np.array([np.nan]), RATE)


def test_the_page_has_it_where_the_model_can_listen(pipe, tmp_path):
    pytest.importorskip("gradio")
    whole = save_small_model(tmp_path / "w", "encodec_48khz", codec_policy="codec")
    for each, listens in ((pipe, True), (EnclsPipeline.from_pretrained(whole), False)):
        page = make_page(each, "small")
        config = json.dumps(page.get_config_file(), default=str)
        assert ('"live"' in config) == listens and ('"streaming": true' in config) == listens


def test_a_calibrated_model_is_heard_as_in_a_recording(tmp_path):
    folder = save_small_model(tmp_path / "m", "log_mel", window_s=0.4, step_s=0.2, window_temperature=3.0)
    pipe = EnclsPipeline.from_pretrained(folder, device="cpu")
    rate, level = pipe.model.config.sampling_rate, np.geomspace(0.001, 0.5, 12)
    wave = np.random.default_rng(0).standard_normal(12 * rate // 4) * np.repeat(level, rate // 4)
    sound = {"array": wave.astype(np.float32), "sampling_rate": rate}
    pipe.model.config.window_unknown_below = float(np.median(pipe.analyse(sound).cells().probabilities.max(axis=1)))
    session = LiveSession(pipe)
    session.push(sound["array"], rate)
    session.finish()
    expected = pipe.analyse(sound).timeline()
    assert [each["label"] for each in session.segments] == [each["label"] for each in expected]
    assert [each["score"] for each in session.segments] == pytest.approx([each["score"] for each in expected])
    assert {each["label"] for each in expected} > {"unknown"}
