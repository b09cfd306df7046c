"""The one place that writes replies: at absolute deadlines, recording when each write really happened."""

from __future__ import annotations

import asyncio
import os
import time
from array import array
from collections import deque
from collections.abc import Callable, Generator, Iterator
from functools import partial
from inspect import GEN_SUSPENDED, getgeneratorstate
from typing import Any

from mock_openai.upstream.journal import Entry
from mock_openai.upstream.stream import PIECE_BYTES, Ending, Note, Script

READY_WRITES = 16
"""Writes of a reply that are made in one go."""
RETRY_NS = 1_000_000
LONGEST_RETRY_NS = 250_000_000
UNREAD_NS = 30_000_000_000
"""A client that has read nothing for so long is taken for gone."""
CONTENT, NOTED = 1, 2
"""What a write is: of content, with its own line in the journal; with notes of faults that act with it."""


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
        "_left_ns",
        "_notes",
        "_retry_ns",
        "_script",
        "_stalled_ns",
        "_start_ns",
        "_steps",
        "_transport",
        "_unsent",
        "done",
        "first_ns",
        "step",
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
        self._script = script
        self._start_ns = start_ns
        self._chunked = chunked
        entry.texts = script.texts
        self._entry = entry
        self._closed = closed
        self._notes: deque[tuple[Note, ...]] = deque()
        self._left_ns: int | None = None
        self._stalled_ns: int | None = None
        self._retry_ns = RETRY_NS
        self._unsent = 0
        self._finished = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._steps = self._play()
        self.first_ns = next(self._steps)
        """When to call `step` first."""
        self.step: Callable[[], int | None] = partial(next, self._steps, None)
        """Write what is due; returns when to be called again, or None."""

    @property
    def left(self) -> bool:
        """The client has left, and the reply goes on without it."""
        return self._left_ns is not None

    def _play(self) -> Generator[int, None, None]:
        """The whole reply; gives the moment of each next step.

        A generator, as what each write uses is at hand there: at fifty thousand writes a second, to fetch it from
        memory takes longer than the work itself.
        """
        transport, fd, entry = self._transport, self._fd, self._entry
        due_ns, now_ns, buffered = self._start_ns, 0, True
        for moments, pieces, kinds in self._made():
            for index in range(len(pieces)):
                due_ns = moments[index]
                yield due_ns
                while not transport.is_closing():
                    unsent = transport.get_write_buffer_size() if buffered else 0
                    if not unsent:
                        # Straight to the socket, past the buffer of the transport, which is empty: one system call,
                        # stamped where it happens. Nothing is queued for a client that does not read.
                        piece = pieces[index]
                        now_ns = time.monotonic_ns()
                        try:
                            sent = os.write(fd, piece)
                        except BlockingIOError:
                            pass
                        except OSError:
                            transport.abort()
                            continue
                        else:
                            buffered = sent < len(piece)
                            if buffered:
                                transport.write(piece[sent:])
                            break
                    retry_ns = self._wait_for_reader(unsent)
                    if retry_ns is None:
                        return
                    yield retry_ns
                else:
                    if not self._goes_on(over=False):
                        return
                    now_ns = time.monotonic_ns()
                    entry.written_after_cancel += kinds[index] & CONTENT
                if self._stalled_ns is not None:
                    self._stalled_ns = None
                if kinds[index] & CONTENT:
                    entry.written_ns.append(now_ns)
                if kinds[index] & NOTED:
                    self._journal_faults(self._notes.popleft(), now_ns)
        if self._script.ending_ns is not None:
            due_ns = self._start_ns + self._script.ending_ns
        # With the last write, if that is when it ends.
        if not now_ns or due_ns > time.monotonic_ns():
            yield due_ns
        if not transport.is_closing() or self._goes_on(over=True):
            self._finish()

    def _made(self) -> Iterator[tuple[array[int], list[bytes], bytes]]:
        """The writes, some at a time: the moment of each, its bytes, and whether it is CONTENT or NOTED.

        A few are made in one go, which takes a fraction of the time; few, because they take up memory. None of them is
        an object that the garbage collector looks at: those of a thousand streams would be too many.
        """
        writes = iter(self._script.writes)
        self._script.writes = ()
        scheduled_ns, offset = self._entry.scheduled_ns, self._entry.offset
        start_ns, chunked = self._start_ns, self._chunked
        while True:
            moments, pieces, kinds, size = array("q"), list[bytes](), bytearray(), 0
            for write in writes:
                data, kind, at_ns = write.data, 0, start_ns + write.due_ns
                if write.offset is not None:
                    kind = CONTENT
                    scheduled_ns.append(at_ns)
                    offset.append(write.offset)
                if write.notes:
                    kind |= NOTED
                    self._notes.append(write.notes)
                moments.append(at_ns)
                pieces.append(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
                kinds.append(kind)
                size += len(data)
                if len(pieces) == READY_WRITES or size >= PIECE_BYTES:
                    break
            if not pieces:
                return
            yield moments, pieces, bytes(kinds)

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

    def _goes_on(self, *, over: bool) -> bool:
        """Whether a reply whose connection is over is to go on: only if it ignores that, heard by nobody.

        `over`: there is nothing left to write.
        """
        now_ns = time.monotonic_ns()
        # Mostly this step knows it before the request's task is told.
        self.leave(now_ns)
        if self._left_ns is None:
            return False
        patience_ns = self._script.ignore_cancel_ns
        if not over and patience_ns is not None and now_ns > self._left_ns + patience_ns:
            self._finish()
            return False
        return True

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
            # A step that is still to come, maybe in an hour, shall not keep the reply in memory.
            if getgeneratorstate(self._steps) == GEN_SUSPENDED:
                self._steps.close()
            return
        # The player goes on to be called by the pacer, and counts what it generates for nobody.
        self._left_ns = now_ns


def journalled(note: Note, now_ns: int) -> dict[str, Any]:
    """A fault as the journal shows it."""
    return {"fault": note.fault, "at": note.at, "applied_ns": now_ns}
