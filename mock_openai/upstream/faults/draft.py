"""A reply that faults are changing: its frames, and the script that they will become."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from mock_openai.upstream.faults.kind import Fault, Kind
from mock_openai.upstream.stream import Frame, Note, Script


class Shapes(Protocol):
    """The frames that a fault needs and only the reply's protocol can make."""

    def surplus(self, text: str) -> bytes:
        """A content frame that was not planned."""

    def empty(self) -> bytes:
        """A frame that is valid and carries no choice."""

    def error(self, message: str, type_: str, code: str | None) -> bytes:
        """An error told in the middle of a stream."""


@dataclass(slots=True)
class Draft:
    """The frames of one reply, which faults change in place. `draw` is the source of their places."""

    frames: list[Frame]
    shapes: Shapes
    draw: random.Random
    script: Script = field(default_factory=lambda: Script([]))

    def note(self, index: int, fault: Fault) -> None:
        """The fault is journalled when the frame at `index` is written."""
        frame = self.frames[index]
        frame.notes += (Note(fault.name, {"chunk": frame.number}),)

    def delay_after(self, index: int, by_ns: int) -> None:
        """Everything from the frame at `index` on comes later."""
        for frame in self.frames[index:]:
            frame.due_ns += by_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameChange(Kind):
    """A fault that changes frames, before they are joined to writes."""

    change: Callable[[Draft, Fault], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptChange(Kind):
    """A fault that changes the finished script: the bytes of its writes, or what follows them."""

    change: Callable[[Script, Fault], None]
