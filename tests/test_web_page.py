"""The page that runs in the browser alone: what is written, the runtime that is checked, and the whole in Chromium."""

import json
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import browser
import numpy as np
import pytest
import soundfile
from small_models import CLASSES, save_small_model

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from hf_encls.commands.cli import main
from hf_encls.inference import web_page
from hf_encls.inference.pipeline import EnclsPipeline


@pytest.fixture
def stand_in(tmp_path, monkeypatch) -> Path:
    """An archive as npm's, of empty files, that passes for the one that is wanted."""
    archive = tmp_path / "runtime.tgz"
    with tarfile.open(archive, "w:gz") as file:
        for name in web_page.RUNTIME_FILES:
            file.addfile(tarfile.TarInfo(f"package/dist/{name}"))
    with pytest.raises(ValueError) as refused:
        web_page.runtime_files(archive)
    monkeypatch.setattr(web_page, "INTEGRITY", str(refused.value).split()[-1])
    return archive


def test_a_page_is_whole_or_not_there(stand_in, tmp_path, capsys):
    model = save_small_model(tmp_path / "my model", "log_mel", window_s=0.4)
    page = tmp_path / "page"
    arguments = ["export", "--page", str(page), "--model", str(model), "--runtime", str(stand_in)]
    assert main(arguments) == 0
    assert {each.name for each in page.iterdir()} == {
        *web_page.PAGE_FILES,
        *web_page.RUNTIME_FILES,
        "model.onnx",
        "model.json",
    }
    about = json.loads((page / "model.json").read_text())
    assert about["name"] == "my model" and about["labels"] == CLASSES and about["sampling_rate"] == 44_100
    assert main(arguments) == 2
    assert "name another one" in capsys.readouterr().err


def test_the_files_ask_for_nothing_elsewhere():
    folder = Path(web_page.__file__).parent / "web"
    texts = [(folder / name).read_text() for name in web_page.PAGE_FILES]
    assert not any("//" in line.split("xmlns")[0] for text in texts for line in text.splitlines() if "://" in line)
    assert "default-src 'none'" in texts[0] and "connect-src 'self'" in texts[0]


def test_another_archive_and_none_are_refused(stand_in, tmp_path, monkeypatch, capsys):
    stand_in.write_bytes(stand_in.read_bytes() + b"\0")
    model = save_small_model(tmp_path / "m", "log_mel", window_s=0.4)
    arguments = ["export", "--page", str(tmp_path / "page"), "--model", str(model)]
    assert main([*arguments, "--runtime", str(stand_in)]) == 2
    assert "expected onnxruntime-web 1.30.0 with integrity" in capsys.readouterr().err
    assert main([*arguments, "--runtime", str(tmp_path / "none.tgz")]) == 2
    assert "--runtime" in capsys.readouterr().err
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(arguments) == 2
    assert "expected npm on the path" in capsys.readouterr().err
    assert main(["export", "--onnx", str(tmp_path / "m.onnx"), "--model", str(model), "--runtime", "x"]) == 2
    assert not (tmp_path / "page").exists() and not (tmp_path / "m.onnx").exists()


@pytest.fixture(scope="module")
def runtime(tmp_path_factory) -> Path:
    """onnxruntime-web's own archive, from npm."""
    try:
        return web_page.fetch_runtime(tmp_path_factory.mktemp("npm"))
    except ValueError as error:
        pytest.skip(str(error))


@pytest.fixture
def server(tmp_path) -> Iterator[tuple[str, list[str]]]:
    """A plain server of the page's folder, and what it is asked for."""
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *args) -> None:
            asked.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "page"))) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_address[1]}/", asked
        http.shutdown()
        thread.join()


def heard(tab: browser.Browser, path: Path) -> str:
    """Choose a file; what the page says of it in the end."""
    tab.choose_file("#sound", path)
    return tab.wait(
        "const t = document.querySelector('#status').innerText;"
        "return t.startsWith(arguments[0]) && !t.endsWith('…') && t",
        path.name,
    )


@pytest.mark.browser
@pytest.mark.timeout(600)
@pytest.mark.skipif(bool(browser.missing()), reason=browser.missing() or "")
@pytest.mark.parametrize("kind", ["log_mel", "encodec_24khz"])
def test_scores_are_pythons_and_no_request_leaves_the_page(kind, runtime, server, tmp_path):
    model = save_small_model(tmp_path / "model", kind, window_s=0.4, step_s=0.2)
    assert main(["export", "--page", str(tmp_path / "page"), "--model", str(model), "--runtime", str(runtime)]) == 0
    pipe = EnclsPipeline.from_pretrained(model)
    rate = pipe.model.config.sampling_rate
    random = np.random.default_rng(0)
    stereo = 0.2 * random.standard_normal((round(1.3 * rate), 2))
    sounds = {"own.wav": (stereo, rate), "short.wav": (stereo[: rate // 9], rate), "slow.wav": (stereo, rate // 2)}
    for name, (samples, hertz) in sounds.items():
        soundfile.write(tmp_path / name, samples, hertz)
    soundfile.write(tmp_path / "long.wav", 0.1 * random.standard_normal(61 * rate), rate)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("no sound " * 50)
    with browser.chromium(tmp_path) as tab:
        tab.requests()
        tab.open(server[0])
        tab.wait("return !document.querySelector('#sound').disabled")
        for name in sounds:
            assert " s" in heard(tab, tmp_path / name)
            found = tab.run("return window.found.scores")
            expected = {each["label"]: each["score"] for each in pipe(str(tmp_path / name), top_k=None)}
            # Of another rate the browser resamples, with a filter of its own.
            allowed = 1e-5 if name != "slow.wav" else 0.02
            assert found == pytest.approx([expected[label] for label in CLASSES], abs=allowed)
            assert tab.text("#top") == max(expected, key=expected.get)
        tab.screenshot(tmp_path / "page.png")
        assert "first 60 s" in heard(tab, tmp_path / "long.wav")
        assert "is empty" in heard(tab, tmp_path / "empty.wav")
        assert "cannot be used" in heard(tab, tmp_path / "text.wav")
        assert tab.run("return document.querySelector('#result').hidden")
        tab.click("#record")
        assert "the recording" in tab.wait(
            "const t = document.querySelector('#status').innerText; return / s$/.test(t) && t"
        )
        tab.resize(390, 844)
        assert tab.run("return document.documentElement.scrollWidth") <= 390
        tab.screenshot(tmp_path / "phone.png")
        requests = [each for each in tab.requests() if each.startswith(("http", "ws"))]
    assert len(requests) >= 8 and {urlsplit(each).netloc for each in requests} == {urlsplit(server[0]).netloc}
    assert not any("POST" in line for line in server[1])
