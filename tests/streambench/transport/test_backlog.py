"""Read first, decode behind: order, slices, bounds, and decisions that wait for what was read."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from streambench.transport.aio import backlog as module
from streambench.transport.aio import connection as connection_module
from streambench.transport.aio.backlog import Backlog, backlog_of
from streambench.transport.aio.connection import StampedConnection


@dataclass
class Kept:
    """What was delivered, in order."""

    came: list[tuple[bytes, int, bool]] = field(default_factory=list)

    def __call__(self, data: bytes, at_ns: int, flag: bool, early_ns: int) -> None:
        self.came.append((data, at_ns, flag))


async def turns(count: int = 1) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_was_added_is_delivered_later_and_in_order() -> None:
    backlog, kept = backlog_of(asyncio.get_running_loop()), Kept()
    line = backlog.line()
    for number in range(5):
        line.add(kept, b"x" * number, number, number % 2 == 0)
    assert kept.came == []
    async with asyncio.timeout(60):
        while len(kept.came) < 5:
            await turns()
    assert kept.came == [(b"x" * number, number, number % 2 == 0) for number in range(5)]
    assert backlog_of(asyncio.get_running_loop()) is backlog


async def test_others_run_between_two_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE_NS", 1)
    monkeypatch.setattr(module, "TURN_NS", 0)  # a slice is one delivery
    line, order = backlog_of(asyncio.get_running_loop()).line(), []
    loop = asyncio.get_running_loop()

    def deliver(data: bytes, at_ns: int, flag: bool, early_ns: int) -> None:
        order.append(at_ns)
        loop.call_soon(order.append, -1)

    for number in range(3):
        line.add(deliver, b"", number, False)
    await turns(6)
    assert order == [0, -1, 1, -1, 2, -1]


async def test_lines_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN_NS", 0)  # a turn is one delivery
    backlog, kept = backlog_of(asyncio.get_running_loop()), Kept()
    flooding, healthy = backlog.line(), backlog.line()
    for number in range(100):
        flooding.add(kept, b"x", number, False)
    healthy.add(kept, b"", 1000, False)
    healthy.add(kept, b"", 1001, False)
    async with asyncio.timeout(60):
        while len(kept.came) < 102:
            await turns()
    assert [at_ns for _, at_ns, _ in kept.came][:5] == [0, 1000, 1, 1001, 2]


async def test_a_turn_delivers_what_is_soon_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TURN_NS", 1 << 60)
    backlog, kept = backlog_of(asyncio.get_running_loop()), Kept()
    one, other = backlog.line(), backlog.line()
    for number in range(3):
        one.add(kept, b"", number, False)
        other.add(kept, b"", 10 + number, False)
    async with asyncio.timeout(60):
        while len(kept.came) < 6:
            await turns()
    assert [at_ns for _, at_ns, _ in kept.came] == [0, 1, 2, 10, 11, 12]


async def test_the_rest_of_what_is_delivered_comes_before_what_was_read_after_it() -> None:
    line, kept = backlog_of(asyncio.get_running_loop()).line(), Kept()

    def deliver(data: bytes, at_ns: int, flag: bool, early_ns: int) -> None:
        line.add_first(kept, b"rest", at_ns, flag)

    line.add(deliver, b"", 0, False)
    line.add(kept, b"behind", 1, False)
    line.settle()
    assert [data for data, _, _ in kept.came] == [b"rest", b"behind"]


async def test_settling_leaves_the_others_where_they_are() -> None:
    backlog, kept = backlog_of(asyncio.get_running_loop()), Kept()
    one, other = backlog.line(), backlog.line()
    other.add(kept, b"other", 0, False)
    one.add(kept, b"one", 1, False)
    one.settle()
    assert [data for data, _, _ in kept.came] == [b"one"]


async def test_what_waits_is_bounded_for_each_and_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_LINE_BYTES", 100)
    monkeypatch.setattr(module, "MAX_BYTES", 150)
    monkeypatch.setattr(module, "FAIR_LINE_BYTES", 20)
    backlog, kept = backlog_of(asyncio.get_running_loop()), Kept()
    one, other = backlog.line(), backlog.line()
    one.add(kept, b"x" * 90, 0, False)
    assert not one.full
    one.add(kept, b"x" * 30, 0, False)
    assert one.full
    other.add(kept, b"x" * 20, 0, False)
    assert not other.full
    other.add(kept, b"x" * 20, 0, False)
    assert other.full
    one.settle()
    assert (one.full, other.full) == (False, False)


@pytest.mark.parametrize(("long_ns", "short_ns", "grows"), [(1, 0, False), (1 << 60, 1 << 60, True)])
async def test_what_is_read_at_once_follows_how_long_it_takes(
    monkeypatch: pytest.MonkeyPatch, long_ns: int, short_ns: int, grows: bool
) -> None:
    monkeypatch.setattr(module, "LONG_NS", long_ns)
    monkeypatch.setattr(module, "SHORT_NS", short_ns)
    line, kept = backlog_of(asyncio.get_running_loop()).line(), Kept()
    for _ in range(10):
        line.add(kept, b"x" * line.read_bytes, 0, False)
        async with asyncio.timeout(60):
            while kept.came == []:
                await turns()
        kept.came.clear()
    assert line.read_bytes == (module.MAX_READ_BYTES if grows else module.MIN_READ_BYTES)


async def test_a_failure_of_one_does_not_hold_the_others_up() -> None:
    line, kept = backlog_of(asyncio.get_running_loop()).line(), Kept()
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))

    def fails(data: bytes, at_ns: int, flag: bool, early_ns: int) -> None:
        raise ValueError("a bug")

    line.add(fails, b"", 0, False)
    line.add(kept, b"behind", 1, False)
    async with asyncio.timeout(60):
        while not kept.came:
            await turns()
    assert [str(error) for error in told] == ["a bug"]


@dataclass
class Layer:
    """Notes what it is told."""

    data: bytes = b""
    ends: list[bool] = field(default_factory=list)
    on_data: Callable[[], None] = lambda: None

    def received(self, data: bytes, at_ns: int, *, kernel: bool, early_ns: int) -> None:
        self.data += data
        self.on_data()

    def closed(self, at_ns: int, *, reset: bool) -> None:
        self.ends.append(reset)


@pytest.fixture
async def pair() -> AsyncIterator[tuple[StampedConnection, Layer, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        layer = Layer()
        connection = await StampedConnection.connect("127.0.0.1", listening.getsockname()[1], layer, "auto")
        peer, _ = listening.accept()
        with peer:
            yield connection, layer, peer
        connection.close()


async def read_but_not_delivered(connection: StampedConnection) -> None:
    """Let the socket be read; what it brought stays behind."""
    async with asyncio.timeout(60):
        while not connection._line._waiting:
            await asyncio.sleep(0)


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backlog is worked off by nobody but those who settle."""
    monkeypatch.setattr(Backlog, "work", lambda self: None)


@pytest.mark.usefixtures("stopped")
async def test_settling_delivers_what_was_read(pair: tuple[StampedConnection, Layer, socket.socket]) -> None:
    connection, layer, peer = pair
    peer.sendall(b"late")
    await read_but_not_delivered(connection)
    assert layer.data == b""
    connection.settle()
    assert layer.data == b"late"
    connection.settle()
    assert layer.data == b"late"


@pytest.mark.usefixtures("stopped")
async def test_an_end_is_told_behind_what_came_before(pair: tuple[StampedConnection, Layer, socket.socket]) -> None:
    connection, layer, peer = pair
    peer.sendall(b"last words")
    peer.close()
    async with asyncio.timeout(60):
        while connection.open:
            await asyncio.sleep(0)
    assert (layer.data, layer.ends) == (b"", [])
    connection.settle()
    assert (layer.data, layer.ends) == (b"last words", [False])


@pytest.mark.usefixtures("stopped")
async def test_after_closing_nothing_is_told(pair: tuple[StampedConnection, Layer, socket.socket]) -> None:
    connection, layer, peer = pair
    peer.sendall(b"too late")
    await read_but_not_delivered(connection)
    connection.close()
    connection.settle()
    assert (layer.data, layer.ends) == (b"", [])


@pytest.mark.usefixtures("stopped")
async def test_a_layer_that_closes_hears_no_more(pair: tuple[StampedConnection, Layer, socket.socket]) -> None:
    connection, layer, peer = pair
    layer.on_data = connection.close
    for _ in range(2):
        peer.sendall(b"x")
        before = len(connection._line._waiting)
        async with asyncio.timeout(60):
            while len(connection._line._waiting) == before:
                await asyncio.sleep(0)
    connection.settle()
    assert (layer.data, layer.ends) == (b"x", [])


@pytest.mark.usefixtures("stopped")
async def test_a_server_waits_while_too_much_of_it_does(
    pair: tuple[StampedConnection, Layer, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LINE_BYTES", 3)
    monkeypatch.setattr(connection_module, "FAIR_LINE_BYTES", 0)  # less is never too much
    connection, layer, peer = pair
    for number in range(1, 4):
        peer.sendall(b"ab")
        async with asyncio.timeout(60):
            while len(connection._line._waiting) < min(number, 2):
                await asyncio.sleep(0)
    await turns(100)
    assert len(connection._line._waiting) == 2
    connection.settle()
    await read_but_not_delivered(connection)
    connection.settle()
    assert layer.data == b"ababab"
