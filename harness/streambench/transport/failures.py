"""What transport cannot do for a reason of the server's, and the words in which a server says no."""

from __future__ import annotations

import json

MAX_EXCERPT_BYTES = 2048


class ConnectFailure(Exception):
    """No connection could be opened or upgraded. `error` is the error class, the text is for the user."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error


class RequestFailed(Exception):
    """A request that brought no answer to go on with. `error` is the error class, the text is for the user.

    `closed_idle`: the kept connection turned out to be closed before anything of the answer came; `reset`: by a reset.
    """

    def __init__(self, error: str, message: str, *, closed_idle: bool = False, reset: bool = False) -> None:
        super().__init__(message)
        self.error = error
        self.closed_idle = closed_idle
        self.reset = reset


def answer_excerpt(body: bytes) -> str:
    """The beginning of an answer for a message: an error object's own message where there is one."""
    text = body.decode("utf-8", "replace").strip()
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return " ".join(text.split())[:300]
    error = data.get("error", data.get("message", data.get("detail"))) if isinstance(data, dict) else None
    if isinstance(error, dict):
        error = error.get("message", error)
    return (error if isinstance(error, str) else " ".join(text.split()))[:300]
