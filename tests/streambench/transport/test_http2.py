"""HTTP/2 from bytes to arrivals: what frames bring does not depend on how they were read."""

from __future__ import annotations

import random
from collections.abc import Iterable

import h2.config
import h2.connection
import h2.events
import pytest

from streambench.transport.arrivals import Data, Ended, Failed, Read
from streambench.transport.http2 import Http2Connection
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


@pytest.mark.parametrize("pad_length", [None, 0, 9, 255])
def test_frames_of_a_read_are_one_arrival(pad_length: int | None) -> None:
    client = Http2Connection(ENDPOINT)
    server = Server(client)
    for n in range(100):
        server.h2.send_data(server.stream, b"%03d" % n, pad_length=pad_length)
    arrivals = client.receive(server.written + server.h2.data_to_send(), 1, kernel=True)
    (read,) = (arrival for arrival in arrivals if isinstance(arrival, Read))
    (data,) = (arrival for arrival in arrivals if isinstance(arrival, Data))
    assert data.data == b"".join(b"%03d" % n for n in range(100))
    assert read.pieces == 100


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


def test_too_many_frames_are_a_flood_whether_they_were_joined_or_not() -> None:
    client = Http2Connection(Endpoint("http://localhost/", http=2, limits=WireLimits(max_frames_per_s=5)))
    server = Server(client)
    for _ in range(100):
        server.h2.send_data(server.stream, b"x")
    arrivals = client.receive(server.written + server.h2.data_to_send(), 1, kernel=True)
    (failed,) = (arrival for arrival in arrivals if isinstance(arrival, Failed))
    assert failed.error == "flood"
