"""The one place that writes replies: at absolute deadlines, recording when each write really happened."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from mock_openai.upstream.journal import Entry
from mock_openai.upstream.stream import PIECE_BYTES, Ending, Frame, Note, Script

READY_WRITES = 16
"""Writes of a reply that are made in one go."""
RETRY_NS = 1_000_000
LONGEST_RETRY_NS = 250_000_000
UNREAD_NS = 30_000_000_000
"""A client that has read nothing for so long is taken for gone."""


class Player:
    """Writes one script to a connection whose response headers are out.

    `closed` is called once, with how it ended, in the very step that wrote the last thing: a client that leaves after
    the terminal event has not cancelled anything.
    """

    __slots__ = (
        "_chunked",
        "_closed",
        "_entry",
        "_fd",
        "_finished",
        "_last_ns",
        "_left_ns",
        "_ready",
        "_retry_ns",
        "_script",
        "_stalled_ns",
        "_start_ns",
        "_transport",
        "_unsent",
        "_writes",
        "done",
        "first_ns",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        script: Script,
        entry: Entry,
        start_ns: int,
        closed: Callable[[str], None],
        *,
        chunked: bool,
    ) -> None:
        self._transport = transport
        self._fd: int = transport.get_extra_info("socket").fileno()
        self._writes = iter(script.writes)
        script.writes = ()
        self._ready: deque[Frame] = deque()
        self._script = script
        self._start_ns = start_ns
        self._last_ns = start_ns
        self._chunked = chunked
        entry.texts = script.texts
        self._entry = entry
        self._closed = closed
        self._left_ns: int | None = None
        self._stalled_ns: int | None = None
        self._retry_ns = RETRY_NS
        self._unsent = 0
        self._finished = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.first_ns = self._advance()
        """When to call `step` first."""

    def _advance(self) -> int:
        """Have the next write ready; returns when it, or the end of the reply, is due."""
        ready = self._ready
        if not ready:
            # A few are made in one go, which takes a fraction of the time; few, because they take up memory.
            size = 0
            for write in self._writes:
                ready.append(write)
                size += len(write.data)
                if len(ready) == READY_WRITES or size >= PIECE_BYTES:
                    break
        if ready:
            self._last_ns = self._start_ns + ready[0].due_ns
        elif self._script.ending_ns is not None:
            return self._start_ns + self._script.ending_ns
        return self._last_ns

    @property
    def left(self) -> bool:
        """The client has left, and the reply goes on without it."""
        return self._left_ns is not None

    def step(self) -> int | None:
        """Write what is due; returns when to be called again, or None."""
        transport = self._transport
        if transport.is_closing() or self._finished:
            return self._step_closed()
        if not self._ready:
            self._finish()
            return None
        unsent = transport.get_write_buffer_size()
        if unsent:
            return self._wait_for_reader(unsent)
        write = self._ready[0]
        data = _chunk(write.data) if self._chunked else write.data
        # Straight to the socket, past the buffer of the transport, which is empty: one system call, stamped where it
        # happens. What does not fit into the socket's own buffer stays here, and not in a second one.
        now_ns = time.monotonic_ns()
        try:
            sent = os.write(self._fd, data)
        except BlockingIOError:
            return self._wait_for_reader(0)
        except OSError:
            transport.abort()
            return self._step_closed()
        if sent < len(data):
            transport.write(data[sent:])
        self._stalled_ns = None
        return self._stamped(write, now_ns)

    def _stamped(self, write: Frame, now_ns: int) -> int | None:
        """Journal a write that happened; returns when the next is due. If the end is due, the reply ends."""
        if write.offset is not None:
            entry = self._entry
            entry.scheduled_ns.append(self._last_ns)
            entry.written_ns.append(now_ns)
            entry.offset.append(write.offset)
        if write.notes:
            self._journal_faults(write.notes, now_ns)
        self._ready.popleft()
        due_ns = self._advance()
        if self._ready or due_ns > time.monotonic_ns():
            return due_ns
        self._finish()
        return None

    @property
    def stalled_ns(self) -> int | None:
        """Since when the client has read nothing although much is waiting for it; None while it reads."""
        return self._stalled_ns

    def _wait_for_reader(self, unsent: int) -> int | None:
        """The client does not read: waiting bounds the memory, and the journal shows the lateness."""
        now_ns = time.monotonic_ns()
        if self._stalled_ns is None or unsent != self._unsent:
            self._stalled_ns, self._retry_ns = now_ns, RETRY_NS
        elif now_ns - self._stalled_ns > UNREAD_NS:
            self.give_up()
            return None
        else:
            # Looking at hundreds of such clients every millisecond would take the time of all others.
            self._retry_ns = min(2 * self._retry_ns, LONGEST_RETRY_NS)
        self._unsent = unsent
        return now_ns + self._retry_ns

    def give_up(self) -> None:
        """Cut a client that does not read."""
        self._journal_faults((Note("unread"),), time.monotonic_ns())
        self._script.ignore_cancel_ns = 0
        self.leave(time.monotonic_ns())
        self._transport.abort()
        if not self.done.done():
            self.done.set_result(None)

    def _step_closed(self) -> int | None:
        """A step of a reply whose connection is over: only one that ignores that goes on, heard by nobody."""
        if self._finished:
            return None
        now_ns = time.monotonic_ns()
        # Mostly this step knows it before the request's task is told.
        self.leave(now_ns)
        if self._left_ns is None:
            return None
        patience_ns = self._script.ignore_cancel_ns
        if not self._ready or (patience_ns is not None and now_ns > self._left_ns + patience_ns):
            self._finish()
            return None
        write = self._ready[0]
        self._entry.written_after_cancel += write.offset is not None
        return self._stamped(write, now_ns)

    def _journal_faults(self, notes: tuple[Note, ...], now_ns: int) -> None:
        self._entry.faults += (journalled(note, now_ns) for note in notes)

    def _finish(self) -> None:
        self._finished = True
        script = self._script
        self._journal_faults(script.notes, time.monotonic_ns())
        if self._left_ns is not None:
            self._closed("cancelled")
        elif not (script.ending is Ending.HOLD and script.cut):
            self._closed("fault" if script.cut else "complete")
        if not self.done.done():
            self.done.set_result(None)

    def leave(self, now_ns: int) -> None:
        """The client has left. Unless the upstream is to ignore it, that ends the reply."""
        if self._entry.ended != "open" or self._left_ns is not None:
            return
        self._entry.cancelled_ns = now_ns
        if self._script.ignore_cancel_ns == 0 or self._finished:
            self._closed("cancelled")
            self._finished = True
            # A step that is still to come, maybe in an hour, shall not keep them in memory.
            self._writes = iter(())
            self._ready.clear()
            return
        # The player goes on to be called by the pacer, and counts what it generates for nobody.
        self._left_ns = now_ns


def _chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def journalled(note: Note, now_ns: int) -> dict[str, Any]:
    """A fault as the journal shows it."""
    return {"fault": note.fault, "at": note.at, "applied_ns": now_ns}
