"""Every metric on streams small enough to work the figures out by hand."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from streambench.analysis.gates import TARGET_VALUES
from streambench.analysis.metrics import METRICS, Settings, StreamFigures
from streambench.analysis.stream import analyse
from streambench.record.model import StreamRecord, UpstreamExchange

MS = 1_000_000
SETTINGS = Settings(stall_after_ns=100 * MS)


def figures(record: StreamRecord, settings: Settings = SETTINGS) -> StreamFigures:
    return analyse(record, settings).figures


def test_a_stream_by_hand(make_record: Callable[..., StreamRecord]) -> None:
    """Due at 1000, started at 1010, connected at 1015; a role at 1040, then four chunks; the end at 1500 (ms)."""
    record = make_record(
        [(30, ""), (40, "Hello"), (40, " big"), (60, " wide"), (260, " world!")],
        reads=[0, 1, 1, 2, 3],
        start_ms=1010,
        intended_ns=1000 * MS,
        connected_ns=1015 * MS,
        headers_ns=1035 * MS,
        end_ns=1500 * MS,
        tokens=22,
    )
    found = figures(record)
    assert found.chunk == {"gap": [0, 20, 200], "burst_gap": [20, 200]}
    assert {name: round(value, 6) for name, value in found.stream.items()} == {
        "start_delay": 10,
        "connect": 5,
        "ttfb": 25,
        "ttfe": 30,
        "ttfc": 50,
        "ttfc_service": 40,
        "e2e": 500,
        "e2e_service": 490,
        "gap_max": 200,
        "stalls": 1,
        "stalled_ms": 200,
        "cadence": round(3 / 0.220, 6),
        "chars_per_s": round((4 + 5 + 7) / 0.220, 6),
        "tokens_per_s": pytest.approx(100 * 16 / 21),  # without what came with the first chunk
        "jitter": 20,  # gaps 0, 20, 200: the median is 20, the deviations 20, 0, 180
        "burstiness": round((89.938251 - 73.333333) / (89.938251 + 73.333333), 6),
        "events_per_read": 5 / 4,
        "reading_stall": 0,
        "qoe": 1,
    }


def test_what_was_done_before_the_stream_is_not_in_its_service_time(make_record: Callable[..., StreamRecord]) -> None:
    record = make_record([(50, "word ")], start_ms=1010, connected_ns=1011 * MS)
    record.sent_ns = 1020 * MS
    record.connect_ahead_ns = 3 * MS
    found = figures(record).stream
    assert (found["connect"], found["ttfc_service"], found["ttfc"]) == (3, 40, 50)


def test_a_regular_stream_has_no_jitter_and_is_not_bursty(make_record: Callable[..., StreamRecord]) -> None:
    found = figures(make_record([(i * 50, "word ") for i in range(10)])).stream
    assert (found["jitter"], found["burstiness"], found["stalls"], found["stalled_ms"]) == (0, -1, 0, 0)
    assert found["cadence"] == 20


def test_a_gap_as_long_as_the_limit_is_no_stall(make_record: Callable[..., StreamRecord]) -> None:
    record = make_record([(0, "a"), (100, "b"), (200.001, "c")])
    assert figures(record).stream["stalls"] == 1
    assert figures(record, Settings(stall_after_ns=99 * MS)).stream["stalls"] == 2


def test_a_reused_connection_has_no_connect_time(make_record: Callable[..., StreamRecord]) -> None:
    assert "connect" not in figures(make_record([(1, "a")], connected_ns=0, reused_connection=True)).stream


def test_what_cannot_be_said_is_left_out(make_record: Callable[..., StreamRecord]) -> None:
    nothing = figures(make_record([], end_ns=None))
    assert nothing.stream == {"start_delay": 0}
    assert nothing.chunk == {}
    silent = figures(make_record([(5, "")])).stream
    assert silent["ttfe"] == 5
    assert "ttfc" not in silent
    one = figures(make_record([(5, "all of it")]))
    assert one.chunk == {}
    assert not {"gap_max", "cadence", "jitter", "burstiness", "tokens_per_s"} & set(one.stream)
    at_once = figures(make_record([(5, "a"), (5, "b")], tokens=2)).stream
    assert at_once["gap_max"] == 0
    assert not {"cadence", "chars_per_s", "tokens_per_s", "burstiness"} & set(at_once)


def test_tokens_are_never_guessed(make_record: Callable[..., StreamRecord]) -> None:
    assert "tokens_per_s" not in figures(make_record([(0, "a"), (10, "b")], tokens=None)).stream


def test_the_lag_of_each_chunk(
    make_record: Callable[..., StreamRecord], make_exchange: Callable[..., UpstreamExchange]
) -> None:
    upstream = make_exchange([(0, "a"), (10, "b"), (20, "c")])
    found = figures(make_record([(1, "a"), (25, "bc")], upstream=[upstream]))
    assert found.chunk["forward_lag"] == [1, 5]


def test_what_the_upstream_did_after_the_client_had_left(
    make_record: Callable[..., StreamRecord], make_exchange: Callable[..., UpstreamExchange]
) -> None:
    writes = [(i * 10.0, f"w{i} ") for i in range(8)]
    upstream = make_exchange(writes, cancelled_ns=65 * MS, ended="cancelled")
    found = figures(make_record([(1, "w0 ")], end_ns=35 * MS, upstream=[upstream])).stream
    assert found["cancel_lag"] == 30
    assert found["wasted_tokens"] == 4  # at 40, 50, 60 and 70
    early = make_exchange(writes, cancelled_ns=20 * MS, ended="cancelled")
    assert figures(make_record([(1, "w0 ")], end_ns=35 * MS, upstream=[early])).stream["cancel_lag"] == 0
    assert "cancel_lag" not in figures(make_record([(1, "w0 ")], upstream=[make_exchange(writes)])).stream


def test_every_figure_is_a_known_metric_of_its_kind(
    make_record: Callable[..., StreamRecord], make_exchange: Callable[..., UpstreamExchange]
) -> None:
    writes = [(10 * i, word) for i, word in enumerate("abcd")]
    upstream = make_exchange(writes, cancelled_ns=32 * MS)
    chunks = [(at + 1, word) for at, word in writes]
    found = figures(make_record(chunks, upstream=[upstream], connected_ns=0, headers_ns=1, tokens=2, end_ns=31 * MS))
    assert set(found.stream) == {name for name, metric in METRICS.items() if metric.per == "stream"}
    assert set(found.chunk) == {name for name, metric in METRICS.items() if metric.per == "chunk"}


@pytest.mark.parametrize("metric", METRICS.values(), ids=list(METRICS))
def test_every_metric_says_what_it_is(metric: object) -> None:
    assert getattr(metric, "unit", None) in ("ms", "ratio", "factor", "count", "per s")
    assert getattr(metric, "description", "")


def test_a_buffered_reply_in_one_piece_has_a_short_lag_and_a_long_hold(
    make_record: Callable[..., StreamRecord], make_exchange: Callable[..., UpstreamExchange]
) -> None:
    upstream = make_exchange([(0, "one "), (200, "two "), (400, "three")])
    found = figures(make_record([(403, "one two three")], upstream=[upstream]))
    assert found.chunk["forward_lag"] == [3]
    assert found.chunk["hold_time"] == [403]


def test_the_pages_know_every_unit() -> None:
    page = (Path(__file__).parents[3] / "docs/reference/summary-json.md").read_text("utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `unit` |")]
    units = {metric.unit for metric in METRICS.values()} | {unit for unit in TARGET_VALUES.values() if unit}
    assert len(rows) == 2
    for row in rows:
        assert set(re.findall(r"`([^`]+)`", row)) - {"unit"} == units
