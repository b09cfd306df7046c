"""Time that passes only when everybody waits, so that a load of minutes is a test of milliseconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
NS_PER_S = 1_000_000_000


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer instead of waiting for it. It is also a `Clock`."""

    def __init__(self) -> None:
        super().__init__(selectors.SelectSelector())
        self._virtual_s = 1000.0
        self._selector = self._Jumping(self)

    def time(self) -> float:
        return self._virtual_s

    def now_ns(self) -> int:
        return round(self._virtual_s * NS_PER_S)

    class _Jumping(selectors.SelectSelector):
        def __init__(self, loop: VirtualLoop) -> None:
            super().__init__()
            self._loop = loop

        def select(self, timeout: float | None = None) -> Any:
            assert timeout is not None, "everybody waits, and nothing will ever happen"
            self._loop._virtual_s += max(0.0, timeout)
            return super().select(0)


@pytest.fixture
def virtual_time() -> Callable[[Callable[[VirtualLoop], Coroutine[Any, Any, T]]], T]:
    """Runs `await make(loop)` in virtual time to its end, and cancels what is left."""

    def run(make: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
        loop = VirtualLoop()
        try:
            return loop.run_until_complete(make(loop))
        finally:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()

    return run
