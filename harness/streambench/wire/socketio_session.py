"""The client's half of a Socket.IO connection (protocol revision 5).

A client connects to one namespace or more over one Engine.IO session; each is accepted with a session id of its own,
or refused. Either side emits events, and asks for an acknowledgement of one by giving it an id. Does no I/O.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from streambench.findings import Axis, Finding
from streambench.rules import Rule, declare
from streambench.wire.limits import WireError, WireLimits
from streambench.wire.socketio import MAIN_NAMESPACE, Packet, PacketDecoder, PacketType, encode


class NamespaceState(StrEnum):
    """Where the connection to one namespace stands; REFUSED and DISCONNECTED are its two ends."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    REFUSED = "refused"
    DISCONNECTED = "disconnected"


_SOURCE: Final = "Socket.IO protocol, revision 5"
NO_SID: Final = declare(Rule("socketio.no-sid", Axis.GRAMMAR, "The response to CONNECT has a session id.", _SOURCE))
UNKNOWN_ACK: Final = declare(
    Rule("socketio.unknown-ack", Axis.GRAMMAR, "An acknowledgement answers an event that was sent.", _SOURCE)
)
WRONG_NAMESPACE_STATE: Final = declare(
    Rule("socketio.wrong-namespace-state", Axis.GRAMMAR, "Events are sent only in a connected namespace.", _SOURCE)
)

_CONNECTED_ONLY: Final = (NamespaceState.CONNECTED,)

# In which states of its namespace a packet means something.
_LIVE_STATES: Final = {
    PacketType.CONNECT: (NamespaceState.CONNECTING,),
    PacketType.CONNECT_ERROR: (NamespaceState.CONNECTING,),
    PacketType.DISCONNECT: (NamespaceState.CONNECTING, NamespaceState.CONNECTED),
    PacketType.EVENT: _CONNECTED_ONLY,
    PacketType.ACK: _CONNECTED_ONLY,
    PacketType.BINARY_EVENT: _CONNECTED_ONLY,
    PacketType.BINARY_ACK: _CONNECTED_ONLY,
}


@dataclass(slots=True)
class Namespace:
    """A client's connection to one namespace. `refusal` is the server's reason, for a person."""

    name: str
    state: NamespaceState = NamespaceState.CONNECTING
    sid: str | None = None
    refusal: str | None = None
    next_ack_id: int = 0
    awaited_acks: set[int] = field(default_factory=set)


class SocketSession:
    """The client's half of a Socket.IO connection: Engine.IO messages in, packets and messages to send out."""

    __slots__ = ("_decoder", "_findings", "_noted", "_outgoing", "namespaces")

    def __init__(self, limits: WireLimits | None = None) -> None:
        self._decoder = PacketDecoder(limits)
        self._findings: list[Finding] = []
        self._noted: set[str] = set()
        self._outgoing: list[str | bytes] = []
        self.namespaces: dict[str, Namespace] = {}

    def take_findings(self) -> list[Finding]:
        """The findings since the last call, the decoder's included; the session forgets them."""
        taken, self._findings = [*self._findings, *self._decoder.take_findings()], []
        return taken

    def take_outgoing(self) -> list[str | bytes]:
        """The Engine.IO messages to send now, in order."""
        taken, self._outgoing = self._outgoing, []
        return taken

    def connect(self, namespace: str = MAIN_NAMESPACE, auth: dict[str, Any] | None = None) -> None:
        """Ask for a connection to `namespace`, with the payload that the server may want to see."""
        self._outgoing += encode(Packet(PacketType.CONNECT, namespace, data=auth))
        self.namespaces[namespace] = Namespace(namespace)

    def emit(
        self, event: str, *arguments: Any, namespace: str = MAIN_NAMESPACE, acknowledged: bool = False
    ) -> int | None:
        """Send an event; returns the id that its acknowledgement will carry, if one is asked for.

        Raises ValueError where the namespace is not connected.
        """
        room = self._connected(namespace)
        packet_id = None
        if acknowledged:
            packet_id = room.next_ack_id
            room.next_ack_id += 1
            room.awaited_acks.add(packet_id)
        self._outgoing += encode(Packet(PacketType.EVENT, namespace, packet_id, [event, *arguments]))
        return packet_id

    def acknowledge(self, event: Packet, *arguments: Any) -> None:
        """Answer an event that came with an id."""
        if event.id is None:
            raise ValueError("the event asks for no acknowledgement")
        self._connected(event.namespace)
        self._outgoing += encode(Packet(PacketType.ACK, event.namespace, event.id, list(arguments)))

    def disconnect(self, namespace: str = MAIN_NAMESPACE) -> None:
        """Leave a namespace; nothing comes back."""
        self._connected(namespace).state = NamespaceState.DISCONNECTED
        self._outgoing += encode(Packet(PacketType.DISCONNECT, namespace))

    def receive(self, data: str | bytes, *, offset: int = 0) -> Packet | None:
        """Take in one Engine.IO message; returns the packet that it completes, where it means something to us.

        A packet for a namespace that is not connected, and an acknowledgement that nobody waits for, are findings and
        otherwise ignored, as official clients ignore them. Raises WireError as the decoder does.
        """
        packet = self._decoder.feed(data, offset=offset)
        if packet is None:
            return None
        room = self.namespaces.get(packet.namespace)
        if room is None or room.state not in _LIVE_STATES[packet.type]:
            state = "unknown to this client" if room is None else str(room.state)
            self._note(packet, WRONG_NAMESPACE_STATE, f"the namespace {packet.namespace!r} is {state}")
            return None
        match packet.type:
            case PacketType.CONNECT:
                room.sid = _sid(packet)
                room.state = NamespaceState.CONNECTED
            case PacketType.CONNECT_ERROR:
                room.state = NamespaceState.REFUSED
                room.refusal = _refusal(packet.data)
            case PacketType.DISCONNECT:
                room.state = NamespaceState.DISCONNECTED
            case PacketType.ACK | PacketType.BINARY_ACK:
                if packet.id not in room.awaited_acks:
                    which = "without an id" if packet.id is None else str(packet.id)
                    self._note(packet, UNKNOWN_ACK, f"nothing waits for an acknowledgement {which}")
                    return None
                room.awaited_acks.discard(packet.id)
        return packet

    def finish(self) -> None:
        """The connection has ended; what was left incomplete becomes a finding."""
        self._decoder.finish()

    def _connected(self, namespace: str) -> Namespace:
        room = self.namespaces.get(namespace)
        if room is None or room.state is not NamespaceState.CONNECTED:
            raise ValueError(f"the namespace {namespace!r} is not connected")
        return room

    def _note(self, packet: Packet, rule: Rule, why: str) -> None:
        if rule.id not in self._noted:
            self._noted.add(rule.id)
            self._findings.append(
                rule.found(
                    f"A {packet.type.name} packet came although {why}; clients ignore it.",
                    offset=packet.offset,
                    got=packet.type.name,
                )
            )


def _sid(packet: Packet) -> str:
    sid = packet.data.get("sid") if isinstance(packet.data, dict) else None
    if not isinstance(sid, str) or not sid:
        raise WireError(
            "Socket.IO: the answer to CONNECT has no session id; servers before Socket.IO 3 speak an older protocol",
            rule=NO_SID,
            offset=packet.offset,
        )
    return sid


def _refusal(data: Any) -> str:
    """The reason in a CONNECT_ERROR: an object's `message`, or text."""
    message = data.get("message") if isinstance(data, dict) else data
    return message if isinstance(message, str) and message else json.dumps(data)[:200]
