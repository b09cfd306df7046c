"""Engine.IO packets and payloads, checked against python-engineio's own encoding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import engineio.packet as peer
import engineio.payload as peer_payload
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streambench.wire.engineio import (
    MAX_PACKETS_PER_BODY,
    PROBE,
    Handshake,
    Packet,
    PacketType,
    PayloadDecoder,
    decode_frame,
    encode_frame,
    encode_payloads,
)
from streambench.wire.limits import OversizeError, WireError, WireLimits

TEXT = st.text(st.characters(exclude_characters="\x1e", exclude_categories=("Cs",)), max_size=20)
PACKETS = st.builds(Packet, st.sampled_from(PacketType), TEXT) | st.builds(
    Packet, st.just(PacketType.MESSAGE), st.binary(max_size=20)
)


@pytest.mark.parametrize(
    ("packet", "frame"),
    [
        (Packet(PacketType.PONG), "3"),
        (PROBE, "2probe"),
        (Packet(PacketType.MESSAGE, "hé"), "4hé"),
        (Packet(PacketType.MESSAGE, ""), "4"),
        (Packet(PacketType.UPGRADE), "5"),
        (Packet(PacketType.MESSAGE, b"4x"), b"4x"),
        (Packet(PacketType.MESSAGE, b""), b""),
    ],
)
def test_a_websocket_message_is_a_packet(packet: Packet, frame: str | bytes) -> None:
    assert encode_frame(packet) == frame
    assert decode_frame(frame) == packet


def test_base64_is_read_on_websockets_too() -> None:
    assert decode_frame("bAAEC") == Packet(PacketType.MESSAGE, b"\x00\x01\x02")


@pytest.mark.parametrize(
    ("frame", "rule"),
    [
        ("", "engineio.empty-packet"),
        ("7", "engineio.unknown-type"),
        ("x", "engineio.unknown-type"),
        ("²", "engineio.unknown-type"),
        ("b", None),
        ("bA", "engineio.bad-base64"),
        ("b*", "engineio.bad-base64"),
        ("bAA==é", "engineio.bad-base64"),
    ],
)
def test_what_is_no_packet(frame: str, rule: str | None) -> None:
    if rule is None:
        assert decode_frame(frame).data == b""
        return
    with pytest.raises(WireError) as raised:
        decode_frame(frame, offset=5)
    assert (raised.value.finding.rule, raised.value.finding.offset) == (rule, 5)


@settings(max_examples=200, deadline=None)
@given(PACKETS)
def test_frames_are_those_of_python_engineio(packet: Packet) -> None:
    theirs = peer.Packet(packet.type.value, packet.data)
    assert encode_frame(packet) == theirs.encode()
    assert decode_frame(theirs.encode()) == packet


@settings(max_examples=200, deadline=None)
@given(st.lists(PACKETS, min_size=1, max_size=40), st.none() | st.integers(1, 60))
def test_payloads_round_trip_within_their_limits(packets: list[Packet], max_payload: int | None) -> None:
    bodies = encode_payloads(packets, max_payload)
    decoder = PayloadDecoder()
    read = []
    for body in bodies:
        here = [*decoder.feed(body), decoder.finish()]
        assert len(here) <= MAX_PACKETS_PER_BODY
        assert max_payload is None or len(body) <= max_payload or len(here) == 1
        read += here
        assert len(peer_payload.Payload(encoded_payload=body.decode()).packets) == len(here)
    assert read == packets
    assert len(bodies) < len(packets) or max_payload is not None or len(packets) == 1


@settings(max_examples=100, deadline=None)
@given(st.lists(PACKETS, min_size=1, max_size=10))
def test_payloads_of_python_engineio_are_read(packets: list[Packet]) -> None:
    theirs = peer_payload.Payload([peer.Packet(packet.type.value, packet.data) for packet in packets]).encode()
    decoder = PayloadDecoder()
    assert [*decoder.feed(theirs.encode()), decoder.finish()] == packets


def test_a_packet_is_there_when_its_separator_is(read_every_way: Callable[..., Any]) -> None:
    decoder = PayloadDecoder()
    assert [p.data for p in decoder.feed(b"4a\x1e4b\x1ebAA==\x1e4")] == ["a", "b", b"\x00"]
    assert decoder.feed(b"c") == []
    assert decoder.finish() == Packet(PacketType.MESSAGE, "c")
    assert [p.offset for p in read_every_way("polling", "4é\x1e2\x1e4".encode()).messages] == [0, 4, 6]


def test_offsets_run_on_over_bodies() -> None:
    decoder = PayloadDecoder()
    decoder.feed(b"4abc")
    assert (decoder.finish().offset, decoder.feed(b"2\x1e"), decoder.feed(b"3"), decoder.finish().offset) == (
        0,
        [Packet(PacketType.PING)],
        [],
        6,
    )


@pytest.mark.parametrize(
    ("body", "rule"),
    [
        (b"", "engineio.empty-packet"),
        (b"4a\x1e", "engineio.empty-packet"),
        (b"4a\x1e\x1e4b", "engineio.empty-packet"),
        (b"<html>", "engineio.unknown-type"),
        (b"\xff", "engineio.unknown-type"),
    ],
)
def test_bodies_that_are_no_payload(body: bytes, rule: str, read_every_way: Callable[..., Any]) -> None:
    reading = read_every_way("polling", body)
    assert reading.failure.finding.rule == rule
    assert [p.data for p in reading.messages] == (["a"] if body.startswith(b"4a") else [])


def test_invalid_utf8_is_a_finding(read_every_way: Callable[..., Any]) -> None:
    reading = read_every_way("polling", b"4a\x1e4b\xffc")
    assert [p.data for p in reading.messages] == ["a", "b\ufffdc"]
    (finding,) = reading.findings
    assert (finding.rule, finding.offset, finding.got) == ("engineio.invalid-utf8", 5, "ff")


def test_a_packet_beyond_the_limit(read_every_way: Callable[..., Any]) -> None:
    limits = WireLimits(max_event_bytes=20)
    reading = read_every_way("polling", b"4a\x1e4" + b"b" * 20, limits)
    assert isinstance(reading.failure, OversizeError)
    assert read_every_way("polling", b"4a\x1e4" + b"b" * 19, limits).failure is None


HANDSHAKE = '{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000}'


def test_the_handshake_of_the_specification() -> None:
    handshake = Handshake.parse(HANDSHAKE)
    assert handshake == Handshake("lv_VI97HAXpY6yYWAAAC", ("websocket",), 25_000, 20_000)
    assert handshake.silence_ns == 45_000_000_000
    assert Handshake.parse(HANDSHAKE[:-1] + ',"maxPayload":1000000}').max_payload == 1_000_000


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("{", "[", "not a JSON object"),
        (HANDSHAKE, "", "not a JSON object"),
        (HANDSHAKE, "[" * 100_000, "not a JSON object"),
        ('"lv_VI97HAXpY6yYWAAAC"', '""', "sid"),
        ('"lv_VI97HAXpY6yYWAAAC"', "7", "sid"),
        ('"lv_VI97HAXpY6yYWAAAC"', '"a\\r\\nb"', "sid"),
        ('["websocket"]', '"websocket"', "upgrades"),
        ('["websocket"]', "[1]", "upgrades"),
        ("25000", "-1", "pingInterval"),
        ("20000", "0", "pingTimeout"),
        ("25000", "true", "pingInterval"),
        ("25000", '"25000"', "pingInterval"),
        ("25000", "NaN", "pingInterval"),
        ("20000", "1e999", "pingTimeout"),
        ('"pingTimeout"', '"timeout"', "pingTimeout"),
        ("20000}", '20000,"maxPayload":-1}', "maxPayload"),
    ],
)
def test_a_handshake_that_cannot_be_used_names_its_key(old: str, new: str, named: str) -> None:
    with pytest.raises(WireError, match=named):
        Handshake.parse(HANDSHAKE.replace(old, new))


def test_absurd_intervals_are_cut_down() -> None:
    assert Handshake.parse(HANDSHAKE.replace("25000", "1e300")).ping_interval_ms == 24 * 3600 * 1000
    assert Handshake.parse(HANDSHAKE.replace("25000", "0.5")).ping_interval_ms == 0
