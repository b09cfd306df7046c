"""What a socket is to a user of it: a link that carries requests out and arrivals in, until it is lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol
from urllib.parse import quote

from streambench.dialects import RenderedRequest
from streambench.dialects.templates import fill
from streambench.drivers.target import TargetSpec
from streambench.record.sockets import SocketReader, read_charged
from streambench.transport.arrivals import Arrival
from streambench.transport.target import Location, locate
from streambench.wire.budget import Budget
from streambench.wire.limits import WireLimits
from streambench.wire.message import WireMessage

MAX_KEPT_BETWEEN = 20  # messages between two replies


class Receiver(Protocol):
    """Who takes what a link brings, in the callback that read it. It gives every arrival to the link's reader."""

    def take(self, arrivals: Sequence[Arrival]) -> None:
        """What one read brought."""
        ...


class Link(Protocol):
    """A socket to the server, and the reader of what comes on it."""

    receiver: Receiver

    @property
    def reader(self) -> SocketReader:
        """The reader of what comes, for as long as the link lives."""
        ...

    @property
    def open(self) -> bool:
        """Whether a request can be sent."""
        ...

    @property
    def connect_own_ns(self) -> int:
        """How much of connecting was our own doing, in ns."""
        ...

    @property
    def resent(self) -> int:
        """How many requests of the link had to be sent again until now, for a kept connection had been closed."""
        ...

    async def start(self) -> None:
        """Connect. Raises SetupError."""
        ...

    def send(self, request: RenderedRequest) -> int:
        """Send what a request says; returns by when it had left, as far as the kernel took it at once.

        On a link that is gone it is lost, and its loss was told.
        """
        ...

    async def flushed(self) -> int | None:
        """Return when what was sent is with the kernel; says since when, where `send` itself did not hand it over."""
        ...

    def settle(self) -> None:
        """Take in what was read until now, before something is decided that depends on it."""
        ...

    def abort(self) -> None:
        """Close at once."""
        ...

    async def close(self) -> None:
        """Close as the protocol asks for it."""
        ...


class Unattended:
    """The receiver between two replies: what comes belongs to none.

    The first messages are kept, for the next reply's record to say that they came.
    """

    def __init__(self, reader: SocketReader, limits: WireLimits, messages: Iterable[WireMessage] = ()) -> None:
        self.messages = list(messages)[:MAX_KEPT_BETWEEN]
        self._reader = reader
        self._budget = Budget(limits)

    def take(self, arrivals: Sequence[Arrival]) -> None:
        """Let the reader see it, and drop the findings."""
        for arrival in arrivals:
            for message in read_charged(self._reader, arrival, self._budget):
                if len(self.messages) < MAX_KEPT_BETWEEN:
                    self.messages.append(message)
        self._reader.take_findings()


def destination(spec: TargetSpec, variables: Mapping[str, str]) -> tuple[Location, list[tuple[str, str]]]:
    """Where a target's socket is, and the headers to open it with; the target's own come last, and win."""
    template = spec.dialect.request
    path = fill(template.path, {name: quote(value, safe="", errors="replace") for name, value in variables.items()})
    headers = fill(dict(template.headers), variables)
    return locate(spec.endpoint.url, path), [*headers.items(), *spec.endpoint.headers]
