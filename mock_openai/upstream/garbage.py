"""Garbage is collected when nobody waits: a collection in the middle of a thousand streams would make all of them late.

Hardly any is left to the collector: what a reply uses is freed when it ends. What remains are connections that have
closed, a few objects each.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Collection

THRESHOLDS = (1_000, 500, 1_000)
"""Young objects are looked at a thousand at a time, which takes a fraction of a millisecond. Those that are left, such
as all that open streams use, are looked at when the server is idle, or after as much as some five thousand requests."""
WORTH_IT = 10
"""Collections of the young after which an idle server collects the older ones; and of those, before it collects all."""
IDLE_S = 0.05


def collect_seldom() -> None:
    """What there is now stays for good, and what comes is not collected while it may be in use."""
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)


def collect_soon(open_requests: Collection[object]) -> None:
    """Collect if that is worth it and no request comes for a moment. To be called when none is left."""
    if gc.get_count()[1] >= WORTH_IT:
        asyncio.get_running_loop().call_later(IDLE_S, _collect, open_requests)


def _collect(open_requests: Collection[object]) -> None:
    _, young, older = gc.get_count()
    if not open_requests and young >= WORTH_IT:
        gc.collect(2 if older >= WORTH_IT else 1)
