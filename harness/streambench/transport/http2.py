"""One HTTP/2 connection, by h2: chosen by ALPN over TLS, and with prior knowledge without TLS.

A user has one stream at a time, so a connection tells the arrivals of its newest stream and drops those of older ones.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from streambench.endings import Ending, ErrorClass
from streambench.findings import Finding
from streambench.transport.arrivals import Arrival, Data, Ended, Failed, Head, Read, Reads
from streambench.transport.failures import RequestFailed
from streambench.transport.http1 import MAX_HEADER_BYTES
from streambench.transport.requests import Request, request_headers
from streambench.transport.target import Endpoint, Location
from streambench.wire.budget import Budget
from streambench.wire.limits import FloodError, WireLimits

WINDOW_BYTES = (1 << 31) - 1  # the reader is never the one who holds a stream up
# Bytes that h2 has not seen; h2 itself opens its windows when half of them is used, so that a fourth is left.
REOPEN_BYTES = WINDOW_BYTES // 4
HEAD_BYTES = 9
LENGTH_BYTES = 3  # of the head
DATA_FRAME = 0
HEADER_FRAMES = (1, 5, 9)  # HEADERS, PUSH_PROMISE, CONTINUATION
END_HEADERS = 0x4
WINDOW_UPDATE = b"\0\0\x04\x08\0"
_ADDRESS = re.compile(r"(?: from|:) <memory at [^>]*>")  # hpack's words for what it could not read
_STATUS = re.compile(r"[1-9][0-9]{2}", re.ASCII)
# What HTTP/2 has no place for (RFC 9113, section 8.2.2), and what is said by a pseudo-header.
NOT_SENT = {"host", "connection", "transfer-encoding", "keep-alive", "upgrade", "proxy-connection"}


class FrameReader:
    """Reads the heads of a connection's frames (RFC 9113, section 4.1), charges them, and parts what h2 need not see.

    h2 takes as long for a small frame as for a large one. What it would do with a DATA frame of the response that is
    awaited is known: nothing, if the frame is whole, not padded, not empty and no end, and if the response states no
    length. `direct` is what such a frame's head has behind its length: kind, flags and stream. None: there is none.
    """

    def __init__(self, limits: WireLimits) -> None:
        self.direct: bytes | None = None
        self._budget = Budget(limits)
        self._ahead = 0  # bytes until the next head; h2 gets them
        self._held = b""  # the beginning of a frame that h2 need not see, or of any frame's head
        self._in_headers = False  # only a CONTINUATION may come now; what else is wrong, h2 says

    def blocks(self, data: bytes, at_ns: int, max_frame_bytes: int) -> Iterator[tuple[bytes, int]]:
        """What a read brings, in order: bytes for h2 and 0, or what so many frames bring that h2 need not see.

        The frames are charged. Raises FloodError.
        """
        data = self._held + data
        self._held = b""
        at, self._ahead = min(self._ahead, len(data)), max(0, self._ahead - len(data))
        if at:
            yield data[:at], 0
        while at < len(data):
            run, at = self._run(data, at, max_frame_bytes)
            if run:
                self._budget.frames.spend(len(run), at_ns)
                yield b"".join(run), len(run)
            begin, body = at, at + HEAD_BYTES
            behind_length = data[begin + LENGTH_BYTES : body]
            size = int.from_bytes(data[begin : begin + LENGTH_BYTES])
            at = body + size
            is_direct = behind_length == self._direct_now and 0 < size <= max_frame_bytes
            if body > len(data) or (is_direct and at > len(data)):
                self._held = data[begin:]
                return
            kind, flags = behind_length[:2]
            (self._budget.frames if kind == DATA_FRAME and size else self._budget.control).spend(1, at_ns)
            self._in_headers = kind in HEADER_FRAMES and not flags & END_HEADERS
            self._ahead = max(0, at - len(data))
            yield data[begin:at], 0

    @property
    def _direct_now(self) -> bytes | None:
        return None if self._in_headers else self.direct

    def _run(self, data: bytes, at: int, max_frame_bytes: int) -> tuple[list[bytes], int]:
        """What the frames bring that begin here, follow each other and are not for h2; and where they end."""
        run: list[bytes] = []
        direct, available = self._direct_now, len(data)
        while data[at + LENGTH_BYTES : at + HEAD_BYTES] == direct:
            body = at + HEAD_BYTES
            end = body + int.from_bytes(data[at : at + LENGTH_BYTES])
            if not body < end <= min(available, body + max_frame_bytes):
                break
            run.append(data[body:end])
            at = end
        return run, at


class Http2Connection:
    """The client's half of a connection. `usable` says whether a request may be sent on it.

    `unanswered`: nothing of an answer has come to the newest request. A server that refuses a stream, or goes away
    without having seen it, says so (RFC 9113, section 8.7).
    """

    alpn = ("h2",)
    reads_together = False  # frames are read one by one

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
        self._has_body = True  # whether that may have one
        self._body_bytes = 0
        self._unseen = {0: 0}  # bytes that came since h2's windows were opened for them: all, and those of the stream
        self._reopened = b""  # frames that open them
        self._unsent: tuple[int, bytes] | None = None
        self._answered = False

    def request(self, where: Location, request: Request, cookies: Mapping[str, str]) -> bytes:
        """Begin an exchange: the bytes to send now; the rest of a large body follows as the server's window allows.

        Raises RequestFailed where the server allows no stream.
        """
        stream_id = self._stream_id = self._h2.get_next_available_stream_id()
        self._frames.direct = None
        self._has_body = request.method != "HEAD"
        self._body_bytes = 0
        self._unseen = {0: self._unseen[0], stream_id: 0}
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
            self.usable = False
            self._forget_stream()
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
            for block, frames in self._frames.blocks(data, at_ns - early_ns, self._h2.max_inbound_frame_size):
                if frames:
                    read.pieces += frames
                    self._take_body(block, at_ns, arrivals)
                    continue
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

    def pieces(self, _: Reads) -> Reads | None:
        """None: frames are read one by one."""
        return None

    def pass_over(self, pieces: Reads) -> None:
        """Never called."""
        raise NotImplementedError

    def closed(self, at_ns: int, *, reset: bool) -> list[Arrival]:
        """The connection has ended."""
        self.usable = False
        if not self._answered:
            return self._broken("the server hung up on HTTP/2; if it does not speak it, set http: 1", at_ns)
        if self._stream_id is None:
            return []
        self._forget_stream()
        return [Ended(at_ns, Ending.RESET if reset else Ending.FIN, cut=True)]

    def outgoing(self) -> bytes:
        """What is to be sent now: answers to the server's own frames, and more of a request's body."""
        reopened, self._reopened = self._reopened, b""
        return self._h2.data_to_send() + reopened

    def abandon(self) -> None:
        """Tell the server that nobody waits for the response any more; the connection stays usable."""
        if self._stream_id is None:
            return
        with contextlib.suppress(h2.exceptions.ProtocolError):  # the connection is gone already
            self._h2.reset_stream(self._stream_id, h2.errors.ErrorCodes.CANCEL)
        self._forget_stream()

    def _forget_stream(self) -> None:
        """No response is awaited any more."""
        self._stream_id = self._frames.direct = None

    def _take_body(self, data: bytes, at_ns: int, arrivals: list[Arrival]) -> None:
        """What frames have brought that h2 has not seen. It does not know that its windows have to be opened for it."""
        assert self._stream_id is not None
        arrivals.append(Data(at_ns, data, self._body_bytes))
        self._body_bytes += len(data)
        for stream_id in (0, self._stream_id):
            unseen = self._unseen[stream_id] + len(data)
            if unseen >= REOPEN_BYTES:
                self._reopened += WINDOW_UPDATE + stream_id.to_bytes(4) + unseen.to_bytes(4)
                unseen = 0
            self._unseen[stream_id] = unseen

    def _take(self, events: Iterable[h2.events.Event], at_ns: int, read: Read, arrivals: list[Arrival]) -> bool:
        """False where a response is none."""
        for event in events:
            match event:
                case h2.events.ConnectionTerminated():
                    self.usable = False
                    if self._stream_id is not None and (event.last_stream_id or 0) < self._stream_id:
                        self._forget_stream()
                        arrivals.append(Ended(at_ns, Ending.FIN, cut=True))
                    # What the server has seen it may still answer (RFC 9113, section 6.8); h2 would take no more of it.
                    self._h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
                case h2.events.DataReceived():
                    assert event.flow_controlled_length is not None
                    assert event.stream_id is not None
                    self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    if event.stream_id == self._stream_id:
                        self.unanswered = False
                        data = event.data or b""
                        read.pieces += 1
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
                    if self._has_body and "content-length" not in headers:
                        self._frames.direct = b"\0\0" + event.stream_id.to_bytes(4)
                case h2.events.StreamEnded() if event.stream_id == self._stream_id:
                    self._forget_stream()
                    arrivals.append(Ended(at_ns, Ending.RESPONSE_END))
                case h2.events.StreamReset() if event.stream_id == self._stream_id:
                    self.unanswered &= event.error_code == h2.errors.ErrorCodes.REFUSED_STREAM
                    self._forget_stream()
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
        self._forget_stream()
        return [Failed(at_ns, error, message, finding), Ended(at_ns, Ending.CLIENT)]


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
