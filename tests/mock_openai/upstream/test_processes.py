"""The program: how it starts, ends, and takes its child with it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from mock_openai.cli import main

PROGRAM = [sys.executable, "-m", "mock_openai"]


@pytest.fixture
def program() -> Iterator[Any]:
    """Starts the program; it is killed after the test if it still runs."""
    running: list[subprocess.Popen[str]] = []

    def start(*options: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
        command = [*PROGRAM, "--json", "--port", "0", "--chat-port", "0", *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout is not None
        return process, json.loads(process.stdout.readline())

    yield start
    for process in running:
        process.kill()
        process.wait(10)
        if process.stdout is not None:
            process.stdout.close()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_open_streams_and_exits_zero(program: Any, signum: int) -> None:
    process, ready = program("--no-chat")
    url = ready["openai"]
    plan = {"id": "long", "tokens": 5000, "profile": {"name": "fixed", "ttft_ms": 0, "gap_ms": 20}}
    httpx.post(f"{url}/_mock/plans", json=plan)
    body = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "[[sb:long]]"}]}
    with (
        httpx.stream("POST", f"{url}/v1/chat/completions", json=body) as stream,
        httpx.stream("GET", f"{url}/_mock/journal/stream", timeout=20) as journal,
    ):
        lines = stream.iter_lines()
        assert next(lines).startswith("data: ")
        changes = journal.iter_lines()
        assert json.loads(next(changes))["event"] == "opened"
        process.send_signal(signum)
        assert process.wait(10) == 0
        with pytest.raises(httpx.RemoteProtocolError):
            list(lines)
        told = [json.loads(line) for line in changes]
    closed = next(change["entry"] for change in told if change["event"] == "closed")
    assert closed["ended"] == "shutdown"
    assert closed["cancelled_ns"] is None


def test_nothing_is_said_of_streams_that_are_ended(capfd: pytest.CaptureFixture[str], program: Any) -> None:
    process, ready = program("--no-chat")
    plan = {"id": "long", "tokens": 5000, "profile": {"name": "fixed", "ttft_ms": 0, "gap_ms": 1}}
    httpx.post(f"{ready['openai']}/_mock/plans", json=plan)
    body = {"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "[[sb:long]]"}]}
    with httpx.stream("POST", f"{ready['openai']}/v1/chat/completions", json=body) as stream:
        next(stream.iter_lines())
        process.terminate()
        assert process.wait(10) == 0
    assert capfd.readouterr().err == ""


def test_the_chat_server_ends_with_its_parent(program: Any) -> None:
    for ending in (signal.SIGTERM, signal.SIGKILL):
        process, ready = program()
        assert httpx.get(ready["chat"]).status_code < 600
        process.send_signal(ending)
        process.wait(10)
        host, _, port = ready["chat"].removeprefix("http://").rpartition(":")
        deadline = time.monotonic() + 10
        while _listens(host, int(port)):
            assert time.monotonic() < deadline, "the chat server outlived its parent"
            time.sleep(0.02)


def _listens(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def test_a_port_in_use_is_told(program: Any) -> None:
    _, ready = program("--no-chat")
    port = ready["openai"].rpartition(":")[2]
    second = subprocess.run([*PROGRAM, "--port", port, "--no-chat"], capture_output=True, text=True, timeout=30)
    assert second.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in second.stderr
    assert "with --port" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_wrong_option_of_the_chat_server_has_its_exit_code_too() -> None:
    options = ["--port", "0", "--chat-port", "0", "--user", "nobody"]
    ended = subprocess.run([*PROGRAM, *options], capture_output=True, text=True, timeout=30)
    assert ended.returncode == 2
    assert ended.stderr == "chat server: 'nobody' is not a user: write name:token\n"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--profile", "no-such"], "one of instant, fixed"),
        (["--profile", '{"name": "fixed", "gap": 1}'], "it takes ttft_ms"),
        (["--profile", "{"], "--profile"),
        (["--record", "https://example.org"], "--record needs --traces"),
        (["--traces", "/no/such/folder"], "not a folder of traces"),
        (["--limit-requests", "0"], "at least 1"),
        (["--limit-window", "0"], "--limit-window"),
        (["--defect", "unknown-evnt"], "argument --defect: there is no 'unknown-evnt'. Did you mean 'unknown-event'?"),
        (["--port", "99999"], "argument --port: '99999' is not a port: write a number from 0 to 65535"),
    ],
)
def test_wrong_options_are_told_in_one_line(
    options: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["mock_openai", *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert told in said
    assert "[-h]" not in said  # the usage of all options would hide the one line that matters


def test_ready_means_one_line_of_json(program: Any) -> None:
    process, ready = program("--no-chat")
    assert ready["chat"] is None
    assert ready["pid"] == process.pid
    health = httpx.get(f"{ready['openai']}/_mock/health").json()
    assert (health["status"], health["pid"]) == ("ok", process.pid)
    assert abs(health["now_ns"] - time.monotonic_ns()) < 60_000_000_000
