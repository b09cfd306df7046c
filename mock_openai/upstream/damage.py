"""What a fault does to a reply: a pure change of its frames, or of the way it ends.

Chunks keep the number they had in the undamaged reply, so several faults of one reply do not move each other's places.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from mock_openai.upstream.faults import Fault, Stage, Where
from mock_openai.upstream.stream import Ending, Frame, Note, Script, compressed, joined

MAX_DRIPS = 200_000
NS_PER_MS = 1_000_000


class Shapes(Protocol):
    """The frames that a fault needs and only the reply's protocol can make."""

    def surplus(self, text: str) -> bytes:
        """A content frame that was not planned."""

    def empty(self) -> bytes:
        """A frame that is valid and carries no choice."""

    def error(self, message: str, type_: str, code: str | None) -> bytes:
        """An error told in the middle of a stream."""


def damaged(frames: list[Frame], faults: Sequence[Fault], shapes: Shapes, draw: random.Random) -> Script:
    """The script of a reply: its frames, changed by its faults."""
    if not faults:
        return Script(joined(frames), ending_ns=frames[-1].due_ns if frames else 0)
    script = Script([])
    frames = [replace(frame) for frame in frames]
    ordered = sorted(faults, key=lambda fault: _ORDER.get(fault.name, 0))
    for fault in ordered:
        if fault.kind.stage is Stage.CONTENT:
            script.notes += (Note(fault.name),)
        elif fault.name in _CHANGES:
            frames = _CHANGES[fault.name](frames, fault, shapes, draw)
        elif fault.name in _ENDINGS:
            frames = _end(frames, fault, shapes, draw, script)
    crlf = next((fault for fault in faults if fault.name == "crlf"), None)
    if crlf is not None:
        for frame in frames:
            frame.data = frame.data.replace(b"\n", b"\r\n")
        script.notes += (Note(crlf.name),)
    script.writes = joined(frames)
    if not script.cut:
        script.ending_ns = frames[-1].due_ns if frames else 0
    for fault in faults:
        if fault.name == "gzip":
            compressed(script.writes)
            script.gzip = True
            script.notes += (Note(fault.name),)
        elif fault.name == "hold-open" and not script.cut:
            script.ending, script.hold_ns = Ending.HOLD, fault.ms_ns()
            script.notes += (Note(fault.name),)
        elif fault.name == "ignore-cancel":
            script.ignore_cancel_ns = fault.ms_ns()
            script.notes += (Note(fault.name),)
    return script


# Where


def _content(frames: Sequence[Frame]) -> list[int]:
    return [index for index, frame in enumerate(frames) if frame.number]


def _hits(frames: Sequence[Frame], where: Where | None, draw: random.Random) -> list[int]:
    """The indexes of the content frames that a fault hits; the one in the middle where nothing else is said."""
    content = _content(frames)
    if where is None:
        return content[(len(content) - 1) // 2 :][:1]
    if where.unit == "chunk":
        return [index for index in content if frames[index].number == max(1, where.value)][:1]
    if where.unit == "ms":
        return [index for index in content if frames[index].due_ns >= where.value * NS_PER_MS][:1]
    if where.unit == "probability":
        return [index for index in content if draw.random() < where.value]
    end = 0
    ends = []
    for frame in frames:
        end += len(frame.data)
        ends.append(end)
    return [index for index in content if ends[index] > where.value][:1]


def _point(frames: list[Frame], where: Where | None, draw: random.Random) -> tuple[int, int, Note | None]:
    """A place between two frames: the index of the frame after it, its moment, and how the journal calls it.

    A place within a frame splits the frame in `frames`. The note is None where the reply ends before the place.
    """
    content = _content(frames)
    if where is None and len(content) <= 1:
        where = Where("byte", sum(len(frame.data) for frame in frames) // 2)
    if where is None or where.unit == "probability":
        hits = _hits(frames, where, draw)
        if not hits:
            return len(frames), 0, None
        where = Where("chunk", frames[hits[0]].number)
    if where.unit == "chunk":
        if where.value == 0:
            index = content[0] if content else 0
            return index, frames[index].due_ns if frames else 0, Note("", {"chunk": 0})
        found = [index for index in content if frames[index].number <= where.value]
        if not found or (content and frames[content[-1]].number < where.value):
            return len(frames), 0, None
        return found[-1] + 1, frames[found[-1]].due_ns, Note("", {"chunk": where.value})
    if where.unit == "ms":
        at_ns = round(where.value * NS_PER_MS)
        index = next((i for i, frame in enumerate(frames) if frame.due_ns > at_ns), len(frames))
        return index, at_ns, Note("", {"ms": where.value}) if index < len(frames) else None
    return _split_at_byte(frames, int(where.value))


def _split_at_byte(frames: list[Frame], byte: int) -> tuple[int, int, Note | None]:
    seen = 0
    for index, frame in enumerate(frames):
        if seen + len(frame.data) > byte:
            if byte > seen:
                frames[index : index + 1] = _cut_frame(frame, byte - seen)
                index += 1
            return index, frame.due_ns, Note("", {"byte": byte})
        seen += len(frame.data)
    return len(frames), 0, None


def _cut_frame(frame: Frame, byte: int) -> tuple[Frame, Frame]:
    """Two parts of a frame. The text counts as out with the second."""
    first = replace(frame, data=frame.data[:byte], offset=None)
    return first, replace(frame, data=frame.data[byte:], apart=True, notes=())


def _delay_after(frames: list[Frame], index: int, by_ns: int) -> None:
    """Everything from `index` on comes later."""
    for frame in frames[index:]:
        frame.due_ns += by_ns


# Changes of frames


def _note(frames: list[Frame], index: int, name: str) -> None:
    frame = frames[index]
    frame.notes += (Note(name, {"chunk": frame.number}),)


def _malform(frames: list[Frame], fault: Fault, shapes: Shapes, draw: random.Random) -> list[Frame]:
    for index in _hits(frames, fault.where, draw):
        frame = frames[index]
        frame.data = _without_last_brace(frame.data)
        _note(frames, index, fault.name)
    return frames


def _without_last_brace(data: bytes) -> bytes:
    end = data.rfind(b"}")
    return data[:end] + data[end + 1 :]


def _duplicate(frames: list[Frame], fault: Fault, shapes: Shapes, draw: random.Random) -> list[Frame]:
    for index in reversed(_hits(frames, fault.where, draw)):
        copy = replace(frames[index], notes=())
        frames.insert(index + 1, copy)
        _note(frames, index + 1, fault.name)
    return frames


def _reorder(frames: list[Frame], fault: Fault, shapes: Shapes, draw: random.Random) -> list[Frame]:
    for index in _hits(frames, fault.where, draw):
        if index + 1 < len(frames) and frames[index + 1].number:
            one, other = frames[index], frames[index + 1]
            one.data, other.data = other.data, one.data
            _note(frames, index, fault.name)
    return frames


def _lose(frames: list[Frame], fault: Fault, shapes: Shapes, draw: random.Random) -> list[Frame]:
    lost = _hits(frames, fault.where, draw)
    for index in lost:
        # What is not written cannot be stamped: the next frame tells of it.
        if index + 1 < len(frames):
            frames[index + 1].notes += (*frames[index].notes, Note(fault.name, {"chunk": frames[index].number}))
    gone = set(lost)
    return [frame for index, frame in enumerate(frames) if index not in gone]


def _insert_empty(frames: list[Frame], fault: Fault, shapes: Shapes, draw: random.Random) -> list[Frame]:
    for index in reversed(_hits(frames, fault.where, draw)):
        note = Note(fault.name, {"chunk": frames[index].number})
        frames.insert(index, Frame(frames[index].due_ns, shapes.empty(), notes=(note,)))
    return frames


def _giant(frames: list[Frame], fault: Fault, shapes: Shapes, draw: random.Random) -> list[Frame]:
    for index in _hits(frames, fault.where, draw):
        data = frames[index].data
        end = data.rfind(b"}")
        # White space is valid there: the frame grows and its meaning stays.
        missing = int(fault.options["bytes"]) - len(data)
        frames[index].data = data[:end] + b" " * max(0, missing) + data[end:]
        _note(frames, index, fault.name)
    return frames


def _comment(frames: list[Frame], fault: Fault, shapes: Shapes, draw: random.Random) -> list[Frame]:
    every = int(fault.options["every"])
    hits = _content(frames)[::every] if fault.where is None else _hits(frames, fault.where, draw)
    for index in reversed(hits):
        note = Note(fault.name, {"chunk": frames[index].number})
        comment = f": {fault.options['text']}\n\n".encode()
        frames.insert(index, Frame(frames[index].due_ns, comment, notes=(note,)))
    return frames


def _text_after_done(frames: list[Frame], fault: Fault, shapes: Shapes, draw: random.Random) -> list[Frame]:
    due_ns = frames[-1].due_ns if frames else 0
    frames.append(Frame(due_ns, shapes.surplus(fault.options["text"]), notes=(Note(fault.name),)))
    return frames


def _coalesce(frames: list[Frame], fault: Fault, shapes: Shapes, draw: random.Random) -> list[Frame]:
    content = _content(frames)
    size = int(fault.options["chunks"])
    for start in range(0, len(content), size):
        group = content[start : start + size]
        for index in group:
            frames[index].due_ns = frames[group[-1]].due_ns
    if content:
        _note(frames, content[0], fault.name)
    return frames


def _split_utf8(frames: list[Frame], fault: Fault, shapes: Shapes, draw: random.Random) -> list[Frame]:
    hits = _hits(frames, fault.where, draw)
    if fault.where is None or fault.where.unit != "probability":
        # The first chunk from there on that has a character of several bytes.
        first = hits[0] if hits else len(frames)
        hits = [index for index in _content(frames) if index >= first and _wide_at(frames[index].data)][:1]
    for index in reversed(hits):
        byte = _wide_at(frames[index].data)
        if byte is not None:
            frames = _split(frames, index, byte + 1, fault)
    return frames


def _wide_at(data: bytes) -> int | None:
    return next((position for position, byte in enumerate(data) if byte >= 0xC0), None)


def _split_frame(frames: list[Frame], fault: Fault, shapes: Shapes, draw: random.Random) -> list[Frame]:
    if fault.where is not None and fault.where.unit == "byte":
        index, _, note = _point(frames, fault.where, draw)
        if note is not None:
            frames[index].notes += (Note(fault.name, note.at),)
            _delay_after(frames, index, fault.ms_ns("gap_ms") or 0)
        return frames
    for index in reversed(_hits(frames, fault.where, draw)):
        size = len(frames[index].data)
        byte = int(fault.options["byte"] or size // 2)
        frames = _split(frames, index, min(byte, size - 1), fault)
    return frames


def _split(frames: list[Frame], index: int, byte: int, fault: Fault) -> list[Frame]:
    """Write a frame in two parts, with the fault's gap between them."""
    number = frames[index].number
    frames[index : index + 1] = _cut_frame(frames[index], byte)
    frames[index + 1].notes += (Note(fault.name, {"chunk": number, "byte": byte}),)
    _delay_after(frames, index + 1, fault.ms_ns("gap_ms") or 0)
    return frames


def _drip(frames: list[Frame], fault: Fault, shapes: Shapes, draw: random.Random) -> list[Frame]:
    hits = set(range(len(frames)) if fault.where is None else _hits(frames, fault.where, draw))
    size, gap_ns = int(fault.options["bytes"]), fault.ms_ns("gap_ms") or 0
    out: list[Frame] = []
    late_ns = 0
    for index, frame in enumerate(frames):
        frame.due_ns += late_ns
        if index not in hits or len(out) > MAX_DRIPS:
            out.append(frame)
            continue
        frame.notes += (Note(fault.name, {"chunk": frame.number}),)
        starts = range(0, len(frame.data), size)
        for position, start in enumerate(starts):
            out.append(
                Frame(
                    frame.due_ns + position * gap_ns,
                    frame.data[start : start + size],
                    frame.number,
                    frame.offset if start == starts[-1] else None,
                    apart=True,
                    notes=frame.notes if position == 0 else (),
                )
            )
        late_ns += (len(starts) - 1) * gap_ns
    return out


def _stall(frames: list[Frame], fault: Fault, shapes: Shapes, draw: random.Random) -> list[Frame]:
    index, _, note = _point(frames, fault.where, draw)
    if note is not None and index < len(frames):
        frames[index].notes += (Note(fault.name, note.at),)
        frames[index].apart = True
        _delay_after(frames, index, fault.ms_ns() or 0)
    return frames


def _end(frames: list[Frame], fault: Fault, shapes: Shapes, draw: random.Random, script: Script) -> list[Frame]:
    """End the reply early. The first of several ends counts."""
    index, at_ns, note = _point(frames, fault.where, draw)
    if note is None or script.cut:
        return frames
    script.cut = True
    script.ending = _ENDINGS[fault.name]
    script.ending_ns = at_ns
    script.notes += (Note(fault.name, note.at),)
    kept = frames[:index]
    if fault.name == "error":
        options = fault.options
        kept.append(Frame(at_ns, shapes.error(options["message"], options["type"], options["code"])))
    if fault.name == "stall-forever":
        script.hold_ns = fault.ms_ns()
    return kept


_CHANGES: dict[str, Callable[[list[Frame], Fault, Shapes, random.Random], list[Frame]]] = {
    "malformed-json": _malform,
    "duplicate-chunk": _duplicate,
    "reorder-chunks": _reorder,
    "lost-chunk": _lose,
    "empty-choices": _insert_empty,
    "giant-chunk": _giant,
    "comments": _comment,
    "text-after-done": _text_after_done,
    "coalesce": _coalesce,
    "split-utf8": _split_utf8,
    "split-frame": _split_frame,
    "drip": _drip,
    "stall": _stall,
}
_ENDINGS = {
    "cut-fin": Ending.FIN,
    "cut-rst": Ending.RST,
    "cut-end": Ending.END,
    "error": Ending.END,
    "stall-forever": Ending.HOLD,
}
# First what changes frames, then how they are written, then how the reply ends.
_ORDER = {name: position for position, name in enumerate([*_CHANGES, *_ENDINGS], start=1)}
