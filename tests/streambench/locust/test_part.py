"""A worker's part in a run: what it makes of the streams that end."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("zmq", reason="locust is not installed: pip install 'streambench[locust]'")

from streambench.load.loading import load_scenario
from streambench.load.testbed import open_testbed
from streambench.locust.part import Part
from streambench.locust.rows import Rows
from streambench.upstream.clocks import ClockRelation

OFFSET_NS, ERROR_NS = 10**15, 7 * 10**6


async def test_records_are_on_the_masters_clock_and_rows_leave_the_total_alone(
    start_mock: Callable[..., Any], tmp_path: Path
) -> None:
    url = start_mock("--no-chat").openai
    (tmp_path / "s.yaml").write_text(
        f'target: {{dialect: openai-chat, url: "{url}/v1/chat/completions", upstream: "{url}", '
        "milestones: {answered: FINISH, asked: {event: DELTA, from: sent}, refused: ERROR}}\n"
        "prompts: {tokens: 5, profile: {name: fixed, ttft_ms: 5, gap_ms: 2}, faults: [missing-finish]}\n"
    )
    scenario = load_scenario(str(tmp_path / "s.yaml"), environ={})
    rows = Rows()
    async with open_testbed(scenario) as testbed:
        part = Part("run1", "far/3", testbed, ClockRelation(OFFSET_NS, ERROR_NS), rows, 100)
        before_ns = time.monotonic_ns()
        await part.population.resize({"openai-chat": 2}, 0)
        while part.records < 6:
            await asyncio.sleep(0.01)
        live = part.live()
        await part.end(5.0)
        after_ns = time.monotonic_ns()
    count, lines = part.take_lines()
    written = [json.loads(line) for line in lines.splitlines()]
    seen = [line for line in written if line["kind"] == "stream"]
    assert count == len(seen) == part.records
    assert {line["worker"] for line in written} == {"far/3"}
    assert sorted(record["id"] for record in seen)[0] == "openai-chat/far/3.100"
    for record in seen:
        assert before_ns <= record["start_ns"] - OFFSET_NS <= after_ns
        assert record["start_ns"] - record["intended_ns"] < 10**9
        assert all(0 <= at < 10**10 for at in record["events"]["at"])  # the others count from the start
    assert live["generator"]["clock_error_ms"] == 7.0
    assert part.population.next_number == 100 + len(seen)
    report = rows.report({})
    by_method = {row["method"]: row["num_requests"] for row in report["stats"]}
    finished = sum(record["outcome"] == "completed" for record in seen)
    beside = ("SSE openai-chat", "TTFC", "GAP MAX", "milestone.asked")
    assert by_method == dict.fromkeys(beside, finished)  # without a finish, `answered` is never reached
    assert report["stats_total"]["num_requests"] == finished
    assert report["stats_total"]["num_failures"] == 0  # a broken rule is listed, and fails no stream
    (failure,) = report["errors"].values()
    assert failure["occurrences"] == finished
    (first,) = [found for found in seen[0]["findings"] if found.get("severity") is None]
    assert failure["error"].startswith(f"{first['rule']}: {first['message']} (in openai-chat/far/3.")
    assert failure["error"].endswith(f" at event {first['event_index'] + 1}, byte {first['offset']})")
    assert rows.report({})["stats"] == []
