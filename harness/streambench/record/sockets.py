"""What the messages of a socket mean, for as long as the connection lives: WebSocket's own, and Socket.IO's events.

A reader is the client's half of what is spoken on the socket. It takes every arrival of the connection, whichever reply
it belongs to, returns the messages that dialects read, and holds what is to be sent in answer. It does no I/O, so that
it reads the same from a file of arrivals; then what it would send goes nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from streambench.endings import Ending, ErrorClass
from streambench.findings import Finding
from streambench.record.tap import Setting
from streambench.transport.arrivals import Arrival, Data, Ended, Failed, Noted, Read
from streambench.wire import engineio, socketio
from streambench.wire.budget import Budget
from streambench.wire.engineio_session import EngineSession, SessionState
from streambench.wire.limits import FloodError, WireError, WireLimits
from streambench.wire.message import WireMessage
from streambench.wire.socketio_session import NamespaceState, SocketSession

NO_MESSAGES: Sequence[WireMessage] = ()
NO_LEAD = ("", 0)
_BINARY_TYPES = (str(socketio.PacketType.BINARY_EVENT.value), str(socketio.PacketType.BINARY_ACK.value))


@dataclass(slots=True, frozen=True)
class Loss:
    """Why a socket is of no more use. `error` is None where the server left in order; then the ending says how."""

    ending: Ending
    close_code: int | None = None
    error: str | None = None
    message: str = ""

    @classmethod
    def unreadable(cls, error: WireError) -> Loss:
        """What the server sent cannot be read any further, so we leave."""
        return cls(Ending.CLIENT, None, error.error_class, str(error))

    def __str__(self) -> str:
        if self.message:
            return self.message
        code = f" (close code {self.close_code})" if self.close_code is not None else ""
        return f"the server ended the connection{code}"


class SocketReader(Protocol):
    """Reads a connection. `loss` is set once it is of no more use, `asked` counts what wants to be acknowledged.

    `lead` is what stood before the data of the newest message, less so many characters with which data always begins.
    What comes next with the same lead is a message of the same name, whose data follows, and changes nothing else: it
    need not be read. None where that is not so.
    """

    loss: Loss | None
    asked: int
    lead: tuple[str, int] | None

    def read(self, arrival: Arrival) -> Sequence[WireMessage]:
        """The messages that an arrival completes. Raises nothing: what cannot be read is a loss."""
        ...

    def take_findings(self) -> list[Finding]:
        """What was found since the last call; offsets count from the beginning of the connection."""
        ...

    def give_up(self, error: WireError) -> None:
        """Read nothing more: it is too much."""
        ...

    def setting(self) -> Setting:
        """What makes a new reader that goes on where this one is, between two messages."""
        ...


class _Endings:
    """How a connection's own end becomes a loss."""

    def __init__(self) -> None:
        self.loss: Loss | None = None
        self.asked = 0
        self.lead: tuple[str, int] | None = None
        self._failed: Failed | None = None
        self._findings: list[Finding] = []

    def give_up(self, error: WireError) -> None:
        """Read nothing more: it is too much."""
        if self.loss is None:
            self._findings.append(error.finding)
            self.loss = Loss.unreadable(error)

    def _take(self, arrival: Arrival) -> None:
        match arrival:
            case Failed():
                self._failed = self._failed or arrival
                if arrival.finding is not None:
                    self._findings.append(arrival.finding)
            case Noted(finding=finding):
                self._findings.append(finding)
            # The end of a reply is not the end of its connection.
            case Ended() if self.loss is None and (self._failed or arrival.ending is not Ending.RESPONSE_END):
                failed = self._failed
                self.loss = Loss(
                    arrival.ending,
                    arrival.close_code,
                    None if failed is None else failed.error,
                    arrival.message if failed is None else failed.message,
                )

    def _taken(self) -> list[Finding]:
        taken, self._findings = self._findings, []
        return taken


class MessageReader(_Endings):
    """A connection whose messages are the transport's own, such as a WebSocket's."""

    def __init__(self, transport: str) -> None:
        super().__init__()
        self._transport = transport

    def read(self, arrival: Arrival) -> Sequence[WireMessage]:
        """A message for each `Data`."""
        if not isinstance(arrival, Data):
            self._take(arrival)
            return NO_MESSAGES
        data, offset = arrival.data, arrival.offset
        if isinstance(data, str):
            self.lead = NO_LEAD
            return (WireMessage(data, offset),)
        self.lead = None
        return (WireMessage("", offset, binary=data),)

    def take_findings(self) -> list[Finding]:
        """What was found since the last call."""
        return self._taken()

    def setting(self) -> Setting:
        """Nothing but the transport: each message stands for itself."""
        return Setting(self._transport)


class SocketIoReader(_Endings):
    """A connection on which Socket.IO is spoken; its messages are the events of one namespace.

    `opened` once the server has given the session an id, `joined` once it has let us into the namespace. The rules in
    `noted_before` were found to be broken already, where the reader is not the connection's first.
    """

    def __init__(self, namespace: str, limits: WireLimits, noted_before: Iterable[str] = ()) -> None:
        super().__init__()
        self._noted_before = tuple(noted_before)  # rules that a connection reports once
        self._noted: list[str] = []
        self.engine = EngineSession()
        self._namespace = namespace
        self._limits = limits
        self._socket = SocketSession(limits)
        self._formative: list[Arrival] = []  # what brought the session to where it is
        self._unfinished: list[Arrival] = []  # of a packet whose attachments are still to come

    @property
    def opened(self) -> bool:
        """Whether the Engine.IO session has begun."""
        return self.engine.handshake is not None

    @property
    def joined(self) -> bool:
        """Whether the namespace is connected."""
        room = self._socket.namespaces.get(self._namespace)
        return room is not None and room.state is NamespaceState.CONNECTED

    def read(self, arrival: Arrival) -> Sequence[WireMessage]:
        """The event of a packet that is one; what a packet asks for is answered in `take_outgoing`."""
        if not isinstance(arrival, Data):
            self._take(arrival)
            if self.loss is not None:
                self._socket.finish()
            return NO_MESSAGES
        self.lead = None
        if self.loss is not None:
            return NO_MESSAGES
        opened, joined = self.opened, self.joined
        try:
            packet = engineio.decode_frame(arrival.data, offset=arrival.offset)
            data = self.engine.receive(packet, arrival.at_ns)
            received = None if data is None else self._socket.receive(data, offset=packet.offset)
        except WireError as error:
            self._socket.finish()
            self.give_up(error)
            return NO_MESSAGES
        messages = NO_MESSAGES if received is None else self._event(received, arrival.data)
        if self.engine.state is SessionState.CLOSED and self.loss is None:
            self._lose(Loss(Ending.CLOSE_FRAME, message=self.engine.close_reason or ""))
        if (opened, joined) != (self.opened, self.joined):
            self._formative.append(arrival)
        self._note_unfinished(arrival, data, complete=received is not None)
        return messages

    def take_findings(self) -> list[Finding]:
        """What was found since the last call, by whichever of the layers."""
        found = [*self.engine.take_findings(), *self._socket.take_findings()]
        if not found:
            return self._taken()
        new = [finding for finding in found if finding.rule not in self._noted_before]
        self._noted += [finding.rule for finding in new]
        return [*self._taken(), *new]

    def setting(self) -> Setting:
        """With the packets that opened the session and joined the namespace, and the rules that were noted."""
        before = (*self._formative, *self._unfinished)
        return Setting("socketio", self._limits, self._namespace, before, (*self._noted_before, *self._noted))

    # What goes out

    def join(self, auth: dict[str, Any] | None) -> None:
        """Ask for the namespace, with the payload that the server may want to see."""
        self._socket.connect(self._namespace, auth)

    def emit(self, event: str, arguments: Iterable[Any]) -> None:
        """Send an event to the namespace."""
        self._socket.emit(event, *arguments, namespace=self._namespace)

    def leave(self) -> None:
        """Leave the namespace, where we are in it."""
        if self.joined:
            self._socket.disconnect(self._namespace)

    def take_outgoing(self) -> list[engineio.Packet]:
        """The packets to send now, in order."""
        if self.engine.state is SessionState.OPEN:
            for data in self._socket.take_outgoing():
                self.engine.send(data)
        return self.engine.take_outgoing()

    def _event(self, packet: socketio.Packet, text: str | bytes) -> Sequence[WireMessage]:
        match packet.type:
            case socketio.PacketType.CONNECT_ERROR:
                room = self._socket.namespaces[packet.namespace]
                why = f"the server refuses the namespace {room.name!r}: {room.refusal}"
                self._lose(Loss(Ending.CLOSE_FRAME, None, ErrorClass.SETUP, why))
            case socketio.PacketType.DISCONNECT:
                why = f"the server disconnected the namespace {packet.namespace!r}"
                self._lose(Loss(Ending.CLOSE_FRAME, message=why))
            case socketio.PacketType.EVENT | socketio.PacketType.BINARY_EVENT:
                message = socketio.event_message(packet)
                if packet.id is not None:  # a server that waits for it would wait for a user's program
                    self.asked += 1
                    self._socket.acknowledge(packet)
                elif packet.type is socketio.PacketType.EVENT:
                    self._lead(text, message.data)
                return (message,)
        return NO_MESSAGES

    def _lead(self, text: str | bytes, data: str) -> None:
        """Data begins with a bracket, which on the wire stands before the event's name."""
        if isinstance(text, str) and text.endswith(data[1:]):
            self.lead = (text[: 1 - len(data)], 1)

    def _note_unfinished(self, arrival: Data, data: str | bytes | None, *, complete: bool) -> None:
        if isinstance(data, str):
            announces_attachments = data[:1] in _BINARY_TYPES and not complete
            self._unfinished = [arrival] if announces_attachments else []
        elif data is not None:
            self._unfinished = [] if complete else [*self._unfinished, arrival]

    def _lose(self, loss: Loss) -> None:
        self._socket.finish()
        self.loss = loss


def charge(budget: Budget, data: Data, messages: Sequence[WireMessage], *, asks: bool) -> None:
    """Charge what a message of a socket costs; `asks` for one that wants to be acknowledged. Raises FloodError.

    One that brings no event, or nothing, is a control frame; so is one that asks to be acknowledged.
    """
    if messages and data.data and not asks:
        budget.events.spend(len(messages), data.at_ns - budget.early_ns)
    else:
        budget.control.spend(1, data.at_ns - budget.early_ns)


def read_charged(reader: SocketReader, arrival: Arrival, budget: Budget) -> Sequence[WireMessage]:
    """The messages that an arrival completes outside of any reply; a flood is a loss."""
    asked = reader.asked
    messages = reader.read(arrival)
    if isinstance(arrival, Data):
        try:
            charge(budget, arrival, messages, asks=reader.asked > asked)
        except FloodError as error:
            reader.give_up(error)
            return NO_MESSAGES
    elif isinstance(arrival, Read):
        budget.early_ns = arrival.early_ns
    return messages


def open_reader(setting: Setting) -> SocketReader:
    """A reader for a connection that is where `setting` says."""
    if setting.transport != "socketio":
        return MessageReader(setting.transport)
    reader = SocketIoReader(setting.namespace or socketio.MAIN_NAMESPACE, setting.limits, setting.noted)
    reader.join(None)
    for arrival in setting.before:
        reader.read(arrival)
    reader.take_outgoing()
    return reader
