"""WebSocket from bytes to arrivals: what frames bring does not depend on how they were read."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from websockets.frames import Frame, Opcode
from websockets.utils import accept_key

from streambench.transport.arrivals import Arrival, Data, Head, Read
from streambench.transport.target import locate
from streambench.transport.websocket import MAX_HELD_BYTES, WebSocketConnection, WholeTexts
from streambench.wire.limits import WireLimits

LIMITS = WireLimits(max_event_bytes=3_000, max_frames_per_s=5, max_control_per_s=3)
ANSWER = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n"
)
TEXTS = ["", "a", "Grüße", "x" * 125, "y" * 126, "z" * 2_900]


def asked(limits: WireLimits = LIMITS) -> tuple[WebSocketConnection, bytes]:
    """A connection that has asked for the upgrade, and the answer."""
    connection = WebSocketConnection(locate("ws://localhost/", ""), [], limits)
    lines = connection.upgrade({}).decode().split("\r\n")
    key = next(line.split()[1] for line in lines if line.lower().startswith("sec-websocket-key"))
    return connection, ANSWER.format(accept_key(key)).encode()


def said(connection: WebSocketConnection, reads: Iterable[bytes]) -> tuple[list[str], bytes]:
    """All arrivals but reads and the head, and what is sent back."""
    arrivals: list[Arrival] = []
    for data in reads:
        arrivals += connection.receive(data, 1, kernel=True)
    return [repr(arrival) for arrival in arrivals if not isinstance(arrival, Read | Head)], connection.outgoing()[:2]


def frames(rng: random.Random) -> bytes:
    """Frames as servers send them, mostly whole texts; now and then one that breaks the protocol or ends it."""
    out = b""
    for _ in range(rng.choice([5, 30, 60])):
        text = rng.choice(TEXTS)
        kind = rng.random()
        if kind < 0.7:
            out += Frame(Opcode.TEXT, text.encode()).serialize(mask=False)
        elif kind < 0.8:
            out += Frame(Opcode.TEXT, b"one ", fin=False).serialize(mask=False)
            if rng.random() < 0.5:
                out += Frame(Opcode.PING, b"?").serialize(mask=False)
            if rng.random() < 0.9:
                out += Frame(Opcode.CONT, b"two").serialize(mask=False)
        elif kind < 0.88:
            out += Frame(Opcode.PING, b"!").serialize(mask=False)
        elif kind < 0.97:
            out += Frame(Opcode.BINARY, text.encode()).serialize(mask=False)
        else:
            out += rng.choice(
                [
                    Frame(Opcode.TEXT, b"\xff").serialize(mask=False),
                    Frame(Opcode.TEXT, b"masked").serialize(mask=True),
                    Frame(Opcode.TEXT, b"x" * 3_001).serialize(mask=False),
                    b"\xc1\x01x",
                    Frame(Opcode.CLOSE, b"\x03\xe8").serialize(mask=False),
                    Frame(Opcode.CONT, b"of nothing").serialize(mask=False),
                    b"\x83\x00",
                    b"\x81\x7f" + b"\xff" * 8,
                ]
            )
    return out


@pytest.mark.parametrize("seed", range(60))
def test_frames_are_the_same_however_they_are_read_and_as_the_library_reads_them(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    written = frames(random.Random(seed))
    results = []
    for sizes in ([1], [2, 3, 50], [700, 5], [1 << 16], None):
        if sizes is None:  # the library alone; of what it gets at once, it would answer what is behind an error
            monkeypatch.setattr(WholeTexts, "parts", lambda self, data: [data])
            sizes = [1]
        rng = random.Random(seed)
        connection, answer = asked()
        came = answer + written
        reads, at = [], 0
        while at < len(came):
            size = rng.choice(sizes)
            reads.append(came[at : at + size])
            at += size
        results.append(said(connection, reads))
    assert all(result == results[0] for result in results)


def test_of_usual_frames_the_library_sees_none_unless_one_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(WebSocketConnection, "_ask_library", lambda self, data, at_ns, arrivals: seen.append(len(data)))
    large = "x" * (MAX_HELD_BYTES + 1)
    texts = [text for text in TEXTS if text] * 20 + [large]
    whole = b"".join(Frame(Opcode.TEXT, text.encode()).serialize(mask=False) for text in texts)
    for sizes, by_library in (([1, 90, 4_000], len(large) + 10), ([1 << 20], 0)):
        rng = random.Random(0)
        connection, _ = asked(WireLimits())
        connection._upgraded, connection._texts = True, WholeTexts(WireLimits().max_event_bytes)
        seen.clear()
        at, came = 0, []
        while at < len(whole):
            size = rng.choice(sizes)
            came += connection.receive(whole[at : at + size], 1, kernel=True)
            at += size
        assert sum(seen) == by_library
        read = [arrival.data for arrival in came if isinstance(arrival, Data)]
        assert read == texts[: len(texts) - bool(by_library)]


def test_an_answer_that_refuses_is_read_to_its_end() -> None:
    for size in (1, 7, 1_000):
        connection, _ = asked()
        answer = b"HTTP/1.1 403 No\r\nContent-Length: 11\r\n\r\n\x81\x05not today"
        (failed, _), _ = said(connection, [answer[at : at + size] for at in range(0, len(answer), size)])
        assert "http_403" in failed
