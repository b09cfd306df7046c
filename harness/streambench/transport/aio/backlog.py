"""Read first, decode behind: what was read waits in one queue, and is worked off in slices between the reads.

Decoding costs several times what reading does. Were it done in the callback that reads, the sockets that are ready
meanwhile would be read late, and what their servers sent apart would come in one read with one stamp. So a burst costs
as long as reading takes, and what it means is found out afterwards; stamps are the kernel's, and know nothing of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from weakref import WeakKeyDictionary

from streambench.clock import MonotonicClock
from streambench.units import NS_PER_MS

SLICE_NS = NS_PER_MS  # how long sockets may wait for the decoder
MAX_BYTES = 32 << 20  # read and not decoded; beyond that reading waits, and so does the server

Deliver = Callable[[bytes, int, bool, int], None]

_clock = MonotonicClock()


class Backlog:
    """What a loop's connections have read and not yet handed to their layers, in the order in which it came."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[tuple[Deliver, bytes, int, bool, int]] = deque()
        self._bytes = 0
        self._scheduled = False

    def add(self, deliver: Deliver, data: bytes, at_ns: int, flag: bool, early_ns: int = 0) -> None:
        """Have `deliver(data, at_ns, flag, early_ns)` called soon, behind what was added before."""
        self._waiting.append((deliver, data, at_ns, flag, early_ns))
        self._bytes += len(data)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._work)

    def make_room(self) -> None:
        """Before a read: where too much waits already, work it off first."""
        while self._bytes > MAX_BYTES:
            self._deliver_next()

    def settle(self, is_settled: Callable[[], bool]) -> None:
        """Work until `is_settled`: for a decision that must not depend on how far decoding has come."""
        while self._waiting and not is_settled():
            self._deliver_next()

    def _work(self) -> None:
        waiting = self._waiting
        until_ns = _clock.now_ns() + SLICE_NS
        try:
            while waiting:
                self._deliver_next()
                if _clock.now_ns() >= until_ns:
                    break
        finally:
            self._scheduled = bool(waiting)
            if waiting:
                self._loop.call_soon(self._work)

    def _deliver_next(self) -> None:
        deliver, data, at_ns, flag, early_ns = self._waiting.popleft()
        self._bytes -= len(data)
        deliver(data, at_ns, flag, early_ns)


_backlogs: WeakKeyDictionary[asyncio.AbstractEventLoop, Backlog] = WeakKeyDictionary()


def running_backlog() -> Backlog:
    """The backlog of the running loop."""
    loop = asyncio.get_running_loop()
    backlog = _backlogs.get(loop)
    if backlog is None:
        backlog = _backlogs[loop] = Backlog(loop)
    return backlog
