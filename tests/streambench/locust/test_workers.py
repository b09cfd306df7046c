"""Several workers as one generator: what they add up to, and what happens when one of the processes is lost."""

from __future__ import annotations

import json
import os
import re
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streambench.quantile import quantile

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    path = tmp_path / "fast.yaml"
    path.write_text(
        'name: fast\nserve: {openai: {}}\ntarget: {dialect: openai-chat, url: "${serve.openai}/v1/chat/completions"}\n'
        "prompts: {text: Hello, tokens: 12, profile: {name: fixed, ttft_ms: 20, gap_ms: 5}}\n"
        "load: {users: 4, duration: 60s, think: 0.05s}\ngates: [ttfc.p50 < 2s, error_rate == 0]\n"
    )
    return path.name


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


def records(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "reports/fast/latest/records.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["kind"] == "stream"]


def ttfc_ms(record: dict[str, Any]) -> float:
    events = record["events"]
    first = next(at for at, chars in zip(events["at"], events["chars"], strict=True) if chars)
    return float(first + record["start_ns"] - record["intended_ns"]) / 1e6


def test_two_workers_are_one_generator(locust: Callable[..., Any], scenario: str, tmp_path: Path) -> None:
    run = locust(scenario, "--headless", "-u", "6", "-r", "50", "-t", "3s", "--workers", "2", "--expect-workers", "2")
    assert run.process.wait(100) == 0
    (summary,) = run.summaries()
    seen = records(tmp_path)
    assert len({record["id"] for record in seen}) == len(seen) > 20
    assert len({record["mark"] for record in seen}) == len(seen)
    shares = Counter(record["worker"] for record in seen)
    assert len(shares) == 2
    workers = summary["generator"]["workers"]
    assert {worker["name"]: worker["records"] for worker in workers} == shares
    assert not summary["generator"]["lost"]
    (target,) = summary["targets"].values()
    merged = sorted(ttfc_ms(record) for record in seen if record["outcome"] == "completed")
    assert target["metrics"]["ttfc"]["n"] == len(merged)
    for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        assert target["metrics"]["ttfc"][name] == round(quantile(merged, q), 4)
    assert target["authenticity"]["verdict"] == "forwarded"


@pytest.mark.parametrize(("gate", "code"), [("ttfc.p50 < 1ms", 1), ("ttfc.p99 < 9s", 4)])
def test_without_the_ui_it_exits_as_run_does(locust: Callable[..., Any], scenario: str, gate: str, code: int) -> None:
    run = locust(scenario, "--headless", "--set", "load={users: 1, streams: 4}", "--gate", gate, "--json")
    printed, _ = run.process.communicate(timeout=100)
    assert run.process.returncode == code
    summary = json.loads(printed)
    assert summary["exit_code"] == code
    (target,) = summary["targets"].values()
    assert target["streams"]["completed"] >= 4


def test_the_phases_of_a_scenario_are_a_shape(locust: Callable[..., Any], scenario: str, tmp_path: Path) -> None:
    phases = "load={phases: [{users: 2, duration: 2s, think: 0.1s}, {rate: {from: 10/s, to: 20/s}, duration: 3s}]}"
    run = locust(scenario, "--headless", "--set", phases, "--workers", "2", "--expect-workers", "2")
    assert run.process.wait(100) == 0
    seen = records(tmp_path)
    closed = [record for record in seen if record["phase"] == 0]
    opened = [record for record in seen if record["phase"] == 1]
    assert {record["user"] is None for record in closed} == {False}
    assert {record["user"] is None for record in opened} == {True}
    (summary,) = run.summaries()
    generator = summary["generator"]
    assert generator["achieved_rate"] == generator["requested_rate"]
    assert 5 < generator["requested_rate"] < 20


def test_a_worker_that_is_killed_is_named_and_makes_the_run_inconclusive(
    locust: Callable[..., Any], scenario: str, tmp_path: Path
) -> None:
    ui = locust(scenario, "--workers", "2")
    ui.workers(2)
    ui.start(4)
    ui.wait_for(10)
    victim, _ = children(ui.process.pid, "streambench.locust.worker")
    os.kill(victim, signal.SIGKILL)
    before = ui.completed()
    ui.wait_for(before + 10)  # the others go on
    state = ui.stop()
    (lost,) = [worker["name"] for worker in state["now"]["workers"] if worker["lost"]]
    assert state["report"]["verdict"] == "inconclusive"
    (summary,) = ui.summaries()
    assert summary["generator"]["lost"] == [lost]
    assert any(record["worker"] == lost for record in records(tmp_path))  # what it had finished is there
    assert f"The worker {lost} was lost" in (tmp_path / "reports/fast/latest/summary.md").read_text()
    ui.start(2)  # and the next run is whole again
    ui.wait_for(5)
    assert ui.stop()["report"]["verdict"] == "passed"
    assert ui.end() == 4


def test_a_worker_may_join_during_a_run(locust: Callable[..., Any], scenario: str, tmp_path: Path) -> None:
    ui = locust(scenario)
    ui.workers(1)
    port = re.search(r":(\d+)$", ui.heard("workers: "))
    assert port is not None
    ui.start(6)
    ui.wait_for(5)
    late = locust(scenario, "--worker", "--workers", "1", "--master-port", port[1])
    ui.workers(2)
    ui.until(lambda live: [worker["users"] for worker in live["now"]["workers"]] == [3, 3])
    before = ui.completed()
    ui.wait_for(before + 10)
    assert ui.stop()["report"]["verdict"] == "passed"
    (summary,) = ui.summaries()
    assert sorted(worker["late"] for worker in summary["generator"]["workers"]) == [False, True]
    assert len({record["worker"] for record in records(tmp_path)}) == 2
    ui.start(4)
    ui.wait_for(3)
    assert late.end() == 0  # who leaves in order is not lost
    ui.until(lambda live: [worker["state"] for worker in live["now"]["workers"]].count("running") == 1)
    assert ui.stop()["report"]["verdict"] == "passed"
    assert ui.end() == 0


def test_a_worker_with_another_scenario_is_refused(locust: Callable[..., Any], scenario: str) -> None:
    ui = locust(scenario)
    port = re.search(r":(\d+)$", ui.heard("workers: "))
    assert port is not None
    other = locust(scenario, "--worker", "--workers", "1", "--master-port", port[1], "--set", "prompts.text=Other")
    assert other.process.wait(60) == 2
    other.heard("has another scenario than the master")


def test_a_run_may_be_stopped_while_its_users_still_come(locust: Callable[..., Any], scenario: str) -> None:
    ui = locust(scenario, "--workers", "2")
    ui.workers(2)
    ui.start(200, spawn_rate=2)
    ui.wait_for(5)
    state = ui.stop()
    assert state["report"]["verdict"] == "passed"
    assert state["now"]["users"] == 0
    ui.start(2)
    ui.wait_for(5)
    ui.until(lambda live: live["now"]["users"] == 2)  # nobody of the first run has stayed
    ui.stop()
    first, second = ui.summaries()
    assert first["started"] <= second["started"]
    assert ui.end() == 0


def test_what_was_measured_outlives_a_killed_master(locust: Callable[..., Any], scenario: str, tmp_path: Path) -> None:
    ui = locust(scenario, "--workers", "2")
    ui.workers(2)
    ui.start(4)
    ui.wait_for(10)
    workers = children(ui.process.pid, "streambench.locust.worker")
    (master,) = children(ui.process.pid, "streambench.locust.master")
    os.kill(master, signal.SIGKILL)
    assert ui.process.wait(60) == 4
    ui.heard("the master has ended unexpectedly")
    (summary,) = ui.summaries()
    assert summary["verdict"] == "inconclusive"
    assert summary["interrupted"]
    assert len(records(tmp_path)) >= 10
    assert all(map(gone, workers))


def test_nothing_stays_when_everything_is_killed(locust: Callable[..., Any], scenario: str) -> None:
    ui = locust(scenario)
    ui.workers(1)
    ui.start(2)
    ui.wait_for(3)
    started = children(ui.process.pid, "streambench.locust.")
    assert len(started) == 2
    ui.process.kill()
    ui.process.wait(10)
    ui.patiently(lambda: all(map(gone, started)))
