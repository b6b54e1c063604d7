"""The page: what it says of sounds good and bad, and the whole of it in a real browser."""

import csv
import io
import json
import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import browser
import numpy as np
import pytest
import soundfile
import yaml
from small_models import CLASSES, save_small_model

import hf_encls.inference.demo as demo
from hf_encls.audio import AudioError, FormatError
from hf_encls.commands.cli import main
from hf_encls.inference.demo import answers
from hf_encls.inference.demo.answers import Limits, answer, feature_panels, listen, loudest
from hf_encls.inference.demo.page import import_gradio, introduction, listening, refusal, summary
from hf_encls.inference.pipeline import EnclsPipeline
from hf_encls.timelines.formats import render

KINDS = {
    "mel": ["Mel"],
    "encodec_24khz": ["Mel", "Latents of small"],
    "encodec_48khz": ["Mel", "Latents of small"],
    "encodec_24khz_codes": ["Mel", "Codes of small"],
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("models") / "small", "encodec_24khz", step_s=0.5)


@pytest.fixture
def sound(tmp_path) -> Path:
    """Three seconds: a tone, noise, silence; in stereo at another rate than the model's."""
    rate = 22_050
    noise = np.random.default_rng(0).standard_normal(rate) * 0.2
    mono = np.concatenate([0.3 * np.sin(2 * np.pi * 440 / rate * np.arange(rate)), noise, np.zeros(rate)])
    path = tmp_path / "a sound.wav"
    soundfile.write(path, np.stack([mono, mono], axis=1), rate)
    return path


def test_answer_has_scores_pictures_and_segments(checkpoint, sound, tmp_path):
    pipe = EnclsPipeline.from_pretrained(checkpoint)
    found = answer(pipe, sound, tmp_path, Limits())
    assert found.duration_s == pytest.approx(3.0)
    assert found.scores == pytest.approx({each["label"]: each["score"] for each in pipe(str(sound), top_k=None)})
    assert found.segments == pipe(str(sound), return_timestamps=True)
    for picture in (found.timeline, found.features):
        assert picture.read_bytes().startswith(b"\x89PNG")
    assert found.downloads["json"].name == "a sound_segments.json"
    assert json.loads(found.downloads["json"].read_text()) == found.segments
    rows = list(csv.DictReader(io.StringIO(found.downloads["csv"].read_text())))
    assert [row["label"] for row in rows] == [segment["label"] for segment in found.segments]
    assert "3.0 s, " in summary(str(sound), found, 0.1)
    assert all(
        name in introduction(pipe, "small", Limits(max_minutes=7)) for name in (*CLASSES, "24 kHz", "7 minutes")
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seconds", [0.01, 1.7, 12.0])
def test_mel_stands_beside_what_a_codec_makes(kind, seconds, tmp_path):
    settings = {"bandwidth": 3.0} if kind.endswith("codes") else {}
    folder = save_small_model(tmp_path / "model", kind, **settings)
    pipe = EnclsPipeline.from_pretrained(folder)
    rate = pipe.model.config.sampling_rate
    length = round(seconds * rate)
    waveform = np.random.default_rng(0).standard_normal(length).astype(np.float32) * 0.1
    *panels, why = feature_panels(pipe, waveform)
    assert why.title.startswith("Why ") and why.duration_s == pytest.approx(min(length / rate, 10.0), abs=0.02)
    assert [panel.title.split(",")[0] for panel in panels] == KINDS[kind]
    for panel in panels:
        assert panel.duration_s == pytest.approx(min(length / rate, 10.0))
        assert ("to" in panel.title) == (seconds > 10)
        assert np.isfinite(panel.image).all()
    if len(panels) == 2:
        assert panels[1].image.shape[1] == pytest.approx(panels[1].duration_s * pipe.model.config.frame_rate, abs=1)


def test_the_loudest_stretch():
    wave = np.zeros(100, np.float32)
    wave[70:80] = 1
    assert loudest(wave, 20, 10) == (60, 80)
    assert loudest(wave, 200, 10) == (0, 100)


def test_files_that_cannot_be_used_are_refused_with_a_reason(sound, tmp_path, monkeypatch):
    whole = sound.read_bytes()
    (tmp_path / "broken.wav").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "notes.wav").write_bytes(b"no sound at all " * 9)
    soundfile.write(tmp_path / "nan.wav", np.full(100, np.nan, np.float32), 8000, subtype="FLOAT")
    reasons = {"broken": "truncated", "empty": "is empty", "notes": "not audio", "nan": "not finite"}
    for name, reason in reasons.items():
        with pytest.raises(AudioError, match=reason):
            listen(tmp_path / f"{name}.wav", 24_000, Limits())
    with pytest.raises(AudioError, match=r"too large: 0\.3 MB, and this page takes 0\.1 MB"):
        listen(sound, 24_000, Limits(max_mb=0.1))
    with pytest.raises(AudioError, match=r"too long: this page takes 0\.04 minutes"):
        listen(sound, 24_000, Limits(max_minutes=0.04))
    monkeypatch.setattr(answers, "header_duration_s", lambda path: 0.1)  # a header that lies
    with pytest.raises(AudioError, match="too long"):
        listen(sound, 24_000, Limits(max_minutes=0.04))
    for limit in ({"max_mb": 0.0}, {"max_minutes": float("nan")}):
        with pytest.raises(ValueError, match="above 0"):
            Limits(**limit)


def test_a_refusal_names_the_file_and_not_its_folder():
    text = refusal("/srv/secret/song.wav", FormatError("/srv/secret/song.wav: is not audio (x)"))
    assert "`song.wav` is not audio (x). This page reads WAV" in text and "secret" not in text
    assert "`song.wav`: 3 samples" in refusal("/srv/song.wav", AudioError("song.wav: 3 samples are bad"))


def test_without_gradio_the_extra_is_named(checkpoint, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(ValueError, match=r"pip install 'hf_encls\[demo\]'"):
        import_gradio()
    assert main(["demo", "--model", str(checkpoint)]) == 2
    assert "hf_encls[demo]" in capsys.readouterr().err
    assert main(["demo", "--model", str(checkpoint), "--max-minutes", "-1"]) == 2
    assert "max_minutes above 0" in capsys.readouterr().err


def test_a_port_that_is_taken_is_an_error_and_the_next_one_is_found():
    with listening() as first:
        host, port = first.getsockname()
        assert host == "127.0.0.1"
        with pytest.raises(ValueError, match=f"port {port}"):
            listening(port=port)
        with listening() as second:
            assert second.getsockname()[1] > port
    with pytest.raises(ValueError, match="port 70000"):
        listening(port=70_000)


def test_the_folder_is_a_space():
    folder = Path(demo.__file__).parent
    header = yaml.safe_load((folder / "README.md").read_text().split("---")[1])
    assert header["sdk"] == "gradio" and (folder / header["app_file"]).is_file()
    assert len(header["short_description"]) <= 60
    pinned = (Path(__file__).parents[1] / "constraints.txt").read_text()
    assert f"\ngradio=={header['sdk_version']}\n" in pinned
    assert "hf_encls[demo]" in (folder / "requirements.txt").read_text()


# ------------------------------------------------------------------------------------------- in a browser

pages = pytest.mark.skipif(browser.missing() is not None, reason=str(browser.missing()))


@pytest.fixture(scope="module")
def page(checkpoint, tmp_path_factory):
    """`hf-encls demo` in a process of its own: its address, and the file of what it prints."""
    pytest.importorskip("gradio", reason="needs the extra: pip install 'hf_encls[demo]'")
    log = tmp_path_factory.mktemp("page") / "log.txt"
    example = log.parent / "my example.wav"
    soundfile.write(example, 0.1 * np.random.default_rng(1).standard_normal(24_000), 24_000)
    command = [sys.executable, "-m", "hf_encls.commands.cli", "demo", "--model", str(checkpoint), "--port", "0"]
    command += ["--examples", str(example)]
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TMPDIR": str(log.parent)}
    with log.open("w") as out:
        server = subprocess.Popen([*command, "--max_mb", "1"], stdout=out, stderr=subprocess.STDOUT, env=offline)
    try:
        end = time.monotonic() + 600
        while not (address := re.search(r"http://\S+", log.read_text())):
            assert server.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        yield address[0], log
    finally:
        server.terminate()
        server.wait(120)
    assert server.returncode == 0
    assert not list(log.parent.glob("hf_encls_*")), "uploads outlived the page"


@pytest.fixture
def tab(page, tmp_path):
    """The page in a browser, ready for a file."""
    with browser.chromium(tmp_path) as tab:
        tab.open(page[0])
        tab.wait("return document.querySelector('#sound input[type=file]')")
        yield tab


def press(tab: browser.Browser, path: Path) -> str:
    """Upload a file, press the button, and give what the page says of it."""
    tab.choose_file("#sound input[type=file]", path)
    tab.wait("return document.querySelector('#sound [aria-label=Clear], #sound audio')")
    tab.click("#listen")
    tab.wait("return document.querySelector('#status').innerText.includes(arguments[0])", path.name)
    return tab.text("#status")


def downloaded(path: Path) -> str:
    """The text of a file that a browser writes, when it is there."""
    end = time.monotonic() + 60
    while not path.is_file():
        assert time.monotonic() < end, [each.name for each in path.parent.glob("*")]
        time.sleep(0.2)
    return path.read_text()


@pages
@pytest.mark.browser
@pytest.mark.timeout(900)  # Chromium, Gradio and PyTorch start on what may be a busy machine
def test_a_sound_is_labelled_drawn_and_downloaded(page, tab, checkpoint, sound, tmp_path):
    expected = EnclsPipeline.from_pretrained(checkpoint).analyse(str(sound))
    assert "3.0 s" in press(tab, sound)
    heading = tab.wait("return document.querySelector('#scores h2')?.innerText")
    assert heading.strip() == expected.top(1)[0]["label"]
    for picture in ("#timeline img", "#features img"):
        tab.wait("return document.querySelector(arguments[0])?.naturalWidth > 500", picture)
    for format in ("json", "csv"):
        tab.click(f"#download-{format}")
        text = downloaded(tmp_path / "downloads" / f"a sound_segments.{format}")
        assert text == render(expected.timeline(), format)
    seen = tab.run("return performance.getEntriesByType('resource').map(each => each.name)")
    assert len(seen) > 5
    assert {urlsplit(address).netloc for address in seen if address.startswith("http")} == {urlsplit(page[0]).netloc}
    assert tab.screenshot(tmp_path / "page.png").stat().st_size > 10_000
    assert "Traceback" not in page[1].read_text()


@pages
@pytest.mark.browser
@pytest.mark.timeout(900)  # Chromium, Gradio and PyTorch start on what may be a busy machine
def test_on_a_telephone_everything_can_be_read(page, tab, checkpoint, sound, tmp_path):
    tab.resize(390, 844)
    expected = EnclsPipeline.from_pretrained(checkpoint).analyse(str(sound))
    said = press(tab, sound)
    assert f"means over {len(expected.cells().probabilities)} windows of 1 s" in said
    table = tab.wait("return document.querySelector('#segments table')?.innerText")
    for segment in expected.timeline():
        assert f"{segment['start']:.1f} to {segment['end']:.1f} s" in table and segment["label"] in table
    assert tab.run("return document.documentElement.scrollWidth <= window.innerWidth"), "the page is too wide"
    for picture in ("#timeline", "#features"):
        tab.wait("return document.querySelector(arguments[0] + ' img')?.naturalWidth > 500", picture)
        # As wide as its letters need, and all of it can be moved into view.
        edges = """
const frame = document.querySelector(arguments[0]), image = frame.querySelector('img').getBoundingClientRect();
frame.scrollLeft = 0;
const left = frame.querySelector('img').getBoundingClientRect().left - frame.getBoundingClientRect().left;
return [left, image.width, frame.scrollWidth]"""
        left, width, reach = tab.run(edges, picture)
        assert left >= 0 and width >= 900 and reach >= width, (picture, left, width, reach)
    tab.screenshot(tmp_path / "phone.png")


@pages
@pytest.mark.browser
@pytest.mark.timeout(900)  # Chromium, Gradio and PyTorch start on what may be a busy machine
def test_there_is_a_sound_to_try(page, tab):
    find = "return [...document.querySelectorAll('#examples button')].find(one => one.innerText == 'my example')"
    tab.wait(find)
    tab.run(f"{find}.click()".replace("return ", ""))
    tab.wait("return document.querySelector('#sound audio, #sound [aria-label=Clear]')")
    tab.click("#listen")
    tab.wait("return document.querySelector('#status').innerText.includes('1.0 s')")
    assert "The numbers say how probable each label is." in tab.text("#status") or "means over" in tab.text("#status")


@pages
@pytest.mark.browser
@pytest.mark.timeout(900)  # Chromium, Gradio and PyTorch start on what may be a busy machine
def test_a_microphone_is_heard_while_it_records(page, sound, tmp_path):
    with browser.chromium(tmp_path, microphone=sound) as tab:
        tab.open(page[0])
        tab.wait("return document.querySelector('#live button')")
        tab.click("#live button")
        heard = "return parseFloat(/([0-9.]+) s heard/.exec(document.querySelector('#live-status').innerText)?.[1])"
        press_button = "document.querySelector('#live .' + arguments[0])?.click()"
        tab.wait("return performance.getEntriesByType('resource').filter(one => /module-/.test(one.name)).length > 1")
        for _ in range(3):  # Gradio loads its recorder meanwhile: pressed too early, it hears nothing
            time.sleep(2)
            tab.run(press_button, "record-button")
            with suppress(TimeoutError):
                tab.wait(f"{heard} > 0", timeout_s=90)
                break
            tab.run(press_button, "stop-button")
        else:
            pytest.skip("Gradio's recorder sent nothing, three times: it was not loaded, or hears no stand-in")
        tab.wait(f"{heard} > 2.5", timeout_s=240)
        assert tab.wait("return document.querySelector('#live-scores h2')?.innerText").strip() in CLASSES
        tab.run(press_button, "stop-button")
        tab.wait("return document.querySelector('#live .record-button')")
        lines = tab.wait("return [...document.querySelectorAll('#live-status li')].map(each => each.innerText)")
        assert lines[-1].startswith("0.00 to ") and {line.rsplit(": ", 1)[1] for line in lines} <= set(CLASSES)
        tab.screenshot(tmp_path / "live.png")
    assert "Traceback" not in page[1].read_text()


@pages
@pytest.mark.browser
@pytest.mark.timeout(900)  # Chromium, Gradio and PyTorch start on what may be a busy machine
def test_a_broken_and_a_large_file_are_answered_politely(page, tab, sound, tmp_path):
    broken = tmp_path / "broken.wav"
    broken.write_bytes(sound.read_bytes()[:100_000])
    text = press(tab, broken)
    assert "This file cannot be used" in text and "truncated" in text and str(tmp_path) not in text
    assert not tab.text("#scores")
    tab.screenshot(tmp_path / "broken.png")
    for name in ("notes.wav", "notes.txt"):  # one that says it is a sound, and one that does not
        tab.open(page[0])
        (tmp_path / name).write_text("these are notes")
        tab.wait("return document.querySelector('#sound input[type=file]')")
        if name.endswith("wav"):
            said = press(tab, tmp_path / name)
            assert "This file cannot be used" in said and "This page reads WAV, FLAC" in said
        else:
            tab.choose_file("#sound input[type=file]", tmp_path / name)
            toast = "document.querySelector('.toast-message-text')"
            tab.wait(f"return {toast}")
            said = tab.run(f"return getComputedStyle({toast}, '::after').content")
            assert "This file is no sound. This page reads WAV, FLAC" in said
            assert tab.run(f"return getComputedStyle({toast}).fontSize") == "0px"
    tab.open(page[0])
    large = tmp_path / "large.wav"
    soundfile.write(large, np.zeros(600_000), 24_000)
    tab.wait("return document.querySelector('#sound input[type=file]')")
    tab.choose_file("#sound input[type=file]", large)
    tab.wait("return /exceed the maximum allowed size/i.test(document.body.innerText)")
    tab.screenshot(tmp_path / "large.png")
    assert "Traceback" not in page[1].read_text()
