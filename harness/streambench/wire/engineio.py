"""Engine.IO, protocol revision 4: packets, polling payloads, the handshake.

Engine.IO carries messages over either of two transports. Over WebSocket each packet is one message: text packets begin
with the digit of their type, and a binary message is the data of a MESSAGE packet without any mark. Over HTTP
long-polling the packets that are ready travel together as one text body, separated by U+001E, and binary data is
base64 behind a `b`. What the packets do is in `engineio_session`.

The specification is `docs/engine.io-protocol/v4-current.md` of github.com/socketio/socket.io. Where it is silent, the
official JavaScript client decides: what makes that client give up is a WireError here, what it overlooks is a Finding.
Nothing in this module does I/O or reads a clock.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final

from streambench.findings import Axis, Finding
from streambench.rules import Rule, declare
from streambench.units import NS_PER_MS
from streambench.wire.limits import OversizeError, WireError, WireLimits

REVISION: Final = 4
SEPARATOR: Final = b"\x1e"
MAX_SID_CHARS: Final = 1024
MAX_INTERVAL_MS: Final = 24 * 3600 * 1000
MAX_UTF8_FINDINGS: Final = 20
MAX_PACKETS_PER_BODY: Final = 16  # python-engineio refuses a body with more

_SOURCE: Final = "Engine.IO protocol, revision 4"
EMPTY_PACKET: Final = declare(Rule("engineio.empty-packet", Axis.GRAMMAR, "A packet has a type.", _SOURCE))
UNKNOWN_TYPE: Final = declare(
    Rule("engineio.unknown-type", Axis.GRAMMAR, "A packet begins with one of the types 0 to 6, or b.", _SOURCE)
)
BAD_BASE64: Final = declare(
    Rule("engineio.bad-base64", Axis.GRAMMAR, "A binary packet in a polling body is base64.", _SOURCE)
)
BAD_HANDSHAKE: Final = declare(
    Rule(
        "engineio.bad-handshake", Axis.GRAMMAR, "The OPEN packet has a session id and the heartbeat settings.", _SOURCE
    )
)
INVALID_UTF8: Final = declare(
    Rule(
        "engineio.invalid-utf8",
        Axis.CONTENT,
        "A text packet is valid UTF-8: clients read U+FFFD in place of invalid bytes.",
        _SOURCE,
    )
)


class PacketType(IntEnum):
    """The digit that a packet begins with."""

    OPEN = 0
    CLOSE = 1
    PING = 2
    PONG = 3
    MESSAGE = 4
    UPGRADE = 5
    NOOP = 6


@dataclass(slots=True, frozen=True)
class Packet:
    """One packet. `data` is bytes for a binary MESSAGE, else text.

    `offset` is where it begins in the bytes that its decoder was fed, counted from 0.
    """

    type: PacketType
    data: str | bytes = ""
    offset: int = field(default=0, compare=False)


PROBE: Final = Packet(PacketType.PING, "probe")
PROBE_ANSWER: Final = Packet(PacketType.PONG, "probe")

_TYPES: Final = {str(packet_type.value): packet_type for packet_type in PacketType}


def encode_frame(packet: Packet) -> str | bytes:
    """What to send as one WebSocket message: text, or the bytes of a binary MESSAGE as they are."""
    if isinstance(packet.data, bytes):
        return packet.data
    return f"{packet.type.value}{packet.data}"


def encode_payloads(packets: Iterable[Packet], max_payload: int | None = None) -> list[bytes]:
    """The bodies of the polling requests that carry `packets`, in order.

    As many packets as fit into `max_payload` bytes share a body, and never more than servers take. A packet that is
    larger by itself is sent alone, as the official client does: refusing it is the server's decision.
    """
    bodies: list[bytes] = []
    packets_in_last = 0
    for packet in packets:
        if isinstance(packet.data, bytes):
            encoded = b"b" + base64.b64encode(packet.data)
        else:
            encoded = f"{packet.type.value}{packet.data}".encode()
        fits = max_payload is None or (bool(bodies) and len(bodies[-1]) + 1 + len(encoded) <= max_payload)
        if bodies and fits and packets_in_last < MAX_PACKETS_PER_BODY:
            bodies[-1] += SEPARATOR + encoded
            packets_in_last += 1
        else:
            bodies.append(encoded)
            packets_in_last = 1
    return bodies


def decode_frame(data: str | bytes, *, offset: int = 0) -> Packet:
    """The packet of one WebSocket message. Raises WireError where it is none."""
    if isinstance(data, bytes):
        return Packet(PacketType.MESSAGE, data, offset)
    if not data:
        raise WireError("an Engine.IO packet is empty", rule=EMPTY_PACKET, offset=offset)
    packet_type = _TYPES.get(data[0])
    if packet_type is not None:
        return Packet(packet_type, data[1:], offset)
    if data[0] == "b":
        try:
            return Packet(PacketType.MESSAGE, base64.b64decode(data[1:], validate=True), offset)
        except (binascii.Error, ValueError):
            raise WireError(
                "the binary data of an Engine.IO packet is not base64", rule=BAD_BASE64, offset=offset
            ) from None
    raise WireError(
        f"an Engine.IO packet begins with {data[0]!r}, which is no packet type (0 to 6, or b)",
        rule=UNKNOWN_TYPE,
        offset=offset,
    )


class PayloadDecoder:
    """The body of a polling response to packets, however its bytes are split between calls.

    A packet is returned as soon as the separator after it has come, so that it keeps the stamp of its own arrival; the
    last one is returned by `finish`. A decoder reads one body after the other (`finish` ends a body), and its offsets
    run on across them. Raises WireError for what is no packet and OversizeError for a packet beyond the limits;
    packets completed before it in the same call are returned first, and the next call raises.
    """

    __slots__ = ("_failure", "_max_packet_bytes", "_offset", "_pending", "_utf8_findings", "findings")

    def __init__(self, limits: WireLimits | None = None) -> None:
        self._max_packet_bytes = (limits if limits is not None else WireLimits()).max_event_bytes
        self.findings: list[Finding] = []
        self._failure: WireError | None = None
        self._offset = 0  # where the packet that is being read begins
        self._pending = bytearray()
        self._utf8_findings = 0

    def take_findings(self) -> list[Finding]:
        """The findings since the last call; the decoder forgets them."""
        taken, self.findings = self.findings, []
        return taken

    def feed(self, data: bytes) -> list[Packet]:
        """The packets that `data` completes."""
        if self._failure is not None:
            raise self._failure
        *pieces, tail = data.split(SEPARATOR)
        out: list[Packet] = []
        try:
            for piece in pieces:
                self._keep(piece)
                out.append(self._end_packet())
                self._offset += 1
            self._keep(tail)
        except WireError as error:
            self._failure = error
            if not out:
                raise
        return out

    def finish(self) -> Packet:
        """The body has ended: its last packet. An empty body holds none, and is an error."""
        if self._failure is not None:
            raise self._failure
        try:
            return self._end_packet()
        except WireError as error:
            self._failure = error
            raise

    def _keep(self, piece: bytes) -> None:
        if len(self._pending) + len(piece) > self._max_packet_bytes:
            raise OversizeError("an Engine.IO packet", self._max_packet_bytes, offset=self._offset)
        self._pending += piece

    def _end_packet(self) -> Packet:
        raw = bytes(self._pending)
        self._pending.clear()
        start = self._offset
        self._offset += len(raw)
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            text = raw.decode(errors="replace")
            if self._utf8_findings < MAX_UTF8_FINDINGS:
                self._utf8_findings += 1
                bad = raw[error.start : error.end].hex(" ")
                self.findings.append(
                    INVALID_UTF8.found(
                        f"The bytes {bad} are not valid UTF-8 ({error.reason}); a client reads U+FFFD there.",
                        offset=start + error.start,
                        got=bad,
                    )
                )
        return decode_frame(text, offset=start)


@dataclass(slots=True, frozen=True)
class Handshake:
    """What the server says in its OPEN packet. `max_payload` bounds a polling request's body, in bytes."""

    sid: str
    upgrades: tuple[str, ...]
    ping_interval_ms: int
    ping_timeout_ms: int
    max_payload: int | None = None

    @property
    def silence_ns(self) -> int:
        """How long the server may go without a PING before the session counts as dead."""
        return (self.ping_interval_ms + self.ping_timeout_ms) * NS_PER_MS

    @classmethod
    def parse(cls, data: str) -> Handshake:
        """Read the JSON of an OPEN packet. Raises WireError, naming the key that is wrong."""
        try:
            fields = json.loads(data)
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            raise _bad_handshake("it is not a JSON object")
        sid = fields.get("sid")
        if not isinstance(sid, str) or not 0 < len(sid) <= MAX_SID_CHARS or not sid.isprintable():
            raise _bad_handshake("`sid` is not a session id")
        upgrades = fields.get("upgrades", [])
        if not isinstance(upgrades, list) or not all(isinstance(name, str) for name in upgrades):
            raise _bad_handshake("`upgrades` is not a list of names")
        return cls(
            sid=sid,
            upgrades=tuple(upgrades),
            # python-engineio says 0 for an interval of less than a second.
            ping_interval_ms=_whole_number(fields, "pingInterval", 0, MAX_INTERVAL_MS),
            ping_timeout_ms=_whole_number(fields, "pingTimeout", 1, MAX_INTERVAL_MS),
            max_payload=_whole_number(fields, "maxPayload", 1) if fields.get("maxPayload") is not None else None,
        )


def _whole_number(fields: dict[str, Any], key: str, least: int, most: int | None = None) -> int:
    """A number of the handshake, cut down to `most`; a fraction of a millisecond or byte is dropped."""
    value = fields.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < float("inf"):
        raise _bad_handshake(f"`{key}` is not a number of {least} or more")
    return int(value if most is None else min(value, most))


def _bad_handshake(reason: str) -> WireError:
    return WireError(f"the Engine.IO handshake cannot be used: {reason}", rule=BAD_HANDSHAKE)
