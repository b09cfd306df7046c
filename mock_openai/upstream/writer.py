"""The one place that writes replies: at absolute deadlines, with a stamp of when each write really happened."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Callable
from itertools import compress
from typing import Any

from mock_openai.upstream.journal import Entry
from mock_openai.upstream.stream import Ending, Note, Script, in_pieces

BACKPRESSURE_BYTES = 256 * 1024
BACKPRESSURE_RETRY_NS = 5_000_000
LONGEST_RETRY_NS = 250_000_000
UNREAD_NS = 30_000_000_000
"""A client that has read nothing for so long is taken for gone."""
PIECE_BYTES = 64 * 1024
"""More is never written at once: what a client does not read is kept here, or in its connection's buffer twice."""


class Player:
    """Writes one script to a connection whose response headers are out; the script's writes are taken from it.

    `closed` is called once, with how it ended, in the very step that wrote the last thing: a client that leaves after
    the terminal event has not cancelled anything.
    """

    # The writes are kept by column: a thousand streams of a thousand writes would be a million objects, and each
    # garbage collection would look at all of them while every stream waits; numbers and bytes are not looked at.
    __slots__ = (
        "_closed",
        "_content",
        "_count",
        "_data",
        "_due_ns",
        "_ending_ns",
        "_entry",
        "_finished",
        "_left_ns",
        "_notes",
        "_position",
        "_retry_ns",
        "_script",
        "_stalled_ns",
        "_transport",
        "_unsent",
        "_written_ns",
        "done",
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
        writes, script.writes = in_pieces(script.writes, PIECE_BYTES), []
        self._script = script
        self._count = len(writes)
        self._due_ns = [start_ns + write.due_ns for write in writes]
        self._data = [_chunk(write.data) if chunked else write.data for write in writes]
        self._content = bytes(write.offset is not None for write in writes)
        self._notes = {position: write.notes for position, write in enumerate(writes) if write.notes}
        entry.offset = array("q", (write.offset for write in writes if write.offset is not None))
        entry.scheduled_ns = array("q", compress(self._due_ns, self._content))
        entry.texts = script.texts
        self._written_ns = entry.written_ns
        self._ending_ns = start_ns + script.ending_ns
        self._entry = entry
        self._closed = closed
        self._position = 0
        self._left_ns: int | None = None
        self._stalled_ns: int | None = None
        self._retry_ns = BACKPRESSURE_RETRY_NS
        self._unsent = 0
        self._finished = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def first_ns(self) -> int:
        """When to call `step` first."""
        return self._due_ns[0] if self._count else self._ending_ns

    @property
    def left(self) -> bool:
        """The client has left, and the reply goes on without it."""
        return self._left_ns is not None

    def step(self) -> int | None:
        """Write what is due; returns when to be called again, or None."""
        transport = self._transport
        if transport.is_closing() or self._finished:
            return self._step_closed()
        position = self._position
        if position == self._count:
            self._finish()
            return None
        data = self._data[position]
        # Looked at so seldom that it costs nothing, and so often that little is buffered in between.
        look = not position & 7 or len(data) >= PIECE_BYTES
        if look and transport.get_write_buffer_size() > BACKPRESSURE_BYTES:
            return self._wait_for_reader(transport.get_write_buffer_size())
        # Straight to the transport: one system call, stamped where it happens.
        now_ns = time.monotonic_ns()
        transport.write(data)
        if look:
            self._stalled_ns = None
        if self._content[position]:
            self._written_ns.append(now_ns)
        if self._notes:
            self._journal_faults(self._notes.get(position, ()), now_ns)
        self._position = position = position + 1
        return self._due_ns[position] if position < self._count else self._after_last()

    @property
    def stalled_ns(self) -> int | None:
        """Since when the client has read nothing although much is waiting for it; None while it reads."""
        return self._stalled_ns

    def _wait_for_reader(self, unsent: int) -> int | None:
        """The client does not read: waiting bounds the memory, and the journal shows the lateness."""
        now_ns = time.monotonic_ns()
        if self._stalled_ns is None or unsent < self._unsent:
            self._stalled_ns, self._retry_ns = now_ns, BACKPRESSURE_RETRY_NS
        elif now_ns - self._stalled_ns > UNREAD_NS:
            self.give_up()
            return None
        else:
            # Looking at hundreds of such clients every few milliseconds would take the time of all others.
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

    def _after_last(self) -> int | None:
        if self._ending_ns > time.monotonic_ns():
            return self._ending_ns
        self._finish()
        return None

    def _step_closed(self) -> int | None:
        """A step of a reply whose connection is over: only one that ignores that goes on, heard by nobody."""
        if self._finished:
            return None
        now_ns = time.monotonic_ns()
        # Mostly this step knows it before the request's task is told.
        self.leave(now_ns)
        if self._left_ns is None:
            return None
        patience_ns, position = self._script.ignore_cancel_ns, self._position
        if position >= self._count or (patience_ns is not None and now_ns > self._left_ns + patience_ns):
            self._finish()
            return None
        if self._content[position]:
            self._written_ns.append(now_ns)
            self._entry.written_after_cancel += 1
        self._journal_faults(self._notes.get(position, ()), now_ns)
        self._position = position = position + 1
        return self._due_ns[position] if position < self._count else self._after_last()

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
            self._data = []  # a step that is still to come, maybe in an hour, shall not keep it in memory
            return
        # The player goes on to be called by the pacer, and counts what it generates for nobody.
        self._left_ns = now_ns


def _chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def journalled(note: Note, now_ns: int) -> dict[str, Any]:
    """A fault as the journal shows it."""
    return {"fault": note.fault, "at": note.at, "applied_ns": now_ns}
