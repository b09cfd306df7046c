"""Faults in the stream that change what its frames say, or which of them there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mock_openai.upstream.faults.draft import Draft, FrameChange
from mock_openai.upstream.faults.kind import MAX_BYTES, Fault, Kind, Range, Words
from mock_openai.upstream.faults.places import content_of, hits
from mock_openai.upstream.stream import Frame, Note

KINDS: list[Kind] = []


def _fault(
    name: str, told: str, *, placed: bool = True, stream_only: bool = True, **options: Range | Words
) -> Callable[[Callable[[Draft, Fault], None]], Callable[[Draft, Fault], None]]:
    """List a change under its name."""

    def listed(change: Callable[[Draft, Fault], None]) -> Callable[[Draft, Fault], None]:
        KINDS.append(FrameChange(name, told, options, placed, stream_only, change=change))
        return change

    return listed


@_fault("malformed-json", "the chunk's JSON lacks its last brace", stream_only=False)
def _malform(draft: Draft, fault: Fault) -> None:
    for index in hits(draft.frames, fault.where, draft.draw):
        data = draft.frames[index].data
        end = data.rfind(b"}")
        draft.frames[index].data = data[:end] + data[end + 1 :]
        draft.frames[index].text = ""  # nobody can read it
        draft.note(index, fault)


@_fault("duplicate-chunk", "the chunk is sent twice")
def _duplicate(draft: Draft, fault: Fault) -> None:
    for index in reversed(hits(draft.frames, fault.where, draft.draw)):
        draft.frames.insert(index + 1, replace(draft.frames[index], notes=()))
        draft.note(index + 1, fault)


@_fault("reorder-chunks", "the chunk changes places with the next one")
def _reorder(draft: Draft, fault: Fault) -> None:
    frames = draft.frames
    for index in hits(frames, fault.where, draft.draw):
        if index + 1 < len(frames) and frames[index + 1].number:
            one, other = frames[index], frames[index + 1]
            one.data, other.data = other.data, one.data
            one.text, other.text = other.text, one.text
            draft.note(index, fault)


@_fault("lost-chunk", "the chunk is missing")
def _lose(draft: Draft, fault: Fault) -> None:
    frames = draft.frames
    lost = hits(frames, fault.where, draft.draw)
    for index in lost:
        # What is not written cannot be stamped: the next frame tells of it.
        if index + 1 < len(frames):
            frames[index + 1].notes += (*frames[index].notes, Note(fault.name, {"chunk": frames[index].number}))
    gone = set(lost)
    draft.frames = [frame for index, frame in enumerate(frames) if index not in gone]


@_fault("empty-choices", "a frame without choices before the chunk")
def _insert_empty(draft: Draft, fault: Fault) -> None:
    _insert(draft, fault, hits(draft.frames, fault.where, draft.draw), draft.shapes.empty)


@_fault(
    "giant-chunk",
    "the chunk's frame is padded to this size with insignificant white space",
    stream_only=False,
    bytes=Range(1 << 20, 1, MAX_BYTES),
)
def _giant(draft: Draft, fault: Fault) -> None:
    for index in hits(draft.frames, fault.where, draft.draw):
        data = draft.frames[index].data
        end = data.rfind(b"}")
        # White space is valid there: the frame grows and its meaning stays.
        missing = int(fault.options["bytes"]) - len(data)
        draft.frames[index].data = data[:end] + b" " * max(0, missing) + data[end:]
        draft.note(index, fault)


@_fault(
    "comments",
    "a comment line before the chunk; without `at`, before the first chunk and every `every`-th after it",
    text=Words("keep-alive"),
    every=Range(1, 1, 100_000),
)
def _comment(draft: Draft, fault: Fault) -> None:
    frames, every = draft.frames, int(fault.options["every"])
    found = content_of(frames)[::every] if fault.where is None else hits(frames, fault.where, draft.draw)
    _insert(draft, fault, found, lambda: f": {fault.options['text']}\n\n".encode())


def _insert(draft: Draft, fault: Fault, found: list[int], make: Callable[[], bytes]) -> None:
    """Put a frame of no content before each of the frames at `found`."""
    for index in reversed(found):
        due_ns, number = draft.frames[index].due_ns, draft.frames[index].number
        draft.frames.insert(index, Frame(due_ns, make(), notes=(Note(fault.name, {"chunk": number}),)))


@_fault("text-after-done", "a content chunk after the terminal event", placed=False, text=Words(" and more"))
def _text_after_done(draft: Draft, fault: Fault) -> None:
    due_ns = draft.frames[-1].due_ns if draft.frames else 0
    surplus = draft.shapes.surplus(fault.options["text"])
    draft.frames.append(Frame(due_ns, surplus, notes=(Note(fault.name),)))
