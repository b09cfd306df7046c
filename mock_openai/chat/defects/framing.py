"""Event streams whose bytes are wrong: their headers, their framing, and how they end."""

from __future__ import annotations

import array
import asyncio
import fcntl
import termios
import zlib
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakKeyDictionary

from aiohttp import web

from mock_openai.chat.defects.defect import Defect

Write = Callable[[bytes], Awaitable[None]]
Writer = Callable[[bytes, Write], Awaitable[None]]
Spoil = Callable[[web.StreamResponse], None]

SPLIT_S = 0.08
HELD_S = 3.0
KEEP_ALIVE_S = 0.3
UNREAD_BYTES = 100_000


def is_stream(response: web.StreamResponse) -> bool:
    """Whether the response is an event stream."""
    return response.content_type == "text/event-stream"


def writing(make: Callable[[], Writer]) -> Spoil:
    """Puts a writer of its own between an event stream's events and its connection."""

    def spoil(response: web.StreamResponse) -> None:
        if is_stream(response):
            inner, writer = response.write, make()

            async def write(data: bytes) -> None:
                await writer(data, inner)

            response.write = write  # type: ignore[method-assign, assignment]

    return spoil


def changed(change: Callable[[bytes], bytes]) -> Spoil:
    """Changes the bytes of every event."""

    async def write(data: bytes, inner: Write) -> None:
        await inner(change(data))

    return writing(lambda: write)


def with_headers(**headers: str | None) -> Spoil:
    """Sets headers of event streams, or takes them away."""

    def spoil(response: web.StreamResponse) -> None:
        if is_stream(response):
            for name, value in headers.items():
                if value is None:
                    response.headers.popall(name.replace("_", "-"), None)
                else:
                    response.headers[name.replace("_", "-")] = value

    return spoil


def _accepted(response: web.StreamResponse) -> None:
    if is_stream(response):
        response._set_status(202, None)


def _with_length(response: web.StreamResponse) -> None:
    if is_stream(response):
        response.headers["content-length"] = "1000000"
        response.headers.popall("transfer-encoding", None)


def _late(response: web.StreamResponse) -> None:
    if is_stream(response):
        response._send_headers_immediately = False


def _compressed(response: web.StreamResponse) -> None:
    if not is_stream(response):
        return
    response.headers["content-encoding"] = "gzip"
    packer, inner, end = zlib.compressobj(wbits=31), response.write, response.write_eof

    async def write(data: bytes) -> None:
        await inner(packer.compress(data) + packer.flush(zlib.Z_SYNC_FLUSH))

    async def write_eof(data: bytes = b"") -> None:
        nonlocal packer
        last, packer = packer.flush(), zlib.compressobj(wbits=31)
        response.write_eof = end  # type: ignore[method-assign]
        await end(last)

    response.write = write  # type: ignore[method-assign, assignment]
    response.write_eof = write_eof  # type: ignore[method-assign]


def _with_mark() -> Writer:
    first = True

    async def write(data: bytes, inner: Write) -> None:
        nonlocal first
        await inner((b"\xef\xbb\xbf" if first else b"") + data)
        first = False

    return write


def _without_last_blank() -> Writer:
    """The line end that dispatches an event comes with the next one, and after the last one never."""
    due = b""

    async def write(data: bytes, inner: Write) -> None:
        nonlocal due
        await inner(due + data.removesuffix(b"\n"))
        due = b"\n"

    return write


async def _in_halves(data: bytes, inner: Write) -> None:
    await inner(data[: len(data) // 2])
    await asyncio.sleep(SPLIT_S)
    await inner(data[len(data) // 2 :])


def _held_open(response: web.StreamResponse) -> None:
    if is_stream(response):
        end = response.write_eof

        async def write_eof(data: bytes = b"") -> None:
            await asyncio.sleep(HELD_S)
            await end(data)

        response.write_eof = write_eof  # type: ignore[method-assign]


def _reset(response: web.StreamResponse) -> None:
    if is_stream(response):

        async def write_eof(data: bytes = b"") -> None:
            await asyncio.sleep(0.05)  # what was written is on its way
            request = response._req
            if request is not None and request.transport is not None:
                request.transport.abort()

        response.write_eof = write_eof  # type: ignore[method-assign]


def _with_data_as_keep_alives(response: web.StreamResponse) -> None:
    if not is_stream(response):
        return
    inner, end = response.write, response.write_eof
    last_s = asyncio.get_running_loop().time()

    async def keep_alive() -> None:
        while True:
            await asyncio.sleep(KEEP_ALIVE_S)
            if asyncio.get_running_loop().time() - last_s >= KEEP_ALIVE_S:
                await inner(b"data: keep-alive\n\n")

    task = asyncio.create_task(keep_alive())

    async def write(data: bytes) -> None:
        nonlocal last_s
        last_s = asyncio.get_running_loop().time()
        await inner(data)

    async def write_eof(data: bytes = b"") -> None:
        task.cancel()
        await end(data)

    response.write = write  # type: ignore[method-assign, assignment]
    response.write_eof = write_eof  # type: ignore[method-assign]


_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


async def _one_after_the_other(data: bytes, inner: Write) -> None:
    async with _locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        await inner(data)


def _unread_bytes(transport: asyncio.Transport) -> int:
    """What was written and has not reached the other machine: what waits here, and what waits in the kernel."""
    waiting = array.array("i", [0])
    fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, waiting)
    return transport.get_write_buffer_size() + waiting[0]


def _one_at_a_time(response: web.StreamResponse) -> None:
    writing(lambda: _one_after_the_other)(response)
    if isinstance(response, web.WebSocketResponse):
        send = response.send_str

        async def send_str(data: str, *arguments: Any, **options: Any) -> None:
            async with _locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
                await send(data, *arguments, **options)

        response.send_str = send_str  # type: ignore[method-assign]


def _dropping(response: web.StreamResponse) -> None:
    if isinstance(response, web.WebSocketResponse):
        send = response.send_str

        async def send_str(data: str, *arguments: Any, **options: Any) -> None:
            request = response._req
            transport = request.transport if request is not None else None
            if transport is None or _unread_bytes(transport) <= UNREAD_BYTES:
                await send(data, *arguments, **options)

        response.send_str = send_str  # type: ignore[method-assign]
    elif is_stream(response):
        inner = response.write

        async def write(data: bytes) -> None:
            request = response._req
            transport = request.transport if request is not None else None
            if transport is None or _unread_bytes(transport) <= UNREAD_BYTES:
                await inner(data)

        response.write = write  # type: ignore[method-assign, assignment]


DEFECTS = [
    Defect("status-202", "event streams have status 202", spoil=_accepted),
    Defect(
        "latin1-charset",
        "event streams are labelled as Latin-1",
        spoil=with_headers(content_type="text/event-stream; charset=iso-8859-1"),
    ),
    Defect("cacheable-stream", "caches may store event streams", spoil=with_headers(cache_control="no-transform")),
    Defect(
        "transformable-stream",
        "proxies are not asked to leave event streams unbuffered and unchanged",
        spoil=with_headers(cache_control="no-cache", x_accel_buffering=None),
    ),
    Defect("announces-length", "event streams have a made-up Content-Length", spoil=_with_length),
    Defect("always-gzip", "event streams are compressed, whatever the client accepts", spoil=_compressed),
    Defect("late-headers", "response headers are sent with the first event", spoil=_late),
    Defect("closes-connection", "connections are closed after each reply", spoil=with_headers(connection="close")),
    Defect(
        "invalid-utf8",
        "events contain a byte that is not valid UTF-8",
        spoil=changed(lambda d: d.replace(b'"}', b'\xff"}')),
    ),
    Defect("sse-bom", "event streams begin with a byte order mark", spoil=writing(_with_mark)),
    Defect("sse-bare-cr", "lines end in CR", spoil=changed(lambda d: d.replace(b"\n", b"\r"))),
    Defect("sse-crlf", "lines end in CR LF", spoil=changed(lambda d: d.replace(b"\n", b"\r\n"))),
    Defect("sse-no-space", "no space follows `data:`", spoil=changed(lambda d: d.replace(b"data: ", b"data:"))),
    Defect(
        "sse-multi-line",
        "the data of an event is split over two lines",
        spoil=changed(lambda d: d.replace(b"data: {", b"data: {\ndata: ")),
    ),
    Defect(
        "sse-line-separator",
        "texts begin with an unescaped U+2028",
        spoil=changed(lambda d: d.replace(b'"content": "', b'"content": "\xe2\x80\xa8')),
    ),
    Defect("sse-no-data", "events without data are sent in between", spoil=changed(lambda d: b"event: ping\n\n" + d)),
    Defect("sse-cut-tail", "no blank line follows the last event", spoil=writing(_without_last_blank)),
    Defect("splits-events", "events are written in two halves, 80 ms apart", spoil=writing(lambda: _in_halves)),
    Defect("raw-newlines", "line breaks in texts are not escaped", spoil=changed(lambda d: d.replace(b"\\n", b"\n"))),
    Defect("holds-open", "responses stay open for 3 s after their last event", spoil=_held_open),
    Defect("resets-at-end", "connections are reset after the last event", spoil=_reset),
    Defect("keep-alive-as-data", "keep-alives are sent as data", spoil=_with_data_as_keep_alives),
    Defect(
        "blocks-on-slow-reader",
        "a client that does not read blocks all others",
        spoil=_one_at_a_time,
    ),
    Defect("drops-for-slow-reader", "text is dropped while a client does not read", spoil=_dropping),
]
