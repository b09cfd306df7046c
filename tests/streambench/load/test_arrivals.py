"""When streams shall start: a table of cases, and the laws of the processes."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streambench.load.executors.open import OpenPhase
from streambench.load.executors.trace import TracePhase

S = 1_000_000_000


def seconds(seed: int = 0, **phase: Any) -> list[float]:
    if "rate" in phase:
        phase["rate_from"] = phase["rate_to"] = phase.pop("rate")
    if "duration_s" in phase:
        phase["duration_ns"] = round(phase.pop("duration_s") * S)
    arrivals_ns = TracePhase(**phase).arrivals_ns() if "at_ns" in phase else OpenPhase(**phase).schedule(seed)
    return [at_ns / S for at_ns in arrivals_ns]


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        ({"rate": 2.0, "duration_s": 2}, [0, 0.5, 1, 1.5]),
        ({"rate": 0.5, "duration_s": 5}, [0, 2, 4]),
        ({"rate": 1.0, "streams": 3}, [0, 1, 2]),
        ({"rate": 10.0, "duration_s": 100, "streams": 2}, [0, 0.1]),
        ({"rate": 10.0, "duration_s": 0.1, "streams": 20}, [0]),
        # A rate from 0 to 2 in two seconds is t: its integral t²/2 is 0, 1 at 0 and √2.
        ({"rate_from": 0.0, "rate_to": 2.0, "duration_s": 2}, [0, math.sqrt(2)]),
        # Falling to nothing: 2t - t²/2 is 0, 1 at 0 and 2 - √2; it never reaches 3, and 2 only at the end.
        ({"rate_from": 2.0, "rate_to": 0.0, "duration_s": 2}, [0, 2 - math.sqrt(2)]),
        ({"at_ns": (0, S, 3 * S)}, [0, 1, 3]),
        ({"at_ns": (0, S, S, 3 * S), "duration_s": 3}, [0, 1, 1]),
        ({"at_ns": (0, S, 3 * S), "streams": 2}, [0, 1]),
    ],
)
def test_a_table_of_cases(phase: dict[str, Any], expected: list[float]) -> None:
    assert seconds(**phase) == pytest.approx(expected, abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(st.floats(0, 50), st.floats(0, 50), st.integers(1, 20))
def test_a_ramp_has_the_integral_of_its_rate_at_every_moment(low: float, high: float, duration_s: int) -> None:
    if low == high == 0:
        return
    at = seconds(rate_from=low, rate_to=high, duration_s=duration_s)
    for t in (duration_s / 4, duration_s / 2, duration_s):
        integral = low * t + (high - low) * t * t / (2 * duration_s)
        assert abs(sum(moment < t for moment in at) - integral) <= 1.001
    assert at == sorted(at)
    assert all(0 <= moment < duration_s for moment in at)


@pytest.mark.parametrize("arrivals", ["constant", "poisson", "gamma"])
def test_the_same_seed_gives_the_same_arrivals(arrivals: str) -> None:
    phase = {"rate": 20.0, "duration_s": 20, "arrivals": arrivals, "cv": 2.0}
    assert seconds(7, **phase) == seconds(7, **phase)
    assert (seconds(7, **phase) == seconds(8, **phase)) is (arrivals == "constant")


@pytest.mark.parametrize(
    ("arrivals", "cv", "expected_cv"), [("constant", 1, 0), ("poisson", 1, 1), ("gamma", 3, 3), ("gamma", 0.5, 0.5)]
)
def test_distances_have_the_mean_and_the_spread_of_their_process(arrivals: str, cv: float, expected_cv: float) -> None:
    at = seconds(3, rate=50.0, streams=20_000, arrivals=arrivals, cv=cv)
    distances = [after - before for before, after in itertools.pairwise(at)]
    mean = statistics.fmean(distances)
    assert mean == pytest.approx(1 / 50, rel=0.06)
    assert statistics.pstdev(distances) / mean == pytest.approx(expected_cv, rel=0.06, abs=1e-6)


def farthest(distances: list[float], share_below: Callable[[float], float]) -> float:
    """How far the distances are from a distribution, as Kolmogorov and Smirnov count it, times the root of their
    number: above 1.95 in one of a thousand draws from that distribution."""
    ordered = sorted(distances)
    number = len(ordered)
    steps = [(share_below(one), place) for place, one in enumerate(ordered)]
    return max(max((place + 1) / number - share, share - place / number) for share, place in steps) * math.sqrt(number)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_distances_are_distributed_as_their_process_says(seed: int) -> None:
    """Poisson is the exponential distribution, and so is gamma with a coefficient of variation of 1."""

    def exponential(second: float) -> float:
        return 1 - math.exp(-second * 40)

    def erlang(second: float) -> float:  # gamma of shape 4: half the spread of Poisson
        x = 4 * 40 * second
        return 1 - math.exp(-x) * (1 + x + x * x / 2 + x**3 / 6)

    for process, cv, share_below in (("poisson", 1, exponential), ("gamma", 1, exponential), ("gamma", 0.5, erlang)):
        at = seconds(seed, rate=40.0, streams=5_000, arrivals=process, cv=cv)
        distances = [at[0], *(after - before for before, after in itertools.pairwise(at))]
        assert farthest(distances, share_below) < 1.95
    at = seconds(seed, rate=40.0, streams=5_000, arrivals="gamma", cv=1.2)
    assert farthest([after - before for before, after in itertools.pairwise(at)], exponential) > 1.95


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_poisson_arrivals_come_in_no_rhythm(seed: int) -> None:
    """The numbers of arrivals in each second have their mean as variance, and do not depend on their neighbours."""
    at = seconds(seed, rate=30.0, duration_s=1_000, arrivals="poisson")
    counts = [0] * 1_000
    for moment in at:
        counts[int(moment)] += 1
    assert statistics.variance(counts) / statistics.fmean(counts) == pytest.approx(1, abs=0.14)  # three sigma
    assert abs(statistics.correlation(counts[:-1], counts[1:])) < 0.1


def test_an_endless_phase_is_read_as_far_as_it_is_needed() -> None:
    endless = OpenPhase(rate_from=1000, rate_to=1000, streams=10**9).schedule(0)
    assert list(itertools.islice(endless, 3)) == [0, S // 1000, 2 * S // 1000]
