"""Simulated users: what is done once before the first prompt, and a connection that stays for the next ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from streambench.drivers.target import TargetSpec
from streambench.record.recorder import Recorder


class UserSession(Protocol):
    """One simulated user. Prompts are streamed one after the other."""

    variables: dict[str, str]

    async def prepare(self) -> None:
        """Do the setup. Raises SetupError."""
        ...

    async def stream(self, prompt: str, recorder: Recorder) -> None:
        """Send a prompt and record the reply. Whatever the server does is recorded and never raised."""
        ...

    async def close(self) -> None:
        """Close the connection."""
        ...


def open_session(spec: TargetSpec, variables: Mapping[str, str] | None = None) -> UserSession:
    """A new user of a target, not connected yet. `variables` are the user's own values for the placeholders.

    Each transport's driver is imported for its first user only: one needs no HTTP/2 to speak WebSocket.
    """
    merged = {**spec.variables, **(variables or {})}
    match spec.dialect.transport:
        case "websocket":
            from streambench.drivers.socket_user import SocketUser
            from streambench.drivers.websocket import WebSocketLink

            return SocketUser(spec, merged, WebSocketLink)
        case "socketio":
            from streambench.drivers.socket_user import SocketUser
            from streambench.drivers.socketio import SocketIoLink

            return SocketUser(spec, merged, SocketIoLink)
    from streambench.drivers.http_user import HttpUser

    if spec.endpoint.http == 2:
        from streambench.transport.http2 import Http2Connection

        return HttpUser(spec, merged, Http2Connection)
    from streambench.transport.http1 import Http1Connection

    return HttpUser(spec, merged, Http1Connection)
