"""Socket.IO packets, checked against python-socketio's own encoding."""

from __future__ import annotations

from typing import Any

import pytest
import socketio.packet as peer
from hypothesis import given, settings
from hypothesis import strategies as st

from streambench.findings import Axis
from streambench.wire.limits import OversizeError, WireError, WireLimits
from streambench.wire.socketio import MAX_NESTING, Packet, PacketDecoder, PacketType, encode, event_message


def decode(messages: list[str | bytes], limits: WireLimits | None = None) -> Packet:
    decoder = PacketDecoder(limits)
    *before, last = [decoder.feed(message) for message in messages]
    assert before == [None] * len(before)
    assert last is not None
    return last


@pytest.mark.parametrize(
    ("packet", "messages"),
    [
        (Packet(PacketType.CONNECT), ["0"]),
        (Packet(PacketType.CONNECT, data={"token": "123"}), ['0{"token":"123"}']),
        (Packet(PacketType.CONNECT, "/admin", data={"sid": "x"}), ['0/admin,{"sid":"x"}']),
        (Packet(PacketType.CONNECT_ERROR, data={"message": "Not authorized"}), ['4{"message":"Not authorized"}']),
        (Packet(PacketType.CONNECT_ERROR, "/x", data="no"), ['4/x,"no"']),
        (Packet(PacketType.DISCONNECT), ["1"]),
        (Packet(PacketType.DISCONNECT, "/admin"), ["1/admin,"]),
        (Packet(PacketType.EVENT, data=["foo"]), ['2["foo"]']),
        (Packet(PacketType.EVENT, "/admin", data=["bar"]), ['2/admin,["bar"]']),
        (Packet(PacketType.EVENT, id=12, data=["foo", {"é": [1.5, None, True]}]), ['212["foo",{"é":[1.5,null,true]}]']),
        (Packet(PacketType.ACK, "/admin", 13, []), ["3/admin,13[]"]),
        (
            Packet(PacketType.BINARY_EVENT, data=["baz", b"\x01"]),
            ['51-["baz",{"_placeholder":true,"num":0}]', b"\x01"],
        ),
        (
            Packet(PacketType.BINARY_EVENT, "/a", 7, ["baz", {"x": [b"\x01"]}, b""]),
            ['52-/a,7["baz",{"x":[{"_placeholder":true,"num":0}]},{"_placeholder":true,"num":1}]', b"\x01", b""],
        ),
        (Packet(PacketType.BINARY_ACK, id=15, data=[b"\x03"]), ['61-15[{"_placeholder":true,"num":0}]', b"\x03"]),
    ],
)
def test_packets_of_the_specification(packet: Packet, messages: list[str | bytes]) -> None:
    assert encode(packet) == messages
    assert decode(messages) == packet


def test_what_encoders_may_write_differently() -> None:
    assert decode(["1/admin"]) == Packet(PacketType.DISCONNECT, "/admin")
    assert decode(["2/,[7]"]) == Packet(PacketType.EVENT, data=[7])
    assert decode(['2 [ "a" , 1 ] ']).data == ["a", 1]
    assert decode(['2["\\ud83d"]']).data == ["\ud83d"]


def test_bytes_make_an_event_binary() -> None:
    assert encode(Packet(PacketType.EVENT, data=["a", bytearray(b"x"), (memoryview(b"y"),)])) == [
        '52-["a",{"_placeholder":true,"num":0},[{"_placeholder":true,"num":1}]]',
        b"x",
        b"y",
    ]
    assert encode(Packet(PacketType.BINARY_EVENT, data=["a"])) == ['2["a"]']


def test_half_a_character_is_sent_as_an_escape() -> None:
    (message,) = encode(Packet(PacketType.EVENT, data=["a", "\ud83d é"]))
    assert message == '2["a","\\ud83d é"]'


@pytest.mark.parametrize(
    "packet",
    [
        Packet(PacketType.EVENT, "admin", data=["a"]),
        Packet(PacketType.EVENT, "/a,b", data=["a"]),
        Packet(PacketType.EVENT, data=["a", object()]),
        Packet(PacketType.EVENT, data=["a", float("nan")]),
        Packet(PacketType.CONNECT, data=b"x"),
    ],
)
def test_what_cannot_be_sent_is_our_mistake(packet: Packet) -> None:
    with pytest.raises(ValueError, match=r"namespace|JSON"):
        encode(packet)


@pytest.mark.parametrize(
    ("messages", "rule"),
    [
        ([""], "socketio.unknown-type"),
        (["7"], "socketio.unknown-type"),
        (["²"], "socketio.unknown-type"),
        (["2[]"], "socketio.bad-payload"),
        (["2{}"], "socketio.bad-payload"),
        (["2[true]"], "socketio.bad-payload"),
        (["2[[]]"], "socketio.bad-payload"),
        (["2[{}]"], "socketio.bad-payload"),
        (['2"a"'], "socketio.bad-payload"),
        (['2["a"'], "socketio.not-json"),
        (['2["a"]x'], "socketio.not-json"),
        (["2[NaN]"], "socketio.not-json"),
        (["2[" + "9" * 5000 + "]"], "socketio.not-json"),
        (["2" + "[" * 100_000], "socketio.too-deep"),
        (["2" + "9" * 16 + '["a"]'], "socketio.bad-id"),
        (["2/" + "n" * 2000 + ',["a"]'], "socketio.bad-namespace"),
        (["0[]"], "socketio.bad-payload"),
        (["1{}"], "socketio.bad-payload"),
        (["31{}"], "socketio.bad-payload"),
        (["4"], "socketio.bad-payload"),
        (["4[]"], "socketio.bad-payload"),
        (['5["a"]'], "socketio.bad-attachments"),
        (['5-["a"]'], "socketio.bad-attachments"),
        (['50-["a"]'], "socketio.bad-attachments"),
        (["51"], "socketio.bad-attachments"),
        ([b"x"], "socketio.stray-attachment"),
        (['51-["a"]', '2["b"]'], "socketio.missing-attachments"),
        (['51-["a",{"_placeholder":true,"num":1}]', b"x"], "socketio.bad-placeholder"),
        (['51-["a",{"_placeholder":true,"num":-1}]', b"x"], "socketio.bad-placeholder"),
        (['51-["a",{"_placeholder":true,"num":true}]', b"x"], "socketio.bad-placeholder"),
        (['51-["a",{"_placeholder":true}]', b"x"], "socketio.bad-placeholder"),
    ],
)
def test_what_no_client_can_read(messages: list[str | bytes], rule: str) -> None:
    decoder = PacketDecoder()
    for message in messages[:-1]:
        assert decoder.feed(message) is None
    for _ in range(2):
        with pytest.raises(WireError) as raised:
            decoder.feed(messages[-1], offset=9)
        assert (raised.value.finding.rule, raised.value.finding.offset) in ((rule, 9), (rule, 0))


@pytest.mark.parametrize(
    "messages",
    [
        ['53-["a"]'],
        ['5999999999999-["a"]'],
        ['2["' + "x" * 100 + '"]'],
        ['52-["a"]', b"x" * 60, b"x" * 60],
    ],
)
def test_more_than_the_limits(messages: list[str | bytes]) -> None:
    decoder = PacketDecoder(WireLimits(max_event_bytes=100, max_attachments=2))
    for message in messages[:-1]:
        decoder.feed(message)
    with pytest.raises(OversizeError):
        decoder.feed(messages[-1])


def test_nesting_up_to_the_bound_is_read_and_brackets_in_text_do_not_count() -> None:
    deep = MAX_NESTING - 1
    assert decode(['2["a",' + "[" * deep + "]" * deep + "]"]).data[0] == "a"
    with pytest.raises(WireError, match="nested"):
        decode(['2["a",' + "[" * (deep + 1) + "]" * (deep + 1) + "]"])
    brackets = "[{" * 500 + '\\"' + "[" * 500
    assert decode([f'2["{brackets}"]']).data == [brackets.replace("\\", "")]


def test_what_official_clients_refuse_is_noted_once() -> None:
    decoder = PacketDecoder()
    for _ in range(2):
        decoder.feed('2["disconnect"]')
    decoder.feed('511-["a"]')
    assert [(f.axis, f.rule) for f in decoder.take_findings()] == [
        (Axis.INTEROP, "socketio.reserved-event"),
        (Axis.INTEROP, "socketio.many-attachments"),
    ]


def test_a_missing_payload_is_a_finding_as_clients_overlook_it() -> None:
    decoder = PacketDecoder()
    assert decoder.feed("27") is None
    assert decoder.feed("2/room") is None
    assert decoder.feed("37") == Packet(PacketType.ACK, id=7, data=[])
    assert [finding.rule for finding in decoder.take_findings()] == ["socketio.no-payload"]


def test_attachments_that_never_came_are_a_finding() -> None:
    decoder = PacketDecoder()
    decoder.feed('52-["a"]', offset=40)
    decoder.feed(b"x")
    decoder.finish()
    (finding,) = decoder.take_findings()
    assert (finding.rule, finding.offset, finding.got, finding.expected) == (
        "socketio.missing-attachments",
        40,
        "1",
        ("2",),
    )
    decoder.finish()
    assert decoder.take_findings() == []


@pytest.mark.parametrize(
    ("message", "event", "data", "args"),
    [
        ('2["a"]', "a", "[]", []),
        ('2[ "a" , {"x": 1} , 2 ]', "a", '[{"x": 1} , 2 ]', [{"x": 1}, 2]),
        ('2["a\\u00e9","]"]', "aé", '["]"]', ["]"]),
        ("2[7,[]]", "7", "[[]]", [[]]),
        ("2[1e2]", "100.0", "[]", []),
    ],
)
def test_an_event_keeps_its_arguments_as_they_were_written(
    message: str, event: str, data: str, args: list[Any]
) -> None:
    decoder = PacketDecoder()
    packet = decoder.feed(message, offset=11)
    assert packet is not None
    read = event_message(packet)
    assert (read.event, read.data, read.args, read.offset, read.dispatched) == (event, data, args, 11, True)


# Round trips, ours and with python-socketio at the other end

SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(max_size=8)
KEYS = TEXT.filter(lambda key: key != "_placeholder")
VALUES = st.recursive(
    SCALARS | TEXT | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
NAMESPACES = st.just("/") | st.text("abc/-_é", max_size=8).map(lambda name: f"/{name}")
IDS = st.none() | st.integers(0, 10**15 - 1)


@st.composite
def packets(draw: st.DrawFn) -> Packet:
    packet_type = draw(st.sampled_from([PacketType.EVENT, PacketType.ACK]))
    packet_id = draw(IDS)
    data = draw(st.lists(VALUES, max_size=3))
    if packet_type is PacketType.EVENT:
        data = [draw(TEXT), *data]
    elif packet_id is None:
        packet_id = 0
    return Packet(packet_type, draw(NAMESPACES), packet_id, data)


@settings(max_examples=150, deadline=None)
@given(packets())
def test_packets_round_trip(packet: Packet) -> None:
    read = decode(encode(packet))
    assert (read.is_event, read.is_ack) == (packet.is_event, packet.is_ack)
    assert (read.namespace, read.id, read.data) == (packet.namespace, packet.id, packet.data)
    if read.is_event:
        message = event_message(read)
        assert (message.event, message.args) == (packet.data[0], packet.data[1:])


@settings(max_examples=150, deadline=None)
@given(packets())
def test_python_socketio_reads_what_we_write(packet: Packet) -> None:
    text, *attachments = encode(packet)
    theirs = peer.Packet(encoded_packet=text)
    assert theirs.attachment_count == len(attachments)
    for attachment in attachments:
        theirs.add_attachment(attachment)
    assert (theirs.namespace or "/", theirs.id, theirs.data) == (packet.namespace, packet.id, packet.data)


@settings(max_examples=150, deadline=None)
@given(packets())
def test_we_read_what_python_socketio_writes(packet: Packet) -> None:
    theirs = peer.Packet(packet.type.value, packet.data, packet.namespace, packet.id).encode()
    read = decode(theirs if isinstance(theirs, list) else [theirs])
    assert (read.namespace, read.id, read.data) == (packet.namespace, packet.id, packet.data)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text('0123456/,-[]{}"ab:_placeholdertruenum ', max_size=24) | st.binary(max_size=4), max_size=6))
def test_any_messages_end_in_packets_or_one_clear_error(messages: list[str | bytes]) -> None:
    decoder = PacketDecoder(WireLimits(max_attachments=3))
    try:
        for message in messages:
            packet = decoder.feed(message)
            if packet is not None and packet.is_event:
                event_message(packet)
    except WireError:
        pass
