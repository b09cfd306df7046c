"""The measuring loop waits as finely as the clock, and whatever it waits for wakes it."""

from __future__ import annotations

import asyncio
import os
import socket
import time

import pytest

from streambench.transport.aio.polls import run_polled


@pytest.mark.parametrize("bound", [1024, 0])  # with 0, every descriptor is too high for `select`
def test_timers_data_and_other_threads_wake_it(monkeypatch: pytest.MonkeyPatch, bound: int) -> None:
    monkeypatch.setattr("streambench.transport.aio.polls.MAX_SELECTED", bound)

    async def wait() -> list[str]:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        woken = []
        began = time.monotonic()
        await asyncio.sleep(0.0003)
        assert time.monotonic() - began >= 0.0003  # a timer is never early
        woken.append("timer")
        loop.call_later(0.001, theirs.send, b"x")
        woken.append((await asyncio.wait_for(loop.sock_recv(ours, 1), 60)).decode())
        woken.append(str(await asyncio.wait_for(loop.run_in_executor(None, os.getpid), 60) == os.getpid()))
        ours.close()
        theirs.close()
        return woken

    assert run_polled(wait()) == ["timer", "x", "True"]
