"""Socket.IO on stamped connections: a WebSocket, long-polling, or polling that moves to a WebSocket.

The URL chooses. `ws:` and `wss:` mean a WebSocket from the start; `http:` and `https:` begin with polling and move, as
official clients do, before the first prompt. `?transport=polling` or `?transport=websocket` ask for that one alone.
The path is that of the Engine.IO endpoint, `/socket.io/` where none is given, and a fragment (`#/admin`) names the
namespace. A first step of setup that emits `connect` carries the payload of Socket.IO's own CONNECT (its `auth`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from streambench.clock import MonotonicClock
from streambench.dialects import RenderedRequest
from streambench.drivers.connect import Endpoint
from streambench.drivers.http_client import RequestFailed, as_setup_error
from streambench.drivers.link import Loss, Receiver
from streambench.drivers.polling import PollingTransport
from streambench.drivers.session import SetupError
from streambench.drivers.socket_user import is_connect
from streambench.drivers.target import TargetSpec
from streambench.drivers.websocket import destination
from streambench.drivers.websocket_connection import WebSocketWire
from streambench.endings import Ending, ErrorClass
from streambench.findings import Finding
from streambench.units import NS_PER_S
from streambench.wire import engineio, socketio
from streambench.wire.engineio_session import EngineSession, SessionState
from streambench.wire.limits import WireError
from streambench.wire.socketio_session import NamespaceState, SocketSession

DEFAULT_PATH = "/socket.io/"
CLOSE_WAIT_S = 1.0

_clock = MonotonicClock()


class SocketIoLink:
    """A link whose messages are the events of one namespace."""

    def __init__(
        self, spec: TargetSpec, variables: Mapping[str, str], cookies: dict[str, str], receiver: Receiver
    ) -> None:
        self.receiver = receiver
        self._spec = spec
        self._variables = variables
        self._cookies = cookies
        self._namespace = unquote(urlsplit(spec.url).fragment) or socketio.MAIN_NAMESPACE
        where, self._headers = destination(spec, variables)
        self._where, self._query, self._mode = _engine_endpoint(where)
        self._engine = EngineSession()
        self._socket = SocketSession(spec.limits)
        self._wire: WebSocketWire | None = None
        self._polling: PollingTransport | None = None
        self._offset = 0  # of the next WebSocket message, counted on from what polling brought
        self._findings: list[Finding] = []
        self._heartbeat: asyncio.TimerHandle | None = None
        self._lost = False
        loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = loop.create_future()
        self._joined: asyncio.Future[None] = loop.create_future()

    @property
    def open(self) -> bool:
        return not self._lost and self._joined.done() and (self._wire is None or self._wire.open)

    async def start(self) -> None:
        if self._mode == "websocket":
            self._wire = WebSocketWire(self._spec, self)
            await self._wire.connect(self._endpoint("websocket"), self._headers, self._cookies)
            await self._opened
        else:
            await self._start_polling()
        self._socket.connect(self._namespace, self._auth())
        self._flush()
        await self._joined

    def send(self, request: RenderedRequest) -> None:
        if request.emit is not None and self.open:
            event, arguments = request.emit
            self._socket.emit(event, *arguments, namespace=self._namespace)
            self._flush()

    async def flushed(self) -> int | None:
        transport = self._wire or self._polling
        return None if transport is None else await transport.flushed()

    def take_findings(self) -> list[Finding]:
        taken, self._findings = self._findings, []
        if self._polling is not None:
            taken += self._polling.take_findings()
        return [*taken, *self._engine.take_findings(), *self._socket.take_findings()]

    def abort(self) -> None:
        self._lost = True
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        for transport in (self._wire, self._polling):
            if transport is not None:
                transport.abort()

    async def close(self) -> None:
        """Leave the namespace and close the session, as far as the server lets us."""
        if self.open and self._engine.state is SessionState.OPEN:
            if self._socket.namespaces[self._namespace].state is NamespaceState.CONNECTED:
                self._socket.disconnect(self._namespace)
                self._flush()
            if self._wire is not None:
                await self._wire.close()
            elif self._polling is not None:
                self._engine.close()
                self._flush()
                try:
                    async with asyncio.timeout(CLOSE_WAIT_S):
                        await self._polling.drained()
                except TimeoutError:
                    pass
        self.abort()

    # What the transports bring

    def read(self, at_ns: int, size: int, *, kernel: bool) -> None:
        self.receiver.read(at_ns, size, kernel=kernel)

    def frame(self, data: str | bytes, size: int, at_ns: int) -> None:
        offset, self._offset = self._offset, self._offset + size
        try:
            packet = engineio.decode_frame(data, offset=offset)
        except WireError as error:
            self._broken(error, at_ns)
        else:
            self.packet(packet, at_ns)

    def packet(self, packet: engineio.Packet, at_ns: int) -> None:
        if self._lost:
            return
        if self._wire is None:
            self._offset = packet.offset + len(packet.data) + 2
        try:
            data = self._engine.receive(packet, at_ns)
            received = None if data is None else self._socket.receive(data, offset=packet.offset)
        except WireError as error:
            self._broken(error, at_ns)
            return
        if received is not None:
            self._take(received, at_ns)
        if self._engine.state is SessionState.CLOSED:
            self.lost(Loss(Ending.CLOSE_FRAME, message=self._engine.close_reason or ""), at_ns, None)
        elif not self._opened.done():
            self._opened.set_result(None)
            self._watch_heartbeat()
        self._flush()

    def read_ended(self) -> None:
        self.receiver.read_ended()

    def lost(self, loss: Loss, at_ns: int, finding: Finding | None) -> None:
        if self._lost:
            return
        self._socket.finish()
        if finding is not None:
            self._findings.append(finding)
        self.abort()
        for waiting in (self._opened, self._joined):
            if not waiting.done():
                waiting.set_exception(SetupError(loss.error or ErrorClass.SETUP, str(loss)))
                waiting.exception()  # only one of them is awaited
        self.receiver.lost(loss, at_ns)

    def _take(self, packet: socketio.Packet, at_ns: int) -> None:
        room = self._socket.namespaces[packet.namespace]
        match packet.type:
            case socketio.PacketType.CONNECT:
                if not self._joined.done():
                    self._joined.set_result(None)
            case socketio.PacketType.CONNECT_ERROR:
                why = f"the server refuses the namespace {room.name!r}: {room.refusal}"
                self.lost(Loss(Ending.CLOSE_FRAME, None, ErrorClass.SETUP, why), at_ns, None)
            case socketio.PacketType.DISCONNECT:
                why = f"the server disconnected the namespace {room.name!r}"
                self.lost(Loss(Ending.CLOSE_FRAME, message=why), at_ns, None)
            case socketio.PacketType.EVENT | socketio.PacketType.BINARY_EVENT:
                if packet.id is not None:  # a server that waits for it would wait for a user's program
                    self._socket.acknowledge(packet)
                self.receiver.message(socketio.event_message(packet), at_ns)

    def _broken(self, error: WireError, at_ns: int) -> None:
        self.lost(Loss.unreadable(error), at_ns, error.finding)

    # What goes out

    def _flush(self) -> None:
        if self._engine.state is SessionState.OPEN:
            for data in self._socket.take_outgoing():
                self._engine.send(data)
        packets = self._engine.take_outgoing()
        if self._wire is not None:
            for packet in packets:
                self._wire.send(engineio.encode_frame(packet))
        elif self._polling is not None:
            self._polling.send(packets)

    def _auth(self) -> dict[str, object] | None:
        for step in self._spec.setup_steps:
            if is_connect(step):
                _, arguments = step.render(self._variables).emit or ("", ())
                return dict(arguments[0]) if arguments and isinstance(arguments[0], dict) else None
        return None

    # Transports

    async def _start_polling(self) -> None:
        polling = self._polling = PollingTransport(
            self._spec, lambda: self._endpoint("polling"), self._headers, self._cookies, self
        )
        try:
            await polling.handshake()
        except RequestFailed as failure:
            raise as_setup_error(failure) from failure
        except WireError as error:
            raise SetupError(Loss.unreadable(error).error or "", str(error)) from error
        await self._opened
        handshake = self._engine.handshake
        assert handshake is not None
        polling.start(handshake.max_payload)
        if self._mode != "polling" and "websocket" in handshake.upgrades:
            await self._move_to_websocket(polling)

    async def _move_to_websocket(self, polling: PollingTransport) -> None:
        """Where no WebSocket can be opened, or no packet gets through, the session stays with polling."""
        probe = _Probe()
        wire = WebSocketWire(self._spec, probe)
        try:
            await wire.connect(self._endpoint("websocket"), self._headers, self._cookies)
            wire.send(engineio.encode_frame(self._engine.begin_upgrade()))
            answer = await probe.answer
            if answer is None or not self._engine.probe_answered(engineio.decode_frame(answer)):
                wire.abort()
                return
        except (SetupError, WireError):
            wire.abort()
            return
        except BaseException:
            wire.abort()
            raise
        unsent = await polling.pause()
        if self._lost:
            wire.abort()
            return
        wire.sink = self
        for packet in (self._engine.complete_upgrade(), *unsent):
            wire.send(engineio.encode_frame(packet))
        self._findings += polling.take_findings()
        self._wire, self._polling = wire, None
        self._flush()

    def _endpoint(self, transport: str) -> Endpoint:
        query = [("EIO", str(engineio.REVISION)), ("transport", transport), *self._query]
        if self._engine.handshake is not None:
            query.append(("sid", self._engine.handshake.sid))
        return replace(self._where, request_target=f"{self._where.request_target}?{urlencode(query)}")

    # The heartbeat

    def _watch_heartbeat(self) -> None:
        deadline_ns = self._engine.deadline_ns
        if deadline_ns is not None:
            wait_s = max(0.001, (deadline_ns - _clock.now_ns()) / NS_PER_S)
            self._heartbeat = asyncio.get_running_loop().call_later(wait_s, self._look_for_heartbeat)

    def _look_for_heartbeat(self) -> None:
        now_ns = _clock.now_ns()
        if self._engine.expire(now_ns):
            why = self._engine.close_reason or ""
            self.lost(Loss(Ending.TIMEOUT, None, ErrorClass.TIMEOUT_IDLE, why), now_ns, None)
        else:
            self._watch_heartbeat()


class _Probe:
    """The sink of a WebSocket that the session may move to: waits for one packet; None where there is none."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[str | bytes | None] = asyncio.get_running_loop().create_future()

    def read(self, at_ns: int, size: int, *, kernel: bool) -> None:
        pass

    def frame(self, data: str | bytes, size: int, at_ns: int) -> None:
        if not self.answer.done():
            self.answer.set_result(data)

    def read_ended(self) -> None:
        pass

    def lost(self, loss: Loss, at_ns: int, finding: Finding | None) -> None:
        if not self.answer.done():
            self.answer.set_result(None)


def _engine_endpoint(where: Endpoint) -> tuple[Endpoint, list[tuple[str, str]], str]:
    """The Engine.IO endpoint without its query, the query that is the user's own, and which transport to use."""
    path, _, query = where.request_target.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    asked = dict(pairs).get("transport", "")
    path = DEFAULT_PATH if path == "/" else path if path.endswith("/") else f"{path}/"
    mode = asked if asked in ("websocket", "polling") else "websocket" if where.scheme in ("ws", "wss") else "upgrade"
    own = [(name, value) for name, value in pairs if name not in ("EIO", "transport", "sid")]
    return replace(where, request_target=path), own, mode
