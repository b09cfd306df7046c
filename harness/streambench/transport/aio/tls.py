"""A TLS session on a channel: the layer above it gets plain bytes with the stamps of the encrypted ones."""

from __future__ import annotations

import asyncio
import ssl

from streambench.clock import MonotonicClock
from streambench.transport.aio.connection import Channel
from streambench.transport.aio.passing import PassingChannel
from streambench.transport.tls import TlsSession

PIECE_BYTES = 1 << 12  # a record is 16 KiB, which of a flood takes long to decode

_clock = MonotonicClock()


class TlsChannel(PassingChannel):
    """A channel with TLS on `below`. `handshake` first; then what arrives goes to `layer` decrypted."""

    def __init__(self, below: Channel, context: ssl.SSLContext, server_name: str) -> None:
        super().__init__(below)
        self._session = TlsSession(context, server_name)
        self._shaken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._told = True  # the layer still hears of what comes

    @property
    def alpn(self) -> str | None:
        """The protocol that the server chose."""
        return self._session.alpn

    async def handshake(self) -> None:
        """Raises ssl.SSLError, or OSError where the connection ends."""
        self._shake(b"")
        await self._shaken

    def write(self, data: bytes) -> None:
        """Encrypt `data` and send it."""
        self._session.send(data)
        self._flush()

    def send(self, data: bytes) -> int:
        """As `write`; returns by when the encrypted bytes had left."""
        self._session.send(data)
        return self._below.send(self._session.outgoing())

    def close(self) -> None:
        """Close at once, without a word to the peer."""
        self._told = False
        super().close()

    def received(self, data: bytes, at_ns: int, *, kernel: bool, early_ns: int) -> None:
        """Take in encrypted bytes."""
        if not self._session.shaken:
            self._shake(data)
            self.own_ns += _clock.now_ns() - at_ns  # what came waited for us, and our computing is in it
            if not self._session.shaken:
                return
            data = b""
        plain = self._session.receive(data)
        self._flush()
        if plain.ended:
            self.first(self._deliver_end, b"", at_ns, plain.reset, 0)
        first, rest = plain.data[:PIECE_BYTES], plain.data[PIECE_BYTES:]
        for start in reversed(range(0, len(rest), PIECE_BYTES)):
            self.first(self._deliver, rest[start : start + PIECE_BYTES], at_ns, kernel, early_ns)
        if first:
            self.layer.received(first, at_ns, kernel=kernel, early_ns=early_ns)

    def closed(self, at_ns: int, *, reset: bool) -> None:
        """The connection below has ended."""
        if not self._shaken.done():
            self._shaken.set_exception(ConnectionResetError("the connection ended during the TLS handshake"))
            return
        super().closed(at_ns, reset=reset)

    def _deliver(self, data: bytes, at_ns: int, kernel: bool, early_ns: int) -> None:
        if self._told:
            self.layer.received(data, at_ns, kernel=kernel, early_ns=early_ns)

    def _deliver_end(self, _: bytes, at_ns: int, reset: bool, __: int) -> None:
        if self.open:
            self.close()
            self.layer.closed(at_ns, reset=reset)

    def _shake(self, data: bytes) -> None:
        if self._shaken.done():  # it has failed
            return
        try:
            self._session.shake(data)
        except ssl.SSLError as error:
            self._shaken.set_exception(error)
        else:
            if self._session.shaken:
                self._shaken.set_result(None)
        self._flush()

    def _flush(self) -> None:
        outgoing = self._session.outgoing()
        if outgoing:
            self._below.write(outgoing)
