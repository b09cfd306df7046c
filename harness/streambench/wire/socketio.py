"""Socket.IO, protocol revision 5, with its default parser: packets and their binary attachments.

A packet travels as the data of one Engine.IO MESSAGE, `<type>[<attachments>-][<namespace>,][<ack id>][<JSON>]`, and
binary values inside its JSON follow as binary messages of their own, each standing where a placeholder object says so.
What the packets do is in `socketio_session`.

The specification is `docs/socket.io-protocol/v5-current.md` of github.com/socketio/socket.io. Where it is silent, the
official JavaScript client decides: what makes that client close the connection (it calls it a parse error) is a
WireError here, what it overlooks is a Finding. Nothing in this module does I/O or reads a clock.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any, Final

import orjson

from streambench.findings import Axis, Finding
from streambench.rules import Rule, declare, declare_note
from streambench.wire.json_text import MAX_VALUES, has_too_many_values, nesting
from streambench.wire.limits import OversizeError, WireError, WireLimits
from streambench.wire.message import WireMessage

REVISION: Final = 5
MAIN_NAMESPACE: Final = "/"
MAX_NESTING: Final = 128
MAX_NAMESPACE_CHARS: Final = 1024
MAX_ACK_DIGITS: Final = 15  # what a JavaScript number holds exactly
OFFICIAL_MAX_ATTACHMENTS: Final = 10  # socket.io-parser's own limit, from 4.2.6 on

_SOURCE: Final = "Socket.IO protocol, revision 5"


def _rule(name: str, requirement: str) -> Rule:
    return declare(Rule(f"socketio.{name}", Axis.GRAMMAR, requirement, _SOURCE))


UNKNOWN_TYPE: Final = _rule("unknown-type", "A packet begins with one of the types 0 to 6.")
BAD_ATTACHMENTS: Final = _rule("bad-attachments", "A binary packet states its number of attachments.")
BAD_PAYLOAD: Final = _rule("bad-payload", "A packet's payload has the form that its type requires.")
BAD_PLACEHOLDER: Final = _rule("bad-placeholder", "A placeholder refers to one of the packet's attachments.")
NOT_JSON: Final = _rule("not-json", "A packet's payload is JSON.")
TOO_DEEP: Final = _rule("too-deep", f"A packet's JSON is nested at most {MAX_NESTING} levels deep.")
BAD_ID: Final = _rule("bad-id", "An acknowledgement id is a number that clients can represent.")
BAD_NAMESPACE: Final = _rule("bad-namespace", "The name of a namespace is terminated.")
MISSING_ATTACHMENTS: Final = _rule("missing-attachments", "Every attachment that a packet announces follows it.")
STRAY_ATTACHMENT: Final = _rule("stray-attachment", "A binary message belongs to a packet that announces it.")
NO_PAYLOAD: Final = _rule("no-payload", "An event has a name, and an acknowledgement has an array.")
MANY_ATTACHMENTS: Final = declare_note(
    "socketio.many-attachments",
    f"A packet has at most {OFFICIAL_MAX_ATTACHMENTS} attachments: popular clients accept no more by default.",
    "socket.io-parser 4.2.6",
)
RESERVED_EVENT: Final = declare_note("socketio.reserved-event", "No event uses a name that clients reserve.", _SOURCE)

# Names that mean something to the official clients themselves; their parser refuses events called so.
RESERVED_EVENTS: Final = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)


class PacketType(IntEnum):
    """The digit that a packet begins with."""

    CONNECT = 0
    DISCONNECT = 1
    EVENT = 2
    ACK = 3
    CONNECT_ERROR = 4
    BINARY_EVENT = 5
    BINARY_ACK = 6


_BINARY: Final = {PacketType.EVENT: PacketType.BINARY_EVENT, PacketType.ACK: PacketType.BINARY_ACK}
_TYPES: Final = {str(packet_type.value): packet_type for packet_type in PacketType}
_EVENTS: Final = (PacketType.EVENT, PacketType.BINARY_EVENT)
_ACKS: Final = (PacketType.ACK, PacketType.BINARY_ACK)


@dataclass(slots=True, frozen=True)
class Packet:
    """One packet, its binary values in place.

    `data` is the decoded JSON: the arguments with the event's name first (EVENT), the arguments (ACK), an object or
    nothing (CONNECT), an object or text (CONNECT_ERROR). `json` is the text it was decoded from, with placeholders
    where binary values belong; `offset` is where the packet begins in the received bytes, as its caller counts them.
    """

    type: PacketType
    namespace: str = MAIN_NAMESPACE
    id: int | None = None
    data: Any = None
    json: str = field(default="", compare=False, repr=False)
    offset: int = field(default=0, compare=False)

    @property
    def is_event(self) -> bool:
        """It is an event, binary or not."""
        return self.type in _EVENTS

    @property
    def is_ack(self) -> bool:
        """It acknowledges an event, binary or not."""
        return self.type in _ACKS


def event_message(packet: Packet) -> WireMessage:
    """An event as dialects read it: its name, its arguments, and the JSON of the arguments as the server wrote it."""
    name, *arguments = packet.data
    array = packet.json
    if name.__class__ is str and array.startswith(f'["{name}"'):
        end = len(name) + 3
    else:  # with white space, with escapes in the name, or a number
        _, end = _JSON.raw_decode(array, _FIRST_ITEM.match(array).end())  # type: ignore[union-attr]
    rest = array[end:].lstrip()
    return WireMessage(
        f"[{rest[1:].lstrip()}" if rest.startswith(",") else "[]", packet.offset, event=str(name), args=arguments
    )


# Encoding


def encode(packet: Packet) -> list[str | bytes]:
    """The messages that carry `packet`: one text, then its attachments in order.

    Bytes anywhere in the data make an EVENT or ACK a binary one. Raises ValueError for data that is not JSON, and for
    a namespace with a comma, which the protocol cannot express.
    """
    if "," in packet.namespace or not packet.namespace.startswith("/"):
        raise ValueError(f"{packet.namespace!r} is not a namespace: write a name that begins with / and has no comma")
    packet_type = packet.type
    attachments: list[bytes] = []
    data = packet.data
    if packet.is_event or packet.is_ack:
        data = _take_apart(data, attachments)
        packet_type = PacketType.EVENT if packet.is_event else PacketType.ACK
        if attachments:
            packet_type = _BINARY[packet_type]
    parts = [str(packet_type.value)]
    if attachments:
        parts.append(f"{len(attachments)}-")
    if packet.namespace != MAIN_NAMESPACE:
        parts.append(f"{packet.namespace},")
    if packet.id is not None:
        parts.append(str(packet.id))
    if data is not None:
        try:
            parts.append(_dump(data))
        except (TypeError, RecursionError) as error:
            raise ValueError(f"the data of a Socket.IO packet is not JSON: {error}") from None
    return ["".join(parts), *attachments]


def _take_apart(value: Any, attachments: list[bytes]) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        attachments.append(bytes(value))
        return {"_placeholder": True, "num": len(attachments) - 1}
    if isinstance(value, list | tuple):
        return [_take_apart(item, attachments) for item in value]
    if isinstance(value, dict):
        return {key: _take_apart(item, attachments) for key, item in value.items()}
    return value


_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def _dump(value: Any) -> str:
    """JSON as JavaScript writes it: no spaces, text as it is, half a character as an escape."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text if text.isascii() else _LONE_SURROGATE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


# Decoding

_HEAD: Final = re.compile(r"(?:[0-4]|[56](?P<attachments>[0-9]*)-)(?:(?P<namespace>/[^,]*)(?:,|\Z))?(?P<id>[0-9]*)")
_FIRST_ITEM: Final = re.compile(r"\s*\[\s*")


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


_JSON: Final = json.JSONDecoder(parse_constant=_refuse)


class PacketDecoder:
    """Engine.IO messages to packets; a binary packet is returned when its last attachment has come.

    Raises WireError for what no client can read and OversizeError for more than the limits allow; after that the
    connection is of no use, and every further call raises the same.
    """

    __slots__ = ("_attachments", "_failure", "_limits", "_noted", "_pending", "_wanted", "findings")

    def __init__(self, limits: WireLimits | None = None) -> None:
        self._limits = limits if limits is not None else WireLimits()
        self.findings: list[Finding] = []
        self._noted: set[str] = set()
        self._failure: WireError | None = None
        self._pending: Packet | None = None  # a binary packet that waits for its attachments
        self._wanted = 0
        self._attachments: list[bytes] = []

    def take_findings(self) -> list[Finding]:
        """The findings since the last call; the decoder forgets them."""
        taken, self.findings = self.findings, []
        return taken

    def feed(self, data: str | bytes, *, offset: int = 0) -> Packet | None:
        """The packet that `data` completes, if it does. `offset` is where `data` begins in the received bytes."""
        if self._failure is not None:
            raise self._failure
        try:
            return self._feed_text(data, offset) if isinstance(data, str) else self._feed_attachment(data, offset)
        except WireError as error:
            self._failure = error
            raise

    def finish(self) -> None:
        """The connection has ended; a binary packet that still lacks attachments is a finding."""
        if self._pending is not None:
            self.findings.append(
                MISSING_ATTACHMENTS.found(
                    f"A {self._pending.type.name} announced {self._wanted} attachments, "
                    f"and {len(self._attachments)} came.",
                    offset=self._pending.offset,
                    got=str(len(self._attachments)),
                    expected=(str(self._wanted),),
                )
            )
            self._pending = None

    def _feed_text(self, text: str, offset: int) -> Packet | None:
        if self._pending is not None:
            raise _bad(
                f"a text message came where attachment {len(self._attachments) + 1} of {self._wanted} should be",
                MISSING_ATTACHMENTS,
                offset,
            )
        if len(text) > self._limits.max_event_bytes:
            raise OversizeError("a Socket.IO packet", self._limits.max_event_bytes, offset=offset)
        if text.startswith("2["):  # an event of the main namespace that asks for no acknowledgement: nearly all are
            payload = text[1:]
            packet = Packet(PacketType.EVENT, MAIN_NAMESPACE, None, self._payload(payload, offset), payload, offset)
            self._check(packet)
            return packet
        if text[:1] not in _TYPES:
            raise _bad(f"a packet begins with {text[:1]!r}, which is no type (0 to 6)", UNKNOWN_TYPE, offset)
        packet_type = _TYPES[text[0]]
        is_binary = packet_type in _BINARY.values()
        head = _HEAD.match(text)
        if is_binary:
            self._wanted = self._announced(head and head["attachments"], offset)
        assert head is not None
        namespace = head["namespace"] or MAIN_NAMESPACE
        if len(namespace) > MAX_NAMESPACE_CHARS:
            raise _bad("the name of a namespace has no end", BAD_NAMESPACE, offset)
        if len(head["id"]) > MAX_ACK_DIGITS:
            raise _bad(f"the acknowledgement id {head['id'][:20]}… is too large", BAD_ID, offset)
        payload = text[head.end() :]
        packet = Packet(
            packet_type,
            namespace,
            int(head["id"]) if head["id"] else None,
            self._payload(payload, offset) if payload else None,
            payload,
            offset,
        )
        if not payload and packet_type in (PacketType.EVENT, PacketType.ACK):
            return self._without_payload(packet)
        self._check(packet)
        if is_binary:
            self._pending = packet
            return None
        return packet

    def _without_payload(self, packet: Packet) -> Packet | None:
        """Official clients make nothing of an event without a name, and take an ACK as one without arguments."""
        message = f"A packet of the type {packet.type.name} has no payload; it should be an array."
        self._note(NO_PAYLOAD, message, packet.offset)
        return replace(packet, data=[]) if packet.is_ack else None

    def _announced(self, digits: str | None, offset: int) -> int:
        """How many attachments a binary packet's head announces."""
        if not digits or len(digits) > MAX_ACK_DIGITS or int(digits) == 0:
            raise _bad("a binary packet does not say how many attachments it has", BAD_ATTACHMENTS, offset)
        count = int(digits)
        if count > self._limits.max_attachments:
            raise OversizeError(
                f"a Socket.IO packet with {count:,} attachments",
                self._limits.max_attachments,
                unit="attachments",
                offset=offset,
            )
        if count > OFFICIAL_MAX_ATTACHMENTS:
            self._note(
                MANY_ATTACHMENTS,
                f"A packet has {count} attachments; current official JavaScript clients close the connection at more "
                f"than {OFFICIAL_MAX_ATTACHMENTS} unless told otherwise.",
                offset,
            )
        return count

    def _payload(self, text: str, offset: int) -> Any:
        """The decoded JSON of a packet; a whole number beyond 64 bits is the nearest float, as in JavaScript."""
        if text.count("[") + text.count("{") > MAX_NESTING and nesting(text) > MAX_NESTING:
            raise _bad(f"a packet's JSON is nested deeper than {MAX_NESTING} levels", TOO_DEEP, offset)
        if len(text) > MAX_VALUES and has_too_many_values(text):
            raise OversizeError("a packet's JSON", MAX_VALUES, unit="values", offset=offset)
        try:
            return orjson.loads(text)
        except ValueError:  # not JSON, or what only JavaScript takes: half a character
            pass
        try:
            return _JSON.decode(text)
        except (ValueError, RecursionError) as error:
            raise _bad(f"the payload of a packet is not JSON: {error}", NOT_JSON, offset) from None

    def _check(self, packet: Packet) -> None:
        """What the type of a packet asks of its payload."""
        data = packet.data
        name = data[0] if data.__class__ is list and data else None
        if packet.type is PacketType.EVENT and name.__class__ is str and name not in RESERVED_EVENTS:
            return
        match packet.type:
            case PacketType.CONNECT:
                valid, wanted = not packet.json or isinstance(data, dict), "an object"
            case PacketType.DISCONNECT:
                valid, wanted = not packet.json, "no payload"
            case PacketType.CONNECT_ERROR:
                valid, wanted = isinstance(data, dict | str), "an object or text"
            case PacketType.EVENT | PacketType.BINARY_EVENT:
                valid = isinstance(name, str | int | float) and not isinstance(name, bool)
                wanted = "an array that begins with the event's name"
                if isinstance(name, str) and name in RESERVED_EVENTS:
                    self._note(
                        RESERVED_EVENT,
                        f"An event is called {name!r}, which is reserved; official JavaScript clients close the "
                        "connection, others deliver it.",
                        packet.offset,
                    )
            case PacketType.ACK | PacketType.BINARY_ACK:
                valid, wanted = isinstance(data, list), "an array"
        if not valid:
            raise _bad(f"the payload of a {packet.type.name} packet should be {wanted}", BAD_PAYLOAD, packet.offset)

    def _feed_attachment(self, data: bytes, offset: int) -> Packet | None:
        if self._pending is None:
            raise _bad(f"a binary message of {len(data)} bytes belongs to no packet", STRAY_ATTACHMENT, offset)
        self._attachments.append(data)
        if sum(map(len, self._attachments)) > self._limits.max_event_bytes:
            raise OversizeError("the attachments of a packet", self._limits.max_event_bytes, offset=offset)
        if len(self._attachments) < self._wanted:
            return None
        packet, attachments = self._pending, self._attachments
        self._pending, self._attachments = None, []
        return replace(packet, data=_put_together(packet.data, attachments, packet.offset))

    def _note(self, rule: Rule, message: str, offset: int) -> None:
        if rule.id not in self._noted:
            self._noted.add(rule.id)
            self.findings.append(rule.found(message, offset=offset))


def _bad(message: str, rule: Rule, offset: int) -> WireError:
    return WireError(f"Socket.IO: {message}", rule=rule, offset=offset)


def _put_together(value: Any, attachments: list[bytes], offset: int) -> Any:
    """`value` with its placeholders replaced; MAX_NESTING bounds the recursion."""
    if isinstance(value, dict):
        if value.get("_placeholder") is True:
            number = value.get("num")
            if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < len(attachments):
                raise _bad(f"a placeholder stands for no attachment: {number!r}", BAD_PLACEHOLDER, offset)
            return attachments[number]
        return {key: _put_together(item, attachments, offset) for key, item in value.items()}
    if isinstance(value, list):
        return [_put_together(item, attachments, offset) for item in value]
    return value
