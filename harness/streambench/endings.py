"""How a stream ended on the wire, and why it failed: the terms that transport and records share."""

from __future__ import annotations

from enum import StrEnum


class ErrorClass(StrEnum):
    """Why a stream failed. HTTP statuses are written with their code, as `http_503`; see `http_error_class`."""

    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT_CONNECT = "timeout_connect"
    TIMEOUT_FIRST_CHUNK = "timeout_first_chunk"
    TIMEOUT_IDLE = "timeout_idle"
    TIMEOUT_TOTAL = "timeout_total"
    DISCONNECT = "disconnect"
    RESET = "reset"
    PROTOCOL = "protocol"
    ERROR_EVENT = "error_event"
    OVERSIZE = "oversize"
    FLOOD = "flood"
    EMPTY = "empty"  # complete, and without any text
    SETUP = "setup"


def http_error_class(status: int) -> str:
    """The error class of a response with an unwelcome status."""
    return f"http_{status}"


class Ending(StrEnum):
    """What was seen at the end of the wire, apart from whether the dialect's terminal event had come."""

    FIN = "fin"
    RESET = "reset"
    TIMEOUT = "timeout"
    CLOSE_FRAME = "close_frame"  # a WebSocket close; the code is in `close_code`
    RESPONSE_END = "response_end"  # the response ended and the connection stays usable
    CLIENT = "client"  # we left: after the terminal event, or because we were told to
    NOT_CONNECTED = "not_connected"
