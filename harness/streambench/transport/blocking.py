"""A blocking timestamped connection, for programs whose concurrency is threads or greenlets.

The same stamps as on asyncio: the kernel says when bytes arrived, however late the greenlet is that reads them. Every
call goes through the `socket` module, so one that has been patched by gevent lets others run meanwhile.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

from streambench.clock import MonotonicClock
from streambench.endings import ErrorClass
from streambench.transport.failures import ConnectFailure
from streambench.transport.proxy import Tunnel
from streambench.transport.segments import SegmentCount, round_trip_ns
from streambench.transport.stamps import (
    ANCILLARY_BYTES,
    RealtimeOffset,
    enable_kernel_stamps,
    keep_stamping,
)
from streambench.transport.target import Endpoint, Location
from streambench.transport.tls import TlsSession, tls_context
from streambench.units import NS_PER_S

READ_BYTES = 1 << 18

_clock = MonotonicClock()
_realtime = RealtimeOffset()


@dataclass(slots=True, eq=False)
class Received:
    """What one read brought; its first bytes may have come `early_ns` before `at_ns`.

    `ended`: the peer has closed the connection, or broken it (`reset`).
    """

    data: bytes
    at_ns: int
    kernel: bool = False
    ended: bool = False
    reset: bool = False
    early_ns: int = 0


def _open_socket(host: str, port: int, timeout_s: float) -> socket.socket:
    """A connected socket. Raises OSError.

    An address needs no resolver. That of gevent is a thread, and a thread gets its turn late in a process that is busy
    with the streams of others: users who came together waited for it in a row.
    """
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout_s)
            sock.connect((host, port))
        except BaseException:
            sock.close()
            raise
        return sock
    return socket.create_connection((host, port), timeout=timeout_s)


class Polls(Protocol):
    """Whoever polls for the sockets of several greenlets, and so knows more of them than each of them alone.

    `empty_ns`: a socket that the newest poll found ready, and that had been read empty before, was empty until then, at
    least.
    """

    empty_ns: int


class BlockingConnection:
    """An open connection, with TLS on it where the URL asks for it. `own_ns`: how much of connecting was ours."""

    def __init__(self, sock: socket.socket, endpoint: Endpoint, own_ns: int = 0, polls: Polls | None = None) -> None:
        self.open = True
        self._polls = polls
        self.own_ns = own_ns
        self._segments = SegmentCount(sock)
        self._drained = True  # the newest read has emptied it
        self._empty_ns = _clock.now_ns()  # when the socket was empty for the last time, as far as a read has shown it
        self._sock = sock
        self._kernel = endpoint.stamps != "user" and enable_kernel_stamps(sock)
        self._tls: TlsSession | None = None

    @classmethod
    def connect(
        cls, endpoint: Endpoint, where: Location, alpn: tuple[str, ...], polls: Polls | None = None
    ) -> BlockingConnection:
        """A connection to `where`, ready to be written to, within the endpoint's connect timeout.

        Raises OSError (TimeoutError and ssl.SSLError are such), ConnectFailure for what a proxy says, ValueError for a
        host that is none.
        """
        if endpoint.stamps != "user":
            keep_stamping()
        deadline_ns = _clock.now_ns() + endpoint.timeouts.connect_ns
        proxy = urlsplit(endpoint.proxy) if endpoint.proxy else None
        address = (proxy.hostname or "", proxy.port or 80) if proxy else (where.host, where.port)
        began_ns = _clock.now_ns()
        sock = _open_socket(*address, endpoint.timeouts.connect_ns / NS_PER_S)
        took_ns = _clock.now_ns() - began_ns
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = cls(sock, endpoint, max(0, took_ns - round_trip_ns(sock)), polls)
            if where.secure:
                if proxy:
                    connection._open_tunnel(Tunnel(where, proxy), deadline_ns)
                connection._secure(TlsSession(tls_context(endpoint.tls_verify, alpn), where.host), deadline_ns)
        except BaseException:
            sock.close()
            raise
        return connection

    def send(self, data: bytes) -> None:
        """Send all of it. Raises OSError."""
        if self._tls is not None:
            self._tls.send(data)
            data = self._tls.outgoing()
        self._sock.sendall(data)

    def receive(self, until_ns: int) -> Received:
        """The next read that brings something. Raises TimeoutError where none does until that moment."""
        while True:
            received = self._read(until_ns)
            if received.data and self._tls is not None:
                plain = self._tls.receive(received.data)
                answer = self._tls.outgoing()
                if answer:
                    self._sock.sendall(answer)
                received.data, received.ended, received.reset = plain.data, plain.ended, plain.reset
            if received.ended:
                self.close()
            if received.data or received.ended:
                return received

    def close(self) -> None:
        """Close at once."""
        self.open = False
        self._sock.close()

    def _read(self, until_ns: int) -> Received:
        left_ns = until_ns - _clock.now_ns()
        if left_ns <= 0:
            raise TimeoutError
        self._sock.settimeout(left_ns / NS_PER_S)
        try:
            data, ancillary, _, _ = self._sock.recvmsg(READ_BYTES, ANCILLARY_BYTES)
        except TimeoutError:
            raise
        except OSError:
            return Received(b"", _clock.now_ns(), ended=True, reset=True)
        at_ns = read_ns = _clock.now_ns()
        if not data:
            return Received(b"", at_ns, ended=True)
        arrived_ns = _realtime.arrival_ns(ancillary, at_ns) if self._kernel and ancillary else None
        kernel = arrived_ns is not None
        if arrived_ns is not None:
            at_ns = arrived_ns
        early_ns = self._early_ns(len(data), at_ns, kernel=kernel)
        self._drained = len(data) < READ_BYTES
        if self._drained:
            self._empty_ns = read_ns
        return Received(data, at_ns, kernel, early_ns=early_ns)

    def _early_ns(self, size: int, at_ns: int, *, kernel: bool) -> int:
        """By how much the first bytes of a read may have come before its stamp; 0 where they have not."""
        if self._drained and self._polls is not None:
            self._empty_ns = max(self._empty_ns, self._polls.empty_ns)
        early_ns = max(0, at_ns - self._empty_ns)
        several = self._segments.several(size)
        return early_ns if several or not kernel or not self._drained else 0

    def _open_tunnel(self, tunnel: Tunnel, deadline_ns: int) -> None:
        self._sock.sendall(tunnel.request())
        while not tunnel.open:
            received = self._read(deadline_ns)
            if received.ended:
                raise ConnectFailure(ErrorClass.CONNECT, "the proxy closed the connection")
            tunnel.receive(received.data)

    def _secure(self, session: TlsSession, deadline_ns: int) -> None:
        data = b""
        while not session.shaken:
            try:
                session.shake(data)
            finally:
                if outgoing := session.outgoing():
                    self._sock.sendall(outgoing)
            if session.shaken:
                break
            received = self._read(deadline_ns)
            if received.ended:
                raise ConnectionResetError("the connection ended during the TLS handshake")
            data = received.data
        self._tls = session


class ClientDeadline:
    """A total time for a client that waits and bounds each read, but not their number: its connections are ended.

    `traced` is a trace of `httpcore`, which tells of the connections. `over` says whether the time is up.
    """

    def __init__(self, seconds: float) -> None:
        self.over = False
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def traced(self, event: str, info: Mapping[str, Any]) -> None:
        """Something has happened to a connection: it was made, or has TLS now, which is another socket."""
        stream = info.get("return_value")
        if stream is not None and hasattr(stream, "get_extra_info"):
            self._sockets.append(stream.get_extra_info("socket"))
        if self.over:
            self._end()

    def _end(self) -> None:
        self.over = True
        for sock in self._sockets:
            with contextlib.suppress(OSError):  # it has ended already
                sock.shutdown(socket.SHUT_RDWR)
