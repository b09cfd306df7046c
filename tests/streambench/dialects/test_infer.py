"""Drafts: a dialect file made from a capture loads, and the capture passes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streambench.dialects import Dialect, DialectStream, bundled_dialects, load_dialect
from streambench.dialects.infer import draft_dialect
from streambench.dialects.loading import parse_dialect
from streambench.findings import Severity
from streambench.wire.framings import capture_decoder
from streambench.wire.message import WireMessage

CAPTURES = Path(__file__).parents[2] / "captures"


def messages(*items: Any) -> list[WireMessage]:
    return [
        WireMessage(item if isinstance(item, str) else json.dumps(item), n, event="") for n, item in enumerate(items)
    ]


def drafted(captured: list[WireMessage], transport: str = "sse") -> Dialect:
    dialect = parse_dialect(draft_dialect(captured, name="mine", transport=transport), Path("mine.yaml"))
    stream = DialectStream(dialect)
    found = [finding for message in captured for finding in stream.feed(message).findings]
    found += stream.finish("fin")
    assert [finding for finding in found if finding.severity is Severity.VIOLATION] == []
    return dialect


def text_of(dialect: Dialect, captured: list[WireMessage]) -> str:
    stream = DialectStream(dialect)
    return "".join(stream.feed(message).content for message in captured)


def valid_captures() -> list[tuple[str, Path]]:
    return [(name, path) for name in bundled_dialects() for path in sorted((CAPTURES / name).glob("valid*"))]


@pytest.mark.parametrize(("name", "path"), valid_captures(), ids=lambda value: getattr(value, "stem", value))
def test_every_valid_capture_passes_the_draft_made_from_it(name: str, path: Path) -> None:
    transport = load_dialect(name).transport
    decoder = capture_decoder(transport)
    drafted(
        [message for message in [*decoder.feed(path.read_bytes()), *decoder.finish()] if message.dispatched], transport
    )


@pytest.mark.parametrize(
    "name", ["chat-stream", "thread-events", "conversation-stream", "openai-chat", "ollama", "anthropic-messages"]
)
def test_the_field_with_the_text_is_found(name: str) -> None:
    bundled = load_dialect(name)
    path = next((CAPTURES / name).glob("valid.*"))
    decoder = capture_decoder(bundled.transport)
    captured = [*decoder.feed(path.read_bytes()), *decoder.finish()]
    assert text_of(drafted(captured, bundled.transport), captured) == text_of(bundled, captured)


def test_a_field_of_any_name_that_goes_with_the_form_of_the_messages_names_them() -> None:
    captured = messages(
        {"ev": "ticket", "id": "T"}, {"ev": "say", "words": "Hi"}, {"ev": "say", "words": "!"}, {"ev": "bye"}
    )
    assert drafted(captured).grammar == "ticket say+ bye"


def test_messages_that_are_arrays_and_names_that_are_numbers() -> None:
    captured = messages(["hi", {"v": 1}], ["tok", "Hello"], ["tok", " you"], ["end", None])
    dialect = drafted(captured, "websocket")
    assert (dialect.grammar, text_of(dialect, captured)) == ("hi tok+ end", "Hello you")
    assert drafted(messages({"op": 10}, {"op": 1, "t": "a"}, {"op": 1, "t": "b"}, {"op": 99})).grammar == (
        "event_10 event_1+ event_99"
    )


def test_names_by_field_and_a_sentinel() -> None:
    dialect = drafted(
        messages(
            {"kind": "open"}, {"kind": "piece", "t": "a b"}, {"kind": "piece", "t": "c"}, {"kind": "shut"}, "[END]"
        )
    )
    assert dialect.grammar == "open piece+ shut END"
    assert dialect.terminal == ("END",)


def test_events_that_come_by_turns_are_one_repetition() -> None:
    dialect = drafted(messages(*({"type": name, "n": n} for n, name in enumerate(["s", "a", "b", "a", "b", "e"]))))
    assert dialect.grammar == "s (a | b)+ e"


def test_snapshots_are_recognised() -> None:
    captured = messages(*({"text": "Hello world!"[:n]} for n in (2, 5, 9, 12)))
    assert text_of(drafted(captured), captured) == "Hello world!"


def test_what_held_in_the_capture_is_proposed() -> None:
    text = draft_dialect(
        messages(*({"id": "x", "seq": n, "created_at": n * 7, "text": f"w{n} "} for n in range(4))),
        name="mine",
        transport="sse",
    )
    assert "- id.constant" in text
    assert "- seq.contiguous" in text
    assert "- created_at.nondecreasing" in text


def test_plain_text_instead_of_json() -> None:
    captured = messages("Hello", " world", ", how are you?", "[DONE]")
    dialect = drafted(captured)
    assert (dialect.is_json, dialect.grammar, dialect.terminal) == (False, "chunk* DONE", ("DONE",))
    assert text_of(dialect, captured) == "Hello world, how are you?"


def test_an_error_becomes_the_interrupt() -> None:
    dialect = drafted(
        messages({"type": "delta", "text": "a"}, {"type": "delta", "text": "b"}, {"type": "error", "why": "x"})
    )
    assert dialect.interrupt == "error"
    assert dialect.events["error"].error is not None


@pytest.mark.parametrize("transport", ["sse", "ndjson", "websocket", "socketio"])
def test_every_transport(transport: str) -> None:
    captured = [
        WireMessage('["x"]', 0, event="hello world", args=["x"]),
        WireMessage('["y"]', 1, event="1", args=["y"]),
    ]
    drafted(captured, transport)


@pytest.mark.parametrize(
    "data", ["", " ", "null", "[]", "{}", '{"": 1}', '{"a.b": "x"}', '{"on": "yes"}', "x" * 99, '"\\""']
)
def test_no_capture_is_too_strange(data: str) -> None:
    drafted(messages(data, data, data))


def test_nothing_to_learn_from() -> None:
    with pytest.raises(ValueError, match="no message"):
        draft_dialect([], name="x", transport="sse")
