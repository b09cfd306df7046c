"""A server's process that answers requests, and the server that is only one such process."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable

from aiohttp import web

from mock_openai.upstream.app import SERVICE, UpstreamSettings, app_of_one
from mock_openai.upstream.garbage import collect_seldom
from mock_openai.upstream.listening import Listener, Stop

SHUTDOWN_S = 0.5
IDLE_S = 60.0  # a connection without a whole request is closed then
ACCEPTED_AT_ONCE = 2
"""Connections that are accepted in a round of the loop: a thousand in a row would hold up everything that is due."""
SWITCH_S = 0.0002


async def running(app: web.Application) -> web.AppRunner:
    """The runner of an application, ready for connections."""
    runner = web.AppRunner(
        app, access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_S, keepalive_timeout=IDLE_S
    )
    await runner.setup()
    return runner


def keep_pauses_short() -> None:
    """Collect garbage seldom, and let the thread that composes long replies run for moments only.

    A collection over the objects of a thousand streams, or that thread's turn, would make all of them late.
    """
    collect_seldom()
    sys.setswitchinterval(SWITCH_S)


class Alone:
    """A server of one process."""

    def __init__(self, settings: UpstreamSettings, host: str, port: int) -> None:
        self._app, self._ledger = app_of_one(settings)
        self._listener = Listener(host, port, self._accept)
        self._runner: web.AppRunner | None = None

    @property
    def pids(self) -> list[int]:
        """No processes beside this one."""
        return []

    @property
    def broken(self) -> bool:
        """Nobody answers requests: never so, where this process does."""
        return False

    async def open(self, broken: Callable[[], None]) -> str:
        """Answer requests; returns the URL. `broken` is never called. Raises OSError."""
        self._runner = await running(self._app)
        await self._listener.open()
        self._ledger.refuse_all = self._listener.close_for
        keep_pauses_short()
        return self._listener.url

    async def _accept(self, listening: socket.socket) -> Stop:
        assert self._runner is not None
        # asyncio takes its `backlog` both for the queue in the kernel and for how many connections it accepts in a row.
        site = web.SockSite(self._runner, listening, backlog=ACCEPTED_AT_ONCE)
        await site.start()
        return site.stop

    async def close(self) -> None:
        """End all open requests, and say so in the journal."""
        self._app[SERVICE].shut_down()
        self._ledger.journal.end()
        await self._listener.close()
        if self._runner is not None:
            await self._runner.cleanup()
