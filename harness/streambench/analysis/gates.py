"""Gates: what must hold for a run to pass, as one line of text each.

    [target:] metric[.quantile] operator limit [confidence 95%]

A gate on a quantile needs enough streams to say anything; with fewer it is inconclusive and not green.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from streambench.analysis.metrics import METRICS
from streambench.analysis.milestones import PREFIX, REACHED
from streambench.analysis.quantiles import (
    Distribution,
    one_sided_bound,
    streams_needed,
    wilson,
)
from streambench.analysis.rule_index import check_rule, rule_names
from streambench.analysis.verdicts import Authenticity, Verdict
from streambench.errors import ExitCode, nearest
from streambench.findings import Axis
from streambench.rules import covers
from streambench.units import NS_PER_MS, parse_duration_ns, parse_rate_per_s, parse_ratio

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
}
ORDERINGS = ("<", "<=", ">", ">=")
STREAM_COUNTS = ("started", "completed", "failed", "dropped", "censored", "left")
FINDINGS = "findings."  # and the name of a rule
VIOLATIONS = ("violations", *(f"violations.{axis}" for axis in Axis if axis is not Axis.INTEROP))
# What a whole target has one value of.
GOODPUT = ("goodput", "goodput.share")
TARGET_VALUES: dict[str, str] = {
    "error_rate": "ratio",
    **dict(zip(GOODPUT, ("per s", "ratio"), strict=True)),
    "authenticity": "",
    **dict.fromkeys(VIOLATIONS, "count"),
    **{f"streams.{name}": "count" for name in STREAM_COUNTS},
    "claims.held": "count",
}
GATE_VERDICTS = (Verdict.FORWARDED, Verdict.BATCHED, Verdict.BUFFERED, Verdict.PACED, Verdict.MIXED)
STATISTICS = ("mean", "min", "max")
# What others call a metric.
ALIASES = {"ttft": "ttfc", "itl": "gap", "tpot": "gap", "inter_token_latency": "gap", "latency": "e2e"}

_GATE = re.compile(
    r"\s*(?:(?P<target>[^:<>=!]+?)\s*:\s*)?(?P<metric>[A-Za-z_0-9.-]+)\s*(?P<op><=|>=|==|!=|<|>)\s*"
    r"(?P<limit>[^,]+?)\s*(?:,?\s*confidence:?\s+(?P<confidence>\d+(?:\.\d+)?)\s*%)?\s*"
)
_QUANTILE = re.compile(r"p(\d{1,2}(?:\.\d+)?)")


class GateError(ValueError):
    """A gate that can never be decided. `at` is the character of the expression that it is about."""

    def __init__(self, reason: str, at: int, text: str, suggestion: str | None = None) -> None:
        super().__init__(reason)
        self.at = at
        self.text = text
        self.suggestion = suggestion


@dataclass(frozen=True, slots=True)
class Gate:
    """A parsed gate. `target` None: every target. `limit` is in the metric's unit, or the name of a verdict.

    `statistic` is `p95`, `mean`, `min` or `max`, and None for what a target has only one value of. `confidence`: the
    share of certainty with which a quantile must hold. `implied`: the user has not written it. `unreadable`: why the
    text says nothing to this version; such a gate stays undecided, for what nobody has decided has not passed.
    """

    expr: str
    target: str | None
    metric: str
    statistic: str | None
    op: str
    limit: float | str | None
    unit: str
    confidence: float | None = None
    implied: bool = False
    unreadable: str | None = None

    @property
    def exit_code(self) -> ExitCode:
        """What a miss means: the protocol was broken, or the figures are not good enough."""
        if self.metric in VIOLATIONS or self.metric == "authenticity" or self.metric.startswith(FINDINGS):
            return ExitCode.CONFORMANCE
        return ExitCode.PERFORMANCE

    @property
    def quantile(self) -> float | None:
        """The quantile that is meant, from 0 to 1; None for another statistic."""
        match = _QUANTILE.fullmatch(self.statistic or "")
        return None if match is None else float(match[1]) / 100

    def holds(self, observed: Any) -> bool:
        """Whether an observation, in the metric's unit, satisfies the gate."""
        return OPERATORS[self.op](observed, self.limit)


def parse_gate(text: str, targets: Mapping[str, bool], milestones: Mapping[str, Collection[str]] | None = None) -> Gate:
    """Read a gate. `targets` says of each target whether it is measured from both sides, `milestones` are the names of
    those that a target has. Raises GateError.
    """
    match = _GATE.fullmatch(text)
    if match is None:
        raise GateError(
            f"{text!r} is not a gate: write it as `metric.quantile operator limit`, such as `ttfc.p95 < 800ms`", 0, text
        )
    target, metric_text, op, limit_text = match["target"], match["metric"], match["op"], match["limit"]
    if target is not None and target not in targets:
        raise GateError(
            f"there is no target {target!r}; the targets are {', '.join(targets)}.",
            match.start("target"),
            target,
            nearest(target, targets),
        )
    sides = [targets[target]] if target is not None else list(targets.values())
    confidence = None
    if match["confidence"] is not None:
        confidence = float(match["confidence"]) / 100
        if not 0.5 <= confidence < 1:
            raise GateError("a confidence lies between 50% and 100%", match.start("confidence"), match["confidence"])
    if metric_text in TARGET_VALUES:
        gate = _of_target_value(text, target, metric_text, op, TARGET_VALUES[metric_text])
    elif metric_text.startswith(FINDINGS):
        _check_rule(metric_text.removeprefix(FINDINGS), match.start("metric") + len(FINDINGS))
        gate = _of_target_value(text, target, metric_text, op, "count")
    elif metric_text.startswith(PREFIX):
        gate = _of_milestone(text, target, metric_text, op, match.start("metric"), milestones or {})
    else:
        gate = _of_distribution(text, target, metric_text, op, match.start("metric"))
    two_sided = gate.metric == "authenticity" or (gate.metric in METRICS and METRICS[gate.metric].two_sided)
    if two_sided and not any(sides):
        whose = f"target {target!r} is" if target is not None else "the targets are"
        raise GateError(
            f"{gate.metric} can never be measured here: it needs the upstream's side, and {whose} seen from one side "
            "only. Serve the bundled upstream (serve: {openai: {}}), or name one in the target (upstream: URL).",
            match.start("metric"),
            metric_text,
        )
    if confidence is not None and (gate.quantile is None or op not in ORDERINGS):
        raise GateError("only a gate on a quantile takes a confidence", match.start("confidence"), match["confidence"])
    limit = _limit(gate, limit_text, match.start("limit"))
    return Gate(gate.expr, target, gate.metric, gate.statistic, op, limit, gate.unit, confidence)


def read_gates(
    texts: Sequence[str], targets: Mapping[str, bool], milestones: Mapping[str, Collection[str]] | None = None
) -> list[Gate]:
    """The gates of a run that is over, as its records have them.

    One that this version cannot read was written by another one that knew more; it is kept, marked as unreadable.
    """
    gates: list[Gate] = []
    for text in texts:
        try:
            gates.append(parse_gate(text, targets, milestones))
        except GateError as error:
            target = text.partition(":")[0].strip()
            gates.append(
                Gate(text, target if target in targets else None, "", None, "", None, "", unreadable=str(error))
            )
    return gates


def _of_target_value(text: str, target: str | None, metric: str, op: str, unit: str) -> Gate:
    return Gate(text.strip(), target, metric, None, op, 0.0, unit)


def _check_rule(rule_id: str, at: int) -> None:
    wrong = check_rule(rule_id)
    if wrong is not None:
        raise GateError(wrong, at, rule_id, nearest(rule_id, rule_names()))


def _of_distribution(text: str, target: str | None, metric_text: str, op: str, at: int) -> Gate:
    typed, _, statistic = metric_text.partition(".")
    name = ALIASES.get(typed, typed)
    whole = [value for value in TARGET_VALUES if value.partition(".")[0] == name]
    if whole:
        raise GateError(
            f"there is no {metric_text!r}: a target has one value of {', '.join(whole)}.",
            at,
            metric_text,
            nearest(metric_text, whole),
        )
    if name not in METRICS:
        known = [*METRICS, *TARGET_VALUES]
        suggestion = nearest(name, known) or nearest(metric_text, known)
        hint = "" if suggestion else f"; the metrics are {', '.join(known)}"
        raise GateError(f"there is no metric {name!r}{hint}.", at, name, suggestion)
    if not statistic:
        raise GateError(
            f"{name} has one value per {METRICS[name].per}: say which you mean, such as {name}.p95 or {name}.max",
            at,
            metric_text,
            f"{name}.p95",
        )
    _check_statistic(statistic, at + len(name) + 1)
    return Gate(text.strip(), target, name, statistic, op, 0.0, METRICS[name].unit)


def _check_statistic(statistic: str, at: int, more: Sequence[str] = ()) -> None:
    """That a text is a quantile, or one of the other statistics. Raises GateError."""
    match = _QUANTILE.fullmatch(statistic)
    if statistic in (*STATISTICS, *more) or (match is not None and 0 < float(match[1]) / 100 < 1):
        return
    raise GateError(
        f"{statistic!r} is not a statistic: write {', '.join(('p50', 'p95', 'p99.9', 'mean', 'min', *more))} or max.",
        at,
        statistic,
        nearest(statistic, ("p50", "p90", "p95", "p99", *STATISTICS, *more)),
    )


def _of_milestone(
    text: str, target: str | None, metric_text: str, op: str, at: int, milestones: Mapping[str, Collection[str]]
) -> Gate:
    name, _, statistic = metric_text.removeprefix(PREFIX).partition(".")
    known = [one for where, named in milestones.items() if target in (None, where) for one in named]
    if name not in known:
        whose = "no target has" if target is None else f"target {target!r} has no"
        hint = f": there is {', '.join(dict.fromkeys(known))}" if known else ""
        raise GateError(
            f"{whose} {'a ' if target is None else ''}milestone {name!r}{hint}. They are named under 'milestones', in "
            "the dialect or the target.",
            at + len(PREFIX),
            name,
            nearest(name, known),
        )
    metric = PREFIX + name
    if not statistic:
        raise GateError(
            f"{metric} has one value a stream: say which is meant, such as {metric}.p95 or {metric}.{REACHED}",
            at,
            metric_text,
            f"{metric}.p95",
        )
    _check_statistic(statistic, at + len(metric) + 1, more=(REACHED,))
    if statistic == REACHED:
        return _of_target_value(text, target, f"{metric}.{REACHED}", op, "ratio")
    return Gate(text.strip(), target, metric, statistic, op, 0.0, "ms")


def _limit(gate: Gate, text: str, at: int) -> float | str:
    if gate.metric == "authenticity":
        if gate.op not in ("==", "!="):
            raise GateError("compare a verdict with == or !=", at, text)
        if text not in GATE_VERDICTS:
            names = ", ".join(GATE_VERDICTS)
            raise GateError(
                f"{text!r} is not a verdict: use one of {names}.", at, text, nearest(text, list(GATE_VERDICTS))
            )
        return text
    return limit_of(gate.unit, text, at)


def limit_of(unit: str, text: str, at: int) -> float:
    """A limit in a metric's unit. Raises GateError with `at`, its place, for a text that is none."""
    try:
        match unit:
            case "ms":
                limit = parse_duration_ns(text) / NS_PER_MS
            case "ratio":
                limit = parse_ratio(text)
                if limit > 1:
                    percent = text.strip().rstrip("%").strip()
                    asked = "" if "%" in text or float(percent) > 100 else f": did you mean {percent}%?"
                    raise ValueError(f"{text!r} is {limit:.0%}, and a ratio is at most 100%{asked}")
            case "per s":
                limit = parse_rate_per_s(text) if "/" in text else float(text)
            case _:
                limit = float(text)
    except (ValueError, OverflowError) as error:
        reason = str(error) if unit not in ("count", "factor", "per s") or "/" in text else f"{text!r} is not a number"
        raise GateError(reason, at, text) from None
    if not math.isfinite(limit):
        raise GateError(f"{text!r} is no limit: every value would meet it, or none", at, text)
    return limit


class Result(StrEnum):
    """What came of a gate; an inconclusive one is not green."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class GateResult:
    """A decided gate. `observed` and `limit` are in `unit`; `n` is the number of streams behind the observation."""

    gate: Gate
    target: str
    observed: float | str | None
    n: int
    result: Result
    ci95: tuple[float, float] | None = None
    reason: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The result as `gates` of summary.json has it."""
        observed = round(self.observed, 4) if isinstance(self.observed, float) else self.observed
        out: dict[str, Any] = {
            "expr": self.gate.expr,
            "target": self.target,
            "observed": observed,
            "limit": self.gate.limit,
            "unit": self.gate.unit,
            "n": self.n,
            "ci95": None if self.ci95 is None else [round(bound, 4) for bound in self.ci95],
            "result": self.result,
        }
        if self.reason is not None:
            out["reason"] = self.reason
        if self.gate.implied:
            out["implied"] = True
        return out


@dataclass(frozen=True, slots=True)
class Observations:
    """What the gates of one target are decided on."""

    counts: Mapping[str, int]
    violations: Mapping[str, int]  # by axis
    findings: Mapping[str, int]  # by rule, those that break nothing too
    distributions: Mapping[str, Distribution]
    authenticity: Authenticity
    two_sided: bool
    claims: Sequence[bool | None] = ()  # whether each claim on it holds, None where that was not measured
    goodput: Mapping[str, float] = field(default_factory=dict)  # empty where none is defined


def evaluate(gate: Gate, target: str, seen: Observations) -> GateResult | None:
    """Decide a gate for one target; None where the metric cannot exist for this target but does for others."""
    if gate.unreadable is not None:
        why = f"this version cannot read the gate, which another version wrote: {gate.unreadable.rstrip('.')}"
        return GateResult(gate, target, None, 0, Result.INCONCLUSIVE, reason=why)
    finished = seen.counts["completed"] + seen.counts["failed"]
    if gate.metric == "authenticity":
        if not seen.two_sided:
            return None
        return _on_verdict(gate, target, seen.authenticity)
    if gate.metric == "error_rate":
        observed = finished or seen.counts["left"]  # nothing failed as long as somebody looked
        if observed == 0:
            return GateResult(gate, target, None, 0, Result.INCONCLUSIVE, reason="no stream finished")
        rate = seen.counts["failed"] / observed
        return _decided(gate, target, rate, observed, wilson(seen.counts["failed"], observed))
    if gate.metric in GOODPUT:
        if finished == 0 or not seen.goodput:
            why = "no stream finished" if seen.goodput else "the scenario does not say what goodput is"
            return GateResult(gate, target, None, 0, Result.INCONCLUSIVE, reason=why)
        return _decided(gate, target, seen.goodput[gate.metric], finished, None)
    if gate.metric in VIOLATIONS:
        if finished + seen.counts["censored"] + seen.counts["left"] == 0:
            return GateResult(gate, target, None, 0, Result.INCONCLUSIVE, reason="no stream finished")
        axis = gate.metric.partition(".")[2]
        count = seen.violations.get(axis, 0) if axis else sum(seen.violations.values())
        return _decided(gate, target, float(count), finished, None)
    if gate.metric.startswith(FINDINGS):
        if finished + seen.counts["censored"] + seen.counts["left"] == 0:
            return GateResult(gate, target, None, 0, Result.INCONCLUSIVE, reason="no stream finished")
        wanted = gate.metric.removeprefix(FINDINGS)
        found = sum(count for rule_id, count in seen.findings.items() if covers(wanted, rule_id))
        return _decided(gate, target, float(found), finished, None)
    if gate.metric == "claims.held":
        if seen.claims:
            return _decided(gate, target, float(sum(held is True for held in seen.claims)), finished, None)
        why = "no claim is made about it, or no simulating target stands beside it"
        return None if gate.target is None else GateResult(gate, target, None, 0, Result.INCONCLUSIVE, reason=why)
    if gate.metric.startswith("streams."):
        return _decided(gate, target, float(seen.counts[gate.metric.partition(".")[2]]), seen.counts["started"], None)
    if gate.metric.startswith(PREFIX):
        return _on_milestone(gate, target, seen)
    if METRICS[gate.metric].two_sided and not seen.two_sided:
        return None
    return _on_distribution(gate, target, seen.distributions.get(gate.metric))


def _on_milestone(gate: Gate, target: str, seen: Observations) -> GateResult | None:
    values = seen.distributions.get(gate.metric.removesuffix(f".{REACHED}"))
    completed = seen.counts["completed"]
    if values is None:
        return None  # another target's
    if gate.statistic is not None:
        return _on_distribution(gate, target, values)
    if not completed:
        return GateResult(gate, target, None, 0, Result.INCONCLUSIVE, reason="no stream was completed")
    return _decided(gate, target, len(values) / completed, completed, wilson(len(values), completed))


def _decided(gate: Gate, target: str, observed: float, n: int, ci95: tuple[float, float] | None) -> GateResult:
    result = Result.PASSED if gate.holds(observed) else Result.FAILED
    return GateResult(gate, target, observed, n, result, ci95)


def _on_verdict(gate: Gate, target: str, found: Authenticity) -> GateResult:
    verdict = str(found.verdict)
    if verdict not in GATE_VERDICTS:
        return GateResult(gate, target, verdict, found.streams, Result.INCONCLUSIVE, reason=found.evidence)
    result = Result.PASSED if gate.holds(verdict) else Result.FAILED
    return GateResult(gate, target, verdict, found.streams, result, reason=found.evidence)


def _on_distribution(gate: Gate, target: str, values: Distribution | None) -> GateResult:
    if values is not None and gate.metric == "cancel_lag" and values.failures and gate.op in ("<", "<="):
        seen_it = _cancels_seen(gate, target, values)
        if seen_it is not None:
            return seen_it
    if values is None or len(values) == 0:
        why = "no stream was cancelled" if gate.metric in ("cancel_lag", "wasted_tokens") else "no stream has a value"
        return GateResult(gate, target, None, 0, Result.INCONCLUSIVE, reason=why)
    assert isinstance(gate.limit, float)
    n, q = values.streams, gate.quantile
    if q is None:
        statistic = gate.statistic or "mean"
        decided = _decided(gate, target, values.statistic(statistic), n, None)
        return _unless_own(decided, values.bounds(statistic))
    observed_q = values.quantile(q)
    needed = streams_needed(q)
    if n < needed:
        # Even the best value misses the limit: more streams could not save it.
        best = values.values[0] if gate.op in ("<", "<=") else values.values[-1]
        hopeless = gate.op in ORDERINGS and not gate.holds(float(best))
        result = Result.FAILED if hopeless else Result.INCONCLUSIVE
        reason = f"{gate.statistic} needs {needed} streams, and there were {n}"
        return GateResult(gate, target, observed_q, n, result, None, reason)
    interval = values.interval(q)
    if gate.confidence is None:
        decided = _decided(gate, target, observed_q, n, interval)
    else:
        decided = _with_confidence(gate, target, values, observed_q, interval)
    return _unless_own(decided, values.bounds(q))


def _unless_own(decided: GateResult, bounds: tuple[float, float]) -> GateResult:
    """Nothing is decided where it would have come out otherwise without the generator's own share."""
    gate = decided.gate
    if decided.result is Result.INCONCLUSIVE or len({gate.holds(value) for value in (decided.observed, *bounds)}) == 1:
        return decided
    low, high = bounds
    reason = (
        f"the generator's own share decides it: without it, the value lies between {low:,.1f} and "
        f"{high:,.1f} {gate.unit}; "
        "lower the load, or give the generator a core of its own"
    )
    return replace(decided, result=Result.INCONCLUSIVE, reason=reason)


def _cancels_seen(gate: Gate, target: str, values: Distribution) -> GateResult | None:
    """A gate on `cancel_lag` has failed where the upstream never saw the cancels that would have to hold it."""
    n = len(values) + values.failures
    held = gate.quantile is not None and len(values) > 0 and math.isfinite(values.adjusted(gate.quantile))
    if held or gate.statistic == "min":
        return None
    reason = f"the upstream never noticed {values.failures:,} of {n:,} clients leaving"
    return GateResult(gate, target, None, n, Result.FAILED, reason=reason)


def _with_confidence(
    gate: Gate, target: str, values: Distribution, observed: float, interval: tuple[float, float] | None
) -> GateResult:
    q, n = gate.quantile, values.streams
    assert q is not None
    assert gate.confidence is not None
    if not gate.holds(observed):
        return GateResult(gate, target, observed, n, Result.FAILED, interval)
    upper = gate.op in ("<", "<=")
    if values.clusters is not None:
        bound = values.clustered_bound(q, gate.confidence, upper=upper)
    else:
        index = one_sided_bound(len(values), q, gate.confidence, upper=upper)
        bound = None if index is None else float(values.values[index])
    if bound is None:
        tail = q if upper else 1 - q
        needed = math.ceil(math.log(1 - gate.confidence) / math.log(tail))
        reason = f"{gate.statistic} with {gate.confidence:.0%} confidence needs {needed} streams, and there were {n}"
        return GateResult(gate, target, observed, n, Result.INCONCLUSIVE, interval, reason)
    if gate.holds(bound):
        return GateResult(gate, target, observed, n, Result.PASSED, interval)
    reason = f"the observed value meets the limit, but its interval does not (up to {bound:,.1f} {gate.unit})"
    return GateResult(gate, target, observed, n, Result.INCONCLUSIVE, interval, reason)


def implied_gates(
    gates: Sequence[Gate], targets: Sequence[str], left: Collection[str] = (), *, swept: bool = False
) -> list[Gate]:
    """What nobody has to write: the protocol is kept, no stream fails, and at least one is completed.

    `left` are the targets whose streams were left by their users: none need be completed. Of a run that was `swept`,
    streams may fail: it looks for the load at which they do.
    """
    out: list[Gate] = []
    for target in targets:
        metrics = {gate.metric for gate in gates if gate.target in (None, target)}
        if not metrics & set(VIOLATIONS):
            out.append(Gate("violations == 0", target, "violations", None, "==", 0.0, "count", implied=True))
        if not swept and not metrics & {"error_rate", "streams.failed"}:
            out.append(Gate("error_rate == 0", target, "error_rate", None, "==", 0.0, "ratio", implied=True))
        if target not in left and not metrics & {"error_rate", "streams.completed", "streams.failed"}:
            out.append(
                Gate("streams.completed > 0", target, "streams.completed", None, ">", 0.0, "count", implied=True)
            )
    return out
