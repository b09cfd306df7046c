"""Our packet codec beside the official JavaScript parser: the same packets, and the same input refused."""

from __future__ import annotations

import base64
import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streambench.wire.limits import WireError
from streambench.wire.socketio import Packet, PacketDecoder, PacketType, encode

Messages = list[str | bytes]
Ask = Callable[[list[Messages]], list[dict[str, Any]]]


def to_json(message: str | bytes) -> Any:
    return message if isinstance(message, str) else {"b64": base64.b64encode(message).decode()}


def from_json(message: Any) -> str | bytes:
    return message if isinstance(message, str) else base64.b64decode(message["b64"])


def plain(value: Any) -> Any:
    """A packet's data with its bytes as the script shows them."""
    if isinstance(value, bytes):
        return to_json(value)
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


@pytest.fixture(scope="module")
def official(node: str) -> Ask:
    here = Path(__file__)
    script = [node, str(here.with_name("socketio_parser.cjs")), str(here.parents[2] / "node" / "node_modules")]

    def ask(lists: list[Messages]) -> list[dict[str, Any]]:
        asked = json.dumps([[to_json(message) for message in messages] for messages in lists])
        done = subprocess.run(script, input=asked, capture_output=True, text=True, check=True, timeout=60)
        answers: list[dict[str, Any]] = json.loads(done.stdout)
        return answers

    return ask


def ours(messages: Messages) -> list[Packet]:
    decoder = PacketDecoder()
    packets = [decoder.feed(message) for message in messages]
    return [packet for packet in packets if packet is not None]


def shown(packet: Packet) -> dict[str, Any]:
    packet_type = {PacketType.BINARY_EVENT: PacketType.EVENT, PacketType.BINARY_ACK: PacketType.ACK}
    return {
        "type": packet_type.get(packet.type, packet.type).value,
        "nsp": packet.namespace,
        "id": packet.id,
        "data": plain(packet.data),
    }


def some_value(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.randrange(9 if depth < 3 else 6)
    match kind:
        case 0:
            return chance.choice([None, True, False])
        case 1:
            return chance.randrange(-(2**53), 2**53)
        case 2:
            return round(chance.uniform(-10, 10), 3) + 0.0005
        case 3 | 4:
            return "".join(chance.choice('aé😀\u2028"\\\n{[,1/-') for _ in range(chance.randrange(6)))
        case 5:
            return chance.randbytes(chance.randrange(5))
        case 6 | 7:
            return [some_value(chance, depth + 1) for _ in range(chance.randrange(4))]
    return {f"k{i}": some_value(chance, depth + 1) for i in range(chance.randrange(4))}


def some_packet(chance: random.Random) -> Packet:
    namespace = chance.choice(["/", "/a", "/é-b/c", "/1"])
    data = [some_value(chance) for _ in range(chance.randrange(4))]
    match chance.randrange(5):
        case 0:
            return Packet(PacketType.ACK, namespace, chance.randrange(10**9), data)
        case 1:
            return Packet(PacketType.CONNECT, namespace, data={"token": "é"} if chance.randrange(2) else None)
        case 2:
            return Packet(PacketType.CONNECT_ERROR, namespace, data={"message": "no"})
    return Packet(PacketType.EVENT, namespace, chance.choice([None, 0, 12]), [chance.choice(["e", "7", ""]), *data])


def test_packets_are_read_alike_in_both_directions(official: Ask) -> None:
    chance = random.Random(5)
    packets = [some_packet(chance) for _ in range(400)]
    for packet, answer in zip(packets, official([encode(packet) for packet in packets]), strict=True):
        (read,) = answer["packets"]
        assert read == shown(packet)
        assert [shown(each) for each in ours([from_json(message) for message in answer["again"]])] == [read]


# What we read otherwise than the official client, on purpose.
DIFFERENT: dict[str, str] = {
    '2["connect"]': "a reserved name is an interop finding here, since other clients deliver the event",
    "": "an empty message is a CONNECT there",
    "4": "a refusal without a reason is refused here; there it is read, and the client breaks on it later",
    '50-["a"]': "no attachments: there the packet is delivered, and the next one ends the connection",
    '5-["a"]': "the same",
    "51-": "an event without a name, and an attachment for it, are read there and dropped later",
    '2 ["a"]': "white space counts as the digit of an id there",
}

RAW: list[Messages] = [
    *(
        [text]
        for text in ("0", "0{}", '0{"sid":"a"}', "0/a,", "0/a", "0[]", "0null", '0"x"', "1", "1/a,", "1{}", "1[]")
    ),
    *(
        [text]
        for text in ('2["a"]', '2["a",1]', "2[7]", "2[]", "2{}", "2[null]", "2[true]", "2[[]]", '2"a"', "27", "2x")
    ),
    *([text] for text in ('2/a,["a"]', "2/a", '2/a["b"]', '2/a,7["b"]', '27["b"]', "2[NaN]", '2["\\ud83d"]')),
    *([text] for text in ("31[]", "31{}", "31[1", "3/a,1[2]", '4{"message":"x"}', '4"x"', "4[]", "9", "", "x", "²")),
    *([text] for text in ('51-["a"]', '5["a"]', '5x-["a"]', '5-1-["a"]', '51.5-["a"]', '565-["a"]', "51-", '6-["a"]')),
    [b"x"],
    ['51-["a",{"_placeholder":true,"num":0}]', b"x"],
    ['51-["a",{"_placeholder":true,"num":1}]', b"x"],
    ['51-["a",{"_placeholder":true,"num":-1}]', b"x"],
    ['51-["a",{"_placeholder":true}]', b"x"],
    ['51-["a",{"_placeholder":1,"num":0}]', b"x"],
    ['51-["a",{"_placeholder":true,"num":0}]', '2["b"]'],
    ['52-["a",{"_placeholder":true,"num":0}]', b"x"],
    ['51-["a"]', b"x", b"y"],
    ['61-7[{"_placeholder":true,"num":0}]', b"x"],
]


def test_the_same_input_is_refused(official: Ask) -> None:
    for messages, answer in zip(RAW, official(RAW), strict=True):
        if messages[0] in DIFFERENT:
            continue
        read, refusal = [], None
        try:
            read = [shown(packet) for packet in ours(messages)]
        except WireError as error:
            refusal = str(error)
        assert (refusal is not None) == ("error" in answer), f"{messages}: here {refusal or read}, there {answer}"
        if refusal is None:
            # An event without a name is read there, and dropped later.
            named = [packet for packet in answer["packets"] if packet["type"] != 2 or packet["data"]]
            assert read == [
                {**packet, "data": packet["data"] or []} if packet["type"] == 3 else packet for packet in named
            ]
