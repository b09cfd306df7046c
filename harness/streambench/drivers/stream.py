"""One stream under way: what arrives goes to its decoding, and how far that has come decides when to leave."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from streambench.clock import MonotonicClock
from streambench.drivers.deadlines import Deadlines
from streambench.drivers.leaving import Leave
from streambench.endings import Ending
from streambench.record.decoding import Progress, StreamDecoding
from streambench.transport.arrivals import Arrival, Cancelled, Ended, Reads, Usual
from streambench.transport.target import Timeouts
from streambench.units import NS_PER_S

AFTER_ERROR_S = 0.1  # an error event may be followed by the protocol's own closing event

_clock = MonotonicClock()


class RunningStream:
    """A stream until it is over; then `finished` resolves, and `over` was called.

    A response ends when the server ends it, and is not waited for long after its terminal event. A reply on a socket
    (`on_socket`) ends with that event: the connection outlives it. `settle` has what was read until now taken in;
    `over` is told whether the connection can be used for another stream, as far as this one knows. `leave`: the user
    may not wait for the end.
    """

    def __init__(
        self,
        decoding: StreamDecoding,
        timeouts: Timeouts,
        settle: Callable[[], None],
        over: Callable[[bool], None],
        *,
        on_socket: bool = False,
        leave: Leave | None = None,
    ) -> None:
        self._decoding = decoding
        self._settle = settle
        self._over = over
        self._on_socket = on_socket
        self._progress = Progress.WAITING
        self._usable = False
        self._loop = asyncio.get_running_loop()
        self._deadlines = Deadlines(timeouts, _clock.now_ns())
        self._timer: asyncio.TimerHandle | None = None
        self._closing: asyncio.TimerHandle | None = None
        self._is_due_to_leave: Callable[[], bool] | None = None
        self._leaving: asyncio.TimerHandle | None = None
        if leave is not None and leave.concerns(decoding.stream_id):
            if leave.chunks is not None:
                self._is_due_to_leave = partial(_has_read, decoding, leave.chunks)
            elif leave.milestone is not None:
                self._is_due_to_leave = decoding.milestone(leave.milestone)
            if leave.after_ns is not None:
                self._leaving = self._loop.call_later(leave.after_ns / NS_PER_S, self._time_to_leave)
        self.finished: asyncio.Future[None] = self._loop.create_future()
        self._arm()

    def take(self, arrivals: Sequence[Arrival]) -> None:
        """Take in what one read brought."""
        self._came(self._decoding.take(arrivals), arrivals[-1].at_ns)
        if self._is_due_to_leave is not None and self._is_due_to_leave():
            self._leave()

    @property
    def usual(self) -> Usual | None:
        """How the data of a read begins and ends that may wait for the next ones; None where none may."""
        if self._progress is not Progress.STREAMING or self._is_due_to_leave is not None:
            return None
        return self._decoding.usual

    def take_together(self, reads: Reads) -> bool:
        """Take in what several such reads brought, if they are what they look like; else nothing is taken."""
        return self._progress is Progress.STREAMING and self._decoding.take_together(reads)

    def is_long(self, arrivals: Sequence[Arrival]) -> bool:
        """Whether these are rather to be taken in turns."""
        return self._decoding.is_long(arrivals)

    def turns(self, arrivals: Sequence[Arrival]) -> Iterator[None]:
        """The same as `take`, in turns that are short whatever came."""
        for progress in self._decoding.turns(arrivals):
            self._came(progress, arrivals[-1].at_ns)
            yield
        self._came(self._decoding.progress, arrivals[-1].at_ns)
        if self._is_due_to_leave is not None and self._is_due_to_leave():
            self._leave()

    def _came(self, progress: Progress, at_ns: int) -> None:
        if progress is not self._progress:
            self._progress = progress
            self._moved(at_ns)

    def cancel(self) -> None:
        """End the stream where it is, because the run has to end."""
        self._settle()
        self.take([Cancelled(_clock.now_ns())])

    def _time_to_leave(self) -> None:
        self._settle()
        self._leave()

    def _leave(self) -> None:
        """The user closes the tab, unless the reply is complete or has failed meanwhile."""
        self._is_due_to_leave = None
        if self._progress < Progress.COMPLETE:
            self.take([Cancelled(_clock.now_ns(), left=True)])

    def _moved(self, at_ns: int) -> None:
        match self._progress:
            case Progress.STREAMING:
                self._arm()
            case Progress.COMPLETE | Progress.INTERRUPTED if not self._on_socket:
                self._deadlines.complete(_clock.now_ns())
                self._arm()
            case Progress.COMPLETE:
                self._usable = True
                self.take([Ended(at_ns, Ending.RESPONSE_END)])
            case Progress.INTERRUPTED:
                if self._closing is None:
                    self._closing = self._loop.call_later(AFTER_ERROR_S, self._after_error)
            case Progress.ABANDONED:
                self.take([Ended(at_ns, Ending.CLIENT)])
            case Progress.ENDED:
                for timer in (self._timer, self._closing, self._leaving):
                    if timer is not None:
                        timer.cancel()
                if not self.finished.done():  # whoever waited for it may have been cancelled
                    self.finished.set_result(None)
                self._over(self._usable)

    def _after_error(self) -> None:
        self._settle()
        if self._progress is Progress.ENDED:
            return
        self._usable = True
        self.take([Ended(_clock.now_ns(), Ending.RESPONSE_END)])

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        due_ns = self._deadlines.next_ns(self._progress, self._decoding.alive_ns)
        self._timer = self._loop.call_later(max(0, due_ns - _clock.now_ns()) / NS_PER_S, self._look)

    def _look(self) -> None:
        self._settle()
        if self._progress is Progress.ENDED:
            return
        now_ns, alive_ns = _clock.now_ns(), self._decoding.alive_ns
        if now_ns < self._deadlines.next_ns(self._progress, alive_ns):
            self._arm()
        else:
            self.take(self._deadlines.expired(self._progress, alive_ns, now_ns))


def _has_read(decoding: StreamDecoding, chunks: int) -> bool:
    return decoding.chunks >= chunks
