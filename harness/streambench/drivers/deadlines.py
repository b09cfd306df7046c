"""The three timeouts of a stream, as arithmetic: when to check again, and which has expired.

Setting a timer anew for every read would cost more than reading. So one timer is set for the next moment at which
something could be too late, and when it fires, the stream is looked at: what has come since moves that moment.
"""

from __future__ import annotations

from streambench.endings import Ending, ErrorClass
from streambench.record.decoding import Progress
from streambench.transport.arrivals import Arrival, Ended, Failed
from streambench.transport.target import Timeouts
from streambench.units import NS_PER_S, format_duration

LINGER_NS = NS_PER_S  # how long a server may take to end a response whose terminal event has come


class Deadlines:
    """When the first content, the next read, or the end of a stream that began at `started_ns` is too late."""

    def __init__(self, timeouts: Timeouts, started_ns: int) -> None:
        self._timeouts = timeouts
        self._started_ns = started_ns
        self._complete_ns: int | None = None

    def complete(self, now_ns: int) -> None:
        """The terminal event has come: only the end of the response is awaited, whatever comes until then."""
        if self._complete_ns is None:
            self._complete_ns = now_ns

    def next_ns(self, progress: Progress, alive_ns: int | None) -> int:
        """The moment at which the stream is too late, if nothing comes until then."""
        return self._next(progress, alive_ns)[0]

    def expired(self, progress: Progress, alive_ns: int | None, now_ns: int) -> list[Arrival]:
        """How a stream ends for which that moment has come. After the terminal event it is no failure."""
        _, error, waited_ns = self._next(progress, alive_ns)
        ended = Ended(now_ns, Ending.TIMEOUT)
        if error is None:
            return [ended]
        return [Failed(now_ns, error, f"{_WAITED_FOR[error]} within {format_duration(waited_ns)}"), ended]

    def _next(self, progress: Progress, alive_ns: int | None) -> tuple[int, ErrorClass | None, int]:
        timeouts, started_ns = self._timeouts, self._started_ns
        alive_ns = started_ns if alive_ns is None else max(alive_ns, started_ns)
        if progress >= Progress.COMPLETE:
            since_ns = alive_ns if self._complete_ns is None else self._complete_ns
            return since_ns + LINGER_NS, None, LINGER_NS
        total = (started_ns + timeouts.total_ns, ErrorClass.TIMEOUT_TOTAL, timeouts.total_ns)
        if progress is Progress.STREAMING:
            sooner = (alive_ns + timeouts.idle_ns, ErrorClass.TIMEOUT_IDLE, timeouts.idle_ns)
        else:
            sooner = (started_ns + timeouts.first_chunk_ns, ErrorClass.TIMEOUT_FIRST_CHUNK, timeouts.first_chunk_ns)
        return sooner if sooner[0] < total[0] else total


_WAITED_FOR = {
    ErrorClass.TIMEOUT_TOTAL: "the stream was not complete",
    ErrorClass.TIMEOUT_IDLE: "nothing more came",
    ErrorClass.TIMEOUT_FIRST_CHUNK: "no content came",
}
