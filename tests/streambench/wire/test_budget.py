"""Meters: a burst passes, a flood does not, and time is only that of the stamps."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streambench.endings import ErrorClass
from streambench.units import NS_PER_S
from streambench.wire.budget import BURST_S, WINDOW_BYTES, Growth, Meter
from streambench.wire.limits import FloodError, OversizeError


def test_a_burst_of_two_seconds_may_come_at_once_and_no_unit_more() -> None:
    meter = Meter("pings", 100)
    meter.spend(100 * BURST_S, 5)
    with pytest.raises(FloodError, match="more than 100 pings a second came") as error:
        meter.spend(1, 5)
    assert error.value.error_class is ErrorClass.FLOOD
    assert error.value.finding.rule == "wire.flood"


def test_what_comes_at_the_allowed_rate_may_come_for_ever() -> None:
    meter = Meter("events", 100)
    for second in range(1000):
        meter.spend(100, second * NS_PER_S)


def test_what_comes_a_little_faster_is_a_flood_after_a_while() -> None:
    meter = Meter("events", 100)

    def send_for_ever() -> None:
        for second in itertools.count():
            meter.spend(110, second * NS_PER_S)

    with pytest.raises(FloodError):
        send_for_ever()


def test_a_pause_does_not_allow_more_than_a_burst() -> None:
    meter = Meter("events", 100)
    meter.spend(100 * BURST_S, 0)
    meter.spend(100 * BURST_S, 1000 * NS_PER_S)
    with pytest.raises(FloodError):
        meter.spend(1, 1000 * NS_PER_S)


def test_a_pause_before_a_burst_is_no_credit_after_it() -> None:
    meter = Meter("events", 100)
    meter.spend(1, 0)
    meter.spend(100 * BURST_S, 1000 * NS_PER_S)
    with pytest.raises(FloodError):
        meter.spend(1, 1000 * NS_PER_S)


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 3 * NS_PER_S)), max_size=50))
def test_no_second_brings_more_than_a_burst_and_a_second(steps: list[tuple[int, int]]) -> None:
    meter, at_ns, came = Meter("events", 100), 0, []
    for count, wait_ns in steps:
        at_ns += wait_ns
        try:
            meter.spend(count, at_ns)
        except FloodError:
            break
        came.append((at_ns, count))
    for since_ns, _ in came:
        within = sum(count for at, count in came if since_ns <= at < since_ns + NS_PER_S)
        assert within <= 100 * (BURST_S + 1)


def test_what_grows_beyond_its_ratio_is_oversize() -> None:
    growth = Growth(10)
    for _ in range(100):
        growth.compressed(WINDOW_BYTES // 8)
        growth.produced(WINDOW_BYTES)
    growth.compressed(1000)
    with pytest.raises(OversizeError, match="10 times its compressed size"):
        growth.produced(WINDOW_BYTES + 1)
