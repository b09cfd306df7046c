"""One HTTP exchange, read byte by byte with stamps, and left whenever a case says so."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpcore

from streambench.clock import MonotonicClock
from streambench.conformance.wire_log import WireLog

MAX_BODY_BYTES = 32 << 20

_clock = MonotonicClock()


@dataclass(slots=True)
class Exchange:
    """A request and what came back. `pieces` are the body's, each with the stamp of the read that brought it.

    `ending`: `response_end`, `reset`, `fin` (the connection ended before the response did), `timeout`, or `client`
    where we left. `refused` says why there was no connection at all.
    """

    method: str
    url: str
    request_headers: list[tuple[str, str]]
    request_body: bytes
    log: WireLog
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[tuple[int, bytes]] = field(default_factory=list)
    started_ns: int = 0
    head_ns: int = 0
    ended_ns: int = 0
    ending: str = ""
    refused: str = ""

    @property
    def body(self) -> bytes:
        """All of the body that came."""
        return b"".join(data for _, data in self.pieces)


@dataclass(frozen=True, slots=True)
class Manner:
    """How a client behaves. `leave` is asked after every piece whether to leave now. It reads nothing for `pause_s`
    once the response has begun, which makes a slow reader. It leaves when `gone` is set, whatever has come by then;
    `deadline_s` bounds all of it.
    """

    deadline_s: float
    leave: Callable[[bytes], bool] | None = None
    pause_s: float = 0.0
    gone: asyncio.Event | None = None


async def exchange(
    method: str,
    url: str,
    headers: Iterable[tuple[str, str]],
    body: bytes,
    manner: Manner,
    on_piece: Callable[[int, bytes], None] | None = None,
    verify: bool | str = True,
) -> Exchange:
    """Do one exchange on a connection of its own. Whatever the server does is in the result and never raised."""
    out = Exchange(method, url, list(headers), body, WireLog(f"{method} {url}"))
    backend = _Backend(out.log, manner)
    out.started_ns = _clock.now_ns()
    pool = httpcore.AsyncConnectionPool(ssl_context=_context(verify), network_backend=backend)
    try:
        async with asyncio.timeout(manner.deadline_s) as bound, _leaving(bound, manner.gone):
            try:
                async with pool.stream(
                    method, url, headers=[(n.encode(), v.encode()) for n, v in out.request_headers], content=body
                ) as response:
                    out.status = response.status
                    out.head_ns = backend.last_ns
                    out.headers = {
                        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers
                    }
                    out.ending = await _read(response, out, manner, backend, on_piece)
            finally:
                await _close(pool)
    except TimeoutError:
        out.ending = "timeout" if manner.gone is None or not manner.gone.is_set() else "client"
    except httpcore.ConnectError as failure:
        out.ending, out.refused = "reset", str(failure)
    except httpcore.RemoteProtocolError:
        out.ending = "fin"
    except (httpcore.NetworkError, httpcore.ProtocolError):
        out.ending = "reset"
    out.ended_ns = _clock.now_ns() if out.ending in ("timeout", "client") else backend.last_ns or _clock.now_ns()
    return out


@asynccontextmanager
async def _leaving(bound: asyncio.Timeout, gone: asyncio.Event | None) -> AsyncIterator[None]:
    """Ends what `bound` bounds as soon as `gone` is set."""
    if gone is None:
        yield
        return

    async def leave() -> None:
        await gone.wait()
        bound.reschedule(asyncio.get_running_loop().time())

    watching = asyncio.create_task(leave())
    try:
        yield
    finally:
        watching.cancel()


async def _read(
    response: Any, out: Exchange, manner: Manner, backend: _Backend, on_piece: Callable[[int, bytes], None] | None
) -> str:
    size = 0
    async for data in response.aiter_stream():
        if not data:
            continue
        out.pieces.append((backend.last_ns, data))
        size += len(data)
        if on_piece is not None:
            on_piece(backend.last_ns, data)
        if size > MAX_BODY_BYTES or (manner.leave is not None and manner.leave(data)):
            return "client"
    return "response_end"


async def _close(pool: httpcore.AsyncConnectionPool) -> None:
    try:
        await pool.aclose()
    except (httpcore.NetworkError, httpcore.ProtocolError, RuntimeError):
        return


def _context(verify: bool | str) -> ssl.SSLContext:
    if verify is False:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    return ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)


class _Backend(httpcore.AsyncNetworkBackend):
    """Connects as usual, and notes what goes over the wire."""

    def __init__(self, log: WireLog, manner: Manner) -> None:
        self._inner = httpcore.AnyIOBackend()
        self._log = log
        self._manner = manner
        self._reads = 0
        self.last_ns = 0

    async def connect_tcp(self, *arguments: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        stream = await self._inner.connect_tcp(*arguments, **options)
        return _Stream(stream, self)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def noted(self, data: bytes, *, sent: bool) -> None:
        """Bytes have just gone over the wire."""
        now_ns = _clock.now_ns()
        if not sent:
            self.last_ns = now_ns
        self._log.add(now_ns, data, sent=sent)

    async def before_read(self) -> None:
        """What a slow reader does once, when the response has begun."""
        self._reads += 1
        if self._reads == 2 and self._manner.pause_s:
            await asyncio.sleep(self._manner.pause_s)


class _Stream(httpcore.AsyncNetworkStream):
    def __init__(self, inner: httpcore.AsyncNetworkStream, backend: _Backend) -> None:
        self._inner = inner
        self._backend = backend

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's own
        await self._backend.before_read()
        data = await self._inner.read(max_bytes, timeout)
        if data:
            self._backend.noted(data, sent=False)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's own
        if buffer:
            self._backend.noted(buffer, sent=True)
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(self, *arguments: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        return _Stream(await self._inner.start_tls(*arguments, **options), self._backend)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
