"""Figures that are counted as they are shown equal those that are computed from every value."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streambench.analysis.quantiles import QUANTILES, Distribution
from streambench.locust.figures import FigureCounts, shown
from streambench.report.wording import figure

VALUES = st.lists(st.integers(0, 10**12).map(lambda ns: ns / 1e6), min_size=1, max_size=200)


@given(VALUES)
def test_quantiles_equal_those_of_the_summary_to_the_last_digit_shown(values: list[float]) -> None:
    counts = FigureCounts("ms")
    counts.take(values)
    exact = Distribution.of_streams("ms", np.array(values), 0).to_json()
    for name in [*QUANTILES, "min", "max"]:
        assert figure(counts.to_json()[name], "ms") == figure(exact[name], "ms")


@given(VALUES, VALUES)
def test_the_counts_of_parts_add_up_to_those_of_the_whole(one: list[float], other: list[float]) -> None:
    parts, whole = FigureCounts("ms"), FigureCounts("ms")
    rest = FigureCounts("ms")
    parts.take(one)
    rest.take(other)
    parts.add(rest)
    whole.take([*one, *other])
    assert parts.counts == whole.counts
    assert parts.n == whole.n


@pytest.mark.parametrize("unit", ["ms", "ratio", "factor", "per s", "count"])
@given(st.lists(st.floats(-10, 10_000, allow_nan=False), min_size=2))
def test_what_is_shown_never_falls_as_the_value_rises(unit: str, values: list[float]) -> None:
    figures = [shown(value, unit) for value in sorted(values)]
    assert figures == sorted(figures)


def test_memory_does_not_grow_with_the_number_of_values() -> None:
    counts = FigureCounts("ms")
    counts.take(20 + (i % 977) / 100 for i in range(200_000))
    assert counts.n == 200_000
    assert len(counts.counts) < 120


def test_the_curve_ends_at_the_whole() -> None:
    counts = FigureCounts("ms")
    counts.take(range(1000))
    curve = counts.curve(50)
    assert len(curve) <= 52
    assert curve[-1] == (999, 1.0)
    assert counts.curve(50) == sorted(curve)
