"""Faults in the way that a reply ends: too early, too late, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mock_openai.upstream.faults.draft import Draft, FrameChange, ScriptChange
from mock_openai.upstream.faults.kind import FOREVER_MS, MAX_MS, Fault, Kind, Range, Words
from mock_openai.upstream.faults.places import point
from mock_openai.upstream.params import Refusal
from mock_openai.upstream.stream import Ending, Frame, Note, Script


def _ends_in(ending: Ending) -> Callable[[Draft, Fault], None]:
    return partial(_end, ending)


def _end(ending: Ending, draft: Draft, fault: Fault, last: Callable[[], bytes] | None = None) -> None:
    """End the reply early, after a frame `last` where there is one. The first of several ends counts."""
    script = draft.script
    index, at_ns, at = point(draft.frames, fault.where, draft.draw)
    if at is None or script.cut:
        return
    script.cut, script.ending, script.ending_ns = True, ending, at_ns
    script.notes += (Note(fault.name, at),)
    del draft.frames[index:]
    if last is not None:
        draft.frames.append(Frame(at_ns, last()))


def _stall_forever(draft: Draft, fault: Fault) -> None:
    already_cut = draft.script.cut
    _end(Ending.HOLD, draft, fault)
    if not already_cut:
        draft.script.hold_ns = fault.ms_ns()


def _error(draft: Draft, fault: Fault) -> None:
    options = fault.options
    last = partial(draft.shapes.error, options["message"], options["type"], options["code"])
    _end(Ending.END, draft, fault, last)


def _told_at_once(fault: Fault) -> Refusal:
    """The error of a reply that is not streamed: it can only be told instead of the reply."""
    options = fault.options
    return Refusal(options["message"], status=500, type_=options["type"], code=options["code"])


def _hold_open(script: Script, fault: Fault) -> None:
    if not script.cut:
        script.ending, script.hold_ns = Ending.HOLD, fault.ms_ns()
        script.notes += (Note(fault.name),)


def _ignore_cancel(script: Script, fault: Fault) -> None:
    script.ignore_cancel_ns = fault.ms_ns()
    script.notes += (Note(fault.name),)


KINDS: list[Kind] = [
    FrameChange("cut-fin", "FIN in the middle of the body", placed=True, change=_ends_in(Ending.FIN)),
    FrameChange("cut-rst", "RST in the middle of the body", placed=True, change=_ends_in(Ending.RST)),
    FrameChange(
        "cut-end",
        "the body ends as HTTP requires, but early: no terminal event",
        placed=True,
        change=_ends_in(Ending.END),
    ),
    FrameChange(
        "error",
        "an error object in the stream, which then ends; 500 if the reply is not streamed",
        {
            "message": Words(
                "The server had an error while processing your request. Sorry about that!",
                shown="the real service's",
            ),
            "type": Words("server_error"),
            "code": Words(None),
        },
        placed=True,
        instead_of_whole=_told_at_once,
        change=_error,
    ),
    FrameChange(
        "stall-forever", "nothing more is sent; FIN after `ms`", {"ms": FOREVER_MS}, placed=True, change=_stall_forever
    ),
    ScriptChange("hold-open", "the body stays open after the terminal event", {"ms": FOREVER_MS}, change=_hold_open),
    ScriptChange(
        "ignore-cancel",
        "the reply goes on for `ms` after the client has left",
        {"ms": Range(None, 0, MAX_MS, "to the end")},
        change=_ignore_cancel,
    ),
]
