"""Plain HTTP/1.1 requests, one after the other, on a stamped connection that stays open between them.

For protocols that send messages by many requests (Engine.IO's long-polling). What a response brings is taken in the
callback that read it, so that a message keeps the stamp of its arrival.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Protocol

from streambench.clock import MonotonicClock
from streambench.transport.aio.connect import open_channel
from streambench.transport.aio.connection import Channel
from streambench.transport.aio.turns import in_turns
from streambench.transport.arrivals import Arrival
from streambench.transport.failures import ConnectFailure, RequestFailed
from streambench.transport.http1 import Http1Connection
from streambench.transport.polling import Answer
from streambench.transport.requests import Request, remember_cookies
from streambench.transport.target import Endpoint, Location
from streambench.wire.limits import WireError, WireLimits

_clock = MonotonicClock()


class Answers(Protocol):
    """Who takes the answers to requests, one after the other."""

    def begin(self) -> Answer:
        """A request is about to be sent; what will be known of its answer."""
        ...

    def take(self, arrivals: list[Arrival]) -> Iterator[object]:
        """Take in the arrivals of a read, in steps that are short."""
        ...


class StatusOnly:
    """Takes answers whose status says all."""

    def __init__(self, limits: WireLimits) -> None:
        self._limits = limits
        self._answer = Answer(limits)

    def begin(self) -> Answer:
        """A request is about to be sent."""
        self._answer = Answer(self._limits)
        return self._answer

    def take(self, arrivals: list[Arrival]) -> Iterator[None]:
        """Look for the end of the answer."""
        for arrival in arrivals:
            try:
                for _ in self._answer.body(arrival):
                    yield  # its status is all that is asked for
            except WireError as error:
                self._answer.fail(RequestFailed(error.error_class, str(error)))


class RequestConnection:
    """One user's kept connection for requests to one host, opened when it is needed; the layer on its channel.

    `tell_resent` is called for each request that has to be sent again, as it happens.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        cookies: dict[str, str],
        answers: Answers,
        tell_resent: Callable[[], None] = lambda: None,
    ) -> None:
        self._endpoint = endpoint
        self._cookies = cookies
        self._answers = answers
        self._tell_resent = tell_resent
        self._http = Http1Connection(endpoint)
        self._channel: Channel | None = None
        self._answer: Answer | None = None
        self._answered: asyncio.Future[None] | None = None
        self.resent = 0  # requests that were sent again, since a kept connection ended without an answer

    async def ask(self, where: Location, request: Request, *, sent: Callable[[int], None] | None = None) -> None:
        """One request and its answer. Raises RequestFailed.

        `sent` is called with the moment at which the request was handed to the kernel. Cancelling closes the connection
        at once.
        """
        first_failure: RequestFailed | None = None
        while True:
            reused = self._channel is not None and self._channel.open
            try:
                await self._ask_once(where, request, sent)
            except RequestFailed as failure:
                # A server may close a kept connection at the moment in which we use it; then it has read nothing.
                if reused and failure.closed_idle:
                    first_failure = failure
                    self.resent += 1
                    self._tell_resent()
                    continue
                if first_failure is None:
                    raise
                # The second try failed as well, so it was no such moment: the server has gone.
                raise first_failure from failure
            return

    def settle(self) -> None:
        """Take in what was read until now."""
        if self._channel is not None:
            self._channel.settle()

    def abort(self) -> None:
        """Close at once."""
        if self._channel is not None:
            self._channel.close()

    async def _ask_once(self, where: Location, request: Request, sent: Callable[[int], None] | None) -> None:
        if self._channel is None or not self._channel.open:
            try:
                self._channel = await open_channel(self._endpoint, where)
            except ConnectFailure as failure:
                raise RequestFailed(failure.error, str(failure)) from failure
            self._http = Http1Connection(self._endpoint)
        channel = self._channel
        answer = self._answer = self._answers.begin()
        self._answered = asyncio.get_running_loop().create_future()
        channel.layer = self
        try:
            sent_ns = _clock.now_ns()  # before the call: on loopback the answer may be here before it returns
            channel.write(self._http.request(where, request, self._cookies))
            if await channel.flushed():
                sent_ns = _clock.now_ns()
            if sent is not None:
                sent(sent_ns)
            await self._answered
        except BaseException:
            channel.close()
            raise
        if not self._http.usable:
            channel.close()
        remember_cookies(self._cookies, self._http.set_cookies)
        if answer.failure is not None:
            raise answer.failure

    # The layer

    def received(self, data: bytes, at_ns: int, *, kernel: bool, early_ns: int = 0) -> None:
        """Take in what a read brought; bytes that belong to no answer make the connection useless."""
        self._take(self._http.receive(data, at_ns, kernel=kernel, early_ns=early_ns))

    def closed(self, at_ns: int, *, reset: bool) -> None:
        """The connection has ended."""
        self._take(self._http.closed(at_ns, reset=reset))

    def _take(self, arrivals: list[Arrival]) -> None:
        answer, answered = self._answer, self._answered
        if answer is None or answered is None or answered.done():
            if self._channel is not None:
                self._channel.close()
            return
        assert self._channel is not None
        in_turns(self._channel, self._taken(arrivals, answer, answered))

    def _taken(self, arrivals: list[Arrival], answer: Answer, answered: asyncio.Future[None]) -> Iterator[None]:
        for _ in self._answers.take(arrivals):
            yield
            if answered.done():
                return
        if (answer.complete or answer.failure is not None) and not answered.done():
            answered.set_result(None)
