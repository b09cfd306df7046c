"""Sockets behind one reader of the loop: each is read when there is something, and none holds the others up."""

from __future__ import annotations

import asyncio
import select
import socket
from typing import Any

import pytest

from streambench.transport.aio.backlog import backlog_of
from streambench.transport.aio.polls import run_polled
from streambench.transport.aio.readers import Readers

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="only Linux has epoll")


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


def test_each_is_read_for_as_long_as_it_wants_to_be() -> None:
    async def main() -> None:
        readers = Readers(asyncio.get_running_loop(), backlog_of(asyncio.get_running_loop()))
        pairs = [socket.socketpair() for _ in range(3)]
        came: list[tuple[int, bytes]] = []
        for number, (ours, _) in enumerate(pairs):
            ours.setblocking(False)
            readers.add_reader(ours.fileno(), lambda n=number, s=ours: came.append((n, s.recv(10))))  # type: ignore[misc]
        for number, (_, theirs) in enumerate(pairs):
            theirs.send(b"%d" % number)
        await until(lambda: len(came) == 3)
        assert sorted(came) == [(0, b"0"), (1, b"1"), (2, b"2")]
        readers.remove_reader(pairs[1][0].fileno())
        readers.remove_reader(pairs[1][0].fileno())
        came.clear()
        for _, theirs in pairs:
            theirs.send(b"x")
        await until(lambda: len(came) == 2)
        assert sorted(number for number, _ in came) == [0, 2]
        readers.close()
        for pair in pairs:
            for one in pair:
                one.close()

    run_polled(main())


def test_one_that_another_has_removed_is_not_read_any_more() -> None:
    async def main() -> None:
        readers = Readers(asyncio.get_running_loop(), backlog_of(asyncio.get_running_loop()))
        pairs = [socket.socketpair() for _ in range(2)]
        read: list[int] = []

        def read_alone(number: int) -> None:
            read.append(number)
            for ours, _ in pairs:
                readers.remove_reader(ours.fileno())

        for number, (ours, theirs) in enumerate(pairs):
            theirs.send(b"x")
            readers.add_reader(ours.fileno(), lambda n=number: read_alone(n))  # type: ignore[misc]
        await until(lambda: read)
        await asyncio.sleep(0)
        assert len(read) == 1
        readers.close()
        for pair in pairs:
            for one in pair:
                one.close()

    run_polled(main())


def test_a_reader_that_fails_holds_no_other_up() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        told: list[Any] = []
        loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
        readers = Readers(loop, backlog_of(loop))
        failing, healthy = socket.socketpair(), socket.socketpair()
        came: list[bytes] = []

        def fail() -> None:
            failing[0].recv(1)
            raise ValueError("a bug")

        readers.add_reader(failing[0].fileno(), fail)
        readers.add_reader(healthy[0].fileno(), lambda: came.append(healthy[0].recv(1)))
        failing[1].send(b"x")
        healthy[1].send(b"y")
        await until(lambda: came and told)
        assert (came, [str(error) for error in told]) == ([b"y"], ["a bug"])
        readers.close()
        for one in (*failing, *healthy):
            one.close()

    run_polled(main())


def test_what_was_read_is_decoded_in_the_same_round() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        backlog = backlog_of(loop)
        readers, line = Readers(loop, backlog), backlog.line()
        ours, theirs = socket.socketpair()
        order: list[str] = []

        def deliver(data: bytes, at_ns: int, flag: bool, early_ns: int) -> None:
            order.append("decoded")

        def read() -> None:
            order.append("read")
            line.add(deliver, ours.recv(1), 0, False)
            loop.call_soon(order.append, "next round")

        readers.add_reader(ours.fileno(), read)
        for rounds in (1, 2):
            theirs.send(b"x")
            await until(lambda wanted=3 * rounds: len(order) == wanted)
        assert order == ["read", "decoded", "next round"] * 2
        readers.close()
        ours.close()
        theirs.close()

    run_polled(main())
