"""The tasks of a run: all of them end with it, and the first internal error ends it at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Tasks:
    """Keeps what runs: streams, and records that are being written.

    `failed` is set when one of them raises; `failure` is then what the first of them raised.
    """

    def __init__(self) -> None:
        self.failed = asyncio.Event()
        self.failure: BaseException | None = None
        self._streams: set[asyncio.Task[None]] = set()
        self._writes: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a user or an arrival; it is cancelled where it does not end in time."""
        task = asyncio.ensure_future(work)
        self._streams.add(task)
        self._idle.clear()
        task.add_done_callback(self._ended)
        return task

    def write(self, work: Coroutine[Any, Any, None]) -> None:
        """Write a record: nobody waits for it, and it is never cancelled."""
        task = asyncio.ensure_future(work)
        self._writes.add(task)
        task.add_done_callback(self._ended)

    async def idle(self) -> None:
        """Wait until no stream is open. The work is one step for each task, however many there are."""
        await self._idle.wait()

    async def cancel(self) -> None:
        """Cancel every stream and wait until all have been recorded."""
        for task in self._streams:
            task.cancel()
        await asyncio.gather(*self._streams, return_exceptions=True)

    async def written(self) -> None:
        """Wait until every record has been written."""
        while self._writes:
            await asyncio.wait(self._writes)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._streams.discard(task)
        self._writes.discard(task)
        if not self._streams:
            self._idle.set()
        if not task.cancelled() and (failure := task.exception()) is not None:
            self.failure = self.failure or failure
            self.failed.set()
