"""The one place that writes replies: at absolute deadlines, with a stamp of when each write really happened."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from mock_openai.upstream.journal import Entry
from mock_openai.upstream.stream import Ending, Note, Script

BACKPRESSURE_BYTES = 256 * 1024
BACKPRESSURE_RETRY_NS = 5_000_000
NO_CONTENT = -1


@dataclass(slots=True)
class _Score:
    """The writes of a script by column, the moments absolute.

    A thousand streams of a thousand writes would be a million objects, and each garbage collection would look at all
    of them while every stream waits; numbers and bytes in columns are not looked at.
    """

    due_ns: array[int] = field(default_factory=lambda: array("q"))
    data: list[bytes] = field(default_factory=list)
    offset: array[int] = field(default_factory=lambda: array("q"))
    notes: dict[int, tuple[Note, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, script: Script, start_ns: int) -> _Score:
        score = cls()
        for position, write in enumerate(script.writes):
            score.due_ns.append(start_ns + write.due_ns)
            score.data.append(write.data)
            score.offset.append(NO_CONTENT if write.offset is None else write.offset)
            if write.notes:
                score.notes[position] = write.notes
        return score

    def __len__(self) -> int:
        return len(self.data)


class Player:
    """Writes one script to a connection whose response headers are out; the script's writes are taken from it.

    `closed` is called once, with how it ended, in the very step that wrote the last thing: a client that leaves after
    the terminal event has not cancelled anything.
    """

    __slots__ = (
        "_closed",
        "_ending_ns",
        "_entry",
        "_finished",
        "_framed",
        "_left_ns",
        "_position",
        "_score",
        "_script",
        "_transport",
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
        self._score = _Score.of(script, start_ns)
        script.writes = []
        self._script = script
        self._ending_ns = start_ns + script.ending_ns
        self._entry = entry
        self._closed = closed
        self._framed = chunked
        self._position = 0
        self._left_ns: int | None = None
        self._finished = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def first_ns(self) -> int:
        """When to call `step` first."""
        return self._score.due_ns[0] if self._score.due_ns else self._ending_ns

    @property
    def left(self) -> bool:
        """The client has left, and the reply goes on without it."""
        return self._left_ns is not None

    def step(self) -> int | None:
        """Write what is due; returns when to be called again, or None."""
        transport, position = self._transport, self._position
        closing = transport.is_closing()
        if closing:
            # Mostly this step knows it before the request's task is told.
            self.leave(time.monotonic_ns())
        if self._left_ns is not None:
            return self._step_unheard(self._left_ns)
        if closing or self._finished:
            return None
        if position == len(self._score):
            self._finish()
            return None
        if transport.get_write_buffer_size() > BACKPRESSURE_BYTES:
            # The client does not read: waiting bounds the memory, and the journal shows the lateness.
            return time.monotonic_ns() + BACKPRESSURE_RETRY_NS
        data = self._score.data[position]
        if self._framed:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        # Straight to the transport: one system call, stamped where it happens.
        now_ns = time.monotonic_ns()
        transport.write(data)
        self._journal(position, now_ns)
        return self._advance()

    def _journal(self, position: int, now_ns: int) -> None:
        entry, score = self._entry, self._score
        offset = score.offset[position]
        if offset != NO_CONTENT:
            entry.scheduled_ns.append(score.due_ns[position])
            entry.written_ns.append(now_ns)
            entry.offset.append(offset)
            if self._left_ns is not None:
                entry.written_after_cancel += 1
        if score.notes and position in score.notes:
            self._journal_faults(score.notes[position], now_ns)

    def _journal_faults(self, notes: tuple[Note, ...], now_ns: int) -> None:
        self._entry.faults += (journalled(note, now_ns) for note in notes)

    def _advance(self) -> int | None:
        self._position += 1
        if self._position < len(self._score):
            return self._score.due_ns[self._position]
        if self._ending_ns > time.monotonic_ns():
            return self._ending_ns
        self._finish()
        return None

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
            self._score = _Score()  # a step that is still to come, maybe in an hour, shall not keep it in memory
            return
        # The player goes on to be called by the pacer, and counts what it generates for nobody.
        self._left_ns = now_ns

    def _step_unheard(self, left_ns: int) -> int | None:
        """A step of a reply whose client has left: generated, paced and counted, but heard by nobody."""
        now_ns = time.monotonic_ns()
        patience_ns = self._script.ignore_cancel_ns
        if self._position >= len(self._score) or (patience_ns is not None and now_ns > left_ns + patience_ns):
            self._finish()
            return None
        self._journal(self._position, now_ns)
        return self._advance()


def journalled(note: Note, now_ns: int) -> dict[str, Any]:
    """A fault as the journal shows it."""
    return {"fault": note.fault, "at": note.at, "applied_ns": now_ns}


def reset(transport: asyncio.Transport) -> None:
    """Close the connection with RST: what is still buffered is thrown away."""
    raw = transport.get_extra_info("socket")
    if raw is not None:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def finish(transport: asyncio.Transport) -> None:
    """Close our side with FIN after everything buffered is out; the client reads an end of file."""
    if transport.is_closing():
        return
    # shutdown() rather than close(): closing with unread bytes of the client in the buffer would send RST instead.
    transport.write_eof()
