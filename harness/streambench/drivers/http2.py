"""HTTP/2 on a stamped connection, by h2: chosen by ALPN over TLS, and with prior knowledge without TLS."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from streambench.clock import MonotonicClock
from streambench.dialects import RenderedRequest
from streambench.drivers.connect import ConnectFailure, Endpoint, open_channel
from streambench.drivers.deadlines import Deadlines
from streambench.drivers.http1 import MAX_HEADER_BYTES
from streambench.drivers.request_head import request_headers
from streambench.drivers.response import ResponseReader
from streambench.drivers.target import TargetSpec
from streambench.drivers.tls import Channel, TlsChannel
from streambench.endings import Ending, ErrorClass
from streambench.record.recorder import Recorder

WINDOW_BYTES = (1 << 31) - 1  # the reader is never the one who holds a stream up
# What HTTP/2 has no place for (RFC 9113, section 8.2.2), and what is said by a pseudo-header.
NOT_SENT = {"host", "connection", "transfer-encoding", "keep-alive", "upgrade", "proxy-connection"}

_clock = MonotonicClock()


class Http2Exchange:
    """One request on the connection and its response. `finished` resolves when the stream is over."""

    def __init__(self, spec: TargetSpec, recorder: Recorder, stream_id: int, link: Http2Link) -> None:
        self.reader = ResponseReader(spec, recorder)
        self.recorder = recorder
        self.stream_id = stream_id
        self._link = link
        self._lingering = False
        self.frames = 0  # DATA frames that the newest read brought
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.deadlines = Deadlines(spec.timeouts, recorder, self._expired)

    def look(self, at_ns: int) -> None:
        """After a read: is there anything left to wait for?"""
        recorder = self.recorder
        if self.frames > 1:
            recorder.coalesced()
        if self.finished.done():
            return
        if recorder.record.error not in (None, ErrorClass.ERROR_EVENT):
            self._link.abandon(self.stream_id)
            self.finish(Ending.CLIENT, at_ns)
        elif recorder.done and not self._lingering:
            self._lingering = True
            self.deadlines.lingering()

    def finish(self, ending: Ending, at_ns: int) -> None:
        """The response is over; a second time changes nothing."""
        if self.finished.done():
            return
        self.deadlines.stop()
        self.reader.end(ending, at_ns)
        self.finished.set_result(None)

    def _expired(self) -> None:
        self._link.abandon(self.stream_id)
        self.finish(Ending.TIMEOUT, _clock.now_ns())


class Http2Link:
    """The layer of one HTTP/2 connection."""

    def __init__(self, channel: Channel, spec: TargetSpec) -> None:
        import h2.config
        import h2.connection
        import h2.settings

        self._spec = spec
        self.channel = channel
        config = h2.config.H2Configuration(client_side=True, header_encoding=None)
        self._h2 = h2.connection.H2Connection(config)
        self._h2.local_settings = h2.settings.Settings(
            client=True,
            initial_values={
                h2.settings.SettingCodes.ENABLE_PUSH: 0,
                h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: WINDOW_BYTES,
                h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_BYTES,
            },
        )
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(WINDOW_BYTES - 65_535)
        self._exchange: Http2Exchange | None = None
        self._unsent: tuple[int, bytes] | None = None
        self.usable = True
        self._answered = False
        channel.layer = self
        self.flush()

    def ask(
        self, where: Endpoint, request: RenderedRequest, cookies: Mapping[str, str], recorder: Recorder
    ) -> Http2Exchange:
        """Send a request; the exchange records the response."""
        stream_id = self._h2.get_next_available_stream_id()
        exchange = Http2Exchange(self._spec, recorder, stream_id, self)
        self._exchange = exchange
        headers = request_headers(self._spec, where, request, cookies)
        pseudo = {
            ":method": request.method,
            ":scheme": "https" if where.secure else "http",
            ":authority": headers["host"],
            ":path": where.request_target,
        }
        fields = {name: value for name, value in headers.items() if name not in NOT_SENT}
        recorder.sent(_clock.now_ns())
        self._h2.send_headers(stream_id, list((pseudo | fields).items()), end_stream=not request.body)
        if request.body:
            self._unsent = (stream_id, request.body)
            self._send_body()
        self.flush()
        return exchange

    def abandon(self, stream_id: int) -> None:
        """Tell the server that nobody waits for this response any more."""
        import h2.errors
        import h2.exceptions

        try:
            self._h2.reset_stream(stream_id, h2.errors.ErrorCodes.CANCEL)
        except h2.exceptions.ProtocolError:
            return
        self.flush()

    def flush(self) -> None:
        data = self._h2.data_to_send()
        if data:
            self.channel.write(data)

    # The layer

    def received(self, data: bytes, at_ns: int, *, kernel: bool) -> None:
        import h2.exceptions

        exchange = self._exchange
        if exchange is not None and not exchange.finished.done():
            exchange.deadlines.last_read_ns = at_ns
            exchange.frames = 0
            exchange.recorder.read(at_ns, len(data), kernel=kernel)
        try:
            events = self._h2.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            self.flush()
            self._fail(ErrorClass.PROTOCOL, f"the server broke HTTP/2: {error}", at_ns)
            return
        self._answered |= bool(events)  # a line of HTTP/1.1 looks like the beginning of a frame, and makes no event
        self._take(events, at_ns)
        if self._unsent is not None:
            self._send_body()
        self.flush()
        if exchange is not None:
            exchange.look(at_ns)

    def closed(self, at_ns: int, *, reset: bool) -> None:
        self.usable = False
        if not self._answered:
            self._fail(ErrorClass.PROTOCOL, "the server hung up on HTTP/2; if it does not speak it, set http: 1", at_ns)
        elif self._exchange is not None:
            self._exchange.finish(Ending.RESET if reset else Ending.FIN, at_ns)

    def _take(self, events: Iterable[Any], at_ns: int) -> None:
        import h2.events

        for event in events:
            exchange = self._exchange
            if isinstance(event, h2.events.ConnectionTerminated):
                self.usable = False
                continue
            if exchange is None or getattr(event, "stream_id", None) != exchange.stream_id or exchange.finished.done():
                if isinstance(event, h2.events.DataReceived):
                    self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                continue
            match event:
                case h2.events.ResponseReceived():
                    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
                    exchange.reader.head(int(headers.pop(":status")), headers, at_ns)
                case h2.events.DataReceived():
                    self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    exchange.frames += 1
                    exchange.reader.body(event.data, at_ns)
                case h2.events.StreamEnded():
                    exchange.finish(Ending.RESPONSE_END, at_ns)
                case h2.events.StreamReset():
                    exchange.finish(Ending.RESET, at_ns)

    def _send_body(self) -> None:
        """As much of the request's body as the server's window allows."""
        import h2.exceptions

        assert self._unsent is not None
        stream_id, body = self._unsent
        try:
            while body:
                room = min(self._h2.local_flow_control_window(stream_id), self._h2.max_outbound_frame_size)
                if room <= 0:
                    break
                self._h2.send_data(stream_id, body[:room], end_stream=len(body) <= room)
                body = body[room:]
        except h2.exceptions.ProtocolError:
            body = b""  # the server has answered and closed its side before it had read everything
        self._unsent = (stream_id, body) if body else None

    def _fail(self, error: ErrorClass, message: str, at_ns: int) -> None:
        self.usable = False
        self.channel.close()
        if self._exchange is not None and not self._exchange.finished.done():
            self._exchange.recorder.fail(error, message)
            self._exchange.finish(Ending.CLIENT, at_ns)


class Http2Transport:
    """One simulated user's HTTP/2 connection, opened for the first prompt and kept between prompts."""

    def __init__(self, spec: TargetSpec) -> None:
        self._spec = spec
        self._link: Http2Link | None = None

    async def connect(self, where: Endpoint) -> bool:
        """Open the connection, or take the one there is; says whether it was there. Raises ConnectFailure."""
        if self._link is not None and self._link.usable and self._link.channel.open:
            return True
        channel = await open_channel(self._spec, where, alpn=("h2",))
        if isinstance(channel, TlsChannel) and channel.alpn != "h2":
            channel.close()
            raise ConnectFailure(ErrorClass.TLS, f"{where.authority} does not offer HTTP/2: set http: 1")
        self._link = Http2Link(channel, self._spec)
        return False

    async def exchange(
        self, where: Endpoint, request: RenderedRequest, cookies: Mapping[str, str], recorder: Recorder
    ) -> None:
        """Send the request and record the response to its end. Cancelling closes the connection at once."""
        link = self._link
        assert link is not None
        exchange = link.ask(where, request, cookies, recorder)
        if not link.channel.open:  # it was lost while it was handed over, when there was no layer to tell
            link.closed(_clock.now_ns(), reset=True)
        try:
            await exchange.finished
        except asyncio.CancelledError:
            exchange.deadlines.stop()
            link.abandon(exchange.stream_id)
            await self.close()
            raise

    async def close(self) -> None:
        if self._link is not None:
            self._link.channel.close()
