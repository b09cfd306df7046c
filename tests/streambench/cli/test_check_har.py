"""`check --har`: the streams of a browser's own capture."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest

from streambench.cli import run_command
from streambench.cli.check import CheckResult, check_har
from streambench.errors import ConfigurationError

CAPTURES = Path(__file__).parents[2] / "captures"


def entry(url: str, mime: str, text: str | None = None, **more: Any) -> dict[str, Any]:
    content: dict[str, Any] = {"mimeType": mime, "size": len(text or "")}
    if text is not None:
        content["text"] = text
    if more.pop("encoded", False):
        content = {**content, "text": base64.b64encode((text or "").encode()).decode(), "encoding": "base64"}
    return {
        "startedDateTime": "2025-03-01T12:00:00.000Z",
        "time": 812.5,
        "timings": {"blocked": 1, "dns": -1, "connect": -1, "send": 0.5, "wait": 120.25, "receive": 690},
        "request": {"method": "POST", "url": url},
        "response": {"status": 200, "content": content},
        **more,
    }


def har(*entries: dict[str, Any]) -> io.BytesIO:
    file = io.BytesIO(json.dumps({"log": {"version": "1.2", "entries": entries}}).encode())
    file.name = "x.har"
    return file


def check(file: io.BytesIO, dialect: str) -> list[CheckResult]:
    return check_har(file, dialect_name=dialect, wire=None, show_events=False)


def rules(result: CheckResult) -> list[tuple[int | None, str]]:
    return [(finding.event_index, finding.rule) for finding in result.kept]


def text(name: str) -> str:
    return (CAPTURES / name).read_text()


@pytest.mark.parametrize("encoded", [False, True])
def test_event_streams_are_found_among_other_entries(encoded: bool) -> None:
    results = check(
        har(
            entry("http://x/", "text/html", "<html>"),
            entry(
                "http://x/good?token=secret",
                "text/event-stream; charset=utf-8",
                text("thread-events/valid.sse"),
                encoded=encoded,
            ),
            entry("http://x/bad", "text/event-stream", text("thread-events/not-saved.sse"), encoded=encoded),
        ),
        "thread-events",
    )
    assert [(result.url, rules(result)) for result in results] == [
        ("http://x/good", []),
        ("http://x/bad", [(1, "grammar.unexpected-event")]),
    ]
    assert results[0].times == {"ttfb": 121.75, "duration": 812.5}


def test_ndjson() -> None:
    (result,) = check(har(entry("http://x/api/chat", "application/x-ndjson", text("ollama/no-done.ndjson"))), "ollama")
    assert rules(result) == [(2, "grammar.premature-end")]


def test_a_body_that_was_not_saved_is_said_and_is_no_violation() -> None:
    (result,) = check(har(entry("http://x/", "text/event-stream")), "chat-stream")
    assert rules(result) == [(None, "har.no-body")]
    assert result.violations == 0


def socket(name: str, *, prompts: dict[int, float], step_s: float = 0.1) -> dict[str, Any]:
    """A connection with the messages of a capture, and a message of the client before the given ones."""
    messages = []
    for n, line in enumerate(text(name).splitlines()):
        if n in prompts:
            messages.append({"type": "send", "time": 1000 + n * step_s - prompts[n], "opcode": 1, "data": "{}"})
        messages.append({"type": "receive", "time": 1000 + n * step_s, "opcode": 1, "data": line})
    return entry("ws://x/ws", "", _webSocketMessages=messages)


def test_a_websocket_with_its_times() -> None:
    (result,) = check(har(socket("assistant-ws/valid.jsonl", prompts={0: 0.25})), "assistant-ws")
    assert rules(result) == []
    assert result.times["ttfc"] == pytest.approx(250)
    assert result.times["gap_max"] == pytest.approx(200)  # a pong came in between


def test_several_replies_of_one_connection() -> None:
    one = socket("assistant-ws/valid.jsonl", prompts={0: 0.1})
    two = socket("assistant-ws/no-done.jsonl", prompts={0: 0.4})
    for message in two["_webSocketMessages"]:
        message["time"] += 60
    one["_webSocketMessages"] += two["_webSocketMessages"]
    (result,) = check(har(one), "assistant-ws")
    assert result.replies == 2
    assert rules(result) == [(4, "grammar.premature-end")]
    assert result.times["ttfc"] == pytest.approx(400)


def test_socketio_over_a_websocket() -> None:
    (result,) = check(har(socket("room-chat/no-start.txt", prompts={0: 0.1})), "room-chat")
    assert rules(result) == [(0, "grammar.unexpected-event")]


def test_socketio_that_only_polled() -> None:
    url = "http://x/socket.io/?EIO=4&transport=polling&sid=%s"
    lines = text("room-chat/no-start.txt").splitlines()
    entries = [
        entry("http://x/socket.io/?EIO=4&transport=polling", "text/plain", '0{"sid":"a"}'),
        entry(url % "a", "text/plain", "40"),
        entry(url % "a", "text/plain", "\x1e".join(lines[:2])),
        entry(url % "a", "text/plain", "\x1e".join(lines[2:])),
    ]
    for polled in entries:
        polled["request"]["method"] = "GET"
    (result,) = check(har(*entries), "room-chat")
    assert result.url == "http://x/socket.io/"
    assert rules(result) == [(0, "grammar.unexpected-event")]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"not json", "not JSON"),
        (b"[]", "no log.entries"),
        (b'{"log": {"entries": null}}', "its responses are none"),
        (b'{"log": {"entries": [{"response": {"content": {"mimeType": "text/html"}}}]}}', "text/html"),
        (b'{"log": {"entries": [7, {"response": 1}]}}', "no type"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_a_file_without_streams(content: bytes, reason: str) -> None:
    file = io.BytesIO(content)
    file.name = "x.har"
    with pytest.raises(ConfigurationError, match=reason):
        check(file, "chat-stream")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "browser.har"
    path.write_bytes(har(entry("http://x/a", "text/event-stream", text("chat-stream/no-done.sse"))).getvalue())
    assert run_command(["check", str(path), "--har", "-d", "chat-stream", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "failed"
    assert found["streams"][0]["axes"] == {"content": 0, "grammar": 0, "termination": 1, "timing": 0}
    assert run_command(["check", str(path), "--har", "-d", "chat-stream"]) == 3
    assert "FAILED  http://x/a breaks chat-stream in 1 place (termination 1)" in capsys.readouterr().out


@pytest.mark.parametrize(
    "broken",
    [
        {"time": 10**400},
        {"time": float("inf")},
        {"timings": {"wait": 10**400}},
        {"timings": {"wait": float("nan")}},
        {"request": {"url": "http://[x/?transport=polling&sid=1"}},
        {"request": {"url": 7}},
        {"response": {"content": {"mimeType": "text/event-stream", "text": "ä", "encoding": "base64"}}},
        {"response": []},
        {"_webSocketMessages": [{"type": "receive", "opcode": 1, "data": "\ud83d", "time": -(10**400)}]},
    ],
)
@pytest.mark.parametrize("dialect", ["chat-stream", "assistant-ws", "room-chat"])
def test_an_entry_of_any_form_is_read_or_left_out(broken: dict[str, Any], dialect: str) -> None:
    file = har({**entry("http://x/", "text/event-stream", "data: {}\n\n"), **broken})
    try:
        for result in check(file, dialect):
            json.dumps(result.to_json(), allow_nan=False)
    except ConfigurationError as error:
        assert "no entry of this HAR file" in str(error)  # noqa: PT017
