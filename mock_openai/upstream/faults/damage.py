"""Applies the requested faults to one reply: pure, from its frames to the script that is written."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
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


def damaged(
    frames: Iterable[Frame], faults: Sequence[Fault], shapes: Shapes, draw: random.Random, text: str = ""
) -> Script:
    """The script of a reply with this text: its frames, changed by its faults in the order of the catalogue.

    Chunks keep the number that they had in the undamaged reply, so that faults do not move each other's places.
    """
    draft = Draft(_with_text(frames, text), shapes, draw)
    script = draft.script
    ordered = sorted(faults, key=lambda fault: _ORDER[fault.name])
    for fault in ordered:
        if isinstance(fault.kind, LeftOut):
            script.notes += (Note(fault.name),)
        elif isinstance(fault.kind, FrameChange):
            fault.kind.change(draft, fault)
    script.writes = writes = list(joined(draft.frames))
    script.texts = _altered_texts(writes, text)
    for fault in ordered:
        if isinstance(fault.kind, ScriptChange):
            fault.kind.change(script, fault)
    return script


def _with_text(frames: Iterable[Frame], text: str) -> list[Frame]:
    """Copies of the frames that know which part of the text is theirs."""
    out, before = [], 0
    for frame in frames:
        after = before if frame.offset is None else frame.offset
        out.append(replace(frame, text=text[before:after]))
        before = after
    return out


def _altered_texts(writes: Iterable[Frame], text: str) -> list[str] | None:
    """The text of each write of content; None where it is the planned one as far as the reply goes."""
    content = [write for write in writes if write.offset is not None]
    out = 0
    for write in content:
        if text[out : out + len(write.text)] != write.text or out + len(write.text) != write.offset:
            return [write.text for write in content]
        out = write.offset
    return None
