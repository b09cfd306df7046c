"""Read first, decode behind: what was read waits in a line a connection, and is worked off in slices between the reads.

Decoding costs several times what reading does. Were it done in the callback that reads, the sockets that are ready
meanwhile would be read late, and what their servers sent apart would come in one read with one stamp. So a burst costs
as long as reading takes, and what it means is found out afterwards; stamps are the kernel's, and know nothing of it.

The lines take turns, so that a server that floods us waits for itself. What waits in a line is delivered in one turn
where that is soon done: from the second read on, all that a stream consists of is in the processor's cache. Of a
connection whose reads take long to decode less is read at once, since nobody is read meanwhile; and where too much
waits, nothing, so that its server waits as well.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from weakref import WeakKeyDictionary

from streambench.clock import monotonic_ns
from streambench.units import NS_PER_MS

SLICE_NS = NS_PER_MS  # how long sockets may wait for the decoder
LONG_NS = NS_PER_MS  # of one read; the next ones are to be smaller
SHORT_NS = NS_PER_MS // 4
TURN_NS = NS_PER_MS // 10  # what is left of a line after it waits for its next turn
FIRST_READ_BYTES = 1 << 10
MIN_READ_BYTES = 1 << 9
MAX_READ_BYTES = 1 << 16
MAX_LINE_BYTES = 1 << 17  # of one connection, read and not decoded; beyond that its server waits
MAX_BYTES = 32 << 20  # of all connections; beyond that each of them may have `FAIR_LINE_BYTES`
FAIR_LINE_BYTES = 1 << 12

Deliver = Callable[[bytes, int, bool, int], None]
Delivery = tuple[Deliver, bytes, int, bool, int]
NOTHING: tuple[()] = ()


class Backlog:
    """What a loop's connections have read and not yet handed to their layers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.bytes = 0
        self._loop = loop
        self._turns: deque[Line] = deque()
        self._scheduled = False

    def line(self) -> Line:
        """A new connection's part."""
        return Line(self)

    def enter(self, line: Line) -> None:
        """A line in which something waits takes turns."""
        self._turns.append(line)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.work)

    def expect_work(self) -> bool:
        """Sockets are about to be read: whether whoever reads them is to call `work` behind that.

        Not where it is scheduled already, for what was left by the last slice.
        """
        expected, self._scheduled = not self._scheduled, True
        return expected

    def work(self) -> None:
        """Decode for a slice; what is left then has its turns in the loop's next round."""
        turns = self._turns
        now_ns = monotonic_ns()
        until_ns = now_ns + SLICE_NS
        try:
            while turns and now_ns < until_ns:
                now_ns = turns.popleft().turn(now_ns)
        finally:
            self._scheduled = bool(turns)
            if turns:
                self._loop.call_soon(self.work)


class Line:
    """What one connection has read and not yet handed to its layer, in the order in which it came.

    `waiting_bytes` are all of it. `read_bytes`: how much is to be read at once, so that decoding it takes about as long
    as others may wait.
    """

    __slots__ = ("_backlog", "_takes_turns", "_waiting", "read_bytes", "waiting_bytes")

    def __init__(self, backlog: Backlog) -> None:
        self.waiting_bytes = 0
        self.read_bytes = FIRST_READ_BYTES
        self._backlog = backlog
        self._waiting: deque[Delivery] | tuple[()] = NOTHING  # a queue of its own would take more room than all else
        self._takes_turns = False

    @property
    def full(self) -> bool:
        """Whether so much waits that nothing more is to be read."""
        return self.waiting_bytes > (MAX_LINE_BYTES if self._backlog.bytes <= MAX_BYTES else FAIR_LINE_BYTES)

    def add(self, deliver: Deliver, data: bytes, at_ns: int, flag: bool, early_ns: int = 0) -> None:
        """Have `deliver(data, at_ns, flag, early_ns)` called soon, behind what was added before."""
        size, backlog = len(data), self._backlog
        if isinstance(self._waiting, tuple):
            self._waiting = deque()
        self._waiting.append((deliver, data, at_ns, flag, early_ns))
        self.waiting_bytes += size
        backlog.bytes += size
        if not self._takes_turns:
            self._takes_turns = True
            backlog.enter(self)

    def add_first(self, deliver: Deliver, data: bytes, at_ns: int, flag: bool, early_ns: int = 0) -> None:
        """The same, before what was added before: for the rest of what is being delivered."""
        self.add(deliver, data, at_ns, flag, early_ns)
        assert not isinstance(self._waiting, tuple)
        self._waiting.rotate(1)

    def settle(self) -> None:
        """Deliver all: for a decision that must not depend on how far decoding has come."""
        while self._waiting:
            self._deliver_next()

    def turn(self, now_ns: int) -> int:
        """Deliver a read, and more as long as it takes little time; returns when that was done."""
        until_ns = now_ns + TURN_NS
        try:
            while self._waiting:  # nothing does where it was settled
                size = self._deliver_next()
                begun_ns, now_ns = now_ns, monotonic_ns()
                if size > self.read_bytes // 2:
                    self._adapt(size, now_ns - begun_ns)
                if now_ns >= until_ns:
                    break
        finally:
            if self._waiting:
                self._backlog.enter(self)
            else:
                self._takes_turns = False
        return now_ns

    def _deliver_next(self) -> int:
        waiting = self._waiting
        assert not isinstance(waiting, tuple)
        deliver, data, at_ns, flag, early_ns = waiting.popleft()
        if not waiting:
            self._waiting = NOTHING
        size = len(data)
        self.waiting_bytes -= size
        self._backlog.bytes -= size
        deliver(data, at_ns, flag, early_ns)
        return size

    def _adapt(self, size: int, took_ns: int) -> None:
        if took_ns > LONG_NS:
            self.read_bytes = max(MIN_READ_BYTES, self.read_bytes // 2)
        elif took_ns < SHORT_NS and size >= self.read_bytes:
            self.read_bytes = min(MAX_READ_BYTES, self.read_bytes * 2)


_backlogs: WeakKeyDictionary[asyncio.AbstractEventLoop, Backlog] = WeakKeyDictionary()


def backlog_of(loop: asyncio.AbstractEventLoop) -> Backlog:
    """The backlog of a loop."""
    backlog = _backlogs.get(loop)
    if backlog is None:
        backlog = _backlogs[loop] = Backlog(loop)
    return backlog
