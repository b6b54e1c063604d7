"""The page: a Gradio app around `answers.answer`. Gradio is imported when a page is made, and told to stay at home."""

import logging
import os
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from hf_encls.audio import FormatError
from hf_encls.files.escapes import markdown, markdown_code
from hf_encls.inference.demo.answers import DOWNLOADS, Answer, Limits, answer
from hf_encls.inference.demo.live import add_live
from hf_encls.inference.pipeline import EnclsPipeline
from hf_encls.inference.timeline import SMOOTHINGS
from hf_encls.report.canvas import key, key_text

if TYPE_CHECKING:
    from gradio import Blocks

logger = logging.getLogger(__name__)

KEEP_S = 3600  # uploads and answers stay on the server for an hour
SHOWN_CLASSES = 20
FIRST_PORT, PORTS = 7860, 100
INVITATION = "Drop a sound or record one, then press Listen."
PICTURES = (
    ("What sounds when", "timeline", "Waveform, segments, and the probability of each class over time"),
    (
        "What the model hears, and what spoke for the answer",
        "features",
        "What the model hears: mel, the codec's latents or codes, and the times and bands that spoke for the answer",
    ),
)
MOST_SEGMENTS = 200  # in the table; the downloads have all
# A picture keeps its letters readable on a telephone, where it is wider than the screen and is moved with a finger.
NARROW = """
@media (max-width: 700px) {
  #timeline .image-frame, #features .image-frame, #timeline button, #features button {max-width: none}
  #timeline button, #features button {justify-content: flex-start; align-items: flex-start}
  #timeline, #features {overflow-x: auto !important}
  #timeline img, #features img {width: 900px !important; max-width: none !important; height: auto !important}
}
#segments table {width: auto; min-width: 50%}
#segments td, #segments th {padding: 0.2rem 0.8rem}
"""
READS = "This page reads WAV, FLAC, Ogg, Opus, MP3 and what else libsndfile knows."


def import_gradio() -> ModuleType:
    """Gradio without telemetry. Raises `ValueError` that names the extra where it is not installed."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        import gradio
    except ImportError as error:
        raise ValueError(f"{error.name or 'gradio'} is missing: pip install 'hf_encls[demo]'") from error
    return gradio


def make_page(pipe: EnclsPipeline, name: str, limits: Limits | None = None, examples: Sequence[Path] = ()) -> "Blocks":
    """The page for one model. `name` is what its title calls the model; `examples` are sounds to try it with."""
    gradio = import_gradio()
    limits = limits or Limits()
    with gradio.Blocks(title=f"{name} - hf_encls", analytics_enabled=False, delete_cache=(600, KEEP_S)) as page:
        gradio.Markdown(f"# What sounds here?\n{introduction(pipe, name, limits)}")
        with gradio.Row():
            with gradio.Column(scale=3, min_width=360):
                sound, button, options = _controls(gradio, examples)
            with gradio.Column(scale=2, min_width=280):
                status = gradio.Markdown(INVITATION, elem_id="status")
                scores = gradio.Label(num_top_classes=5, label="The whole sound", elem_id="scores", visible=False)
        with gradio.Column(visible=False, elem_id="results") as results:
            files = _result_files(gradio)
        outputs = [status, scores, results, *files]
        button.click(
            _listener(gradio, pipe, limits),
            [sound, *options],
            outputs,
            show_progress_on=[status],
            concurrency_limit=1,
            api_name="listen",
        )
        add_live(gradio, pipe, limits)
        sound.clear(lambda: _message(gradio, INVITATION), None, outputs, api_visibility="private")
    return page


def _controls(gradio: ModuleType, examples: Sequence[Path] = ()) -> tuple:
    """Where a sound comes in, the button, and the options of segments."""
    # Not editable and no format: the server gets the bytes as they are, and decodes them itself.
    sound = gradio.Audio(
        sources=["upload", "microphone"],
        type="filepath",
        editable=False,
        buttons=["download"],  # the other one would share the sound with the world
        label="Sound",
        elem_id="sound",
    )
    if examples:
        labels = [path.stem for path in examples]
        rows = [[str(path)] for path in examples]
        gradio.Examples(rows, [sound], label="Sounds to try", example_labels=labels, elem_id="examples")
    button = gradio.Button("Listen", variant="primary", elem_id="listen")
    with gradio.Accordion("How the timeline is made", open=False):
        smoothing = gradio.Radio(list(SMOOTHINGS), value="none", label="Smoothing")
        shortest = gradio.Slider(0, 10, value=0, step=0.1, label="Shortest segment (s)")
    return sound, button, (smoothing, shortest)


def _result_files(gradio: ModuleType) -> list:
    """The pictures, the table of segments and the downloads of an answer."""
    pictures = []
    for title, name, description in PICTURES:
        # A heading of its own: Gradio's label would lie on the picture.
        gradio.Markdown(f"### {title}")
        pictures.append(
            gradio.Image(
                label=title,
                alt_text=description,
                show_label=False,
                interactive=False,
                buttons=["download", "fullscreen"],
                elem_id=name,
            )
        )
        if name == "timeline":
            table = gradio.Markdown(elem_id="segments", max_height=320)
    with gradio.Row():
        downloads = [
            gradio.DownloadButton(f"Segments as {format.upper()}", elem_id=f"download-{format}")
            for format in DOWNLOADS
        ]
    return [*pictures, table, *downloads]


def _message(gradio: ModuleType, text: str) -> list:
    """A message, and no results."""
    nothing = [None] * len(PICTURES) + [""] + [None] * len(DOWNLOADS)
    return [text, gradio.update(visible=False, value=None), gradio.update(visible=False), *nothing]


def _listener(
    gradio: ModuleType, pipe: EnclsPipeline, limits: Limits
) -> Callable[[str | None, str, float], Iterator[list]]:
    """What the button does: the outputs of the page for a sound."""

    def listen(path: str | None, smoothing: str, shortest: float) -> Iterator[list]:
        if not path:
            yield _message(gradio, "Drop a sound or record one first.")
            return
        start = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="hf_encls_") as folder:
            try:
                result = answer(pipe, path, folder, limits, smoothing=smoothing, min_duration_s=shortest)
            except ValueError as error:
                yield _message(gradio, refusal(path, error))
                return
            except Exception:  # a visitor can do nothing about it; whoever runs the page reads the log
                logger.exception("Could not classify %s", path)
                text = "Something went wrong here, and not with your sound. The log of the server says what."
                yield _message(gradio, text)
                return
            yield [
                summary(path, result, time.perf_counter() - start),
                gradio.update(visible=True, value=result.scores),
                gradio.update(visible=True),
                str(result.timeline),
                str(result.features),
                segment_table(result),
                *(str(result.downloads[format]) for format in DOWNLOADS),
            ]
            # Gradio copies the files before it asks for more: only then is the folder deleted.

    return listen


def settings(limits: Limits) -> dict:
    """What the server of a page is told: nothing from elsewhere, nothing to elsewhere."""
    themes = import_gradio().themes
    # Gradio's message for a file that is too large goes after some seconds and leaves the one word "Error".
    reason = f"Not uploaded. Files of up to {limits.max_mb:g} MB are taken."
    # And the one for a file that is no sound is a list of media types.
    toast = f'.toast-message-text.warning::after {{font-size: 1rem; content: "This file is no sound. {READS}"}}'
    return {
        "css": f'#sound .error {{font-size: 0}} #sound .error::after {{font-size: 1rem; content: "{reason}"}}'
        f".toast-message-text.warning {{font-size: 0}} {toast}{NARROW}",
        "max_file_size": limits.max_bytes,
        "theme": themes.Default(font=("system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace")),
        "show_error": False,
        "footer_links": [],
        "run_history": False,
        "enable_monitoring": False,
        "ssr_mode": False,
        "pwa": False,
        "mcp_server": False,
    }


def listening(host: str = "127.0.0.1", port: int | None = None) -> socket.socket:
    """A socket at the port, or at the first free one from 7860. Raises `ValueError` where there is none."""
    for each in [port] if port is not None else range(FIRST_PORT, FIRST_PORT + PORTS):
        try:
            return socket.create_server((host, each))
        except (OSError, OverflowError) as error:
            reason = error
    ports = port if port is not None else f"{FIRST_PORT} to {FIRST_PORT + PORTS - 1}"
    raise ValueError(f"cannot serve at {host}, port {ports}: {reason}")


def serve(page: "Blocks", limits: Limits, at: socket.socket) -> None:
    """Serve a page until the process is interrupted.

    Gradio's own `launch` asks itself for the page first and gives up on a busy machine or behind a proxy.
    """
    import uvicorn
    from fastapi import FastAPI

    host, port = at.getsockname()[:2]
    app = import_gradio().mount_gradio_app(
        FastAPI(openapi_url=None), page, path="/", server_name=host, server_port=port, **settings(limits)
    )
    # Browsers hold a connection open: without a limit the server would wait for them.
    uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)).run(sockets=[at])


def introduction(pipe: EnclsPipeline, name: str, limits: Limits) -> str:
    """What the page says of its model and of what it takes, in Markdown."""
    config = pipe.model.config
    labels = [config.id2label[i] for i in range(config.num_labels)]
    more = f" and {len(labels) - SHOWN_CLASSES} more" if len(labels) > SHOWN_CLASSES else ""
    return (
        f"{markdown_code(name)} knows {len(labels)} sounds: {', '.join(map(markdown, labels[:SHOWN_CLASSES]))}{more}. "
        f"It hears {config.representation.text} ({config.feature_name}) at {config.sampling_rate / 1000:g} kHz, "
        f"{config.window_s:g} s at a time, and always answers with one of these, whatever sounds. "
        f"Files of up to {limits.max_minutes:g} minutes and {limits.max_mb:g} MB."
    )


def summary(path: str, result: Answer, took_s: float) -> str:
    """What an answer is about, how long it took, and what its numbers mean."""
    duration = f"{result.duration_s:.1f}" if result.duration_s >= 1 else f"{result.duration_s:.4f}"
    unknown = key(list(result.labels))
    numbers = f" No font here draws some names; in the pictures {markdown(key_text(unknown))}." if unknown else ""
    if result.windows > 1:
        meaning = (
            f"The numbers are means over {result.windows} windows of {result.window_s:g} s. Where one thing sounds, they "
            "say how probable it is; where several do, one after the other, rather how much of the time each has."
        )
    else:
        meaning = "The numbers say how probable each label is."
    return f"{markdown_code(Path(path).name)}: {duration} s, answered in {took_s:.1f} s. {meaning}{numbers}"


def segment_table(result: Answer) -> str:
    """The segments as a table in Markdown, for eyes that a picture is too small for."""
    rows = [
        f"| {each['start']:.1f} to {each['end']:.1f} s | {markdown(each['label'])} | {each['score']:.0%} |"
        for each in result.segments[:MOST_SEGMENTS]
    ]
    more = len(result.segments) - len(rows)
    rest = f"\n\n{more} more are in the files below." if more else ""
    return "\n".join(["| when | what | mean |", "| --- | --- | ---: |", *rows]) + rest


def refusal(path: str, error: ValueError) -> str:
    """Why a file cannot be used, for a visitor: its name, not where the server keeps it."""
    name = Path(path).name
    reason = " ".join(str(error).split()).replace(str(path), name).removeprefix(name).lstrip(": ").rstrip(".")
    colon = "" if reason.startswith(("is ", "has ", "does ")) else ":"
    hint = f" {READS}" if isinstance(error, FormatError) else ""
    return f"### This file cannot be used\n{markdown_code(name)}{colon} {markdown(reason)}.{hint}"
