"""A channel that stands on another one and passes on whatever it has nothing to do with."""

from __future__ import annotations

from streambench.transport.aio.backlog import Deliver, DeliverTogether
from streambench.transport.aio.connection import Channel, Layer
from streambench.transport.arrivals import Usual


class PassingChannel:
    """On the channel `below`, whose layer it becomes; its own layer is the one that `below` had.

    Who derives from it takes what comes (`received`, `closed`), and changes what is its own.
    """

    def __init__(self, below: Channel) -> None:
        self._below = below
        self.layer: Layer = below.layer
        self.own_ns = below.own_ns
        below.layer = self

    @property
    def open(self) -> bool:
        """Whether anything can still be sent or come."""
        return self._below.open

    @property
    def unsent_bytes(self) -> int:
        """What the kernel has not taken yet, as it is written below."""
        return self._below.unsent_bytes

    async def flushed(self) -> bool:
        """Return when everything written is with the kernel; says whether that had to be waited for."""
        return await self._below.flushed()

    def settle(self) -> None:
        """Hand what was read until now to the layer."""
        self._below.settle()

    def first(self, deliver: Deliver, data: bytes, at_ns: int, kernel: bool, early_ns: int) -> None:
        """Have the rest of what is being delivered delivered so, before anything that was read after it."""
        self._below.first(deliver, data, at_ns, kernel, early_ns)

    def gather(self, usual: Usual | None, deliver: DeliverTogether) -> None:
        """Deliver each read by itself: what comes below looks different, or somebody wants to hear of it now."""

    def pause(self) -> None:
        """Read nothing more until `resume`."""
        self._below.pause()

    def resume(self) -> None:
        """Read again."""
        self._below.resume()

    def close(self) -> None:
        """Close at once; the layer is not told."""
        self._below.close()

    def received(self, data: bytes, at_ns: int, *, kernel: bool, early_ns: int) -> None:
        """Bytes that arrived."""
        self.layer.received(data, at_ns, kernel=kernel, early_ns=early_ns)

    def closed(self, at_ns: int, *, reset: bool) -> None:
        """The peer has closed the connection, or reset it."""
        self.layer.closed(at_ns, reset=reset)
