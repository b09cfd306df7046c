"""What a reply writes and when: frames, the writes that they are joined to, and how the reply ends.

Routes make `Frame`s, faults change them, and what leaves together becomes one `Write` of a `Script`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from heapq import merge

PIECE_BYTES = 16 * 1024
"""Frames that leave together are one write up to so many bytes: the next write of a reply is kept in memory."""


@dataclass(frozen=True, slots=True)
class Note:
    """A fault and the place where it acts; journalled when the write that carries it happens."""

    fault: str
    at: dict[str, float] | None = None


@dataclass(slots=True)
class Frame:
    """One frame of a reply, such as one server-sent event; or a write, of one frame or of several that leave together.

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

    `writes`: made while they are written, or all there already if faults have changed them. `ending_ns` None: with
    the last write. `hold_ns`: how long HOLD lasts, None for ever. `cut`: a fault ends the reply early. `notes`: faults
    that act on no single write. `ignore_cancel_ns`: how long the reply goes on when its client has left, None to its
    end. `texts`: the text of each write of content, where a fault has made it another than the planned one.
    """

    writes: Iterable[Frame]
    ending: Ending = Ending.END
    ending_ns: int | None = None
    hold_ns: int | None = None
    cut: bool = False
    gzip: bool = False
    notes: tuple[Note, ...] = ()
    ignore_cancel_ns: int | None = 0
    texts: list[str] | None = None


def in_turns(parts: Sequence[Iterable[Frame]]) -> Iterator[Frame]:
    """The content frames of several choices, a token of each at a time, numbered in this order.

    Those of a single choice have their numbers already.
    """
    if len(parts) == 1:
        return iter(parts[0])
    turns = merge(*(enumerate(part) for part in parts), key=lambda turn: (turn[1].due_ns, turn[0]))
    return numbered(frame for _, frame in turns)


def numbered(frames: Iterable[Frame]) -> Iterator[Frame]:
    """The same frames; those of content are numbered from 1."""
    number = 0
    for frame in frames:
        if frame.number:
            frame.number = number = number + 1
        yield frame


def joined(frames: Iterable[Frame]) -> Iterator[Frame]:
    """The writes of frames: what is due at the same moment leaves together, one burst in one system call.

    Content never shares a write with other frames, so that a content write's time is that of text alone. Frames that
    together have more than `PIECE_BYTES` are several writes, and so is a frame of several times that size.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        return
    more: list[Frame] = []
    size = len(first.data)
    for frame in frames:
        if (
            frame.due_ns == first.due_ns
            and (frame.number > 0) == (first.number > 0)
            and size <= PIECE_BYTES
            and not frame.apart
        ):
            more.append(frame)
            size += len(frame.data)
            continue
        if more or size > PIECE_BYTES:
            yield from _writes_of([first, *more], size)
            more = []
        else:
            yield first  # as most of them
        first, size = frame, len(frame.data)
    yield from _writes_of([first, *more], size)


def _writes_of(frames: list[Frame], size: int) -> Sequence[Frame]:
    """The writes of frames that leave together: one, unless that were a large one."""
    if len(frames) > 1:
        frames = [
            Frame(
                frames[0].due_ns,
                b"".join([frame.data for frame in frames]),
                frames[-1].number,
                next((frame.offset for frame in reversed(frames) if frame.offset is not None), None),
                notes=tuple(note for frame in frames for note in frame.notes),
                text="".join([frame.text for frame in frames]),
            )
        ]
    return frames if size <= 3 * PIECE_BYTES else list(_pieces(frames[0]))


def _pieces(frame: Frame) -> Iterator[Frame]:
    """A large frame in several writes; its text counts as out with the last."""
    starts = range(0, len(frame.data), PIECE_BYTES)
    for start in starts:
        last = start == starts[-1]
        yield replace(
            frame,
            data=frame.data[start : start + PIECE_BYTES],
            offset=frame.offset if last else None,
            notes=frame.notes if start == 0 else (),
            text=frame.text if last else "",
        )


def compressed(writes: Sequence[Frame]) -> None:
    """Change the writes to one gzip stream; each is flushed, so that a client can decode what it has."""
    packer = zlib.compressobj(wbits=31)
    for index, write in enumerate(writes):
        final = index == len(writes) - 1
        write.data = packer.compress(write.data) + packer.flush(zlib.Z_FINISH if final else zlib.Z_SYNC_FLUSH)
