"""A tunnel through an HTTP proxy (`CONNECT`): what to say to it, and what it answers."""

from __future__ import annotations

import base64
from urllib.parse import SplitResult, unquote

from streambench.endings import ErrorClass
from streambench.transport.failures import ConnectFailure
from streambench.transport.target import Location

MAX_HEAD_BYTES = 16 << 10


def proxy_authorization(proxy: SplitResult) -> str | None:
    """The `Proxy-Authorization` of a proxy URL that carries a user."""
    if not proxy.username:
        return None
    user = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return "Basic " + base64.b64encode(user.encode()).decode()


class Tunnel:
    """Reads the proxy's answer up to its blank line; nothing follows it before we speak. `open` once it has agreed."""

    def __init__(self, where: Location, proxy: SplitResult) -> None:
        self.open = False
        self._where = where
        self._proxy = proxy
        self._head = b""

    def request(self) -> bytes:
        """What asks for the tunnel."""
        where = self._where
        host = f"[{where.host}]" if ":" in where.host else where.host
        head = f"CONNECT {host}:{where.port} HTTP/1.1\r\nHost: {host}:{where.port}\r\n"
        authorization = proxy_authorization(self._proxy)
        if authorization is not None:
            head += f"Proxy-Authorization: {authorization}\r\n"
        return f"{head}\r\n".encode()

    def receive(self, data: bytes) -> None:
        """Take in bytes of the answer. Raises ConnectFailure where the proxy refuses, or its answer has no end."""
        if self.open:
            return
        self._head += data
        if b"\r\n\r\n" in self._head:
            _, _, status = self._head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
            if not status.startswith("2"):
                raise ConnectFailure(
                    ErrorClass.CONNECT, f"the proxy refused a tunnel to {self._where.authority}: {status}"
                )
            self.open = True
        elif len(self._head) > MAX_HEAD_BYTES:
            raise ConnectFailure(ErrorClass.CONNECT, "the proxy's answer never ends")
