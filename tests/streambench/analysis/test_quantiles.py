"""Quantiles against their definition, intervals against the binomial distribution itself."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streambench.analysis.quantiles import (
    EXACT_BINOMIAL_LIMIT,
    Distribution,
    one_sided_bound,
    quantile,
    quantile_bounds,
    streams_needed,
    wilson,
)

QS = (0.5, 0.9, 0.95, 0.99, 0.999)
ALL_BUT_NONE = (1, 2, 3, 10, 19, 20, 59, 100, 299)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=60), st.sampled_from([*range(1, 100)]))
def test_a_quantile_is_the_smallest_value_that_enough_values_do_not_exceed(values: list[float], percent: int) -> None:
    ordered = sorted(values)
    enough = Fraction(percent, 100) * len(values)
    expected = next(value for value in ordered if sum(other <= value for other in ordered) >= enough)
    assert quantile(ordered, percent / 100) == expected


@pytest.mark.parametrize(("n", "q", "rank"), [(20, 0.95, 19), (100, 0.99, 99), (1000, 0.999, 999), (10, 0.9, 9)])
def test_floating_point_does_not_move_a_quantile_to_the_next_value(n: int, q: float, rank: int) -> None:
    assert quantile([float(i) for i in range(1, n + 1)], q) == rank


def exact_cdf(n: int, q: Fraction) -> list[Fraction]:
    """P(B <= k) for k = 0..n."""
    total, out = Fraction(0), []
    for k in range(n + 1):
        total += math.comb(n, k) * q**k * (1 - q) ** (n - k)
        out.append(total)
    return out


@pytest.mark.parametrize("q", [Fraction(1, 2), Fraction(9, 10), Fraction(95, 100), Fraction(99, 100)])
@pytest.mark.parametrize("n", [*ALL_BUT_NONE, 400])
def test_order_statistics_enclose_the_quantile_and_no_narrower_pair_does(n: int, q: Fraction) -> None:
    tail = Fraction(1, 40)
    cdf = exact_cdf(n, q)
    lower, upper = quantile_bounds(n, float(q))
    # The value of 0-based rank k lies above the quantile if at most k values lie below it.
    if lower is None:
        assert cdf[0] > tail
    else:
        assert cdf[lower] <= tail < cdf[lower + 1]
    if upper is None:
        assert cdf[n - 1] < 1 - tail
    else:
        assert cdf[upper] >= 1 - tail
        assert upper == 0 or cdf[upper - 1] < 1 - tail


@pytest.mark.parametrize(("q", "needed"), [(0.95, 59), (0.99, 299), (0.9, 29), (0.5, 5)])
def test_the_greatest_value_bounds_a_quantile_from_a_known_number_of_streams_on(q: float, needed: int) -> None:
    assert one_sided_bound(needed - 1, q, 0.95, upper=True) is None
    assert one_sided_bound(needed, q, 0.95, upper=True) == needed - 1
    # The same from below, with the quantile mirrored.
    assert one_sided_bound(needed - 1, 1 - q, 0.95, upper=False) is None
    assert one_sided_bound(needed, 1 - q, 0.95, upper=False) == 0


def test_the_normal_approximation_of_many_values_agrees_with_the_exact_bounds() -> None:
    n = EXACT_BINOMIAL_LIMIT
    for q in (0.5, 0.95, 0.99):
        exact, close = quantile_bounds(n, q), quantile_bounds(n + 1, q)
        for one, other in zip(exact, close, strict=True):
            assert one is not None
            assert other is not None
            assert abs(one - other) <= 3


def test_intervals_cover_the_true_quantile_as_often_as_they_say() -> None:
    random = np.random.default_rng(7)
    covered = 0
    for _ in range(1000):
        found = Distribution.of_streams("ms", random.random(100).tolist(), 0).interval(0.5)
        assert found is not None
        covered += found[0] <= 0.5 <= found[1]
    assert covered >= 930  # 95% is promised; far below it would be a wrong interval and no bad luck


@pytest.mark.parametrize(("q", "n"), [(0.5, 2), (0.9, 10), (0.95, 20), (0.99, 100), (0.999, 1000)])
def test_a_quantile_needs_one_stream_beyond_it(q: float, n: int) -> None:
    assert streams_needed(q) == n


@pytest.mark.parametrize("n", [1, 2, 10, 100, 5000])
def test_no_failure_of_n_means_at_most_three_of_n(n: int) -> None:
    assert wilson(0, n) == (0.0, min(1.0, 3 / n))


def test_the_wilson_interval() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(10, 100)  # the textbook's figures
    assert low == pytest.approx(0.0552, abs=1e-4)
    assert high == pytest.approx(0.1744, abs=1e-4)
    assert wilson(100, 100)[1] == pytest.approx(1.0)


class TestAdjusted:
    def test_failures_are_streams_that_never_got_there(self) -> None:
        # 8 of 10 came: the median of all ten is the fifth, and nine tenths never came.
        values = Distribution.of_streams("ms", [8, 7, 6, 5, 4, 3, 2, 1], failures=2)
        assert values.quantile(0.5) == 4
        assert values.adjusted(0.5) == 5
        assert values.adjusted(0.8) == 8
        assert values.adjusted(0.9) == math.inf

    def test_without_failures_nothing_is_adjusted(self) -> None:
        values = Distribution.of_streams("ms", [3, 1, 2], failures=0)
        assert [values.adjusted(q) for q in QS] == [values.quantile(q) for q in QS]

    def test_nothing_but_failures(self) -> None:
        assert Distribution.of_streams("ms", [], failures=3).adjusted(0.5) == math.inf

    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.floats(0, 1e6), max_size=40), st.integers(1, 40), st.sampled_from(QS))
    def test_it_is_the_quantile_with_infinities_among_the_values(
        self, values: list[float], failures: int, q: float
    ) -> None:
        with_infinities = sorted([*values, *[math.inf] * failures])
        assert Distribution.of_streams("ms", values, failures).adjusted(q) == quantile(with_infinities, q)

    def test_json_has_no_infinity(self) -> None:
        out = Distribution.of_streams("ms", [1, 2], failures=2).to_json()
        assert out["adjusted"] == {"p50": 2.0, "p90": None, "p95": None, "p99": None}


class TestClustered:
    def test_chunks_of_one_stream_do_not_narrow_the_interval(self) -> None:
        """Ten streams, each with its own constant gap: a thousand chunks know no more than ten."""
        per_stream = [[float(i)] * 100 for i in range(10)]
        low, high = Distribution.of_chunks("ms", per_stream, 0).interval(0.5) or (0, 0)
        naive_low, naive_high = Distribution.of_streams("ms", [i for values in per_stream for i in values], 0).interval(
            0.5
        ) or (0, 0)
        assert high - low >= 4
        assert naive_high - naive_low <= 1

    def test_streams_that_agree_have_a_narrow_interval(self) -> None:
        values = Distribution.of_chunks("ms", [[1.0, 2.0, 3.0]] * 30, 0)
        assert values.interval(0.5) == (2.0, 2.0)

    def test_it_is_the_same_each_time(self) -> None:
        random = np.random.default_rng(1)
        values = Distribution.of_chunks("ms", [random.random(9).tolist() for _ in range(40)], 0)
        assert values.interval(0.95) == values.interval(0.95)

    @pytest.mark.parametrize("kind", ["alike", "each its own level", "one has nearly all chunks", "equal values"])
    def test_a_draw_weighs_every_chunk_by_its_stream(self, kind: str) -> None:
        """Against a bootstrap that goes through all chunks of every draw."""
        random = np.random.default_rng(5)
        sizes = [3000 if kind == "one has nearly all chunks" and i == 7 else 12 for i in range(60)]
        level = 100.0 if kind == "each its own level" else 0.0
        per_stream = [(random.random(size) + level * i).tolist() for i, size in enumerate(sizes)]
        if kind == "equal values":
            per_stream = [[float(round(value)) for value in values] for values in per_stream]
        pooled = sorted((value, i) for i, values in enumerate(per_stream) for value in values)
        values, clusters = np.array([value for value, _ in pooled]), np.array([i for _, i in pooled])
        found = Distribution.of_chunks("ms", per_stream, 0)
        for q in (0.5, 0.9, 0.95):
            draws = np.random.default_rng(0)
            quantiles = []
            for _ in range(200):
                weights = np.bincount(draws.integers(0, 60, 60), minlength=60)
                sums = np.cumsum(weights[clusters])
                quantiles.append(values[min(np.searchsorted(sums, q * sums[-1] - 1e-9), len(values) - 1)])
            low, high = np.quantile(quantiles, [(1 - 0.95) / 2, (1 + 0.95) / 2], method="inverted_cdf")
            assert found.interval(q) == (low, high)

    def test_too_few_streams_have_no_interval(self) -> None:
        assert Distribution.of_chunks("ms", [[float(i) for i in range(1000)]] * 19, 0).interval(0.95) is None
        assert Distribution.of_chunks("ms", [[1.0, 2.0]], 0).interval(0.5) is None

    def test_a_stream_without_chunks_is_left_out(self) -> None:
        values = Distribution.of_chunks("ms", [[], [2.0], [], [1.0, 3.0]], 0)
        assert values.streams == 2
        assert values.values.tolist() == [1.0, 2.0, 3.0]
        assert values.clusters is not None
        assert values.clusters.tolist() == [1, 0, 1]
        assert len(Distribution.of_chunks("ms", [[], []], 0)) == 0


def test_the_json_of_a_distribution() -> None:
    out = Distribution.of_streams("ms", [float(i) for i in range(1, 101)], 0).to_json()
    assert {key: out[key] for key in ("unit", "n", "mean", "min", "p50", "p90", "p95", "p99", "max")} == {
        "unit": "ms",
        "n": 100,
        "mean": 50.5,
        "min": 1.0,
        "p50": 50.0,
        "p90": 90.0,
        "p95": 95.0,
        "p99": 99.0,
        "max": 100.0,
    }
    # The tables of order statistics: ranks 40 and 61 of 100 for the median.
    assert out["ci95"]["p50"] == [40.0, 61.0]
    assert out["ci95"]["p99"] is None
    assert "adjusted" not in out
