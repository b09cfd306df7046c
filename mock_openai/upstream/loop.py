"""An event loop in which a thousand requests that come at once do not hold up what is already being written."""

from __future__ import annotations

import asyncio
import select
import selectors

MOST_AT_ONCE = 1
"""Sockets that are read in a round of the loop. What is due is written between the rounds, so that a write waits for at
most one request to be parsed and its reply to be composed."""


def new_event_loop() -> asyncio.AbstractEventLoop:
    """The loop, with epoll where there is epoll, and the usual one elsewhere."""
    if not hasattr(selectors, "EpollSelector"):
        return asyncio.new_event_loop()

    class OneAtATime(selectors.EpollSelector):
        """Reports one socket at a time; the kernel puts it behind the others, so every one has its turn."""

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            """As in the base class, but for the number."""
            wait_s = -1.0 if timeout is None else max(0.0, timeout)
            try:
                found = self._selector.poll(wait_s, MOST_AT_ONCE)  # type: ignore[attr-defined]
            except InterruptedError:
                return []
            out = []
            for descriptor, event in found:
                events = (selectors.EVENT_WRITE if event & ~select.EPOLLIN else 0) | (
                    selectors.EVENT_READ if event & ~select.EPOLLOUT else 0
                )
                key = self.get_map().get(descriptor)
                if key is not None:
                    out.append((key, events & key.events))
            return out

    return asyncio.SelectorEventLoop(OneAtATime())
