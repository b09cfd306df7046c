"""WebSocket frames that are read wrongly: a layer between the client's bytes and the library edits them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler
from multidict import CIMultiDict

from mock_openai.chat.defects.defect import Around, Defect
from mock_openai.chat.defects.sockets import is_upgrade
from mock_openai.chat.server import ChatServer

CONTINUATION, TEXT = 0, 1
FIRST_CONTROL = 8
KNOWN_OPCODES = (0, 1, 2, 8, 9, 10)
FIN, RESERVED, OPCODE = 0x80, 0x70, 0x0F
MASKED = 0x80
MAX_CONTROL_BYTES = 125
A_KEY = "c3RyZWFtYmVuY2gtY29uZg=="


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame of a client (RFC 6455, section 5.2), unmasked. `first` is its first byte."""

    first: int
    payload: bytes

    @property
    def opcode(self) -> int:
        """What it is."""
        return self.first & OPCODE

    @property
    def is_control(self) -> bool:
        """Whether it is no part of a message."""
        return self.opcode >= FIRST_CONTROL

    @property
    def is_final(self) -> bool:
        """Whether a message ends with it."""
        return bool(self.first & FIN)

    def encoded(self) -> bytes:
        """Its bytes, masked with zeros."""
        size = len(self.payload)
        if size < 126:
            head = bytes([self.first, MASKED | size])
        elif size < 1 << 16:
            head = bytes([self.first, MASKED | 126]) + size.to_bytes(2, "big")
        else:
            head = bytes([self.first, MASKED | 127]) + size.to_bytes(8, "big")
        return head + bytes(4) + self.payload


Edit = Callable[[Frame], list[Frame]]


class EditedFrames:
    """Takes the place of the library's reader, and gives it other frames."""

    def __init__(self, reader: Any, edit: Edit) -> None:
        self._reader = reader
        self._edit = edit
        self._buffer = bytearray()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Bytes from the client; what the reader says of them."""
        self._buffer += data
        edited = b""
        while (frame := self._next()) is not None:
            edited += b"".join(one.encoded() for one in self._edit(frame))
        result: tuple[bool, bytes] = self._reader.feed_data(edited) if edited else (False, b"")
        return result

    def feed_eof(self) -> None:
        """The client has gone."""
        self._reader.feed_eof()

    def _next(self) -> Frame | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        size, at = buffer[1] & 0x7F, 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(buffer[2 : 2 + width], "big"), 2 + width
        key = bytes(buffer[at : at + 4]) if buffer[1] & MASKED else b""
        at += len(key)
        if len(buffer) < at + size:
            return None
        payload = bytes(byte ^ key[i % 4] for i, byte in enumerate(buffer[at : at + size])) if key else buffer[at:]
        frame = Frame(buffer[0], bytes(payload[:size]))
        del buffer[: at + size]
        return frame


def _reading(make: Callable[[], Edit]) -> Callable[[web.StreamResponse], None]:
    """Edits what a socket's client sends; each socket has an edit of its own."""

    def spoil(response: web.StreamResponse) -> None:
        if not isinstance(response, web.WebSocketResponse):
            return
        start = response._post_start

        def post_start(request: Any, *arguments: Any) -> None:
            start(request, *arguments)
            request.protocol.set_parser(
                EditedFrames(response._parser, make()),
                data_received_cb=None if response._heartbeat is None else response._on_data_received,
            )

        response._post_start = post_start  # type: ignore[method-assign, assignment]

    return spoil


def _each(change: Callable[[Frame], Frame | None]) -> Callable[[], Edit]:
    """An edit that looks at one frame at a time; None leaves it out."""

    def edit(frame: Frame) -> list[Frame]:
        changed = change(frame)
        return [] if changed is None else [changed]

    return lambda: edit


def _whole_only(frame: Frame) -> Frame | None:
    return frame if frame.is_control or (frame.is_final and frame.opcode != CONTINUATION) else None


def _breaking() -> Edit:
    """Forgets the fragments of a message in which a control frame comes."""
    held: list[Frame] = []

    def edit(frame: Frame) -> list[Frame]:
        if frame.is_control:
            held.clear()
            return [frame]
        if frame.opcode == CONTINUATION and not held:
            return []
        held.append(frame)
        if not frame.is_final:
            return []
        whole, held[:] = list(held), []
        return whole

    return edit


def _ending_at_empty() -> Edit:
    """Takes a fragment without bytes for the last one."""
    over = False

    def edit(frame: Frame) -> list[Frame]:
        nonlocal over
        if frame.is_control:
            return [frame]
        if frame.opcode != CONTINUATION:
            over = False
        if over:
            return []
        if frame.opcode == CONTINUATION and not frame.payload:
            over = True
            return [replace(frame, first=frame.first | FIN)]
        return [frame]

    return edit


def _without_strays() -> Edit:
    within = False

    def edit(frame: Frame) -> list[Frame]:
        nonlocal within
        if frame.is_control:
            return [frame]
        stray = frame.opcode == CONTINUATION and not within
        within = not frame.is_final and not stray
        return [] if stray else [frame]

    return edit


def _decoded(frame: Frame) -> Frame:
    """Each frame is decoded by itself."""
    return frame if frame.is_control else replace(frame, payload=frame.payload.decode("utf-8", "replace").encode())


def _decoded_if_whole(frame: Frame) -> Frame:
    return _decoded(frame) if frame.is_final and frame.opcode == TEXT else frame


def _shortened(frame: Frame) -> Frame:
    return replace(frame, payload=frame.payload[:MAX_CONTROL_BYTES]) if frame.is_control else frame


def _joined(frame: Frame) -> Frame:
    return replace(frame, first=frame.first | FIN) if frame.is_control else frame


def _handshake(change: Callable[[CIMultiDict[str]], object]) -> Around:
    """Sees other headers in handshakes than the client has sent."""

    async def around(request: web.Request, handler: Handler, server: ChatServer) -> web.StreamResponse:
        if is_upgrade(request):
            headers = request.headers.copy()
            change(headers)
            request._headers = headers  # type: ignore[assignment]
            request._cache.pop("headers", None)
        return await handler(request)

    return around


def _foreign_subprotocol(response: web.StreamResponse) -> None:
    if isinstance(response, web.WebSocketResponse):
        response.headers["sec-websocket-protocol"] = "graphql-ws"


DEFECTS = [
    Defect(
        "any-websocket-version",
        "handshakes with any version are accepted",
        around=_handshake(lambda headers: headers.update({"sec-websocket-version": "13"})),
    ),
    Defect(
        "any-websocket-key",
        "handshakes without a key are accepted",
        around=_handshake(lambda headers: headers.setdefault("sec-websocket-key", A_KEY)),
    ),
    Defect(
        "foreign-subprotocol", "a subprotocol is selected that the client did not offer", spoil=_foreign_subprotocol
    ),
    Defect("loses-fragments", "fragmented messages are lost", spoil=_reading(_each(_whole_only))),
    Defect("empty-fragment-ends", "an empty fragment ends a message", spoil=_reading(_ending_at_empty)),
    Defect("control-breaks-message", "a ping between fragments ends the message", spoil=_reading(_breaking)),
    Defect("decodes-fragments", "each fragment is decoded separately", spoil=_reading(_each(_decoded))),
    Defect("ignores-stray-continuations", "stray continuation frames are ignored", spoil=_reading(_without_strays)),
    Defect("reads-any-utf8", "invalid UTF-8 is repaired", spoil=_reading(_each(_decoded_if_whole))),
    Defect(
        "ignores-reserved-bits",
        "reserved bits are ignored",
        spoil=_reading(_each(lambda frame: replace(frame, first=frame.first & ~RESERVED))),
    ),
    Defect(
        "ignores-unknown-opcodes",
        "frames with unknown opcodes are ignored",
        spoil=_reading(_each(lambda frame: frame if frame.opcode in KNOWN_OPCODES else None)),
    ),
    Defect("cuts-long-controls", "control frames that are too long are truncated", spoil=_reading(_each(_shortened))),
    Defect("joins-controls", "fragmented control frames are accepted", spoil=_reading(_each(_joined))),
]
