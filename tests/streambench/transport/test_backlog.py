"""Read first, decode behind: order, slices, bounds, and decisions that wait for what was read."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from streambench.transport.aio import backlog as module
from streambench.transport.aio.backlog import Backlog, running_backlog
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
    backlog, kept = running_backlog(), Kept()
    for number in range(5):
        backlog.add(kept, b"x" * number, number, number % 2 == 0)
    assert kept.came == []
    await turns(2)
    assert kept.came == [(b"x" * number, number, number % 2 == 0) for number in range(5)]
    assert running_backlog() is backlog


async def test_others_run_between_two_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLICE_NS", 0)  # a slice is one delivery
    backlog, order = running_backlog(), []
    loop = asyncio.get_running_loop()

    def deliver(data: bytes, at_ns: int, flag: bool, early_ns: int) -> None:
        order.append(at_ns)
        loop.call_soon(order.append, -1)

    for number in range(3):
        backlog.add(deliver, b"", number, False)
    await turns(6)
    assert order == [0, -1, 1, -1, 2, -1]


async def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    backlog, kept = Backlog(asyncio.get_running_loop()), Kept()
    for number in range(50):
        backlog.make_room()
        backlog.add(kept, b"x" * 30, number, False)
    assert len(kept.came) == 46
    await turns(2)
    assert [at_ns for _, at_ns, _ in kept.came] == list(range(50))


async def test_a_failure_of_one_does_not_hold_the_others_up() -> None:
    backlog, kept = running_backlog(), Kept()
    told: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))

    def fails(data: bytes, at_ns: int, flag: bool, early_ns: int) -> None:
        raise ValueError("a bug")

    backlog.add(fails, b"", 0, False)
    backlog.add(kept, b"behind", 1, False)
    await turns(4)
    assert [str(error) for error in told] == ["a bug"]
    assert len(kept.came) == 1


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
        while not connection._behind:
            await asyncio.sleep(0)


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backlog is worked off by nobody but those who settle."""
    monkeypatch.setattr(Backlog, "_work", lambda self: None)


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
        before = connection._behind
        async with asyncio.timeout(60):
            while connection._behind == before:
                await asyncio.sleep(0)
    connection.settle()
    assert (layer.data, layer.ends) == (b"x", [])
