"""The budget of a stream: how many events, lines and frames per second it may contain.

The bounds of `WireLimits` on sizes do not hold a server back that sends very little very often: a ping costs two bytes
and as much work as a message. So each kind of unit is metered, as a token bucket: what is allowed in `BURST_S` seconds
may come at once. Time is that of the stamps; nothing here asks for it. While a server sends faster than we read, its
bytes wait for us, and their stamps say how fast we are: nothing is earned until we have read all that was there.
"""

from __future__ import annotations

from collections.abc import Sequence

from streambench.units import NS_PER_S
from streambench.wire.limits import FloodError, OversizeError, WireLimits

BURST_S = 8  # a long reply may come at once, as from a cache
WINDOW_BYTES = 4 << 20  # of decompressed data, over which the ratio is looked at: small bodies compress well


class Meter:
    """Counts one kind of unit. Raises FloodError when more come than `per_s` in a second, for long."""

    __slots__ = ("_at_ns", "_full", "_left", "_per_ns", "_per_s", "_what")

    def __init__(self, what: str, per_s: int) -> None:
        self._what = what
        self._per_s = per_s
        self._per_ns = per_s / NS_PER_S
        self._full = self._left = float(per_s * BURST_S)
        self._at_ns = 0

    def spend(self, count: int, at_ns: int) -> None:
        """`count` units came, the first of them not before `at_ns`."""
        left = self._left
        if at_ns > self._at_ns:
            # Filled at every look: credit for a pause must not outlive a burst that came after it.
            left = min(self._full, left + (at_ns - self._at_ns) * self._per_ns)
            self._at_ns = at_ns
        left -= count
        if left < 0:
            self._left = 0.0
            raise FloodError(self._what, self._per_s)
        self._left = left

    def affords(self, count: int) -> bool:
        """Whether so many units may come, however soon."""
        return self._left >= count

    def spend_each(self, count: int, at_ns: Sequence[int], apart_ns: int) -> None:
        """As `spend`, at each of these moments, which are so far apart; for what it `affords`."""
        left, last_ns, full, per_ns = self._left, self._at_ns, self._full, self._per_ns
        if apart_ns * per_ns >= count and left + (at_ns[0] - last_ns) * per_ns >= full:
            # The bucket is full again each time.
            self._left, self._at_ns = full - count, at_ns[-1]
            return
        for now_ns in at_ns:
            if now_ns > last_ns:
                left = min(full, left + (now_ns - last_ns) * per_ns)
                last_ns = now_ns
            left -= count
        self._left, self._at_ns = left, last_ns


def event_meter(limits: WireLimits) -> Meter:
    """The meter of what the dialect reads."""
    return Meter("events", limits.max_events_per_s)


def line_meter(limits: WireLimits) -> Meter:
    """The meter of the lines of a text framing, empty ones and comments too."""
    return Meter("lines", limits.max_lines_per_s)


def frame_meter(limits: WireLimits) -> Meter:
    """The meter of the pieces in which a body or a message comes."""
    return Meter("frames", limits.max_frames_per_s)


def control_meter(limits: WireLimits) -> Meter:
    """The meter of what brings nothing, such as pings and empty messages."""
    return Meter("control frames", limits.max_control_per_s)


class Growth:
    """How far compressed data grows. Raises OversizeError when a window of the output came from too little."""

    __slots__ = ("_came", "_max_ratio", "_produced")

    def __init__(self, max_ratio: int) -> None:
        self._max_ratio = max_ratio
        self._came = self._produced = 0

    def compressed(self, size: int) -> None:
        """`size` bytes of compressed data came."""
        self._came += size

    def produced(self, size: int) -> None:
        """Decompression has produced `size` bytes more."""
        self._produced += size
        if self._produced > WINDOW_BYTES:
            if self._produced > self._came * self._max_ratio:
                raise OversizeError("what came", self._max_ratio, unit="times its compressed size")
            self._came = self._produced = 0


class Budget:
    """The meters of a socket, or of requests that stand for one.

    `polls`: answers to requests that wait for the next message. `early_ns` is that of the newest read.
    """

    __slots__ = ("control", "early_ns", "events", "frames", "growth", "polls")

    def __init__(self, limits: WireLimits) -> None:
        self.early_ns = 0
        self.events = event_meter(limits)
        self.frames = frame_meter(limits)
        self.control = control_meter(limits)
        self.polls = Meter("answers to polls", limits.max_polls_per_s)
        self.growth = Growth(limits.max_ratio)
