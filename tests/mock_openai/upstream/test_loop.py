"""The upstream's event loop: few sockets a round, and a turn for every one."""

from __future__ import annotations

import asyncio
import selectors
import socket
import time
from contextlib import ExitStack

import pytest

from mock_openai.upstream.loop import MOST_AT_ONCE, new_event_loop
from mock_openai.upstream.pacing import Pacer


@pytest.mark.skipif(not hasattr(selectors, "EpollSelector"), reason="there is no epoll")
def test_a_crowd_of_ready_sockets_is_read_in_turns() -> None:
    loop = new_event_loop()
    rounds: list[set[int]] = [set()]
    seen: set[int] = set()

    async def watch(number: int) -> None:
        with ExitStack() as sockets:
            for index in range(number):
                ours, theirs = (sockets.enter_context(end) for end in socket.socketpair())
                theirs.send(b"x")  # never read, so it is always ready: nobody may keep the others from their turn
                loop.add_reader(ours, lambda index=index: rounds[-1].add(index))
            for _ in range(2 * number):
                await asyncio.sleep(0)
                seen.update(rounds[-1])
                rounds.append(set())
            for ours in list(loop._selector.get_map()):  # type: ignore[attr-defined]
                if ours != loop._csock.fileno():  # type: ignore[attr-defined]
                    loop.remove_reader(ours)

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(watch(40))
    assert seen == set(range(40)), "every socket had its turn"
    assert max(map(len, rounds)) <= MOST_AT_ONCE


async def test_who_is_late_holds_up_nobody_who_is_due() -> None:
    pacer, ended = Pacer(), asyncio.Event()
    called: list[str] = []
    most = 1_000_000

    def at_once() -> int | None:
        """All of a long reply is due since the beginning of time; it is over when a request has had its turn."""
        answered = called[-1:] == ["request"]
        called.append("long")
        if len(called) < most and not answered:
            return 1
        ended.set()
        return None

    def paced() -> None:
        called.append("paced")

    asyncio.get_running_loop().call_soon(lambda: asyncio.get_running_loop().call_soon(called.append, "request"))
    pacer.start(1, at_once)
    pacer.start(time.monotonic_ns(), paced)
    await asyncio.wait_for(ended.wait(), 20)
    assert called[:2] == ["long", "paced"], "one write each, and not the long reply first"
    assert len(called) < most, "a request has its turn before the long reply is over"
