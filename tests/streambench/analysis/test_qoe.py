"""Readers at one character a second (12 words a minute), so that every figure can be worked out in the head."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streambench.analysis.qoe import quality_of_experience, read, reading_speed

S = 1_000_000_000
WPM = 12.0


def ns(*seconds: float) -> list[int]:
    return [round(second * S) for second in seconds]


def test_a_word_counts_as_five_characters() -> None:
    assert reading_speed(250) * 60 * S == pytest.approx(1250)
    assert reading_speed(WPM) * S == pytest.approx(1)


@pytest.mark.parametrize(
    ("at", "chars", "stall_s", "done_s"),
    [
        ([5], [10], 0, 15),  # one piece: read from its coming on
        ([0, 5], [10, 10], 0, 20),  # the second is there before the first is read
        ([0, 10], [10, 10], 0, 20),  # just in time
        ([0, 13], [10, 10], 3, 23),  # three seconds of waiting
        ([0, 3, 9], [1, 1, 1], 2 + 5, 10),  # waiting twice
        ([0, 0, 0], [1, 1, 1], 0, 3),
    ],
)
def test_waiting_for_text(at: list[float], chars: list[int], stall_s: float, done_s: float) -> None:
    reading = read(ns(*at), chars, WPM)
    assert (round(reading.stalled_ns), round(reading.finished_ns)) == (stall_s * S, done_s * S)


@pytest.mark.parametrize(
    ("at", "chars", "qoe"),
    [
        ([1], [10], 1.0),  # the ideal itself
        ([0], [10], 1.0),  # nobody is better than ideal
        # All ten come at 6 s and are read until 16 s: 10*10/2 = 50. The ideal was read until 11 s: 10*(16-6) = 100.
        ([6], [10], 0.5),
        # Five until 6 s, five from 11 s to 16 s: 5*(16-3.5) + 5*(16-13.5) = 75. The ideal: 100.
        ([1, 11], [5, 5], 0.75),
    ],
)
def test_quality_is_the_area_against_the_ideal(at: list[float], chars: list[int], qoe: float) -> None:
    assert quality_of_experience(0, read(ns(*at), chars, WPM), chars, WPM) == pytest.approx(qoe)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 50)), min_size=1, max_size=20), st.integers(0, 30))
def test_later_text_is_never_a_better_experience(chunks: list[tuple[int, int]], delay_s: int) -> None:
    at = sorted(ns(*(second for second, _ in chunks)))
    chars = [count for _, count in chunks]

    def quality(moments: Sequence[int]) -> float:
        return quality_of_experience(0, read(moments, chars, WPM), chars, WPM)

    later = [moment + delay_s * S for moment in at]
    assert 0 <= quality(later) <= quality(at) + 1e-9 <= 1 + 1e-9
    reading = read(at, chars, WPM)
    assert reading.stalled_ns >= 0
    # Reading takes its time, whatever comes.
    assert reading.finished_ns >= at[0] + sum(chars) * S - 10
