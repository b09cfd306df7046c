"""The stamped connection: every byte once and in order, with the moment at which it arrived."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from streambench.transport import stamps
from streambench.transport.aio.connection import StampedConnection
from streambench.transport.stamps import RealtimeOffset, enable_kernel_stamps, kernel_stamp_ns

MS = 1_000_000
S = 1_000_000_000
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kernel stamps are Linux's")


@dataclass
class Kept:
    """A layer that keeps what it is told."""

    data: bytearray = field(default_factory=bytearray)
    reads: list[tuple[int, int, bool]] = field(default_factory=list)
    ends: list[tuple[int, bool]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    on_data: Callable[[], None] = lambda: None

    def received(self, data: bytes, at_ns: int, *, kernel: bool, early_ns: int) -> None:
        assert not self.ends
        self.data += data
        self.reads.append((len(data), at_ns, kernel))
        self.changed.set()
        self.on_data()

    def closed(self, at_ns: int, *, reset: bool) -> None:
        self.ends.append((at_ns, reset))
        self.changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self.changed.clear()
            await self.changed.wait()


@dataclass
class Pair:
    """A connection over loopback TCP, and its peer's socket."""

    connection: StampedConnection
    layer: Kept
    peer: socket.socket

    def reset(self) -> None:
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.peer.close()


MakePair = Callable[..., Awaitable[Pair]]


@pytest.fixture
async def listener() -> AsyncIterator[socket.socket]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.setblocking(False)
        yield listening


@pytest.fixture
async def pair(listener: socket.socket) -> AsyncIterator[MakePair]:
    made: list[Pair] = []

    async def make(wanted: str = "auto") -> Pair:
        layer = Kept()
        port = listener.getsockname()[1]
        connection = await StampedConnection.connect("127.0.0.1", port, layer, wanted)  # type: ignore[arg-type]
        peer, _ = await asyncio.get_running_loop().sock_accept(listener)
        peer.setblocking(False)
        made.append(Pair(connection, layer, peer))
        return made[-1]

    yield make
    for one in made:
        one.connection.close()
        one.peer.close()


@linux
async def test_the_stamp_is_the_moment_of_arrival_and_not_that_of_reading(pair: MakePair) -> None:
    both = await pair()
    loop = asyncio.get_running_loop()
    while not (both.layer.reads and both.layer.reads[-1][2]):
        # The kernel begins to stamp with a delay when the first socket asks for it.
        await loop.sock_sendall(both.peer, b"x")
        sent = len(both.layer.reads) + 1
        await both.layer.until(lambda: len(both.layer.reads) >= sent)  # noqa: B023
    both.layer.reads.clear()
    for i in range(3):
        before_ns = time.monotonic_ns()
        await loop.sock_sendall(both.peer, b"x")
        after_ns = time.monotonic_ns()
        # The reader is kept from its work for a while.
        while time.monotonic_ns() < after_ns + 20 * MS:
            pass
        await both.layer.until(lambda: len(both.layer.reads) == i + 1)  # noqa: B023
        size, at_ns, kernel = both.layer.reads[i]
        assert (size, kernel) == (1, True)
        # Two clocks are compared, one of them slewed; 5 ms is far from the 20 ms of the delay.
        assert before_ns - 5 * MS <= at_ns <= after_ns + 5 * MS


async def test_stamps_of_our_own_where_they_are_wanted(pair: MakePair) -> None:
    both = await pair("user")
    before_ns = time.monotonic_ns()
    await asyncio.get_running_loop().sock_sendall(both.peer, b"x")
    await both.layer.until(lambda: bool(both.layer.reads))
    assert not both.layer.reads[0][2]
    assert before_ns <= both.layer.reads[0][1] <= time.monotonic_ns()


async def test_much_data_comes_whole_and_lets_others_run(pair: MakePair) -> None:
    both = await pair()
    data = bytes(range(256)) * (1 << 16)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.create_task(other())
    await asyncio.get_running_loop().sock_sendall(both.peer, data)
    await both.layer.until(lambda: len(both.layer.data) == len(data))
    running.cancel()
    assert bytes(both.layer.data) == data
    assert turns > 3


async def test_what_is_written_is_sent_in_order_however_slowly_it_is_taken(pair: MakePair) -> None:
    both = await pair()
    loop = asyncio.get_running_loop()
    data = [bytes([i]) * (1 << 20) for i in range(16)]
    for piece in data:
        both.connection.write(piece)
    assert both.connection.unsent_bytes > 0
    flushed = asyncio.create_task(both.connection.flushed())
    got = bytearray()
    while len(got) < 16 << 20:
        got += await loop.sock_recv(both.peer, 1 << 18)
    assert await flushed is True
    assert both.connection.unsent_bytes == 0
    assert bytes(got) == b"".join(data)
    both.connection.write(b"little")
    assert await both.connection.flushed() is False


class TakesTheCpu:
    """A socket whose peer is woken by what it gets, and has the CPU before the call returns."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def sendmsg(self, *words: Any) -> int:
        sent = self._sock.sendmsg(*words)
        until_ns = time.monotonic_ns() + 20 * MS
        while time.monotonic_ns() < until_ns:
            pass
        return sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


@linux
async def test_a_request_has_left_when_the_kernel_says_and_not_when_the_call_returns(pair: MakePair) -> None:
    both = await pair()
    both.connection._sock = TakesTheCpu(both.connection._sock)  # type: ignore[assignment]
    for _ in range(3):
        before_ns = time.monotonic_ns()
        left_ns = both.connection.send(b"request")
        assert before_ns <= left_ns < time.monotonic_ns() - 10 * MS
    assert await asyncio.get_running_loop().sock_recv(both.peer, 100) == b"request" * 3


async def test_a_request_without_a_stamp_has_left_when_the_call_returns(pair: MakePair) -> None:
    both = await pair("user")
    before_ns = time.monotonic_ns()
    assert before_ns <= both.connection.send(b"request") <= time.monotonic_ns()
    assert await asyncio.get_running_loop().sock_recv(both.peer, 100) == b"request"


async def test_a_request_that_the_kernel_takes_in_pieces_is_sent_whole(pair: MakePair) -> None:
    both = await pair()
    loop = asyncio.get_running_loop()
    data = bytes(range(256)) * (1 << 16)
    both.connection.send(data)
    assert both.connection.unsent_bytes > 0
    got = bytearray()
    while len(got) < len(data):
        got += await loop.sock_recv(both.peer, 1 << 18)
    assert bytes(got) == data
    assert await both.connection.flushed() in (True, False)
    both.peer.close()
    await both.layer.until(lambda: bool(both.layer.ends))
    both.connection.send(b"lost")


@linux
async def test_a_stamp_that_comes_late_keeps_nobody_awake(pair: MakePair, monkeypatch: pytest.MonkeyPatch) -> None:
    both = await pair()
    with monkeypatch.context() as patch:
        patch.setattr("streambench.transport.aio.connection.write_stamp_ns", lambda _: None)
        both.connection.send(b"request")
    looked = 0
    read = both.connection._read

    def look() -> None:
        nonlocal looked
        looked += 1
        read()

    asyncio.get_running_loop().add_reader(both.connection._sock.fileno(), look)
    for _ in range(50):
        await asyncio.sleep(0)
    assert looked <= 2


async def test_an_orderly_end(pair: MakePair) -> None:
    both = await pair()
    await asyncio.get_running_loop().sock_sendall(both.peer, b"last words")
    both.peer.close()
    await both.layer.until(lambda: bool(both.layer.ends))
    assert both.layer.data == b"last words"
    assert [reset for _, reset in both.layer.ends] == [False]
    assert not both.connection.open
    assert both.layer.ends[0][0] >= both.layer.reads[-1][1]


async def test_a_reset(pair: MakePair) -> None:
    both = await pair()
    both.reset()
    await both.layer.until(lambda: bool(both.layer.ends))
    assert [reset for _, reset in both.layer.ends] == [True]
    both.connection.write(b"to nobody")
    assert await both.connection.flushed() is False
    assert len(both.layer.ends) == 1


async def test_a_reset_while_much_is_unsent_lets_nobody_wait(pair: MakePair) -> None:
    both = await pair()
    both.connection.write(b"x" * (32 << 20))
    flushed = asyncio.create_task(both.connection.flushed())
    await asyncio.sleep(0)
    both.reset()
    assert await flushed is True
    assert [reset for _, reset in both.layer.ends] == [True]


async def test_closing_is_seen_by_the_peer_at_once_and_told_to_nobody_here(pair: MakePair) -> None:
    both = await pair()
    both.connection.close()
    both.connection.close()
    assert await asyncio.get_running_loop().sock_recv(both.peer, 10) == b""
    assert both.layer.ends == []
    both.connection.write(b"too late")


async def test_closing_while_much_is_unsent_lets_nobody_wait(pair: MakePair) -> None:
    both = await pair()
    both.connection.write(b"x" * (32 << 20))
    flushed = asyncio.create_task(both.connection.flushed())
    await asyncio.sleep(0)
    both.connection.close()
    await flushed


async def test_a_layer_that_closes_gets_nothing_more(pair: MakePair) -> None:
    both = await pair()
    both.layer.on_data = both.connection.close
    await asyncio.get_running_loop().sock_sendall(both.peer, b"x" * 1000)
    await both.layer.until(lambda: bool(both.layer.reads))
    await asyncio.sleep(0)
    assert len(both.layer.reads) == 1
    assert both.layer.ends == []


async def test_the_layer_may_be_replaced(pair: MakePair) -> None:
    both = await pair()
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(both.peer, b"one")
    await both.layer.until(lambda: len(both.layer.data) == 3)
    second = Kept()
    both.connection.layer = second
    await loop.sock_sendall(both.peer, b"two")
    await second.until(lambda: len(second.data) == 3)
    assert (bytes(both.layer.data), bytes(second.data)) == (b"one", b"two")


async def test_every_address_of_a_host_is_tried(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket() as refused:  # bound and not listening
        refused.bind(("127.0.0.1", 0))
        kind = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        both = [(*kind, refused.getsockname()), (*kind, listener.getsockname())]

        async def resolve(*_: object, **__: object) -> object:
            return both

        monkeypatch.setattr(loop, "getaddrinfo", resolve)
        connection = await StampedConnection.connect("two.test", 1, Kept(), "auto")
        connection.close()
        both.pop()
        with pytest.raises(ConnectionRefusedError):
            await StampedConnection.connect("two.test", 1, Kept(), "auto")
        both.clear()
        with pytest.raises(OSError, match="no address"):
            await StampedConnection.connect("two.test", 1, Kept(), "auto")


# Stamps


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets what CLOCK_REALTIME is ahead of CLOCK_MONOTONIC."""

    def set_offset(offset_ns: int) -> None:
        monkeypatch.setattr(stamps, "_sample_offset_ns", lambda: offset_ns)
        monkeypatch.setattr(time, "monotonic_ns", lambda: 0)

    return set_offset


def test_a_stamp_of_the_real_time_clock_on_ours(clocks: Callable[[int], None]) -> None:
    clocks(1000 * S)
    offset = RealtimeOffset()
    assert offset.to_monotonic(1000 * S + 7, now_ns=50) == 7
    # An arrival is never later than the read that brought it, but clocks are not exact.
    assert offset.to_monotonic(1000 * S + 70, now_ns=50) == 50
    assert offset.to_monotonic(1000 * S + 50 + 2 * MS, now_ns=50) is None


def test_a_slewed_clock_is_followed(clocks: Callable[[int], None]) -> None:
    clocks(1000 * S)
    offset = RealtimeOffset()
    clocks(1000 * S + 50_000)
    assert offset.to_monotonic(1000 * S + 60_000, now_ns=100_000) == 60_000  # not sampled again yet
    now_ns = 200 * MS
    assert offset.to_monotonic(1000 * S + 50_000 + now_ns - 5, now_ns) == now_ns - 5
    assert offset.steps == 0


def test_a_stepped_clock_is_noticed_and_not_believed_once(clocks: Callable[[int], None]) -> None:
    clocks(1000 * S)
    offset = RealtimeOffset()
    clocks(1500 * S)
    now_ns = 200 * MS
    assert offset.to_monotonic(1000 * S + now_ns, now_ns) is None
    assert offset.steps == 1
    assert offset.to_monotonic(1500 * S + now_ns - 3, now_ns) == now_ns - 3


def test_the_stamp_among_the_ancillary_data() -> None:
    stamp = (socket.SOL_SOCKET, 35, struct.pack("@qq", 12, 345))
    assert kernel_stamp_ns([stamp]) == 12 * S + 345
    assert kernel_stamp_ns([(socket.SOL_SOCKET, 1, b"x"), stamp]) == 12 * S + 345
    assert kernel_stamp_ns([]) is None
    assert kernel_stamp_ns([(socket.SOL_SOCKET, 35, b"short")]) is None


def test_where_there_are_no_kernel_stamps(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as sock:
        monkeypatch.setattr(sys, "platform", "darwin")
        assert not enable_kernel_stamps(sock)
        monkeypatch.setattr(sys, "platform", "linux")
    assert not enable_kernel_stamps(sock)  # closed: the kernel refuses
