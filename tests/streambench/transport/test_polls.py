"""The loop that knows until when a socket was empty, and the count of segments: what was late and what was not."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Callable

import pytest

from streambench.transport.aio.connection import StampedConnection
from streambench.transport.aio.polls import PolledLoop, Polls, run_polled
from streambench.transport.segments import SegmentCount

MS = 1_000_000
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="segments are counted on Linux")


def busy(for_ms: float) -> None:
    """Keep the loop from polling."""
    until_ns = time.monotonic_ns() + for_ms * MS
    while time.monotonic_ns() < until_ns:
        pass


class Kept:
    """A layer that keeps what it is told."""

    def __init__(self) -> None:
        self.reads: list[tuple[bytes, int]] = []
        self.changed = asyncio.Event()

    def received(self, data: bytes, at_ns: int, *, kernel: bool, early_ns: int) -> None:
        self.reads.append((data, early_ns))
        self.changed.set()

    def closed(self, at_ns: int, *, reset: bool) -> None: ...


def exchange(act: Callable[[socket.socket], None]) -> list[tuple[bytes, int]]:
    """What a connection on a polled loop reads, where its peer writes in the middle of our work."""

    async def main() -> list[tuple[bytes, int]]:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            kept = Kept()
            connection = await StampedConnection.connect("127.0.0.1", listening.getsockname()[1], kept, "auto")
            peer, _ = listening.accept()
            with peer:
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for _ in range(3):
                    peer.send(b"0" * 10)
                    await asyncio.sleep(0.005)
                kept.reads.clear()
                kept.changed.clear()
                act(peer)
                await kept.changed.wait()
                connection.close()
        return kept.reads

    return run_polled(main())


@linux
def test_what_came_apart_and_was_read_together_may_have_come_early() -> None:
    def act(peer: socket.socket) -> None:
        peer.send(b"1" * 10)
        busy(20)
        peer.send(b"2" * 10)

    ((data, early_ns),) = exchange(act)
    assert len(data) == 20
    assert early_ns >= 19 * MS


@linux
def test_what_the_server_has_joined_is_not_ours_however_late_it_is_read() -> None:
    def act(peer: socket.socket) -> None:
        busy(10)
        peer.send(b"1" * 10 + b"2" * 10)
        busy(10)

    assert exchange(act) == [(b"1" * 10 + b"2" * 10, 0)]


@linux
def test_segments_are_counted_read_by_read() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
        theirs.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        counted = SegmentCount(ours)
        for writes, several in (([900], False), ([100, 100], True), ([100], False), ([250], False), ([99, 101], True)):
            for size in writes:
                theirs.send(b"x" * size)
            assert counted.several(len(ours.recv(1 << 16))) is several
        theirs.send(b"x" * 100)
        counted.one(len(ours.recv(1 << 16)))
        theirs.send(b"x" * 500)
        assert not counted.several(len(ours.recv(1 << 16)))
        ours.close()
        theirs.close()


def test_a_poll_that_had_to_wait_says_since_when_there_was_nothing() -> None:
    polls = Polls()
    ours, theirs = socket.socketpair()
    try:
        polls.register(ours, 1)
        before_ns = time.monotonic_ns()
        assert polls.select(0.005) == []
        theirs.send(b"x")
        assert len(polls.select(None)) == 1
        assert before_ns <= polls.empty_ns <= time.monotonic_ns()
    finally:
        polls.close()
        ours.close()
        theirs.close()


def test_the_loop_of_a_run_is_one_that_knows_its_polls() -> None:
    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert isinstance(run_polled(loop()), PolledLoop)
