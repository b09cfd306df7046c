"""The analysis of a single stream: its figures, its verdict, and its problems."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from streambench.analysis.alignment import Alignment, align
from streambench.analysis.metrics import Settings, StreamFigures, measure
from streambench.analysis.stream_verdict import guess_stream, judge_stream
from streambench.analysis.usage import check_usage
from streambench.analysis.verdicts import StreamAuthenticity, Verdict, Why
from streambench.findings import Finding, Severity
from streambench.record.model import Outcome, StreamRecord
from streambench.record.recorder import REPEATED


@dataclass(slots=True)
class AnalysedStream:
    """A record with what was computed of it. `alignment` and `authenticity` are None where there is nothing to say."""

    record: StreamRecord
    alignment: Alignment | None
    figures: StreamFigures
    authenticity: StreamAuthenticity | None
    findings: list[Finding]

    def counted_findings(self) -> Iterator[tuple[Finding, int]]:
        """Each finding, and how often it came: once, or for those that are not kept, an example and their number."""
        for finding in self.findings:
            yield finding, 1
        for further in self.record.further:
            yield further.first, further.count

    @property
    def violations(self) -> list[Finding]:
        """The findings that break the protocol."""
        return [finding for finding in self.findings if finding.severity is Severity.VIOLATION]


def analyse(record: StreamRecord, settings: Settings) -> AnalysedStream:
    """Compute what can be said of a stream from its record alone."""
    alignment = align(record)
    found = None
    if record.outcome is Outcome.COMPLETED:
        found = _judge(record, alignment)
    extra = [*(alignment.findings if alignment is not None else ()), *check_usage(record)]
    seen = record.findings
    if alignment is not None:  # the upstream's own text tells what really was doubled
        seen = [finding for finding in seen if finding.rule != REPEATED.id]
    figures = measure(record, alignment, settings, found)
    return AnalysedStream(record, alignment, figures, found, [*seen, *extra])


def _judge(record: StreamRecord, alignment: Alignment | None) -> StreamAuthenticity:
    if alignment is not None:
        return judge_stream(alignment)
    if record.mark is None:
        return guess_stream(record)
    return StreamAuthenticity(Verdict.UNKNOWN, why=Why.NOTHING_WRITTEN if record.upstream else Why.NO_MARK)
