"""TLS between a stamped connection and the layer above it, by memory BIOs: stamps pass through untouched."""

from __future__ import annotations

import asyncio
import functools
import ssl
from typing import Protocol

from streambench.drivers.connection import Layer

PLAINTEXT_BYTES = 1 << 18


class Channel(Protocol):
    """What a protocol layer writes to: a stamped connection, with TLS on it or without."""

    layer: Layer

    @property
    def open(self) -> bool: ...

    @property
    def unsent_bytes(self) -> int: ...

    def write(self, data: bytes) -> None: ...

    async def flushed(self) -> bool: ...

    def close(self) -> None: ...


@functools.cache
def tls_context(verify: bool | str, alpn: tuple[str, ...]) -> ssl.SSLContext:
    """A client's context. `verify`: True, False, or the path of a CA file. Raises OSError where that cannot be read."""
    context = ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
    if verify is False:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(list(alpn))
    return context


class TlsChannel:
    """A TLS session on `below`. `handshake` first; then what arrives goes to `layer` decrypted."""

    def __init__(self, below: Channel, context: ssl.SSLContext, server_name: str) -> None:
        self._below = below
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._session = context.wrap_bio(self._incoming, self._outgoing, server_hostname=server_name)
        self._shaken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.layer = below.layer
        below.layer = self

    @property
    def open(self) -> bool:
        return self._below.open

    @property
    def unsent_bytes(self) -> int:
        return self._below.unsent_bytes

    @property
    def alpn(self) -> str | None:
        """The protocol that the server chose."""
        return self._session.selected_alpn_protocol()

    async def handshake(self) -> None:
        """Raises ssl.SSLError, or OSError where the connection ends."""
        self._shake()
        await self._shaken

    def write(self, data: bytes) -> None:
        self._session.write(data)
        self._flush()

    async def flushed(self) -> bool:
        return await self._below.flushed()

    def close(self) -> None:
        self._below.close()

    def received(self, data: bytes, at_ns: int, *, kernel: bool) -> None:
        self._incoming.write(data)
        if not self._shaken.done():
            self._shake()
            if not self._shaken.done() or self._shaken.exception() is not None:
                return
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
        self._flush()
        if plain:
            self.layer.received(bytes(plain), at_ns, kernel=kernel)
        if ended and self.open:
            self.close()
            self.layer.closed(at_ns, reset=reset)

    def closed(self, at_ns: int, *, reset: bool) -> None:
        if not self._shaken.done():
            self._shaken.set_exception(ConnectionResetError("the connection ended in the TLS handshake"))
            return
        self.layer.closed(at_ns, reset=reset)

    def _shake(self) -> None:
        try:
            self._session.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            self._flush()  # the alert that tells the server why
            self._shaken.set_exception(error)
        else:
            self._flush()
            self._shaken.set_result(None)

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._below.write(self._outgoing.read())
