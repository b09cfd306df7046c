"""The results of one target, from the tally of its streams: counts, distributions, verdict, broken rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streambench.analysis.authenticity import judge
from streambench.analysis.columns import StreamColumns
from streambench.analysis.gates import Observations
from streambench.analysis.goodput import Goodput, goodput_of
from streambench.analysis.metrics import metrics_with
from streambench.analysis.milestones import PREFIX
from streambench.analysis.quantiles import Distribution
from streambench.analysis.tally import RuleCount, Tally
from streambench.analysis.verdicts import Authenticity
from streambench.dialects.milestone import Milestone
from streambench.endings import ErrorClass
from streambench.findings import Severity
from streambench.record.model import CLIENT_LEFT, Outcome
from streambench.units import NS_PER_MS

UNREACHABLE_ERRORS = {ErrorClass.CONNECT, ErrorClass.TLS, ErrorClass.TIMEOUT_CONNECT}


@dataclass(slots=True)
class TargetSummary:
    """What is said of one target. `streams` are the judged ones, without the warm-up, as columns.

    `clock_error_ns` is the most by which a moment of its upstream may be off, on another host; 0 on the same.
    `uncalled`: streams failed, and the upstream saw a request of none of them.
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
    milestones: Sequence[Milestone] = ()
    uncalled: bool = False

    def reached(self, milestone: Milestone) -> int:
        """How many of the completed streams came to a milestone."""
        return len(self.distributions[PREFIX + milestone.name])

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
            **({"milestones": {one.name: self._milestone(one) for one in self.milestones}} if self.milestones else {}),
            "violations": {
                "count": self.violations,
                "streams": self.broken_streams,
                "axes": dict(_by_axis(self.broken)),
                "rules": [_rule_json(rule) for rule in self.broken],
                **if_any("accepted", [_rule_json(rule) for rule in self.accepted]),
                **if_any("ignored", [_rule_json(rule) for rule in self.ignored]),
                **if_any("notes", [_rule_json(rule) for rule in self.notes]),
            },
            "authenticity": self.authenticity.to_json(),
            **({"encodings": self.encodings} if self.encodings else {}),
        }

    def _milestone(self, milestone: Milestone) -> dict[str, Any]:
        return {**milestone.to_json(), "reached": self.reached(milestone), "of": self.counts["completed"]}


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


def if_any(name: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    """A key that is there only where there is something to say."""
    return {name: items} if items else {}


def summarize_target(
    name: str, facts: Mapping[str, Any], tally: Tally, doubt: str | None = None, goodput: str | None = None
) -> TargetSummary:
    """What is said of a target, whose `facts` are those of the run's header.

    `doubt`: why its times may show the machine; `goodput`: the conditions of a good stream.
    """
    columns = tally.columns
    errors = tally.errors()
    counts = Counter({outcome: len(columns.rows([outcome])) for outcome in Outcome})
    uncalled = 0 < tally.uncalled == counts[Outcome.FAILED] and not any(map(_before_the_model, errors))
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
        errors=errors,
        distributions=_distributions(columns, counts[Outcome.FAILED], tally.milestones),
        authenticity=judge(columns.authenticity, facts.get("upstream"), doubt, uncalled=uncalled),
        rules=tally.rules(),
        broken_streams=tally.broken_streams,
        resent=tally.resent,
        goodput=None if goodput is None else goodput_of(goodput, columns),
        clock_error_ns=tally.clock_error_ns,
        error_examples=tally.error_examples(),
        encodings=dict(tally.encodings.most_common()),
        milestones=tally.milestones,
        uncalled=uncalled,
    )


def _before_the_model(error: str) -> bool:
    """Whether such an error is the client's, so that a service need not have called its model."""
    return error in (*UNREACHABLE_ERRORS, ErrorClass.SETUP) or error.startswith("http_4")


def _distributions(columns: StreamColumns, failures: int, milestones: Sequence[Milestone]) -> dict[str, Distribution]:
    import numpy as np

    completed = columns.rows([Outcome.COMPLETED])
    # Streams whose client has gone are not completed ones, yet what the upstream saw of that is a fact.
    cancelled = columns.rows(CLIENT_LEFT)
    out: dict[str, Distribution] = {}
    for name, metric in metrics_with(milestones).items():
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


def observations(target: TargetSummary, claims: Sequence[bool | None] = ()) -> Observations:
    """What the gates of a target are decided on; `claims`: whether each one on it holds."""
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
        claims,
        {} if good is None else {"goodput": good.per_s, "goodput.share": good.share},
    )
