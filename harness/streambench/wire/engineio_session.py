"""The client's half of an Engine.IO session (protocol revision 4): packets in, messages and packets to send out.

A session begins with an OPEN packet that gives its id and timing. From then on the server sends PINGs that the client
answers with PONGs, and both sides send messages. A session that began with polling may move to a WebSocket, once a
PING and a PONG with the word `probe` have shown that packets get through there. Does no I/O and reads no clock.
"""

from __future__ import annotations

from enum import StrEnum

from streambench.findings import Axis, Finding
from streambench.rules import Rule, declare
from streambench.units import NS_PER_MS
from streambench.wire.engineio import PROBE, PROBE_ANSWER, Handshake, Packet, PacketType
from streambench.wire.limits import WireError

_SOURCE = "Engine.IO protocol, revision 4"
NO_HANDSHAKE = declare(
    Rule("engineio.no-handshake", Axis.GRAMMAR, "The OPEN packet of the handshake is sent first.", _SOURCE)
)
SECOND_OPEN = declare(Rule("engineio.second-open", Axis.GRAMMAR, "A session has only one handshake.", _SOURCE))
STRAY_PONG = declare(Rule("engineio.stray-pong", Axis.GRAMMAR, "A server sends no unsolicited PONG.", _SOURCE))
STRAY_UPGRADE = declare(Rule("engineio.stray-upgrade", Axis.GRAMMAR, "Only a client sends UPGRADE.", _SOURCE))


class SessionState(StrEnum):
    """OPENING until the OPEN packet has come, CLOSED for good after either side has closed."""

    OPENING = "opening"
    OPEN = "open"
    CLOSED = "closed"


class EngineSession:
    """The client's half of one session: packets in, messages and packets to send out.

    The caller gives each packet with the moment of its arrival, sends what `take_outgoing` returns over whichever
    transport is current, and calls `expire` when `deadline_ns` has passed. Moving from polling to a WebSocket goes:
    `begin_upgrade` gives the packet to send over the new WebSocket, `probe_answered` reads what comes back there,
    and when no polling request is open any more `complete_upgrade` gives the packet that makes the move final.
    """

    __slots__ = ("_noted", "_outgoing", "_upgrade", "close_reason", "deadline_ns", "findings", "handshake", "state")

    def __init__(self) -> None:
        self.state = SessionState.OPENING
        self.handshake: Handshake | None = None
        self.deadline_ns: int | None = None  # when silence of the server means that it is gone
        self.close_reason: str | None = None
        self.findings: list[Finding] = []
        self._noted: set[str] = set()
        self._outgoing: list[Packet] = []
        self._upgrade = "none"  # none | probing | probed | done

    def take_findings(self) -> list[Finding]:
        """The findings since the last call; the session forgets them."""
        taken, self.findings = self.findings, []
        return taken

    def take_outgoing(self) -> list[Packet]:
        """What is to be sent now, in order."""
        taken, self._outgoing = self._outgoing, []
        return taken

    def send(self, data: str | bytes) -> None:
        """Queue a message. A session that is not open cannot send: ValueError."""
        if self.state is not SessionState.OPEN:
            raise ValueError(f"the Engine.IO session is {self.state}")
        self._outgoing.append(Packet(PacketType.MESSAGE, data))

    def receive(self, packet: Packet, at_ns: int) -> str | bytes | None:
        """Take in a packet that arrived at `at_ns`; returns the data of a MESSAGE for the layer above, else None.

        What comes after the end is ignored. Raises WireError for a handshake that cannot be used, or is missing.
        """
        if self.state is SessionState.CLOSED:
            return None
        if self.state is SessionState.OPENING:
            if packet.type is not PacketType.OPEN or isinstance(packet.data, bytes):
                raise WireError(
                    f"the session begins with a {packet.type.name} packet instead of OPEN",
                    rule=NO_HANDSHAKE,
                    offset=packet.offset,
                )
            self.handshake = Handshake.parse(packet.data)
            self.state = SessionState.OPEN
            self.deadline_ns = at_ns + self.handshake.silence_ns
            return None
        assert self.handshake is not None
        match packet.type:
            case PacketType.MESSAGE:
                return packet.data
            case PacketType.PING:
                self._outgoing.append(Packet(PacketType.PONG))
                self.deadline_ns = at_ns + self.handshake.silence_ns
            case PacketType.CLOSE:
                self._close("the server closed the Engine.IO session")
            case PacketType.OPEN:
                self._note(packet, SECOND_OPEN, "The server sends a second OPEN packet; it is ignored.")
            case PacketType.PONG:
                self._note(
                    packet,
                    STRAY_PONG,
                    "The server sends a PONG that answers nothing; in revision 4 it is the server that sends PINGs.",
                )
            case PacketType.UPGRADE:
                self._note(packet, STRAY_UPGRADE, "The server sends UPGRADE, a packet of clients.")
            case PacketType.NOOP:
                pass
        return None

    def expire(self, now_ns: int) -> bool:
        """Whether the server has been silent for too long; the session is closed if so."""
        if self.state is SessionState.OPEN and self.deadline_ns is not None and now_ns >= self.deadline_ns:
            assert self.handshake is not None
            self._close(
                f"no ping from the server for {self.handshake.silence_ns // NS_PER_MS} ms (pingInterval + pingTimeout)"
            )
            return True
        return False

    def close(self) -> None:
        """End the session from this side; the packet that says so is left to be sent."""
        if self.state is SessionState.OPEN:
            self._outgoing.append(Packet(PacketType.CLOSE))
        if self.state is not SessionState.CLOSED:
            self._close("closed by the client")

    def begin_upgrade(self) -> Packet:
        """The packet to send first over the new WebSocket."""
        if self.state is not SessionState.OPEN or self._upgrade != "none":
            raise ValueError("only an open session can be upgraded, and only once")
        self._upgrade = "probing"
        return PROBE

    def probe_answered(self, packet: Packet) -> bool:
        """Whether `packet`, the first over the new WebSocket, says that the session may move there."""
        if self._upgrade != "probing":
            raise ValueError("no probe has been sent")
        self._upgrade = "probed" if packet == PROBE_ANSWER else "none"
        return self._upgrade == "probed"

    def complete_upgrade(self) -> Packet:
        """The packet that moves the session; to be sent when no polling request is open any more."""
        if self._upgrade != "probed":
            raise ValueError("the probe has not been answered")
        self._upgrade = "done"
        return Packet(PacketType.UPGRADE)

    def _close(self, reason: str) -> None:
        self.state = SessionState.CLOSED
        self.close_reason = reason
        self.deadline_ns = None

    def _note(self, packet: Packet, rule: Rule, message: str) -> None:
        if rule.id not in self._noted:
            self._noted.add(rule.id)
            self.findings.append(rule.found(message, offset=packet.offset, got=packet.type.name))
