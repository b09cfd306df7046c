"""One pacer for all streams: a heap of absolute deadlines behind a single timer.

A task a stream that sleeps between chunks drifts, and a thousand of them wake the loop a thousand times; here a late
write never moves the ones after it, and what is due is written in one pass.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable
from itertools import count

NS_PER_S = 1_000_000_000
PASS_NS = 5_000_000
"""Writes in a row take so long before a request, a closed connection or a signal gets its turn."""


class Pacer:
    """Calls back at absolute moments of CLOCK_MONOTONIC."""

    def __init__(self) -> None:
        self._due: list[tuple[int, int, Callable[[], int | None]]] = []
        self._order = count()
        self._timer: asyncio.Handle | None = None
        self._timer_ns = 0

    def start(self, first_ns: int, step: Callable[[], int | None]) -> None:
        """Call `step` at `first_ns`; it returns the moment of its next call, or None when it is done."""
        heapq.heappush(self._due, (first_ns, next(self._order), step))
        self._arm()

    def _arm(self) -> None:
        if not self._due:
            return
        next_ns = self._due[0][0]
        if self._timer is not None:
            if self._timer_ns <= next_ns:
                return
            self._timer.cancel()
        loop = asyncio.get_running_loop()
        if next_ns <= time.monotonic_ns():
            self._timer = loop.call_soon(self._run)
        else:
            # The loop's clock is CLOCK_MONOTONIC in seconds.
            self._timer = loop.call_at(next_ns / NS_PER_S, self._run)
        self._timer_ns = next_ns

    def _run(self) -> None:
        self._timer = None
        due = self._due
        now_ns = time.monotonic_ns()
        end_ns = now_ns + PASS_NS
        while due and due[0][0] <= now_ns < end_ns:
            step = due[0][2]
            next_ns = step()
            if next_ns is None:
                heapq.heappop(due)
            else:
                # Who is late goes behind those who are due now: a long reply that is due at once holds up nobody.
                heapq.heapreplace(due, (max(next_ns, now_ns), next(self._order), step))
            now_ns = time.monotonic_ns()
        self._arm()
