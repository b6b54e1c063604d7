"""Where a checkpoint is: a folder, or a name on the Hub, which is asked once and quickly before anything is loaded."""

import logging
import os
import re
import threading
import time
from pathlib import Path

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError

logger = logging.getLogger(__name__)

HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")
ANSWER_S = 2.5  # that the Hub has for its answer, unless HF_HUB_ETAG_TIMEOUT says otherwise


class CheckpointNotFoundError(ValueError):
    """A checkpoint that is neither a folder nor to be had from the Hub."""


def find_checkpoint(name: str | os.PathLike, revision: str | None, thing: str, instead: str) -> bool:
    """Whether a checkpoint is on this machine, in a folder or in the cache: the `local_files_only` of `from_pretrained`.

    The cache stands in for a Hub that cannot be reached, and is the only source under `HF_HUB_OFFLINE`.

    Args:
        name: a folder, or USER/NAME on the Hub.
        revision: of a name on the Hub.
        what: what is expected there, for the messages: "a codec".
        instead: what can be given where there is no network or no such thing, for the messages.

    Raises `CheckpointNotFoundError`, within seconds, where it is neither here nor to be had.
    """
    name = os.fspath(name)
    if Path(name).is_dir():
        return True
    expected = f"expected {thing} at {name!r}"
    if Path(name).exists():
        raise CheckpointNotFoundError(f"{expected}, found a file: name the folder that it lies in")
    if not HUB_NAME.fullmatch(name):
        raise CheckpointNotFoundError(f"{expected}, a folder or USER/NAME on the Hub, found neither: {instead}")
    cached = isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str)
    if constants.HF_HUB_OFFLINE:
        reason = "HF_HUB_OFFLINE is set"
    else:
        try:
            reason = unreachable(hf_hub_url(name, "config.json", revision=revision))
        except HfHubHTTPError as error:
            says = f"{constants.ENDPOINT} says {error.response.status_code}: {_first_line(error)}"
            raise CheckpointNotFoundError(f"{expected}, found no such folder, and {says}") from error
        if reason is None:
            return False
    if cached:
        logger.info("%s: taken from the cache (%s)", name, reason)
        return True
    raise CheckpointNotFoundError(f"{expected}, found no such folder nor a copy in the cache, and {reason}: {instead}")


def find_model(name: str | os.PathLike, revision: str | None = None) -> bool:
    """As `find_checkpoint` for a model that classifies."""
    instead = "give the folder that training wrote, or the name of a model that this machine can fetch"
    return find_checkpoint(name, revision, "a model", instead)


def unreachable(url: str, token: str | None = None) -> str | None:
    """Why the Hub cannot be asked for the file at `url`; None where it has it. It is asked for a few seconds at most.

    Raises `HfHubHTTPError`, its answer, where it says that it has not, or that it may not be had.
    """
    timeout_s = constants.HF_HUB_ETAG_TIMEOUT
    wait_s = ANSWER_S if timeout_s == constants.DEFAULT_ETAG_TIMEOUT else float(timeout_s)
    answers: list = []

    def ask() -> None:
        for pause_s in (0.3, 0.6, None):
            try:
                answer = get_hf_file_metadata(url, token=token, timeout=wait_s)
            except Exception as error:  # the HTTP library's own, another one in each version of huggingface_hub
                answer = error
            if pause_s is None or not _is_busy(answer):
                answers.append(answer)
                return
            time.sleep(pause_s)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(wait_s)  # and no longer: looking up an address knows no time limit
    hub = constants.ENDPOINT
    if not answers:
        return f"{hub} gave no answer within {wait_s:g} s (HF_HUB_ETAG_TIMEOUT=30 waits longer)"
    answer = answers[0]
    if _is_busy(answer):  # a download would try again for minutes
        return f"{hub} is busy (it says {answer.response.status_code}), try again later"
    if isinstance(answer, HfHubHTTPError):
        raise answer
    if isinstance(answer, Exception):
        return f"{hub} could not be reached ({_first_line(answer)})"
    return None if answer.commit_hash else f"what answers at {hub} is not the Hub"


def _is_busy(answer: object) -> bool:
    return isinstance(answer, HfHubHTTPError) and (
        answer.response.status_code == 429 or answer.response.status_code >= 500
    )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # A refusal's first line is its number, the second says what it is about.
    text = next((line for line in lines if "Request ID" not in line), type(error).__name__)
    return text[:200].rstrip(".")
