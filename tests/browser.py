"""A headless Chromium, spoken to through chromedriver in the W3C's WebDriver protocol: JSON over HTTP, no library.

The commands are those of https://www.w3.org/TR/webdriver2/ (section 6.3).
"""

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1280,1500 "
    "--use-fake-device-for-media-stream --use-fake-ui-for-media-stream"
).split()
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of an element's id, fixed by the standard


def missing() -> str | None:
    """What is not installed of what a browser test needs, as a reason to skip it."""
    if not shutil.which("chromedriver") or not (shutil.which("chromium") or shutil.which("google-chrome")):
        return "needs Chromium and chromedriver: apt-get install chromium chromium-driver"
    return None


class Browser:
    """One tab."""

    def __init__(self, session: str):
        self.session = session

    def open(self, address: str) -> None:
        """Go to a page and wait until it is loaded."""
        _ask("POST", f"{self.session}/url", {"url": address})

    def run(self, script: str, *args: object) -> Any:
        """The value of a script's `return`."""
        return _ask("POST", f"{self.session}/execute/sync", {"script": script, "args": list(args)})

    def text(self, selector: str) -> str:
        """The text that is seen in the first match; empty where there is none."""
        return self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def wait(self, script: str, *args: object, timeout_s: float = 60.0) -> Any:
        """The script's value as soon as it is true. Raises `TimeoutError` with the page's text."""
        end = time.monotonic() + timeout_s
        while not (value := self.run(script, *args)):
            if time.monotonic() > end:
                raise TimeoutError(f"{script} {args}: {self.text('body')}")
            time.sleep(0.2)
        return value

    def click(self, selector: str) -> None:
        """Click on the first match."""
        _ask("POST", f"{self.session}/element/{self._find(selector)}/click", {})

    def choose_file(self, selector: str, path: Path) -> None:
        """Give a file to a file input."""
        _ask("POST", f"{self.session}/element/{self._find(selector)}/value", {"text": str(path)})

    def requests(self) -> list[str]:
        """The addresses that the tab asked for since this was last asked, whatever became of them."""
        lines = [
            json.loads(each["message"]) for each in _ask("POST", f"{self.session}/se/log", {"type": "performance"})
        ]
        events = [each["message"] for each in lines if each["message"]["method"] == "Network.requestWillBeSent"]
        return [each["params"]["request"]["url"] for each in events]

    def resize(self, width: int, height: int) -> None:
        """Give the page a width and a height in pixels, as a phone has."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": True}
        command = {"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics}
        _ask("POST", f"{self.session}/goog/cdp/execute", command)

    def screenshot(self, path: Path) -> Path:
        """The window as a PNG."""
        path.write_bytes(base64.b64decode(_ask("GET", f"{self.session}/screenshot")))
        return path

    def _find(self, selector: str) -> str:
        found = _ask("POST", f"{self.session}/element", {"using": "css selector", "value": selector})
        return found[ELEMENT]


@contextmanager
def chromium(folder: Path, microphone: Path | None = None) -> Iterator[Browser]:
    """A browser with an empty profile in `folder`, where its downloads come too; it ends with the block.

    Its microphone hears the file `microphone` (WAV), again and again; without one it hears Chromium's own beeps.
    """
    heard = [f"--use-file-for-fake-audio-capture={microphone}"] if microphone else []
    log = (folder / "chromedriver.log").open("w+b")
    driver = subprocess.Popen([shutil.which("chromedriver"), "--port=0"], stdout=log, stderr=subprocess.STDOUT)
    session = None
    try:
        address = f"http://127.0.0.1:{_port(folder / 'chromedriver.log', driver)}"
        options = {
            "binary": shutil.which("chromium") or shutil.which("google-chrome"),
            "args": [*FLAGS, *heard, f"--user-data-dir={folder / 'profile'}"],
            "prefs": {"download.default_directory": str(folder / "downloads")},
        }
        logs = {"performance": "ALL"}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": logs}
        wanted["timeouts"] = {"script": 240_000}  # milliseconds; half a minute is little on a busy machine
        capabilities = {"alwaysMatch": wanted}
        made = _ask("POST", f"{address}/session", {"capabilities": capabilities})
        session = f"{address}/session/{made['sessionId']}"
        yield Browser(session)
    finally:
        if session:
            _ask("DELETE", session)
        driver.terminate()
        driver.wait(20)
        log.close()


def _port(log: Path, driver: subprocess.Popen) -> int:
    for _ in range(300):
        words = log.read_text(errors="replace").split("started successfully on port ")
        if len(words) > 1 and words[1].split():
            return int(words[1].split()[0].rstrip("."))
        if driver.poll() is not None:
            break
        time.sleep(0.1)
    raise RuntimeError(f"chromedriver did not start: {log.read_text(errors='replace')}")


def _ask(method: str, address: str, body: dict | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback never goes through a proxy
    try:
        with opener.open(request, timeout=300) as response:
            return json.load(response)["value"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{method} {address}: {error.read().decode(errors='replace')[:800]}") from error
