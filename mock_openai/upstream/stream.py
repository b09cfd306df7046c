"""What a reply writes and when: frames, the writes that they are joined to, and how the reply ends.

Routes make `Frame`s, faults change them, and what leaves together becomes one `Write` of a `Script`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum


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
    `text`: what a client can read from it of the text; known where faults may have changed it.
    """

    due_ns: int
    data: bytes
    number: int = 0
    offset: int | None = None
    apart: bool = False
    notes: tuple[Note, ...] = ()
    text: str = ""


@dataclass(slots=True)
class Write:
    """What leaves in one system call; `offset` None for a write without content. `text` as in `Frame`."""

    due_ns: int
    data: bytes
    offset: int | None
    notes: tuple[Note, ...] = ()
    text: str = ""


class Part(Enum):
    """A part of a reply that its protocol writes unless it is told not to."""

    FINISH = "finish"
    USAGE = "usage"
    DONE = "done"  # the terminal event


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
    single write. `ignore_cancel_ns`: how long the reply goes on when its client has left, None to its end. `texts`: the
    text of each write of content, where a fault has made it another than the planned one.
    """

    writes: list[Write]
    ending: Ending = Ending.END
    ending_ns: int = 0
    hold_ns: int | None = None
    cut: bool = False
    gzip: bool = False
    notes: tuple[Note, ...] = ()
    ignore_cancel_ns: int | None = 0
    texts: list[str] | None = None


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
    together: list[Frame] = []
    for frame in frames:
        if together and (frame.apart or not _leave_together(together[-1], frame)):
            writes.append(_write_of(together))
            together = []
        together.append(frame)
    if together:
        writes.append(_write_of(together))
    return writes


def _leave_together(one: Frame, other: Frame) -> bool:
    return one.due_ns == other.due_ns and (one.number > 0) == (other.number > 0)


def _write_of(frames: list[Frame]) -> Write:
    """The write of frames that leave together."""
    if len(frames) == 1:
        frame = frames[0]
        return Write(frame.due_ns, frame.data, frame.offset, frame.notes, frame.text)
    return Write(
        frames[0].due_ns,
        b"".join([frame.data for frame in frames]),
        next((frame.offset for frame in reversed(frames) if frame.offset is not None), None),
        tuple(note for frame in frames for note in frame.notes),
        "".join([frame.text for frame in frames]),
    )


def in_pieces(writes: list[Write], size: int) -> list[Write]:
    """The same writes, none with more than `size` bytes; the text of a write counts as out with its last piece."""
    if all(len(write.data) <= size for write in writes):
        return writes
    out = []
    for write in writes:
        starts = range(0, len(write.data) or 1, size)
        for start in starts:
            offset = write.offset if start == starts[-1] else None
            notes = write.notes if start == 0 else ()
            out.append(Write(write.due_ns, write.data[start : start + size], offset, notes))
    return out


def compressed(writes: list[Write]) -> None:
    """Change the writes to one gzip stream; each is flushed, so that a client can decode what it has."""
    packer = zlib.compressobj(wbits=31)
    for index, write in enumerate(writes):
        final = index == len(writes) - 1
        write.data = packer.compress(write.data) + packer.flush(zlib.Z_FINISH if final else zlib.Z_SYNC_FLUSH)
