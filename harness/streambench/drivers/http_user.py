"""A simulated user of an SSE or NDJSON endpoint: one connection, kept between prompts, whichever version of HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Protocol

from streambench.clock import MonotonicClock
from streambench.drivers.setup import http_setup
from streambench.drivers.steps import PromptSteps
from streambench.drivers.stream import RunningStream
from streambench.drivers.target import TargetSpec
from streambench.endings import Ending, ErrorClass
from streambench.record.decoding import ResponseDecoding
from streambench.record.recorder import Recorder
from streambench.transport.aio.connect import open_channel
from streambench.transport.aio.connection import Channel
from streambench.transport.aio.tls import TlsChannel
from streambench.transport.aio.turns import in_turns
from streambench.transport.arrivals import Arrival, Cancelled, Connected, Ended, Failed, Reads, Sent, Usual
from streambench.transport.failures import ConnectFailure, RequestFailed
from streambench.transport.requests import Request
from streambench.transport.target import Endpoint, Location, locate

_clock = MonotonicClock()


class HttpConnection(Protocol):
    """The client's half of an HTTP connection, one exchange at a time: `Http1Connection` or `Http2Connection`."""

    @property
    def alpn(self) -> tuple[str, ...]:
        """What to offer a server over TLS."""
        ...

    @property
    def reads_together(self) -> bool:
        """Whether `pieces` may return anything."""
        ...

    @property
    def usable(self) -> bool:
        """Whether a request may be sent now."""
        ...

    @property
    def unanswered(self) -> bool:
        """Whether nothing of an answer has come to the newest request."""
        ...

    def request(self, where: Location, request: Request, cookies: Mapping[str, str]) -> bytes:
        """Begin an exchange: the bytes to send now."""
        ...

    def receive(self, data: bytes, at_ns: int, *, kernel: bool, early_ns: int = 0) -> list[Arrival]:
        """What one read brought of the response."""
        ...

    def pieces(self, reads: Reads) -> Reads | None:
        """What several reads bring, where each brings one piece of the body; nothing is taken yet. Else None."""
        ...

    def pass_over(self, pieces: Reads) -> None:
        """Take in what `pieces` has returned."""
        ...

    def closed(self, at_ns: int, *, reset: bool) -> list[Arrival]:
        """The connection has ended."""
        ...

    def outgoing(self) -> bytes:
        """What is to be sent in answer."""
        ...

    def abandon(self) -> None:
        """Nobody waits for the response any more."""
        ...


class HttpLink:
    """The layer between a channel and the exchange on it."""

    def __init__(self, channel: Channel, connection: HttpConnection) -> None:
        self._channel = channel
        self._connection = connection
        self._stream: RunningStream | None = None
        self._answered: asyncio.Future[bool] | None = None  # by the exchange at hand
        self._reused = False
        self._usual: Usual | None = None
        channel.layer = self
        self._flush()

    @property
    def connect_own_ns(self) -> int:
        """How much of connecting was our own doing."""
        return self._channel.own_ns

    @property
    def open(self) -> bool:
        """Whether another request can be sent."""
        return self._channel.open and self._connection.usable

    async def exchange(
        self,
        where: Location,
        request: Request,
        cookies: Mapping[str, str],
        stream: RunningStream,
        ready_ns: int,
        *,
        reused: bool,
    ) -> bool:
        """Send the request and read the response to its end. Cancelling closes the connection at once.

        `ready_ns`: since when nothing but we ourselves kept the request from being sent. False where the connection was
        `reused` and has ended without anything of an answer: a server may close a kept connection at the moment in
        which it is used, and has read nothing then. The stream still waits.
        """
        channel = self._channel
        self._stream, self._reused = stream, reused
        answered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._answered = answered
        try:
            try:
                data = self._connection.request(where, request, cookies)
            except RequestFailed as failure:
                now_ns = _clock.now_ns()
                stream.take([Sent(now_ns), Failed(now_ns, failure.error, str(failure)), Ended(now_ns, Ending.CLIENT)])
                return True
            # Taken before the call: on loopback the answer may be here before the call returns.
            sent_ns = _clock.now_ns()
            open_before = channel.open
            late_ns = channel.send(data) - ready_ns
            stream.take([Sent(sent_ns, late_ns)])
            if not open_before:  # it was lost while it was handed over, when there was no layer to tell
                self.closed(_clock.now_ns(), reset=True)
            if await channel.flushed():
                stream.take([Sent(_clock.now_ns(), late_ns)])
            return await answered
        except asyncio.CancelledError:
            stream.cancel()
            self.close()
            raise

    def over(self, _: bool) -> None:
        """The stream is over; what is left of its response is of no interest."""
        self._settled(True)
        self._connection.abandon()
        self._flush()
        if not self._connection.usable:
            self._channel.close()

    def settle(self) -> None:
        """Take in what was read until now."""
        self._channel.settle()

    def close(self) -> None:
        """Close at once."""
        self._channel.close()

    # The layer

    def received(self, data: bytes, at_ns: int, *, kernel: bool, early_ns: int = 0) -> None:
        """Take in what a read brought."""
        connection = self._connection
        arrivals = connection.receive(data, at_ns, kernel=kernel, early_ns=early_ns)
        if outgoing := connection.outgoing():
            self._channel.write(outgoing)
        if arrivals and self._stream is not None:
            self._take(arrivals)
        elif not connection.usable and (self._stream is None or self._stream.finished.done()):
            self._channel.close()

    def closed(self, at_ns: int, *, reset: bool) -> None:
        """The connection has ended."""
        arrivals = self._connection.closed(at_ns, reset=reset)
        if arrivals and self._stream is not None:
            self._take(arrivals)

    def _take(self, arrivals: list[Arrival]) -> None:
        stream = self._stream
        assert stream is not None
        if self._reused and self._connection.unanswered and _only_ended(arrivals) and not stream.finished.done():
            self._channel.close()
            self._settled(False)
        elif stream.is_long(arrivals):
            self._gather(None)
            in_turns(self._channel, stream.turns(arrivals))
        else:
            stream.take(arrivals)
            self._gather(stream.usual)

    def _gather(self, usual: Usual | None) -> None:
        if usual is not self._usual and self._connection.reads_together:
            self._usual = usual
            self._channel.gather(usual, self._received_together)

    def _received_together(self, reads: Reads) -> bool:
        """Take in what several reads brought, if each is one more piece like those before."""
        stream = self._stream
        pieces = self._connection.pieces(reads)
        if stream is None or pieces is None or not stream.take_together(pieces):
            return False
        self._connection.pass_over(pieces)
        return True

    def _settled(self, answered: bool) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(answered)

    def _flush(self) -> None:
        outgoing = self._connection.outgoing()
        if outgoing:
            self._channel.write(outgoing)


def _only_ended(arrivals: list[Arrival]) -> bool:
    """Whether the stream has ended with no word about why."""
    return isinstance(arrivals[-1], Ended) and not any(isinstance(arrival, Failed) for arrival in arrivals)


class HttpUser:
    """A user of an SSE or NDJSON endpoint. `open_connection` makes the protocol of a new connection."""

    def __init__(
        self, spec: TargetSpec, variables: dict[str, str], open_connection: Callable[[Endpoint], HttpConnection]
    ) -> None:
        self._spec = spec
        self.variables = variables
        self._cookies: dict[str, str] = {}
        self._steps = PromptSteps(spec, self._cookies)
        self._open_connection = open_connection
        self._link: HttpLink | None = None
        self._ahead_ns: int | None = None  # how long connecting took, until a stream has told it

    async def connect(self) -> None:
        """Connect ahead of the first prompt. A failure is not told here, but by the stream that meets it."""
        began_ns = _clock.now_ns()
        with contextlib.suppress(ConnectFailure):
            await self._connected(locate(self._spec.endpoint.url))
            self._ahead_ns = _clock.now_ns() - began_ns

    async def prepare(self) -> None:
        """Do the setup. Raises SetupError."""
        captured, cookies = await http_setup(self._spec, self.variables)
        self.variables.update(captured)
        self._cookies.update(cookies)

    async def stream(self, prompt: str, recorder: Recorder) -> None:
        """Send the prompt and record the reply to its end. Cancelling closes the connection at once."""
        ready_ns = recorder.record.start_ns
        endpoint, dialect = self._spec.endpoint, self._spec.dialect
        variables = {**self.variables, "prompt": prompt}
        decoding = ResponseDecoding(recorder, dialect.transport, endpoint.limits)
        resent = 0
        try:
            if dialect.steps:
                began_ns, before = _clock.now_ns(), self._steps.resent
                variables |= await self._steps.take(variables)
                resent = self._steps.resent - before
                ready_ns += _clock.now_ns() - began_ns
            rendered = dialect.render_request(variables)
            request = self._spec.prompt_request(rendered)
            where = locate(endpoint.url, rendered.path)
            began_ns = _clock.now_ns()
            link, reused = await self._connected(where)
        except (RequestFailed, ConnectFailure) as failure:
            now_ns = _clock.now_ns()
            decoding.take([Failed(now_ns, failure.error, str(failure)), Ended(now_ns, Ending.NOT_CONNECTED)])
            return
        except asyncio.CancelledError:
            decoding.take([Cancelled(_clock.now_ns())])
            raise
        now_ns = _clock.now_ns()
        if not reused:
            ready_ns += now_ns - began_ns
        ahead_ns, self._ahead_ns = self._ahead_ns, None
        first = reused and ahead_ns is not None
        own_ns = link.connect_own_ns if first or not reused else 0
        told_ahead_ns = ahead_ns if first else None
        decoding.take([Connected(now_ns, reused and not first, told_ahead_ns, again=resent, own_ns=own_ns)])
        stream = RunningStream(decoding, endpoint.timeouts, self._settle, self._over, leave=self._spec.leave)
        if not await link.exchange(where, request, self._cookies, stream, ready_ns, reused=reused):
            await self._send_again(where, request, stream)

    async def close(self) -> None:
        """Close the connections."""
        self._steps.close()
        if self._link is not None:
            self._link.close()

    async def _send_again(self, where: Location, request: Request, stream: RunningStream) -> None:
        """The same request on a new connection, once; the stream's timeouts go on meanwhile."""
        try:
            link, _ = await self._connected(where)
        except ConnectFailure as failure:
            now_ns = _clock.now_ns()
            stream.take([Failed(now_ns, failure.error, str(failure)), Ended(now_ns, Ending.NOT_CONNECTED)])
            return
        except asyncio.CancelledError:
            stream.cancel()
            raise
        if not stream.finished.done():
            now_ns = _clock.now_ns()
            stream.take([Connected(now_ns, again=1, own_ns=link.connect_own_ns)])
            await link.exchange(where, request, self._cookies, stream, now_ns, reused=False)

    def _settle(self) -> None:
        if self._link is not None:
            self._link.settle()

    def _over(self, usable: bool) -> None:
        if self._link is not None:
            self._link.over(usable)

    async def _connected(self, where: Location) -> tuple[HttpLink, bool]:
        """A connection, and whether it was there. Raises ConnectFailure."""
        if self._link is not None and self._link.open:
            return self._link, True
        connection = self._open_connection(self._spec.endpoint)
        channel = await open_channel(self._spec.endpoint, where, connection.alpn)
        if self._spec.endpoint.http == 2 and isinstance(channel, TlsChannel) and channel.alpn != "h2":
            channel.close()
            raise ConnectFailure(ErrorClass.TLS, f"{where.authority} does not offer HTTP/2: set http: 1")
        self._link = HttpLink(channel, connection)
        return self._link, False
