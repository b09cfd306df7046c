"""The three timeouts of a stream, watched by one timer that is moved only when it fires.

Re-arming a timer for every read would cost more than reading. So a read only notes its time, and a timer that fires
too early looks at what has happened since and sets itself anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from streambench.clock import MonotonicClock
from streambench.drivers.target import Timeouts
from streambench.endings import ErrorClass
from streambench.record.recorder import Recorder
from streambench.units import NS_PER_S, format_duration

LINGER_NS = NS_PER_S  # how long a server may take to end a response whose terminal event has come

_clock = MonotonicClock()


class Deadlines:
    """Fails the recorder and calls `expired` when the first content, the next read or the end comes too late.

    After the terminal event it calls `expired` without a failure where the response does not end within `LINGER_NS`.
    """

    def __init__(self, timeouts: Timeouts, recorder: Recorder, expired: Callable[[], None]) -> None:
        self._timeouts = timeouts
        self._recorder = recorder
        self._expired = expired
        self._loop = asyncio.get_running_loop()
        self._started_ns = self.last_read_ns = _clock.now_ns()
        self._lingering_ns: int | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._arm(min(timeouts.first_chunk_ns, timeouts.idle_ns, timeouts.total_ns))

    def lingering(self) -> None:
        """The terminal event has come: only the end of the response is awaited, whatever comes until then."""
        self._lingering_ns = _clock.now_ns()
        self._arm(LINGER_NS)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, wait_ns: int) -> None:
        self.stop()
        self._timer = self._loop.call_later(wait_ns / NS_PER_S, self._look)

    def _look(self) -> None:
        now_ns = _clock.now_ns()
        recorder, timeouts = self._recorder, self._timeouts
        if recorder.done:
            since_ns = self.last_read_ns if self._lingering_ns is None else self._lingering_ns
            due_ns, error, waited_ns = since_ns + LINGER_NS, None, LINGER_NS
        else:
            due_ns, error, waited_ns = self._started_ns + timeouts.total_ns, ErrorClass.TIMEOUT_TOTAL, timeouts.total_ns
            if recorder.first_content_came:
                next_ns, why, limit_ns = (
                    self.last_read_ns + timeouts.idle_ns,
                    ErrorClass.TIMEOUT_IDLE,
                    timeouts.idle_ns,
                )
            else:
                next_ns, why, limit_ns = (
                    self._started_ns + timeouts.first_chunk_ns,
                    ErrorClass.TIMEOUT_FIRST_CHUNK,
                    timeouts.first_chunk_ns,
                )
            if next_ns < due_ns:
                due_ns, error, waited_ns = next_ns, why, limit_ns
        if now_ns < due_ns:
            self._arm(due_ns - now_ns)
            return
        if error is not None:
            recorder.fail(error, f"{_WAITED_FOR[error]} within {format_duration(waited_ns)}")
        self._expired()


_WAITED_FOR = {
    ErrorClass.TIMEOUT_TOTAL: "the stream was not complete",
    ErrorClass.TIMEOUT_IDLE: "nothing more came",
    ErrorClass.TIMEOUT_FIRST_CHUNK: "no content came",
}
