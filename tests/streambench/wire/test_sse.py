"""The event-stream rules of WHATWG HTML section 9.2, one case a rule, each read every way it can be split."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streambench.findings import Axis, Severity
from streambench.wire.limits import OversizeError, WireLimits
from streambench.wire.message import WireMessage
from streambench.wire.sse import SseDecoder

Event = tuple[str, str, str]  # type, data, last event id

BOM = b"\xef\xbb\xbf"

# After the cases of the web platform tests (eventsource/format-*), and the examples of the standard itself.
CASES: dict[str, tuple[bytes, list[Event]]] = {
    "nothing": (b"", []),
    "one event": (b"data: hello\n\n", [("", "hello", "")]),
    "three lines of data": (b"data: YHOO\ndata: +2\ndata: 10\n\n", [("", "YHOO\n+2\n10", "")]),
    "the four blocks of the standard": (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n",
        [("", "first event", "1"), ("", "second event", "")],
    ),
    "data without a colon, the tail not dispatched": (b"data\n\ndata\ndata\n\ndata:", [("", "", ""), ("", "\n", "")]),
    "the space is optional": (b"data:test\n\ndata: test\n\n", [("", "test", ""), ("", "test", "")]),
    "only one space is dropped": (b"data:  x\n\n", [("", " x", "")]),
    "a tab is not a space": (b"data:\ttest\rdata: \ndata:test\n\n", [("", "\ttest\n\ntest", "")]),
    "trailing spaces stay": (b"data: x  \n\n", [("", "x  ", "")]),
    "byte order mark": (BOM + b"data:1\n\n", [("", "1", "")]),
    "only one byte order mark": (
        BOM + BOM + b"data:1\n\n\ndata:2\n\n\ndata:3\n\n",
        [("", "2", ""), ("", "3", "")],
    ),
    "a byte order mark later is part of a name": (
        b"data:1\n\n" + BOM + b"data:2\n\ndata:3\n\n",
        [
            ("", "1", ""),
            ("", "3", ""),
        ],
    ),
    "a byte order mark in data is data": (b"data:" + BOM + b"\n\n", [("", "\ufeff", "")]),
    "a byte order mark, then a blank line": (BOM + b"\n\ndata:1\n\n", [("", "1", "")]),
    "a byte order mark alone": (BOM, []),
    "half a byte order mark": (BOM[:2] + b"data:1\n\n", []),
    "comments between": (
        b"data:1\r:\0\n:\r\ndata:2\n:" + b"x" * 50 + b"\rdata:3\n:data:fail\r:" + b"x" * 50 + b"\ndata:4\n\n",
        [("", "1\n2\n3\n4", "")],
    ),
    "empty data": (b"data:\n\ndata\ndata\n\ndata:test\n\n", [("", "", ""), ("", "\n", ""), ("", "test", "")]),
    "an event without data is not dispatched": (b"event: x\n\ndata: 1\n\n", [("", "1", "")]),
    "the event type counts for one block": (b"event:test\ndata:x\n\ndata:x\n\n", [("test", "x", ""), ("", "x", "")]),
    "the last event type counts": (b"event:a\nevent:b\ndata:x\n\n", [("b", "x", "")]),
    "an empty event type": (b"event: \ndata:data\n\n", [("", "data", "")]),
    "an id stays": (b"id: 1\ndata: a\n\ndata: b\n\n", [("", "a", "1"), ("", "b", "1")]),
    "an id without data stays": (b"id: 7\n\ndata: b\n\n", [("", "b", "7")]),
    "an empty id resets": (
        b"id: 1\ndata: a\n\nid\ndata: b\n\nid:\ndata:c\n\n",
        [
            ("", "a", "1"),
            ("", "b", ""),
            ("", "c", ""),
        ],
    ),
    "an id with NUL is ignored": (b"id: 1\ndata: a\n\nid: \x002\ndata: b\n\n", [("", "a", "1"), ("", "b", "1")]),
    "NUL in data": (b"data:\0\n\n\n\n", [("", "\0", "")]),
    "field names are exact": (
        b"data:\0\ndata:  2\rData:1\ndata\0:2\n\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n\n",
        [("", "\0\n 2\n3\n\n4", "")],
    ),
    "unknown fields": (
        b"data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacomment\n\n",
        [("", "test\n", "")],
    ),
    "a value with colons": (b"data: a:b: c\n\n", [("", "a:b: c", "")]),
    "CR LF": (b"data:1\r\ndata:2\r\n\r\n", [("", "1\n2", "")]),
    "CR": (b"data:1\rdata:2\r\r", [("", "1\n2", "")]),
    "mixed line ends": (b"data:test\r\ndata\ndata:test\r\n\r", [("", "test\n\ntest", "")]),
    "LF CR is two line ends": (b"data:1\n\rdata:2\n\n", [("", "1", ""), ("", "2", "")]),
    "CR CR LF is two line ends": (b"data:1\r\r\ndata:2\n\n", [("", "1", ""), ("", "2", "")]),
    "many blank lines": (b"\n\n\r\n\rdata:1\n\n\n\n\ndata:2\n\n", [("", "1", ""), ("", "2", "")]),
    "UTF-8": ("data:ok… 😀 ümlaut\n\n".encode(), [("", "ok… 😀 ümlaut", "")]),
    "line ends of Unicode are text": (
        "data:a\u2028b\u2029c\x85d\x0be\x0cf\n\n".encode(),
        [("", "a\u2028b\u2029c\x85d\x0be\x0cf", "")],
    ),
    "invalid UTF-8": (b"data:a\xffb\xe2\x82c\xf0\x9f\n\n", [("", "a\ufffdb\ufffdc\ufffd", "")]),
    "a surrogate in UTF-8": (b"data:\xed\xa0\x80\n\n", [("", "\ufffd\ufffd\ufffd", "")]),
    "an overlong NUL is no NUL": (
        b"id:1\ndata:a\n\nid:\xc0\x80\ndata:b\n\n",
        [("", "a", "1"), ("", "b", "\ufffd\ufffd")],
    ),
    "the tail is not dispatched": (b"retry:1000\ndata:test1\n\nid:test\ndata:test2", [("", "test1", "")]),
    "a tail with its line end is not dispatched": (b"data:1\n\ndata:2\n", [("", "1", "")]),
    "data that looks like a field": (b"data: data: x\n\n", [("", "data: x", "")]),
}


def events(messages: Any) -> list[Event]:
    return [(m.event, m.data, m.last_event_id) for m in messages if m.dispatched]


@pytest.mark.parametrize("name", CASES)
def test_cases_of_the_standard(name: str, read_every_way: Callable[..., Any]) -> None:
    data, expected = CASES[name]
    reading = read_every_way("sse", data)
    assert reading.failure is None
    assert events(reading.messages) == expected


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (b"retry:3000", 3000),
        (b"retry: 0", 0),
        (b"retry:0300", 300),
        (b"retry:3000\nretry:1000x", 3000),
        (b"retry", None),
        (b"retry:", None),
        (b"retry:  5", None),
        (b"retry:-5", None),
        (b"retry:+5", None),
        (b"retry:1_0", None),
        ("retry:\u0665".encode(), None),
        ("retry:\u00b2".encode(), None),
        (b"retry:" + b"9" * 400, None),
    ],
)
def test_retry_takes_ascii_digits_only(field: bytes, expected: int | None, read_every_way: Callable[..., Any]) -> None:
    (message,) = read_every_way("sse", field + b"\ndata:x\n\n").messages
    assert message.retry_ms == expected


def test_retry_belongs_to_the_block_that_changed_it(read_every_way: Callable[..., Any]) -> None:
    first, second = read_every_way("sse", b"retry:10\ndata:x\n\ndata:y\n\n").messages
    assert (first.retry_ms, second.retry_ms) == (10, None)


def test_offsets_count_the_bytes_of_the_stream(read_every_way: Callable[..., Any]) -> None:
    stream = BOM + ": c\r\n\r\nid: 1\r\ndata: ü\r\n\r\n\n:x\ndata: 2\r\r".encode()
    messages = read_every_way("sse", stream).messages
    assert [m.offset for m in messages] == [stream.index(b"id: 1"), stream.index(b"data: 2")]


def test_what_is_not_dispatched_is_returned_as_such(read_every_way: Callable[..., Any]) -> None:
    messages = read_every_way("sse", b"event: ping\n\ndata: 1\n\nevent: end\ndata: rest").messages
    assert [(m.event, m.data, m.dispatched) for m in messages] == [
        ("ping", "", False),
        ("", "1", True),
        ("end", "rest", False),
    ]


@pytest.mark.parametrize(
    ("stream", "rule", "offset"),
    [
        (BOM + b"data: 1\n\n", "sse.bom", 0),
        (b"data: 1\r\r", "sse.bare-cr", 7),
        (b"data: 1\r\n\r\n", "sse.crlf", 7),
        (b": c\ndata:1\n\n", "sse.no-space", 4),
        (b"data: 1\ndata: 2\n\n", "sse.multi-line-data", 0),
        ("data: a\u2028b\n\n".encode(), "sse.foreign-line-end", 0),
        (b"event: x\n\n", "sse.no-data", 0),
        (b"id: 1\ndata: x\n\n: comment\n\n", "sse.blank-block-after-id", 25),
        (b"data: 1\n\ndata: 2\n", "sse.undispatched-tail", 9),
    ],
)
def test_what_popular_clients_read_differently_is_noted_once(
    stream: bytes, rule: str, offset: int, read_every_way: Callable[..., Any]
) -> None:
    (finding,) = read_every_way("sse", stream).findings
    assert (finding.axis, finding.severity) == (Axis.INTEROP, Severity.INFO)
    assert (finding.rule, finding.offset) == (rule, offset)


def test_a_plain_stream_has_no_finding(read_every_way: Callable[..., Any]) -> None:
    assert read_every_way("sse", b": hi\nevent: a\nid: 1\nretry: 5\ndata: {}\n\ndata: [DONE]\n\n").findings == ()


def test_invalid_utf8_is_a_finding_with_its_bytes(read_every_way: Callable[..., Any]) -> None:
    (finding,) = read_every_way("sse", b"data: ok\n\ndata: a\xff\xfeb\n\n").findings
    assert (finding.axis, finding.rule, finding.severity) == (Axis.CONTENT, "sse.invalid-utf8", Severity.VIOLATION)
    assert (finding.event_index, finding.offset, finding.got) == (1, 17, "ff")


def test_utf8_cut_by_the_end_of_the_stream_is_no_mistake(read_every_way: Callable[..., Any]) -> None:
    assert read_every_way("sse", "data: é".encode()[:-1]).rules == {"sse.undispatched-tail"}


def test_findings_are_bounded() -> None:
    decoder = SseDecoder()
    decoder.feed(b"data: \xff\n\n" * 1000)
    assert len(decoder.take_findings()) == 20
    assert decoder.take_findings() == []


LIMITS = WireLimits(max_event_bytes=60, max_line_bytes=40)


@pytest.mark.parametrize(
    "stream",
    [
        b"data: " + b"x" * 40 + b"\n\n",
        b"data: " + b"x" * 40,
        b":" + b"x" * 40 + b"\n\n",
        BOM + b":" + b"x" * 40 + b"\n\n",
        b"data: " + b"x" * 20 + b"\ndata: " + b"x" * 20 + b"\ndata: " + b"x" * 20 + b"\n\n",
        b"data\n" * 62,
        b"data:\n" * 13,
    ],
)
def test_more_than_the_limits_ends_the_decoding(stream: bytes, read_every_way: Callable[..., Any]) -> None:
    reading = read_every_way("sse", b"data: fine\n\n" + stream, LIMITS)
    assert events(reading.messages) == [("", "fine", "")]
    assert isinstance(reading.failure, OversizeError)


@pytest.mark.parametrize(
    "stream", [b"data: " + b"x" * 34 + b"\n\n", BOM + b"data: " + b"x" * 31 + b"\n\n", b"data: 123456789\n\n" * 20]
)
def test_what_just_fits_the_limits_is_read(stream: bytes, read_every_way: Callable[..., Any]) -> None:
    reading = read_every_way("sse", stream, LIMITS)
    assert reading.failure is None
    assert len(events(reading.messages)) == stream.count(b"data")


def test_a_decoder_that_failed_stays_failed() -> None:
    decoder = SseDecoder(LIMITS)
    for call in (lambda: decoder.feed(b"x" * 41), lambda: decoder.feed(b"data: 1\n\n"), decoder.finish):
        with pytest.raises(OversizeError, match="40 bytes"):
            call()


def standard(stream: bytes) -> list[Event]:
    """The standard's algorithm, written down as it stands there, over the whole stream at once."""
    text = stream.decode("utf-8", errors="replace")
    text = text.removeprefix("\ufeff")
    lines = re.split("\r\n|\n|\r", text)[:-1]  # what follows the last line end is no line
    out: list[Event] = []
    data, event_type, last_event_id = "", "", ""
    for line in lines:
        if line == "":
            if data != "":
                out.append((event_type, data.removesuffix("\n"), last_event_id))
            data, event_type = "", ""
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            event_type = value
        elif field == "data":
            data += value + "\n"
        elif field == "id" and "\0" not in value:
            last_event_id = value
    return out


FRAGMENTS = st.sampled_from(
    [
        *(
            b"\n",
            b"\r",
            b"\r\n",
            b"\n\n",
            b"data",
            b"data:",
            b"data: ",
            b"event: ",
            b"event:a",
            b"id",
            b"id:",
            b"id: 7",
        ),
        *(b"retry: 12", b":", b" ", b"\0", b"x", b"{}", BOM, b"\xff", b"\xe2\x82", b"\xac", b"\xf0\x9f\x98\x80"),
        *("\u2028".encode(), "\x85".encode(), b"[DONE]"),
    ]
)
STREAMS = st.lists(FRAGMENTS | st.binary(max_size=4), max_size=30).map(b"".join)


@settings(max_examples=250, deadline=None)
@given(STREAMS)
def test_any_bytes_read_as_the_standard_says(stream: bytes) -> None:
    decoder = SseDecoder()
    assert events([*decoder.feed(stream), *decoder.finish()]) == standard(stream)


def test_messages_are_plain_values() -> None:
    (message,) = SseDecoder().feed(b"event: a\nid: 1\ndata: x\n\n")
    assert message == WireMessage("x", 0, "a", "1")
