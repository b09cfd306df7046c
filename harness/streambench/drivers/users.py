"""Simulated users: setup before the first prompt, and a connection that is kept for the next ones."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Protocol, cast

from streambench.drivers.link import Link
from streambench.drivers.target import TargetSpec
from streambench.record.recorder import Recorder
from streambench.wire.framings import FRAMINGS


class UserSession(Protocol):
    """One simulated user. Prompts are streamed one after the other."""

    variables: dict[str, str]

    async def connect(self) -> None:
        """Connect ahead of the first prompt. A failure is not told here, but by the stream that meets it."""
        ...

    async def prepare(self) -> None:
        """Do the setup. Raises SetupError."""
        ...

    async def stream(self, prompt: str, recorder: Recorder) -> None:
        """Send a prompt and record the reply. Whatever the server does is recorded and never raised."""
        ...

    async def close(self) -> None:
        """Close the connection."""
        ...


class SocketDriver(Protocol):
    """A module of this package that is called as its framing is."""

    @staticmethod
    def open_link(spec: TargetSpec, variables: Mapping[str, str], cookies: dict[str, str]) -> Link:
        """A link that is not connected yet."""
        ...


def open_session(spec: TargetSpec, variables: Mapping[str, str] | None = None) -> UserSession:
    """A new user of a target, not connected yet. `variables` are the user's own values for the placeholders.

    Each transport's driver is imported for its first user only: one needs no HTTP/2 to speak WebSocket. That of a
    socket is the module that is called as its framing is.
    """
    merged = {**spec.variables, **(variables or {})}
    transport = spec.dialect.transport
    if FRAMINGS[transport].is_socket:
        from streambench.drivers.socket_user import SocketUser

        driver = cast("SocketDriver", import_module(f"streambench.drivers.{transport}"))
        return SocketUser(spec, merged, driver.open_link)
    from streambench.drivers.http_user import HttpUser

    if spec.endpoint.http == 2:
        from streambench.transport.http2 import Http2Connection

        return HttpUser(spec, merged, Http2Connection)
    from streambench.transport.http1 import Http1Connection

    return HttpUser(spec, merged, Http1Connection)
