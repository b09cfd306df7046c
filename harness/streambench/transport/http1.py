"""One HTTP/1.1 connection, by llhttp: the bytes of a request out, the arrivals of its response in; then the next.

llhttp calls back in the middle of the bytes that it is given. The callbacks only note what it said, in order; what it
means is found out by whoever takes the arrivals, so that none of our exceptions ever passes through the parser.

A read that is one whole chunk, as nearly all are while a reply is streamed, does not pass through it at all.
"""

from __future__ import annotations

from collections.abc import Mapping

import httptools

from streambench.endings import Ending, ErrorClass
from streambench.findings import Finding
from streambench.transport.arrivals import Arrival, Data, Ended, Failed, Head, Read, Reads
from streambench.transport.requests import Request, request_bytes
from streambench.transport.target import Endpoint, Location
from streambench.wire.budget import Meter, control_meter, frame_meter
from streambench.wire.limits import FloodError

MAX_HEADER_BYTES = 64 << 10
MAX_HEAD_BYTES = 10  # of a chunk, its line end included
_FRAMES = frozenset(("content-length", "transfer-encoding"))  # a body without either ends with the connection


def whole_chunk(data: bytes) -> bytes | None:
    """What one chunk brings, where `data` is all of it, in the usual form (RFC 9112, section 7.1): else None."""
    head = data.find(b"\r\n", 0, MAX_HEAD_BYTES)
    size = len(data) - head - 4
    if head > 0 and size > 0 and data[:head] == b"%x" % size and data.endswith(b"\r\n"):
        return data[head + 2 : -2]
    return None


class Http1Connection:
    """The client's half of a connection. `usable` says whether a request may be sent now.

    `unanswered`: not a byte has come since the newest request. `set_cookies` are the values of `Set-Cookie` in the
    newest response.
    """

    alpn = ("http/1.1",)
    reads_together = True

    def __init__(self, endpoint: Endpoint) -> None:
        self.usable = True
        self.unanswered = False
        self.set_cookies: list[str] = []
        self._endpoint = endpoint
        self._parser = httptools.HttpResponseParser(self)
        self._arrivals: list[Arrival] = []  # of the read at hand
        self._headers: dict[str, str] = {}
        self._header_bytes = 0
        self._unheard_bytes = 0  # since llhttp has last told anything
        self._body: list[bytes] = []  # of the read at hand
        self._body_bytes = 0
        self._at_ns = 0
        self._chunks = 0  # that began in the read at hand
        self._between_chunks = False  # llhttp waits for a chunk, and has nothing of it
        self._frames = frame_meter(endpoint.limits)
        self._control: Meter | None = None  # until something comes that says nothing
        self._silent = 0  # informational responses in the read at hand
        self._complete = True  # no response is awaited
        self._failed = False
        self._keep_alive = False
        self._framed = False

    def request(self, where: Location, request: Request, cookies: Mapping[str, str]) -> bytes:
        """Begin an exchange: the bytes to send, all of them."""
        self.usable = False
        self.unanswered = True
        self.set_cookies = []
        self._parser = httptools.HttpResponseParser(self)
        self._headers = {}
        self._header_bytes = self._unheard_bytes = self._body_bytes = 0
        self._frames = frame_meter(self._endpoint.limits)
        self._control = None
        self._complete = self._failed = self._keep_alive = self._framed = self._between_chunks = False
        return request_bytes(self._endpoint, where, request, cookies)

    def receive(self, data: bytes, at_ns: int, *, kernel: bool, early_ns: int = 0) -> list[Arrival]:
        """Take in what one read brought; `Ended` is the last arrival of a response.

        Bytes between two exchanges make the connection useless: nothing that follows them could be trusted.
        """
        self.unanswered = False
        if self._complete:
            self.usable = False
            return []
        if self._between_chunks:
            body = whole_chunk(data)
            if body is not None:
                return self._chunk(body, Read(at_ns, len(data), kernel, 1, early_ns))
        read = Read(at_ns, len(data), kernel, 0, early_ns)
        arrivals = self._arrivals = [read]
        self._at_ns = at_ns
        self._chunks = self._silent = 0
        self._unheard_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(ErrorClass.PROTOCOL, "the server answered with a protocol upgrade")
        except httptools.HttpParserError as error:
            self._keep_alive = False
            if not self._complete:
                self._fail(ErrorClass.PROTOCOL, f"the response is not HTTP/1.1: {error}")
        if self._unheard_bytes > MAX_HEADER_BYTES:
            # llhttp gathers a header, a reason or a chunk's extension until it is whole.
            self._fail(ErrorClass.OVERSIZE, f"a line of the response exceeds {MAX_HEADER_BYTES:,} bytes")
        if self._body:
            self._flush_body()
        read.pieces = self._chunks
        # Behind anything else than a line end it has the beginning of the next chunk.
        self._between_chunks = self._between_chunks and not self._failed and data.endswith(b"\r\n")
        try:
            self._frames.spend(self._chunks, at_ns - early_ns)
            if self._silent:
                self._control = self._control or control_meter(self._endpoint.limits)
                self._control.spend(self._silent, at_ns - early_ns)
        except FloodError as error:
            arrivals = self._flooded(error, read)
        if self._complete:
            self.usable = self._keep_alive
            arrivals.append(Ended(at_ns, Ending.RESPONSE_END))
        return arrivals

    def pieces(self, reads: Reads) -> Reads | None:
        """What the reads bring, where each is a whole chunk, and nothing is taken yet; None where any is not."""
        if self._complete or not self._between_chunks or not self._frames.affords(len(reads.data)):
            return None
        bodies = [body for data in reads.data if (body := whole_chunk(data)) is not None]
        if len(bodies) < len(reads.data):
            return None
        return Reads(reads.kernel, reads.at_ns, bodies, reads.bytes, self._body_bytes, list(map(len, reads.data)))

    def pass_over(self, pieces: Reads) -> None:
        """Take in what `pieces` has returned."""
        self._body_bytes += sum(map(len, pieces.data))
        self._frames.spend_each(1, pieces.at_ns, pieces.apart_ns)

    def closed(self, at_ns: int, *, reset: bool) -> list[Arrival]:
        """The connection has ended."""
        self.usable = False
        if self._complete:
            return []
        self._complete = True
        return [Ended(at_ns, Ending.RESET if reset else Ending.FIN, cut=self._framed)]

    def outgoing(self) -> bytes:
        """What is to be sent beside requests: nothing, in HTTP/1.1."""
        return b""

    def abandon(self) -> None:
        """Nobody waits for the response any more: where it is still to come, the connection is of no use."""
        if not self._complete:
            self._complete = True
            self.usable = False

    def _chunk(self, body: bytes, read: Read) -> list[Arrival]:
        """A read that is one chunk of the body; llhttp need not see it."""
        offset = self._body_bytes
        self._body_bytes += len(body)
        try:
            self._frames.spend(1, read.at_ns - read.early_ns)
        except FloodError as error:
            return self._flooded(error, read)
        return [read, Data(read.at_ns, body, offset)]

    def _flooded(self, error: FloodError, read: Read) -> list[Arrival]:
        """Too much came; what came with it is not read."""
        self._arrivals = [read]
        self._at_ns = read.at_ns
        self._failed = self._complete = False
        self._fail(error.error_class, str(error), error.finding)
        return self._arrivals

    def _flush_body(self) -> None:
        """What the read brought of the body, as one arrival: its pieces have one stamp."""
        body = self._body
        data = body[0] if len(body) == 1 else b"".join(body)
        body.clear()
        self._arrivals.append(Data(self._at_ns, data, self._body_bytes))
        self._body_bytes += len(data)

    def _fail(self, error: ErrorClass, message: str, finding: Finding | None = None) -> None:
        self._between_chunks = False
        if not self._failed:
            self._failed = True
            if self._body:
                self._flush_body()
            self._arrivals.append(Failed(self._at_ns, error, message, finding))

    # What llhttp calls. What follows a whole response is of no interest, but the connection is of no use any more.

    def on_message_begin(self) -> None:
        """A response begins."""
        if self._complete:
            self._keep_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer."""
        self._unheard_bytes = 0
        if self._complete or self._failed:
            return
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEADER_BYTES:
            self._fail(ErrorClass.OVERSIZE, f"the response's headers exceed {MAX_HEADER_BYTES:,} bytes")
            return
        lowered = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        self._headers[lowered] = text
        if lowered == "set-cookie":
            self.set_cookies.append(text)

    def on_headers_complete(self) -> None:
        """The head is complete; that of an informational response (1xx) is no answer yet."""
        self._unheard_bytes = 0
        if self._complete or self._failed:
            return
        status = self._parser.get_status_code()
        if status >= 200:
            self._framed = not _FRAMES.isdisjoint(self._headers)
            self._arrivals.append(Head(self._at_ns, status, self._headers))
        self._headers = {}

    def on_chunk_header(self) -> None:
        """A chunk begins."""
        self._unheard_bytes = 0
        self._chunks += 1
        self._between_chunks = False

    def on_chunk_complete(self) -> None:
        """A chunk has ended."""
        self._between_chunks = True

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        self._unheard_bytes = 0
        if not self._complete and not self._failed:
            self._body.append(data)

    def on_message_complete(self) -> None:
        """The response is complete; an informational one (1xx) is so as well, and is not the answer."""
        if self._complete:
            self._keep_alive = False
            return
        self._complete = self._parser.get_status_code() >= 200
        self._silent += not self._complete
        self._keep_alive = self._parser.should_keep_alive()
