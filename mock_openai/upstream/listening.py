"""The listening socket, which can be closed for a while so that connections are really refused."""

from __future__ import annotations

import asyncio
import socket

from aiohttp import web

BACKLOG = 4096
ACCEPTED_AT_ONCE = 2
"""Connections that are accepted in a round of the loop: a thousand in a row would hold up everything that is due."""


class Listener:
    """One address that a server listens on. After `open`, `port` is the real one."""

    def __init__(self, runner: web.AppRunner, host: str, port: int) -> None:
        self._runner = runner
        self._host = host
        self.port = port
        self._site: web.SockSite | None = None
        self._reopen: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Listen. Raises OSError."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listening = socket.create_server((self._host, self.port), family=family, backlog=BACKLOG)
        self.port = listening.getsockname()[1]
        # asyncio takes its `backlog` both for the queue in the kernel and for how many connections it accepts in a row.
        self._site = web.SockSite(self._runner, listening, backlog=ACCEPTED_AT_ONCE)
        await self._site.start()
        listening.listen(BACKLOG)

    def close_for(self, ns: int) -> None:
        """Refuse connections for a while; those that are open stay. A longer closure replaces a shorter one."""
        loop = asyncio.get_running_loop()
        if self._reopen is not None:
            if self._reopen.when() >= loop.time() + ns / 1e9:
                return
            self._reopen.cancel()
        self._reopen = loop.call_later(ns / 1e9, self._open_again)
        if self._site is not None:
            site, self._site = self._site, None
            self._task = loop.create_task(site.stop())

    def _open_again(self) -> None:
        self._reopen = None
        self._task = asyncio.get_running_loop().create_task(self.open())

    def stop(self) -> None:
        """Do not open again."""
        if self._reopen is not None:
            self._reopen.cancel()

    @property
    def url(self) -> str:
        """The address as a URL."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"
