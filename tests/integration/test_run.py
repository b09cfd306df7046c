"""`streambench run` as a user has it: a process, its exit code, its output and the folder it leaves."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tools import programs

ROOT = Path(__file__).resolve().parents[2]

FAST = """\
version: 1
name: fast
target:
  dialect: openai-chat
  url: UPSTREAM/v1/chat/completions
  upstream: UPSTREAM
prompts: {text: Hello, tokens: 12, profile: {name: fixed, ttft_ms: 5, gap_ms: 1}}
load: {users: 2, streams: 12}
"""
SERVED = """\
name: fast
serve: {openai: {profile: {name: fixed, ttft_ms: 5, gap_ms: 40}}}
target: {dialect: openai-chat, url: "${serve.openai}/v1/chat/completions"}
prompts: {text: Hello, tokens: 12}
load: {users: 2, streams: 6}
"""
ENDLESS = SERVED.replace("gap_ms: 40}", "gap_ms: 20}").replace("{users: 2, streams: 6}", "{users: 4, duration: 120s}")


def streambench(*args: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return programs.run("streambench", *args, cwd=cwd, env={**os.environ, **environment})


Write = Callable[[str], str]


@pytest.fixture
def scenario(tmp_path: Path, shared_mock: Callable[..., Any]) -> Write:
    """Writes a scenario to a file; returns its name."""

    def write(text: str) -> str:
        if "UPSTREAM" in text:
            text = text.replace("UPSTREAM", shared_mock("--no-chat").openai)
        (tmp_path / "scenario.yaml").write_text(text)
        return "scenario.yaml"

    return write


def sound(summary: dict[str, Any]) -> int:
    """The exit code where nothing was wrong with the target; the machine may have been too busy to measure on."""
    return 0 if summary["generator"]["valid"] else 4


def summary_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


def test_a_good_endpoint_passes_and_leaves_every_report(tmp_path: Path, scenario: Write) -> None:
    # Slow enough that a busy machine cannot blur which chunk came when.
    command = [sys.executable, "-m", "streambench", "run", scenario(SERVED)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    latest = tmp_path / "reports/fast/latest"
    for name in ("records.jsonl", "summary.json", "report.html", "summary.md", "junit.xml"):
        assert (latest / name).stat().st_size > 0
    summary = summary_of(latest)
    assert done.returncode == summary["exit_code"] == sound(summary), done.stderr
    assert summary["verdict"] == ("passed" if summary["generator"]["valid"] else "invalid")
    (target,) = summary["targets"].values()
    assert target["streams"]["completed"] == 6
    assert target["violations"]["count"] == 0
    assert target["authenticity"]["verdict"] == "forwarded"


def test_a_missed_gate_exits_1_and_names_value_limit_and_n(tmp_path: Path, scenario: Write) -> None:
    done = streambench("run", scenario(FAST), "--gate", "ttfc.p50 < 1us", "--no-plots", cwd=tmp_path)
    summary = summary_of(tmp_path / "reports/fast/latest")
    assert done.returncode == (sound(summary) or 1), done.stderr
    (gate,) = [gate for gate in summary["gates"] if gate["result"] == "failed"]
    assert gate["n"] == 12
    assert gate["observed"] > gate["limit"]
    line = next(line for line in done.stdout.splitlines() if "ttfc.p50" in line)
    assert f"{gate['observed']:.1f}" in line
    assert "12" in line


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("load:", "laod:", ("scenario.yaml:8:1", "laod", "load")),
        ("openai-chat", "openai-caht", ("scenario.yaml:4:12", "openai-caht", "openai-chat")),
        ("load:", "gates: ['ttcf.p95 < 1s']\nload:", ("scenario.yaml:8:", "ttcf", "ttfc")),
        ("users: 2", "users: two", ("scenario.yaml:8:", "two")),
        ("tokens: 12", "tokens: 12, tokens: 13", ("scenario.yaml:7:", "tokens")),
    ],
)
def test_a_mistake_exits_2_before_any_traffic_and_points_at_it(
    tmp_path: Path, scenario: Write, old: str, new: str, expected: tuple[str, ...]
) -> None:
    done = streambench("run", scenario(FAST.replace(old, new, 1)), cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    for part in expected:
        assert part in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "reports").exists()


def test_a_broken_protocol_exits_3_and_says_what_was_expected(tmp_path: Path, scenario: Write) -> None:
    broken = FAST.replace("tokens: 12", "tokens: 12, faults: [missing-done]")
    done = streambench("run", scenario(broken), "--no-plots", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    (target,) = summary_of(tmp_path / "reports/fast/latest")["targets"].values()
    assert target["violations"]["streams"] == 12
    assert "DONE" in done.stdout


def test_a_dead_target_exits_5(tmp_path: Path, scenario: Write) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    dead = f"""\
name: dead
target: {{dialect: openai-chat, url: "http://127.0.0.1:{port}/v1/chat/completions"}}
load: {{users: 1, streams: 1}}
"""
    done = streambench("run", scenario(dead), cwd=tmp_path)
    assert done.returncode == 5, done.stderr
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr
    # Pipelines look for a result of their own, also of a run that never began.
    suite = ElementTree.parse(tmp_path / "reports/dead/latest/junit.xml").getroot()
    (failure,) = suite.iter("failure")
    assert str(port) in failure.get("message", "")
    done = streambench("run", scenario(dead), "--json", cwd=tmp_path)
    assert done.returncode == 5
    summary = json.loads(done.stdout)
    assert (summary["verdict"], summary["exit_code"]) == ("failed", 5)
    assert str(port) in summary["reason"]
    assert summary == summary_of(tmp_path / "reports/dead/latest")


@pytest.mark.parametrize("source", ["-", "/dev/stdin"])
def test_a_scenario_comes_from_standard_input(tmp_path: Path, scenario: Write, source: str) -> None:
    text = (tmp_path / scenario(FAST)).read_text()
    done = programs.run("streambench", "run", source, "--no-plots", "--set", "load.streams=4", cwd=tmp_path, text=text)
    summary = summary_of(tmp_path / "reports/fast/latest")
    assert done.returncode == sound(summary), done.stderr
    assert summary["targets"]["openai-chat"]["streams"]["completed"] == 4
    done = programs.run("streambench", "run", source, cwd=tmp_path, text="name: x\nlaod: 1\n")
    assert done.returncode == 2
    assert "stdin:2:1" in done.stderr


def test_colour_is_for_terminals_unless_it_is_asked_for(tmp_path: Path, scenario: Write) -> None:
    arguments = ("run", scenario(FAST), "-q", "--no-plots", "--set", "load.streams=2")
    assert "\x1b[" not in streambench(*arguments, cwd=tmp_path).stdout
    assert "\x1b[" in streambench(*arguments, cwd=tmp_path, FORCE_COLOR="1").stdout
    assert "\x1b[" not in streambench(*arguments, cwd=tmp_path, FORCE_COLOR="1", NO_COLOR="1").stdout


def run_until_streams(tmp_path: Path, scenario: str) -> tuple[programs.Process, Path]:
    """Start an endless run and wait until it has written some streams."""
    command, pipe = ("streambench", "run", scenario, "-o", "out", "--no-plots"), subprocess.PIPE
    process = programs.start(*command, cwd=tmp_path, stdout=pipe, stderr=pipe)
    while process.poll() is None:
        for records in (tmp_path / "out").rglob("records.jsonl"):
            if records.read_text().count('"kind":"stream"') >= 6:
                return process, records
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError(f"the run ended by itself: {process.communicate()}")


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_writes_what_it_has(
    tmp_path: Path, scenario: Write, sent: signal.Signals, code: int
) -> None:
    process, records = run_until_streams(tmp_path, scenario(ENDLESS))
    process.send_signal(sent)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    assert "interrupted" in (output + errors).lower()
    (target,) = summary_of(records.parent)["targets"].values()
    assert target["streams"]["completed"] >= 6
    assert target["streams"]["censored"] > 0
    assert (records.parent / "report.html").is_file()


def test_a_killed_run_can_be_reported(tmp_path: Path, scenario: Write) -> None:
    process, records = run_until_streams(tmp_path, scenario(ENDLESS))
    process.kill()
    process.communicate(timeout=60)
    done = streambench("report", str(records.parent), "--no-plots", cwd=tmp_path)
    assert "Traceback" not in done.stderr
    assert done.returncode == 130, done.stderr
    assert re.search(r"interrupted while \d+ streams? w(as|ere) open", done.stdout), done.stdout
    (target,) = summary_of(records.parent)["targets"].values()
    assert target["streams"]["completed"] >= 6
    assert "interrupted" in (records.parent / "report.html").read_text().lower()


def test_secrets_reach_no_file_and_no_output(tmp_path: Path, scenario: Write) -> None:
    secret = "s3cr3t-4f1d2b7c"
    text = FAST.replace(
        "target:\n",
        "target:\n  auth: {bearer: '${TOKEN}'}\n  headers: {x-api-key: '${TOKEN}', x-note: 'pre-${TOKEN}-post'}\n",
    )
    done = streambench("run", scenario(text), cwd=tmp_path, TOKEN=secret)
    assert done.returncode == sound(summary_of(tmp_path / "reports/fast/latest")), done.stderr
    assert secret not in done.stdout + done.stderr
    files = [path for path in (tmp_path / "reports").rglob("*") if path.is_file()]
    assert len(files) > 5
    assert [path for path in files if secret.encode() in path.read_bytes()] == []


def test_json_prints_the_summary_and_nothing_else(tmp_path: Path, scenario: Write) -> None:
    done = streambench("run", scenario(FAST), "--json", "--no-plots", cwd=tmp_path)
    assert json.loads(done.stdout)["schema"] == "streambench.summary/1"


def test_the_run_is_one_folder_and_latest_points_to_it(tmp_path: Path, scenario: Write) -> None:
    for _ in range(2):
        assert streambench("run", scenario(FAST), "--no-plots", "--quiet", cwd=tmp_path).returncode in (0, 4)
    runs = sorted(path for path in (tmp_path / "reports/fast").iterdir() if not path.is_symlink())
    assert len(runs) == 2
    assert (tmp_path / "reports/fast/latest").resolve() == runs[-1].resolve()


def test_a_stream_that_broke_the_protocol_can_be_looked_at_again(tmp_path: Path, scenario: Write) -> None:
    broken = FAST.replace("tokens: 12", "tokens: 12, faults: [missing-done]")
    done = streambench("run", scenario(broken), "--no-plots", "-q", cwd=tmp_path)
    command = done.stdout.partition("streambench check")[2].replace("\\\n", " ")  # a long one is broken as shells allow
    looked = streambench("check", *command.split(), cwd=tmp_path)
    assert looked.returncode == 3
    assert "streambench check" in (tmp_path / "reports/fast/latest/report.html").read_text("utf-8")
    assert "grammar.premature-end" in looked.stdout
    assert "  upstream " in looked.stdout
    streambench("run", scenario(broken), "--no-plots", "-q", "--save-streams", "none", cwd=tmp_path)
    assert not (tmp_path / "reports/fast/latest/streams").exists()
