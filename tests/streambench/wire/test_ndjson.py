from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streambench.findings import Axis, Severity
from streambench.wire.limits import OversizeError, WireLimits

BOM = b"\xef\xbb\xbf"

CASES: dict[str, tuple[bytes, list[tuple[str, int, bool]], set[str]]] = {
    "nothing": (b"", [], set()),
    "two lines": (b'{"a":1}\n{"b":2}\n', [('{"a":1}', 0, True), ('{"b":2}', 8, True)], set()),
    "CR LF": (b"{}\r\n[]\r\n", [("{}", 0, True), ("[]", 4, True)], set()),
    "a bare CR is text": (b"{\r}\n", [("{\r}", 0, True)], set()),
    "blank lines": (b"\n{}\n \t\n\r\n[]\n", [("{}", 1, True), ("[]", 9, True)], set()),
    "no JSON is the dialect's question": (b"hello\n", [("hello", 0, True)], set()),
    "a last line that is whole": (b"{}\n[]", [("{}", 0, True), ("[]", 3, True)], {"ndjson.no-last-newline"}),
    "a last line that is cut": (b'{}\n{"a":', [("{}", 0, True), ('{"a":', 3, False)], {"ndjson.cut-line"}),
    "a last line cut within a character": (
        '{}\n{"a":"é'.encode()[:-1],
        [("{}", 0, True), ('{"a":"\ufffd', 3, False)],
        {"ndjson.cut-line"},
    ),
    "a byte order mark": (BOM + b"{}\n", [("{}", 3, True)], {"ndjson.bom"}),
    "a byte order mark later is text": (b"{}\n" + BOM + b"{}\n", [("{}", 0, True), ("\ufeff{}", 3, True)], set()),
    "UTF-8": ('{"a":"é😀\u2028"}\n'.encode(), [('{"a":"é😀\u2028"}', 0, True)], set()),
    "invalid UTF-8": (b'{"a":"\xff"}\n', [('{"a":"\ufffd"}', 0, True)], {"ndjson.invalid-utf8"}),
}


@pytest.mark.parametrize("name", CASES)
def test_lines(name: str, read_every_way: Callable[..., Any]) -> None:
    data, expected, rules = CASES[name]
    reading = read_every_way("ndjson", data)
    assert reading.failure is None
    assert [(m.data, m.offset, m.dispatched) for m in reading.messages] == expected
    assert reading.rules == rules


def test_invalid_utf8_breaks_the_content(read_every_way: Callable[..., Any]) -> None:
    (finding,) = read_every_way("ndjson", b'{}\n{"a":"\xe2\x82"}\n').findings
    assert (finding.axis, finding.severity) == (Axis.CONTENT, Severity.VIOLATION)
    assert (finding.event_index, finding.offset, finding.got) == (1, 9, "e2 82")


@pytest.mark.parametrize("stream", [b"x" * 21 + b"\n", b"x" * 21, BOM + b"x" * 21 + b"\n"])
def test_a_line_beyond_the_limit(stream: bytes, read_every_way: Callable[..., Any]) -> None:
    reading = read_every_way("ndjson", b"{}\n" + stream, WireLimits(max_line_bytes=20))
    assert [m.data for m in reading.messages] == ["{}"]
    assert isinstance(reading.failure, OversizeError)
    assert reading.failure.finding.offset == 3


def test_the_smaller_limit_counts(read_every_way: Callable[..., Any]) -> None:
    reading = read_every_way("ndjson", b"x" * 21 + b"\n", WireLimits(max_event_bytes=20))
    assert isinstance(reading.failure, OversizeError)
