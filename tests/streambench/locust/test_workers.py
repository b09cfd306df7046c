"""Several workers as one generator: what they add up to, and what happens when one of the processes is lost."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streambench.quantile import quantile

pytestmark = pytest.mark.timeout(300)
FAST = "fast.yaml"


def children(pid: int, module: str) -> list[int]:
    """The processes of a module that a process has started."""
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [child for child in found if module in Path(f"/proc/{child}/cmdline").read_text()]


def gone(pid: int) -> bool:
    """Whether a process has ended, be it that nobody has asked for its exit status yet."""
    try:
        return ") Z" in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True


def ttfc_ms(record: dict[str, Any]) -> float:
    events = record["events"]
    first = next(at for at, chars in zip(events["at"], events["chars"], strict=True) if chars)
    return float(first + record["start_ns"] - record["intended_ns"]) / 1e6


def test_without_the_ui_two_workers_are_one_generator(locust: Callable[..., Any]) -> None:
    """The scenario's phases are the shape of the load, records merge exactly, and the exit code is that of `run`."""
    phases = "load={phases: [{users: 4, duration: 2s, think: 0.1s}, {rate: {from: 10/s, to: 20/s}, duration: 3s}]}"
    gate = ("--gate", "ttfc.p50 < 1ms")
    run = locust(FAST, "--headless", "--json", "--set", phases, "--workers", "2", "--expect-workers", "2", *gate)
    summary = json.loads(run.printed())
    assert [summary] == run.summaries()
    assert run.process.returncode == summary["exit_code"] == (1 if summary["generator"]["valid"] else 4)
    assert {gate["expr"]: gate["result"] for gate in summary["gates"]}["ttfc.p50 < 1ms"] == "failed"
    seen = run.records()
    assert len({record["id"] for record in seen}) == len(seen) > 20
    assert len({record["mark"] for record in seen}) == len(seen)
    shares = Counter(record["worker"] for record in seen)
    assert len(shares) == 2
    generator = summary["generator"]
    assert {worker["name"]: worker["records"] for worker in generator["workers"]} == shares
    assert not generator["lost"]
    (target,) = summary["targets"].values()
    merged = sorted(ttfc_ms(record) for record in seen if record["outcome"] == "completed")
    assert target["metrics"]["ttfc"]["n"] == len(merged)
    for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        assert target["metrics"]["ttfc"][name] == round(quantile(merged, q), 4)
    assert target["authenticity"]["verdict"] == "forwarded"
    users = {phase: {record["user"] is None for record in seen if record["phase"] == phase} for phase in (0, 1)}
    assert users == {0: {False}, 1: {True}}
    assert generator["achieved_rate"] == generator["requested_rate"]
    assert 5 < generator["requested_rate"] < 20


def test_without_the_ui_an_interrupted_run_says_so(locust: Callable[..., Any]) -> None:
    run = locust(FAST, "--headless", "--json", "-u", "2", "-t", "600s")
    run.patiently(lambda: any('"kind":"stream"' in path.read_text() for path in run.folder.rglob("records.jsonl")))
    run.process.send_signal(signal.SIGINT)
    summary = json.loads(run.printed())
    assert run.process.returncode == summary["exit_code"] == 130
    assert summary["interrupted"]


def test_a_run_may_be_stopped_while_its_users_still_come(crew: Any) -> None:
    before = len(crew.summaries())
    crew.start(200, spawn_rate=2)
    crew.wait_for(5)
    assert crew.whole()
    assert crew.live()["now"]["users"] == 0
    crew.start(2)
    crew.wait_for(5)
    crew.until(lambda live: live["now"]["users"] == 2)  # nobody of the first run has stayed
    crew.stop()
    assert len(crew.summaries()) == before + 2


def test_a_worker_may_join_during_a_run_and_leave_it(crew: Any) -> None:
    crew.start(6)
    crew.wait_for(5)
    other = crew.worker("--set", "prompts.text=Other")
    late = crew.worker()
    crew.until(lambda live: [worker["users"] for worker in live["now"]["workers"]] == [2, 2, 2])
    before = crew.completed()
    crew.wait_for(before + 10)
    assert late.end() == 0  # who leaves in order is not lost
    crew.until(lambda live: [worker["state"] for worker in live["now"]["workers"]].count("running") == 2)
    assert crew.whole()
    workers = crew.summaries()[-1]["generator"]["workers"]
    assert sorted((worker["late"], worker["lost"]) for worker in workers) == [(False, False)] * 2 + [(True, False)]
    assert len({record["worker"] for record in crew.records()}) == 3
    assert other.process.wait(60) == 2
    other.heard("has another scenario than the master")


def test_a_worker_that_is_killed_is_named_and_makes_the_run_inconclusive(crew: Any) -> None:
    crew.start(4)
    crew.wait_for(10)
    victim, _ = children(crew.process.pid, "streambench.locust.worker")
    os.kill(victim, signal.SIGKILL)
    before = crew.completed()
    crew.wait_for(before + 10)  # the others go on
    state = crew.stop()
    (lost,) = [worker["name"] for worker in state["now"]["workers"] if worker["lost"]]
    assert state["report"]["exit_code"] == 4
    assert crew.summaries()[-1]["generator"]["lost"] == [lost]
    assert any(record["worker"] == lost for record in crew.records())  # what it had finished is there
    assert f"worker {lost} was lost" in (crew.folder / "reports/fast/latest/summary.md").read_text()
    crew.start(2)  # and the next run is whole again
    crew.wait_for(5)
    assert crew.whole()
    assert crew.end() == 4


def test_what_was_measured_outlives_a_killed_master(locust: Callable[..., Any]) -> None:
    ui = locust(FAST, "--workers", "2")
    ui.workers(2)
    ui.start(4)
    ui.wait_for(10)
    workers = children(ui.process.pid, "streambench.locust.worker")
    (master,) = children(ui.process.pid, "streambench.locust.master")
    os.kill(master, signal.SIGKILL)
    assert ui.process.wait(60) == 4
    ui.heard("the master has ended unexpectedly")
    (summary,) = ui.summaries()
    assert summary["generator"]["lost"] == ["master"]
    assert summary["interrupted"]
    assert len(ui.records()) >= 10
    assert all(map(gone, workers))


def test_nothing_stays_when_everything_is_killed(locust: Callable[..., Any]) -> None:
    ui = locust(FAST)
    ui.workers(1)
    ui.start(2)
    ui.wait_for(3)
    started = children(ui.process.pid, "streambench.locust.")
    assert len(started) == 2
    ui.process.kill()
    ui.process.wait(10)
    ui.patiently(lambda: all(map(gone, started)))


def test_a_scenario_that_no_worker_can_run_ends_as_run_does(locust: Callable[..., Any]) -> None:
    wrong = "prompts={tokens: 5, faults: [no-such-fault]}"
    run = locust(FAST, "--headless", "--workers", "2", "--set", wrong)
    assert run.process.wait(60) == 2
    run.heard("no-such-fault")
    assert run.summaries() == []
