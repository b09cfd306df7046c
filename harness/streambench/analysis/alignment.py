"""Both sides of one stream: each piece of text that the client got, and when the upstream wrote it.

Pieces are matched by their place in the texts (`differences`), so it does not matter how the system between has cut
them anew, nor how many requests it made for one reply. What the upstream really wrote is the truth to compare with,
faults that were ordered from it included.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from streambench.analysis.differences import Piece, Sent, compare
from streambench.endings import ErrorClass
from streambench.findings import Axis, Finding
from streambench.record.model import StreamRecord, UpstreamExchange
from streambench.rules import Rule, declare

TRUNCATED = declare(
    Rule(
        "termination.hidden-truncation",
        Axis.TERMINATION,
        "A reply that the upstream cut short is not presented as complete.",
        "how the upstream's exchange ended",
    )
)
# What an upstream does so that its client can only give up.
_GIVEN_UP = frozenset({"stall-forever", "silent-headers"})


@dataclass(frozen=True, slots=True)
class Alignment:
    """The time lines of a stream, on one clock in ns.

    `exchanges` are the upstream requests that the reply was made of, in the order in which they begin in it; none where
    the client's text is not the upstream's. `upstream` is the one with most of the text. The columns are parallel, one
    row for each client chunk with text of the upstream's: when it arrived, when the upstream had written its newest
    (`written_ns`) and its oldest character (`oldest_ns`), and how many characters it brought; `source` is the number
    of the exchange and `ends` the place in its text of that newest character, `rows` the chunk's row among the
    record's events.
    """

    exchanges: tuple[UpstreamExchange, ...]
    upstream: UpstreamExchange
    arrived_ns: Sequence[int]
    written_ns: Sequence[int]
    oldest_ns: Sequence[int]
    chars: Sequence[int]
    source: Sequence[int]
    ends: Sequence[int]
    rows: Sequence[int]
    findings: tuple[Finding, ...] = ()

    @property
    def lag_ns(self) -> list[int]:
        """What the system between added to each chunk, counted from its newest character."""
        return [arrived - written for arrived, written in zip(self.arrived_ns, self.written_ns, strict=True)]

    @property
    def hold_ns(self) -> list[int]:
        """How old each chunk's oldest character was when it arrived."""
        return [arrived - oldest for arrived, oldest in zip(self.arrived_ns, self.oldest_ns, strict=True)]

    @property
    def reached_client(self) -> bool:
        """At least one write of the upstream arrived whole."""
        return bool(self.deliveries())

    def deliveries(self) -> list[tuple[int, int]]:
        """Each write of the upstream with the moment when the client had all of its text; a write that never reached
        the client whole is left out.
        """
        return [(written_ns, arrived_ns) for written_ns, _, arrived_ns in self.writes() if arrived_ns is not None]

    def writes(self) -> list[tuple[int, int, int | None]]:
        """Each write of the exchanges in the order of time: when it was, how many characters it had, and when the
        client had all of them (None: never).
        """
        out: list[tuple[int, int, int | None]] = []
        for number, exchange in enumerate(self.exchanges):
            if len(self.exchanges) == 1:
                arrived, ends = self.arrived_ns, self.ends
            else:
                chunks = [i for i, source in enumerate(self.source) if source == number]
                arrived, ends = [self.arrived_ns[i] for i in chunks], [self.ends[i] for i in chunks]
            chunk = before = 0
            for written_ns, offset in zip(exchange.written_ns, exchange.sent_offset, strict=True):
                while chunk < len(ends) and ends[chunk] < offset - 1:
                    chunk += 1
                out.append((written_ns, offset - before, arrived[chunk] if chunk < len(ends) else None))
                before = offset
        if len(self.exchanges) > 1:
            out.sort(key=lambda write: write[0])
        return out


def align(record: StreamRecord) -> Alignment | None:
    """The two sides of a stream; None where one of them is missing."""
    candidates = _candidates(record)
    if not candidates or record.text is None:
        return None
    texts = [Sent(exchange.sent_text, exchange.ended != "complete") for exchange in candidates]
    found = compare(texts, record.text, complete=record.terminal_event)
    numbers = found.used
    exchanges = tuple(candidates[number] for number in numbers)
    size = dict.fromkeys(numbers, 0)
    for piece in found.pieces:
        size[piece.text] += piece.size
    main = candidates[max(numbers, key=size.__getitem__)] if numbers else candidates[0]
    findings = [*found.findings, *_hidden_truncation(record, exchanges)]
    source = {number: place for place, number in enumerate(numbers)}
    columns = _Columns([], [], [], [], [], [], [])
    pieces = found.pieces
    firsts = [piece.first for piece in pieces]
    offsets = [exchange.sent_offset for exchange in candidates]
    whole = pieces[0].size if len(pieces) == 1 and pieces[0].first == pieces[0].origin == 0 else 0
    at_ns = record.events.at_ns
    position = 0
    for row, count in enumerate(record.events.chars):
        if count <= 0:
            continue
        begin, position = position, position + count
        if position <= whole:  # so far the texts are the same
            number = pieces[0].text
            first, last = (number, begin), (number, position - 1)
        else:
            edges = _edges(pieces, firsts, begin, position)
            if edges is None:
                continue
            first, last = edges
        written_ns = _write_of(candidates[last[0]].written_ns, offsets[last[0]], last[1])
        oldest_ns = _write_of(candidates[first[0]].written_ns, offsets[first[0]], first[1])
        if written_ns is None or oldest_ns is None:
            continue
        columns.add(at_ns[row], written_ns, oldest_ns, count, source[last[0]], last[1], row)
    return Alignment(
        exchanges,
        main,
        columns.arrived_ns,
        columns.written_ns,
        columns.oldest_ns,
        columns.chars,
        columns.source,
        columns.ends,
        columns.rows,
        tuple(findings),
    )


@dataclass(slots=True)
class _Columns:
    """The columns of an alignment, while they grow."""

    arrived_ns: list[int]
    written_ns: list[int]
    oldest_ns: list[int]
    chars: list[int]
    source: list[int]
    ends: list[int]
    rows: list[int]

    def add(self, arrived: int, written: int, oldest: int, chars: int, source: int, end: int, row: int) -> None:
        self.arrived_ns.append(arrived)
        self.written_ns.append(written)
        self.oldest_ns.append(oldest)
        self.chars.append(chars)
        self.source.append(source)
        self.ends.append(end)
        self.rows.append(row)


def _candidates(record: StreamRecord) -> list[UpstreamExchange]:
    """The upstream requests that the reply may come from, those first that are preferred where texts are equal: of
    several attempts the last one that began to write before the client got anything.
    """
    rows = record.content_rows()
    first_ns = record.events.at_ns[rows[0]] if rows else None
    last_ns = record.events.at_ns[rows[-1]] if rows else record.end_ns
    wrote = [
        exchange
        for exchange in record.upstream
        if exchange.written_ns and exchange.offset and (last_ns is None or _began(exchange) <= last_ns)
    ]
    wrote.reverse()
    return sorted(wrote, key=lambda exchange: first_ns is not None and _began(exchange) > first_ns)


def _began(exchange: UpstreamExchange) -> int:
    """The earliest moment at which its text can have left, on this host's clock."""
    return exchange.written_ns[0] - exchange.clock_error_ns


def _hidden_truncation(record: StreamRecord, exchanges: Sequence[UpstreamExchange]) -> list[Finding]:
    """A complete stream whose last text was broken off by the upstream, and by nobody else; its error event says so."""
    if not exchanges or not record.terminal_event or record.error == ErrorClass.ERROR_EVENT:
        return []
    last = exchanges[-1]
    broken = last.ended in ("fault", "shutdown") or (last.ended == "cancelled" and bool(_GIVEN_UP & set(last.faults)))
    sent, planned = len(last.sent_text.rstrip()), len(last.text.rstrip())
    if not broken or sent >= planned:
        return []
    how = f" ({', '.join(last.faults)})" if last.faults else ""
    return [
        TRUNCATED.found(
            f"The upstream broke off{how} after {sent:,} of {planned:,} characters, but the stream ended as "
            "if the reply were complete."
        )
    ]


def _write_of(written_ns: Sequence[int], offset: Sequence[int], place: int) -> int | None:
    """When the upstream had written the character at a place of its text."""
    write = bisect_left(offset, place + 1)
    return written_ns[write] if write < len(written_ns) else None


def _edges(
    pieces: Sequence[Piece], firsts: Sequence[int], begin: int, end: int
) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """The text and the place of the first and of the last character from `begin` to `end` that is the upstream's."""
    low = max(0, bisect_right(firsts, begin) - 1)
    high = bisect_left(firsts, end) - 1
    inside = [piece for piece in pieces[low : high + 1] if piece.first + piece.size > begin]
    if not inside:
        return None
    first, last = inside[0], inside[-1]
    return (
        (first.text, first.origin + max(begin, first.first) - first.first),
        (last.text, last.origin + min(end, last.first + last.size) - 1 - last.first),
    )
