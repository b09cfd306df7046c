"""Engine.IO over HTTP long-polling: one GET that is always waiting, and POSTs one after the other."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable, Iterator

from streambench.clock import MonotonicClock
from streambench.transport.aio.http_client import RequestConnection, StatusOnly
from streambench.transport.arrivals import Arrival, Resent
from streambench.transport.failures import RequestFailed
from streambench.transport.polling import Answer, PacketReader, lost
from streambench.transport.requests import Request
from streambench.transport.target import Endpoint, Location
from streambench.wire.engineio import Packet, encode_payloads

CONTENT_TYPE = ("content-type", "text/plain;charset=UTF-8")

_clock = MonotonicClock()


class PollingTransport:
    """One session's polling. `where` gives the location as it is now: with the session id, once there is one.

    What comes is given to `sink`, as of a socket: `Data` is a packet, and after `Ended` nothing more comes.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        where: Callable[[], Location],
        headers: Iterable[tuple[str, str]],
        cookies: dict[str, str],
        sink: Callable[[list[Arrival]], None],
    ) -> None:
        own = [(name, value) for name, value in headers if name.lower() not in ("content-type", "content-length")]
        self._where = where
        self._sink = sink
        self._reader = PacketReader(endpoint.limits)
        self._get = Request("GET", tuple(own))
        self._post_headers = (*own, CONTENT_TYPE)
        self._gets = RequestConnection(endpoint, cookies, self, self._tell_resent)
        self._posts = RequestConnection(endpoint, cookies, StatusOnly(endpoint.limits), self._tell_resent)
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
        """The first GET, whose packets go to the sink. Raises RequestFailed."""
        await self._gets.ask(self._where(), self._get)

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
        """Queue packets for the next POST, which follows at once."""
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

    def settle(self) -> None:
        """Take in what was read until now."""
        self._gets.settle()

    @property
    def resent(self) -> int:
        """How many requests had to be sent again until now; each is told to the sink as well."""
        return self._gets.resent + self._posts.resent

    def abort(self) -> None:
        """Close at once."""
        self.open = False
        self._progress.set()
        for task in (self._poller, self._poster):
            if task is not None and task is not asyncio.current_task():
                task.cancel()
        self._gets.abort()
        self._posts.abort()

    # The answers to the GETs

    def begin(self) -> Answer:
        """A GET is about to be sent."""
        return self._reader.begin()

    def take(self, arrivals: list[Arrival]) -> Iterator[None]:
        """A read of a GET's answer, as messages to the sink."""
        for number, messages in enumerate(self._reader.take(arrivals)):
            if number:
                yield
            if not self.open:
                return
            if messages:
                self._sink(messages)

    # The two loops

    async def _poll(self) -> None:
        try:
            while self.open and not self._pausing:
                await self._gets.ask(self._where(), self._get)
        except RequestFailed as failure:
            self._lose(failure)

    async def _post(self) -> None:
        try:
            while self._queue and self.open and not self._pausing:
                packets, self._queue, upto = self._queue, [], self._queued
                bodies = encode_payloads(packets, self._max_payload)
                for body in bodies:
                    done = functools.partial(self._note_written, upto if body is bodies[-1] else self._written)
                    await self._posts.ask(self._where(), Request("POST", self._post_headers, body), sent=done)
        except RequestFailed as failure:
            self._lose(failure)

    def _note_written(self, upto: int, at_ns: int) -> None:
        self._written = upto
        self._written_ns = at_ns
        self._progress.set()

    def _tell_resent(self) -> None:
        if self.open:
            self._sink([Resent(_clock.now_ns())])

    def _lose(self, failure: RequestFailed) -> None:
        if self.open:
            self.abort()
            self._sink(lost(failure, _clock.now_ns()))
