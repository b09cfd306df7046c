"""Counts of what went wrong with the streams of a target, gathered in any order and told in the order of the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from streambench.analysis.columns import StreamColumns
from streambench.analysis.metrics import metrics_with
from streambench.analysis.stream import AnalysedStream
from streambench.analysis.waivers import Waiver, waiver_of
from streambench.dialects.milestone import Milestone
from streambench.findings import Finding, Severity
from streambench.record.model import Outcome

# When it came for the first time: when its stream was due, the stream's place, and its number within the stream.
_Moment = tuple[int, int, int]


@dataclass(slots=True)
class RuleCount:
    """How often a rule was broken, and where to look. `waiver`: why that fails nothing."""

    rule: str
    axis: str
    severity: Severity
    count: int
    streams: int
    example_stream: str
    example: Finding
    waiver: Waiver | None = None

    @property
    def is_violation(self) -> bool:
        """Whether it counts as a broken rule."""
        return self.severity is Severity.VIOLATION and self.waiver is None

    @property
    def is_ignored(self) -> bool:
        """Whether the scenario does not want to hear of it."""
        return self.waiver is not None and self.waiver.ignored

    @property
    def is_accepted(self) -> bool:
        """Whether it is a broken rule that the scenario tolerates."""
        return self.severity is Severity.VIOLATION and self.waiver is not None and not self.waiver.ignored


@dataclass(slots=True)
class _Error:
    count: int
    first: _Moment
    example: str


@dataclass(slots=True)
class Tally:
    """What is kept of the judged streams of a target: their columns, and what went wrong. `add` each of them once.

    `waivers` are the rules of the run that may be broken, `milestones` those of the target, `encodings` the content
    codings of completed responses.
    """

    target: str = ""
    waivers: Sequence[Waiver] = ()
    milestones: Sequence[Milestone] = ()
    columns: StreamColumns = field(init=False)
    encodings: Counter[str] = field(default_factory=Counter)
    broken_streams: int = 0
    resent: int = 0  # requests that were sent a second time
    clock_error_ns: int = 0  # the most by which an upstream's stamp may be off
    uncalled: int = 0  # failed streams of whose mark the upstream saw nothing
    _errors: dict[str, _Error] = field(default_factory=dict)
    _rules: dict[tuple[str, str], RuleCount] = field(default_factory=dict)
    _first: dict[tuple[str, str], _Moment] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.columns = StreamColumns(metrics_with(self.milestones))

    def add(self, place: int, stream: AnalysedStream) -> None:
        """Count one stream; `place` is that of its record in the run."""
        record = stream.record
        self.columns.add(place, stream)
        self.resent += record.resent
        if record.encoding is not None and record.outcome is Outcome.COMPLETED:
            self.encodings[record.encoding] += 1
        for exchange in record.upstream:
            self.clock_error_ns = max(self.clock_error_ns, exchange.clock_error_ns)
        if record.outcome is Outcome.FAILED:
            self.uncalled += record.mark is not None and not record.upstream
            self._count_errors(record.error or "?", 1, (record.intended_ns, place, 0), record.error_message or "")
        if stream.findings or record.further:
            self._add_findings(stream, place)

    def join(self, part: Tally, after: int) -> None:
        """Count the streams of a part of the run that follows, whose records stand behind `after` others."""
        self.columns.join(part.columns, after)
        self.resent += part.resent
        self.uncalled += part.uncalled
        self.encodings += part.encodings
        self.clock_error_ns = max(self.clock_error_ns, part.clock_error_ns)
        self.broken_streams += part.broken_streams
        for name, error in part._errors.items():
            self._count_errors(name, error.count, _behind(error.first, after), error.example)
        for key, rule in part._rules.items():
            moment = _behind(part._first[key], after)
            known = self._rules.get(key)
            if known is None:
                self._rules[key], self._first[key] = rule, moment
                continue
            if moment < self._first[key]:
                known.axis, known.example_stream, known.example = rule.axis, rule.example_stream, rule.example
                self._first[key] = moment
            known.count += rule.count
            known.streams += rule.streams

    def errors(self) -> dict[str, int]:
        """How many streams failed with each error, the most frequent first."""
        found = sorted(self._errors.items(), key=lambda item: (-item[1].count, item[1].first))
        return {name: error.count for name, error in found}

    def error_examples(self) -> dict[str, str]:
        """The message of the first stream that failed with each error."""
        found = sorted(self._errors.items(), key=lambda item: item[1].first)
        return {name: error.example for name, error in found}

    def rules(self) -> list[RuleCount]:
        """What was found, violations first, then by how often it came; what is ignored comes last."""
        return [
            rule
            for key, rule in sorted(
                self._rules.items(),
                key=lambda item: (
                    item[1].is_ignored,
                    item[1].severity is not Severity.VIOLATION,
                    -item[1].count,
                    self._first[item[0]],
                ),
            )
        ]

    def _count_errors(self, name: str, count: int, moment: _Moment, message: str) -> None:
        error = self._errors.get(name)
        if error is None:
            self._errors[name] = _Error(count, moment, message)
            return
        error.count += count
        if moment < error.first:
            error.first, error.example = moment, message

    def _add_findings(self, stream: AnalysedStream, place: int) -> None:
        seen: set[tuple[str, str]] = set()
        for number, (finding, count) in enumerate(stream.counted_findings()):
            key = (finding.rule, finding.severity)
            moment = (stream.record.intended_ns, place, number)
            rule = self._rules.get(key)
            if rule is None:
                waiver = waiver_of(self.waivers, self.target, finding.rule)
                rule = RuleCount(finding.rule, finding.axis, finding.severity, 0, 0, stream.record.id, finding, waiver)
                self._rules[key], self._first[key] = rule, moment
            elif moment < self._first[key]:
                rule.axis, rule.example_stream, rule.example = finding.axis, stream.record.id, finding
                self._first[key] = moment
            rule.count += count
            rule.streams += key not in seen
            seen.add(key)
        self.broken_streams += any(self._rules[key].is_violation for key in seen)


def _behind(moment: _Moment, records: int) -> _Moment:
    """A moment of a part of the run, of which so many records come before it."""
    intended_ns, place, number = moment
    return intended_ns, records + place, number
