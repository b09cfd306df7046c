"""WebSocket frames as bytes (RFC 6455, section 5.2): to show them in logs, and to send what no client sends.

What this reads is judged by nobody; `transport/websocket` is what reads a target's messages.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Opcode(IntEnum):
    """What a frame is."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


@dataclass(frozen=True, slots=True)
class Frame:
    """A whole frame, unmasked. `offset` is where it begins in its direction; `opcode` may be an unknown one."""

    at_ns: int
    offset: int
    opcode: int
    final: bool
    payload: bytes

    def __str__(self) -> str:
        try:
            name = Opcode(self.opcode).name.lower()
        except ValueError:
            name = f"opcode {self.opcode}"
        return f"{name}{'' if self.final else ', more follows'}, {len(self.payload)} bytes"


class FrameReader:
    """Reads one direction of a WebSocket, from behind the handshake."""

    def __init__(self, offset: int = 0) -> None:
        self._buffer = bytearray()
        self._offset = offset

    def feed(self, at_ns: int, data: bytes) -> list[Frame]:
        """The frames that `data` completes."""
        self._buffer += data
        frames: list[Frame] = []
        while (frame := self._next(at_ns)) is not None:
            frames.append(frame)
        return frames

    def _next(self, at_ns: int) -> Frame | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        masked, size, at = buffer[1] & 0x80, buffer[1] & 0x7F, 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(buffer[2 : 2 + width], "big"), 2 + width
        key = bytes(buffer[at : at + 4]) if masked else b""
        at += len(key)
        if len(buffer) < at + size or (masked and len(key) < 4):
            return None
        payload = bytes(buffer[at : at + size])
        frame = Frame(at_ns, self._offset, buffer[0] & 0x0F, bool(buffer[0] & 0x80), _masked(payload, key))
        del buffer[: at + size]
        self._offset += at + size
        return frame


def frame_bytes(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """A frame as a client sends it, masked with zeros."""
    first = bytes([opcode | (0x80 if final else 0)])
    if len(payload) < 126:
        size = bytes([0x80 | len(payload)])
    elif len(payload) < 1 << 16:
        size = bytes([0x80 | 126]) + len(payload).to_bytes(2, "big")
    else:
        size = bytes([0x80 | 127]) + len(payload).to_bytes(8, "big")
    return first + size + bytes(4) + payload


def _masked(payload: bytes, key: bytes) -> bytes:
    if not any(key):
        return payload
    whole = (key * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(whole, "big")).to_bytes(len(payload), "big")
