"""The parent of several workers: it accepts connections, hands them out in turn, and keeps the state of all.

Connections are accepted in one place and handed out in turn, so that each worker has an even share, and none is lost in
the queue of a worker that has died.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterable
from typing import Any

from mock_openai.upstream.app import UpstreamSettings, plans_of
from mock_openai.upstream.desk import OwnDesk
from mock_openai.upstream.ledger import OwnLedger
from mock_openai.upstream.listening import Listener, Stop
from mock_openai.upstream.plans import Plans
from mock_openai.upstream.workers.channel import ChannelLost
from mock_openai.upstream.workers.link import Link
from mock_openai.upstream.workers.worker import Hired

log = logging.getLogger(__name__)

ACCEPTED_AT_ONCE = 32
FULL_S = 0.005
"""How long nothing is accepted if every worker has as many connections waiting as it can."""
SYNC_S = 2.0
END_S = 1.5


class Crew:
    """A server of several processes."""

    def __init__(self, settings: UpstreamSettings, host: str, port: int, hired: Iterable[Hired]) -> None:
        self._hired = list(hired)
        self._plans = plans_of(settings)
        self._ledger = OwnLedger()
        self._desk = CrewDesk(self._plans, self._ledger, self)
        self._listener = Listener(host, port, self._accept)
        self._links: list[Link] = []
        self._tell_broken: Callable[[], None] = lambda: None
        self._turn = 0
        self._ending = False

    @property
    def links(self) -> list[Link]:
        """All workers, also those that have ended."""
        return self._links

    @property
    def pids(self) -> list[int]:
        """The processes that answer requests."""
        return [link.pid for link in self._links]

    @property
    def broken(self) -> bool:
        """Nobody answers requests."""
        return not self.alive

    @property
    def alive(self) -> list[Link]:
        """The workers that answer requests."""
        return [link for link in self._links if link.alive]

    async def open(self, broken: Callable[[], None]) -> str:
        """Answer requests; returns the URL. `broken` is called when no worker is left. Raises OSError."""
        self._tell_broken = broken
        for hired in self._hired:
            link = Link(hired.pid, hired.handed, self._ledger, self._desk, self._lost)
            self._links.append(link)
            await link.channel.open(hired.control)
        await asyncio.gather(*(link.ready.wait() for link in self._links))
        await self._listener.open()
        self._ledger.refuse_all = self._listener.close_for
        return self._listener.url

    async def _accept(self, listening: socket.socket) -> Stop:
        loop = asyncio.get_running_loop()
        accepted: list[socket.socket] = []  # at most one, that no worker could take yet

        def accept() -> None:
            for _ in range(ACCEPTED_AT_ONCE):
                if not accepted:
                    try:
                        accepted.append(listening.accept()[0])
                    except OSError:
                        return
                if not self._hand_out(accepted[0]):
                    loop.remove_reader(listening)
                    loop.call_later(FULL_S, again)
                    return
                accepted.pop().close()

        def again() -> None:
            if listening.fileno() >= 0:
                loop.add_reader(listening, accept)

        async def stop() -> None:
            loop.remove_reader(listening)
            listening.close()
            while accepted:
                accepted.pop().close()

        loop.add_reader(listening, accept)
        return stop

    def _hand_out(self, connection: socket.socket) -> bool:
        """Give a connection to the worker whose turn it is, or else to the next that takes it."""
        for _ in self._links:
            self._turn = (self._turn + 1) % len(self._links)
            link = self._links[self._turn]
            if link.alive and link.hand_over(connection):
                return True
        return False

    async def tell_plans(self, name: str, argument: Any) -> None:
        """Have all workers change their plans as those here were changed."""
        await asyncio.gather(*(link.channel.call(name, argument) for link in self.alive), return_exceptions=True)

    async def gather_news(self) -> None:
        """Have all workers tell what they have written up to now."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SYNC_S):
                calls = (link.channel.call("tell_all") for link in self.alive)
                await asyncio.gather(*calls, return_exceptions=True)

    def _lost(self, link: Link) -> None:
        if self._ending:
            return
        if not self.alive:
            self._tell_broken()
        how = f"ended with {os.waitstatus_to_exitcode(link.status)}"
        if os.WIFSIGNALED(link.status):
            how = f"was ended by {signal.Signals(os.WTERMSIG(link.status)).name}"
        log.warning(
            "streambench mock: worker %d %s: %d open replies are cut, in the journal `killed`; %d of %d workers go on",
            link.pid,
            how,
            link.lost_replies,
            len(self.alive),
            len(self._links),
        )

    async def close(self) -> None:
        """End all open requests, and say so in the journal."""
        self._ending = True
        await self._listener.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_S):
                await asyncio.gather(*(self._call(link, "shut_down") for link in self.alive))
                self._ledger.journal.end()
                for link in self.alive:
                    link.channel.tell("end")
                await asyncio.gather(*(link.channel.gone.wait() for link in self._links))
        for link in self.alive:
            link.kill()
        for link in self._links:
            if link.over is not None:
                await link.over

    async def _call(self, link: Link, name: str) -> None:
        with contextlib.suppress(ChannelLost):
            await link.channel.call(name)


class CrewDesk(OwnDesk):
    """The operations of a server of several processes: all of them know the same plans, and the journal is one."""

    def __init__(self, plans: Plans, ledger: OwnLedger, crew: Crew) -> None:
        super().__init__(plans, ledger)
        self._crew = crew

    async def put_plans(self, data: Any) -> list[str]:
        """As `Desk.put_plans`."""
        stored = await super().put_plans(data)
        await self._crew.tell_plans("put_plans", data)
        return stored

    async def delete_plans(self, plan: str | None) -> int:
        """As `Desk.delete_plans`."""
        deleted = await super().delete_plans(plan)
        await self._crew.tell_plans("delete_plans", plan)
        return deleted

    async def page(self, mark: str | None, plan: str | None, since: int, limit: int) -> bytes:
        """As `Desk.page`."""
        await self._crew.gather_news()
        return await super().page(mark, plan, since, limit)

    async def health(self) -> dict[str, Any]:
        """`status` is `degraded` when a worker has ended, and `workers` tells of each."""
        health = await super().health()
        links = self._crew.links
        health["workers"] = [
            {"pid": link.pid, "status": "ok" if link.alive else "ended", "open_requests": link.open_requests}
            for link in links
        ]
        if not all(link.alive for link in links):
            health["status"] = "degraded"
        return health
