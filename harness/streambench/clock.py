"""The one clock: CLOCK_MONOTONIC in integer nanoseconds.

On a Linux host all processes share it, so stamps of the client and of an upstream on the same host subtract
without synchronisation.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Protocol

_MONOTONIC = "clock_gettime(CLOCK_MONOTONIC)"
monotonic_ns: Callable[[], int] = (
    time.monotonic_ns
    if time.get_clock_info("monotonic").implementation == _MONOTONIC
    else partial(time.clock_gettime_ns, time.CLOCK_MONOTONIC)
)
"""The real clock, for what asks for every read: no frame of Python's is between the caller and the system."""


class Clock(Protocol):
    """Where a component takes the present moment from; tests pass a `FakeClock`."""

    def now_ns(self) -> int:
        """The present moment in nanoseconds since an arbitrary origin; never goes back."""
        ...


class MonotonicClock:
    """The real clock."""

    __slots__ = ()

    def now_ns(self) -> int:
        """CLOCK_MONOTONIC: on a Linux host, the same for every process."""
        return monotonic_ns()


class FakeClock:
    """A clock that moves when it is told to, so that no test has to sleep."""

    __slots__ = ("_now_ns",)

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        """The moment that it was last told."""
        return self._now_ns

    def advance(self, by_ns: int) -> None:
        """Move forward by `by_ns` nanoseconds; a negative step is a mistake of the test."""
        if by_ns < 0:
            raise ValueError("a monotonic clock cannot go back")
        self._now_ns += by_ns
