"""A run's records to what is said of it: metrics, verdicts, gates.

Nothing here is measured; all of it is recomputed.

`Summary.to_json` is the contract with other tools; docs/reference/summary-json.md describes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streambench.analysis.authenticity import judge, starvation
from streambench.analysis.claims import Claim, Evidence, claims_of
from streambench.analysis.columns import StreamColumns
from streambench.analysis.gates import (
    GateResult,
    Observations,
    Result,
    evaluate,
    implied_gates,
    read_gates,
)
from streambench.analysis.goodput import Goodput, goodput_of, readable_goodput
from streambench.analysis.metrics import METRICS, Settings
from streambench.analysis.quantiles import Distribution
from streambench.analysis.stream import AnalysedStream, analyse
from streambench.analysis.suites import SuiteOutcome
from streambench.analysis.tally import RuleCount, Tally
from streambench.analysis.validity import Activity, excesses, judged
from streambench.analysis.verdicts import Authenticity
from streambench.analysis.waivers import Waiver, read_waivers
from streambench.endings import ErrorClass
from streambench.errors import ExitCode
from streambench.findings import Severity
from streambench.record.model import CLIENT_LEFT, Outcome, StreamRecord, stamps_of
from streambench.record.run_file import Run
from streambench.units import NS_PER_MS, NS_PER_S

SCHEMA = "streambench.summary/1"
UNREACHABLE_ERRORS = {ErrorClass.CONNECT, ErrorClass.TLS, ErrorClass.TIMEOUT_CONNECT}


@dataclass(slots=True)
class TargetSummary:
    """What is said of one target. `streams` are the judged ones, without the warm-up, as columns.

    `clock_error_ns` is the most by which a moment of its upstream may be off, on another host; 0 on the same.
    """

    name: str
    dialect: str
    transport: str
    url: str
    two_sided: bool
    streams: StreamColumns
    counts: dict[str, int]
    errors: dict[str, int]
    distributions: dict[str, Distribution]
    authenticity: Authenticity
    rules: list[RuleCount]
    broken_streams: int = 0
    resent: int = 0
    goodput: Goodput | None = None
    clock_error_ns: int = 0
    error_examples: dict[str, str] = field(default_factory=dict)
    encodings: dict[str, int] = field(default_factory=dict)

    @property
    def error_rate(self) -> float:
        """The share of the finished streams that failed; 0 where none finished."""
        finished = self.counts["completed"] + self.counts["failed"]
        return self.counts["failed"] / finished if finished else 0.0

    @property
    def violations(self) -> int:
        """How often a rule was broken, in all streams together."""
        return sum(rule.count for rule in self.broken)

    @property
    def broken(self) -> list[RuleCount]:
        """The rules that were broken, the most frequent first, without those that may be."""
        return [rule for rule in self.rules if rule.is_violation]

    @property
    def accepted(self) -> list[RuleCount]:
        """The rules that were broken as the scenario accepts it."""
        return [rule for rule in self.rules if rule.is_accepted]

    @property
    def ignored(self) -> list[RuleCount]:
        """What was found, and the scenario ignores."""
        return [rule for rule in self.rules if rule.is_ignored]

    @property
    def notes(self) -> list[RuleCount]:
        """What was found, and breaks no rule."""
        return [rule for rule in self.rules if rule.severity is not Severity.VIOLATION and not rule.is_ignored]

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
        """The entry of `summary.json`."""
        return {
            "dialect": self.dialect,
            "transport": self.transport,
            "url": self.url,
            "streams": self.counts,
            "errors": self.errors,
            "error_rate": round(self.error_rate, 6),
            "resent": self.resent,
            **({} if self.goodput is None else {"goodput": self.goodput.to_json()}),
            **({"clock_error_ms": round(self.clock_error_ns / NS_PER_MS, 4)} if self.clock_error_ns else {}),
            "metrics": {
                name: distribution.to_json() for name, distribution in self.distributions.items() if len(distribution)
            },
            "violations": {
                "count": self.violations,
                "streams": self.broken_streams,
                "axes": dict(_by_axis(self.broken)),
                "rules": [_rule_json(rule) for rule in self.broken],
                **_if_any("accepted", [_rule_json(rule) for rule in self.accepted]),
                **_if_any("ignored", [_rule_json(rule) for rule in self.ignored]),
                **_if_any("notes", [_rule_json(rule) for rule in self.notes]),
            },
            "authenticity": self.authenticity.to_json(),
            **({"encodings": self.encodings} if self.encodings else {}),
        }


def _rule_json(rule: RuleCount) -> dict[str, Any]:
    out = {
        "rule": rule.rule,
        "axis": rule.axis,
        "count": rule.count,
        "streams": rule.streams,
        "example_stream": rule.example_stream,
        "message": rule.example.message,
    }
    return out if rule.waiver is None else {**out, "reason": rule.waiver.reason}


def _if_any(name: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    """A key that is there only where there is something to say."""
    return {name: items} if items else {}


@dataclass(slots=True)
class Summary:
    """What is said of a run. `last_end_ns` is when its last stream ended.

    `removable` are the waivers of the scenario about which nothing was found any more, `suites` the conformance suites
    that gate the run, `claims` what is claimed of chat systems that are in the run before and after.
    """

    run: Run
    targets: dict[str, TargetSummary]
    gates: list[GateResult]
    generator: dict[str, Any]
    settings: Settings
    last_end_ns: int | None = None
    removable: tuple[Waiver, ...] = ()
    suites: list[SuiteOutcome] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)

    @property
    def header(self) -> dict[str, Any]:
        """The first line of the records."""
        return self.run.header

    @property
    def interrupted(self) -> bool:
        """The run did not come to its own end: it was stopped, or killed."""
        return self.killed or (self.run.end is not None and self.run.end["reason"] in ("interrupted", "terminated"))

    @property
    def killed(self) -> bool:
        """The run was ended by something that left it no time to say so."""
        return self.run.end is None

    @property
    def open_at_kill(self) -> int | None:
        """Of a killed run, how many streams were open; None where that was not told."""
        return None if self.run.begun is None else max(0, self.run.begun - len(self.run.records))

    @property
    def exit_code(self) -> ExitCode:
        """The run's exit code: damaged, interrupted, not reached, not valid, what failed, what is undecided."""
        if self.run.damage:
            return ExitCode.INVALID
        if self.interrupted:
            return ExitCode.INTERRUPTED
        if any(target.unreachable for target in self.targets.values()):
            return ExitCode.UNREACHABLE
        if not self.generator["valid"]:
            return ExitCode.INVALID
        codes = [gate.gate.exit_code for gate in self.gates if gate.result is Result.FAILED]
        failed = ExitCode.worst([*codes, *(suite.exit_code for suite in self.suites)])
        undecided = any(gate.result is Result.INCONCLUSIVE for gate in self.gates)
        return ExitCode.INVALID if undecided and failed is ExitCode.PASSED else failed

    @property
    def verdict(self) -> str:
        """passed, failed, invalid or inconclusive."""
        match self.exit_code:
            case ExitCode.PASSED:
                return "passed"
            case ExitCode.INVALID:
                return "invalid" if not self.generator["valid"] else "inconclusive"
            case ExitCode.INTERRUPTED:
                return "failed" if any(gate.result is Result.FAILED for gate in self.gates) else "inconclusive"
            case _:
                return "failed"

    @property
    def duration_s(self) -> float:
        """From the run's beginning to its end in s; of a killed run, to the end of its last stream."""
        start_ns = self.header["start_ns"]
        if self.run.end is not None:
            return float(self.run.end["at_ns"] - start_ns) / NS_PER_S
        return float((self.last_end_ns or start_ns) - start_ns) / NS_PER_S

    def stream(self, place: int) -> AnalysedStream:
        """One stream again, by its place among the records of the run."""
        return analyse(self.run.records[place], self.settings)

    def streams_of(self, target: TargetSummary) -> Iterator[AnalysedStream]:
        """The judged streams of a target in the order in which they were due, each read from the records anew."""
        for row in target.streams.rows():
            yield self.stream(target.streams.place[row])

    def to_json(self) -> dict[str, Any]:
        """`summary.json`."""
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
            **_if_any("removable", [{"key": waiver.key, **waiver.to_json()} for waiver in self.removable]),
            **({"conformance": [suite.to_json() for suite in self.suites]} if self.suites else {}),
            "generator": self.generator,
        }


def summarize(run: Run) -> Summary:
    """Everything that is said of a run, from its records and the gates in their header.

    The records are gone through once; of each stream a row of numbers is kept.
    """
    header = run.header
    settings = Settings(
        stall_after_ns=round(header["settings"]["stall_after_ms"] * NS_PER_MS),
        reading_wpm=header["settings"]["reading_wpm"],
    )
    waivers = read_waivers(header.get("accept", ()), header.get("ignore", ()))
    tallies = {name: Tally(name, waivers) for name in header["targets"]}
    whole = _Whole()
    for place, record in enumerate(run.records):
        whole.add(record)
        tally = tallies.get(record.target)
        if tally is not None and not record.warmup:
            tally.add(place, analyse(record, settings))
    generator = _generator(run, whole)
    doubt = starvation(generator)
    goodput = readable_goodput(header.get("goodput"))
    targets = {
        name: _summarize_target(name, facts, tallies[name], doubt, goodput) for name, facts in header["targets"].items()
    }
    gates = read_gates(header["gates"], {name: bool(facts["two_sided"]) for name, facts in header["targets"].items()})
    removable = tuple(waiver for waiver in waivers if _is_removable(waiver, targets))
    summary = Summary(run, targets, [], generator, settings, whole.last_end_ns, removable)
    servers = {} if run.end is None else run.end.get("servers", {})
    evidence = Evidence(lambda name: summary.streams_of(targets[name]), settings.reading_wpm, servers)
    summary.claims = claims_of(list(targets.values()), evidence)
    left = [name for name, target in targets.items() if target.counts["left"]]
    observed = {name: _observations(target, summary.claims) for name, target in targets.items()}
    summary.gates = [
        result
        for gate in [*gates, *implied_gates(gates, list(targets), left)]
        for name, seen in observed.items()
        if gate.target in (None, name) and (result := evaluate(gate, name, seen)) is not None
    ]
    found = excesses({name: target.distributions for name, target in targets.items()})
    summary.generator = judged(generator, found, whole.activity)
    return summary


def _is_removable(waiver: Waiver, targets: Mapping[str, TargetSummary]) -> bool:
    """Streams were completed by all targets that it is about, and nothing was found of it."""
    concerned = [target for target in targets.values() if waiver.target in (None, target.name)]
    found = any(waiver.concerns(target.name, rule.rule) for target in concerned for rule in target.rules)
    return not found and all(target.counts["completed"] for target in concerned)


@dataclass(slots=True)
class _Whole:
    """What is said of all records together, those of the warm-up included."""

    last_end_ns: int | None = None
    reads: int = 0
    user_reads: int = 0
    coalesced_reads: int = 0
    activity: Activity = field(default_factory=Activity)

    def add(self, record: StreamRecord) -> None:
        if record.end_ns is not None:
            self.last_end_ns = record.end_ns if self.last_end_ns is None else max(self.last_end_ns, record.end_ns)
            self.activity.add(record.start_ns, record.end_ns)
        self.reads += record.reads
        self.user_reads += record.user_reads
        self.coalesced_reads += record.coalesced_reads


def _summarize_target(
    name: str, facts: dict[str, Any], tally: Tally, doubt: str | None, goodput: str | None
) -> TargetSummary:
    columns = tally.columns
    counts = Counter({outcome: len(columns.rows([outcome])) for outcome in Outcome})
    return TargetSummary(
        name=name,
        dialect=facts["dialect"],
        transport=facts["transport"],
        url=facts["url"],
        two_sided=bool(facts["two_sided"]),
        streams=columns,
        counts={
            "started": len(columns) - counts[Outcome.DROPPED],
            "completed": counts[Outcome.COMPLETED],
            "failed": counts[Outcome.FAILED],
            "dropped": counts[Outcome.DROPPED],
            "censored": counts[Outcome.CENSORED],
            "left": counts[Outcome.LEFT],
        },
        errors=tally.errors(),
        distributions=_distributions(columns, counts[Outcome.FAILED]),
        authenticity=judge(columns.authenticity, facts.get("upstream"), doubt),
        rules=tally.rules(),
        broken_streams=tally.broken_streams,
        resent=tally.resent,
        goodput=None if goodput is None else goodput_of(goodput, columns),
        clock_error_ns=tally.clock_error_ns,
        error_examples=tally.error_examples(),
        encodings=dict(tally.encodings.most_common()),
    )


def _distributions(columns: StreamColumns, failures: int) -> dict[str, Distribution]:
    import numpy as np

    completed = columns.rows([Outcome.COMPLETED])
    # Streams whose client has gone are not completed ones, yet what the upstream saw of that is a fact.
    cancelled = columns.rows(CLIENT_LEFT)
    out: dict[str, Distribution] = {}
    for name, metric in METRICS.items():
        if metric.per == "chunk":
            # The column is not needed again, and it is by far the largest.
            column = columns.chunks.pop(name)
            values, clusters, streams = column.pooled(columns.order)
            out[name] = Distribution.pooled(metric.unit, values, clusters, streams, failures, column.own.shares(values))
            continue
        of_cancel = name in ("cancel_lag", "wasted_tokens")
        rows = cancelled if of_cancel else completed
        values = columns.figure(name)[rows]
        # A failed stream has never got there; but its start was the generator's affair.
        endless = metric.unit == "ms" and metric.lower_is_better and name != "start_delay"
        counted = failures if endless and not of_cancel else 0
        if name == "cancel_lag":  # who was left to write to its end has never seen the cancel
            wasted = columns.figure("wasted_tokens")[cancelled]
            counted = int(np.count_nonzero(np.isnan(values) & (wasted > 0)))
        own = columns.own_shares(name, rows)
        out[name] = Distribution.of_streams(metric.unit, values[~np.isnan(values)], counted, own)
    return out


def _by_axis(rules: Sequence[RuleCount]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for rule in rules:
        counts[rule.axis] += rule.count
    return counts


def _observations(target: TargetSummary, claims: Sequence[Claim]) -> Observations:
    found: Counter[str] = Counter()
    for rule in target.rules:
        if rule.waiver is None:
            found[rule.rule] += rule.count
    good = target.goodput
    return Observations(
        target.counts,
        _by_axis(target.broken),
        found,
        target.distributions,
        target.authenticity,
        target.two_sided,
        [claim.holds for claim in claims if claim.target == target.name],
        {} if good is None else {"goodput": good.per_s, "goodput.share": good.share},
    )


def _generator(run: Run, whole: _Whole) -> dict[str, Any]:
    """The generator's own verdict on itself; of a killed run, what its last line said. Damaged records have none."""
    if run.end is not None:
        told = {**_UNTOLD, **run.end["generator"]}
        return {**told, "valid": told["valid"] and not run.damage, "reasons": [*told["reasons"], *run.damage]}
    last = run.generator[-1] if run.generator else {}
    return {
        **_UNTOLD,
        "upstream_late_p95_ms": None,
        "server_wait": {},
        "valid": not run.damage,
        "reasons": [*run.damage, "the run was killed: the generator's own verdict is missing"],
        "loop_lag_p99_ms": last.get("loop_lag_p99_ms"),
        "cpu": last.get("cpu"),
        "stamps": stamps_of(whole.reads, whole.user_reads),
        "coalesced_reads": whole.coalesced_reads,
    }


# What a generator's verdict on itself may leave unsaid.
_UNTOLD: dict[str, Any] = {
    "requested_rate": None,
    "achieved_rate": None,
    "start_delay_p99_ms": None,
    "loop_lag_p99_ms": None,
    "cpu": None,
    "stamps": "user",
    "coalesced_reads": 0,
}
