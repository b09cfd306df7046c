"""Failures of transport that the server causes, and the words in which a server refuses."""

from __future__ import annotations

import json
import os
import ssl

from streambench.endings import ErrorClass
from streambench.transport.target import Endpoint, Location
from streambench.units import NS_PER_S

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


def connect_failure(error: BaseException, where: Location, endpoint: Endpoint) -> ConnectFailure | None:
    """What an exception of connecting means to the user; None for one that is not of the network's doing."""
    match error:
        case TimeoutError():
            seconds = endpoint.timeouts.connect_ns / NS_PER_S
            return ConnectFailure(
                ErrorClass.TIMEOUT_CONNECT, f"no connection to {where.authority} within {seconds:g} s"
            )
        case ssl.SSLError():
            reason = getattr(error, "verify_message", "") or error.reason or str(error)
            return ConnectFailure(ErrorClass.TLS, f"TLS with {where.authority} failed: {reason}")
        case OSError():
            # asyncio puts its own words into strerror; the errno says it better.
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
            return ConnectFailure(ErrorClass.CONNECT, f"cannot connect to {where.authority}: {reason}")
        case ValueError():
            return ConnectFailure(
                ErrorClass.CONNECT, f"cannot connect to {where.authority}: it is not a host name ({error})"
            )
    return None


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
