"""What is claimed of real against simulated streaming, beside what this run measured.

The claims are those that the authors of three chat systems published with their own change from simulated to real
streaming; the pages of these systems in docs/reference/systems/ say more about each.
"""

from __future__ import annotations

import itertools
import statistics
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from streambench.analysis.alignment import Alignment
from streambench.analysis.authenticity import Verdict, bursts
from streambench.analysis.qoe import read
from streambench.analysis.stream import AnalysedStream
from streambench.analysis.summary import Summary, TargetSummary
from streambench.units import NS_PER_MS


@dataclass(frozen=True, slots=True)
class ClaimTable:
    """One claim: the sentence, the system whose authors made it, and per target what was measured.

    `columns` are headings with units; `rows` are (target, cells), the cells parallel to the columns.
    """

    system: str
    claim: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[str, ...]], ...]


def claim_tables(summary: Summary) -> list[ClaimTable]:
    """The tables; none unless the run has a target that forwards beside one that does not."""
    judged = [target for target in summary.targets.values() if target.two_sided and target.counts["completed"]]
    verdicts = {target.authenticity.verdict for target in judged}
    if Verdict.FORWARDED not in verdicts or len(verdicts) < 2:
        return []
    wpm = summary.settings.reading_wpm

    def read_ms(stream: AnalysedStream) -> float | None:
        events = stream.record.events
        rows = stream.record.content_rows()
        if not rows:
            return None
        at_ns, chars = [events.at_ns[i] for i in rows], [events.chars[i] for i in rows]
        return (read(at_ns, chars, wpm).finished_ns - stream.record.intended_ns) / NS_PER_MS

    claims: list[tuple[str, str, dict[str, Figure]]] = [
        (
            "chat-stream",
            "Simulated streaming adds about 50 ms to every word; real streaming has the upstream's own cadence.",
            {
                "client burst gap p50 (ms)": lambda s: _burst_gap_ms(s.alignment, client=True),
                "upstream burst gap p50 (ms)": lambda s: _burst_gap_ms(s.alignment, client=False),
            },
        ),
        (
            "assistant-ws",
            (
                "The first words come after 2 to 5 s when simulated, and within 100 ms of the upstream's first token "
                "when real; the server holds the whole reply in memory, or only a chunk."
            ),
            {
                "TTFC p50 (ms)": _ttfc_ms,
                "behind the upstream's first token p50 (ms)": _first_lag_ms,
                "most text held back p50 (characters)": _held_back,
            },
        ),
        (
            "conversation-stream",
            (
                "Real streaming shows the first token five to six times sooner, and the reader is done earlier by most "
                "of the time that the reply takes to write."
            ),
            {
                "TTFC p50 (ms)": _ttfc_ms,
                "reply written after p50 (ms)": _written_ms,
                f"done reading p50 at {wpm:g} words/min (ms)": read_ms,
            },
        ),
    ]
    figures = [figure for _, _, of_claim in claims for figure in of_claim.values()]
    cells = {target.name: iter(_cells(summary, target, figures)) for target in judged}
    return [
        ClaimTable(
            system,
            claim,
            ("verdict", *of_claim),
            tuple(
                (target.name, (str(target.authenticity.verdict), *(next(cells[target.name]) for _ in of_claim)))
                for target in judged
            ),
        )
        for system, claim, of_claim in claims
    ]


Figure = Callable[[AnalysedStream], float | None]


def _cells(summary: Summary, target: TargetSummary, figures: Sequence[Figure]) -> list[str]:
    """The median of each figure over the streams of a target, as text; its records are gone through once."""
    values: list[array[float]] = [array("d") for _ in figures]
    for stream in summary.streams_of(target):
        if stream.alignment is None:
            continue
        for column, figure in zip(values, figures, strict=True):
            value = figure(stream)
            if value is not None:
                column.append(value)
    return [_median_text(column) for column in values]


def _ttfc_ms(stream: AnalysedStream) -> float | None:
    return stream.figures.stream.get("ttfc")


def _median_text(values: Sequence[float]) -> str:
    if not values:
        return "–"
    middle = statistics.median(values)
    return f"{middle:,.0f}" if abs(middle) >= 100 else f"{middle:,.1f}"


def _burst_gap_ms(alignment: Alignment | None, *, client: bool) -> float | None:
    if alignment is None:
        return None
    moments = bursts(alignment.arrived_ns if client else alignment.upstream.written_ns)
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    return statistics.median(gaps) / NS_PER_MS if gaps else None


def _first_lag_ms(stream: AnalysedStream) -> float | None:
    alignment = stream.alignment
    if alignment is None or not alignment.arrived_ns:
        return None
    return (alignment.arrived_ns[0] - alignment.upstream.written_ns[0]) / NS_PER_MS


def _written_ms(stream: AnalysedStream) -> float | None:
    alignment = stream.alignment
    if alignment is None:
        return None
    return (alignment.upstream.written_ns[-1] - stream.record.intended_ns) / NS_PER_MS


def _held_back(stream: AnalysedStream) -> float | None:
    """The most characters that the upstream had written and the client had not got, at any moment."""
    alignment = stream.alignment
    if alignment is None:
        return None
    steps = [
        (at_ns, 1, offset)
        for at_ns, offset in zip(alignment.upstream.written_ns, alignment.upstream.sent_offset, strict=True)
    ]
    got = 0
    for at_ns, count in zip(alignment.arrived_ns, alignment.chars, strict=True):
        got += count
        steps.append((at_ns, 0, got))
    written = arrived = most = 0
    for _, side, offset in sorted(steps):
        if side:
            written = offset
            most = max(most, written - arrived)
        else:
            arrived = offset
    return float(most)
