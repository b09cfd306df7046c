"""Observes gevent's hub while it polls, to know until when the sockets that it found ready were empty.

What `transport/aio/polls` says of the loop of a worker, this says of the greenlets of a locustfile.
"""

from __future__ import annotations

import gevent

from streambench.clock import MonotonicClock
from streambench.transport.run_delay import SHORT_WAIT_NS, RunDelay

_clock = MonotonicClock()


class HubPolls:
    """The polls of one hub, that of the thread in which this is made.

    `empty_ns`: a socket that the newest poll found ready, and that had been read empty before, was empty until then, at
    least.
    """

    def __init__(self) -> None:
        self.empty_ns = self._polled_ns = self._begun_ns = _clock.now_ns()
        self._delay = RunDelay()
        loop = gevent.get_hub().loop
        self._before = loop.prepare(ref=False)
        self._before.start(self._begin)
        self._after = loop.check(ref=False)
        self._after.start(self._end)

    def _begin(self) -> None:
        self._begun_ns = _clock.now_ns()

    def _end(self) -> None:
        begun_ns, back_ns = self._begun_ns, _clock.now_ns()
        if back_ns - begun_ns <= SHORT_WAIT_NS:  # something may have been ready at once
            self.empty_ns, self._polled_ns = self._polled_ns, begun_ns
        else:
            self.empty_ns = self._polled_ns = self._delay.empty_until(begun_ns, back_ns)
