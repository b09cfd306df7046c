"""Listening to what goes over a connection, byte for byte, and slowing its reading down: for wire logs and tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Passed = Callable[[bytes, int, bool], None]
"""Is told of bytes, TLS removed, their stamp in ns, and whether we sent them. It must be quick."""


class Line(Protocol):
    """A connection that somebody listens to: what may be done to it beside the protocol on it."""

    def write(self, data: bytes) -> None:
        """Send bytes that no protocol layer knows of."""
        ...

    def pause(self) -> None:
        """Read nothing more until `resume`: the peer meets a client that does not read."""
        ...

    def resume(self) -> None:
        """Read again."""
        ...

    def close(self) -> None:
        """Close at once."""
        ...


Wiretap = Callable[[Line], Passed]
"""Is told of every connection that opens, and returns who listens to it."""
