"""A channel on which somebody listens: it passes everything on, and tells of it."""

from __future__ import annotations

from streambench.clock import MonotonicClock
from streambench.transport.aio.connection import Channel
from streambench.transport.aio.passing import PassingChannel
from streambench.transport.wiretap import Wiretap

_clock = MonotonicClock()


class TappedChannel(PassingChannel):
    """The channel `below`, with `tap` listening; what arrives goes to `layer` as ever."""

    def __init__(self, below: Channel, tap: Wiretap) -> None:
        super().__init__(below)
        self._passed = tap(self)

    def write(self, data: bytes) -> None:
        """Send `data`."""
        self._tell(data)
        self._below.write(data)

    def send(self, data: bytes) -> int:
        """As `write`; returns by when `data` had left."""
        self._tell(data)
        return self._below.send(data)

    def received(self, data: bytes, at_ns: int, *, kernel: bool, early_ns: int) -> None:
        """Bytes that arrived."""
        self._passed(data, at_ns, False)
        super().received(data, at_ns, kernel=kernel, early_ns=early_ns)

    def _tell(self, data: bytes) -> None:
        if data and self.open:
            self._passed(data, _clock.now_ns(), True)
