"""The upstream's event loop: few sockets a round, and a turn for every one."""

from __future__ import annotations

import asyncio
import selectors
import socket
from contextlib import ExitStack

import pytest

from mock_openai.upstream.loop import MOST_AT_ONCE, new_event_loop


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
