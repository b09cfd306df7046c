"""All sockets that a loop reads, behind one reader of the loop.

A callback of the loop costs more than it has to do for a read: a key of the selector, a handle, its context, a place in
the loop's queue. Here one call says which sockets are ready, another one reads each, and what was read is decoded right
behind that, without another round of the loop. Only Linux can wait for one poll by another; elsewhere there are only
the loop's own readers.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Callable
from typing import Protocol

from streambench.transport.aio.backlog import Backlog

Read = Callable[[], None]


class Reading(Protocol):
    """Calls whoever wants to read a descriptor: `Readers`, or an event loop."""

    def add_reader(self, fd: int, read: Read, /) -> object:
        """Call `read` whenever there is something to read, from now on."""
        ...

    def remove_reader(self, fd: int, /) -> object:
        """No longer, if it was."""
        ...


class Readers:
    """The readers of a loop, for as long as it lives. Callbacks must not wait, as those of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, backlog: Backlog) -> None:
        self._loop = loop
        self._backlog = backlog
        self._reads: dict[int, Read] = {}
        self._epoll = select.epoll()
        loop.add_reader(self._epoll.fileno(), self._read)

    def add_reader(self, fd: int, read: Read) -> None:
        """Call `read` whenever there is something to read, from now on."""
        if fd not in self._reads:
            self._epoll.register(fd, select.EPOLLIN)
        self._reads[fd] = read

    def remove_reader(self, fd: int) -> None:
        """No longer, if it was."""
        if self._reads.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def close(self) -> None:
        """Read nothing more."""
        self._loop.remove_reader(self._epoll.fileno())
        self._reads.clear()
        self._epoll.close()

    def _read(self) -> None:
        reads = self._reads
        behind = self._backlog.expect_work()
        for fd, _ in self._epoll.poll(0, max(1, len(reads))):
            read = reads.get(fd)
            if read is None:  # one that was read before it has removed it
                continue
            try:
                read()
            except Exception as error:
                told = {"message": "a reader has failed", "exception": error}
                self._loop.call_exception_handler(told)
        if behind:
            self._backlog.work()
