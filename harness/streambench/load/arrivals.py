"""When streams start in the open model: pure functions of a rate and a seed, without a clock."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from streambench.units import NS_PER_S

CONSTANT = "constant"
PROCESSES = (CONSTANT, "poisson", "gamma")


@dataclass(frozen=True, slots=True)
class Process:
    """How arrivals are spread: evenly, or by chance. `cv` is the coefficient of variation of gamma distances."""

    name: str = CONSTANT
    cv: float = 1.0

    def points(self, seed: int) -> Iterator[float]:
        """The unit process: arrivals with a mean distance of 1, endless."""
        draw = random.Random(seed)
        # A steady process begins at once; a random one is looked at from any moment, so its first arrival is awaited.
        point = 0.0 if self.name == CONSTANT else self._distance(draw)
        while True:
            yield point
            point += self._distance(draw)

    def _distance(self, draw: random.Random) -> float:
        match self.name:
            case "poisson":
                return draw.expovariate(1.0)
            case "gamma":
                shape = 1 / (self.cv * self.cv)
                return draw.gammavariate(shape, 1 / shape)
        return 1.0


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate over time, in arrivals a second: steady, or a straight ramp over `duration_ns`.

    It begins at `begin_ns`, when the unit process has come to `point`.
    """

    start: float
    end: float
    duration_ns: int | None = None
    begin_ns: int = 0
    point: float = 0.0

    def time_of(self, point: float) -> int | None:
        """The ns at which the integral of the rate reaches `point`; None where it never gets there."""
        wanted = point - self.point
        if self.start == self.end:
            second = wanted / self.start if self.start else math.inf
        else:
            # start * t + slope / 2 * t² = wanted
            slope = self._slope()
            discriminant = self.start * self.start + 2 * slope * wanted
            if discriminant < 0:
                return None
            root = math.sqrt(discriminant)
            second = 2 * wanted / (self.start + root) if self.start or discriminant else 0.0
        return None if math.isinf(second * NS_PER_S) else self.begin_ns + round(second * NS_PER_S)

    def at(self, at_ns: int) -> float:
        """The rate at a moment."""
        second = (at_ns - self.begin_ns) / NS_PER_S
        return self.start if self.start == self.end else max(0.0, self.start + self._slope() * second)

    def changed(self, at_ns: int, rate: float) -> Rate:
        """The rate that is steady from a moment on; the unit process goes on where it was."""
        at_ns = max(at_ns, self.begin_ns)
        second = (at_ns - self.begin_ns) / NS_PER_S
        slope = 0.0 if self.start == self.end else self._slope()
        return Rate(rate, rate, None, at_ns, self.point + self.start * second + slope / 2 * second * second)

    def _slope(self) -> float:
        assert self.duration_ns is not None
        return (self.end - self.start) / (self.duration_ns / NS_PER_S)


class Schedule:
    """The arrivals of a stretch of time, one after the other, in ns from its beginning; ends with it.

    A unit process is stretched by the rate: the n-th arrival comes when the integral of the rate over time has reached
    the n-th point. So a ramp has the right number of arrivals at every moment, and the rate can be changed at any.
    """

    def __init__(
        self, rate: Rate, process: Process, seed: int, *, duration_ns: int | None = None, streams: int | None = None
    ) -> None:
        self.rate = rate
        self._points = process.points(seed)
        self._point = next(self._points)
        self._duration_ns = duration_ns
        self._left = streams

    def next_ns(self) -> int | None:
        """When the next arrival is due; None where there is none any more, at this rate."""
        if self._left == 0:
            return None
        at_ns = self.rate.time_of(self._point)
        if at_ns is None or (self._duration_ns is not None and at_ns >= self._duration_ns):
            return None
        return at_ns

    def advance(self) -> None:
        """The next arrival has happened."""
        self._point = next(self._points)
        if self._left is not None:
            self._left -= 1

    @property
    def spent(self) -> bool:
        """Whether all streams have arrived, so that no change of the rate brings another one."""
        return self._left == 0

    def __iter__(self) -> Iterator[int]:
        while (at_ns := self.next_ns()) is not None:
            yield at_ns
            self.advance()
