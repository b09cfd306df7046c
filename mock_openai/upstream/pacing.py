"""One pacer for all streams: a heap of absolute deadlines behind a single timer.

A task a stream that sleeps between chunks drifts, and a thousand of them wake the loop a thousand times; here a late
write never moves the ones after it, and what is due is written in one pass.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import deque
from collections.abc import Callable
from itertools import count

NS_PER_S = 1_000_000_000
PASS_NS = 30_000_000
"""Writes in a row take so long before a request, a closed connection or a signal gets its turn. A request takes a
millisecond or two: were passes as short, a thousand streams that are read as fast as they can be would fall behind."""
BULK_NS = 1_000_000
"""In each pass, the time for replies that are due as a whole: they take turns, and nobody waits for them."""


class Pacer:
    """Calls back at absolute moments of CLOCK_MONOTONIC."""

    def __init__(self) -> None:
        self._due: list[tuple[int, int, Callable[[], int | None]]] = []
        # Replies whose next write is due no later than their last one, each with the moment when it was.
        self._bulk: deque[tuple[int, Callable[[], int | None]]] = deque()
        self._order = count()
        self._timer: asyncio.Handle | None = None
        self._timer_ns = 0

    def start(self, first_ns: int, step: Callable[[], int | None]) -> None:
        """Call `step` at `first_ns`; it returns the moment of its next call, or None when it is done."""
        heapq.heappush(self._due, (first_ns, next(self._order), step))
        self._arm()

    def _arm(self) -> None:
        if not self._due and not self._bulk:
            return
        next_ns = 0 if self._bulk else self._due[0][0]
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
            due_ns, _, step = due[0]
            next_ns = step()
            if next_ns is None:
                heapq.heappop(due)
            elif next_ns > due_ns:
                heapq.heapreplace(due, (next_ns, next(self._order), step))
            else:
                heapq.heappop(due)
                self._bulk.append((due_ns, step))
            now_ns = time.monotonic_ns()
        self._run_bulk(now_ns)
        self._arm()

    def _run_bulk(self, now_ns: int) -> None:
        end_ns = now_ns + BULK_NS
        while self._bulk and now_ns < end_ns:
            due_ns, step = self._bulk.popleft()
            next_ns = step()
            if next_ns is not None and next_ns > due_ns:
                heapq.heappush(self._due, (next_ns, next(self._order), step))
            elif next_ns is not None:
                self._bulk.append((due_ns, step))
            now_ns = time.monotonic_ns()
