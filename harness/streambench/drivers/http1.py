"""HTTP/1.1 on a stamped connection: one request, one streamed response, decoded in the callback that read it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httptools

from streambench.clock import MonotonicClock
from streambench.dialects import RenderedRequest
from streambench.drivers.connect import Endpoint, open_channel
from streambench.drivers.deadlines import Deadlines
from streambench.drivers.request_head import request_bytes
from streambench.drivers.response import ResponseReader
from streambench.drivers.target import TargetSpec
from streambench.drivers.tls import Channel
from streambench.endings import Ending, ErrorClass
from streambench.record.recorder import Recorder

MAX_HEADER_BYTES = 64 << 10

_clock = MonotonicClock()


class Http1Exchange:
    """The layer that reads one response, by llhttp. `finished` resolves when the stream is over."""

    def __init__(self, channel: Channel, spec: TargetSpec, recorder: Recorder) -> None:
        self._channel = channel
        self._reader = ResponseReader(spec, recorder)
        self._recorder = recorder
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._header_bytes = 0
        self._unheard_bytes = 0  # since llhttp has last told anything
        self._at_ns = 0
        self._chunks_in_read = 0
        self._message_complete = False
        self._keep_alive = False
        self._lingering = False
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.deadlines = Deadlines(spec.timeouts, recorder, self._expired)
        self.reusable = False

    # The layer

    def received(self, data: bytes, at_ns: int, *, kernel: bool) -> None:
        if self.finished.done():
            self._channel.close()  # bytes after the response: nothing that follows could be trusted
            return
        self.deadlines.last_read_ns = at_ns
        self._at_ns = at_ns
        self._chunks_in_read = 0
        recorder = self._recorder
        recorder.read(at_ns, len(data), kernel=kernel)
        self._unheard_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            recorder.fail(ErrorClass.PROTOCOL, "the server answered with a protocol upgrade")
        except httptools.HttpParserError as error:
            self._keep_alive = False
            if not self._message_complete:
                recorder.fail(ErrorClass.PROTOCOL, f"the response is not HTTP/1.1: {error}")
        if self._chunks_in_read > 1:
            recorder.coalesced()
        if self._unheard_bytes > MAX_HEADER_BYTES:
            # llhttp gathers a header, a reason or a chunk's extension until it is whole.
            recorder.fail(ErrorClass.OVERSIZE, f"a line of the response exceeds {MAX_HEADER_BYTES:,} bytes")
        if self._message_complete:
            self._finish(Ending.RESPONSE_END, at_ns, reusable=self._keep_alive)
        elif recorder.record.error is not None and recorder.record.error != ErrorClass.ERROR_EVENT:
            self._finish(Ending.CLIENT, at_ns, reusable=False)
        elif recorder.done and not self._lingering:
            self._lingering = True
            self.deadlines.lingering()

    def closed(self, at_ns: int, *, reset: bool) -> None:
        self._finish(Ending.RESET if reset else Ending.FIN, at_ns, reusable=False)

    # What llhttp calls. What follows a whole response is of no interest, but the connection is of no use any more.

    def on_message_begin(self) -> None:
        if self._message_complete:
            self._keep_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._unheard_bytes = 0
        if self._message_complete:
            return
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEADER_BYTES:
            self._recorder.fail(ErrorClass.OVERSIZE, f"the response's headers exceed {MAX_HEADER_BYTES:,} bytes")
            return
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._unheard_bytes = 0
        if self._message_complete:
            return
        status = self._parser.get_status_code()
        if status >= 200:
            self._reader.head(status, self._headers, self._at_ns)
        self._headers = {}

    def on_chunk_header(self) -> None:
        self._unheard_bytes = 0
        self._chunks_in_read += 1

    def on_body(self, data: bytes) -> None:
        self._unheard_bytes = 0
        if not self._message_complete and (
            self._recorder.record.error is None
            or not self._recorder.done
            or self._recorder.record.error == ErrorClass.ERROR_EVENT
        ):
            self._reader.body(data, self._at_ns)

    def on_message_complete(self) -> None:
        if self._message_complete:
            self._keep_alive = False
            return
        # An informational response (1xx) is complete as well, and is not the answer.
        self._message_complete = self._parser.get_status_code() >= 200
        self._keep_alive = self._parser.should_keep_alive()

    # Endings

    def _expired(self) -> None:
        self._finish(Ending.TIMEOUT, _clock.now_ns(), reusable=False)

    def _finish(self, ending: Ending, at_ns: int, *, reusable: bool) -> None:
        if self.finished.done():
            return
        self.deadlines.stop()
        self._reader.end(ending, at_ns)
        self.reusable = reusable
        if not reusable:
            self._channel.close()
        self.finished.set_result(None)


class _Idle:
    """The layer of a connection that is kept for the user's next prompt."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def received(self, data: bytes, at_ns: int, *, kernel: bool) -> None:
        self._channel.close()

    def closed(self, at_ns: int, *, reset: bool) -> None:
        self._channel.close()


class Http1Transport:
    """One simulated user's HTTP/1.1 connection, opened for the first prompt and kept between prompts."""

    def __init__(self, spec: TargetSpec) -> None:
        self._spec = spec
        self._channel: Channel | None = None

    async def connect(self, where: Endpoint) -> bool:
        """Open the connection, or take the one there is; says whether it was there. Raises ConnectFailure."""
        if self._channel is not None and self._channel.open:
            return True
        self._channel = await open_channel(self._spec, where)
        return False

    async def exchange(
        self, where: Endpoint, request: RenderedRequest, cookies: Mapping[str, str], recorder: Recorder
    ) -> None:
        """Send the request and record the response to its end. Cancelling closes the connection at once."""
        channel = self._channel
        assert channel is not None
        exchange = Http1Exchange(channel, self._spec, recorder)
        channel.layer = exchange
        try:
            # Taken before the call: on loopback the answer may be here before the call returns.
            recorder.sent(_clock.now_ns())
            if channel.open:
                channel.write(request_bytes(self._spec, where, request, cookies))
            else:  # it was lost while it was handed over, when there was no layer to tell
                exchange.closed(_clock.now_ns(), reset=True)
            if await channel.flushed():
                recorder.sent(_clock.now_ns())
            await exchange.finished
        except asyncio.CancelledError:
            exchange.deadlines.stop()
            channel.close()
            raise
        if exchange.reusable:
            channel.layer = _Idle(channel)

    async def close(self) -> None:
        if self._channel is not None:
            self._channel.close()
