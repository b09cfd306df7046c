"""The listening socket, which can be closed for a while so that connections are really refused."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

BACKLOG = 4096

Stop: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
"""Stops accepting, and closes the listening socket."""


class Listener:
    """One address that a server listens on. After `open`, `port` is the real one.

    `accept` begins to accept connections on a listening socket.
    """

    def __init__(self, host: str, port: int, accept: Callable[[socket.socket], Awaitable[Stop]]) -> None:
        self._accept = accept
        self._host = host
        self.port = port
        self._stop: Stop | None = None
        self._reopen: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Listen. Raises OSError."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listening = socket.create_server((self._host, self.port), family=family, backlog=BACKLOG)
        listening.setblocking(False)
        self.port = listening.getsockname()[1]
        self._stop = await self._accept(listening)
        listening.listen(BACKLOG)

    async def close_for(self, ns: int) -> None:
        """Refuse connections for a while; those that are open stay. A longer closure replaces a shorter one."""
        loop = asyncio.get_running_loop()
        if self._reopen is not None:
            if self._reopen.when() >= loop.time() + ns / 1e9:
                return
            self._reopen.cancel()
        self._reopen = loop.call_later(ns / 1e9, self._open_again)
        if self._stop is not None:
            stop, self._stop = self._stop, None
            await stop()

    def _open_again(self) -> None:
        self._reopen = None
        self._task = asyncio.get_running_loop().create_task(self.open())

    async def close(self) -> None:
        """Listen no more, and do not open again."""
        if self._reopen is not None:
            self._reopen.cancel()
        if self._stop is not None:
            stop, self._stop = self._stop, None
            await stop()

    @property
    def url(self) -> str:
        """The address as a URL."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"
