"""Opening a channel to a target: TCP, a proxy where there is one, TLS where the URL asks for it."""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from streambench.drivers.connection import StampedConnection
from streambench.drivers.target import TargetSpec
from streambench.drivers.tls import Channel, TlsChannel, tls_context
from streambench.endings import ErrorClass
from streambench.units import NS_PER_S

SECURE_SCHEMES = ("https", "wss")
MAX_PROXY_HEAD_BYTES = 16 << 10


class ConnectFailure(Exception):
    """No channel could be opened. `error` is the error class, the text is for the user."""

    def __init__(self, error: ErrorClass, message: str) -> None:
        super().__init__(message)
        self.error = error


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a URL leads. `request_target` is the path with its query."""

    scheme: str
    host: str
    port: int
    request_target: str

    @property
    def secure(self) -> bool:
        return self.scheme in SECURE_SCHEMES

    @property
    def authority(self) -> str:
        """The value of a `Host` header: without the port where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


def endpoint(url: str, path: str = "") -> Endpoint:
    """The endpoint of `url`; a `path` is joined to the URL's own, whose query stays."""
    parts = urlsplit(url)
    own_path = parts.path
    query = parts.query
    if path:
        path, _, more = path.partition("?")
        own_path = own_path.rstrip("/") + path
        query = "&".join(part for part in (more, query) if part)
    return Endpoint(
        parts.scheme,
        parts.hostname or "",
        parts.port or (443 if parts.scheme in SECURE_SCHEMES else 80),
        (own_path or "/") + (f"?{query}" if query else ""),
    )


class _Silent:
    """The layer of a connection on which nothing is expected yet."""

    def received(self, data: bytes, at_ns: int, *, kernel: bool) -> None:
        pass

    def closed(self, at_ns: int, *, reset: bool) -> None:
        pass


async def open_channel(
    spec: TargetSpec, where: Endpoint, alpn: tuple[str, ...] = ("http/1.1",), *, tunnel: bool = False
) -> Channel:
    """A channel to `where`, ready to be written to. Raises ConnectFailure within the target's connect timeout.

    `tunnel` asks a proxy for a tunnel even without TLS, as a WebSocket needs it.
    """
    proxy = urlsplit(spec.proxy) if spec.proxy else None
    connection: StampedConnection | None = None
    try:
        async with asyncio.timeout(spec.timeouts.connect_ns / NS_PER_S):
            host, port = (proxy.hostname or "", proxy.port or 80) if proxy else (where.host, where.port)
            connection = await StampedConnection.connect(host, port, _Silent(), spec.stamps)
            channel: Channel = connection
            if proxy and (tunnel or where.secure):
                await _tunnel(connection, where, proxy)
            if where.secure:
                tls = TlsChannel(channel, tls_context(spec.tls_verify, alpn), where.host)
                await tls.handshake()
                channel = tls
            return channel
    except BaseException as error:
        if connection is not None:
            connection.close()
        match error:
            case TimeoutError():
                seconds = spec.timeouts.connect_ns / NS_PER_S
                raise ConnectFailure(
                    ErrorClass.TIMEOUT_CONNECT, f"no connection to {where.authority} within {seconds:g} s"
                ) from error
            case ssl.SSLError():
                reason = getattr(error, "verify_message", "") or error.reason or str(error)
                raise ConnectFailure(ErrorClass.TLS, f"TLS with {where.authority} failed: {reason}") from error
            case OSError():
                # asyncio puts its own words into strerror; the errno says it better.
                reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
                raise ConnectFailure(ErrorClass.CONNECT, f"cannot connect to {where.authority}: {reason}") from error
            case ValueError():
                raise ConnectFailure(
                    ErrorClass.CONNECT, f"cannot connect to {where.authority}: it is no host name ({error})"
                ) from error
        raise


def proxy_authorization(proxy: SplitResult) -> str | None:
    """The `Proxy-Authorization` of a proxy URL that carries a user."""
    if not proxy.username:
        return None
    user = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return "Basic " + base64.b64encode(user.encode()).decode()


async def _tunnel(connection: StampedConnection, where: Endpoint, proxy: SplitResult) -> None:
    """Ask an HTTP proxy for a tunnel (`CONNECT`)."""
    answer = _TunnelAnswer()
    connection.layer = answer
    host = f"[{where.host}]" if ":" in where.host else where.host
    head = f"CONNECT {host}:{where.port} HTTP/1.1\r\nHost: {host}:{where.port}\r\n"
    authorization = proxy_authorization(proxy)
    if authorization is not None:
        head += f"Proxy-Authorization: {authorization}\r\n"
    connection.write(f"{head}\r\n".encode())
    status = await answer.status
    if not status.startswith("2"):
        raise ConnectFailure(ErrorClass.CONNECT, f"the proxy refused a tunnel to {where.authority}: {status}")


class _TunnelAnswer:
    """Reads the proxy's answer up to its blank line; nothing follows it before we speak."""

    def __init__(self) -> None:
        self.status: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._head = b""

    def received(self, data: bytes, at_ns: int, *, kernel: bool) -> None:
        self._head += data
        if self.status.done():
            return
        if b"\r\n\r\n" in self._head:
            _, _, status = self._head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
            self.status.set_result(status)
        elif len(self._head) > MAX_PROXY_HEAD_BYTES:
            self.status.set_exception(ConnectFailure(ErrorClass.CONNECT, "the proxy's answer has no end"))

    def closed(self, at_ns: int, *, reset: bool) -> None:
        if not self.status.done():
            self.status.set_exception(ConnectFailure(ErrorClass.CONNECT, "the proxy closed the connection"))
