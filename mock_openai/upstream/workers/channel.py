"""Calls between a parent and its worker, over a pair of connected sockets.

A message is a pickle with its length before it. Only processes that were forked from one another have its two ends.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import pickle
import socket
import struct
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, cast

log = logging.getLogger(__name__)

LENGTH = struct.Struct("<Q")

Answers = Mapping[str, Callable[..., Any]]
"""What the other side can call, by name: functions, or coroutine functions for what takes time."""


class ChannelLost(ConnectionError):
    """The process at the other end has ended."""


class Channel(asyncio.Protocol):
    """One end. `lost` is called once, when the other process has ended."""

    def __init__(self, answers: Answers, lost: Callable[[], None]) -> None:
        self._answers = answers
        self._lost = lost
        self._buffer = bytearray()
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._answering: set[asyncio.Task[None]] = set()
        self._transport: asyncio.WriteTransport | None = None
        self.gone = asyncio.Event()

    async def open(self, raw: socket.socket) -> None:
        """Talk over one of a pair of sockets."""
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=raw)

    async def call(self, name: str, *arguments: Any) -> Any:
        """Have the other side do something; returns what it returned, or raises what it raised. Raises ChannelLost."""
        number = next(self._numbers)
        self._send((name, number, arguments))
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            return await answer
        finally:
            self._waiting.pop(number, None)

    def tell(self, name: str, *arguments: Any) -> None:
        """Have the other side do something, in the order of calls; nothing comes back, also if it has ended."""
        if self._transport is not None:
            self._send((name, None, arguments))

    def _send(self, message: Any) -> None:
        if self._transport is None:
            raise ChannelLost
        data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
        self._transport.write(LENGTH.pack(len(data)) + data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio says."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """As asyncio says."""
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= LENGTH.size:
            (size,) = LENGTH.unpack_from(buffer, start)
            end = start + LENGTH.size + size
            if len(buffer) < end:
                break
            message = pickle.loads(memoryview(buffer)[start + LENGTH.size : end].tobytes())  # noqa: S301
            start = end
            self._take(*message)
        del buffer[:start]

    def _take(self, name: str | None, number: int | None, arguments: Any) -> None:
        if name is None:
            self._answered(cast("int", number), *arguments)
            return
        try:
            value = self._answers[name](*arguments)
        except Exception as error:
            self._reply(name, number, error)
            return
        if inspect.iscoroutine(value):
            task = asyncio.get_running_loop().create_task(self._finish(name, number, value))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        else:
            self._reply(name, number, value)

    async def _finish(self, name: str, number: int | None, value: Any) -> None:
        try:
            result = await value
        except Exception as error:
            result = error
        self._reply(name, number, result)

    def _reply(self, name: str, number: int | None, value: Any) -> None:
        """`value` is an exception if that is to be raised by the caller."""
        if isinstance(value, Exception) and not isinstance(value, ValueError):
            log.error("a bug in the fake upstream: %s", name, exc_info=value)
        if number is not None and self._transport is not None:
            self._send((None, number, (value,)))

    def _answered(self, number: int, value: Any) -> None:
        waiting = self._waiting.get(number)
        if waiting is None or waiting.done():
            return
        if isinstance(value, Exception):
            waiting.set_exception(value)
        else:
            waiting.set_result(value)

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio says."""
        self._transport = None
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(ChannelLost())
        for task in self._answering:
            task.cancel()
        self.gone.set()
        self._lost()

    def close(self) -> None:
        """Say no more; what was said still arrives."""
        if self._transport is not None:
            self._transport.close()
