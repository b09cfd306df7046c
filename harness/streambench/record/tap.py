"""Listening to a stream's arrivals beside its decoding, as a transcript does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from streambench.transport.arrivals import Arrival, Reads
from streambench.wire.limits import WireLimits


@dataclass(slots=True, frozen=True)
class Setting:
    """What a stream's arrivals are to be read with.

    `transport` as dialects have it. Of a socket: `before` is what the connection brought earlier and still matters,
    `noted` the rules that it was found to break and that are reported once. `namespace` is Socket.IO's. `follows` is
    the stream before this one on the connection, if any; `end_told`: that its end came twice is known.
    """

    transport: str
    limits: WireLimits = field(default_factory=WireLimits)
    namespace: str = ""
    before: tuple[Arrival, ...] = ()
    noted: tuple[str, ...] = ()
    follows: str = ""
    end_told: bool = False


class Tap(Protocol):
    """Who listens. It is called where the stream is decoded, so it must be quick, and keep no more than it may."""

    def begin(self, setting: Setting) -> None:
        """A stream begins."""
        ...

    def take(self, arrivals: Sequence[Arrival]) -> None:
        """What one read brought, or what the driver itself had to say."""
        ...

    def take_together(self, reads: Reads) -> None:
        """What several reads brought, each one piece of a body."""
        ...
