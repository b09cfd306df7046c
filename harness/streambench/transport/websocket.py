"""One WebSocket connection, by the sans-I/O protocol of `websockets`.

A message gets the stamp of the read that completed it. Compression (permessage-deflate) and a subprotocol are offered
where the target's own headers ask for them (`Sec-WebSocket-Extensions`, `Sec-WebSocket-Protocol`), as HTTP bodies are
compressed only then.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus, PayloadTooBig
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from streambench.endings import Ending, ErrorClass, http_error_class
from streambench.findings import Axis, Finding
from streambench.rules import Rule, declare
from streambench.transport.arrivals import Arrival, Data, Ended, Failed, Head, Read
from streambench.transport.failures import answer_excerpt
from streambench.transport.requests import USER_AGENT
from streambench.transport.target import Location
from streambench.wire.budget import Budget
from streambench.wire.captures import WEBSOCKET_INVALID_UTF8
from streambench.wire.limits import OVERSIZE, WireError, WireLimits

PROTOCOL = declare(
    Rule("websocket.protocol", Axis.GRAMMAR, "Every frame follows the WebSocket protocol.", "RFC 6455, section 5")
)

SLICE_BYTES = 1 << 10
MAX_HELD_BYTES = 1 << 16  # of a message that is not whole yet; what was held is copied with each read

_FIN, _MASKED, _WHOLE_TEXT = 0x80, 0x80, 0x81
_SHORT, _LONG = 126, 127  # in place of a length that has two bytes, or eight, of its own
_LENGTH_BYTES = {_SHORT: 2, _LONG: 8}
_MASK_BYTES = 4
_MESSAGES = (Opcode.CONT, Opcode.TEXT, Opcode.BINARY)
_END_OF_HEAD = b"\r\n\r\n"

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


class WholeTexts:
    """Finds the text messages that come whole, in one frame; for them the library need not be asked.

    It would make of such a frame what it brings, while no message is open that comes in fragments. The frames are
    followed by their heads (RFC 6455, section 5.2), from the first one on.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._ahead = 0  # bytes until the next head; the library gets them
        self._held = b""  # the beginning of such a frame, or of any frame's head
        self._in_fragments = False

    def parts(self, data: bytes) -> Iterator[bytes | list[bytes]]:
        """What a read brings, in order: bytes for the library, or what such messages bring that follow each other."""
        data = self._held + data
        self._held = b""
        at, rest = self._ahead, 0
        while at < len(data):
            run, end = self._run(data, at)
            if run:
                if rest < at:
                    yield data[rest:at]
                yield run
                rest = at = end
                continue
            body, size, holds = self._head(data, at)
            if body > len(data) or (holds and body + size > len(data)):
                self._held = data[at:]
                data = data[:at]
                break
            if data[at] & 0x0F in _MESSAGES:
                self._in_fragments = not data[at] & _FIN
            at = body + size + (_MASK_BYTES if data[at + 1] & _MASKED else 0)
        self._ahead = max(0, at - len(data))
        if rest < len(data):
            yield data[rest:]

    def _head(self, data: bytes, at: int) -> tuple[int, int, bool]:
        """Where the head that begins here ends, how large a payload it announces, and whether to wait for all of it."""
        second = data[at + 1] if at + 1 < len(data) else 0
        body = at + 2 + _LENGTH_BYTES.get(second & 0x7F, 0)
        size = int.from_bytes(data[at + 2 : body]) if body > at + 2 else second & 0x7F
        is_text = data[at] == _WHOLE_TEXT and not second & _MASKED and not self._in_fragments
        return body, size, is_text and 0 < size <= min(self._max_bytes, MAX_HELD_BYTES)

    def _run(self, data: bytes, at: int) -> tuple[list[bytes], int]:
        """What the messages bring that begin here and follow each other, none of them empty; and where they end."""
        run: list[bytes] = []
        available = 0 if self._in_fragments else len(data)
        while at + 2 <= available and data[at] == _WHOLE_TEXT:
            size, body = data[at + 1], at + 2
            if size == _SHORT:
                body += _LENGTH_BYTES[_SHORT]
                size = int.from_bytes(data[at + 2 : body])
            elif size > _SHORT:
                body, size, _ = self._head(data, at)
            end = body + size
            if data[at + 1] & _MASKED or not 0 < size <= self._max_bytes or end > available:
                break
            run.append(data[body:end])
            at = end
        return run, at


class WebSocketConnection:
    """The client's half of a connection, from the upgrade to the end.

    The answer to the upgrade is a `Head` with status 101 (its cookies are in `set_cookies`), or a failure. `ended`:
    nothing more will come, and the connection is to be closed.
    """

    def __init__(self, where: Location, headers: Iterable[tuple[str, str]], limits: WireLimits) -> None:
        self.ended = False
        self.set_cookies: list[str] = []
        self._limits = limits
        self._budget = Budget(limits)
        self._headers = [(name.lower(), value) for name, value in headers]
        self._protocol = _client(where, dict(self._headers), limits)
        self._upgraded = False
        self._offset = 0  # where the next message begins
        self._opcode = Opcode.TEXT
        self._pieces = bytearray()  # of a message that comes in fragments
        self._answer = b""  # the end of what has come of the answer to the upgrade
        self._texts: WholeTexts | None = None  # None until the first frame

    @property
    def writable(self) -> bool:
        """Whether messages can be sent: the upgrade is done, and neither side has closed."""
        return self._protocol.state is State.OPEN

    def upgrade(self, cookies: Mapping[str, str]) -> bytes:
        """The request that asks for the upgrade."""
        request = self._protocol.connect()
        request.headers["User-Agent"] = USER_AGENT
        for name, value in self._headers:
            if name not in _OWN_HEADERS:
                _replace(request.headers, name, value)
        if cookies:
            jar = [request.headers["cookie"]] if "cookie" in request.headers else []
            jar += [f"{name}={value}" for name, value in cookies.items()]
            _replace(request.headers, "cookie", "; ".join(jar))
        self._protocol.send_request(request)
        return self.outgoing()

    def send(self, data: str | bytes) -> None:
        """Send one message. On a connection that is not open any more it is lost, and its end was told."""
        if not self.writable:
            return
        if isinstance(data, str):
            self._protocol.send_text(data.encode("utf-8", "replace"))
        else:
            self._protocol.send_binary(data)

    def close(self) -> None:
        """Send a Close; the server's answer is the end."""
        if self.writable:
            self._protocol.send_close(CloseCode.NORMAL_CLOSURE)

    def outgoing(self) -> bytes:
        """What is to be sent now: requests, messages, and answers to the server's own frames."""
        # An empty item means the end of our side; the connection is closed where that is decided.
        return b"".join(self._protocol.data_to_send())

    def receive(self, data: bytes, at_ns: int, *, kernel: bool, early_ns: int = 0) -> list[Arrival]:
        """Take in what one read brought."""
        if self.ended:
            return []
        protocol = self._protocol
        self._budget.early_ns = early_ns
        arrivals: list[Arrival] = [Read(at_ns, len(data), kernel, early_ns=early_ns)]
        try:
            if not self._upgraded:
                data = self._read_answer(data, at_ns, arrivals)
            if self._texts is None:
                self._ask_library(data, at_ns, arrivals)
            else:
                for part in self._texts.parts(data):
                    if isinstance(part, bytes):
                        self._ask_library(part, at_ns, arrivals)
                    else:
                        self._take_texts(part, at_ns, arrivals)
                    if self.ended or protocol.parser_exc is not None:
                        break
        except WireError as error:
            protocol.fail(CloseCode.POLICY_VIOLATION, "too much")
            self._leave(error.error_class, str(error), error.finding, CloseCode.POLICY_VIOLATION, at_ns, arrivals)
        if not self.ended:
            if protocol.handshake_exc is not None:
                self._refused(protocol.handshake_exc, at_ns, arrivals)
            elif protocol.parser_exc is not None:
                self._broken(protocol.parser_exc, at_ns, arrivals)
        return arrivals

    def _read_answer(self, data: bytes, at_ns: int, arrivals: list[Arrival]) -> bytes:
        """Read the answer to the upgrade; returns what follows its head."""
        came = self._answer + data
        end = came.find(_END_OF_HEAD)
        if end < 0:
            self._answer = came[1 - len(_END_OF_HEAD) :]
            return data
        size = end + len(_END_OF_HEAD) - len(self._answer)
        self._ask_library(data[:size], at_ns, arrivals)
        if self._upgraded:
            self._texts = WholeTexts(self._limits.max_event_bytes)
        return data[size:]

    def _ask_library(self, data: bytes, at_ns: int, arrivals: list[Arrival]) -> None:
        """Slice by slice: a frame costs two bytes, and work that is only known when it is done. Raises WireError."""
        for start in range(0, len(data), SLICE_BYTES):
            slice_ = data[start : start + SLICE_BYTES]
            self._budget.growth.compressed(len(slice_))
            self._protocol.receive_data(slice_)
            self._events(at_ns, arrivals)

    def _events(self, at_ns: int, arrivals: list[Arrival]) -> None:
        """What the protocol has read. Raises WireError where it is too much."""
        protocol, budget = self._protocol, self._budget
        for event in protocol.events_received():
            if isinstance(event, Response):
                if protocol.handshake_exc is None:
                    self._upgraded = True
                    self.set_cookies = event.headers.get_all("Set-Cookie")
                    arrivals.append(
                        Head(at_ns, event.status_code, {k.lower(): v for k, v in event.headers.raw_items()})
                    )
            elif isinstance(event, Frame) and not self.ended:
                brings_data = event.data and event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)
                (budget.frames if brings_data else budget.control).spend(1, at_ns - budget.early_ns)
                budget.growth.produced(len(event.data))
                self._frame(event, at_ns, arrivals)

    def closed(self, at_ns: int, *, reset: bool) -> list[Arrival]:
        """The connection has ended."""
        if self.ended:
            return []
        self.ended = True
        ended = Ended(at_ns, Ending.RESET if reset else Ending.FIN)
        if self._upgraded:
            return [ended]
        return [Failed(at_ns, ErrorClass.DISCONNECT, "the server closed the connection instead of upgrading it"), ended]

    # What the frames say

    def _frame(self, frame: Frame, at_ns: int, arrivals: list[Arrival]) -> None:
        match frame.opcode:
            case Opcode.TEXT | Opcode.BINARY if frame.fin:
                self._message(frame.opcode, bytes(frame.data), at_ns, arrivals)
            case Opcode.TEXT | Opcode.BINARY:
                self._opcode = frame.opcode
                self._pieces += frame.data
            case Opcode.CONT:
                self._pieces += frame.data
                if frame.fin:
                    whole = bytes(self._pieces)
                    self._pieces.clear()
                    self._message(self._opcode, whole, at_ns, arrivals)
            case Opcode.CLOSE:
                close = self._protocol.close_rcvd
                assert close is not None
                self.ended = True
                why = f"the server closed the WebSocket: {close}"
                arrivals.append(Ended(at_ns, Ending.CLOSE_FRAME, int(close.code), why))

    def _message(self, opcode: Opcode, data: bytes, at_ns: int, arrivals: list[Arrival]) -> None:
        try:
            payload = data if opcode is Opcode.BINARY else data.decode()
        except UnicodeDecodeError as error:
            self._not_text(data, error, at_ns, arrivals)
        else:
            arrivals.append(Data(at_ns, payload, self._offset))
            self._offset += len(data)

    def _take_texts(self, messages: Sequence[bytes], at_ns: int, arrivals: list[Arrival]) -> None:
        """Text messages that came whole. Raises FloodError behind those that are not too many."""
        frames, since_ns = self._budget.frames, at_ns - self._budget.early_ns
        afforded = frames.affords(len(messages))
        if afforded:
            frames.spend(len(messages), since_ns)
        for data in messages:
            if not afforded:
                frames.spend(1, since_ns)
            try:
                text = data.decode()
            except UnicodeDecodeError as error:
                self._not_text(data, error, at_ns, arrivals)
                return
            arrivals.append(Data(at_ns, text, self._offset))
            self._offset += len(data)

    def _not_text(self, data: bytes, error: UnicodeDecodeError, at_ns: int, arrivals: list[Arrival]) -> None:
        self._protocol.fail(CloseCode.INVALID_DATA, "not UTF-8")
        bad = data[error.start : error.end].hex(" ")
        message = f"a text message is not UTF-8: {bad} ({error.reason})"
        finding = WEBSOCKET_INVALID_UTF8.found(message, got=bad)
        self._leave(ErrorClass.PROTOCOL, message, finding, CloseCode.INVALID_DATA, at_ns, arrivals)

    # Endings

    def _refused(self, error: Exception, at_ns: int, arrivals: list[Arrival]) -> None:
        if isinstance(error, InvalidStatus):
            status = error.response.status_code
            said = answer_excerpt(bytes(error.response.body or b""))
            why = f"the server answered the upgrade with {status}" + (f": {said}" if said else "")
            self._leave(http_error_class(status), why, None, None, at_ns, arrivals)
        else:
            why = f"the upgrade to a WebSocket failed: {error}"
            self._leave(ErrorClass.PROTOCOL, why, None, None, at_ns, arrivals)

    def _broken(self, error: Exception, at_ns: int, arrivals: list[Arrival]) -> None:
        sent = self._protocol.close_sent
        if isinstance(error, PayloadTooBig):
            limit = self._limits.max_event_bytes
            error_class, message = ErrorClass.OVERSIZE, f"a message is larger than the limit of {limit:,} bytes"
            finding = OVERSIZE.found(message)
        else:
            error_class, message = ErrorClass.PROTOCOL, f"the server breaks the WebSocket protocol: {error}"
            finding = PROTOCOL.found(message)
        self._leave(error_class, message, finding, sent.code if sent else None, at_ns, arrivals)

    def _leave(
        self,
        error: str,
        message: str,
        finding: Finding | None,
        close_code: int | None,
        at_ns: int,
        arrivals: list[Arrival],
    ) -> None:
        """We end the connection; the code is that of our own Close."""
        self.ended = True
        arrivals.append(Failed(at_ns, error, message, finding))
        arrivals.append(Ended(at_ns, Ending.CLIENT, None if close_code is None else int(close_code)))


def _client(where: Location, headers: Mapping[str, str], limits: WireLimits) -> ClientProtocol:
    path, _, query = where.request_target.partition("?")
    deflate = "permessage-deflate" in headers.get("sec-websocket-extensions", "")
    subprotocols = [Subprotocol(name.strip()) for name in headers.get("sec-websocket-protocol", "").split(",")]
    return ClientProtocol(
        WebSocketURI(where.secure, where.host, where.port, path, query),
        extensions=[ClientPerMessageDeflateFactory(client_max_window_bits=True)] if deflate else None,
        subprotocols=subprotocols if subprotocols != [""] else None,
        max_size=limits.max_event_bytes,
    )


def _replace(headers: Headers, name: str, value: str) -> None:
    if name in headers:
        del headers[name]
    headers[name] = value
