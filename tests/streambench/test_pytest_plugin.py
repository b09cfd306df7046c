"""Conformance cases as items of a real pytest, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools import programs

PLUGIN = "streambench.pytest_plugin"
SCENARIO = """\
version: 1
name: mine
target: {{dialect: {dialect}, url: "{url}", auth: {{bearer: alice-token}}, upstream: "{upstream}"}}
conform: {{cases: ["sse.content-type", "auth.missing", "upstream.next-provider"], expected_failures: [{expected}]}}
"""


def run_pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ("pytest", "-p", PLUGIN, "-p", "no:cacheprovider", "-rsx", "--rootdir", str(folder))
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return programs.run(*command, *arguments, cwd=folder, env=alone)


def write(folder: Path, name: str, servers: Any, *, expected: str = "") -> Path:
    path = folder / name
    url = f"{servers.chat}/api/chat/stream"
    path.write_text(SCENARIO.format(dialect="chat-stream", url=url, upstream=servers.openai, expected=expected))
    return path


def test_each_case_is_an_item_and_a_failure_tells_its_remedy(shared_mock: Callable[..., Any], tmp_path: Path) -> None:
    servers = shared_mock("--profile", "instant", "--defect", "wrong-content-type")
    path = write(tmp_path, "scenario.yaml", servers)
    (tmp_path / "test_own.py").write_text("def test_own():\n    pass\n")
    done = run_pytest(tmp_path, "--streambench-conform", str(path))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 2 passed, 1 skipped" in done.stdout
    assert "Send `Content-Type: text/event-stream`" in done.stdout
    assert "fallback: true" in done.stdout
    assert "alice-token" not in done.stdout
    one = run_pytest(tmp_path, "--streambench-conform", str(path), "-k", "auth.missing")
    assert one.returncode == 0, one.stdout
    assert "1 passed" in one.stdout


def test_files_of_that_name_are_collected(shared_mock: Callable[..., Any], tmp_path: Path) -> None:
    servers = shared_mock("--profile", "instant", "--defect", "wrong-content-type")
    write(tmp_path, "chat.conform.yaml", servers, expected="sse.content-type, auth.missing")
    done = run_pytest(tmp_path)
    assert "1 failed, 1 skipped, 1 xfailed" in done.stdout, done.stdout + done.stderr
    assert "take it off" in done.stdout


def test_a_scenario_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "bad.conform.yaml").write_text("version: 1\nname: x\ntarget: {dialect: nope, url: http://x}\n")
    done = run_pytest(tmp_path)
    assert done.returncode == 2
    assert "nope" in done.stdout


def test_the_plugin_costs_nothing_where_it_is_not_used() -> None:
    told = "import sys, pytest; before = set(sys.modules); import streambench.pytest_plugin; "
    told += "print(sorted(name for name in set(sys.modules) - before if '.' in name or 'stream' in name))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "['streambench', 'streambench.pytest_plugin']"


def test_the_package_declares_it() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {PLUGIN: PLUGIN}
