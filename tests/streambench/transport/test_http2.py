"""HTTP/2 from bytes to arrivals: what frames bring does not depend on how they were read."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest

from streambench.transport.arrivals import Data, Ended, Failed, Read
from streambench.transport.http2 import WINDOW_BYTES, FrameReader, Http2Connection
from streambench.transport.requests import Request
from streambench.transport.target import Endpoint, locate
from streambench.wire.limits import WireLimits

ENDPOINT = Endpoint("http://localhost/", http=2)
WHERE = locate(ENDPOINT.url, "")


class Server:
    """The other side of a connection, with a response that has begun; `written` is what it sends."""

    def __init__(self, client: Http2Connection) -> None:
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.h2.initiate_connection()
        self.stream = self.asked(client)
        self.written = self.h2.data_to_send()

    def asked(self, client: Http2Connection) -> int:
        events = self.h2.receive_data(client.request(WHERE, Request(), {}))
        (stream,) = (event.stream_id for event in events if isinstance(event, h2.events.RequestReceived))
        assert stream is not None
        self.h2.send_headers(stream, [(":status", "200")])
        return stream


def taken(client: Http2Connection, reads: Iterable[bytes]) -> tuple[bytes, int, bool]:
    """The body, how many frames it came in, and whether it ended; nothing may fail."""
    arrivals = [arrival for data in reads for arrival in client.receive(data, 1, kernel=True)]
    assert not any(isinstance(arrival, Failed) for arrival in arrivals)
    body = [arrival for arrival in arrivals if isinstance(arrival, Data)]
    assert [data.offset for data in body] == [sum(len(data.data) for data in body[:n]) for n in range(len(body))]
    pieces = sum(arrival.pieces for arrival in arrivals if isinstance(arrival, Read))
    whole = b"".join(data.data for data in body if isinstance(data.data, bytes))
    return whole, pieces, isinstance(arrivals[-1], Ended)


def write(server: Server, rng: random.Random) -> bytes:
    """A body in frames, small and large, some padded or empty, between frames of other kinds."""
    body = b""
    for _ in range(40):
        piece = bytes(rng.choices(b"abc", k=rng.choice([0, 1, 7, 90, 9000])))
        server.h2.send_data(server.stream, piece, pad_length=rng.choice([None, None, None, 5]))
        body += piece
        if rng.random() < 0.1:
            server.h2.ping(b"12345678")
    server.h2.end_stream(server.stream)
    return body


@pytest.mark.parametrize("seed", range(8))
def test_a_body_is_the_same_however_its_frames_are_read(seed: int) -> None:
    seen = set()
    for sizes in ([1], [3, 10], [50, 1, 9, 400], [1 << 20]):
        rng = random.Random(seed)
        client = Http2Connection(ENDPOINT)
        server = Server(client)
        body = write(server, rng)
        written = server.written + server.h2.data_to_send()
        reads, at = [], 0
        while at < len(written):
            size = rng.choice(sizes)
            reads.append(written[at : at + size])
            at += size
        whole, pieces, ended = taken(client, reads)
        assert whole == body
        assert ended
        seen.add(pieces)
    assert len(seen) == 1  # the number of frames that brought something, or an end


def test_frames_of_a_read_are_one_arrival() -> None:
    client = Http2Connection(ENDPOINT)
    server = Server(client)
    for n in range(100):
        server.h2.send_data(server.stream, b"%03d" % n)
    arrivals = client.receive(server.written + server.h2.data_to_send(), 1, kernel=True)
    (read,) = (arrival for arrival in arrivals if isinstance(arrival, Read))
    (data,) = (arrival for arrival in arrivals if isinstance(arrival, Data))
    assert data.data == b"".join(b"%03d" % n for n in range(100))
    assert read.pieces == 100


def frame(kind: int, flags: int, payload: bytes = b"", stream: int = 1) -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


USUAL = [frame(0, 0, b"text"), frame(0, 0, b"x" * 300), frame(0, 0, b"y" * (1 << 14))]
UNUSUAL = [
    *(frame(0, 0), frame(0, 8, b"\2padded\0\0"), frame(0, 8, b"\xffpadded"), frame(0, 0x20, b"unknown flag")),
    *(frame(0, 0, b"another stream", 3), frame(0, 0, b"none", 0), frame(0, 0, b"z" * ((1 << 14) + 1))),
    *(frame(0, 0, b"high bit", 1 << 31 | 1), frame(0, 1, b"the end"), frame(0, 1)),
    *(frame(1, 5, b"\0\1a\1b"), frame(1, 0, b"\0\1a"), frame(9, 4, b"\1b"), frame(1, 4, b"\x88")),
    *(frame(3, 0, b"\0\0\0\2"), frame(4, 0, b"", 0), frame(4, 0, b"x", 0), frame(6, 0, b"12345678", 0)),
    *(frame(7, 0, b"\0\0\0\1\0\0\0\0", 0), frame(7, 0, bytes(8), 0), frame(8, 0, b"\0\0\0\1"), frame(77, 0, b"x")),
]
HEADS = [
    frame(1, 4, b"\x88"),
    frame(1, 0, b"\x88") + frame(9, 4),
    frame(1, 4, b"\x88\x0f\x0d\x0240"),  # content-length: 40
    frame(1, 5, b"\x88"),
    frame(1, 4, b"\x08\x03103") + frame(1, 4, b"\x88"),
    b"",
]


class Slow(FrameReader):
    """h2 sees every frame."""

    direct = property(lambda self: None, lambda self, frames: None)  # type: ignore[assignment]


def told(client: Http2Connection, reads: Iterable[bytes]) -> list[Any]:
    """What came of each read, and what is answered; pieces of the body that came together are one."""
    out: list[Any] = []
    for data in reads:
        arrivals = client.receive(data, 1, kernel=True)
        body = b"".join(arrival.data for arrival in arrivals if isinstance(arrival, Data))  # type: ignore[misc]
        pieces = [arrival.pieces for arrival in arrivals if isinstance(arrival, Read)]
        others = [repr(arrival) for arrival in arrivals if not isinstance(arrival, Data | Read)]
        out.append((body, pieces, others, client.outgoing(), client.usable, client.unanswered))
    return out


@pytest.mark.parametrize("method", ["POST", "HEAD"])
@pytest.mark.parametrize("head", HEADS)
def test_what_h2_need_not_see_is_what_it_would_have_said_nothing_about(
    monkeypatch: pytest.MonkeyPatch, head: bytes, method: str
) -> None:
    saved = 0
    for seed in range(3 * len(UNUSUAL)):
        rng = random.Random(seed)
        frames = rng.choices(USUAL, k=12)
        for number, place in enumerate(sorted(rng.sample(range(12), seed % 3))):
            frames[place] = rng.choice(UNUSUAL) if number else UNUSUAL[seed // 3]
        written = frame(4, 0, b"", 0) + head + b"".join(frames)
        cuts = sorted(rng.sample(range(1, len(written)), rng.choice([0, 3, 12])))
        reads = [written[begin:end] for begin, end in pairwise([0, *cuts, len(written)])]
        results = []
        for reader in (FrameReader, Slow):
            monkeypatch.setattr("streambench.transport.http2.FrameReader", reader)
            client = Http2Connection(ENDPOINT)
            client.request(WHERE, Request(method), {})
            counting = Counting(client)
            results.append(told(client, reads))
            saved += counting.seen if reader is Slow else -counting.seen
        assert results[0] == results[1]
    can_save = method == "POST" and head in (HEADS[0], HEADS[1], HEADS[4])
    assert (saved > 100_000) is can_save


class Counting:
    """Counts the bytes of large frames that h2 sees."""

    def __init__(self, client: Http2Connection) -> None:
        self.seen = 0
        self._receive = client._h2.receive_data
        client._h2.receive_data = self.receive  # type: ignore[method-assign]

    def receive(self, data: bytes) -> Any:
        self.seen += len(data)
        return self._receive(data)


def test_windows_are_opened_again_for_what_h2_has_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streambench.transport.http2.REOPEN_BYTES", 40_000)
    client = Http2Connection(ENDPOINT)
    server = Server(client)
    client.receive(server.written, 1, kernel=True)
    for _ in range(3):
        windows = []
        for _ in range(20):
            server.h2.send_data(server.stream, b"x" * 10_000)
            client.receive(server.h2.data_to_send(), 1, kernel=True)
            server.h2.receive_data(client.outgoing())  # raises where more is opened than was used
            stream = server.h2._get_stream_by_id(server.stream)
            windows += [server.h2.outbound_flow_control_window, stream.outbound_flow_control_window]
        assert min(windows) > WINDOW_BYTES - 2 * 40_000
        server.h2.end_stream(server.stream)
        client.receive(server.h2.data_to_send(), 1, kernel=True)
        server.stream = server.asked(client)


@pytest.mark.parametrize("split", [True, False])
def test_what_came_before_a_broken_frame_is_told_however_it_was_read(split: bool) -> None:
    client = Http2Connection(ENDPOINT)
    server = Server(client)
    server.h2.send_data(server.stream, b"good")
    good, bad = server.written + server.h2.data_to_send(), b"\0\0\1\x04\0\0\0\0\0x"  # settings of one byte
    reads = [good, bad] if split else [good + bad]
    arrivals = [arrival for data in reads for arrival in client.receive(data, 1, kernel=True)]
    assert [arrival.data for arrival in arrivals if isinstance(arrival, Data)] == [b"good"]
    assert [arrival.error for arrival in arrivals if isinstance(arrival, Failed)] == ["protocol"]


def test_a_response_goes_on_after_the_server_has_said_that_it_takes_no_more_requests() -> None:
    client = Http2Connection(ENDPOINT)
    server = Server(client)
    going_away = frame(7, 0, server.stream.to_bytes(4) + bytes(4), 0)
    reads = [server.written, going_away, frame(0, 0, b"the "), frame(0, 8, b"\0rest"), frame(0, 1, b".")]
    assert taken(client, reads) == (b"the rest.", 3, True)
    assert not client.usable


def test_frames_of_a_response_that_nobody_waits_for_are_not_counted_as_the_next_ones() -> None:
    client = Http2Connection(ENDPOINT)
    server = Server(client)
    client.receive(server.written, 1, kernel=True)
    for _ in range(5):
        server.h2.send_data(server.stream, b"old")
    late = server.h2.data_to_send()
    client.abandon()
    server.h2.receive_data(client.outgoing())
    following = server.asked(client)
    server.h2.send_data(following, b"new")
    server.h2.send_data(following, b"er", end_stream=True)
    assert taken(client, [late + server.h2.data_to_send()]) == (b"newer", 2, True)


@pytest.mark.parametrize("pad_length", [None, 3])
def test_too_many_frames_are_a_flood_whether_h2_sees_them_or_not(pad_length: int | None) -> None:
    client = Http2Connection(Endpoint("http://localhost/", http=2, limits=WireLimits(max_frames_per_s=5)))
    server = Server(client)
    for _ in range(100):
        server.h2.send_data(server.stream, b"x", pad_length=pad_length)
    arrivals = client.receive(server.written + server.h2.data_to_send(), 1, kernel=True)
    (failed,) = (arrival for arrival in arrivals if isinstance(arrival, Failed))
    assert failed.error == "flood"
