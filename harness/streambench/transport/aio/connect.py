"""Opening a channel to a target: TCP, a proxy where there is one, TLS where the URL asks for it."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from streambench.endings import ErrorClass
from streambench.transport.aio.connection import Channel, Silent, StampedConnection
from streambench.transport.aio.tls import TlsChannel
from streambench.transport.aio.wiretap import TappedChannel
from streambench.transport.failures import ConnectFailure, connect_failure
from streambench.transport.proxy import Tunnel
from streambench.transport.target import Endpoint, Location
from streambench.transport.tls import tls_context
from streambench.units import NS_PER_S


async def open_channel(
    endpoint: Endpoint, where: Location, alpn: tuple[str, ...] = ("http/1.1",), *, tunnel: bool = False
) -> Channel:
    """A channel to `where`, ready to be written to. Raises ConnectFailure within the endpoint's connect timeout.

    `tunnel` asks a proxy for a tunnel even without TLS, as a WebSocket needs it.
    """
    proxy = urlsplit(endpoint.proxy) if endpoint.proxy else None
    connection: StampedConnection | None = None
    try:
        async with asyncio.timeout(endpoint.timeouts.connect_ns / NS_PER_S):
            host, port = (proxy.hostname or "", proxy.port or 80) if proxy else (where.host, where.port)
            connection = await StampedConnection.connect(host, port, Silent(), endpoint.stamps)
            channel: Channel = connection
            if proxy and (tunnel or where.secure):
                await _open_tunnel(connection, Tunnel(where, proxy))
            if where.secure:
                tls = TlsChannel(channel, tls_context(endpoint.tls_verify, alpn), where.host)
                await tls.handshake()
                channel = tls
            return channel if endpoint.wiretap is None else TappedChannel(channel, endpoint.wiretap)
    except BaseException as error:
        if connection is not None:
            connection.close()
        failure = connect_failure(error, where, endpoint)
        if failure is None:
            raise
        raise failure from error


async def _open_tunnel(connection: StampedConnection, tunnel: Tunnel) -> None:
    """Ask an HTTP proxy for a tunnel. Raises ConnectFailure."""
    answer = _TunnelAnswer(tunnel)
    connection.layer = answer
    connection.write(tunnel.request())
    await answer.came


class _TunnelAnswer:
    """The layer of a connection whose proxy has been asked for a tunnel."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self.came: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def received(self, data: bytes, at_ns: int, *, kernel: bool, early_ns: int = 0) -> None:
        if self.came.done():
            return
        try:
            self._tunnel.receive(data)
        except ConnectFailure as failure:
            self.came.set_exception(failure)
        else:
            if self._tunnel.open:
                self.came.set_result(None)

    def closed(self, at_ns: int, *, reset: bool) -> None:
        if not self.came.done():
            self.came.set_exception(ConnectFailure(ErrorClass.CONNECT, "the proxy closed the connection"))
