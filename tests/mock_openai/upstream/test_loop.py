"""The upstream's event loop: few sockets a round, and a turn for every one."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import selectors
import socket
import sys
import time
from contextlib import ExitStack

import pytest

from mock_openai.upstream.app import UpstreamSettings
from mock_openai.upstream.handler import Answer
from mock_openai.upstream.loop import MOST_AT_ONCE, new_event_loop
from mock_openai.upstream.pacing import SLOT_BITS, Pacer
from mock_openai.upstream.serving import Alone


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


async def test_what_is_late_is_called_in_the_order_of_its_moments() -> None:
    pacer, ended, draw = Pacer(), asyncio.Event(), random.Random(1)
    slot_ns, now_ns = 1 << SLOT_BITS, time.monotonic_ns()
    called: list[int] = []
    left = 200

    def start(moments: list[int]) -> None:
        """A stream with these moments; each step returns the next one."""

        def step() -> int | None:
            nonlocal left
            called.append(moments.pop(0))
            left -= not moments
            if not left:
                ended.set()
            return moments[0] if moments else None

        pacer.start(moments[0], step)

    for _ in range(left):
        # Some moments share a slot, some are slots apart, and the last ones are yet to come.
        gaps = [draw.choice((1, 1000, slot_ns // 3, 5 * slot_ns)) for _ in range(20)]
        start([now_ns - 40 * slot_ns + sum(gaps[:count]) for count in range(20)])
    assert not called, "nothing is called before the loop has its turn"
    await asyncio.wait_for(ended.wait(), 20)
    assert len(called) == 200 * 20
    assert called == sorted(called)


async def test_a_sooner_moment_does_not_wait_for_a_later_one() -> None:
    pacer, ended = Pacer(), asyncio.Event()
    called: list[str] = []
    hour_ns = 3600 * 10**9

    def step(name: str) -> None:
        called.append(name)
        if name == "sooner":
            ended.set()

    pacer.start(time.monotonic_ns() + hour_ns, lambda: step("in an hour"))
    pacer.start(time.monotonic_ns() + 20_000_000, lambda: step("sooner"))
    pacer.start(time.monotonic_ns(), lambda: step("now"))
    await asyncio.wait_for(ended.wait(), 20)
    assert called == ["now", "sooner"]


async def test_nothing_of_a_reply_waits_for_the_garbage_collector() -> None:
    before = gc.get_threshold(), sys.getswitchinterval()
    server = Alone(UpstreamSettings(profile="instant"), "127.0.0.1", 0)
    url = await server.open(lambda: None)
    body = json.dumps({"model": "gpt-4o", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    try:
        gc.disable()
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        for _ in range(2):  # of a connection that goes on, which keeps its newest request
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\ncontent-type: application/json\r\n")
            writer.write(b"content-length: %d\r\n\r\n%b" % (len(body), body))
            await asyncio.wait_for(reader.readuntil(b"\r\n0\r\n\r\n"), 20)
        for _ in range(10):
            await asyncio.sleep(0)
        assert sum(isinstance(item, Answer) for item in gc.get_objects()) <= 1
        writer.close()
    finally:
        gc.enable()
        await server.close()
        gc.unfreeze()
        gc.set_threshold(*before[0])
        sys.setswitchinterval(before[1])
