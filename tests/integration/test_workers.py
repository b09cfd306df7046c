"""`streambench run --workers`: several processes put on the load of one scenario, and leave one run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tools import programs

SCENARIO = """\
name: shared
serve: {openai: {profile: {name: fixed, ttft_ms: 10, gap_ms: 5}}}
target: {dialect: openai-chat, url: "${serve.openai}/v1/chat/completions"}
prompts: {text: [one, two, three], tokens: 12}
load:
  phases:
    - {users: 5, streams: 31}
    - {rate: 30/s, arrivals: poisson, duration: 1s}
"""
ENDLESS = SCENARIO.partition("load:")[0].replace("gap_ms: 5", "gap_ms: 50") + "load: {users: 6, duration: 120s}\n"


def start(*options: str, cwd: Path, scenario: str) -> programs.Process:
    """The scenario comes from standard input: no worker could read it again."""
    pipe = subprocess.PIPE
    command = ("streambench", "run", "-", "--no-plots", "--set", "name=shared")
    process = programs.start(*command, *options, cwd=cwd, stdin=pipe, stdout=pipe, stderr=pipe)
    assert process.stdin is not None
    process.stdin.write(scenario)
    process.stdin.close()
    process.stdin = None
    return process


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]


def streams_of(folder: Path) -> list[dict[str, Any]]:
    return [line for line in lines_of(folder) if line["kind"] == "stream"]


def workers_of(process: programs.Process) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(child) for child in children if "load.worker" in Path(f"/proc/{child}/cmdline").read_text()]


def alive(pid: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def until_streams(process: programs.Process, folder: Path, number: int) -> None:
    """Wait until so many streams of each of two workers have been recorded."""
    while process.poll() is None:
        if (folder / "records.jsonl").exists():
            seen = Counter(
                line["worker"]
                for text in (folder / "records.jsonl").read_text().splitlines()
                if (line := json.loads(text))["kind"] == "stream"
            )
            if min(seen["1"], seen["2"]) >= number:
                return
        time.sleep(0.1)
    raise AssertionError(f"the run ended by itself: {process.communicate()}")


def test_two_workers_leave_the_run_that_one_would_have_left(tmp_path: Path) -> None:
    """The same prompts and replies, every record once, and reports that are made from them as ever."""
    runs = {}
    for workers in ("1", "2"):
        options = ("--json", "--workers", workers, "-o", workers, "--save-streams", "all", "--gate", "ttfc.p50 > 1us")
        process = start(*options, cwd=tmp_path, scenario=SCENARIO)
        output, errors = process.communicate(timeout=100)
        runs[workers] = json.loads(output)
        assert process.returncode == runs[workers]["exit_code"], errors
        assert {gate["result"] for gate in runs[workers]["gates"]} == {"passed"}
    one, two = (streams_of(tmp_path / workers / "shared/latest") for workers in ("1", "2"))
    assert sorted((line["id"], line["text"]) for line in two) == sorted((line["id"], line["text"]) for line in one)
    shares = Counter(line["worker"] for line in two)
    assert set(shares) == {"1", "2"}
    assert max(shares.values()) - min(shares.values()) <= 1
    generator = runs["2"]["generator"]
    assert {worker["name"]: worker["records"] for worker in generator["workers"]} == shares
    assert generator["lost"] == []
    latest = tmp_path / "2/shared/latest"
    assert len(list((latest / "streams").iterdir())) == len(two)
    kept = programs.run("streambench", "check", str(next((latest / "streams").iterdir())))
    assert kept.returncode == 0, kept.stdout
    (again,) = json.loads(streambench_report(latest))["targets"].values()
    (target,) = runs["2"]["targets"].values()
    assert again == target
    assert target["authenticity"]["verdict"] == "forwarded"


def streambench_report(folder: Path) -> str:
    return programs.run("streambench", "report", str(folder), "--no-plots", "--json").stdout


def test_a_killed_worker_loses_what_it_had_open_and_nothing_else(tmp_path: Path) -> None:
    """It is named at once and in the verdict; the other one goes on until Ctrl-C ends it in order."""
    process = start("--workers", "2", cwd=tmp_path, scenario=ENDLESS)
    folder = tmp_path / "reports/shared/latest"
    until_streams(process, folder, 2)
    first, second = workers_of(process)
    os.kill(first, signal.SIGKILL)
    assert process.stderr is not None
    said = next(line for line in process.stderr if "worker" in line)
    assert "worker 1 was killed by SIGKILL" in said
    before = Counter(line["worker"] for line in streams_of(folder))
    while Counter(line["worker"] for line in streams_of(folder))["2"] < before["2"] + 3:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "worker 1 was killed by SIGKILL" in output
    assert not alive(second)
    after = streams_of(folder)
    assert Counter(line["worker"] for line in after)["1"] == before["1"]
    assert {line["worker"] for line in after if line["outcome"] == "censored"} == {"2"}
    end = lines_of(folder)[-1]
    assert (end["kind"], end["generator"]["valid"], end["generator"]["lost"]) == ("end", False, ["1"])
    assert "was killed by SIGKILL" in json.loads(streambench_report(folder))["generator"]["reasons"][0]


def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    process = start("--workers", "2", cwd=tmp_path, scenario=ENDLESS)
    folder = tmp_path / "reports/shared/latest"
    until_streams(process, folder, 1)
    workers = workers_of(process)
    process.kill()
    process.communicate(timeout=60)
    while any(map(alive, workers)):
        time.sleep(0.1)
    streams = streams_of(folder)
    assert {line["worker"] for line in streams if line["outcome"] == "censored"} == {"1", "2"}  # nothing is missing


SWEEP = """\
name: shared
serve: {openai: {profile: {name: fixed, ttft_ms: 10, gap_ms: 5}}}
target: {dialect: openai-chat, url: "${serve.openai}/v1/chat/completions"}
prompts: {tokens: 3}
load: {sweep: {users: 2..9000, until: "e2e.p50 < 1h and error_rate < 50%", hold: 400ms}}
"""


def test_a_sweep_of_two_workers_that_is_stopped_keeps_what_it_has_found(tmp_path: Path) -> None:
    process = start("--workers", "2", "--json", cwd=tmp_path, scenario=SWEEP)
    records = tmp_path / "reports/shared/latest/records.jsonl"
    while not records.exists() or records.read_bytes().count(b'{"kind":"step"') < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    sweep = json.loads(output)["sweep"]
    assert sweep["sentence"].startswith("The sweep was stopped. ")
    assert not sweep["complete"]
    steps = [line for line in lines_of(records.parent) if line["kind"] == "step"]
    assert {level["load"] for level in sweep["levels"]} == {step["load"] for step in steps} >= {2}
    lowest = sweep["levels"][0]
    counted = [step for step in steps if step["load"] == 2][-lowest["steps"] :]  # one that was disturbed is not
    due = [line for line in streams_of(records.parent) for step in counted if belongs(line, step)]
    assert {line["worker"] for line in due} == {"1", "2"}
    assert len({line["user"] for line in due}) == 2 * len(counted)
    assert lowest["streams"]["started"] == len(due)


def belongs(stream: dict[str, Any], step: dict[str, Any]) -> bool:
    return bool(step["begin_ns"] <= stream["intended_ns"] < step["end_ns"])
