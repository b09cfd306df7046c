"""Everything that is said of one stream by itself: its figures, its verdict, and what was wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

from streambench.analysis.alignment import Alignment, align
from streambench.analysis.authenticity import StreamAuthenticity, guess_stream, judge_stream
from streambench.analysis.metrics import Settings, StreamFigures, measure
from streambench.findings import Finding, Severity
from streambench.record.model import Outcome, StreamRecord


@dataclass(slots=True)
class AnalysedStream:
    """A record with what was computed of it. `alignment` and `authenticity` are None where there is nothing to say."""

    record: StreamRecord
    alignment: Alignment | None
    figures: StreamFigures
    authenticity: StreamAuthenticity | None
    findings: list[Finding]

    @property
    def violations(self) -> list[Finding]:
        """The findings that break the protocol."""
        return [finding for finding in self.findings if finding.severity is Severity.VIOLATION]


def analyse(record: StreamRecord, settings: Settings) -> AnalysedStream:
    """Compute what can be said of a stream from its record alone."""
    alignment = align(record)
    found = None
    if record.outcome is Outcome.COMPLETED:
        found = judge_stream(alignment) if alignment is not None else guess_stream(record)
    extra = list(alignment.findings) if alignment is not None else []
    return AnalysedStream(record, alignment, measure(record, alignment, settings), found, [*record.findings, *extra])
