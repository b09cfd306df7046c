"""Slots of load-dependent models: a number of requests at a time, the others in their order."""

from __future__ import annotations

import asyncio
from collections import deque

from mock_openai.upstream.profiles import Capacity

MAX_POOLS = 1000


class Pool:
    """The slots of one pool; how many there are is what the newest request says."""

    def __init__(self) -> None:
        self.active = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self, slots: int) -> None:
        """Wait for a slot; whoever came first gets it first. A cancelled wait leaves the queue."""
        if self.active < slots and not self._waiting:
            self.active += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.free()  # the slot was already ours
            else:
                self._waiting.remove(turn)
            raise

    def free(self) -> None:
        """Give a slot back: to the next in the queue, where there is one."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.active -= 1

    @property
    def idle(self) -> bool:
        """Nobody has a slot or waits for one."""
        return self.active == 0 and not self._waiting


class Pools:
    """The pools of a server by name."""

    def __init__(self) -> None:
        self._pools: dict[str, Pool] = {}

    def of(self, capacity: Capacity) -> Pool:
        """The pool that a capacity names; a new one where there is none."""
        pool = self._pools.get(capacity.pool)
        if pool is None:
            if len(self._pools) >= MAX_POOLS:
                self._pools = {name: pool for name, pool in self._pools.items() if not pool.idle}
            pool = self._pools[capacity.pool] = Pool()
        return pool
