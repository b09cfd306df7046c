"""One stream drawn in characters: when it connected, waited, and received text."""

from __future__ import annotations

from collections.abc import Sequence

from streambench.analysis.milestones import spans
from streambench.dialects.milestone import Milestone
from streambench.record.model import StreamRecord
from streambench.units import format_duration

MIN_WIDTH = 16
MAX_NAME = 24  # columns of a row's name
BESIDE = 3 + 2 + 28  # what stands around a row's name and its axis
LEVELS = " ▁▂▃▄▅▆▇█"


def waterfall(
    record: StreamRecord, width: int = 60, *, columns: int | None = None, milestones: Sequence[Milestone] = ()
) -> list[str]:
    """The lines of `record`'s waterfall on one common time axis of `width` columns, from its start to its end.

    With `columns`, the axis takes what a terminal of so many columns leaves, and is never longer than `width`.

    Phases are bars, and so are the ways to those of the `milestones` that were reached; text is a row of columns whose
    height says how many characters fell into each slice of time. A stream that is still open is drawn up to its newest
    event.
    """
    reached = spans(record, milestones)
    beside = min(MAX_NAME, max(map(len, ("upstream  ", *reached))))
    if columns is not None:
        width = min(width, max(MIN_WIDTH, columns - BESIDE - beside))
    start_ns = record.start_ns
    marks = [record.connected_ns, record.sent_ns, record.headers_ns, record.end_ns, *record.events.at_ns[-1:]]
    span_ns = max((at_ns - start_ns for at_ns in marks if at_ns is not None), default=0)
    if span_ns <= 0:
        return ["  (nothing came)"]

    def column(at_ns: int) -> int:
        return min(width - 1, max(0, (at_ns - start_ns) * width // span_ns))

    def bar(name: str, from_ns: int | None, to_ns: int | None) -> str | None:
        if from_ns is None or to_ns is None:
            return None
        left, right = column(from_ns), column(to_ns)
        drawn = " " * left + "━" * max(1, right - left)
        return f"  {name[:beside]:<{beside}} {drawn:<{width}}  {format_duration(to_ns - from_ns)}"

    rows = record.content_rows()
    first_ns = record.events.at_ns[rows[0]] if rows else None
    end_label = format_duration(span_ns)
    lines: list[str | None] = [
        f"  {'':<{beside}} 0{end_label:>{width - 1}}",
        None if record.reused_connection else bar("connect", start_ns, record.connected_ns),
        bar("headers", record.sent_ns or record.connected_ns, record.headers_ns),
        bar("waiting", record.headers_ns or record.sent_ns, first_ns),
        *(bar(name, span.since_ns, span.at_ns) for name, span in reached.items()),
    ]
    if rows:
        at_ns = [record.events.at_ns[i] for i in rows]
        chars = [record.events.chars[i] for i in rows]
        text = f"{len(rows)} chunks, {sum(chars)} characters"
        lines.append(f"  {'text':<{beside}} {density([column(at) for at in at_ns], chars, width)}  {text}")
    for exchange in record.upstream:
        if exchange.written_ns:
            grown = [after - before for after, before in zip(exchange.offset, [0, *exchange.offset], strict=False)]
            drawn = density([column(at) for at in exchange.written_ns], grown, width)
            lines.append(f"  {'upstream':<{beside}} {drawn}  {len(exchange.written_ns)} writes")
    return [line for line in lines if line is not None]


def density(columns: Sequence[int], weights: Sequence[int], width: int) -> str:
    """A row of `width` block characters: how much weight fell into each column, relative to the fullest one."""
    sums = [0] * width
    for position, weight in zip(columns, weights, strict=True):
        sums[position] += weight
    fullest = max(sums)
    if fullest == 0:
        return " " * width
    return "".join(LEVELS[0] if not total else LEVELS[max(1, round(total * 8 / fullest))] for total in sums)
