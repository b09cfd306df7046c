"""WebSocket as a link: each message of the server is one of the dialect's, each text of a request one to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from streambench.dialects import RenderedRequest
from streambench.drivers.failures import SetupError
from streambench.drivers.link import Receiver, Unattended, destination
from streambench.drivers.target import TargetSpec
from streambench.record.sockets import MessageReader
from streambench.transport.aio.websocket import WebSocketTransport
from streambench.transport.arrivals import Arrival
from streambench.transport.failures import ConnectFailure


class WebSocketLink:
    """A link whose messages are the WebSocket's own."""

    def __init__(self, spec: TargetSpec, variables: Mapping[str, str], cookies: dict[str, str]) -> None:
        self.reader = MessageReader("websocket")
        self.receiver: Receiver = Unattended(self.reader, spec.endpoint.limits)
        self._spec = spec
        self._variables = variables
        self._cookies = cookies
        self._transport = WebSocketTransport(spec.endpoint, self._take)

    @property
    def open(self) -> bool:
        """Whether a request can be sent."""
        return self._transport.open

    @property
    def connect_own_ns(self) -> int:
        """How much of connecting was our own doing."""
        return self._transport.own_ns

    @property
    def resent(self) -> int:
        """None: a WebSocket is no request that could be."""
        return 0

    async def start(self) -> None:
        """Connect and upgrade. Raises SetupError."""
        where, headers = destination(self._spec, self._variables)
        try:
            await self._transport.connect(where, headers, self._cookies)
        except ConnectFailure as failure:
            raise SetupError(failure.error, str(failure)) from failure

    def send(self, request: RenderedRequest) -> int:
        """Send the request's texts, each as one message; returns by when the last one had left."""
        return max((self._transport.send(text) for text in request.send), default=0)

    async def flushed(self) -> int | None:
        """Return when what was sent is with the kernel; says since when, where that was later than `send`."""
        return await self._transport.flushed()

    def settle(self) -> None:
        """Take in what was read until now."""
        self._transport.settle()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    async def close(self) -> None:
        """Send a Close and wait shortly for the server's."""
        await self._transport.close()

    def _take(self, arrivals: Sequence[Arrival]) -> None:
        self.receiver.take(arrivals)
        if self.reader.loss is not None:
            self._transport.abort()


def open_link(spec: TargetSpec, variables: Mapping[str, str], cookies: dict[str, str]) -> WebSocketLink:
    """A link to a target that is not connected yet."""
    return WebSocketLink(spec, variables, cookies)
