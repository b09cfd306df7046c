"""A channel on which somebody listens: it passes everything on, and tells of it."""

from __future__ import annotations

from streambench.clock import MonotonicClock
from streambench.transport.aio.backlog import Deliver
from streambench.transport.aio.connection import Channel, Layer
from streambench.transport.wiretap import Wiretap

_clock = MonotonicClock()


class TappedChannel:
    """The channel `below`, with `tap` listening; what arrives goes to `layer` as ever."""

    def __init__(self, below: Channel, tap: Wiretap) -> None:
        self._below = below
        self.layer: Layer = below.layer
        self.own_ns = below.own_ns
        below.layer = self
        self._passed = tap(self)

    @property
    def open(self) -> bool:
        """Whether anything can still be sent or come."""
        return self._below.open

    @property
    def unsent_bytes(self) -> int:
        """What the kernel has not taken yet."""
        return self._below.unsent_bytes

    def write(self, data: bytes) -> None:
        """Send `data`."""
        if data and self.open:
            self._passed(data, _clock.now_ns(), True)
        self._below.write(data)

    async def flushed(self) -> bool:
        """Return when everything written is with the kernel; says whether that had to be waited for."""
        return await self._below.flushed()

    def settle(self) -> None:
        """Hand what was read until now to the layer."""
        self._below.settle()

    def first(self, deliver: Deliver, data: bytes, at_ns: int, kernel: bool, early_ns: int) -> None:
        """Have the rest of what is being delivered delivered so, before anything that was read after it."""
        self._below.first(deliver, data, at_ns, kernel, early_ns)

    def pause(self) -> None:
        """Read nothing more until `resume`."""
        self._below.pause()

    def resume(self) -> None:
        """Read again."""
        self._below.resume()

    def close(self) -> None:
        """Close at once."""
        self._below.close()

    # The layer

    def received(self, data: bytes, at_ns: int, *, kernel: bool, early_ns: int) -> None:
        """Bytes that arrived."""
        self._passed(data, at_ns, False)
        self.layer.received(data, at_ns, kernel=kernel, early_ns=early_ns)

    def closed(self, at_ns: int, *, reset: bool) -> None:
        """The peer has closed the connection, or reset it."""
        self.layer.closed(at_ns, reset=reset)
