"""How many processes share a run, and what each of them gets."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from streambench.errors import ConfigurationError, TargetUnreachable
from streambench.load.loading import load_scenario
from streambench.load.scenario import Scenario
from streambench.load.segment import Segment
from streambench.load.self_report import SelfReport, judge_workers
from streambench.load.workers import failure_of, how_it_ended, number_of_workers

TARGET = "target: {dialect: openai-chat, url: http://127.0.0.1:9/}\n"
SERVED = 'serve: {openai: {}, chat: {}}\ntarget: {dialect: chat-stream, url: "${serve.chat}/api/chat/stream"}\n'


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str], Scenario]:
    def make(text: str) -> Scenario:
        (tmp_path / "s.yaml").write_text(text)
        return load_scenario(str(tmp_path / "s.yaml"), environ={})

    return make


def test_segments_have_every_number_once() -> None:
    for of in (1, 2, 3, 7):
        segments = [Segment(index, of) for index in range(of)]
        for number in range(20):
            assert sum(segment.has(number) for segment in segments) == 1
        for first, total in ((0, 20), (5, 1), (3, 0), (4, 11)):
            counted = [segment.count(total, first) for segment in segments]
            assert counted == [sum(segment.has(n) for n in range(first, first + total)) for segment in segments]


@pytest.mark.parametrize(
    ("text", "workers"),
    [
        (TARGET + "load: {users: 50, duration: 1s}", 1),
        (TARGET + "load: {users: 50, duration: 1s, workers: 3}", 3),
        (TARGET + "load: {users: 50, duration: 1s, workers: auto}", 8),
        (SERVED + "load: {users: 50, duration: 1s, workers: auto}", 6),  # each server has a core of its own
        (TARGET + "load: {rate: 5/s, max_active: 2, duration: 1s, workers: auto}", 2),
        (TARGET + "load: {workers: 4, phases: [{users: 50, duration: 1s}, {users: 3, streams: 90}]}", 3),
        (TARGET + "load: {workers: 4, warmup: 1s, steps: {users: [1, 8], hold: 1s}}", 4),
    ],
)
def test_how_many_workers(
    load: Callable[[str], Scenario], monkeypatch: pytest.MonkeyPatch, text: str, workers: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    assert number_of_workers(load(text)) == workers


@pytest.mark.parametrize("wrong", ["0", "257", "all"])
def test_a_number_of_workers_that_cannot_be(load: Callable[[str], Scenario], wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="workers"):
        load(f"{TARGET}load: {{workers: {wrong}}}")


def test_what_ended_a_worker_is_raised_as_it_was_there() -> None:
    full = failure_of({"errno": errno.ENOSPC, "reason": "No space left on device", "file": "records.jsonl"})
    assert isinstance(full, OSError)
    assert full.errno == errno.ENOSPC
    assert isinstance(failure_of({"error": "TargetUnreachable", "reason": "gone"}), TargetUnreachable)
    assert how_it_ended(-9) == "was killed by SIGKILL"
    assert "70" in how_it_ended(70)


def test_a_lost_worker_makes_the_run_invalid_by_name() -> None:
    found = judge_workers([SelfReport("1", 10), SelfReport("2", 7, lost=True, how="was killed by SIGKILL")], {})
    assert not found["valid"]
    assert found["lost"] == ["2"]
    (reason,) = found["reasons"]
    assert "worker 2 was killed by SIGKILL" in reason
