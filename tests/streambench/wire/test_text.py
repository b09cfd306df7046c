"""Plain text: the same text however it is cut, and what is no text said once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streambench.findings import Axis, Severity
from streambench.wire.limits import OversizeError, WireLimits
from streambench.wire.text import TextDecoder

BOM = b"\xef\xbb\xbf"


def read(pieces: list[bytes]) -> tuple[str, TextDecoder]:
    decoder = TextDecoder()
    messages = [message for piece in pieces for message in decoder.feed(piece)]
    messages += decoder.finish()
    assert all(message.data for message in messages)
    return "".join(message.data for message in messages), decoder


def test_a_piece_is_a_message_with_its_place() -> None:
    decoder = TextDecoder()
    assert [(m.data, m.offset) for m in decoder.feed(b"One ")] == [("One ", 0)]
    assert decoder.feed(b"") == []
    assert [(m.data, m.offset) for m in decoder.feed("zwö".encode())] == [("zwö", 4)]
    assert [(m.data, m.offset) for m in decoder.feed(b"\n\n")] == [("\n\n", 8)]
    assert decoder.finish() == []


def test_a_character_that_is_cut_belongs_to_the_second_piece() -> None:
    decoder = TextDecoder()
    data = "a😀b".encode()
    assert [m.data for m in decoder.feed(data[:3])] == ["a"]
    assert decoder.feed(data[3:4]) == []
    assert [(m.data, m.offset) for m in decoder.feed(data[4:])] == [("😀b", 1)]
    assert decoder.take_findings() == []


@given(
    st.lists(st.sampled_from([b"a", "é".encode(), "😀".encode(), b"\xff", b"\xe2\x82", b"\n", BOM]), max_size=8),
    st.data(),
)
def test_cuts_change_nothing(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    text, decoder = read(pieces)
    expected, other = read([whole])
    assert text == expected
    assert [finding.offset for finding in decoder.take_findings()] == [f.offset for f in other.take_findings()]


def test_another_encoding_is_one_finding() -> None:
    text, decoder = read(["naïve café".encode("latin-1"), "où".encode("latin-1")])
    assert "\ufffd" in text
    (finding,) = decoder.take_findings()
    assert (finding.rule, finding.axis, finding.severity) == ("text.invalid-utf8", Axis.CONTENT, Severity.VIOLATION)
    assert (finding.offset, finding.got) == (2, "ef")


def test_a_byte_order_mark_is_no_text() -> None:
    assert read([BOM[:1], BOM[1:] + b"a"])[0] == "a"
    assert read([b"a", BOM])[0] == "a\ufeff"


def test_a_piece_beyond_the_limit() -> None:
    decoder = TextDecoder(WireLimits(max_event_bytes=10))
    with pytest.raises(OversizeError):
        decoder.feed(b"x" * 11)
    with pytest.raises(OversizeError):
        decoder.feed(b"x")
