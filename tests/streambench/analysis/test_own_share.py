"""What in the figures is the generator's own: bounds that hold, whatever happened before a late read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streambench.analysis.gates import Result
from streambench.analysis.metrics import Settings
from streambench.analysis.own_share import early_ns
from streambench.analysis.quantiles import QUANTILES, Distribution
from streambench.analysis.shares import Shares
from streambench.analysis.stream import analyse
from streambench.analysis.summary import summarize
from streambench.record.model import OwnShare, StreamRecord

MS = 1_000_000
MakeRecord = Callable[..., StreamRecord]


def late(make: MakeRecord, **own: Any) -> StreamRecord:
    """Texts every 20 ms from 100 on; those of 120, 140 and 160 were read together at 160."""
    times = [(100, "one "), (160, "two "), (160, "three "), (160, "four "), (180, "five ")]
    early = {"early": {1: 41 * MS}} | own
    return make(times, reads=[0, 1, 1, 1, 2], own=OwnShare(**early))


@pytest.fixture
def record(make_record: MakeRecord) -> StreamRecord:
    made = late(make_record)
    made.reads = 3
    return made


def test_the_last_of_a_read_came_at_its_stamp(record: StreamRecord) -> None:
    assert early_ns(record) == [0, 41 * MS, 41 * MS, 0, 0]


def test_without_the_kernels_stamp_nothing_of_a_read_is_certain(record: StreamRecord) -> None:
    record.user_reads = 3
    assert early_ns(record) == [0, 41 * MS, 41 * MS, 41 * MS, 0]


def test_a_stream_that_was_read_in_time_has_no_share_in_its_gaps(make_record: MakeRecord) -> None:
    found = analyse(make_record([(i * 20, "word ") for i in range(5)]), Settings()).figures.own
    assert found.chunk == {}
    assert not any(share.minus or share.plus for share in found.stream.values())


def test_the_true_gaps_lie_within_the_shares(record: StreamRecord) -> None:
    figures = analyse(record, Settings()).figures
    gaps, shares = figures.chunk["gap"], dict(figures.own.chunk["gap"])
    for i, true in enumerate((20.0, 20.0, 20.0, 20.0)):
        minus, plus = shares.get(i, (0.0, 0.0))
        assert gaps[i] - minus <= true <= gaps[i] + plus
    assert figures.stream["gap_max"] - figures.own.stream["gap_max"].minus <= 20


def test_starting_late_is_in_the_times_until_something(make_record: MakeRecord) -> None:
    made = late(make_record, start_ns=3 * MS, send_ns=MS, connect_ns=2 * MS, early={})
    own = analyse(made, Settings()).figures.own.stream
    assert {name: own[name].minus for name in ("ttfc", "ttfc_service", "ttfb", "e2e", "connect")} == {
        "ttfc": 6,
        "ttfc_service": 0,
        "ttfb": 3,
        "e2e": 6,
        "connect": 2,
    }
    made.connect_ahead_ns = 5 * MS
    assert analyse(made, Settings()).figures.own.stream["ttfc"].minus == 4


values = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 20), st.integers(0, 20), st.floats(0, 1)), min_size=1, max_size=40
)


@given(values)
def test_a_quantile_of_the_true_values_lies_between_its_bounds(drawn: list[tuple[int, int, int, float]]) -> None:
    given_values = np.array([float(value) for value, *_ in drawn])
    minus, plus = (np.array([float(one[side]) for one in drawn]) for side in (1, 2))
    off = (minus > 0) | (plus > 0)
    own = Shares(given_values[off], minus[off], plus[off]) if off.any() else None
    distribution = Distribution.of_streams("ms", given_values, 0, own)
    true = [value - down + share * (down + up) for value, down, up, share in drawn]
    for q in QUANTILES.values():
        low, high = distribution.bounds(q)
        assert low <= Distribution.of_streams("ms", true, 0).quantile(q) <= high
        assert distribution.quantile(q) - low <= distribution.own_share(q)
    for statistic in ("mean", "min", "max"):
        low, high = distribution.bounds(statistic)
        assert low - 1e-9 <= Distribution.of_streams("ms", true, 0).statistic(statistic) <= high + 1e-9


def started_late(make: MakeRecord, late_ms: float) -> list[StreamRecord]:
    return [
        make([(100 + late_ms, "word "), (200 + late_ms, "word ")], own=OwnShare(start_ns=round(late_ms * MS)))
        for _ in range(20)
    ]


@pytest.mark.parametrize(("late_ms", "valid"), [(0, True), (4.9, True), (5.5, False)])
def test_a_run_is_invalid_where_its_figures_may_be_the_generators(
    make_record: MakeRecord, make_run: Callable[..., Any], late_ms: float, valid: bool
) -> None:
    summary = summarize(make_run(started_late(make_record, late_ms)))
    assert summary.generator["valid"] is valid
    assert bool(summary.generator["excess"]) is not valid
    assert summary.exit_code == (0 if valid else 4)


def test_the_reason_names_figure_cause_and_remedy(make_record: MakeRecord, make_run: Callable[..., Any]) -> None:
    run = make_run(started_late(make_record, 50))
    run.end["generator"] |= {"cpu": 0.98, "elapsed_s": 0.3, "loop_lag_p99_ms": 48.0}
    generator = summarize(run).generator
    (reason, *_) = generator["reasons"]
    for words in (
        "t's ttfc p50 (150.0 ms) may be off by up to 50.0",
        "core was 98% busy",
        "lower the load to about 10 streams",
    ):
        assert words in reason
    assert generator["valid_up_to"] == 10


def test_one_hiccup_in_a_few_streams_does_not_make_a_run_invalid(
    make_record: MakeRecord, make_run: Callable[..., Any]
) -> None:
    records = [make_record([(100, "a "), (120, "b ")]) for _ in range(3)]
    records[0].own = OwnShare(start_ns=50 * MS)
    assert summarize(make_run(records)).generator["valid"]


@pytest.mark.parametrize(
    ("gate", "result"),
    [
        ("ttfc.p50 < 200ms", Result.PASSED),
        ("ttfc.p50 < 80ms", Result.FAILED),
        ("ttfc.p50 < 102ms", Result.INCONCLUSIVE),
        ("ttfc.mean < 102ms", Result.INCONCLUSIVE),
        ("ttfc.p50 > 102ms", Result.INCONCLUSIVE),
    ],
)
def test_a_gate_that_the_own_share_could_turn_is_undecided(
    make_record: MakeRecord, make_run: Callable[..., Any], gate: str, result: Result
) -> None:
    summary = summarize(make_run(started_late(make_record, 4), gates=[gate]))
    decided = summary.gates[0]
    assert decided.result is result
    assert ("own share" in (decided.reason or "")) is (result is Result.INCONCLUSIVE)


def test_the_shares_are_in_the_summary(make_record: MakeRecord, make_run: Callable[..., Any]) -> None:
    metrics = summarize(make_run(started_late(make_record, 4))).to_json()["targets"]["t"]["metrics"]
    assert metrics["ttfc"]["own_share"] == {**dict.fromkeys(QUANTILES, 4), "worst": 4}
    assert metrics["gap"]["own_share"] == {**dict.fromkeys(QUANTILES, 0), "worst": 0}


def test_gaps_of_late_reads_bound_the_truth(record: StreamRecord, make_run: Callable[..., Any]) -> None:
    distribution = summarize(make_run([record])).targets["t"].distributions["gap"]
    for q in QUANTILES.values():
        assert abs(distribution.quantile(q) - 20.0) <= distribution.own_share(q)
