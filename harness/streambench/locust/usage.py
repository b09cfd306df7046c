"""A worker's CPU and memory usage, as Locust's Workers tab shows it."""

from __future__ import annotations

import resource
import time

from streambench.clock import MonotonicClock
from streambench.units import NS_PER_S

_clock = MonotonicClock()


class CpuMeter:
    """The process's share of a core since it was last asked, in percent, at most once a second."""

    def __init__(self) -> None:
        self._at_ns = _clock.now_ns()
        self._used_ns = time.process_time_ns()
        self._percent = 0.0

    def percent(self, now_ns: int) -> float:
        """The share of the last second or so."""
        if now_ns - self._at_ns >= NS_PER_S:
            used_ns = time.process_time_ns()
            self._percent = 100 * (used_ns - self._used_ns) / (now_ns - self._at_ns)
            self._at_ns, self._used_ns = now_ns, used_ns
        return self._percent


def memory_bytes() -> int:
    """The most memory that the process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
