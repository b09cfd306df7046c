"""Plain HTTP/1.1 requests, one after the other, on a stamped connection that stays open between them.

For protocols that send messages by many requests (Engine.IO's long-polling). What a response brings goes to its sink
in the callback that read it, so that a message keeps the stamp of its arrival.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import httptools

from streambench.clock import MonotonicClock
from streambench.dialects import RenderedRequest
from streambench.drivers.connect import ConnectFailure, Endpoint, open_channel
from streambench.drivers.decompress import Decompressor
from streambench.drivers.http1 import MAX_HEADER_BYTES
from streambench.drivers.request_head import request_bytes
from streambench.drivers.response import MAX_EXCERPT_BYTES, answer_excerpt
from streambench.drivers.session import SetupError
from streambench.drivers.target import TargetSpec
from streambench.drivers.tls import Channel
from streambench.endings import ErrorClass, http_error_class
from streambench.wire.limits import WireError

_clock = MonotonicClock()


class AnswerSink(Protocol):
    """Who takes the body of a response whose status is 200. What it raises is the fate of the request."""

    def read(self, at_ns: int, size: int, *, kernel: bool) -> None: ...

    def body(self, data: bytes, at_ns: int) -> None:
        """A piece of the body, transfer and content coding removed."""
        ...

    def ended(self, at_ns: int) -> None:
        """The body is complete."""
        ...


class IgnoredBody:
    """The sink of a response whose status says all."""

    def read(self, at_ns: int, size: int, *, kernel: bool) -> None:
        pass

    def body(self, data: bytes, at_ns: int) -> None:
        pass

    def ended(self, at_ns: int) -> None:
        pass


class RequestFailed(Exception):
    """A request that brought no answer to go on with. `error` is the error class.

    `closed_idle`: the kept connection turned out to be closed before anything of the answer came; `reset`: by a reset.
    """

    def __init__(self, error: str, message: str, *, closed_idle: bool = False, reset: bool = False) -> None:
        super().__init__(message)
        self.error = error
        self.closed_idle = closed_idle
        self.reset = reset


@dataclass(slots=True)
class Answer:
    """What came of a response beside its body. `excerpt` is the beginning of a body that is not the sink's."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    excerpt: bytearray = field(default_factory=bytearray)


class Exchange:
    """The layer that reads one response, by llhttp."""

    def __init__(self, channel: Channel, sink: AnswerSink, spec: TargetSpec) -> None:
        self._channel = channel
        self._sink = sink
        self._max_bytes = spec.limits.max_decompressed_bytes
        self._parser = httptools.HttpResponseParser(self)
        self._decompressor: Decompressor | None = None
        self._answer = Answer()
        self._header_bytes = 0
        self._unheard_bytes = 0  # since llhttp has last told anything
        self._at_ns = 0
        self._complete = False
        self._keep_alive = False
        self._failure: Exception | None = None
        self.finished: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    def received(self, data: bytes, at_ns: int, *, kernel: bool) -> None:
        if self.finished.done():
            self._channel.close()  # bytes after the response: nothing that follows could be trusted
            return
        self._at_ns = at_ns
        self._sink.read(at_ns, len(data), kernel=kernel)
        self._unheard_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(RequestFailed(ErrorClass.PROTOCOL, "the server answered with a protocol upgrade"))
        except httptools.HttpParserError as error:
            self._keep_alive = False
            if self._failure is not None:  # of a callback of ours; it says more than llhttp does
                self._fail(self._failure)
            elif not self._complete:
                self._fail(RequestFailed(ErrorClass.PROTOCOL, f"the response is not HTTP/1.1: {error}"))
        if self._unheard_bytes > MAX_HEADER_BYTES:
            # llhttp gathers a header, a reason or a chunk's extension until it is whole.
            self._fail(RequestFailed(ErrorClass.OVERSIZE, f"a line of it exceeds {MAX_HEADER_BYTES:,} bytes"))
        if self._complete and not self.finished.done():
            if not self._keep_alive:
                self._channel.close()
            self.finished.set_result(self._answer)

    @property
    def _ends_with_connection(self) -> bool:
        names = {name for name, _ in self._answer.headers}
        return not names & {"content-length", "transfer-encoding"}

    def _end(self, at_ns: int) -> None:
        try:
            if self._answer.status == 200:
                self._sink.ended(at_ns)
        except Exception as error:
            self._fail(error)
        else:
            self.finished.set_result(self._answer)

    def closed(self, at_ns: int, *, reset: bool) -> None:
        if self.finished.done():
            return
        if self._answer.status >= 200 and not reset and self._ends_with_connection:
            self._end(at_ns)
            return
        nothing_came = self._at_ns == 0
        how = "reset" if reset else "closed"
        self._fail(
            RequestFailed(
                ErrorClass.RESET if reset else ErrorClass.DISCONNECT,
                f"the connection was {how} before the response was complete",
                closed_idle=nothing_came,
                reset=reset,
            )
        )

    # What llhttp calls. What follows a whole response is of no interest.

    def on_message_begin(self) -> None:
        if self._complete:
            self._keep_alive = False

    def on_chunk_header(self) -> None:
        self._unheard_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        self._unheard_bytes = 0
        if self._complete:
            return
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > MAX_HEADER_BYTES:
            self._raise(RequestFailed(ErrorClass.OVERSIZE, f"the headers exceed {MAX_HEADER_BYTES:,} bytes"))
        self._answer.headers.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self._unheard_bytes = 0
        if self._complete:
            return
        self._answer.status = self._parser.get_status_code()
        encoding = dict(self._answer.headers).get("content-encoding")
        if encoding:
            try:
                self._decompressor = Decompressor(encoding, self._max_bytes)
            except WireError as error:
                self._raise(error)

    def on_body(self, data: bytes) -> None:
        self._unheard_bytes = 0
        if self._complete:
            return
        try:
            if self._decompressor is not None:
                data = self._decompressor.feed(data)
            if self._answer.status == 200:
                self._sink.body(data, self._at_ns)
            else:
                self._answer.excerpt += data[: MAX_EXCERPT_BYTES - len(self._answer.excerpt)]
        except Exception as error:
            self._raise(error)

    def on_message_complete(self) -> None:
        if self._complete:
            self._keep_alive = False
            return
        if self._answer.status < 200:  # informational: the answer is still to come
            self._answer = Answer()
            return
        self._complete = True
        self._keep_alive = self._parser.should_keep_alive()
        if self._answer.status == 200:
            try:
                self._sink.ended(self._at_ns)
            except Exception as error:
                self._raise(error)

    def _raise(self, error: Exception) -> None:
        """Raise through llhttp, which would hide the exception."""
        self._failure = error
        raise error

    def _fail(self, error: Exception) -> None:
        self._channel.close()
        if not self.finished.done():
            self.finished.set_exception(error)


class RequestConnection:
    """One user's kept connection for requests to one host, opened when it is needed."""

    def __init__(self, spec: TargetSpec, headers: Iterable[tuple[str, str]], cookies: dict[str, str]) -> None:
        self._spec = spec
        self._headers = tuple(headers)
        self._cookies = cookies
        self._channel: Channel | None = None

    async def ask(
        self,
        where: Endpoint,
        body: bytes | None = None,
        sink: AnswerSink | None = None,
        sent: Callable[[int], None] | None = None,
    ) -> None:
        """GET, or POST with a `body`, and read the answer into `sink`; cookies that it sets are kept.

        `sent` is told when the request was handed to the kernel. Raises RequestFailed for whatever is not a whole
        response with status 200, and what the sink raised.
        """
        first_failure: RequestFailed | None = None
        while True:
            reused = self._channel is not None and self._channel.open
            try:
                await self._ask_once(where, body, sink or IgnoredBody(), sent)
            except RequestFailed as failure:
                # A server may close a kept connection at the moment in which we use it; then it has read nothing.
                if reused and failure.closed_idle:
                    first_failure = failure
                    continue
                if first_failure is None:
                    raise
                # The second try failed as well, so it was no such moment: the server has gone.
                raise first_failure from failure
            return

    def abort(self) -> None:
        if self._channel is not None:
            self._channel.close()

    async def _ask_once(
        self, where: Endpoint, body: bytes | None, sink: AnswerSink, sent: Callable[[int], None] | None
    ) -> None:
        if self._channel is None or not self._channel.open:
            try:
                self._channel = await open_channel(self._spec, where)
            except ConnectFailure as failure:
                raise RequestFailed(failure.error, str(failure)) from failure
        channel = self._channel
        exchange = Exchange(channel, sink, self._spec)
        channel.layer = exchange
        request = RenderedRequest("GET" if body is None else "POST", headers=self._headers, body=body or b"")
        try:
            sent_ns = _clock.now_ns()  # before the call: on loopback the answer may be here before it returns
            channel.write(request_bytes(self._spec, where, request, self._cookies))
            if await channel.flushed():
                sent_ns = _clock.now_ns()
            if sent is not None:
                sent(sent_ns)
            answer = await exchange.finished
        except BaseException:
            channel.close()
            raise
        remember_cookies(self._cookies, (value for name, value in answer.headers if name == "set-cookie"))
        if answer.status != 200:
            said = answer_excerpt(bytes(answer.excerpt))
            message = f"the server answered {answer.status}" + (f": {said}" if said else "")
            raise RequestFailed(http_error_class(answer.status), message)


def as_setup_error(failure: RequestFailed) -> SetupError:
    """The same failure, where it keeps a user from being set up."""
    return SetupError(failure.error, str(failure))


def remember_cookies(cookies: dict[str, str], set_cookie: Iterable[str]) -> None:
    """Add the cookies of `Set-Cookie` headers; a load balancer's affinity may depend on them."""
    for header in set_cookie:
        name, equals, value = header.partition(";")[0].partition("=")
        if equals and name.strip():
            cookies[name.strip()] = value.strip()
