"""One pacer for all streams: absolute deadlines, sorted by slots of a millisecond, behind a single timer.

A task a stream that sleeps between chunks drifts, and a thousand of them wake the loop a thousand times; here a late
write never moves the ones after it, and what is due is written in one pass. What is due later waits unsorted in its
slot: a heap of all streams would be moved about with every write.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from bisect import insort
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import TypeAlias

NS_PER_S = 1_000_000_000
SLOT_BITS = 20
"""A slot lasts 2**20 ns."""
PASS_NS = 30_000_000
"""Writes in a row take so long before a request, a closed connection or a signal gets its turn. A request takes a
millisecond or two: were passes as short, a thousand streams that are read as fast as they can be would fall behind."""
BULK_NS = 1_000_000
"""In each pass, the time for replies that are due as a whole: they take turns, and nobody waits for them."""

Step: TypeAlias = Callable[[], int | None]
Due: TypeAlias = tuple[int, int, Step]
"""A moment, a number that keeps the order among equals, and what is called then. Both numbers are negative, so that the
last of a sorted list is the first to be called."""


class Pacer:
    """Calls back at absolute moments of CLOCK_MONOTONIC."""

    def __init__(self) -> None:
        # The slot that is being worked off, sorted; the later ones by their numbers, and their numbers as a heap.
        self._now: list[Due] = []
        self._now_number = 0
        self._later: dict[int, list[Due]] = {}
        self._numbers: list[int] = []
        # Replies whose next write is due no later than their last one, each with the moment when it was.
        self._bulk: deque[tuple[int, Step]] = deque()
        self._order = count(0, -1)
        self._timer: asyncio.Handle | None = None
        self._timer_ns = 0

    def start(self, first_ns: int, step: Step) -> None:
        """Call `step` at `first_ns`; it returns the moment of its next call, or None when it is done."""
        self._put(first_ns, step)
        self._arm()

    def _put(self, due_ns: int, step: Step) -> None:
        due = (-due_ns, next(self._order), step)
        number = due_ns >> SLOT_BITS
        if number <= self._now_number:
            insort(self._now, due)
        elif number in self._later:
            self._later[number].append(due)
        else:
            self._later[number] = [due]
            heapq.heappush(self._numbers, number)

    def _next_ns(self) -> int | None:
        """When the next step is due; None where there is none. The slot of that moment is the one being worked off."""
        if not self._now:
            if not self._numbers:
                return None
            self._now_number = heapq.heappop(self._numbers)
            self._now = self._later.pop(self._now_number)
            self._now.sort()
        return -self._now[-1][0]

    def _arm(self) -> None:
        next_ns = 0 if self._bulk else self._next_ns()
        if next_ns is None:
            return
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
        now_ns = time.monotonic_ns()
        end_ns = now_ns + PASS_NS
        while (due_ns := self._next_ns()) is not None and due_ns <= now_ns < end_ns:
            step = self._now.pop()[2]
            next_ns = step()
            if next_ns is not None:
                if next_ns > due_ns:
                    self._put(next_ns, step)
                else:
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
                self._put(next_ns, step)
            elif next_ns is not None:
                self._bulk.append((due_ns, step))
            now_ns = time.monotonic_ns()
