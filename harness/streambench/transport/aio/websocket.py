"""A WebSocket on a stamped connection: connecting, sending, and the patience that closing needs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence

from streambench.clock import MonotonicClock
from streambench.endings import Ending, ErrorClass
from streambench.transport.aio.connect import open_channel
from streambench.transport.aio.connection import Channel
from streambench.transport.aio.turns import FRAMED_BYTES, in_turns, pieces, short
from streambench.transport.arrivals import Arrival, Ended, Failed, Head
from streambench.transport.failures import ConnectFailure
from streambench.transport.requests import remember_cookies
from streambench.transport.target import Endpoint, Location
from streambench.transport.websocket import WebSocketConnection

CLOSE_WAIT_S = 1.0  # how long a server may take to answer our Close
MAX_UNSENT_BYTES = 16 << 20  # pongs for a server that sends pings and does not read

FEW = 4  # arrivals; the usual read brings `Read` and a message

_clock = MonotonicClock()


class WebSocketTransport:
    """One WebSocket, from the upgrade to the end. What comes is given to `sink`, the arrivals of a read at a time."""

    def __init__(self, endpoint: Endpoint, sink: Callable[[Sequence[Arrival]], None]) -> None:
        self.sink = sink
        self.own_ns = 0  # of connecting and upgrading, what was our own doing
        self._endpoint = endpoint
        self._channel: Channel | None = None
        self._socket: WebSocketConnection | None = None
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._upgraded_ns = 0
        self._ended = asyncio.Event()
        self._aborted = False

    @property
    def open(self) -> bool:
        """Whether messages may still come."""
        return self._channel is not None and self._channel.open and not self._ended.is_set()

    async def connect(self, where: Location, headers: Iterable[tuple[str, str]], cookies: dict[str, str]) -> None:
        """Connect and upgrade. Cookies that the answer sets are added to `cookies`. Raises ConnectFailure."""
        channel = self._channel = await open_channel(self._endpoint, where, tunnel=True)
        socket = self._socket = WebSocketConnection(where, headers, self._endpoint.limits)
        channel.layer = self
        self.own_ns = channel.own_ns
        try:
            channel.write(socket.upgrade(cookies))
            await self._opened
            self.own_ns += _clock.now_ns() - self._upgraded_ns
        except BaseException:
            self.abort()
            raise
        remember_cookies(cookies, socket.set_cookies)

    def send(self, data: str | bytes) -> int:
        """Send one message; returns by when it had left.

        What is sent on a connection that is gone is lost, and its loss was reported.
        """
        if self._socket is None or self._channel is None:
            return _clock.now_ns()
        self._socket.send(data)
        return self._channel.send(self._socket.outgoing())

    async def flushed(self) -> int | None:
        """When the rest of what was sent was handed to the kernel; None where there was no rest."""
        waited = self._channel is not None and await self._channel.flushed()
        return _clock.now_ns() if waited else None

    def settle(self) -> None:
        """Take in what was read until now."""
        if self._channel is not None:
            self._channel.settle()

    def abort(self) -> None:
        """Close at once."""
        self._aborted = True
        self._ended.set()
        if self._channel is not None:
            self._channel.close()

    async def close(self) -> None:
        """Send a Close and wait shortly for the server's."""
        if self.open and self._socket is not None and self._socket.writable:
            self._socket.close()
            self._flush()
            try:
                async with asyncio.timeout(CLOSE_WAIT_S):
                    await self._ended.wait()
            except TimeoutError:
                pass
        self.abort()

    # The layer

    def received(self, data: bytes, at_ns: int, *, kernel: bool, early_ns: int = 0) -> None:
        """Take in what a read brought, and answer what the protocol asks to be answered."""
        if self._ended.is_set():
            return
        assert self._channel is not None
        if len(data) <= FRAMED_BYTES:
            arrivals = self._arrivals(data, at_ns, kernel=kernel, early_ns=early_ns)
            if len(arrivals) <= FEW:
                self.sink(arrivals)
                return
            in_turns(self._channel, self._told(arrivals))
        else:
            in_turns(self._channel, self._framed(data, at_ns, kernel=kernel, early_ns=early_ns))

    def _framed(self, data: bytes, at_ns: int, *, kernel: bool, early_ns: int) -> Iterator[None]:
        for number, piece in enumerate(pieces(data)):
            if number:
                yield
            yield from self._told(self._arrivals(piece, at_ns, kernel=kernel, early_ns=early_ns))

    def _arrivals(self, data: bytes, at_ns: int, *, kernel: bool, early_ns: int) -> list[Arrival]:
        socket, channel = self._socket, self._channel
        assert socket is not None
        assert channel is not None
        if self._ended.is_set():
            return []
        arrivals = socket.receive(data, at_ns, kernel=kernel, early_ns=early_ns)
        self._flush()
        if not socket.ended and channel.unsent_bytes > MAX_UNSENT_BYTES:
            arrivals.append(Failed(at_ns, ErrorClass.OVERSIZE, "the server does not read what it asks for"))
            arrivals.append(Ended(at_ns, Ending.CLIENT))
        self._note(arrivals)
        return arrivals

    def closed(self, at_ns: int, *, reset: bool) -> None:
        """The connection has ended."""
        if self._socket is not None and not self._ended.is_set():
            arrivals = self._socket.closed(at_ns, reset=reset)
            self._note(arrivals)
            self.sink(arrivals)

    def _note(self, arrivals: list[Arrival]) -> None:
        """What arrivals mean for the connection itself."""
        if not self._opened.done():
            self._look_for_upgrade(arrivals)
        assert self._channel is not None
        if arrivals and isinstance(arrivals[-1], Ended):
            self._ended.set()
            self._channel.close()

    def _told(self, arrivals: list[Arrival]) -> Iterator[None]:
        for number, some in enumerate(short(arrivals)):
            if number:
                yield
            if self._aborted:
                return
            self.sink(some)

    def _look_for_upgrade(self, arrivals: list[Arrival]) -> None:
        for arrival in arrivals:
            if isinstance(arrival, Head):
                self._upgraded_ns = arrival.at_ns
                self._opened.set_result(None)
                return
            if isinstance(arrival, Failed):
                self._opened.set_exception(ConnectFailure(arrival.error, arrival.message))
                return

    def _flush(self) -> None:
        if self._socket is not None and self._channel is not None:
            self._channel.write(self._socket.outgoing())
