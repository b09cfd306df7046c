"""From frames to the socket: what a reply writes and when, and the one place that writes it.

Routes make `Frame`s, faults change them, `script` joins what leaves together into `Write`s, and `Player` writes them at
absolute deadlines and journals when each write really happened.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from mock_openai.upstream.journal import Entry

BACKPRESSURE_BYTES = 256 * 1024
BACKPRESSURE_RETRY_NS = 5_000_000


@dataclass(frozen=True, slots=True)
class Note:
    """A fault and the place where it acts; journalled when the write that carries it happens."""

    fault: str
    at: dict[str, float] | None = None


@dataclass(slots=True)
class Frame:
    """One frame of a reply, such as one server-sent event.

    `due_ns` counts from the start of the reply. `number` counts the content frames from 1 (0: no content). `offset` is
    how many characters of the text are out after it (None: none of its own). `apart`: never joined to the write before.
    """

    due_ns: int
    data: bytes
    number: int = 0
    offset: int | None = None
    apart: bool = False
    notes: tuple[Note, ...] = ()


@dataclass(slots=True)
class Write:
    """What leaves in one system call; `offset` None for a write without content."""

    due_ns: int
    data: bytes
    offset: int | None
    notes: tuple[Note, ...] = ()


class Ending(Enum):
    """What happens at the socket when the last write is out."""

    END = "end"  # the body ends as HTTP says; the connection stays
    FIN = "fin"  # the connection is closed in the middle of the body
    RST = "rst"  # the connection is reset
    HOLD = "hold"  # nothing: the client waits


@dataclass(slots=True)
class Script:
    """Everything that one reply writes; times count from the start of the reply.

    `hold_ns`: how long HOLD lasts, None for ever. `cut`: a fault ends the reply early. `notes`: faults that act on no
    single write. `ignore_cancel_ns`: how long the reply goes on when its client has left, None to its end.
    """

    writes: list[Write]
    ending: Ending = Ending.END
    ending_ns: int = 0
    hold_ns: int | None = None
    cut: bool = False
    gzip: bool = False
    notes: tuple[Note, ...] = ()
    ignore_cancel_ns: int | None = 0


def in_turns(parts: Sequence[list[Frame]]) -> list[Frame]:
    """The content frames of several choices, a token of each at a time, numbered in this order."""
    turns = [(frame.due_ns, turn, index) for index, part in enumerate(parts) for turn, frame in enumerate(part)]
    frames = [parts[index][turn] for _, turn, index in sorted(turns)] if len(parts) > 1 else parts[0]
    for position, frame in enumerate((frame for frame in frames if frame.number), start=1):
        frame.number = position
    return frames


def joined(frames: Iterable[Frame]) -> list[Write]:
    """The writes of frames: what is due at the same moment leaves together, one burst in one system call.

    Content never shares a write with other frames, so that a content write's time is that of text alone.
    """
    writes: list[Write] = []
    before: Frame | None = None
    for frame in frames:
        same = before is not None and before.due_ns == frame.due_ns and (before.number > 0) == (frame.number > 0)
        if same and not frame.apart:
            last = writes[-1]
            last.data += frame.data
            last.offset = last.offset if frame.offset is None else frame.offset
            last.notes += frame.notes
        else:
            writes.append(Write(frame.due_ns, frame.data, frame.offset, frame.notes))
        before = frame
    return writes


def compressed(writes: list[Write]) -> None:
    """Change the writes to one gzip stream; each is flushed, so that a client can decode what it has."""
    packer = zlib.compressobj(wbits=31)
    for index, write in enumerate(writes):
        final = index == len(writes) - 1
        write.data = packer.compress(write.data) + packer.flush(zlib.Z_FINISH if final else zlib.Z_SYNC_FLUSH)


class Player:
    """Writes one script to a connection whose response headers are out.

    `closed` is called once, with how it ended, in the very step that wrote the last thing: a client that leaves after
    the terminal event has not cancelled anything.
    """

    __slots__ = (
        "_closed",
        "_entry",
        "_framed",
        "_left_ns",
        "_position",
        "_script",
        "_start_ns",
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
        self._script = script
        self._entry = entry
        self._start_ns = start_ns
        self._closed = closed
        self._framed = chunked
        self._position = 0
        self._left_ns: int | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def first_ns(self) -> int:
        """When to call `step` first."""
        writes = self._script.writes
        return self._start_ns + (writes[0].due_ns if writes else self._script.ending_ns)

    @property
    def finished(self) -> bool:
        """Everything that was to be written is written."""
        return self._position > len(self._script.writes)

    @property
    def left(self) -> bool:
        """The client has left, and the reply goes on without it."""
        return self._left_ns is not None

    def step(self) -> int | None:
        """Write what is due; returns when to be called again, or None."""
        script = self._script
        transport = self._transport
        if self._left_ns is not None:
            return self._step_unheard(time.monotonic_ns())
        if transport.is_closing() or self.done.done():
            return None
        if self._position == len(script.writes):
            self._finish()
            return None
        if transport.get_write_buffer_size() > BACKPRESSURE_BYTES:
            # The client does not read: waiting bounds the memory, and the journal shows the lateness.
            return time.monotonic_ns() + BACKPRESSURE_RETRY_NS
        write = script.writes[self._position]
        data = write.data
        # Straight to the transport: one system call, stamped where it happens.
        now_ns = time.monotonic_ns()
        transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._framed else data)
        entry = self._entry
        if write.offset is not None:
            entry.scheduled_ns.append(self._start_ns + write.due_ns)
            entry.written_ns.append(now_ns)
            entry.offset.append(write.offset)
        if write.notes:
            self._journal_faults(write.notes, now_ns)
        return self._advance()

    def _advance(self) -> int | None:
        script = self._script
        self._position += 1
        if self._position < len(script.writes):
            return self._start_ns + script.writes[self._position].due_ns
        ending_ns = self._start_ns + script.ending_ns
        if ending_ns > time.monotonic_ns():
            return ending_ns
        self._finish()
        return None

    def _finish(self) -> None:
        self._position = len(self._script.writes) + 1
        if self._script.notes:
            self._journal_faults(self._script.notes, time.monotonic_ns())
        if self._left_ns is not None:
            self._closed("cancelled")
        elif not (self._script.ending is Ending.HOLD and self._script.cut):
            self._closed("fault" if self._script.cut else "complete")
        if not self.done.done():
            self.done.set_result(None)

    def _journal_faults(self, notes: tuple[Note, ...], now_ns: int) -> None:
        for note in notes:
            self._entry.faults.append(journalled(note, now_ns))

    def leave(self, now_ns: int) -> None:
        """The client has left. Unless the upstream is to ignore it, that ends the reply."""
        if self.finished and not self._script.cut:
            return
        patience_ns = self._script.ignore_cancel_ns
        self._entry.cancelled_ns = now_ns
        if patience_ns == 0 or self.finished:
            self._closed("cancelled")
            self._script = Script([])  # a step that is still scheduled, maybe for long, shall not keep it in memory
            return
        # The player goes on to be called by the pacer, and counts what it generates for nobody.
        self._left_ns = now_ns

    def _step_unheard(self, now_ns: int) -> int | None:
        """A step of a reply whose client has left: generated, paced and counted, but heard by nobody."""
        script = self._script
        assert self._left_ns is not None
        patience_ns = script.ignore_cancel_ns
        if self._position >= len(script.writes) or (patience_ns is not None and now_ns > self._left_ns + patience_ns):
            self._finish()
            return None
        write = script.writes[self._position]
        if write.offset is not None:
            self._entry.scheduled_ns.append(self._start_ns + write.due_ns)
            self._entry.written_ns.append(now_ns)
            self._entry.offset.append(write.offset)
            self._entry.written_after_cancel += 1
        if write.notes:
            self._journal_faults(write.notes, now_ns)
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
