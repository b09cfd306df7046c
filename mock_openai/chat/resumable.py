"""Resumable event streams: after a lost connection, a client continues where it was.

A browser that reconnects names the last event that it got, `Last-Event-ID`. The events of a stream are kept for a
while, so the ones after it can be sent.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

MAX_STREAMS = 1000
MAX_EVENTS = 25_000  # of one stream
UNSENT_EVENTS = 100  # then the reader has to read before there are more
KEPT_S = 60.0

Send = Callable[[dict[str, Any]], Awaitable[None]]


class ResumableStream:
    """The events of one reply, made by a task of its own, and read by whoever is there. Numbers begin at 1."""

    def __init__(self, owner: str) -> None:
        self.id = uuid.uuid4().hex
        self.owner = owner
        self._events: list[dict[str, Any]] = []
        self._ended = False
        self._failure: Exception | None = None
        self._changed = asyncio.Condition()
        self._readers = 0
        self._read = 0
        self._task: asyncio.Task[None] | None = None
        self._leaving: asyncio.TimerHandle | None = None

    def start(self, make: Callable[[Send], Awaitable[None]]) -> None:
        """Begin to make events: `make` sends each, and returns after the last."""
        self._task = asyncio.create_task(self._make(make))

    async def _make(self, make: Callable[[Send], Awaitable[None]]) -> None:
        try:
            await make(self._put)
        except Exception as failure:
            self._failure = failure  # for who reads
        finally:
            self._ended = True
            async with self._changed:
                self._changed.notify_all()

    async def _put(self, event: dict[str, Any]) -> None:
        if len(self._events) >= MAX_EVENTS:
            raise ConnectionResetError("the stream has too many events to be kept")
        async with self._changed:
            self._events.append(event)
            self._changed.notify_all()
            # Nobody reads while the client is away: then it is the time that bounds what is kept.
            while self._readers and len(self._events) - self._read > UNSENT_EVENTS:
                await self._changed.wait()

    async def after(self, number: int) -> AsyncGenerator[tuple[int, dict[str, Any]], None]:
        """The events after the one of this number, those that are yet to come too. Raises what making them raised."""
        while True:
            async with self._changed:
                while number >= len(self._events) and not self._ended:
                    await self._changed.wait()
                if number >= len(self._events):
                    if self._failure is not None:
                        raise self._failure
                    return
            number += 1
            yield number, self._events[number - 1]
            async with self._changed:
                self._read = max(self._read, number)
                self._changed.notify_all()

    def join(self) -> None:
        """A client reads, for the first time or again."""
        self._readers += 1
        if self._leaving is not None:
            self._leaving.cancel()

    def leave(self, patience_s: float) -> None:
        """A client reads no more. Unless one comes within `patience_s`, the reply is stopped."""
        self._readers -= 1
        if self._readers or self._ended:
            return
        if patience_s:
            self._leaving = asyncio.get_running_loop().call_later(patience_s, self.stop)
        else:
            self.stop()

    def stop(self) -> None:
        """Stop making events."""
        if self._task is not None:
            self._task.cancel()

    @property
    def length(self) -> int | None:
        """How many events it has; None while there may be more."""
        return len(self._events) if self._ended else None


class ResumableStreams:
    """The streams that can be come back to: those on their way, and for a minute those that have ended."""

    def __init__(self) -> None:
        self._streams: OrderedDict[str, ResumableStream] = OrderedDict()

    def open(self, owner: str) -> ResumableStream:
        """A new stream of a user."""
        stream = ResumableStream(owner)
        self._streams[stream.id] = stream
        if len(self._streams) > MAX_STREAMS:
            self._streams.popitem(last=False)
        return stream

    def find(self, owner: str, event_id: str) -> tuple[ResumableStream, int] | None:
        """The stream of an event and the event's number, where it is the owner's."""
        name, _, number = event_id.partition(".")
        stream = self._streams.get(name)
        if stream is None or stream.owner != owner or not (number.isascii() and number.isdigit()):
            return None
        return stream, int(number)

    def forget_soon(self, stream: ResumableStream) -> None:
        """Nobody reads a stream any more, for now."""
        asyncio.get_running_loop().call_later(KEPT_S, self._streams.pop, stream.id, None)

    async def stop(self) -> None:
        """The server goes away."""
        for stream in self._streams.values():
            stream.stop()
