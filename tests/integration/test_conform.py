"""`streambench conform` on real servers: what it prints, what it writes, and how it exits."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tools import programs

SCENARIO = """\
version: 1
name: mine
target: {{dialect: chat-stream, url: {chat}/api/chat/stream, auth: {{bearer: alice-token}}, upstream: {openai}}}
conform: {{expected_failures: [{expected}]}}
"""


def conform(*arguments: str, code: int) -> subprocess.CompletedProcess[str]:
    done = programs.run("streambench", "conform", *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_the_list_of_cases() -> None:
    told = conform("--list", "--case", "auth.*", code=0).stdout
    assert "auth.missing" in told
    assert "sse.content-type" not in told
    cases = json.loads(conform("--list", "--json", code=0).stdout)
    assert len(cases) >= 100
    assert {"id", "keyword", "requirement", "source", "remedy", "defect"} <= set(cases[0])


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [(["quickstart", "--case", "auht.missing"], "auth.missing"), ([], "scenario"), (["x.yaml"], "x")],
)
def test_mistakes_of_the_user(arguments: list[str], hint: str) -> None:
    assert hint in conform(*arguments, code=2).stderr


def test_a_defect_is_found_and_told_with_its_remedy_and_its_wire_log(
    shared_mock: Callable[..., Any], tmp_path: Path
) -> None:
    servers = shared_mock("--profile", "instant", "--defect", "wrong-content-type")
    scenario = tmp_path / "mine.yaml"
    scenario.write_text(SCENARIO.format(chat=servers.chat, openai=servers.openai, expected=""))
    out = tmp_path / "out"
    arguments = (str(scenario), "--case", "sse.*", "--case", "auth.missing", "-o", str(out), "--curl")
    told = conform(*arguments, code=3).stdout
    assert "FAILED  sse.content-type" in told
    assert "expected  text/event-stream" in told
    assert "got       text/plain" in told
    assert "remedy" in told
    assert "$ curl -sN -X POST" in told
    log = (out / "logs" / "chat-stream" / "sse.content-type.txt").read_text()
    assert "HTTP/1.1 200" in log
    assert "text/plain" in log
    for path in out.rglob("*"):
        assert path.is_dir() or "alice-token" not in path.read_text(), path
    assert {"report.html", "conformance.md", "junit.xml", "badge.svg", "logs"} == {path.name for path in out.iterdir()}


def test_an_expected_failure_that_holds_fails_the_suite(shared_mock: Callable[..., Any], tmp_path: Path) -> None:
    servers = shared_mock("--profile", "instant")
    scenario = tmp_path / "mine.yaml"
    scenario.write_text(SCENARIO.format(chat=servers.chat, openai=servers.openai, expected="http.status-200"))
    told = conform(str(scenario), "--case", "http.status-200", code=3).stdout
    assert "take it off" in told


def test_a_url_with_one_side_tests_what_it_can(shared_mock: Callable[..., Any]) -> None:
    servers = shared_mock("--profile", "instant", "--no-chat")
    url = f"{servers.openai}/v1/chat/completions"
    suite = json.loads(
        conform(url, "-d", "openai-chat", "--json", "--case", "sse.*", "--case", "text.whole", code=0).stdout
    )
    verdicts = {case["case"]: case["verdict"] for case in suite[0]["cases"]}
    assert verdicts["sse.content-type"] == "passed"
    assert verdicts["text.whole"] == "not testable"


def test_cases_gate_a_run_and_are_in_all_that_it_writes(shared_mock: Callable[..., Any], tmp_path: Path) -> None:
    servers = shared_mock("--profile", "instant", "--defect", "any-token")
    scenario = tmp_path / "mine.yaml"
    gated = SCENARIO.format(chat=servers.chat, openai=servers.openai, expected="")
    scenario.write_text(gated.replace("}}", "}") + "prompts: {text: Hi, tokens: 5}\n")
    scenario.write_text(scenario.read_text().replace("conform: {", 'conform: {gate: true, cases: ["auth.*"], '))
    done = programs.run("streambench", "run", str(scenario), "--no-plots", "-o", str(tmp_path))
    assert done.returncode == 3, done.stdout + done.stderr
    assert "auth.wrong failed on chat-stream" in done.stdout
    folder = tmp_path / "mine" / "latest"
    (suite,) = json.loads((folder / "summary.json").read_text())["conformance"]
    assert "auth.wrong" in [case["case"] for case in suite["not_kept"]]
    assert 'name="auth.wrong"' in (folder / "junit.xml").read_text()
    assert "auth.wrong" in (folder / "report.html").read_text()
    assert (folder / "conformance" / "report.html").is_file()
    again = programs.run("streambench", "report", str(folder), "--no-plots")
    assert again.returncode == 3


def test_ctrl_c_keeps_what_was_decided(start_mock: Callable[..., Any], tmp_path: Path) -> None:
    servers = start_mock("--profile", "instant")
    scenario = tmp_path / "ws.yaml"
    target = (
        f"{{dialect: assistant-ws, url: {servers.chat}, auth: {{bearer: alice-token}}, upstream: {servers.openai}}}"
    )
    scenario.write_text(f"version: 1\nname: ws\ntarget: {target}\n")
    command = ("streambench", "conform", str(scenario), "--json", "-o", str(tmp_path / "out"))
    with programs.start(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        # The last cases of all run one after the other: some were decided when the first of these asks.
        while not _asked(servers.openai):
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        printed, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    (suite,) = json.loads(printed)
    assert suite["interrupted"]
    assert (tmp_path / "out" / "report.html").is_file()


def _asked(upstream: str) -> bool:
    with urllib.request.urlopen(f"{upstream}/_mock/journal") as answer:
        return len(json.load(answer)["entries"]) >= 20


@pytest.mark.parametrize("system", ["assistant-ws", "room-chat"])
def test_a_socket_is_shown_as_what_was_said_on_it(shared_mock: Callable[..., Any], tmp_path: Path, system: str) -> None:
    servers = shared_mock("--profile", "instant", "--defect", "loses-text")
    scenario = tmp_path / "mine.yaml"
    text = SCENARIO.format(chat=servers.chat, openai=servers.openai, expected="")
    scenario.write_text(text.replace("chat-stream", system).replace("/api/chat/stream", ""))
    out = tmp_path / "out"
    told = conform(str(scenario), "--case", "text.whole", "--curl", "-o", str(out), code=3).stdout
    assert "FAILED  text.whole" in told
    assert "no curl command for a socket" in told
    assert "Tell me about the sea." in told
    log = (out / "logs" / system / "text.whole.txt").read_text()
    assert "[text, " in log
    assert " > " in log
    assert " < " in log
    assert "alice-token" not in told + log
