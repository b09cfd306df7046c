"""Where in a reply a fault acts: by content chunk, byte, time or probability."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeAlias

from mock_openai.upstream.faults.kind import Where
from mock_openai.upstream.stream import Frame

NS_PER_MS = 1_000_000

Point: TypeAlias = tuple[int, int, dict[str, float] | None]
"""A place between two frames: the index of the frame after it, its moment in ns, and how the journal calls it.

The last item is None where the reply ends before the place.
"""


def content_of(frames: Sequence[Frame]) -> list[int]:
    """The indexes of the content frames."""
    return [index for index, frame in enumerate(frames) if frame.number]


def hits(frames: Sequence[Frame], where: Where | None, draw: random.Random) -> list[int]:
    """The indexes of the content frames that a fault hits; the one in the middle where nothing else is said."""
    content = content_of(frames)
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


def point(frames: list[Frame], where: Where | None, draw: random.Random) -> Point:
    """Where between two frames a fault acts. A place within a frame splits the frame in `frames`."""
    content = content_of(frames)
    if where is None and len(content) <= 1:
        where = Where("byte", sum(len(frame.data) for frame in frames) // 2)
    if where is None or where.unit == "probability":
        hit = hits(frames, where, draw)
        if not hit:
            return len(frames), 0, None
        where = Where("chunk", frames[hit[0]].number)
    if where.unit == "chunk":
        if where.value == 0:
            index = content[0] if content else 0
            return index, frames[index].due_ns if frames else 0, {"chunk": 0}
        found = [index for index in content if frames[index].number <= where.value]
        if not found or (content and frames[content[-1]].number < where.value):
            return len(frames), 0, None
        return found[-1] + 1, frames[found[-1]].due_ns, {"chunk": where.value}
    if where.unit == "ms":
        at_ns = round(where.value * NS_PER_MS)
        index = next((i for i, frame in enumerate(frames) if frame.due_ns > at_ns), len(frames))
        return (index, at_ns, {"ms": where.value}) if index < len(frames) else (index, at_ns, None)
    return _split_at_byte(frames, int(where.value))


def _split_at_byte(frames: list[Frame], byte: int) -> Point:
    seen = 0
    for index, frame in enumerate(frames):
        if seen + len(frame.data) > byte:
            if byte > seen:
                frames[index : index + 1] = cut_frame(frame, byte - seen)
                index += 1
            return index, frame.due_ns, {"byte": byte}
        seen += len(frame.data)
    return len(frames), 0, None


def cut_frame(frame: Frame, byte: int) -> tuple[Frame, Frame]:
    """Two parts of a frame. The text counts as out with the second."""
    first = replace(frame, data=frame.data[:byte], offset=None, text="")
    return first, replace(frame, data=frame.data[byte:], apart=True, notes=())
