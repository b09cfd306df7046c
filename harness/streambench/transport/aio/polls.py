"""The event loop that knows until when a socket was empty: what bounds how long something waited to be read.

A socket that this poll found ready, and the one before did not, was empty at the one before. While a poll waits nothing
is ready, and the first segment wakes it; between that moment and our return from the poll lies only the time that the
thread waited for a CPU, which Linux counts (`schedstat`).
"""

from __future__ import annotations

import asyncio
import os
import select
import selectors
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from streambench.clock import MonotonicClock

SHORT_WAIT_NS = 50_000  # of a wait that short, the beginning is bound enough
WAKING_NS = 50_000  # from the segment to the run queue, where an idle CPU has to be woken first
MAX_SELECTED = 1024  # descriptors below it can be waited for with `select`
SCHEDSTAT = "/proc/thread-self/schedstat"

T = TypeVar("T")

_clock = MonotonicClock()


class RunDelay:
    """How long the thread waited for a CPU while it could run, from one call of `since` to the next."""

    def __init__(self) -> None:
        self._file: int | None = None
        self._total_ns = 0
        try:
            self._file = os.open(SCHEDSTAT, os.O_RDONLY | os.O_CLOEXEC)
            self._total_ns = self._read(self._file)
        except (OSError, ValueError, IndexError):
            self.close()

    def since(self) -> int | None:
        """In ns, since the last call; None where the system does not tell."""
        if self._file is None:
            return None
        before_ns, self._total_ns = self._total_ns, self._read(self._file)
        return self._total_ns - before_ns

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @staticmethod
    def _read(file: int) -> int:
        return int(os.pread(file, 64, 0).split()[1])


class Polls(selectors.DefaultSelector):
    """Polls, and remembers what a poll says of the sockets that it found ready.

    `empty_ns`: a socket that the newest poll found ready, and that had been read empty before, was empty until then, at
    least. Made in the thread that polls.
    """

    def __init__(self) -> None:
        super().__init__()
        self.empty_ns = self._polled_ns = _clock.now_ns()
        self._delay = RunDelay()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As of any selector."""
        begun_ns = _clock.now_ns()
        ready = super().select(0)
        if ready or timeout == 0:
            self.empty_ns, self._polled_ns = self._polled_ns, begun_ns
            return ready
        ready = self._wait(timeout)
        empty_ns, back_ns = begun_ns, _clock.now_ns()
        if back_ns - begun_ns > SHORT_WAIT_NS:
            delay_ns = self._delay.since()
            if delay_ns is not None:
                empty_ns = max(begun_ns, back_ns - delay_ns - WAKING_NS)
        self.empty_ns = self._polled_ns = empty_ns
        return ready

    def _wait(self, timeout: float | None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait for `timeout` s at most.

        epoll counts in whole milliseconds, so a stream that is due in 0.2 ms would start 0.8 ms late. `select` counts
        in microseconds, and can wait for epoll's own descriptor.
        """
        if timeout is not None and timeout > 0 and sys.platform == "linux" and self.fileno() < MAX_SELECTED:
            select.select([self], [], [], timeout)
            timeout = 0
        return super().select(timeout)

    def close(self) -> None:
        """Give everything back."""
        self._delay.close()
        super().close()


class PolledLoop(asyncio.SelectorEventLoop):
    """The event loop of whatever measures. `polls` is its selector."""

    def __init__(self) -> None:
        self.polls = Polls()
        super().__init__(self.polls)


def run_polled(work: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, on a loop that knows its polls."""
    with asyncio.Runner(loop_factory=PolledLoop) as runner:
        return runner.run(work)
