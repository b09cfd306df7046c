"""Faults in the way that frames are written: when, in how many writes, and in which encoding."""

from __future__ import annotations

from dataclasses import replace

from mock_openai.upstream.faults.draft import Draft, FrameChange, ScriptChange
from mock_openai.upstream.faults.kind import GAP_MS, MAX_BYTES, MS, Fault, Kind, Range
from mock_openai.upstream.faults.places import content_of, cut_frame, hits, point
from mock_openai.upstream.stream import Frame, Note, Script, compressed

MAX_DRIPS = 200_000


def _coalesce(draft: Draft, fault: Fault) -> None:
    frames, content = draft.frames, content_of(draft.frames)
    size = int(fault.options["chunks"])
    for start in range(0, len(content), size):
        group = content[start : start + size]
        for index in group:
            frames[index].due_ns = frames[group[-1]].due_ns
    if content:
        draft.note(content[0], fault)


def _split_utf8(draft: Draft, fault: Fault) -> None:
    frames = draft.frames
    found = hits(frames, fault.where, draft.draw)
    if fault.where is None or fault.where.unit != "probability":
        # The first chunk from there on that has a character of several bytes.
        first = found[0] if found else len(frames)
        found = [index for index in content_of(frames) if index >= first and _wide_at(frames[index].data)][:1]
    for index in reversed(found):
        byte = _wide_at(frames[index].data)
        if byte is not None:
            _split(draft, index, byte + 1, fault)


def _wide_at(data: bytes) -> int | None:
    """Where the first character of several bytes begins."""
    return next((position for position, byte in enumerate(data) if byte >= 0xC0), None)


def _split_frame(draft: Draft, fault: Fault) -> None:
    if fault.where is not None and fault.where.unit == "byte":
        index, _, at = point(draft.frames, fault.where, draft.draw)
        if at is not None:
            draft.frames[index].notes += (Note(fault.name, at),)
            draft.delay_after(index, fault.ms_ns("gap_ms") or 0)
        return
    for index in reversed(hits(draft.frames, fault.where, draft.draw)):
        size = len(draft.frames[index].data)
        byte = int(fault.options["byte"] or size // 2)
        _split(draft, index, min(byte, size - 1), fault)


def _split(draft: Draft, index: int, byte: int, fault: Fault) -> None:
    """Write a frame in two parts, with the fault's gap between them."""
    frames = draft.frames
    number = frames[index].number
    frames[index : index + 1] = cut_frame(frames[index], byte)
    frames[index + 1].notes += (Note(fault.name, {"chunk": number, "byte": byte}),)
    draft.delay_after(index + 1, fault.ms_ns("gap_ms") or 0)


def _drip(draft: Draft, fault: Fault) -> None:
    frames = draft.frames
    hit = set(range(len(frames)) if fault.where is None else hits(frames, fault.where, draft.draw))
    size, gap_ns = int(fault.options["bytes"]), fault.ms_ns("gap_ms") or 0
    out: list[Frame] = []
    late_ns = 0
    for index, frame in enumerate(frames):
        frame.due_ns += late_ns
        if index not in hit or len(out) > MAX_DRIPS:
            out.append(frame)
            continue
        frame.notes += (Note(fault.name, {"chunk": frame.number}),)
        parts = _parts(frame, size, gap_ns)
        out += parts
        late_ns += (len(parts) - 1) * gap_ns
    draft.frames = out


def _parts(frame: Frame, size: int, gap_ns: int) -> list[Frame]:
    """A frame in parts of `size` bytes, `gap_ns` apart. The text counts as out with the last."""
    starts = range(0, len(frame.data), size)
    return [
        replace(
            frame,
            due_ns=frame.due_ns + position * gap_ns,
            data=frame.data[start : start + size],
            offset=frame.offset if start == starts[-1] else None,
            text=frame.text if start == starts[-1] else "",
            apart=True,
            notes=frame.notes if position == 0 else (),
        )
        for position, start in enumerate(starts)
    ]


def _stall(draft: Draft, fault: Fault) -> None:
    frames = draft.frames
    index, _, at = point(frames, fault.where, draft.draw)
    if at is not None and index < len(frames):
        frames[index].notes += (Note(fault.name, at),)
        frames[index].apart = True
        draft.delay_after(index, fault.ms_ns() or 0)


def _crlf(script: Script, fault: Fault) -> None:
    for write in script.writes:
        write.data = write.data.replace(b"\n", b"\r\n")
    script.notes += (Note(fault.name),)


def _gzip(script: Script, fault: Fault) -> None:
    compressed(list(script.writes))
    script.gzip = True
    script.notes += (Note(fault.name),)


KINDS: list[Kind] = [
    FrameChange(
        "coalesce",
        "this many chunks go out in one write, when the last of them is due",
        {"chunks": Range(5, 2, 100_000)},
        stream_only=True,
        change=_coalesce,
    ),
    FrameChange(
        "split-utf8",
        "a multi-byte character is split across two writes; generated text then contains such characters",
        {"gap_ms": GAP_MS},
        placed=True,
        wide_text=True,
        change=_split_utf8,
    ),
    FrameChange(
        "split-frame",
        'a frame is split across two writes: at `byte` of the chunk\'s frame, or at `{"byte": n}` of the body',
        {"gap_ms": GAP_MS, "byte": Range(None, 1, MAX_BYTES, "the middle")},
        placed=True,
        change=_split_frame,
    ),
    FrameChange(
        "drip",
        "this many bytes per write; without `at`, throughout the reply",
        {"bytes": Range(1, 1, 65_536), "gap_ms": Range(1, 0, 10_000)},
        placed=True,
        change=_drip,
    ),
    FrameChange("stall", "a pause of `ms`, then the rest", {"ms": MS}, placed=True, change=_stall),
    ScriptChange("crlf", "lines end in CR LF", stream_only=True, change=_crlf),
    ScriptChange("gzip", "compressed, and flushed after each write", change=_gzip),
]
