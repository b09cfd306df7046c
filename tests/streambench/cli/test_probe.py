"""One stream as a user has it: what is printed, on a terminal and elsewhere, and the exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streambench.cli import run_command
from tools import programs

from .conftest import Server, Terminal

StartMock = Callable[..., Any]


def probe(*args: str) -> subprocess.CompletedProcess[str]:
    return programs.run("streambench", "probe", *args)


@pytest.fixture
def url(shared_mock: StartMock) -> str:
    return f"{shared_mock('--no-chat').openai}/v1/chat/completions"


def test_a_stream_is_drawn_with_its_figures(url: str) -> None:
    done = probe(url, "--dialect", "openai-chat", "-n", "2")
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.split("COMPLETED")[1:]
    assert "ttfc" in first
    assert "  connect " in first
    assert "  connect " not in second  # the connection stays
    assert "chunks," in first


def test_json_is_the_record_and_nothing_else(url: str) -> None:
    done = probe(url, "--dialect", "openai-chat", "--json")
    (line,) = done.stdout.splitlines()
    record = json.loads(line)
    assert (record["target"], record["outcome"]) == ("openai-chat", "completed")


def test_any_key_of_a_scenario_can_be_set(url: str) -> None:
    done = probe(url, "--dialect", "openai-chat", "--json", "--set", "target.extra.max_tokens=5", "--set", "name=mine")
    assert json.loads(done.stdout)["tokens"] == 5
    done = probe(url, "--dialect", "openai-chat", "--set", "model=no-such-model")
    assert "The model `no-such-model` does not exist" in done.stdout
    done = probe(url, "--dialect", "openai-chat", "--set", "target.extra=5")
    assert done.returncode == 2
    assert "'extra' must be a mapping" in done.stderr


def test_both_sides_where_the_upstream_is_named(url: str) -> None:
    done = probe(url, "--dialect", "openai-chat", "--upstream", url.partition("/v1")[0])
    assert done.returncode == 0
    assert "forwarded" in done.stdout
    assert "\n  upstream " in done.stdout


def test_an_upstream_that_saw_no_request_is_told(url: str, server: Server) -> None:
    server.pieces = WHOLE
    done = probe(server.url, "--dialect", "openai-chat", "--upstream", url.partition("/v1")[0])
    assert "The upstream saw no request of this stream." in " ".join(done.stdout.split())


def test_a_bundled_scenario_by_its_name() -> None:
    done = probe("quickstart", "--prompt", "Hello")
    assert done.returncode == 0, done.stderr
    assert "forwarded" in done.stdout


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["http://127.0.0.1:1/", "-d", "openai-chat"], 5, "Connection refused"),
        (["http://127.0.0.1:1/"], 2, "--dialect"),
        (["http://127.0.0.1:1/", "-d", "openai-caht"], 2, "Did you mean 'openai-chat'?"),
        (["http://127.0.0.1:1/", "-d", "openai-caht"], 2, "streambench: there is no dialect"),
        (["quickstrat"], 2, "quickstart"),
        (["quickstart", "-H", "x: y"], 2, "--header"),
        (["http://127.0.0.1:1/", "-d", "openai-chat", "-H", "no colon"], 2, "NAME:VALUE"),
        (["http://127.0.0.1:1/", "-d", "openai-chat", "--set", "target.variables.modle=x"], 2, "'model'"),
        (["http://127.0.0.1:1/", "-d", "openai-chat", "--set", "seed_=1"], 2, "Did you mean 'seed'?"),
        (["http://127.0.0.1:1/", "-d", "openai-chat", "--set", "top_p=1"], 2, "--set target.extra.top_p=VALUE"),
        (["http://127.0.0.1:1/", "-d", "openai-chat", "--set", "a.b=1"], 2, "--set target.extra.a.b=VALUE"),
        (["http://127.0.0.1:1/", "-d", "openai-chat", "--bearer-env", "NO_SUCH_NAME"], 2, "not set"),
    ],
)
def test_what_cannot_be_probed(args: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["probe", *args]) == code
    assert said in capsys.readouterr().err


def chunk(**delta: str) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return f"data: {json.dumps({**head, 'choices': [choice]})}\n\n".encode()


def test_a_stream_without_its_end_exits_3(server: Server) -> None:
    server.pieces = [chunk(role="assistant", content=""), chunk(content="Hello")]
    done = probe(server.url, "-d", "openai-chat")
    assert done.returncode == 3, done.stdout
    assert "grammar.premature-end" in done.stdout


def test_a_refused_stream_exits_1(server: Server) -> None:
    server.status, server.content_type, server.pieces = 503, "application/json", [b"{}"]
    done = probe(server.url, "-d", "openai-chat")
    assert done.returncode == 1, done.stdout
    assert "http_503" in done.stdout
    assert "The server's own log has the reason." in done.stdout


def test_headers_and_the_token_are_sent_and_never_shown(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHAT_TOKEN", "tok-123456")
    server.status, server.content_type, server.pieces = 401, "text/plain", [b"you are tok-123456"]
    done = probe(server.url, "-d", "openai-chat", "-H", "x-trace: abc", "--bearer-env", "CHAT_TOKEN")
    headers, _ = server.asked[0]
    assert (headers["authorization"], headers["x-trace"]) == ("Bearer tok-123456", "abc")
    assert "tok-123456" not in done.stdout + done.stderr


WHOLE = [
    chunk(role="assistant", content=""),
    *(chunk(content=f"word {i} ") for i in range(40)),
    chunk(content=".").replace(b'"finish_reason": null', b'"finish_reason": "stop"'),
    b"data: [DONE]\n\n",
]


def test_a_wrong_dialect_is_told_once_and_the_right_one_is_named(server: Server) -> None:
    server.pieces = WHOLE
    done = probe(server.url, "-d", "anthropic-messages")
    assert done.returncode == 3
    assert "This is not anthropic-messages" in done.stdout
    assert "--dialect openai-chat" in done.stdout
    assert done.stdout.count("grammar.unknown-event") == 1
    assert "more like it" in done.stdout
    assert len(done.stdout.splitlines()) < 40


def test_a_reply_that_fits_nothing_gets_no_advice(server: Server) -> None:
    server.pieces = [b'data: {"what": 1}\n\n'] * 30
    done = probe(server.url, "-d", "openai-chat")
    assert done.returncode == 3
    assert "This is not" not in done.stdout


def test_values_and_fields_go_into_the_request(server: Server) -> None:
    server.pieces = WHOLE
    values = ["target.variables.model=gpt-x", "target.extra.temperature=0.5", "target.extra.metadata.user=ada"]
    options = [option for value in values for option in ("--set", value)]
    done = probe(server.url, "-d", "openai-chat", *options, "-H", "x-a: 1")
    assert done.returncode == 0, done.stdout + done.stderr
    headers, body = server.asked[0]
    sent = json.loads(body)
    assert (sent["model"], sent["temperature"], sent["metadata"]) == ("gpt-x", 0.5, {"user": "ada"})
    assert (sent["stream"], headers["x-a"]) == (True, "1")


def test_a_saved_stream_can_be_checked_again(server: Server, tmp_path: Path) -> None:
    server.pieces = WHOLE
    done = probe(server.url, "-d", "openai-chat", "--save", str(tmp_path / "reply.jsonl"), "-n", "2")
    assert done.returncode == 0, done.stdout
    for name in ("reply.jsonl", "reply-2.jsonl"):
        assert run_command(["check", str(tmp_path / name)]) == 0
    assert run_command(["check", str(tmp_path / "reply.jsonl"), "-d", "anthropic-messages"]) == 3


@pytest.mark.parametrize("columns", [60, 80, 140])
def test_a_stream_fits_the_terminal(terminal: Terminal, server: Server, columns: int) -> None:
    server.pieces = WHOLE[:-1]
    shown = terminal("probe", server.url, "-d", "openai-chat", columns=columns)
    assert shown.exit_code == 3
    drawn = [part for line in shown.lines for part in line.split("\r")]  # the live picture goes back over itself
    assert [line for line in drawn if len(line) > columns] == []


def test_the_waterfall_grows_on_a_terminal(terminal: Terminal, url: str) -> None:
    shown = terminal("probe", url, "-d", "openai-chat", columns=100)
    assert shown.exit_code == 0
    drawn = [line for line in shown.lines if line.startswith("  text ")]
    assert len({line.rpartition("  ")[2] for line in drawn}) > 1  # more chunks each time
    assert any("COMPLETED" in line for line in shown.lines)


def test_ctrl_c_shows_what_came_until_then(server: Server) -> None:
    server.pieces, server.stall = [chunk(role="assistant", content="Hello")], True
    process = programs.start("streambench", "probe", server.url, "-d", "openai-chat", "-n2", stdout=subprocess.PIPE)
    assert server.was_asked.wait(60)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out.count("INTERRUPTED") == 1
