"""One exchange with a target, on the connections that `run` measures with; a case can abandon it at any time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from streambench.clock import MonotonicClock
from streambench.conformance.wire_log import WireLog, curl
from streambench.dialects import RenderedRequest
from streambench.drivers.failures import SetupError
from streambench.drivers.http_user import HttpLink
from streambench.drivers.link import Link, Receiver
from streambench.drivers.stream import RunningStream
from streambench.endings import Ending
from streambench.record.decoding import ResponseDecoding, SocketDecoding
from streambench.record.recorder import Recorder
from streambench.record.tap import Setting
from streambench.transport.aio.connect import open_channel
from streambench.transport.arrivals import Arrival, Cancelled, Connected, Data, Ended, Failed, Head, Reads, Sent
from streambench.transport.failures import ConnectFailure
from streambench.transport.http1 import Http1Connection
from streambench.transport.requests import Request
from streambench.transport.target import Endpoint, Location, Timeouts
from streambench.transport.wiretap import Line, Passed
from streambench.units import NS_PER_S

MAX_BODY_BYTES = 32 << 20
HTTP_ERROR = "http_"
CONNECT_NS = 5 * NS_PER_S

_clock = MonotonicClock()


@dataclass(slots=True)
class Manner:
    """How a client behaves. It leaves when `gone` is set, whatever has come by then. It reads nothing for `pause_s`
    once the reply has begun, which makes a slow reader. `deadline_s` bounds all of it, `silence_s` the time in which
    nothing comes.
    """

    deadline_s: float
    silence_s: float
    pause_s: float = 0.0
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def timeouts(self) -> Timeouts:
        """How long to wait for what; who has heard nothing at all by the deadline was not served, and not slowly."""
        deadline_ns, silence_ns = round(self.deadline_s * NS_PER_S), round(self.silence_s * NS_PER_S)
        return Timeouts(min(deadline_ns, CONNECT_NS), deadline_ns, silence_ns, deadline_ns + 1)


@dataclass(slots=True)
class Exchange:
    """What was asked, and what came. `pieces` are the body's, or a socket's messages, each with the stamp of its read.

    `status` is that of the response, or of the answer to a socket's handshake. `ending` is an `Ending`; `refused` says
    why there was no connection at all, or none on which anything could be asked. `lines` are its open connections,
    `logs` what went over each of them. `said` are the messages that were sent on a socket, None over HTTP. It taps the
    stream that it is of.
    """

    method: str
    url: str
    request_headers: list[tuple[str, str]]
    request_body: bytes
    pause_s: float = 0.0
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[tuple[int, bytes]] = field(default_factory=list)
    started_ns: int = field(default_factory=_clock.now_ns)
    head_ns: int = 0
    ended_ns: int = 0
    ending: str = ""
    close_code: int | None = None
    refused: str = ""
    logs: list[WireLog] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    said: list[str] | None = None
    _size: int = 0

    @property
    def body(self) -> bytes:
        """All of the body that came."""
        return b"".join(data for _, data in self.pieces)

    def listen(self, line: Line) -> Passed:
        """Log a connection."""
        log = WireLog(f"{self.method} {self.url}" if not self.logs else f"connection {len(self.logs) + 1}")
        self.logs.append(log)
        self.lines.append(line)
        return log.add

    def begin(self, setting: Setting) -> None:
        """A stream begins."""

    def take(self, arrivals: Sequence[Arrival]) -> None:
        """What one read brought, or what the driver had to say."""
        for arrival in arrivals:
            match arrival:
                case Head():
                    self.status, self.headers, self.head_ns = arrival.status, dict(arrival.headers), arrival.at_ns
                    self._be_slow()
                case Data():
                    data = arrival.data
                    self._size += len(data)
                    if self._size <= MAX_BODY_BYTES:
                        self.pieces.append((arrival.at_ns, data.encode() if isinstance(data, str) else data))
                    self._be_slow()
                case Failed() if not self.status:
                    self.refused = arrival.message
                case Ended():
                    self.ending, self.ended_ns, self.close_code = arrival.ending, arrival.at_ns, arrival.close_code
                case Cancelled():
                    self.ending, self.ended_ns = Ending.CLIENT, arrival.at_ns

    def take_together(self, reads: Reads) -> None:
        """What several reads brought."""
        for pair in reads.pairs():
            self.take(pair)

    def command(self, mask: Callable[[str], str]) -> str:
        """How to ask the same with a shell; for a socket, what to send on it, as a comment. Secrets masked."""
        if self.said is None:
            return curl(self.method, self.url, self.request_headers, self.request_body, mask)
        said = "; then ".join(self.said) or "nothing"
        return mask(f"# no curl command for a socket: connect to {self.url}, and send {said}")

    def could_not(self, failure: SetupError) -> None:
        """There was no connection on which anything could be asked."""
        self.refused = str(failure)
        self.ending, self.ended_ns = Ending.NOT_CONNECTED, _clock.now_ns()
        self.handshake()
        if failure.error.startswith(HTTP_ERROR):
            self.status = int(failure.error.removeprefix(HTTP_ERROR))

    def handshake(self) -> None:
        """Status and headers of the first answer on the newest connection, which belongs to no stream."""
        if not self.logs:
            return
        status, headers, body = self.logs[-1].answer()
        self.status, self.headers = status, headers
        if body and status >= 400:
            self.pieces.append((self.logs[-1].pieces[-1].at_ns, body))

    def _be_slow(self) -> None:
        if self.pause_s and self.lines:
            line = self.lines[-1]
            line.pause()
            asyncio.get_running_loop().call_later(self.pause_s, line.resume)
            self.pause_s = 0.0


async def over_http(
    endpoint: Endpoint, where: Location, request: Request, framing: str, recorder: Recorder, manner: Manner
) -> None:
    """Do one exchange on a connection of its own. Whatever the server does is in the record and never raised."""
    decoding = ResponseDecoding(recorder, framing, endpoint.limits)
    try:
        channel = await open_channel(endpoint, where)
    except ConnectFailure as failure:
        now_ns = _clock.now_ns()
        decoding.take([Failed(now_ns, failure.error, str(failure)), Ended(now_ns, Ending.NOT_CONNECTED)])
        return
    link = HttpLink(channel, Http1Connection(endpoint))
    try:
        now_ns = _clock.now_ns()
        decoding.take([Connected(now_ns)])
        stream = RunningStream(decoding, manner.timeouts, link.settle, link.over)
        await until_gone(link.exchange(where, request, {}, stream, now_ns, reused=False), manner.gone)
    finally:
        link.close()


async def over_socket(
    link: Link, endpoint: Endpoint, request: RenderedRequest, recorder: Recorder, manner: Manner, after: Receiver
) -> None:
    """Ask something on a socket that is set up, and read the reply; what comes behind it goes to `after`."""
    decoding = SocketDecoding(recorder, link.reader, endpoint.limits)
    decoding.take([Connected(_clock.now_ns())])

    def over(_: bool) -> None:
        link.receiver = after

    stream = RunningStream(decoding, manner.timeouts, link.settle, over, on_socket=True)
    link.receiver = stream

    async def ask() -> None:
        try:
            stream.take([Sent(_clock.now_ns())])
            link.send(request)
            await link.flushed()
            await stream.finished
        except asyncio.CancelledError:
            stream.cancel()
            link.abort()
            raise

    await until_gone(ask(), manner.gone)


async def until_gone(work: Coroutine[Any, Any, object], gone: asyncio.Event) -> None:
    """Do the work, and cancel it as soon as `gone` is set."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(gone.wait())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        leaving.cancel()
        working.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)
    if not working.cancelled():
        working.result()
