"""What the ordered faults make of one reply: pure, from its frames to the script that is written."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from mock_openai.upstream.faults.catalogue import KINDS
from mock_openai.upstream.faults.content import LeftOut
from mock_openai.upstream.faults.draft import Draft, FrameChange, ScriptChange, Shapes
from mock_openai.upstream.faults.kind import Fault
from mock_openai.upstream.stream import Frame, Note, Part, Script, joined

_ORDER = {name: position for position, name in enumerate(KINDS)}


def drawn(faults: tuple[Fault, ...], draw: random.Random) -> tuple[Fault, ...]:
    """Those that happen to this reply. One number is drawn for each, so that one fault never moves another."""
    return tuple(fault for fault in faults if draw.random() < fault.probability)


def left_out(faults: Sequence[Fault]) -> frozenset[Part]:
    """The parts that the reply's protocol shall not write."""
    return frozenset(fault.kind.part for fault in faults if isinstance(fault.kind, LeftOut))


def damaged(frames: list[Frame], faults: Sequence[Fault], shapes: Shapes, draw: random.Random) -> Script:
    """The script of a reply: its frames, changed by its faults in the order of the catalogue.

    Chunks keep the number that they had in the undamaged reply, so that faults do not move each other's places.
    """
    if not faults:
        return Script(joined(frames), ending_ns=frames[-1].due_ns if frames else 0)
    draft = Draft([replace(frame) for frame in frames], shapes, draw)
    script = draft.script
    ordered = sorted(faults, key=lambda fault: _ORDER[fault.name])
    for fault in ordered:
        if isinstance(fault.kind, LeftOut):
            script.notes += (Note(fault.name),)
        elif isinstance(fault.kind, FrameChange):
            fault.kind.change(draft, fault)
    script.writes = joined(draft.frames)
    if not script.cut:
        script.ending_ns = draft.frames[-1].due_ns if draft.frames else 0
    for fault in ordered:
        if isinstance(fault.kind, ScriptChange):
            fault.kind.change(script, fault)
    return script
