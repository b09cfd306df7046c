"""The framings that a dialect can have as its `transport`: each declared once, with all that depends on it.

A new one is an entry here and its decoder; a socket's is its driver as well, called as the framing is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from streambench.findings import Finding
from streambench.wire.captures import CaptureDecoder, SocketIoCapture, WebSocketCapture
from streambench.wire.limits import WireError, WireLimits
from streambench.wire.ndjson import NdjsonDecoder
from streambench.wire.sse import SseDecoder
from streambench.wire.text import TextDecoder

HTTP_SCHEMES = ("http", "https")


class BodyDecoder(CaptureDecoder, Protocol):
    """A decoder of a live body, whose findings can be looked at before they are taken.

    `failure` is what ends the decoding, once it is known: it lies behind the messages that were returned. Whoever knows
    what messages in their `envelope` mean may read them without the decoder, which then is to pass over them.
    """

    findings: list[Finding]

    @property
    def between(self) -> bool:
        """Whether what comes next begins a message."""
        ...

    def envelope(self, event: str, /) -> tuple[bytes, bytes]:
        """What stands before and after the data of a message with that name, in its usual form."""
        ...

    def pass_over(self, count: int, size: int) -> int:
        """Take in so many messages in their `envelope`, `size` bytes together; returns where the next one begins."""
        ...

    @property
    def failure(self) -> WireError | None:
        """What the next call raises."""
        ...


@dataclass(frozen=True, slots=True)
class Framing:
    """How the messages of a stream are told apart.

    `schemes` are those of its URLs. Of a response, `body` decodes what comes; `content_types` are those of responses
    with this framing, of which the first is asked for, and a body of one of `not_streams` is a page or an answer,
    never a stream that only lacks the right label. Of a socket, `capture` reads the form in which one is kept, and
    requests `send` messages or `emit` events on it.
    """

    name: str
    title: str
    schemes: tuple[str, ...]
    body: Callable[[WireLimits | None], BodyDecoder] | None = None
    content_types: tuple[str, ...] = ()
    not_streams: tuple[str, ...] = ()
    capture: Callable[[WireLimits | None], CaptureDecoder] | None = None
    says: Literal["send", "emit"] = "send"

    @property
    def is_socket(self) -> bool:
        """The connection outlives a reply."""
        return self.body is None

    @property
    def accept(self) -> str:
        """The content type to ask for; empty for a socket."""
        return self.content_types[0] if self.content_types else ""


_ALL = (
    Framing(
        "sse",
        "Server-Sent Events",
        HTTP_SCHEMES,
        SseDecoder,
        content_types=("text/event-stream",),
        not_streams=("text/html", "application/json", "application/problem+json"),
    ),
    Framing(
        "ndjson",
        "newline-delimited JSON",
        HTTP_SCHEMES,
        NdjsonDecoder,
        content_types=(
            "application/x-ndjson",
            "application/ndjson",
            "application/jsonl",
            "application/x-jsonlines",
            "application/json-lines",
            "application/stream+json",
            "application/json",
        ),
        not_streams=("text/html",),
    ),
    Framing(
        "text",
        "plain text, without framing",
        HTTP_SCHEMES,
        TextDecoder,
        content_types=("text/plain", "text/markdown"),
        not_streams=("text/html", "application/json", "application/problem+json"),
    ),
    Framing("websocket", "WebSocket, one message an event", ("ws", "wss", *HTTP_SCHEMES), capture=WebSocketCapture),
    Framing("socketio", "Socket.IO", (*HTTP_SCHEMES, "ws", "wss"), capture=SocketIoCapture, says="emit"),
)
FRAMINGS = {framing.name: framing for framing in _ALL}
"""Every framing by its name."""


def capture_decoder(wire: str, limits: WireLimits | None = None) -> CaptureDecoder:
    """The decoder for a capture with a framing, by its name. Another name is a KeyError."""
    framing = FRAMINGS[wire]
    decoder = framing.capture or framing.body
    assert decoder is not None
    return decoder(limits)
