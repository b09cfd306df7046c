"""One WebSocket connection on a stamped connection, by the sans-I/O protocol of `websockets`.

A message gets the stamp of the read that completed it. Compression (permessage-deflate) and a subprotocol are offered
where the target's own headers ask for them (`Sec-WebSocket-Extensions`, `Sec-WebSocket-Protocol`), as HTTP bodies are
compressed only then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Protocol

from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus, PayloadTooBig
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from streambench.clock import MonotonicClock
from streambench.drivers.connect import ConnectFailure, Endpoint, open_channel
from streambench.drivers.http_client import remember_cookies
from streambench.drivers.link import Loss
from streambench.drivers.request_head import USER_AGENT
from streambench.drivers.response import answer_excerpt
from streambench.drivers.session import SetupError
from streambench.drivers.target import TargetSpec
from streambench.drivers.tls import Channel
from streambench.endings import Ending, ErrorClass, http_error_class
from streambench.findings import Axis, Finding
from streambench.rules import Rule, declare
from streambench.wire.captures import WEBSOCKET_INVALID_UTF8
from streambench.wire.limits import OVERSIZE

CLOSE_WAIT_S = 1.0  # how long a server may take to answer our Close
MAX_UNSENT_BYTES = 16 << 20  # pongs for a server that sends pings and does not read

PROTOCOL = declare(
    Rule("websocket.protocol", Axis.GRAMMAR, "Every frame keeps the WebSocket protocol.", "RFC 6455, section 5")
)

# Ours to say in the upgrade, whatever the target's headers hold.
_OWN_HEADERS = frozenset(
    {
        "connection",
        "upgrade",
        "content-type",
        "content-length",
        "sec-websocket-key",
        "sec-websocket-version",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
    }
)


_clock = MonotonicClock()


class FrameSink(Protocol):
    """Who takes the messages of a WebSocket."""

    def read(self, at_ns: int, size: int, *, kernel: bool) -> None: ...

    def frame(self, data: str | bytes, size: int, at_ns: int) -> None:
        """A whole message of `size` bytes: text, or the bytes of a binary one."""
        ...

    def read_ended(self) -> None: ...

    def lost(self, loss: Loss, at_ns: int, finding: Finding | None) -> None: ...


class WebSocketWire:
    """One WebSocket connection, from the upgrade to the end; everything that comes goes to `sink`."""

    def __init__(self, spec: TargetSpec, sink: FrameSink) -> None:
        self._spec = spec
        self.sink = sink
        self._channel: Channel | None = None
        self._protocol: ClientProtocol | None = None
        self._opened: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._ended = asyncio.Event()
        self._opcode = Opcode.TEXT
        self._pieces = bytearray()  # of a message that comes in fragments

    @property
    def open(self) -> bool:
        return self._channel is not None and self._channel.open and not self._ended.is_set()

    async def connect(self, where: Endpoint, headers: Iterable[tuple[str, str]], cookies: dict[str, str]) -> None:
        """Connect and upgrade. Cookies that the answer sets are added to `cookies`. Raises SetupError."""
        try:
            channel = self._channel = await open_channel(self._spec, where, tunnel=True)
        except ConnectFailure as failure:
            raise SetupError(failure.error, str(failure)) from failure
        own = [(name.lower(), value) for name, value in headers]
        self._protocol = self._new_protocol(where, dict(own))
        request = self._protocol.connect()
        request.headers["User-Agent"] = USER_AGENT
        for name, value in own:
            if name not in _OWN_HEADERS:
                _replace(request.headers, name, value)
        if cookies:
            jar = [request.headers["cookie"]] if "cookie" in request.headers else []
            jar += [f"{name}={value}" for name, value in cookies.items()]
            _replace(request.headers, "cookie", "; ".join(jar))
        self._protocol.send_request(request)
        channel.layer = self
        try:
            self._flush()
            response = await self._opened
        except BaseException:
            self.abort()
            raise
        remember_cookies(cookies, response.headers.get_all("Set-Cookie"))

    def send(self, data: str | bytes) -> None:
        """Send one message. What is sent on a connection that is gone is lost, and its loss was reported."""
        if self._protocol is None or self._protocol.state is not State.OPEN:
            return
        if isinstance(data, str):
            self._protocol.send_text(data.encode("utf-8", "replace"))
        else:
            self._protocol.send_binary(data)
        self._flush()

    async def flushed(self) -> int | None:
        """When the rest of what was sent was handed to the kernel; None where there was no rest."""
        waited = self._channel is not None and await self._channel.flushed()
        return _clock.now_ns() if waited else None

    def abort(self) -> None:
        self._ended.set()
        if self._channel is not None:
            self._channel.close()

    async def close(self) -> None:
        """Send a Close and wait shortly for the server's."""
        protocol = self._protocol
        if self.open and protocol is not None and protocol.state is State.OPEN:
            protocol.send_close(CloseCode.NORMAL_CLOSURE)
            self._flush()
            try:
                async with asyncio.timeout(CLOSE_WAIT_S):
                    await self._ended.wait()
            except TimeoutError:
                pass
        self.abort()

    # The layer

    def received(self, data: bytes, at_ns: int, *, kernel: bool) -> None:
        protocol = self._protocol
        assert protocol is not None
        if self._ended.is_set():
            return
        self.sink.read(at_ns, len(data), kernel=kernel)
        protocol.receive_data(data)
        for event in protocol.events_received():
            if isinstance(event, Response):
                self._answered(event)
            elif isinstance(event, Frame) and not self._ended.is_set():
                self._frame(event, at_ns)
        self._flush()
        if protocol.handshake_exc is not None:
            self._refused(protocol.handshake_exc)
        elif protocol.parser_exc is not None:
            self._broken(protocol.parser_exc, at_ns)
        elif self._channel is not None and self._channel.unsent_bytes > MAX_UNSENT_BYTES:
            self._lose(
                Loss(Ending.CLIENT, None, ErrorClass.OVERSIZE, "the server does not read what it asks for"), at_ns
            )
        if not self._ended.is_set():
            self.sink.read_ended()

    def closed(self, at_ns: int, *, reset: bool) -> None:
        if not self._opened.done():
            self._opened.set_exception(
                SetupError(ErrorClass.DISCONNECT, "the server closed the connection instead of upgrading it")
            )
        self._lose(Loss(Ending.RESET if reset else Ending.FIN), at_ns)

    # What it brings

    def _answered(self, response: Response) -> None:
        if not self._opened.done() and self._protocol is not None and self._protocol.handshake_exc is None:
            self._opened.set_result(response)

    def _frame(self, frame: Frame, at_ns: int) -> None:
        match frame.opcode:
            case Opcode.TEXT | Opcode.BINARY if frame.fin:
                self._message(frame.opcode, bytes(frame.data), at_ns)
            case Opcode.TEXT | Opcode.BINARY:
                self._opcode = frame.opcode
                self._pieces += frame.data
            case Opcode.CONT:
                self._pieces += frame.data
                if frame.fin:
                    whole = bytes(self._pieces)
                    self._pieces.clear()
                    self._message(self._opcode, whole, at_ns)
            case Opcode.CLOSE:
                assert self._protocol is not None
                close = self._protocol.close_rcvd
                assert close is not None
                why = f"the server closed the WebSocket: {close}"
                self._lose(Loss(Ending.CLOSE_FRAME, int(close.code), message=why), at_ns)

    def _message(self, opcode: Opcode, data: bytes, at_ns: int) -> None:
        if opcode is Opcode.BINARY:
            self.sink.frame(data, len(data), at_ns)
            return
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            assert self._protocol is not None
            self._protocol.fail(CloseCode.INVALID_DATA, "not UTF-8")
            bad = data[error.start : error.end].hex(" ")
            message = f"a text message is not UTF-8: {bad} ({error.reason})"
            finding = WEBSOCKET_INVALID_UTF8.found(message, got=bad)
            self._lose(Loss(Ending.CLIENT, CloseCode.INVALID_DATA, ErrorClass.PROTOCOL, message), at_ns, finding)
        else:
            self.sink.frame(text, len(data), at_ns)

    # Endings

    def _refused(self, error: Exception) -> None:
        if self._opened.done():
            return
        if isinstance(error, InvalidStatus):
            status = error.response.status_code
            said = answer_excerpt(bytes(error.response.body or b""))
            failure = SetupError(
                http_error_class(status),
                f"the server answered the upgrade with {status}" + (f": {said}" if said else ""),
            )
        else:
            failure = SetupError(ErrorClass.PROTOCOL, f"the upgrade to a WebSocket failed: {error}")
        self._opened.set_exception(failure)

    def _broken(self, error: Exception, at_ns: int) -> None:
        assert self._protocol is not None
        sent = self._protocol.close_sent
        if isinstance(error, PayloadTooBig):
            limit = self._spec.limits.max_event_bytes
            error_class, message = ErrorClass.OVERSIZE, f"a message is larger than the limit of {limit:,} bytes"
            finding = OVERSIZE.found(message)
        else:
            error_class, message = ErrorClass.PROTOCOL, f"the server breaks the WebSocket protocol: {error}"
            finding = PROTOCOL.found(message)
        self._lose(Loss(Ending.CLIENT, sent.code if sent else None, error_class, message), at_ns, finding)

    def _lose(self, loss: Loss, at_ns: int, finding: Finding | None = None) -> None:
        if self._ended.is_set():
            return
        self._ended.set()
        self._flush()
        if self._channel is not None:
            self._channel.close()
        self.sink.lost(loss, at_ns, finding)

    def _flush(self) -> None:
        if self._protocol is not None and self._channel is not None:
            # An empty item means the end of our side; the channel is closed where that is decided.
            self._channel.write(b"".join(self._protocol.data_to_send()))

    def _new_protocol(self, where: Endpoint, headers: Mapping[str, str]) -> ClientProtocol:
        path, _, query = where.request_target.partition("?")
        deflate = "permessage-deflate" in headers.get("sec-websocket-extensions", "")
        subprotocols = [Subprotocol(name.strip()) for name in headers.get("sec-websocket-protocol", "").split(",")]
        return ClientProtocol(
            WebSocketURI(where.secure, where.host, where.port, path, query),
            extensions=[ClientPerMessageDeflateFactory(client_max_window_bits=True)] if deflate else None,
            subprotocols=subprotocols if subprotocols != [""] else None,
            max_size=self._spec.limits.max_event_bytes,
        )


def _replace(headers: Headers, name: str, value: str) -> None:
    if name in headers:
        del headers[name]
    headers[name] = value
