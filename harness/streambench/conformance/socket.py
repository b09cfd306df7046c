"""One user's socket connection to a target: set up as the dialect says, then used for prompts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from streambench.clock import MonotonicClock
from streambench.conformance.exchange import Exchange, Manner, over_socket, until_gone
from streambench.conformance.reply import Reply, Seen, Witness
from streambench.dialects import RenderedRequest
from streambench.drivers.failures import SetupError
from streambench.drivers.link import Link
from streambench.drivers.socket_user import SocketUser
from streambench.drivers.target import TargetSpec
from streambench.drivers.users import open_session
from streambench.endings import Ending
from streambench.transport.arrivals import Arrival, Ended

AFTER_S = 0.15  # how long what follows a reply is waited for
LOOK_S = 0.02

_clock = MonotonicClock()


class Socket:
    """A connection. `exchange` is what went over it; `heard` are the events that came outside of replies.

    `spec` is the target with the headers of this connection; each connection of a user may have its own `variables`.
    """

    def __init__(self, spec: TargetSpec, variables: Mapping[str, str], exchange: Exchange) -> None:
        self.exchange = exchange
        self.heard: list[Seen] = []
        self.ended: Ended | None = None
        self._spec = spec.reached(wiretap=exchange.listen)
        self._user = cast("SocketUser", open_session(self._spec, variables))
        self._changed = asyncio.Event()
        self._witness: Witness | None = None

    @property
    def variables(self) -> dict[str, str]:
        """Values for placeholders, with those that the setup has captured."""
        return self._user.variables

    @property
    def link(self) -> Link:
        """The open link."""
        assert self._user.link is not None
        return self._user.link

    @property
    def is_open(self) -> bool:
        """Whether anything can be asked."""
        return self._user.link is not None and self._user.link.open

    async def open(self, gone: asyncio.Event | None = None) -> bool:
        """Connect, and do the setup; where that fails, the exchange says why."""
        try:
            await until_gone(self._user.prepare(), gone or asyncio.Event())
        except SetupError as failure:
            self.exchange.could_not(failure)
            return False
        if self._user.link is None:
            self.exchange.ending, self.exchange.ended_ns = Ending.CLIENT, _clock.now_ns()
            return False
        self.exchange.handshake()
        self.link.receiver = self
        return True

    async def ask(
        self,
        request: RenderedRequest,
        manner: Manner,
        leave: Callable[[Reply], bool] | None = None,
        mark: str = "",
    ) -> Reply:
        """Ask something, and hear the reply to its end, and a little longer."""
        done = self.exchange
        if done.said is not None:
            done.said.append(_said(request).decode("utf-8", "replace"))
        exchange = Exchange(done.method, done.url, done.request_headers, _said(request), manner.pause_s, done.status)
        exchange.headers, exchange.logs, exchange.lines = done.headers, done.logs, done.lines
        exchange.said = [_said(request).decode("utf-8", "replace")]
        reply = Reply(exchange, on_socket=True, mark=mark)
        self._witness = Witness(reply, self._spec.dialect, manner.gone, leave)
        await over_socket(self.link, self._spec.endpoint, request, self._witness, manner, self)
        if exchange.ending == Ending.RESPONSE_END:
            await asyncio.sleep(AFTER_S)
        self._witness = None
        return reply

    def say(self, *texts: str) -> None:
        """Send messages on a WebSocket, whatever they are."""
        self.link.send(RenderedRequest(send=texts))

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.exchange.lines[-1].write(data)

    async def hears(self, *names: str, within_s: float) -> Seen | None:
        """The first event of one of these names that came outside of a reply, or comes within the time."""
        try:
            async with asyncio.timeout(within_s):
                while True:
                    self._changed.clear()
                    for event in self.heard:
                        if event.name in names:
                            return event
                    await self._changed.wait()
        except TimeoutError:
            return None

    async def is_closed(self, within_s: float) -> bool:
        """Whether the target ends the connection within the time."""
        try:
            async with asyncio.timeout(within_s):
                while self.is_open:  # noqa: ASYNC110 - a link has no event for its end
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            return False
        return True

    def leave(self) -> None:
        """Close at once, without a word."""
        self.link.abort()

    async def close(self) -> None:
        """Close as the protocol asks for it."""
        await self._user.close()

    def take(self, arrivals: Sequence[Arrival]) -> None:
        """What came on the connection outside of a reply."""
        for arrival in arrivals:
            for message in self.link.reader.read(arrival):
                if self._witness is not None:
                    self._witness.message(message, arrival.at_ns)
                name, data = self._spec.dialect.identify(message)
                self.heard.append(Seen(arrival.at_ns, name, "", data, None, message.offset))
            if isinstance(arrival, Ended):
                self.ended = arrival
        self._changed.set()


def _said(request: RenderedRequest) -> bytes:
    """What a request says on a socket, for whoever reads a log."""
    if request.emit is not None:
        event, arguments = request.emit
        return json.dumps([event, *arguments], ensure_ascii=False).encode("utf-8", "replace")
    return "\n".join(request.send).encode("utf-8", "replace")
