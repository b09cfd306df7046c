"""Whatever the bytes and wherever they are cut: no crash, and the same reading."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streambench.wire.limits import WireLimits

FRAGMENTS: dict[str, list[bytes]] = {
    "sse": [
        *(b"\n", b"\r", b"\r\n", b"\n\n", b"data: ", b"data:", b"data", b"event: a", b"id: 1", b"retry: 5", b": c"),
        *(b"\xef\xbb\xbf", b"\xff", b"\xe2\x82\xac", "\u2028".encode(), b"[DONE]", b"x" * 30),
    ],
    "ndjson": [b"\n", b"\r\n", b"{}", b'{"a":', b'"x"}', b"\xef\xbb\xbf", b"\xff", b"\xc3\xa9", b" ", b"x" * 30],
    "socketio": [
        *(b"\n", b"\x1e", b"4", b"42", b'42["a"]', b'42/n,7["a",{}]', b'451-["a",{"_placeholder":true,"num":0}]'),
        *(b"bAAEC", b"2", b"3probe", b"6", b"41", b'430["x"]', b'40{"sid":"s"}', b"44{}", b"\xff", b"x" * 30),
        *(b'0{"sid":"s","pingInterval":1,"pingTimeout":1}', b'42["connect"]', b"5", b"[[[["),
    ],
}
FRAGMENTS["websocket"] = FRAGMENTS["ndjson"]
FRAGMENTS["polling"] = FRAGMENTS["socketio"]

SMALL = WireLimits(max_event_bytes=48, max_line_bytes=40, max_attachments=2)


@st.composite
def cut_streams(draw: st.DrawFn, wire: str) -> tuple[bytes, list[bytes]]:
    stream = b"".join(draw(st.lists(st.sampled_from(FRAGMENTS[wire]) | st.binary(max_size=3), max_size=25)))
    cuts = sorted(draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    return stream, [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


@pytest.mark.parametrize("limits", [None, SMALL], ids=["default limits", "small limits"])
@pytest.mark.parametrize("wire", FRAGMENTS)
def test_cuts_change_nothing(wire: str, limits: WireLimits | None, read_pieces: Callable[..., Any]) -> None:
    @settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(cut_streams(wire))
    def check(drawn: tuple[bytes, list[bytes]]) -> None:
        stream, pieces = drawn
        assert read_pieces(wire, pieces, limits) == read_pieces(wire, [stream], limits)

    check()
