"""`check` on every wire, from a file and from standard input."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from streambench.cli import cli, run_command
from streambench.cli.check import check_capture
from streambench.dialects import bundled_dialects, load_dialect

CAPTURES = Path(__file__).parents[2] / "captures"
FILES = [
    (name, path)
    for name in bundled_dialects()
    for path in sorted((CAPTURES / name).iterdir())
    if path.suffix != ".yaml"
]


@pytest.mark.parametrize(("name", "path"), FILES, ids=lambda value: getattr(value, "stem", value))
def test_the_exit_code_of_every_capture(name: str, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run_command(["check", str(path), "--dialect", name])
    out = capsys.readouterr().out
    if path.stem.startswith("valid"):
        assert (code, out.startswith("PASSED")) == (0, True), out
    else:
        assert (code, out.startswith("FAILED")) == (3, True), out


@pytest.mark.parametrize("block", [1, 7, 64])
def test_the_size_of_the_reads_changes_nothing(block: int) -> None:
    path = CAPTURES / "thread-events/accumulated-differs.sse"
    data = path.read_bytes()
    whole = check_capture(iter([data]), dialect_name="thread-events", wire=None, show_events=False)
    stream = io.BytesIO(data)
    split = check_capture(
        iter(lambda: stream.read(block), b""), dialect_name="thread-events", wire=None, show_events=False
    )
    assert split == whole


@pytest.mark.parametrize(
    ("capture", "dialect", "right"),
    [
        ("anthropic-messages/valid.sse", "openai-chat", "anthropic-messages"),
        ("assistant-ws/valid.jsonl", "chat-stream", "assistant-ws"),
        ("openai-chat/valid.sse", "assistant-ws", "openai-chat"),
    ],
)
def test_a_wrong_dialect_is_told_once_and_the_right_one_is_named(
    capture: str, dialect: str, right: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["check", str(CAPTURES / capture), "--dialect", dialect]) == 3
    out = capsys.readouterr().out
    assert f"This is not {dialect}. The same bytes are valid with --dialect {right}." in out
    assert out.count("\n\n") == 1  # one finding


def test_findings_that_say_the_same_are_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "own.sse"
    path.write_text('data: {"answer": "x"}\n\n' * 3)
    assert run_command(["check", str(path), "--dialect", "chat-stream"]) == 3
    out = capsys.readouterr().out
    assert out.count("grammar.unknown-event") == 1
    assert "also at   event 2, byte 23; event 3, byte 46" in out


def test_standard_input(capsys: pytest.CaptureFixture[str]) -> None:
    data = (CAPTURES / "chainlit/valid.txt").read_bytes()
    result = CliRunner().invoke(cli, ["check", "-", "-d", "chainlit", "--json"], input=data, standalone_mode=False)
    assert result.return_value == 0
    assert json.loads(result.output)["names"]["stream_token"] == 2


@pytest.mark.parametrize("name", ["openai-chat", "ollama", "assistant-ws", "room-chat"])
def test_the_events_of_every_wire(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = next((CAPTURES / name).glob("valid.*"))
    wire = load_dialect(name).transport
    assert run_command(["check", str(path), "--wire", wire, "--events"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) > 2
    assert all({"type", "data", "offset", "dispatched"} <= set(line) for line in lines)


def test_several_replies_of_a_socket_need_to_be_announced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "two.jsonl"
    path.write_bytes((CAPTURES / "assistant-ws/valid.jsonl").read_bytes() * 2)
    assert run_command(["check", str(path), "-d", "assistant-ws"]) == 3
    assert "after-terminal" in capsys.readouterr().out
    assert run_command(["check", str(path), "-d", "assistant-ws", "--session"]) == 0
    assert "2 replies" in capsys.readouterr().out


def test_milestones_are_told_with_their_event(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short, valid = CAPTURES / "thread-events/valid-short.sse", CAPTURES / "thread-events/valid.sse"
    assert run_command(["check", str(valid), "-d", "thread-events"]) == 0
    assert "  saved: event 2\n        workflow: event 3\n" in capsys.readouterr().out
    assert run_command(["check", str(short), "-d", "thread-events"]) == 0
    assert "  workflow: not reached\n" in capsys.readouterr().out
    own = tmp_path / "own.yaml"
    own.write_text(f"{load_dialect('assistant-ws').source_path.read_text()}\nmilestones: {{answer: response}}\n")
    two = tmp_path / "two.jsonl"
    two.write_bytes((CAPTURES / "assistant-ws/valid.jsonl").read_bytes() * 2)
    assert run_command(["check", str(two), "-d", str(own), "--session"]) == 0
    assert "  answer: 2 of 2 replies, in the first event " in capsys.readouterr().out
    assert run_command(["check", str(two), "-d", str(own), "--session", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["milestones"]["answer"]["replies"] == 2


def test_an_attack_becomes_one_finding() -> None:
    blocks = iter([b"data: "] + [b"x" * (1 << 20)] * 8)
    result = check_capture(blocks, dialect_name="chat-stream", wire=None, show_events=False)
    assert [finding.rule for finding in result.kept] == ["wire.oversize"]


def test_interop_findings_are_shown_and_break_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "x.sse"
    path.write_bytes(b'\xef\xbb\xbfdata:{"content":"Hi"}\r\n\r\ndata: {"done":true}\r\n\r\n')
    assert run_command(["check", str(path), "-d", "chat-stream"]) == 0
    out = capsys.readouterr().out
    assert "sse.bom  (info)" in out
    assert "sse.no-space  (info)" in out


def test_a_path_that_finds_no_text_is_pointed_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dialect = tmp_path / "x.yaml"
    capture = str(CAPTURES / "conversation-stream/valid.sse")
    text = load_dialect("conversation-stream").source_path.read_text("utf-8")
    dialect.write_text(text.replace("content: content", "content: contnt"), "utf-8")
    assert run_command(["check", capture, "-d", str(dialect)]) == 3
    assert "No text: `chunk` has nothing at 'contnt'. Did you mean 'content'?" in capsys.readouterr().out
    dialect.write_text(text.replace("content: content", "content: data.words"), "utf-8")
    run_command(["check", capture, "-d", str(dialect)])
    assert "Its fields are type, content." in capsys.readouterr().out


def test_the_wire_must_be_the_dialects(capsys: pytest.CaptureFixture[str]) -> None:
    path = CAPTURES / "ollama/valid.ndjson"
    assert run_command(["check", str(path), "-d", "ollama", "--wire", "sse"]) == 2
    assert run_command(["check", str(path)]) == 2
    assert run_command(["check", str(path), "-d", "olama"]) == 2
    assert "Did you mean 'ollama'?" in capsys.readouterr().err


@pytest.mark.parametrize("name", bundled_dialects())
def test_dialects_shows_and_draws(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["dialects", name]) == 0
    assert f"dialect: {name}\n" in capsys.readouterr().out
    assert run_command(["dialects", name, "--diagram"]) == 0
    assert capsys.readouterr().out.startswith("stateDiagram-v2\n")


def test_a_draft_from_the_command_line_checks_its_capture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = str(CAPTURES / "conversation-stream/valid.sse")
    assert run_command(["dialects", "new", capture, "--name", "ours"]) == 0
    draft = tmp_path / "ours.yaml"
    draft.write_text(capsys.readouterr().out)
    assert run_command(["check", capture, "-d", str(draft)]) == 0


def test_a_draft_in_the_wrong_framing_names_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = tmp_path / "reply.ws"
    capture.write_text('{"k": "tok", "s": "Hello"}\n')
    assert run_command(["dialects", "new", str(capture)]) == 2
    assert "holds no sse message" in (said := capsys.readouterr().err)
    assert "each of its lines is JSON, so try --wire ndjson, or --wire websocket" in said
    capture.write_text("Hello\n")
    assert run_command(["dialects", "new", str(capture)]) == 2
    assert "--wire (ndjson, text, websocket, socketio)" in capsys.readouterr().err


def test_a_draft_of_a_socket_says_where_a_greeting_belongs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = tmp_path / "reply.ws"
    capture.write_text('{"k": "hello", "v": 3}\n{"k": "tok", "s": "Hello there"}\n{"k": "stop", "n": 1}\n')
    assert run_command(["dialects", "new", str(capture), "--wire", "websocket"]) == 0
    draft = tmp_path / "ours.yaml"
    draft.write_text(capsys.readouterr().out)
    assert "# setup: [{await: greeting}]" in draft.read_text()
    assert run_command(["check", str(capture), "-d", str(draft)]) == 0
