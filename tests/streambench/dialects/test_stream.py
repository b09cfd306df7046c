"""Streams: events named, their text gathered, and what is wrong with them said once, with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streambench.dialects import Dialect, DialectStream, Event, bundled_dialects, load_dialect
from streambench.dialects.loading import parse_dialect
from streambench.findings import Axis, Finding, Severity
from streambench.wire.json_text import MAX_VALUES
from streambench.wire.message import WireMessage
from streambench.wire.sse import SseDecoder

KEYS = ["type", "id", "index", "choices", "delta", "content", "data", "text", "done", "error", "message", "candidates"]


def dialect(body: str, transport: str = "sse") -> Dialect:
    return parse_dialect(f"dialect: x\nversion: 1\ntransport: {transport}\n{body}", Path("x.yaml"))


def feed(stream: DialectStream, *messages: Any) -> list[Event]:
    """Feeds values as JSON messages, and texts as they are, ten bytes apart."""
    return [
        stream.feed(WireMessage(item if isinstance(item, str) else json.dumps(item), 10 * n))
        for n, item in enumerate(messages)
    ]


def rules(*events: Event) -> list[str]:
    return [finding.rule for event in events for finding in event.findings]


TYPED = """
name: type
events:
  start: {}
  delta: {content: text}
  stop: {tokens: usage.out}
  error: {error: message}
  ping: {}
grammar: start delta* stop
interrupt: error
anywhere: [ping]
"""


def test_names_content_tokens_and_completion() -> None:
    stream = DialectStream(dialect(TYPED))
    events = feed(
        stream,
        {"type": "start"},
        {"type": "delta", "text": "Hi"},
        {"type": "ping"},
        {"type": "stop", "usage": {"out": 3}},
    )
    assert [event.name for event in events] == ["start", "delta", "ping", "stop"]
    assert [event.content for event in events] == ["", "Hi", "", ""]
    assert (stream.complete, stream.interrupted, stream.tokens) == (True, False, 3)
    assert rules(*events) == []
    assert stream.finish("fin") == []


def test_an_interrupt_completes_the_stream_and_gives_its_message() -> None:
    stream = DialectStream(dialect(TYPED))
    events = feed(stream, {"type": "start"}, {"type": "error", "message": "broken"})
    assert events[1].error == "broken"
    assert (stream.complete, stream.interrupted) == (True, True)
    assert stream.finish("fin") == []


def test_an_interrupt_without_its_message_is_an_error_all_the_same() -> None:
    (event,) = feed(DialectStream(dialect(TYPED)), {"type": "error"})
    assert event.error == "error without a message"


def test_a_violation_says_index_offset_what_came_and_what_was_expected() -> None:
    stream = DialectStream(dialect(TYPED))
    events = feed(stream, {"type": "start"}, {"type": "start"})
    assert events[1].findings == (
        Finding(
            Axis.GRAMMAR,
            "grammar.unexpected-event",
            "`start` came, but the protocol expects `delta` or `stop` here.",
            event_index=1,
            offset=10,
            got="start",
            expected=("delta", "stop"),
        ),
    )


@pytest.mark.parametrize(
    ("ending", "rule", "severity"),
    [
        ("fin", "grammar.premature-end", Severity.VIOLATION),
        ("response_end", "grammar.premature-end", Severity.VIOLATION),
        ("reset", "termination.reset", Severity.VIOLATION),
        ("timeout", "termination.timeout", Severity.VIOLATION),
        ("close_frame", "termination.close-frame", Severity.VIOLATION),
    ],
)
def test_an_end_before_the_end(ending: str, rule: str, severity: Severity) -> None:
    stream = DialectStream(dialect(TYPED))
    feed(stream, {"type": "start"})
    (finding,) = stream.finish(ending, at_offset=99)
    assert (finding.axis, finding.rule, finding.severity) == (Axis.TERMINATION, rule, severity)
    assert (finding.event_index, finding.offset, finding.expected) == (1, 99, ("delta", "stop"))
    assert "missing: `stop`" in finding.message


def test_a_client_that_leaves_breaks_no_rule() -> None:
    stream = DialectStream(dialect(TYPED))
    feed(stream, {"type": "start"})
    assert stream.finish("client") == []
    assert not stream.complete


@pytest.mark.parametrize("ending", ["reset", "timeout"])
def test_a_rough_ending_after_the_end_is_information(ending: str) -> None:
    stream = DialectStream(dialect(TYPED))
    feed(stream, {"type": "start"}, {"type": "stop"})
    (finding,) = stream.finish(ending)
    assert (finding.axis, finding.severity) == (Axis.TERMINATION, Severity.INFO)


def test_no_event_at_all() -> None:
    (finding,) = DialectStream(dialect(TYPED)).finish("fin")
    assert "no event came at all" in finding.message


def test_unknown_events_are_violations_or_information() -> None:
    (event,) = feed(DialectStream(dialect(TYPED)), {"type": "strange"})
    assert (event.name, event.findings[0].severity) == ("?", Severity.VIOLATION)
    (event,) = feed(DialectStream(dialect(TYPED + "unknown: info")), {"type": "strange"})
    assert (event.name, event.findings[0].severity) == ("?", Severity.INFO)


@pytest.mark.parametrize("data", ["", "{", "nope", "NaN", '{"a": Infinity}', '{"a": 1} x', "[" * 5000])
def test_what_is_not_json_is_a_violation_with_its_place(data: str) -> None:
    (event,) = feed(DialectStream(dialect(TYPED)), data)
    assert rules(event) == ["data.not-json"]
    assert event.findings[0].offset == 0


def test_json_with_space_around_it_is_json() -> None:
    (event,) = feed(DialectStream(dialect(TYPED)), ' \n{"type": "start"}\t')
    assert rules(event) == []


@pytest.mark.parametrize("data", ["null", "1", '"text"', "[]", "{}", '{"type": 1}', '{"type": null}'])
def test_json_of_another_form_is_an_unknown_event(data: str) -> None:
    assert rules(*feed(DialectStream(dialect(TYPED)), data)) == ["grammar.unknown-event"]


def test_snapshots_give_what_is_new() -> None:
    stream = DialectStream(dialect("events:\n  all: {content: text, mode: snapshot}\ngrammar: all*\n"))
    events = feed(stream, {"text": "He"}, {"text": "Hello"}, {"text": "Hello"}, {"text": "Hello!"})
    assert [event.content for event in events] == ["He", "llo", "", "!"]
    assert rules(*events) == []


def test_a_snapshot_that_rewrites_the_text() -> None:
    stream = DialectStream(dialect("events:\n  all: {content: text, mode: snapshot}\ngrammar: all*\n"))
    events = feed(stream, {"text": "Hello"}, {"text": "Hallo!"})
    (finding,) = events[1].findings
    assert (finding.axis, finding.rule, finding.got, finding.expected) == (
        Axis.CONTENT,
        "content.snapshot",
        "allo!",
        ("ello",),
    )
    assert events[1].content == "!"


def test_snapshots_of_several_texts() -> None:
    stream = DialectStream(
        dialect(
            """
name: op
events:
  hello: {of: "10"}
  text: {of: "1", content: t, mode: snapshot, by: lane}
  text_end: {of: "2"}
  bye: {of: "99"}
grammar: hello each(lane){ text* text_end }+ bye
"""
        )
    )
    events = feed(
        stream,
        {"op": 10},
        {"op": 1, "lane": "x", "t": "He"},
        {"op": 1, "lane": "y", "t": "Fo"},
        {"op": 1, "lane": "x", "t": "Hello"},
        {"op": 2, "lane": "x"},
        {"op": 1, "lane": "y", "t": "Foo"},
        {"op": 2, "lane": "y"},
        {"op": 99},
    )
    assert [event.content for event in events] == ["", "He", "Fo", "llo", "", "o", "", ""]
    assert rules(*events) == []
    assert stream.complete


def test_snapshots_of_ever_more_texts_stay_within_memory() -> None:
    stream = DialectStream(dialect("events:\n  all: {content: t, mode: snapshot, by: id}\ngrammar: all*\n"))
    for n in range(20_100):
        stream.feed(WireMessage(json.dumps({"id": n, "t": "x"}), n))
    assert len(stream._snapshots) <= 10_001


def test_content_of_a_star_path_is_joined() -> None:
    stream = DialectStream(dialect("events:\n  part: {content: parts.*.text}\ngrammar: part*\n"))
    (event,) = feed(stream, {"parts": [{"text": "a"}, {"call": 1}, {"text": "b"}]})
    assert event.content == "ab"


def test_a_character_in_two_halves_is_joined_and_noted() -> None:
    stream = DialectStream(dialect("events:\n  part: {content: text}\ngrammar: part*\n"))
    events = feed(stream, '{"text": "a\\ud83c"}', '{"text": "\\udfb2b"}')
    assert "".join(event.content for event in events) == "a🎲b"
    assert rules(*events) == ["content.split-pair"]
    assert events[1].findings[0].axis is Axis.INTEROP


def test_half_a_character_that_stays_alone() -> None:
    stream = DialectStream(dialect("events:\n  part: {content: text}\ngrammar: part*\n"))
    feed(stream, '{"text": "a\\ud83c"}')
    assert [finding.rule for finding in stream.finish("fin")] == ["content.lone-surrogate"]


def test_a_schema_says_where_it_is_broken() -> None:
    stream = DialectStream(dialect("events:\n  part: {schema: {properties: {a: {type: string}}}}\ngrammar: part*\n"))
    (event,) = feed(stream, {"a": 1})
    assert rules(event) == ["schema.part"]
    assert "at a" in event.findings[0].message


def test_of_a_large_event_only_the_first_mistake_is_told() -> None:
    """The validator gathers all mistakes before it tells the first: a million of them took half a minute."""
    stream = DialectStream(dialect("events:\n  part: {schema: {items: {type: string}}}\ngrammar: part*\n"))
    few, many = feed(stream, [1] * 10, [1] * 1000)
    assert rules(few) == ["schema.part"] * 3
    (finding,) = many.findings
    assert (finding.rule, finding.got) == ("schema.part", few.findings[0].got[:5] + finding.got[5:])  # type: ignore[index]
    assert "at 0, 1 is not of type" in finding.message
    assert len(finding.got or "") <= 120


def test_an_event_of_too_many_values_is_not_read() -> None:
    stream = DialectStream(dialect("events: {part: {}}\ngrammar: part*\n"))
    events = feed(stream, f"[{'1,' * MAX_VALUES}1]", json.dumps(["1," * MAX_VALUES]))
    assert rules(*events) == ["data.not-json"]
    assert "more than 100,000 values" in events[0].findings[0].message


def test_a_protocol_that_ends_by_closing() -> None:
    stream = DialectStream(dialect("events:\n  part: {content: text}\ngrammar: part+\n"))
    feed(stream, {"text": "a"})
    assert not stream.complete
    assert stream.finish("fin") == []
    assert stream.complete


def test_a_tolerated_event_is_noted_once() -> None:
    stream = DialectStream(load_dialect("openai-chat"))
    role = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    chunk = {**role, "choices": [{"index": 0, "delta": {"role": "assistant", "content": "a"}}]}
    events = feed(stream, chunk, chunk, chunk, chunk)
    assert [(finding.rule, finding.severity) for event in events for finding in event.findings] == [
        ("grammar.tolerated", Severity.INFO)
    ]


def test_a_block_without_data_is_no_event_unless_the_dialect_takes_it() -> None:
    wire = b'event: data\ndata: "Hi"\n\nevent: end\n\n'
    stream = DialectStream(load_dialect("langserve"))
    decoder = SseDecoder()
    names = [stream.feed(message).name for message in [*decoder.feed(wire), *decoder.finish()]]
    assert names == ["data_text", "end"]
    assert stream.complete
    plain = DialectStream(load_dialect("chat-stream"))
    event = plain.feed(WireMessage("", 0, event="done", dispatched=False))
    assert event.name == "(undispatched)"
    assert not plain.complete


def test_names_by_prefix() -> None:
    stream = DialectStream(load_dialect("ai-sdk-ui"))
    events = feed(stream, {"type": "start"}, {"type": "data-weather", "data": 1}, {"type": "data", "data": 1})
    assert [event.name for event in events] == ["start", "data", "?"]


def test_two_events_in_one_object_are_neither() -> None:
    (event,) = feed(DialectStream(load_dialect("chat-stream")), {"content": "a", "done": True})
    assert event.name == "?"
    assert "both" in event.findings[0].message


def test_the_events_of_others_in_a_room_are_not_this_reply() -> None:
    stream = DialectStream(load_dialect("room-chat"))
    other = {"content": "x", "isComplete": False, "timestamp": "t", "fullResponse": "x", "participantName": "bob"}
    event = stream.feed(WireMessage("", 0, event="stream-chunk", args=[other]))
    assert (event.name, event.content, event.findings) == ("other-chunk", "", ())
    failed = {"error": "x", "timestamp": "t", "participantName": "bob"}
    event = stream.feed(WireMessage("", 0, event="stream-error", args=[failed]))
    assert (event.name, event.error) == ("other-error", None)
    assert not stream.complete


def test_a_socket_goes_on_after_a_reply_and_its_pings_are_legal() -> None:
    stream = DialectStream(load_dialect("assistant-ws"))
    reply = {"conversation_id": "c", "message_id": "m", "content": "x", "done": True}
    events = feed(
        stream,
        {"type": "assistant_response", "data": reply, "timestamp": 1},
        {"type": "pong", "data": {}, "timestamp": 2},
    )
    assert rules(*events) == []
    assert stream.finish("close_frame") == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("name", bundled_dialects())
@settings(max_examples=30, deadline=None)
@given(st.data())
def test_nothing_that_a_server_sends_breaks_a_stream(name: str, data: st.DataObject) -> None:
    loaded = load_dialect(name)
    stream = DialectStream(loaded)
    names = [*loaded.events, "", "?"]
    for offset in range(data.draw(st.integers(0, 8))):
        value = data.draw(JSON)
        wire_name = data.draw(st.sampled_from(names))
        if isinstance(value, dict) and data.draw(st.booleans()):
            value["type"] = wire_name
        args = [value] if loaded.transport == "socketio" else None
        message = WireMessage(
            json.dumps(value), offset, wire_name, dispatched=data.draw(st.integers(0, 9)) > 0, args=args
        )
        event = stream.feed(message)
        assert isinstance(event.content, str)
        assert all(finding.message and len(finding.message) < 2000 for finding in event.findings)
    stream.finish(data.draw(st.sampled_from(["fin", "reset", "timeout", "close_frame", "response_end", "client"])))


@pytest.mark.parametrize("name", ["openai-chat", "room-chat", "thread-events", "ag-ui", "gemini-sse"])
@pytest.mark.parametrize("data", ["null", "[]", "{}", "[null]", '{"type":[]}', '{"choices":7}', '{"choices":[7]}', "0"])
def test_no_message_can_break_the_stream(name: str, data: str) -> None:
    stream = DialectStream(load_dialect(name))
    for args in (None, json.loads(data) if data.startswith("[") else [json.loads(data)]):
        event = stream.feed(WireMessage(data, 0, event="stream-chunk", args=args))
        assert event.findings
    stream.finish("fin")


WHOLE = """
name: type
events:
  piece: {content: text, by: id}
  whole: {content: text, by: id, mode: whole}
  stop: {}
grammar: (piece | whole)* stop
"""


@pytest.mark.parametrize(
    ("messages", "texts"),
    [
        ([("piece", 1, "One "), ("piece", 1, "two"), ("whole", 1, "One two")], ["One ", "two", ""]),
        ([("whole", 1, "One two")], ["One two"]),
        ([("whole", 1, ""), ("whole", 1, "One two")], ["", "One two"]),
        ([("whole", 1, "One"), ("whole", 1, "One two")], ["One", " two"]),
        ([("whole", 1, "Thinking"), ("whole", 1, "One two")], ["Thinking", "One two"]),
        ([("piece", 1, "One "), ("whole", 2, "Two"), ("whole", 1, "One ")], ["One ", "Two", ""]),
    ],
)
def test_a_whole_text_counts_where_it_did_not_come_in_pieces(messages: list[Any], texts: list[str]) -> None:
    stream = DialectStream(dialect(WHOLE))
    events = feed(stream, *({"type": name, "id": key, "text": text} for name, key, text in messages))
    assert [event.content for event in events] == texts
    assert rules(*events) == []


AWAITED = """
name: socketio.event
setup: [{emit: [hello], await: ready}]
events: {ready: {}, text: {content: text}, stop: {}}
grammar: text* stop
"""


def test_an_event_that_only_setup_awaits_is_known_and_out_of_place_in_a_reply() -> None:
    stream = DialectStream(dialect(AWAITED, "socketio"))
    assert rules(stream.feed(WireMessage('{"text": "One"}', 0, "text"))) == []
    assert rules(stream.feed(WireMessage("{}", 1, "ready"))) == ["grammar.unexpected-event"]
    assert rules(stream.feed(WireMessage("{}", 2, "stop"))) == []


def test_a_block_without_an_event_line_says_so_where_the_line_is_the_name() -> None:
    stream = DialectStream(dialect("name: sse.event\nevents: {text: {content: text}, stop: {}}\ngrammar: text* stop\n"))
    (finding,) = stream.feed(WireMessage('{"text": "One"}', 0)).findings
    assert "no `event:` line" in finding.message
