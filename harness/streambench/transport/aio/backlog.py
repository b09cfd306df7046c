"""Read first, decode behind: what was read waits in a line a connection, and is worked off in slices between the reads.

Decoding costs several times what reading does. Were it done in the callback that reads, the sockets that are ready
meanwhile would be read late, and what their servers sent apart would come in one read with one stamp. So a burst costs
as long as reading takes, and what it means is found out afterwards; stamps are the kernel's, and know nothing of it.

The lines take turns, so that a server that floods us waits for itself. What waits in a line is delivered in one turn
where that is soon done: from the second read on, all that a stream consists of is in the processor's cache. Of a
connection whose reads take long to decode less is read at once, since nobody is read meanwhile; and where too much
waits, nothing, so that its server waits as well.

Most reads of a reply look like the one before. Whoever decodes them may say how such a read looks, and that nobody
decides anything by it (`Line.gather`): then it waits until more have come, for at most twice `GATHER_S`, and all are
delivered together, at a fraction of the cost of each alone. The first read that looks different ends the waiting,
and so does `settle`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from weakref import WeakKeyDictionary

from streambench.clock import monotonic_ns
from streambench.transport.arrivals import Reads, Usual
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
FAIR_LINE_BYTES = 1 << 13

GATHER_S = 0.25  # for so long, and at most twice as long, a read may wait for the next ones
MAX_GATHERED = 32
HEAD_BYTES = 16  # of framing may stand before the usual beginning,
TAIL_BYTES = 4  # and so many behind the usual end

Deliver = Callable[[bytes, int, bool, int], None]
Delivery = tuple[Deliver, bytes, int, bool, int]
DeliverTogether = Callable[[Reads], bool]
"""Takes several reads, or says that they are to be delivered one by one, and takes nothing."""

NOTHING: tuple[()] = ()
UNUSUAL: Usual = (b"", b"")


class Backlog:
    """What a loop's connections have read and not yet handed to their layers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.bytes = 0
        self._loop = loop
        self._turns: deque[Line] = deque()
        self._scheduled = False
        self._gathering: list[tuple[Line, Reads]] = []  # that began since the last look, and
        self._gathered: list[tuple[Line, Reads]] = []  # between the last two of them
        self._looks = False

    def line(self) -> Line:
        """A new connection's part."""
        return Line(self)

    def enter(self, line: Line) -> None:
        """A line in which something waits takes turns."""
        self._turns.append(line)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self.work)

    def gathers(self, line: Line, reads: Reads) -> None:
        """Reads of a line wait for more from now on."""
        self._gathering.append((line, reads))
        if not self._looks:
            self._looks = True
            self._loop.call_later(GATHER_S, self._look)

    def _look(self) -> None:
        """What has waited for the next reads long enough is delivered."""
        for line, reads in self._gathered:
            line.release(reads)
        self._gathered, self._gathering = self._gathering, []
        self._looks = bool(self._gathered)
        if self._looks:
            self._loop.call_later(GATHER_S, self._look)

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

    __slots__ = (
        "_alone",
        "_backlog",
        "_begin",
        "_end",
        "_most",
        "_newest",
        "_takes_turns",
        "_together",
        "_waiting",
        "read_bytes",
        "waiting_bytes",
    )

    def __init__(self, backlog: Backlog) -> None:
        self.waiting_bytes = 0
        self.read_bytes = FIRST_READ_BYTES
        self._backlog = backlog
        # A queue of its own would take more room than all else.
        self._waiting: deque[Delivery | Reads] | tuple[()] = NOTHING
        self._takes_turns = False
        self._begin = self._end = b""  # of a read that may be delivered with others
        self._most = 0
        self._newest: Reads | None = None  # what waits last, if another such read may join it
        self._alone: Deliver | None = None
        self._together: DeliverTogether | None = None

    @property
    def full(self) -> bool:
        """Whether so much waits that nothing more is to be read."""
        return self.waiting_bytes > (MAX_LINE_BYTES if self._backlog.bytes <= MAX_BYTES else FAIR_LINE_BYTES)

    def gather(self, usual: Usual | None, deliver: DeliverTogether | None) -> None:
        """From now on, reads that look `usual` may wait for the next ones; with None, no longer.

        `deliver` gets them. Those that it declines go one by one to what they were added with.
        """
        self._begin, self._end = usual or UNUSUAL
        self._most = 2 * (len(self._begin) + len(self._end))  # a read of two such pieces has more
        self._together = deliver

    def add_read(self, deliver: Deliver, data: bytes, at_ns: int, kernel: bool, early_ns: int) -> None:
        """As `add`, for a read; it may wait for the next ones if it looks like them."""
        begin, end, size = self._begin, self._end, len(data)
        if (
            not begin
            or early_ns
            or size >= self._most
            or data.find(begin, 0, HEAD_BYTES + len(begin)) < 0
            or data.find(end, size - TAIL_BYTES - len(end)) < 0
        ):
            self.add(deliver, data, at_ns, kernel, early_ns)
            return
        reads, backlog = self._newest, self._backlog
        if reads is not None and reads.kernel is not kernel:
            self._newest = reads = None
            self._take_turns()  # those before wait for nothing any more
        if reads is None:
            reads = self._newest = Reads(kernel)
            self._alone = deliver
            self._append(reads)
            backlog.gathers(self, reads)
        reads.at_ns.append(at_ns)
        reads.data.append(data)
        reads.bytes += size
        self.waiting_bytes += size
        backlog.bytes += size
        if len(reads.data) == MAX_GATHERED or reads.bytes > FAIR_LINE_BYTES:
            self._newest = None
            self._take_turns()

    def release(self, reads: Reads) -> None:
        """These have waited long enough, if they still do."""
        if self._newest is reads:
            self._newest = None
            self._take_turns()

    def add(self, deliver: Deliver, data: bytes, at_ns: int, flag: bool, early_ns: int = 0) -> None:
        """Have `deliver(data, at_ns, flag, early_ns)` called soon, behind what was added before."""
        size = len(data)
        self._append((deliver, data, at_ns, flag, early_ns))
        self._newest = None
        self.waiting_bytes += size
        self._backlog.bytes += size
        self._take_turns()

    def add_first(self, deliver: Deliver, data: bytes, at_ns: int, flag: bool, early_ns: int = 0) -> None:
        """The same, before what was added before: for the rest of what is being delivered."""
        size = len(data)
        self._append((deliver, data, at_ns, flag, early_ns)).rotate(1)
        self.waiting_bytes += size
        self._backlog.bytes += size
        self._take_turns()

    def settle(self) -> None:
        """Deliver all: for a decision that must not depend on how far decoding has come."""
        while self._waiting:
            self._deliver_next()

    def turn(self, now_ns: int) -> int:
        """Deliver a read, and more as long as it takes little time; returns when that was done."""
        until_ns = now_ns + TURN_NS
        try:
            while self._has_turn:  # not where it was settled
                size = self._deliver_next()
                begun_ns, now_ns = now_ns, monotonic_ns()
                if size > self.read_bytes // 2:
                    self._adapt(size, now_ns - begun_ns)
                if now_ns >= until_ns:
                    break
        finally:
            if self._has_turn:
                self._backlog.enter(self)
            else:
                self._takes_turns = False
        return now_ns

    @property
    def _has_turn(self) -> bool:
        """Whether anything waits that does not wait for the next read."""
        waiting = self._waiting
        return not isinstance(waiting, tuple) and waiting[0] is not self._newest

    def _append(self, item: Delivery | Reads) -> deque[Delivery | Reads]:
        waiting = self._waiting
        if isinstance(waiting, tuple):
            waiting = self._waiting = deque()
        waiting.append(item)
        return waiting

    def _take_turns(self) -> None:
        if not self._takes_turns:
            self._takes_turns = True
            self._backlog.enter(self)

    def _deliver_next(self) -> int:
        """Deliver what waits first; returns the size of the read, 0 for several."""
        waiting = self._waiting
        assert not isinstance(waiting, tuple)
        item = waiting.popleft()
        if not waiting:
            self._waiting = NOTHING
        if isinstance(item, Reads):
            self._deliver_together(item)
            return 0
        deliver, data, at_ns, flag, early_ns = item
        size = len(data)
        self.waiting_bytes -= size
        self._backlog.bytes -= size
        deliver(data, at_ns, flag, early_ns)
        return size

    def _deliver_together(self, reads: Reads) -> None:
        if reads is self._newest:
            self._newest = None
        self.waiting_bytes -= reads.bytes
        self._backlog.bytes -= reads.bytes
        if len(reads.data) > 1 and self._together is not None and self._together(reads):
            return
        assert self._alone is not None
        for at_ns, data in zip(reversed(reads.at_ns), reversed(reads.data), strict=True):
            self.add_first(self._alone, data, at_ns, reads.kernel)

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
