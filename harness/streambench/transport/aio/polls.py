"""The event loop that knows until when a socket was empty: what bounds how long something waited to be read.

A socket that this poll found ready, and the one before did not, was empty at the one before. While a poll waits nothing
is ready, and the first segment wakes it (`run_delay`).
"""

from __future__ import annotations

import asyncio
import select
import selectors
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

from streambench.clock import monotonic_ns
from streambench.interrupts import run_loop
from streambench.transport.aio.backlog import backlog_of
from streambench.transport.aio.readers import Readers, Reading
from streambench.transport.run_delay import RunDelay

MAX_SELECTED = 1024  # descriptors below it can be waited for with `select`

T = TypeVar("T")


class Polls(selectors.DefaultSelector):
    """Polls, and remembers what a poll says of the sockets that it found ready.

    `empty_ns`: a socket that the newest poll found ready, and that had been read empty before, was empty until then, at
    least. Made in the thread that polls.
    """

    def __init__(self) -> None:
        super().__init__()
        self.empty_ns = self._polled_ns = monotonic_ns()
        self._delay = RunDelay()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As of any selector."""
        begun_ns = monotonic_ns()
        ready = super().select(0)
        if ready or timeout == 0:
            self.empty_ns, self._polled_ns = self._polled_ns, begun_ns
            return ready
        ready = self._wait(timeout)
        self.empty_ns = self._polled_ns = self._delay.empty_until(begun_ns, monotonic_ns())
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
    """The event loop of whatever measures. `polls` is its selector, `reading` who calls the readers of its sockets."""

    def __init__(self) -> None:
        self.polls = Polls()
        super().__init__(self.polls)
        self._readers = Readers(self, backlog_of(self)) if hasattr(select, "epoll") else None
        self.reading: Reading = self._readers or self

    def close(self) -> None:
        """Give everything back."""
        if self._readers is not None:
            self._readers.close()
            self._readers = None
        super().close()


def run_polled(work: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, on a loop that knows its polls."""
    return run_loop(work, PolledLoop)
