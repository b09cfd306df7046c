"""One HTTP/2 connection, by h2: chosen by ALPN over TLS, and with prior knowledge without TLS.

A user has one stream at a time, so a connection tells the arrivals of its newest stream and drops those of older ones.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from streambench.endings import Ending, ErrorClass
from streambench.findings import Finding
from streambench.transport.arrivals import Arrival, Data, Ended, Failed, Head, Read
from streambench.transport.failures import RequestFailed
from streambench.transport.http1 import MAX_HEADER_BYTES
from streambench.transport.requests import Request, request_headers
from streambench.transport.target import Endpoint, Location
from streambench.wire.budget import Budget
from streambench.wire.limits import FloodError, WireLimits

WINDOW_BYTES = (1 << 31) - 1  # the reader is never the one who holds a stream up
# What HTTP/2 has no place for (RFC 9113, section 8.2.2), and what is said by a pseudo-header.
HEAD_BYTES = 9
MAX_STREAM_ID = (1 << 31) - 1  # the bit above means nothing
DATA_FRAME = 0
PADDED = 0x8
_ADDRESS = re.compile(r"(?: from|:) <memory at [^>]*>")  # hpack's words for what it could not read
_STATUS = re.compile(r"[1-9][0-9]{2}", re.ASCII)
NOT_SENT = {"host", "connection", "transfer-encoding", "keep-alive", "upgrade", "proxy-connection"}


class FrameReader:
    """Reads the heads of a connection's frames (RFC 9113, section 4.1), before h2 works on the frames.

    It charges them, and joins DATA frames that follow each other, for h2 takes as long for a small frame as for a large
    one. What they are padded with is not missed: our windows are larger than any response. `joined` says, for each
    stream, how many of its frames are within others now.
    """

    def __init__(self, limits: WireLimits) -> None:
        self.joined: dict[int, int] = {}
        self._budget = Budget(limits)
        self._ahead = 0  # bytes until the next head
        self._head = b""  # the part of one that has come; h2 has it

    def read(self, data: bytes, at_ns: int, max_frame_bytes: int) -> list[bytes]:
        """Charge the frames that begin in `data`; returns the blocks that h2 is to read instead. Raises FloodError."""
        known = len(self._head)
        data, at = (self._head + data, 0) if known else (data, self._ahead)
        frames = control = size_of_run = 0
        out = [data[known:at]]
        run: list[bytes] = []  # what DATA frames of `stream` bring that follow each other
        stream = b""
        self.joined = {}
        while at + HEAD_BYTES <= len(data):
            size = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
            brings_data = data[at + 3] == DATA_FRAME and size > 0
            frames += brings_data
            control += not brings_data
            begin, at = at, at + HEAD_BYTES + size
            payload = None
            if brings_data and at <= len(data) and begin >= known:
                payload = self._payload(data, begin, at)
            fits = payload is not None and data[begin + 5 : begin + HEAD_BYTES] == stream
            if run and not (fits and size_of_run + size <= max_frame_bytes):
                self._put(run, size_of_run, stream, out)
                run, size_of_run = [], 0
            if payload is not None:
                stream = data[begin + 5 : begin + HEAD_BYTES]
                run.append(payload)
                size_of_run += len(payload)
            else:
                out.append(data[max(begin, known) : at])
        self._put(run, size_of_run, stream, out)
        self._head = data[at:]
        out.append(self._head[max(0, known - at) :])
        self._ahead = max(0, at - len(data))
        self._budget.frames.spend(frames, at_ns)
        self._budget.control.spend(control, at_ns)
        return [block for block in out if block]

    @staticmethod
    def _payload(data: bytes, begin: int, end: int) -> bytes | None:
        """What a whole DATA frame brings, without its padding; None where h2 is to judge it."""
        flags, start = data[begin + 4], begin + HEAD_BYTES
        if flags == PADDED and data[start] < end - start:
            return data[start + 1 : end - data[start]]
        return None if flags else data[start:end]

    def _put(self, run: list[bytes], size: int, stream: bytes, out: list[bytes]) -> None:
        """DATA frames of one stream, as one frame."""
        if run:
            out.append(b"".join((size.to_bytes(3), b"\0\0", stream, *run)))
            stream_id = int.from_bytes(stream) & MAX_STREAM_ID
            self.joined[stream_id] = self.joined.get(stream_id, 0) + len(run) - 1


class Http2Connection:
    """The client's half of a connection. `usable` says whether a request may be sent on it.

    `unanswered`: nothing of an answer has come to the newest request. A server that refuses a stream, or goes away
    without having seen it, says so (RFC 9113, section 8.7).
    """

    alpn = ("h2",)

    def __init__(self, endpoint: Endpoint) -> None:
        self.usable = True
        self.unanswered = False
        self._endpoint = endpoint
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
        self._frames = FrameReader(endpoint.limits)
        self._stream_id: int | None = None  # of the response that is awaited
        self._body_bytes = 0
        self._unsent: tuple[int, bytes] | None = None
        self._answered = False

    def request(self, where: Location, request: Request, cookies: Mapping[str, str]) -> bytes:
        """Begin an exchange: the bytes to send now; the rest of a large body follows as the server's window allows.

        Raises RequestFailed where the server allows no stream.
        """
        stream_id = self._stream_id = self._h2.get_next_available_stream_id()
        self._body_bytes = 0
        self.unanswered = True
        headers = request_headers(self._endpoint, where, request, cookies)
        pseudo = {
            ":method": request.method,
            ":scheme": "https" if where.secure else "http",
            ":authority": headers["host"],
            ":path": where.request_target,
        }
        fields = {name: value for name, value in headers.items() if name not in NOT_SENT}
        try:
            self._h2.send_headers(stream_id, list((pseudo | fields).items()), end_stream=not request.body)
        except h2.exceptions.ProtocolError as error:
            self._stream_id, self.usable = None, False
            raise RequestFailed(ErrorClass.PROTOCOL, f"the server accepts no request: {error}") from error
        if request.body:
            self._unsent = (stream_id, request.body)
            self._send_body()
        return self.outgoing()

    def receive(self, data: bytes, at_ns: int, *, kernel: bool, early_ns: int = 0) -> list[Arrival]:
        """Take in what one read brought; `Ended` is the last arrival of a response."""
        read = Read(at_ns, len(data), kernel, early_ns=early_ns)
        arrivals: list[Arrival] = [] if self._stream_id is None else [read]
        try:
            # Block by block: of those before one that breaks the protocol h2 would tell nothing.
            for block in self._frames.read(data, at_ns - early_ns, self._h2.max_inbound_frame_size):
                events = self._h2.receive_data(block)
                self._answered |= bool(events)  # a line of HTTP/1.1 looks like a frame's beginning, and makes no event
                if not self._take(events, at_ns, read, arrivals):
                    return arrivals + self._broken("the server broke HTTP/2: its status is not three digits", at_ns)
        except FloodError as error:
            return arrivals + self._broken(str(error), at_ns, error.error_class, error.finding)
        except h2.exceptions.ProtocolError as error:
            return arrivals + self._broken(f"the server broke HTTP/2: {_ADDRESS.sub('', str(error))}", at_ns)
        if self._unsent is not None:
            self._send_body()
        return arrivals

    def closed(self, at_ns: int, *, reset: bool) -> list[Arrival]:
        """The connection has ended."""
        self.usable = False
        if not self._answered:
            return self._broken("the server hung up on HTTP/2; if it does not speak it, set http: 1", at_ns)
        if self._stream_id is None:
            return []
        self._stream_id = None
        return [Ended(at_ns, Ending.RESET if reset else Ending.FIN, cut=True)]

    def outgoing(self) -> bytes:
        """What is to be sent now: answers to the server's own frames, and more of a request's body."""
        return self._h2.data_to_send()

    def abandon(self) -> None:
        """Tell the server that nobody waits for the response any more; the connection stays usable."""
        if self._stream_id is None:
            return
        with contextlib.suppress(h2.exceptions.ProtocolError):  # the connection is gone already
            self._h2.reset_stream(self._stream_id, h2.errors.ErrorCodes.CANCEL)
        self._stream_id = None

    def _take(self, events: Iterable[h2.events.Event], at_ns: int, read: Read, arrivals: list[Arrival]) -> bool:
        """False where a response is none."""
        for event in events:
            match event:
                case h2.events.ConnectionTerminated():
                    self.usable = False
                    if self._stream_id is not None and (event.last_stream_id or 0) < self._stream_id:
                        self._stream_id = None
                        arrivals.append(Ended(at_ns, Ending.FIN, cut=True))
                case h2.events.DataReceived():
                    assert event.flow_controlled_length is not None
                    assert event.stream_id is not None
                    self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    if event.stream_id == self._stream_id:
                        self.unanswered = False
                        data = event.data or b""
                        read.pieces += 1 + self._frames.joined.pop(event.stream_id, 0)
                        arrivals.append(Data(at_ns, data, self._body_bytes))
                        self._body_bytes += len(data)
                case h2.events.InformationalResponseReceived() if event.stream_id == self._stream_id:
                    self.unanswered = False
                case h2.events.ResponseReceived() if event.stream_id == self._stream_id:
                    assert event.headers is not None
                    self.unanswered = False
                    headers = {_text(name): _text(value) for name, value in event.headers}
                    status = headers.pop(":status", "")
                    if _STATUS.fullmatch(status) is None:
                        return False
                    arrivals.append(Head(at_ns, int(status), headers))
                case h2.events.StreamEnded() if event.stream_id == self._stream_id:
                    self._stream_id = None
                    arrivals.append(Ended(at_ns, Ending.RESPONSE_END))
                case h2.events.StreamReset() if event.stream_id == self._stream_id:
                    self.unanswered &= event.error_code == h2.errors.ErrorCodes.REFUSED_STREAM
                    self._stream_id = None
                    arrivals.append(Ended(at_ns, Ending.RESET))
        return True

    def _send_body(self) -> None:
        """As much of the request's body as the server's window allows."""
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

    def _broken(
        self, message: str, at_ns: int, error: ErrorClass = ErrorClass.PROTOCOL, finding: Finding | None = None
    ) -> list[Arrival]:
        self.usable = False
        if self._stream_id is None:
            return []
        self._stream_id = None
        return [Failed(at_ns, error, message, finding), Ended(at_ns, Ending.CLIENT)]


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
