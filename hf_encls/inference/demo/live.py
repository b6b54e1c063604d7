"""The live part of the page: a microphone that streams, and what a model says of it meanwhile."""

import logging
from collections.abc import Callable
from types import ModuleType

from hf_encls.files.escapes import markdown
from hf_encls.inference.demo.answers import Limits
from hf_encls.inference.live import Listener
from hf_encls.inference.live_session import LiveSession
from hf_encls.inference.pipeline import EnclsPipeline

logger = logging.getLogger(__name__)

SHOWN = 8  # segments


def add_live(gradio: ModuleType, pipe: EnclsPipeline, limits: Limits) -> None:
    """The part of the page for live sound; none for a model that cannot listen."""
    try:
        Listener(pipe)
    except ValueError:
        return
    with gradio.Accordion("Live", open=False, elem_id="live"):
        sound = gradio.Audio(sources=["microphone"], streaming=True, type="numpy", label="Microphone")
        scores = gradio.Label(num_top_classes=5, label="Now", elem_id="live-scores")
        status = gradio.Markdown("", elem_id="live-status")
        session = gradio.State(None, time_to_live=60 * limits.max_minutes, delete_callback=end)
        private = {"api_visibility": "private"}
        hear, stop = hearer(pipe, limits), stopper(gradio.skip())
        sound.stream(hear, [sound, session], [scores, status, session], **private)
        sound.stop_recording(stop, [session], [status, session], **private)
        sound.clear(stop, [session], [status, session], **private)


def hearer(pipe: EnclsPipeline, limits: Limits) -> Callable:
    """What is done with each piece of sound: (rate, samples) and the session so far -> scores, text, session."""

    def hear(piece: tuple | None, session: LiveSession | None) -> tuple[dict | None, str, LiveSession | None]:
        if piece is None:
            return None, text_of(session), session
        try:
            session = session or LiveSession(pipe)
            if session.listener.duration_s > 60 * limits.max_minutes:
                return None, f"{limits.max_minutes:g} minutes are over: stop, and start again.", session
            session.push(piece[1], piece[0])
        except ValueError as error:
            end(session)
            return None, markdown(f"This sound cannot be used: {error}"), None
        return session.scores, text_of(session), session

    return hear


def stopper(unchanged: object = "") -> Callable:
    """What is done at the end: the session -> the text with its last windows, and no session.

    Gradio tells of an end twice, as of a stop and as of a clearing: the second time there is no session any more, and the
    text stays as it is (`unchanged`).
    """

    def stop(session: LiveSession | None) -> tuple[object, None]:
        end(session)
        return unchanged if session is None else text_of(session), None

    return stop


def end(session: LiveSession | None) -> None:
    """End the sound of a session, whatever state it is in."""
    if session is not None:
        try:
            session.finish()
        except ValueError as error:
            logger.info("a live session ended: %s", error)


def text_of(session: LiveSession | None) -> str:
    """The last segments, the newest first."""
    if session is None:
        return ""
    lines = [f"{each['start']:.2f} to {each['end']:.2f} s: {markdown(each['label'])}" for each in session.segments]
    newest = list(reversed(lines))[:SHOWN]
    return "\n".join([f"{session.listener.duration_s:.1f} s heard", "", *(f"- {line}" for line in newest)])
