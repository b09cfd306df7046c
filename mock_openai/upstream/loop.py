"""An event loop in which a thousand simultaneous requests do not delay replies that are already being written."""

from __future__ import annotations

import asyncio
import select
import selectors
import socket
import sys

MOST_AT_ONCE = 1
"""Sockets that are read in a round of the loop. What is due is written between the rounds, so that a write waits for at
most one request to be parsed and its reply to be composed."""


def new_event_loop() -> asyncio.AbstractEventLoop:
    """The loop, with epoll where there is epoll, and the usual one elsewhere."""
    return PacedLoop() if sys.platform == "linux" else asyncio.new_event_loop()


if sys.platform == "linux":

    class OneAtATime(selectors.EpollSelector):
        """Reports one socket at a time; the kernel puts it behind the others, so every one has its turn."""

        def __init__(self) -> None:
            super().__init__()
            self._first: select.epoll | None = None

        def prefer(self, descriptor: int) -> None:
            """Report a socket in every round in which it can be read, beside the one whose turn it is."""
            self._first = select.epoll()
            self._first.register(descriptor, select.EPOLLIN)

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            """As in the base class, but for the number."""
            wait_s = -1.0 if timeout is None else max(0.0, timeout)
            try:
                found = dict(self._selector.poll(wait_s, MOST_AT_ONCE))  # type: ignore[attr-defined]
                if self._first is not None and found:
                    found |= self._first.poll(0)
            except InterruptedError:
                return []
            out = []
            for descriptor, event in found.items():
                events = (selectors.EVENT_WRITE if event & ~select.EPOLLIN else 0) | (
                    selectors.EVENT_READ if event & ~select.EPOLLOUT else 0
                )
                key = self.get_map().get(descriptor)
                if key is not None:
                    out.append((key, events & key.events))
            return out

        def close(self) -> None:
            """As in the base class."""
            super().close()
            if self._first is not None:
                self._first.close()

    class PacedLoop(asyncio.SelectorEventLoop):
        """Reads one socket in each round."""

        def __init__(self) -> None:
            self._paced = OneAtATime()
            super().__init__(self._paced)

        def prefer(self, raw: socket.socket) -> None:
            """Read a socket in every round in which there is something to read."""
            self._paced.prefer(raw.fileno())

else:

    class PacedLoop(asyncio.SelectorEventLoop):
        """The usual loop."""

        def prefer(self, raw: socket.socket) -> None:
            """Nothing: all sockets are read in every round."""
