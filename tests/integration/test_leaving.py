"""Users who leave: an outcome of its own, and what the upstream sees of it, on all three kinds of transport."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streambench.analysis.gates import Result
from streambench.analysis.summary import Summary, summarize
from streambench.errors import ExitCode
from streambench.load.loading import read_scenario
from streambench.load.progress import Progress, TargetProgress
from streambench.load.run import run_scenario
from streambench.record.run_file import read_run

SYSTEMS = ("chat-stream", "assistant-ws", "room-chat")
PATHS = {"chat-stream": "/api/chat/stream"}
PIECES = {"chat-stream": "content", "assistant-ws": "response", "room-chat": "stream-chunk"}
STREAMS = 4


async def left(servers: Any, path: Path, leave: str, *gates: str) -> Summary:
    """A run in which the users of three systems leave."""
    targets = "\n".join(
        f"  {name}: {{dialect: {name}, url: '{servers.chat}{PATHS.get(name, '')}', upstream: '{servers.openai}', "
        f"auth: {{bearer: alice-token}}, milestones: {{answer: {PIECES[name]}}}}}"
        for name in SYSTEMS
    )
    scenario = read_scenario(
        f"targets:\n{targets}\n"
        "prompts: {text: Hello, tokens: 25, profile: {name: fixed, ttft_ms: 20, gap_ms: 40}}\n"
        f"load: {{users: 1, streams: {STREAMS}, leave: {leave}}}\ngates: {list(gates)}\n",
        "leaving",
        environ={},
    )
    progress = Progress({name: TargetProgress() for name in SYSTEMS})
    await run_scenario(scenario, path, progress, asyncio.Event(), lambda _: None)
    return summarize(read_run(path))


@pytest.mark.parametrize("leave", ["{after: 3}", "{after: first_text}", "{after: 300ms}", "{after: answer}"])
async def test_a_service_that_cancels_is_told_by_its_figures(
    leave: str, shared_mock: Callable[..., Any], tmp_path: Path
) -> None:
    summary = await left(shared_mock(), tmp_path / "records.jsonl", leave, "cancel_lag.p50 < 1h", "streams.left == 4")
    for target in summary.targets.values():
        assert (target.counts["left"], target.counts["completed"], target.counts["failed"]) == (STREAMS, 0, 0), target
        assert len(target.distributions["cancel_lag"]) == STREAMS
        assert len(target.distributions["wasted_tokens"]) == STREAMS
        assert not len(target.distributions["e2e"])
        assert target.violations == 0
    # That nothing was completed is what was asked for.
    assert {result.gate.expr for result in summary.gates if result.result is not Result.PASSED} == set()


async def test_a_service_that_does_not_cancel_has_failed_the_gate(
    shared_mock: Callable[..., Any], tmp_path: Path
) -> None:
    servers = shared_mock("--defect", "no-cancel")
    summary = await left(servers, tmp_path / "records.jsonl", "{after: 3}", "cancel_lag.p50 < 1h")
    for target in summary.targets.values():
        assert not len(target.distributions["cancel_lag"]), target.name
        assert target.distributions["wasted_tokens"].values[0] >= 10, "of 25 tokens, three were read"
    failed = [gate for gate in summary.gates if gate.result is Result.FAILED]
    assert [gate.reason for gate in failed] == ["the upstream never noticed 4 of 4 clients leaving"] * len(SYSTEMS)
    assert summary.exit_code is ExitCode.PERFORMANCE


async def test_some_leave_and_the_others_stay(shared_mock: Callable[..., Any], tmp_path: Path) -> None:
    summary = await left(shared_mock(), tmp_path / "records.jsonl", "{after: first_text, probability: 0}")
    assert all(target.counts["completed"] == STREAMS for target in summary.targets.values())
