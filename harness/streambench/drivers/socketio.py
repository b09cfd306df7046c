"""Socket.IO on stamped connections: a WebSocket, long-polling, or polling that moves to a WebSocket.

The URL chooses. `ws:` and `wss:` mean a WebSocket from the start; `http:` and `https:` begin with polling and move, as
official clients do, before the first prompt. `?transport=polling` or `?transport=websocket` ask for that one alone.
The path is that of the Engine.IO endpoint, `/socket.io/` where none is given, and a fragment (`#/admin`) names the
namespace. A first step of setup that emits `connect` carries the payload of Socket.IO's own CONNECT (its `auth`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from streambench.clock import MonotonicClock
from streambench.dialects import RenderedRequest
from streambench.drivers.failures import SetupError
from streambench.drivers.link import Receiver, Unattended, destination
from streambench.drivers.setup import is_connect
from streambench.drivers.target import TargetSpec
from streambench.endings import Ending, ErrorClass
from streambench.record.sockets import SocketIoReader
from streambench.transport.aio.polling import PollingTransport
from streambench.transport.aio.websocket import WebSocketTransport
from streambench.transport.arrivals import Arrival, Data, Ended, Failed
from streambench.transport.failures import ConnectFailure, RequestFailed
from streambench.transport.target import Location
from streambench.units import NS_PER_S
from streambench.wire import engineio, socketio
from streambench.wire.engineio_session import SessionState
from streambench.wire.limits import WireError

DEFAULT_PATH = "/socket.io/"
CLOSE_WAIT_S = 1.0

_clock = MonotonicClock()


class SocketIoLink:
    """A link whose messages are the events of one namespace."""

    def __init__(self, spec: TargetSpec, variables: Mapping[str, str], cookies: dict[str, str]) -> None:
        namespace = unquote(urlsplit(spec.endpoint.url).fragment) or socketio.MAIN_NAMESPACE
        self.reader = SocketIoReader(namespace, spec.endpoint.limits)
        self.receiver: Receiver = Unattended(self.reader, spec.endpoint.limits)
        self._spec = spec
        self._variables = variables
        self._cookies = cookies
        where, self._headers = destination(spec, variables)
        self._where, self._query, self._mode = _engine_location(where)
        self._socket: WebSocketTransport | None = None
        self._polling: PollingTransport | None = None
        self._heartbeat: asyncio.TimerHandle | None = None
        self._lost = False
        self._resent_before = 0  # by polling that is over
        loop = asyncio.get_running_loop()
        self._opened: asyncio.Future[None] = loop.create_future()
        self._joined: asyncio.Future[None] = loop.create_future()

    @property
    def open(self) -> bool:
        """Whether a request can be sent: the namespace is joined, and nothing was lost."""
        return not self._lost and self._joined.done() and (self._socket is None or self._socket.open)

    @property
    def connect_own_ns(self) -> int:
        """How much of connecting was our own doing, as far as a WebSocket knows it."""
        return 0 if self._socket is None else self._socket.own_ns

    @property
    def resent(self) -> int:
        """How many requests of long-polling had to be sent again."""
        return self._resent_before + (0 if self._polling is None else self._polling.resent)

    async def start(self) -> None:
        """Open the session, on whichever transport, and join the namespace. Raises SetupError."""
        if self._mode == "websocket":
            self._socket = WebSocketTransport(self._spec.endpoint, self._take)
            try:
                await self._socket.connect(self._location("websocket"), self._headers, self._cookies)
            except ConnectFailure as failure:
                raise SetupError(failure.error, str(failure)) from failure
            await self._opened
        else:
            await self._start_polling()
        self.reader.join(self._auth())
        self._flush()
        await self._joined

    def send(self, request: RenderedRequest) -> int:
        """Emit the request's event; returns by when it had left, or was queued for a POST."""
        if request.emit is not None and self.open:
            event, arguments = request.emit
            self.reader.emit(event, arguments)
        return self._flush()

    async def flushed(self) -> int | None:
        """Return when what was sent is with the kernel; says since when, where that was later than `send`."""
        transport = self._socket or self._polling
        return None if transport is None else await transport.flushed()

    def settle(self) -> None:
        """Take in what was read until now."""
        transport = self._socket or self._polling
        if transport is not None:
            transport.settle()

    def abort(self) -> None:
        """Close at once."""
        self._lost = True
        if self._heartbeat is not None:
            self._heartbeat.cancel()
        for transport in (self._socket, self._polling):
            if transport is not None:
                transport.abort()

    async def close(self) -> None:
        """Leave the namespace and close the session, as far as the server lets us."""
        engine = self.reader.engine
        if self.open and engine.state is SessionState.OPEN:
            self.reader.leave()
            self._flush()
            if self._socket is not None:
                await self._socket.close()
            elif self._polling is not None:
                engine.close()
                self._flush()
                try:
                    async with asyncio.timeout(CLOSE_WAIT_S):
                        await self._polling.drained()
                except TimeoutError:
                    pass
        self.abort()

    # What the transports bring

    def _take(self, arrivals: Sequence[Arrival]) -> None:
        if self._lost:
            return
        self.receiver.take(arrivals)
        reader = self.reader
        if reader.opened and not self._opened.done():
            self._opened.set_result(None)
            self._watch_heartbeat()
        if reader.joined and not self._joined.done():
            self._joined.set_result(None)
        if reader.loss is not None:
            self.abort()
            for waiting in (self._opened, self._joined):
                if not waiting.done():
                    waiting.set_exception(SetupError(reader.loss.error or ErrorClass.SETUP, str(reader.loss)))
                    waiting.exception()  # only one of them is awaited
        self._flush()

    # What goes out

    def _flush(self) -> int:
        """Send what waits; returns by when the last of it had left, or was queued for a POST."""
        packets = self.reader.take_outgoing()
        left_ns = _clock.now_ns()
        if self._socket is not None:
            for packet in packets:
                left_ns = self._socket.send(engineio.encode_frame(packet))
        elif self._polling is not None:
            self._polling.send(packets)
        return left_ns

    def _auth(self) -> dict[str, object] | None:
        for step in self._spec.setup_steps:
            if is_connect(step):
                _, arguments = step.render(self._variables).emit or ("", ())
                return dict(arguments[0]) if arguments and isinstance(arguments[0], dict) else None
        return None

    # Transports

    async def _start_polling(self) -> None:
        polling = self._polling = PollingTransport(
            self._spec.endpoint, lambda: self._location("polling"), self._headers, self._cookies, self._take
        )
        try:
            await polling.handshake()
        except RequestFailed as failure:
            raise SetupError(failure.error, str(failure)) from failure
        await self._opened
        handshake = self.reader.engine.handshake
        assert handshake is not None
        polling.start(handshake.max_payload)
        if self._mode != "polling" and "websocket" in handshake.upgrades:
            await self._move_to_websocket(polling)

    async def _move_to_websocket(self, polling: PollingTransport) -> None:
        """Where no WebSocket can be opened, or no packet gets through, the session stays with polling."""
        engine = self.reader.engine
        probe = _Probe()
        socket = WebSocketTransport(self._spec.endpoint, probe.take)
        try:
            await socket.connect(self._location("websocket"), self._headers, self._cookies)
            socket.send(engineio.encode_frame(engine.begin_upgrade()))
            answer = await probe.answer
            if answer is None or not engine.probe_answered(engineio.decode_frame(answer)):
                socket.abort()
                return
        except (ConnectFailure, WireError):
            socket.abort()
            return
        except BaseException:
            socket.abort()
            raise
        unsent = await polling.pause()
        if self._lost:
            socket.abort()
            return
        socket.sink = self._take
        for packet in (engine.complete_upgrade(), *unsent):
            socket.send(engineio.encode_frame(packet))
        self._resent_before = polling.resent
        self._socket, self._polling = socket, None
        self._flush()

    def _location(self, transport: str) -> Location:
        query = [("EIO", str(engineio.REVISION)), ("transport", transport), *self._query]
        if self.reader.engine.handshake is not None:
            query.append(("sid", self.reader.engine.handshake.sid))
        return replace(self._where, request_target=f"{self._where.request_target}?{urlencode(query)}")

    # The heartbeat

    def _watch_heartbeat(self) -> None:
        deadline_ns = self.reader.engine.deadline_ns
        if deadline_ns is not None:
            wait_s = max(0.001, (deadline_ns - _clock.now_ns()) / NS_PER_S)
            self._heartbeat = asyncio.get_running_loop().call_later(wait_s, self._look_for_heartbeat)

    def _look_for_heartbeat(self) -> None:
        self.settle()
        if self._lost:
            return
        now_ns = _clock.now_ns()
        if self.reader.engine.expire(now_ns):
            why = self.reader.engine.close_reason or ""
            self._take([Failed(now_ns, ErrorClass.TIMEOUT_IDLE, why), Ended(now_ns, Ending.TIMEOUT)])
        else:
            self._watch_heartbeat()


class _Probe:
    """Takes what comes on a WebSocket that the session may move to; the answer is None where nothing comes."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[str | bytes | None] = asyncio.get_running_loop().create_future()

    def take(self, arrivals: Sequence[Arrival]) -> None:
        """Wait for one packet."""
        for arrival in arrivals:
            if self.answer.done():
                return
            if isinstance(arrival, Data):
                self.answer.set_result(arrival.data)
            elif isinstance(arrival, Ended):
                self.answer.set_result(None)


def _engine_location(where: Location) -> tuple[Location, list[tuple[str, str]], str]:
    """The Engine.IO endpoint without its query, the query that is the user's own, and which transport to use."""
    path, _, query = where.request_target.partition("?")
    pairs = parse_qsl(query, keep_blank_values=True)
    asked = dict(pairs).get("transport", "")
    path = DEFAULT_PATH if path == "/" else path if path.endswith("/") else f"{path}/"
    mode = asked if asked in ("websocket", "polling") else "websocket" if where.scheme in ("ws", "wss") else "upgrade"
    own = [(name, value) for name, value in pairs if name not in ("EIO", "transport", "sid")]
    return replace(where, request_target=path), own, mode


def open_link(spec: TargetSpec, variables: Mapping[str, str], cookies: dict[str, str]) -> SocketIoLink:
    """A link to a target that is not connected yet."""
    return SocketIoLink(spec, variables, cookies)
