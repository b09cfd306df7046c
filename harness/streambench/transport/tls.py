"""TLS between a connection and the layer above it, by memory BIOs: stamps pass through untouched."""

from __future__ import annotations

import functools
import ssl
from dataclasses import dataclass

PLAINTEXT_BYTES = 1 << 18


@functools.cache
def tls_context(verify: bool | str, alpn: tuple[str, ...]) -> ssl.SSLContext:
    """A client's context. `verify`: True, False, or the path of a CA file. Raises OSError where that cannot be read."""
    context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(list(alpn))
    return context


@dataclass(slots=True, eq=False)
class Plain:
    """What a read brought, decrypted. `ended`: the peer has closed, by an alert or by breaking TLS (`reset`)."""

    data: bytes
    ended: bool = False
    reset: bool = False


class TlsSession:
    """The client's half of a TLS session: encrypted bytes in and out, plain ones out and in.

    `shake` until `shaken`; what is to be sent is in `outgoing` after every call.
    """

    def __init__(self, context: ssl.SSLContext, server_name: str) -> None:
        self.shaken = False
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._session = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)

    @property
    def alpn(self) -> str | None:
        """The protocol that the server chose."""
        return self._session.selected_alpn_protocol()

    def shake(self, data: bytes = b"") -> None:
        """Go on with the handshake. Raises ssl.SSLError; the alert that tells the server why is in `outgoing`."""
        if data:
            self._incoming.write(data)
        try:
            self._session.do_handshake()
        except ssl.SSLWantReadError:
            return
        self.shaken = True

    def receive(self, data: bytes) -> Plain:
        """Decrypt what came; with nothing, what came together with the end of the handshake."""
        if data:
            self._incoming.write(data)
        plain = bytearray()
        ended = reset = False
        try:
            while piece := self._session.read(PLAINTEXT_BYTES):
                plain += piece
            ended = True  # the peer's close_notify
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            ended = True
        except ssl.SSLError:
            ended = reset = True
        return Plain(bytes(plain), ended, reset)

    def send(self, data: bytes) -> None:
        """Encrypt `data`."""
        self._session.write(data)

    def outgoing(self) -> bytes:
        """What is to be sent to the peer now."""
        return self._outgoing.read() if self._outgoing.pending else b""
