"""What a socket is to a user of it: a link that carries requests out and messages in, until it is lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from streambench.dialects import RenderedRequest
from streambench.endings import Ending, ErrorClass
from streambench.findings import Finding
from streambench.wire.limits import OversizeError, WireError
from streambench.wire.message import WireMessage


@dataclass(slots=True, frozen=True)
class Loss:
    """Why a link is of no more use. `error` is None where the server left in order; then the ending says how."""

    ending: Ending
    close_code: int | None = None
    error: str | None = None
    message: str = ""

    @classmethod
    def unreadable(cls, error: WireError) -> Loss:
        """What the server sent cannot be read any further, so we leave."""
        error_class = ErrorClass.OVERSIZE if isinstance(error, OversizeError) else ErrorClass.PROTOCOL
        return cls(Ending.CLIENT, None, error_class, str(error))

    def __str__(self) -> str:
        if self.message:
            return self.message
        code = f" (close code {self.close_code})" if self.close_code is not None else ""
        return f"the server ended the connection{code}"


class Receiver(Protocol):
    """Who takes what a link brings, in the callback that read it."""

    def read(self, at_ns: int, size: int, *, kernel: bool) -> None:
        """The socket brought `size` bytes at `at_ns`; the messages that they complete follow."""
        ...

    def message(self, message: WireMessage, at_ns: int) -> None: ...

    def read_ended(self) -> None:
        """All messages of that read have been given."""
        ...

    def lost(self, loss: Loss, at_ns: int) -> None:
        """Nothing more will come. Called once."""
        ...


class Link(Protocol):
    """A socket to the server. `offset` counts the bytes of messages that came so far."""

    receiver: Receiver

    @property
    def open(self) -> bool: ...

    async def start(self) -> None:
        """Connect. Raises SetupError."""
        ...

    def send(self, request: RenderedRequest) -> None: ...

    async def flushed(self) -> int | None:
        """Return when what was sent is with the kernel; says since when, where `send` itself did not hand it over."""
        ...

    def take_findings(self) -> list[Finding]: ...

    def abort(self) -> None:
        """Close at once."""
        ...

    async def close(self) -> None:
        """Close as the protocol asks for it."""
        ...


class Unattended:
    """The receiver between two replies."""

    def read(self, at_ns: int, size: int, *, kernel: bool) -> None:
        pass

    def message(self, message: WireMessage, at_ns: int) -> None:
        pass

    def read_ended(self) -> None:
        pass

    def lost(self, loss: Loss, at_ns: int) -> None:
        pass
