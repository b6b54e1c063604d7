"""One commit to the Hub, tried again where that helps, or one clear message."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

logger = logging.getLogger(__name__)

WAITS_S = (1, 3, 9)  # before the second, third and fourth try
TRY_AGAIN = (408, 409, 412, 429, 500, 502, 503, 504)  # 409 and 412: somebody else committed at the same time

Operation = CommitOperationAdd | CommitOperationDelete


class PublishError(ValueError):
    """Something could not be pushed to the Hub; the message says why, and what to do."""


@dataclass(frozen=True)
class Published:
    """Where a push arrived."""

    repo_id: str
    commit: str
    url: str

    def __str__(self) -> str:
        return f"published at {self.url} (commit {self.commit[:12]})"


def push(
    repo_id: str,
    repo_type: str,
    operations: Callable[[HfApi, str, str], Sequence[Operation]],
    message: str,
    *,
    private: bool | None = None,
    token: str | None = None,
) -> Published:
    """Create a repository where there is none, and send everything in one commit: all of it arrives, or nothing.

    `operations(api, repo_id, revision)` says what to send, given the repository as it is now; it is asked again at
    every try. A broken connection and the Hub's own errors are tried again; what was uploaded is not sent twice.

    Raises `PublishError` when the Hub refuses (no token, no right to write) or does not recover.
    """
    api = HfApi(token=token)
    for wait in (*WAITS_S, None):
        try:
            url = api.create_repo(repo_id, repo_type=repo_type, private=private, exist_ok=True)
            full_id = url.repo_id  # with the user's name in front, where it was left out
            head = api.repo_info(full_id, repo_type=repo_type).sha
            info = api.create_commit(
                full_id,
                operations(api, full_id, head),
                commit_message=message,
                repo_type=repo_type,
                parent_commit=head,
            )
            return Published(full_id, info.oid, str(url))
        except Exception as error:
            status, reason = diagnose(error)
            if reason is None:
                raise  # not the Hub's doing
            if wait is None or not (status is None or status in TRY_AGAIN):
                raise PublishError(_advice(repo_id, status, reason)) from error
            logger.warning("pushing to %s failed (%s); trying again in %d s", repo_id, reason, wait)
            time.sleep(wait)
    raise AssertionError("unreachable")


def diagnose(error: BaseException | None) -> tuple[int | None, str | None]:
    """The HTTP status (None for a connection that broke) and the reason; (None, None) for errors of other kinds."""
    while error is not None:
        if isinstance(error, OfflineModeIsEnabled):
            return 0, "offline mode is on: unset HF_HUB_OFFLINE"
        if isinstance(error, HfHubHTTPError) and error.response is not None:
            message = error.server_message or error.response.reason_phrase
            return error.response.status_code, f"{error.response.status_code} {message}".strip()
        # The Hub's client changes its HTTP library from version to version; their names are what stays.
        module = type(error).__module__
        if isinstance(error, ConnectionError) or module.startswith(("httpx", "httpcore")):
            return None, f"the connection broke: {error or type(error).__name__}"
        error = error.__cause__ or error.__context__
    return None, None


def _advice(repo_id: str, status: int | None, reason: str) -> str:
    if status == 401:
        todo = "the Hub does not know your token: log in with `hf auth login`, or set HF_TOKEN"
    elif status == 403:
        todo = (
            f"your token may not write to {repo_id}: make one with write permission at "
            "https://huggingface.co/settings/tokens, or push to a name of your own"
        )
    else:
        todo = "run the same command again later: what arrived is not sent twice"
    return f"could not push to {repo_id} ({reason}); {todo}. No file was changed there, and all is as it was here"
