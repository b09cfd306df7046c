"""The connection that waits: what of its times is its own doing."""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
import termios
import time
from collections.abc import Iterator

import pytest

from streambench.transport.blocking import BlockingConnection
from streambench.transport.segments import round_trip_ns
from streambench.transport.target import Endpoint, locate

S = 1_000_000_000
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts segments and measures handshakes")


@pytest.fixture
def pair() -> Iterator[tuple[BlockingConnection, socket.socket]]:
    """A connection, and its other end, whose every write is a segment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        endpoint = Endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}/")
        connection = BlockingConnection.connect(endpoint, locate(endpoint.url), ())
        peer, _ = listener.accept()
        with peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield connection, peer
        connection.close()


def sent(peer: socket.socket, *pieces: bytes) -> None:
    """Write the pieces, and wait until they are with the other end's kernel."""
    for piece in pieces:
        peer.sendall(piece)
    while struct.unpack("i", fcntl.ioctl(peer, termios.TIOCOUTQ, b"\0\0\0\0"))[0]:
        time.sleep(0.001)


def test_pieces_that_were_read_late_may_have_waited(pair: tuple[BlockingConnection, socket.socket]) -> None:
    connection, peer = pair
    until_ns = time.monotonic_ns() + 30 * S
    sent(peer, b"a")
    first = connection.receive(until_ns)
    assert (first.data, first.early_ns) == (b"a", 0)
    empty_ns = time.monotonic_ns()
    sent(peer, b"one ", b"two ")
    late = connection.receive(until_ns)
    assert late.data == b"one two "
    assert late.early_ns > 0
    assert late.at_ns - late.early_ns <= empty_ns  # nothing had come by then
    sent(peer, b"one two three four five ")
    assert connection.receive(until_ns).early_ns == 0


def test_of_connecting_only_the_handshake_is_not_ours(pair: tuple[BlockingConnection, socket.socket]) -> None:
    connection, peer = pair
    assert 0 < connection.own_ns < 30 * S
    assert 0 < round_trip_ns(peer) < S
    with socket.socket(socket.AF_UNIX) as other:
        assert round_trip_ns(other) == 0
