from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streambench.findings import Axis
from streambench.wire.framings import capture_decoder
from streambench.wire.limits import OversizeError, WireLimits


def test_a_line_of_a_websocket_capture_is_a_message(read_every_way: Callable[..., Any]) -> None:
    reading = read_every_way("websocket", '{"type":"delta"}\n\n"text"\r\nplain é\n{"type":'.encode())
    assert [(m.data, m.offset, m.dispatched) for m in reading.messages] == [
        ('{"type":"delta"}', 0, True),
        ('"text"', 18, True),
        ("plain é", 26, True),
        ('{"type":', 35, True),
    ]
    assert reading.findings == ()


def test_bad_text_is_found_under_the_name_of_the_wire(read_every_way: Callable[..., Any]) -> None:
    assert read_every_way("websocket", b'"\xff"\n').rules == {"websocket.invalid-utf8"}
    assert read_every_way("socketio", b'42["a","\xff"]\n').rules == {"engineio.invalid-utf8"}


CONNECTION = (
    b'0{"sid":"s","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000000}\n'
    b'40{"sid":"x"}\n'
    b"2\n"
    b'42["chat:delta",{"text":"Hi"}]\n'
    b'42/room,["chat:delta", {"text":" there"} , 7]\n'
    b'4317[{"ok":true}]\n'
    b"6\n"
    b'452-["file",{"_placeholder":true,"num":1},{"a":{"_placeholder":true,"num":0}}]\n'
    b"bAAEC\n"
    b"b/w==\n"
    b'42["done"]\n'
    b"41\n"
    b"1\n"
)


def test_events_of_a_socketio_capture_are_messages(read_every_way: Callable[..., Any]) -> None:
    reading = read_every_way("socketio", CONNECTION)
    assert reading.failure is None
    assert reading.findings == ()
    assert [(m.event, m.args) for m in reading.messages] == [
        ("chat:delta", [{"text": "Hi"}]),
        ("chat:delta", [{"text": " there"}, 7]),
        ("file", [b"\xff", {"a": b"\x00\x01\x02"}]),
        ("done", []),
    ]
    assert [m.data for m in reading.messages[:2]] == ['[{"text":"Hi"}]', '[{"text":" there"} , 7]']
    assert [m.offset for m in reading.messages] == [
        CONNECTION.index(mark) for mark in (b'42["chat', b"42/room", b"452-", b'42["done"')
    ]


def test_a_polling_body_is_a_line(read_every_way: Callable[..., Any]) -> None:
    reading = read_every_way("socketio", '42["a","é"]\x1e42["b"]\x1e2\n42["c"]'.encode())
    assert [(m.event, m.offset) for m in reading.messages] == [("a", 0), ("b", 13), ("c", 23)]


def test_a_refused_connection_is_a_finding(read_every_way: Callable[..., Any]) -> None:
    (finding,) = read_every_way("socketio", b'44{"message":"not allowed"}\n').findings
    assert (finding.axis, finding.rule, finding.got) == (
        Axis.TERMINATION,
        "socketio.refused",
        '{"message":"not allowed"}',
    )


def test_missing_attachments_are_a_finding(read_every_way: Callable[..., Any]) -> None:
    assert read_every_way("socketio", b'451-["a",{"_placeholder":true,"num":0}]\n').rules == {
        "socketio.missing-attachments"
    }


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        (b"hello", "engineio.unknown-type"),
        (b'\x1e42["a"]', "engineio.empty-packet"),
        (b"b!!", "engineio.bad-base64"),
        (b"0[]", "engineio.bad-handshake"),
        (b"4", "socketio.unknown-type"),
        (b"42{}", "socketio.bad-payload"),
        (b'42["a"', "socketio.not-json"),
        (b"bAAAA", "socketio.stray-attachment"),
    ],
)
def test_what_no_client_can_read_ends_the_decoding(line: bytes, rule: str, read_every_way: Callable[..., Any]) -> None:
    reading = read_every_way("socketio", b'42["first"]\n' + line + b'\n42["never"]\n')
    assert [m.event for m in reading.messages] == ["first"]
    assert reading.failure.finding.rule == rule


def test_limits_hold_in_captures(read_every_way: Callable[..., Any]) -> None:
    limits = WireLimits(max_line_bytes=64, max_event_bytes=64, max_attachments=2)
    for wire, stream in (
        ("websocket", b"x" * 65),
        ("socketio", b'42["' + b"x" * 65),
        ("socketio", b'453-["a"]\n'),
        ("socketio", b'452-["a"]\nb' + b"A" * 60 + b"\nb" + b"A" * 60 + b"\n"),
    ):
        assert isinstance(read_every_way(wire, stream, limits).failure, OversizeError)


def test_an_unknown_wire_is_our_mistake() -> None:
    with pytest.raises(KeyError):
        capture_decoder("smoke-signals")


def test_events_before_a_bad_end_are_kept(read_every_way: Callable[..., Any]) -> None:
    reading = read_every_way("socketio", b'42["a"]\x1enonsense')
    assert [m.event for m in reading.messages] == ["a"]
    assert reading.rules == {"engineio.unknown-type"}
