"""Waiting for a moment of the monotonic clock, in a way that can be ended early."""

from __future__ import annotations

import asyncio

from streambench.clock import Clock
from streambench.units import NS_PER_S


class Alarm:
    """Sleeps until a moment; `wake` ends the sleep. One sleeper at a time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sleep: asyncio.Future[bool] | None = None

    @property
    def asleep(self) -> bool:
        """Whether somebody sleeps."""
        return self._sleep is not None

    async def sleep_until(self, at_ns: int) -> bool:
        """True at the moment, False where it was woken before. A moment that has passed still lets others run."""
        left_s = (at_ns - self._clock.now_ns()) / NS_PER_S
        if left_s <= 0:
            await asyncio.sleep(0)
            return True
        loop = asyncio.get_running_loop()
        self._sleep = loop.create_future()
        timer = loop.call_later(left_s, _ring, self._sleep)
        try:
            return await self._sleep
        finally:
            timer.cancel()
            self._sleep = None

    def wake(self) -> None:
        """End the sleep, if there is one."""
        if self._sleep is not None and not self._sleep.done():
            self._sleep.set_result(False)


def _ring(sleep: asyncio.Future[bool]) -> None:
    if not sleep.done():
        sleep.set_result(True)
