"""`python -m mock_openai.chat` as a process: ready line, options, signals, and a parent that dies."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from mock_openai.chat.__main__ import parser, serve
from mock_openai.chat.defects.catalogue import DEFECTS
from mock_openai.chat.options import as_arguments
from mock_openai.cli import parser as upstream_parser

COMMAND = [sys.executable, "-m", "mock_openai.chat", "--port", "0", "--upstream", "http://127.0.0.1:9"]


def test_it_says_where_it_is_and_ends_on_a_signal(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "--json", "--db", str(tmp_path / "chat.db"), "--rate-limit", "5/s", "--user", "carol:c"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    assert ready["pid"] == process.pid
    request = urllib.request.Request(ready["chat"] + "/chat/preferences", headers={"authorization": "Bearer c"})
    with urllib.request.urlopen(request) as response:
        assert json.load(response) == {"preferences": {}}
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    assert b"Traceback" not in errors


def test_it_ends_when_its_parent_dies() -> None:
    program = f"""
import subprocess, time
child = subprocess.Popen({[*COMMAND, "--json"]!r}, stdout=subprocess.PIPE)
print(child.stdout.readline().decode(), end="", flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert parent.stdout is not None
    pid = json.loads(parent.stdout.readline())["pid"]
    # The exit of a process that is not our child can be seen through a descriptor of it.
    watched = os.pidfd_open(pid)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert select.select([watched], [], [], 20)[0], "the server outlived its parent"
    os.close(watched)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--user", "carol"], "name:token"),
        (["--rate-limit", "fast"], "5/s"),
        (["--rate-limit", "0/s"], "5/s"),
        (["--clearance", "alice:cosmic"], "confidential"),
        (["--db", "/nowhere/at/all.db"], "/nowhere/at/all.db"),
        (["--upstream", ""], "OPENAI_BASE_URL"),
        (["--open", "--host", "0.0.0.0"], "leave out --host"),
    ],
)
async def test_a_wrong_option_is_explained(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert await serve(parser().parse_args(["--upstream", "http://127.0.0.1:9", *options])) == 2
    assert said in capsys.readouterr().err


def test_the_environment_may_say_the_port(monkeypatch: pytest.MonkeyPatch) -> None:
    assert parser().parse_args([]).port == 4000
    monkeypatch.setenv("PORT", "4321")
    assert parser().parse_args([]).port == 4321
    assert parser().parse_args(["--port", "0"]).port == 0


def test_the_upstreams_command_line_hands_everything_on() -> None:
    given = ["--streaming", "rapid", "--open", "--user", "a:1", "--user", "b:2", "--max-idle", "0.5"]
    options = upstream_parser().parse_args(given)
    assert parser().parse_args(as_arguments(options)) == parser().parse_args(given)
    assert as_arguments(upstream_parser().parse_args([])) == []


def test_the_defects_have_a_list_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    """Their names would be half of the help."""
    assert "wrong-content-type" not in (said := upstream_parser().format_help())
    assert "--list-defects" in said
    with pytest.raises(SystemExit) as ended:
        upstream_parser().parse_args(["--list-defects"])
    assert ended.value.code == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == list(DEFECTS)


def test_the_help_goes_by_the_name_it_was_called_by(monkeypatch: pytest.MonkeyPatch) -> None:
    assert upstream_parser().prog == "python -m mock_openai"
    monkeypatch.setenv("MOCK_OPENAI_COMMAND", "streambench mock")
    assert "Example: streambench mock" in upstream_parser().format_help()


def test_an_unknown_defect_is_refused_with_the_one_that_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["--defect", "wrong-contenttype"])
    assert "Did you mean 'wrong-content-type'?" in capsys.readouterr().err
