"""Engine.IO over HTTP long-polling: one GET that is always waiting, and POSTs one after the other."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable
from typing import Protocol

from streambench.clock import MonotonicClock
from streambench.drivers.connect import Endpoint
from streambench.drivers.http_client import RequestConnection, RequestFailed
from streambench.drivers.link import Loss
from streambench.drivers.target import TargetSpec
from streambench.endings import Ending, ErrorClass
from streambench.findings import Finding
from streambench.wire.engineio import Packet, PayloadDecoder, encode_payloads
from streambench.wire.limits import WireError

CONTENT_TYPE = ("content-type", "text/plain;charset=UTF-8")

_clock = MonotonicClock()


class PacketSink(Protocol):
    """Who takes the packets of a transport."""

    def read(self, at_ns: int, size: int, *, kernel: bool) -> None: ...

    def packet(self, packet: Packet, at_ns: int) -> None: ...

    def read_ended(self) -> None: ...

    def lost(self, loss: Loss, at_ns: int, finding: Finding | None) -> None: ...


class PollingTransport:
    """One session's polling. `where` gives the endpoint as it is now: with the session id, once there is one."""

    def __init__(
        self,
        spec: TargetSpec,
        where: Callable[[], Endpoint],
        headers: Iterable[tuple[str, str]],
        cookies: dict[str, str],
        sink: PacketSink,
    ) -> None:
        own = [(name, value) for name, value in headers if name.lower() not in ("content-type", "content-length")]
        self._where = where
        self._sink = sink
        self._decoder = PayloadDecoder(spec.limits)
        self._gets = RequestConnection(spec, own, cookies)
        self._posts = RequestConnection(spec, [*own, CONTENT_TYPE], cookies)
        self._queue: list[Packet] = []
        self._max_payload: int | None = None
        self._queued = 0  # packets so far, and how many of them were handed to the kernel
        self._written = 0
        self._written_ns: int | None = None
        self._progress = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None
        self._poster: asyncio.Task[None] | None = None
        self._pausing = False
        self.open = True

    async def handshake(self) -> None:
        """The first GET, whose packets go to the sink. Raises RequestFailed or WireError."""
        await self._gets.ask(self._where(), sink=self)

    def start(self, max_payload: int | None) -> None:
        """Poll from now on, until `pause`. `max_payload` bounds the body of a POST."""
        self._max_payload = max_payload
        self._poller = asyncio.create_task(self._poll())

    async def pause(self) -> list[Packet]:
        """Return when no request is open any more; the server ends the waiting GET with a NOOP.

        What was to be sent in the meantime is returned: the next transport has to send it.
        """
        self._pausing = True
        tasks = [task for task in (self._poller, self._poster) if task is not None]
        if tasks:
            await asyncio.wait(tasks)
        self._gets.abort()
        self._posts.abort()
        unsent, self._queue = self._queue, []
        return unsent

    def send(self, packets: list[Packet]) -> None:
        if not packets or not self.open:
            return
        self._queue += packets
        self._queued += len(packets)
        if self._pausing:
            return
        if self._poster is None or self._poster.done():
            self._poster = asyncio.create_task(self._post())

    async def flushed(self) -> int | None:
        """When the last of what was sent was handed to the kernel."""
        until = self._queued
        while self._written < until and self.open:
            self._progress.clear()
            await self._progress.wait()
        return self._written_ns

    async def drained(self) -> None:
        """Return when the server has answered every POST."""
        if self._poster is not None:
            await asyncio.wait([self._poster])

    def abort(self) -> None:
        self.open = False
        self._progress.set()
        for task in (self._poller, self._poster):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
        self._gets.abort()
        self._posts.abort()

    # The sink of a GET's answer

    def read(self, at_ns: int, size: int, *, kernel: bool) -> None:
        self._sink.read(at_ns, size, kernel=kernel)

    def body(self, data: bytes, at_ns: int) -> None:
        packets = self._decoder.feed(data)
        for packet in packets:
            self._sink.packet(packet, at_ns)
        if packets:
            self._decoder.feed(b"")  # raises what is wrong behind them

    def ended(self, at_ns: int) -> None:
        self._sink.packet(self._decoder.finish(), at_ns)
        self._sink.read_ended()

    def take_findings(self) -> list[Finding]:
        return self._decoder.take_findings()

    # The two loops

    async def _poll(self) -> None:
        try:
            while self.open and not self._pausing:
                await self._gets.ask(self._where(), sink=self)
        except (RequestFailed, WireError) as failure:
            self._lose(failure)

    async def _post(self) -> None:
        try:
            while self._queue and self.open and not self._pausing:
                packets, self._queue, upto = self._queue, [], self._queued
                bodies = encode_payloads(packets, self._max_payload)
                for body in bodies:
                    done = functools.partial(self._note_written, upto if body is bodies[-1] else self._written)
                    await self._posts.ask(self._where(), body, sent=done)
        except RequestFailed as failure:
            self._lose(failure)

    def _note_written(self, upto: int, at_ns: int) -> None:
        self._written = upto
        self._written_ns = at_ns
        self._progress.set()

    def _lose(self, failure: RequestFailed | WireError) -> None:
        if not self.open:
            return
        self.abort()
        if isinstance(failure, WireError):
            self._sink.lost(Loss.unreadable(failure), _clock.now_ns(), failure.finding)
        elif failure.error in (ErrorClass.DISCONNECT, ErrorClass.RESET):
            ending = Ending.RESET if failure.reset else Ending.FIN
            self._sink.lost(Loss(ending, message=str(failure)), _clock.now_ns(), None)
        else:
            self._sink.lost(Loss(Ending.RESPONSE_END, None, failure.error, str(failure)), _clock.now_ns(), None)
