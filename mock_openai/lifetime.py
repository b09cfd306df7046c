"""The lifetime of a server that another program started."""

from __future__ import annotations

import asyncio
import os

ORPHAN_CHECK_S = 1.0


async def stopped_or_orphaned(stop: asyncio.Event, parent: int) -> None:
    """Until `stop`, or until the process has another parent: who reads our JSON line has died without ending us."""
    while os.getppid() == parent:
        try:
            async with asyncio.timeout(ORPHAN_CHECK_S):
                await stop.wait()
                return
        except TimeoutError:
            pass
