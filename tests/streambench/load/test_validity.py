"""Whether the generator's own figures allow to believe the others."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from streambench.load.validity import GeneratorFacts, Watch, judge_generator, percentile_ms

MS = 1_000_000
S = 1_000_000_000


def facts(**given: Any) -> GeneratorFacts:
    return GeneratorFacts(**{"elapsed_ns": 10 * S, "cpu": 0.3, **given})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, None),
        ({"open_ns": 10 * S, "requested": 100, "achieved": 100}, None),
        ({"open_ns": 10 * S, "requested": 100, "achieved": 95}, None),
        ({"open_ns": 10 * S, "requested": 100, "achieved": 94}, "9.4 of 10.0"),
        # How late and busy it was explains a wrong figure, and makes none.
        ({"lags_ns": [9 * S] * 100}, None),
        ({"start_delays_ns": [9 * S] * 10}, None),
        ({"cpu": 1.0}, None),
        ({"upstream_late_ns": [151 * MS] * 100}, "151 ms late"),
        ({"server_wait": {"openai": 0.46}}, "'openai' waited 46%"),
        ({"server_wait": {"openai": 0.46}, "elapsed_ns": S}, None),  # a second says nothing
    ],
)
def test_a_verdict_with_its_reason(given: dict[str, Any], said: str | None) -> None:
    out = judge_generator(facts(**given))
    assert out["valid"] is (said is None)
    assert len(out["reasons"]) == (said is not None)
    if said is not None:
        assert said in out["reasons"][0]
        assert "lower the" in out["reasons"][0]  # the remedy


def test_all_reasons_are_given() -> None:
    bad = facts(server_wait={"chat": 0.9}, upstream_late_ns=[S], open_ns=S, requested=10, achieved=1)
    assert len(judge_generator(bad)["reasons"]) == 3


def test_what_nobody_can_say_is_null() -> None:
    out = judge_generator(GeneratorFacts())
    assert out["valid"]
    for name in ("requested_rate", "achieved_rate", "start_delay_p99_ms", "loop_lag_p99_ms", "cpu"):
        assert out[name] is None
    assert (out["stamps"], out["coalesced_reads"]) == ("user", 0)


def test_rates_are_of_the_open_phases_alone() -> None:
    out = judge_generator(facts(elapsed_ns=60 * S, open_ns=10 * S, requested=50, achieved=50))
    assert (out["requested_rate"], out["achieved_rate"]) == (5, 5)


def test_percentiles() -> None:
    assert percentile_ms([], 99) is None
    assert percentile_ms([i * MS for i in range(101)], 99) == 99


async def test_the_watch_notices_lag_and_garbage_collections() -> None:
    watched = GeneratorFacts()
    lines: list[dict[str, Any]] = []
    watch = asyncio.create_task(Watch(watched, lines.append, lines.append).run())
    while not watched.gc_pause_ns:
        await asyncio.sleep(0)
        gc.collect()
    watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    assert watched.elapsed_ns > 0
    assert watched.cpu is not None
    assert not [callback for callback in gc.callbacks if getattr(callback, "__func__", None) is Watch._gc]


def test_the_watch_writes_a_line_a_second(virtual_time: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = GeneratorFacts()
    lines: list[dict[str, Any]] = []
    begun: list[dict[str, Any]] = []

    async def run(loop: Any) -> None:
        monkeypatch.setattr("streambench.load.validity._clock", loop)
        watch = asyncio.create_task(Watch(watched, lines.append, begun.append).run())
        await asyncio.sleep(1.5)
        watched.begun = 7
        await asyncio.sleep(2)
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)

    virtual_time(run)
    assert len(lines) == 3
    assert [line["streams"] for line in begun] == [7]
    assert {"at_ns", "loop_lag_p99_ms", "cpu", "gc_pause_ms"} <= set(lines[0])
    assert watched.elapsed_ns == pytest.approx(3.5 * S, rel=1e-6)
    assert percentile_ms(watched.lags_ns, 99) == 0
