"""A stream that recognises what repeats itself says the same as one that judges every message."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streambench.dialects import Dialect, DialectStream, Event, bundled_dialects, load_dialect
from streambench.dialects.loading import parse_dialect
from streambench.dialects.shapes import allows_any, cut
from streambench.paths import compile_path, parse_path
from streambench.wire.framings import capture_decoder
from streambench.wire.message import WireMessage

CAPTURES = Path(__file__).parents[2] / "captures"
TEXTS = [
    "a",
    " word",
    "\n",
    '"',
    "\\",
    "naïve",
    "文",
    "\U0001f600",
    "\x7f",
    "\u2028",
    "0",
    "",
    "null",
    "\x00",
    "\ud83d",
]


class Counted(DialectStream):
    """Counts the events that were judged in full."""

    judged = 0

    def feed(self, message: WireMessage) -> Event:
        self.judged += 1
        return super().feed(message)


def said(events: Iterable[Event]) -> list[tuple[Any, ...]]:
    """All of events but their data."""
    return [(e.index, e.name, e.content, e.error, e.findings, e.offset) for e in events]


def recognised(dialect: Dialect, messages: Sequence[WireMessage]) -> int:
    """Compares the two ways; how many events were recognised."""
    judging, taking = DialectStream(dialect), Counted(dialect)
    judged = [judging.feed(message) for message in messages]
    taken = [taking.take(copy(message)) for message in messages]
    assert said(taken) == said(judged)
    for ours, theirs in zip(taken, judged, strict=True):
        assert ours.data is None or ours.data == theirs.data  # where a check wants to see it
    repeating = DialectStream(dialect)
    for message, event in zip(messages, judged, strict=True):
        text = repeating.repeated(message)
        if text is None:
            assert said([repeating.take(message)]) == said([event])
        else:
            assert (repeating.delta, text, None, ()) == (event.name, event.content, event.error, event.findings)
    assert repeating.finish("fin") == taking.finish("fin") == judging.finish("fin")
    for state in ("complete", "interrupted", "tokens"):
        assert getattr(taking, state) == getattr(judging, state)
    return len(messages) - taking.judged


def captured(path: Path, dialect: Dialect) -> list[WireMessage]:
    decoder = capture_decoder(dialect.transport)
    return [*decoder.feed(path.read_bytes()), *decoder.finish()]


def put(message: WireMessage, data: str) -> None:
    """Other data in a message. What is no list of arguments, no packet of Socket.IO can bring."""
    if message.args is not None:
        try:
            arguments = json.loads(data)
        except ValueError:
            return
        if not isinstance(arguments, list):
            return
        message.args = arguments
    message.data = data


def changed(value: Any, rng: random.Random) -> Any:
    """JSON in which some values are others, mostly of the same type."""
    if isinstance(value, dict):
        out = {key: changed(item, rng) for key, item in value.items()}
        if rng.random() < 0.01:
            out.pop(rng.choice(list(out)), None) if out else None
        return out
    if isinstance(value, list):
        return [changed(item, rng) for item in value]
    if rng.random() > 0.1:
        return value
    if isinstance(value, str) and rng.random() < 0.9:
        return rng.choice(TEXTS)
    if isinstance(value, (int, float)) and rng.random() < 0.9:
        return value + rng.choice([1, 1, 1, -1, 0.5, 10**18])
    return rng.choice([None, True, 0, 1.5, "text", [], {}, {"a": [1]}])


def stuttered(messages: Sequence[WireMessage], rng: random.Random) -> list[WireMessage]:
    """A stream in which each event is repeated a few times, now and then with other values."""
    out: list[WireMessage] = []
    for message in messages:
        for n in range(rng.choice([1, 1, 2, 4, 12])):
            again = copy(message)
            if n:
                try:
                    put(again, json.dumps(changed(json.loads(message.data), rng), ensure_ascii=rng.random() < 0.5))
                except ValueError:
                    put(again, rng.choice([message.data, rng.choice(TEXTS)]))
            again.offset = len(out) * 1000
            out.append(again)
    return out


@pytest.mark.parametrize("name", bundled_dialects())
def test_captures_and_their_mutations_are_judged_the_same(name: str) -> None:
    dialect = load_dialect(name)
    rng = random.Random(name)
    for path in sorted((CAPTURES / name).iterdir()):
        if path.name == "findings.yaml":
            continue
        messages = captured(path, dialect)
        recognised(dialect, messages)
        for _ in range(8):
            recognised(dialect, stuttered(messages, rng))
        for index, message in enumerate(messages):
            # A text as it goes on, which is what shapes are for: again with other texts, then the rest of the stream.
            run = [copy(message) for _ in range(20)]
            for again in run:
                place = again.data.find('": "') if rng.random() < 0.5 else again.data.rfind('":"')
                if place > 0:
                    text = json.dumps(rng.choice(TEXTS), ensure_ascii=rng.random() < 0.5)
                    end = again.data.find('"', place + 4)
                    start = again.data.find('"', place + 2)
                    if 0 < start < end:
                        put(again, again.data[:start] + text + again.data[end + 1 :])
            recognised(dialect, [*messages[:index], *run, *messages[index:]])


def deltas(template: str, texts: Iterable[str]) -> list[WireMessage]:
    """Messages from a template with `<text>`, all the text `<so far>`, and a running `<n>`."""
    out: list[WireMessage] = []
    so_far = ""
    for n, text in enumerate(texts, 10):
        so_far += text
        values = {"<text>": json.dumps(text)[1:-1], "<so far>": json.dumps(so_far)[1:-1], "<n>": str(n)}

        def value(found: re.Match[str], values: dict[str, str] = values) -> str:
            return values[found[0]]

        out.append(WireMessage(re.sub("<(?:text|so far|n)>", value, template), n * 100))
    return out


CHAT = (
    '{"id":"c","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":'
    '{"content":"<text>"},"finish_reason":null}],"usage":null,"obfuscation":"x<text>"}'
)
WORDS = [f" word{n}" for n in range(40)]


DELTAS = {
    "openai-chat": CHAT,
    "openai-responses": '{"type":"response.output_text.delta","sequence_number":<n>,"item_id":"i","output_index":0,'
    '"content_index":0,"delta":"<text>","obfuscation":"x<text>"}',
    "anthropic-messages": '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"<text>"}}',
    "chat-stream": '{"content":"<text>"}',
    "conversation-stream": '{"type":"chunk","content":"<text>"}',
    "assistant-ws": '{"type":"assistant_response","data":{"conversation_id":"c","message_id":"m","content":"<text>",'
    '"done":false},"timestamp":<n>.5}',
    "thread-events": '{"type":"ai_response","data":{"content":"<text>","isComplete":false,"accumulated":"<so far>"},'
    '"timestamp":"2026-01-01T00:00:<n>Z"}',
    "ai-sdk-ui": '{"type":"text-delta","id":"<id>","delta":"<text>"}',
    "ag-ui": '{"type":"TEXT_MESSAGE_CONTENT","messageId":"<id>","delta":"<text>","timestamp":<n>}',
    "ollama": '{"model":"m","created_at":"2026-01-01T00:00:<n>Z","message":{"role":"assistant","content":"<text>"},'
    '"done":false}',
    "chainlit": '{"id":"<id>","token":"<text>","isSequence":false,"isInput":false}',
    "room-chat": '{"content":"<text>","isComplete":false,"timestamp":"2026-01-01T00:00:<n>Z",'
    '"fullResponse":"<so far>"}',
}


@pytest.mark.parametrize("name", DELTAS)
def test_the_deltas_of_a_reply_are_recognised(name: str) -> None:
    """As a server sends them: within a valid capture, many in a row where the first one was."""
    dialect = load_dialect(name)
    path = next(path for path in sorted((CAPTURES / name).iterdir()) if path.stem == "valid")
    messages = captured(path, dialect)
    stream = DialectStream(dialect)
    events = [stream.feed(message) for message in messages]
    first = next(n for n, event in enumerate(events) if event.content and dialect.events[event.name].is_delta)
    data = events[first].data
    run = deltas(DELTAS[name].replace("<id>", str(data.get("id", data.get("messageId")))), WORDS)
    for message in run:
        message.event = messages[first].event
        if messages[first].args is not None:
            message.args = []
            put(message, f"[{message.data}]")
    assert recognised(dialect, [*messages[:first], *run, *messages[first:]]) >= len(run) - 3


@given(
    st.lists(
        st.one_of(st.text(max_size=12), st.text('"\\/bu0d8\ud83d\n', max_size=8)).map(lambda text: json.dumps(text)),
        min_size=3,
        max_size=12,
    )
)
@settings(max_examples=60, deadline=None)
def test_any_text_is_read_the_same(literals: list[str]) -> None:
    messages = [WireMessage(CHAT.replace('"<text>"', literal, 1), 0) for literal in [*literals, *reversed(literals)]]
    recognised(load_dialect("openai-chat"), messages)


@given(st.lists(st.text('"\\ux0:,{}[]e.-1a\n', max_size=10), min_size=3, max_size=10))
@settings(max_examples=100, deadline=None)
def test_whatever_stands_where_the_text_was_is_read_the_same(pieces: list[str]) -> None:
    """Also where it is no JSON, or another document: a text may not reach out of its hole."""
    messages = [WireMessage(CHAT.replace("<text>", piece, 1), 0) for piece in ["a", "b", *pieces]]
    recognised(load_dialect("openai-chat"), messages)


DIALECT = """\
dialect: ours
version: 1
transport: sse
name: type
events:
  piece: {content: text, schema: SCHEMA}
  special: {of: piece, when: WHEN, content: text}
  end: {}
grammar: (piece | special)* end
invariants: INVARIANTS
"""


def ours(schema: str = "{}", when: str = "{text: special}", invariants: str = "[]") -> Dialect:
    text = DIALECT.replace("SCHEMA", schema).replace("WHEN", when).replace("INVARIANTS", invariants)
    return parse_dialect(text, Path("ours.yaml"))


PIECE = '{"type":"piece","n":<n>,"text":"<text>"}'


@pytest.mark.parametrize(
    "dialect",
    [
        ours(),
        ours(when="{text: {starts: sp}}"),
        ours(when="{text: {in: [special, a]}}"),
        ours(when="{n: 9}"),
        ours(when="{no: 1}", schema="{properties: {text: {pattern: '^[a-z]+$'}}}"),
        ours(when="{no: 1}", schema="{properties: {text: {enum: [a, b, c, d]}}}"),
        ours(when="{no: 1}", schema="{properties: {text: {maxLength: 3}}}"),
        ours(when="{no: 1}", schema="{properties: {n: {maximum: 9}}}"),
        ours(when="{no: 1}", schema="{patternProperties: {t: {maxLength: 3}}}"),
        ours(when="{no: 1}", schema="{additionalProperties: {type: [integer, string], maximum: 8}}"),
        ours(when="{no: 1}", invariants="[{check: constant, path: n}]"),
        ours(when="{no: 1}", invariants="[{check: constant, path: $}]"),
    ],
)  # fmt: skip
def test_nothing_is_recognised_where_a_value_decides(dialect: Dialect) -> None:
    """A value that naming, schema or checks look at is looked at each time."""
    texts = ["a", "b", "c", "d", "special", "e", "a", "longer", "special", "special"]
    recognised(dialect, deltas(PIECE, texts))
    recognised(dialect, deltas(PIECE.replace("<n>", "1"), texts))


def test_a_check_that_wants_to_see_every_event_does() -> None:
    dialect = ours(when="{no: 1}", invariants="[n.contiguous]")
    messages = deltas(PIECE, WORDS)
    assert recognised(dialect, messages) >= len(messages) - 3
    del messages[20]
    stream = DialectStream(dialect)
    assert [finding.rule for message in messages for finding in stream.take(message).findings] == ["n.contiguous"]
    recognised(dialect, messages)


@pytest.mark.parametrize("numbers", [("1.5", "2.5"), ("1", "2"), ("-1", "-2")])
def test_a_number_that_readers_take_for_different_ones_is_judged(numbers: tuple[str, str]) -> None:
    dialect = ours(when="{no: 1}", schema="{properties: {n: {type: [number, integer]}}}")
    strange = ["1e999", "-1e999", "NaN", "-Infinity", str(10**25), "1" * 5000, "0" * 20, "-0", "1.0", "[1]", "3.5e1"]
    for number in strange:
        messages = [WireMessage(PIECE.replace("<n>", n), 0) for n in (*numbers, *numbers, number, *numbers)]
        recognised(dialect, messages)


@pytest.mark.parametrize("template", ['"<text>"', "<text>", '{"content":"<text>"}', "[<n>]"])
def test_a_text_that_looks_like_json_is_read_as_text(template: str) -> None:
    assert recognised(load_dialect("plain-text"), deltas(template, WORDS)) == 0


def test_another_event_in_between_is_judged_and_what_follows_it() -> None:
    """After it the grammar may stand elsewhere."""
    messages = deltas(PIECE, WORDS)
    messages[20:20] = [WireMessage('{"type":"end"}', 0)]
    recognised(ours(), messages)


@pytest.mark.parametrize(
    "document",
    [
        '{"a":"<text>","a":"other"}',
        '{"<text>":1,"text":"<text>"}',
        '{"a":"<text>\\"","text":"x"}',
        '{"text":["<text>"]}',
        '{"text":"other","a":"<text>"}',
        '{"text":"<text>","a":"\ue000streambench-0\ue000"}',
    ],
)
def test_only_a_value_that_is_the_text_can_be_a_hole(document: str) -> None:
    one, other = document.replace("<text>", "one"), document.replace("<text>", "two")
    assert cut(one, WireMessage(other, 0), json.loads(other), "two", compile_path("text")) is None


@pytest.mark.parametrize(
    ("schema", "path", "kind", "expected"),
    [
        (None, "a", str, True),
        (True, "a", str, True),
        (False, "a", str, False),
        ({"properties": {"b": {"const": 1}}}, "a", str, True),
        ({"properties": {"a": {"type": "string", "minLength": 1}}}, "a", str, True),
        ({"properties": {"a": {"type": "string", "minLength": 2}}}, "a", str, False),
        ({"properties": {"a": {"type": "number"}}}, "a", float, True),
        ({"properties": {"a": {"type": "integer"}}}, "a", float, False),
        ({"properties": {"a": {"type": ["integer", "null"]}}}, "a", float, False),
        ({"properties": {"a": {"type": "integer"}}}, "a", int, True),
        ({"properties": {"a": {"items": {"enum": ["x"]}}}}, "a.0", str, False),
        ({"properties": {"a": {"items": {"type": "string"}}}}, "a.0", str, True),
        ({"properties": {"a": {"enum": [["x"]]}}}, "a.0", str, False),
        ({"anyOf": [{"properties": {"a": {"const": "x"}}}]}, "a", str, False),
        ({"additionalProperties": {"const": "x"}}, "a", str, False),
        ({"additionalProperties": False, "properties": {"a": {}}}, "a", str, True),
        ({"$ref": "#/$defs/a"}, "a", str, False),
    ],
)  # fmt: skip
def test_a_schema_allows_any_value_only_where_it_asks_for_none(
    schema: Any, path: str, kind: type, expected: bool
) -> None:
    assert allows_any(schema, parse_path(path), kind) is expected
