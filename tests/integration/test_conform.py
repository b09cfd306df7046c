"""`streambench conform` on real servers: what it prints, what it writes, and how it exits."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SCENARIO = """\
version: 1
name: mine
target: {{dialect: chat-stream, url: {chat}/api/chat/stream, auth: {{bearer: alice-token}}, upstream: {openai}}}
conform: {{expected_failures: [{expected}]}}
"""


def conform(*arguments: str, code: int) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "streambench", "conform", *arguments], capture_output=True, text=True, timeout=100
    )
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
    start_mock: Callable[..., Any], tmp_path: Path
) -> None:
    servers = start_mock("--profile", "instant", "--defect", "wrong-content-type")
    scenario = tmp_path / "mine.yaml"
    scenario.write_text(SCENARIO.format(chat=servers.chat, openai=servers.openai, expected=""))
    out = tmp_path / "out"
    arguments = (str(scenario), "--case", "sse.*", "--case", "auth.missing", "-o", str(out), "--curl")
    told = conform(*arguments, code=3).stdout
    assert "FAILED  sse.content-type" in told
    assert "expected  text/event-stream" in told
    assert "came      text/plain" in told
    assert "remedy" in told
    assert "$ curl -sN -X POST" in told
    log = (out / "logs" / "chat-stream" / "sse.content-type.txt").read_text()
    assert "HTTP/1.1 200" in log
    assert "text/plain" in log
    for path in out.rglob("*"):
        assert path.is_dir() or "alice-token" not in path.read_text(), path
    assert {"report.html", "conformance.md", "junit.xml", "badge.svg", "logs"} == {path.name for path in out.iterdir()}


def test_an_expected_failure_that_holds_fails_the_suite(start_mock: Callable[..., Any], tmp_path: Path) -> None:
    servers = start_mock("--profile", "instant")
    scenario = tmp_path / "mine.yaml"
    scenario.write_text(SCENARIO.format(chat=servers.chat, openai=servers.openai, expected="http.status-200"))
    told = conform(str(scenario), "--case", "http.status-200", code=3).stdout
    assert "take it off" in told


def test_a_url_with_one_side_tests_what_it_can(start_mock: Callable[..., Any]) -> None:
    servers = start_mock("--profile", "instant", "--no-chat")
    url = f"{servers.openai}/v1/chat/completions"
    suite = json.loads(
        conform(url, "-d", "openai-chat", "--json", "--case", "sse.*", "--case", "text.whole", code=0).stdout
    )
    verdicts = {case["case"]: case["verdict"] for case in suite[0]["cases"]}
    assert verdicts["sse.content-type"] == "passed"
    assert verdicts["text.whole"] == "not testable"
