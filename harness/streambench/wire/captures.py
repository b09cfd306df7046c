"""Captured streams: a file of what a client received, decoded by the wire that it came over.

An event stream or an NDJSON response is captured as it is. A WebSocket or Socket.IO connection has no file form of its
own, so a capture of one is text with one message a line, as `websocat` and a browser's network panel give it: over
WebSocket a line is a text message, over Socket.IO a line is an Engine.IO packet (`42["delta",{"text":"Hi"}]`), with
binary attachments as `b` and base64, the way polling writes them. A polling response's body is valid as a line too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final, Protocol

from streambench.findings import Axis, Finding
from streambench.rules import Rule, declare, declare_note
from streambench.wire import engineio, ndjson, socketio
from streambench.wire.limits import WireError, WireLimits
from streambench.wire.message import WireMessage
from streambench.wire.ndjson import NdjsonDecoder

WEBSOCKET_INVALID_UTF8: Final = declare(
    Rule("websocket.invalid-utf8", Axis.CONTENT, "A text message is valid UTF-8.", "RFC 6455, section 8.1")
)
REFUSED: Final = declare(
    Rule(
        "socketio.refused",
        Axis.TERMINATION,
        "The server accepts the connection to a namespace.",
        "Socket.IO protocol, revision 5",
    )
)
NO_BODY: Final = declare_note(
    "har.no-body",
    "A HAR file contains the bodies of its streams: a stream without its body is not checked.",
    "HAR 1.2, `content`",
)


class CaptureDecoder(Protocol):
    """Bytes of a capture to messages, however the bytes are split between calls.

    Raises WireError (OversizeError for what is beyond the limits) where nothing more can be read; messages completed
    before it in the same call are returned first, and the next call raises.
    """

    def feed(self, data: bytes) -> list[WireMessage]:
        """The messages that these bytes complete."""
        ...

    def finish(self) -> list[WireMessage]:
        """The capture has ended: the messages that only its end completes."""
        ...

    def take_findings(self) -> list[Finding]:
        """What was found since the last call; the decoder forgets it."""
        ...


class WebSocketCapture:
    """One text message a line. What NDJSON notes about line ends says nothing about a connection, and is left out."""

    __slots__ = ("_lines",)

    def __init__(self, limits: WireLimits | None = None) -> None:
        self._lines = NdjsonDecoder(limits)

    def take_findings(self) -> list[Finding]:
        """The findings since the last call; the decoder forgets them."""
        return _of_text(self._lines.take_findings(), WEBSOCKET_INVALID_UTF8)

    def feed(self, data: bytes) -> list[WireMessage]:
        """The messages whose lines `data` completes."""
        return self._lines.feed(data)

    def finish(self) -> list[WireMessage]:
        """End of the capture: a last line without its newline is a message too."""
        return [replace(message, dispatched=True) for message in self._lines.finish()]


class SocketIoCapture:
    """One Engine.IO packet a line; events become messages, whichever namespace they are from.

    A capture may begin in the middle of a connection, so no handshake is asked for.
    """

    __slots__ = ("_failure", "_findings", "_lines", "_packets")

    def __init__(self, limits: WireLimits | None = None) -> None:
        self._lines = NdjsonDecoder(limits)
        self._packets = socketio.PacketDecoder(limits)
        self._findings: list[Finding] = []
        self._failure: WireError | None = None

    def take_findings(self) -> list[Finding]:
        """The findings since the last call; the decoder forgets them."""
        taken, self._findings = self._findings, []
        return [
            *_of_text(self._lines.take_findings(), engineio.INVALID_UTF8),
            *taken,
            *self._packets.take_findings(),
        ]

    def feed(self, data: bytes) -> list[WireMessage]:
        """The events whose packets `data` completes."""
        # Line by line: nothing behind a line that ends the decoding may leave a finding.
        *lines, tail = data.split(b"\n")
        out: list[WireMessage] = []
        try:
            if self._failure is not None:
                raise self._failure
            for line in lines:
                self._read(self._lines.feed(line + b"\n"), out)
            self._lines.feed(tail)
        except WireError as error:
            self._failure = error
            if not out:
                raise
        return out

    def finish(self) -> list[WireMessage]:
        """End of the capture; attachments that did not come become a finding."""
        if self._failure is not None:
            raise self._failure
        out: list[WireMessage] = []
        try:
            self._read(self._lines.finish(), out)
            self._packets.finish()
        except WireError as error:
            if not out:
                raise
            self._findings.append(error.finding)
        return out

    def _read(self, lines: Iterable[WireMessage], out: list[WireMessage]) -> None:
        for line in lines:
            offset = line.offset
            for text in line.data.split("\x1e"):
                event = self._read_packet(engineio.decode_frame(text, offset=offset))
                if event is not None:
                    out.append(event)
                offset += len(text.encode()) + 1

    def _read_packet(self, frame: engineio.Packet) -> WireMessage | None:
        if frame.type is engineio.PacketType.OPEN and isinstance(frame.data, str):
            engineio.Handshake.parse(frame.data)
        if frame.type is not engineio.PacketType.MESSAGE:
            return None
        packet = self._packets.feed(frame.data, offset=frame.offset)
        if packet is None:
            return None
        if packet.type is socketio.PacketType.CONNECT_ERROR:
            self._findings.append(
                REFUSED.found(
                    f"The server refuses the connection to the namespace {packet.namespace!r}.",
                    offset=packet.offset,
                    got=packet.json[:200],
                )
            )
        return socketio.event_message(packet) if packet.is_event else None


def _of_text(findings: Iterable[Finding], rule: Rule) -> list[Finding]:
    """Findings about the bytes of the lines, by the rule of the wire that they were captured from."""
    return [replace(finding, rule=rule.id) for finding in findings if finding.rule == ndjson.INVALID_UTF8.id]
