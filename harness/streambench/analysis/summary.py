"""A run's records to what is said of it: metrics, verdicts, gates.

Nothing here is measured; all of it is recomputed.

`Summary.to_json` is the contract with other tools; docs/reference/summary-json.md describes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from streambench.analysis.alignment import Alignment, align
from streambench.analysis.authenticity import Authenticity, StreamAuthenticity, guess_stream, judge, judge_stream
from streambench.analysis.gates import (
    Gate,
    GateError,
    GateResult,
    Observations,
    Result,
    evaluate,
    implied_gates,
    parse_gate,
)
from streambench.analysis.metrics import METRICS, Settings, StreamFigures, measure
from streambench.analysis.quantiles import Distribution
from streambench.endings import ErrorClass
from streambench.errors import ExitCode
from streambench.findings import Finding, Severity
from streambench.record.journal import RunData
from streambench.record.model import Outcome, StreamRecord
from streambench.units import NS_PER_MS, NS_PER_S

SCHEMA = "streambench.summary/1"
UNREACHABLE_ERRORS = {ErrorClass.CONNECT, ErrorClass.TLS, ErrorClass.TIMEOUT_CONNECT}


@dataclass(slots=True)
class AnalysedStream:
    """A record with what was computed of it."""

    record: StreamRecord
    alignment: Alignment | None
    figures: StreamFigures
    authenticity: StreamAuthenticity | None
    findings: list[Finding]

    @property
    def violations(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity is Severity.VIOLATION]


@dataclass(slots=True)
class RuleCount:
    """How often a rule was broken, and where to look."""

    rule: str
    axis: str
    severity: Severity
    count: int
    streams: int
    example_stream: str
    example: Finding


@dataclass(slots=True)
class TargetSummary:
    """What is said of one target. `streams` are the judged ones: without the warm-up, in the order of their start."""

    name: str
    dialect: str
    transport: str
    url: str
    two_sided: bool
    streams: list[AnalysedStream]
    counts: dict[str, int]
    errors: dict[str, int]
    distributions: dict[str, Distribution]
    authenticity: Authenticity
    rules: list[RuleCount]
    error_examples: dict[str, str] = field(default_factory=dict)

    @property
    def error_rate(self) -> float:
        finished = self.counts["completed"] + self.counts["failed"]
        return self.counts["failed"] / finished if finished else 0.0

    @property
    def violations(self) -> int:
        return sum(rule.count for rule in self.rules if rule.severity is Severity.VIOLATION)

    @property
    def unreachable(self) -> bool:
        """Not one connection could be made."""
        return (
            self.counts["started"] > 0
            and sum(count for error, count in self.errors.items() if error in UNREACHABLE_ERRORS)
            == (self.counts["started"] - self.counts["censored"])
            > 0
        )

    def to_json(self) -> dict[str, Any]:
        broken = [rule for rule in self.rules if rule.severity is Severity.VIOLATION]
        return {
            "dialect": self.dialect,
            "transport": self.transport,
            "url": self.url,
            "streams": self.counts,
            "errors": self.errors,
            "error_rate": round(self.error_rate, 6),
            "metrics": {
                name: distribution.to_json() for name, distribution in self.distributions.items() if len(distribution)
            },
            "violations": {
                "count": self.violations,
                "streams": sum(bool(stream.violations) for stream in self.streams),
                "axes": dict(_by_axis(broken)),
                "rules": [
                    {
                        "rule": rule.rule,
                        "axis": rule.axis,
                        "count": rule.count,
                        "streams": rule.streams,
                        "example_stream": rule.example_stream,
                        "message": rule.example.message,
                    }
                    for rule in broken
                ],
            },
            "authenticity": self.authenticity.to_json(),
        }


@dataclass(slots=True)
class Summary:
    """What is said of a run."""

    run: RunData
    targets: dict[str, TargetSummary]
    gates: list[GateResult]
    generator: dict[str, Any]
    settings: Settings

    @property
    def header(self) -> dict[str, Any]:
        return self.run.header

    @property
    def interrupted(self) -> bool:
        """The run did not come to its own end: it was stopped, or killed."""
        return self.run.end is None or self.run.end["reason"] in ("interrupted", "terminated")

    @property
    def exit_code(self) -> ExitCode:
        codes = [ExitCode.PASSED]
        if any(target.unreachable for target in self.targets.values()):
            codes.append(ExitCode.UNREACHABLE)
        if not self.generator["valid"] or any(gate.result is Result.INCONCLUSIVE for gate in self.gates):
            codes.append(ExitCode.INVALID)
        codes += [gate.gate.exit_code for gate in self.gates if gate.result is Result.FAILED]
        return ExitCode.worst(codes)

    @property
    def verdict(self) -> str:
        """passed, failed, invalid or inconclusive."""
        match self.exit_code:
            case ExitCode.PASSED:
                return "passed"
            case ExitCode.INVALID:
                return "invalid" if not self.generator["valid"] else "inconclusive"
            case _:
                return "failed"

    @property
    def duration_s(self) -> float:
        start_ns = self.header["start_ns"]
        if self.run.end is not None:
            return float(self.run.end["at_ns"] - start_ns) / NS_PER_S
        ends = [record.end_ns for record in self.run.records if record.end_ns is not None]
        return float(max(ends, default=start_ns) - start_ns) / NS_PER_S

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "verdict": self.verdict,
            "exit_code": int(self.exit_code),
            "scenario": self.header["scenario"],
            "started": self.header["started"],
            "duration_s": round(self.duration_s, 3),
            "interrupted": self.interrupted,
            "environment": self.header["environment"],
            "targets": {name: target.to_json() for name, target in self.targets.items()},
            "gates": [gate.to_json() for gate in self.gates],
            "generator": self.generator,
        }


def summarize(run: RunData) -> Summary:
    """Everything that is said of a run, from its records and the gates in their header."""
    header = run.header
    settings = Settings(
        stall_after_ns=round(header["settings"]["stall_after_ms"] * NS_PER_MS),
        reading_wpm=header["settings"]["reading_wpm"],
    )
    targets = {
        name: _summarize_target(name, facts, [record for record in run.records if record.target == name], settings)
        for name, facts in header["targets"].items()
    }
    gates = _gates_of(header)
    results = [
        result
        for gate in [*gates, *implied_gates(gates, list(targets))]
        for name, target in targets.items()
        if gate.target in (None, name) and (result := evaluate(gate, name, _observations(target))) is not None
    ]
    return Summary(run, targets, results, _generator(run), settings)


def _gates_of(header: dict[str, Any]) -> list[Gate]:
    sides = {name: bool(facts["two_sided"]) for name, facts in header["targets"].items()}
    gates: list[Gate] = []
    for text in header["gates"]:
        try:
            gates.append(parse_gate(text, sides))
        except GateError:
            continue  # written by a version that knew more metrics
    return gates


def _summarize_target(
    name: str, facts: dict[str, Any], records: Sequence[StreamRecord], settings: Settings
) -> TargetSummary:
    judged = sorted((record for record in records if not record.warmup), key=lambda record: record.intended_ns)
    streams = [analyse(record, settings) for record in judged]
    counts = Counter(record.outcome for record in judged)
    failed = [record for record in judged if record.outcome is Outcome.FAILED]
    completed = [stream for stream in streams if stream.record.outcome is Outcome.COMPLETED]
    examples: dict[str, str] = {}
    for record in failed:
        examples.setdefault(record.error or "?", record.error_message or "")
    # Cancelled streams are not completed ones, yet what the upstream saw of the cancel is a fact.
    cancelled = [stream for stream in streams if stream.record.outcome is Outcome.CENSORED]
    return TargetSummary(
        name=name,
        dialect=facts["dialect"],
        transport=facts["transport"],
        url=facts["url"],
        two_sided=bool(facts["two_sided"]),
        streams=streams,
        counts={
            "started": len(judged) - counts[Outcome.DROPPED],
            "completed": counts[Outcome.COMPLETED],
            "failed": counts[Outcome.FAILED],
            "dropped": counts[Outcome.DROPPED],
            "censored": counts[Outcome.CENSORED],
        },
        errors=dict(Counter(record.error or "?" for record in failed).most_common()),
        distributions=_distributions(completed, cancelled, len(failed)),
        authenticity=judge([s.authenticity for s in completed if s.authenticity is not None]),
        rules=_rules(streams),
        error_examples=examples,
    )


def analyse(record: StreamRecord, settings: Settings) -> AnalysedStream:
    """Everything that is said of one stream by itself."""
    alignment = align(record)
    found = None
    if record.outcome is Outcome.COMPLETED:
        found = judge_stream(alignment) if alignment is not None else guess_stream(record)
    extra = list(alignment.findings) if alignment is not None else []
    return AnalysedStream(record, alignment, measure(record, alignment, settings), found, [*record.findings, *extra])


def _distributions(
    completed: Sequence[AnalysedStream], cancelled: Sequence[AnalysedStream], failures: int
) -> dict[str, Distribution]:
    out: dict[str, Distribution] = {}
    for name, metric in METRICS.items():
        if metric.per == "chunk":
            chunks = [stream.figures.chunk[name] for stream in completed if name in stream.figures.chunk]
            out[name] = Distribution.of_chunks(metric.unit, chunks, failures)
            continue
        of_cancel = name in ("cancel_lag", "wasted_tokens")
        source = cancelled if of_cancel else completed
        values = [stream.figures.stream[name] for stream in source if name in stream.figures.stream]
        # A failed stream has never got there; but its start was the generator's affair.
        endless = metric.unit == "ms" and metric.lower_is_better and name != "start_delay"
        counted = failures if endless and not of_cancel else 0
        out[name] = Distribution.of_streams(metric.unit, values, counted)
    return out


def _rules(streams: Sequence[AnalysedStream]) -> list[RuleCount]:
    found: dict[tuple[str, str], RuleCount] = {}
    for stream in streams:
        seen: set[tuple[str, str]] = set()
        for finding in stream.findings:
            key = (finding.rule, finding.severity)
            if key not in found:
                found[key] = RuleCount(finding.rule, finding.axis, finding.severity, 0, 0, stream.record.id, finding)
            found[key].count += 1
            found[key].streams += key not in seen
            seen.add(key)
    return sorted(found.values(), key=lambda rule: (rule.severity is not Severity.VIOLATION, -rule.count))


def _by_axis(rules: Sequence[RuleCount]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for rule in rules:
        counts[rule.axis] += rule.count
    return counts


def _observations(target: TargetSummary) -> Observations:
    broken = [rule for rule in target.rules if rule.severity is Severity.VIOLATION]
    return Observations(target.counts, _by_axis(broken), target.distributions, target.authenticity, target.two_sided)


def _generator(run: RunData) -> dict[str, Any]:
    """The generator's own verdict on itself; of a killed run, what its last line said."""
    if run.end is not None:
        return dict(run.end["generator"])
    last = run.generator[-1] if run.generator else {}
    return {
        "valid": True,
        "reasons": ["the run was killed: the generator's own verdict is missing"],
        "requested_rate": None,
        "achieved_rate": None,
        "start_delay_p99_ms": None,
        "loop_lag_p99_ms": last.get("loop_lag_p99_ms"),
        "upstream_late_p95_ms": None,
        "server_wait": {},
        "cpu": last.get("cpu"),
        "stamps": run.records[-1].stamps if run.records else "user",
        "coalesced_reads": sum(record.coalesced_reads for record in run.records),
    }
