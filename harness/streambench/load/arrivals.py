"""When streams shall start, in the open model: pure functions of a phase and a seed, with no clock in them."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

from streambench.load.scenario import Phase
from streambench.units import NS_PER_S


def arrivals_ns(phase: Phase, seed: int) -> Iterator[int]:
    """The intended starts of an open phase, in ns from its beginning, ascending; ends with the phase.

    A unit process (mean distance 1) is stretched by the rate: the n-th arrival comes when the integral of the rate
    over time has reached the n-th point. So a ramp has the right number of arrivals at every moment.
    """
    for count, at_ns in enumerate(_unbounded(phase, seed)):
        if count == phase.streams or (phase.duration_ns is not None and at_ns >= phase.duration_ns):
            return
        yield at_ns


def _unbounded(phase: Phase, seed: int) -> Iterator[int]:
    if phase.trace_ns is not None:
        yield from phase.trace_ns
        return
    distances = _distances(phase, random.Random(seed))
    # A steady process begins at once; a random one is looked at from any moment, so its first arrival is awaited too.
    point = 0.0 if phase.arrivals == "constant" else next(distances)
    for distance in distances:
        at_s = _time_of(point, phase)
        if at_s is None or math.isinf(at_s * NS_PER_S):
            return
        yield round(at_s * NS_PER_S)
        point += distance


def _distances(phase: Phase, draw: random.Random) -> Iterator[float]:
    """Distances of mean 1. The coefficient of variation of gamma distances is `cv`."""
    while True:
        match phase.arrivals:
            case "poisson":
                yield draw.expovariate(1.0)
            case "gamma":
                shape = 1 / (phase.cv * phase.cv)
                yield draw.gammavariate(shape, 1 / shape)
            case _:
                yield 1.0


def _time_of(point: float, phase: Phase) -> float | None:
    """The second at which the integral of the rate reaches `point`; None where a falling rate never gets there."""
    start, end = phase.rate_from, phase.rate_to
    assert start is not None
    assert end is not None
    if start == end:
        return point / start
    assert phase.duration_ns is not None
    # start * t + slope / 2 * t² = point
    slope = (end - start) / (phase.duration_ns / NS_PER_S)
    discriminant = start * start + 2 * slope * point
    if discriminant < 0:
        return None
    return 2 * point / (start + math.sqrt(discriminant)) if start or discriminant else 0.0
