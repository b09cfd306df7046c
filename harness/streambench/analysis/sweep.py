"""A target's knee: the highest load at which it met the conditions, found by steps and then by bisection.

The steps double the load until the conditions break; then the load between the last one that met them and the first one
that did not is halved. Everything follows from the streams of the steps: which load is next while the run goes on, and
what is said of it afterwards. A step in which the generator itself was too slow says nothing of the target.
"""

from __future__ import annotations

import copy
import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal

from streambench.analysis.authenticity import MAX_SERVER_WAIT, MAX_UPSTREAM_LATE_MS
from streambench.analysis.gates import Gate, GateError, GateResult, Result, evaluate, parse_gate
from streambench.analysis.goodput import PER_STREAM, goodput_of, readable_goodput
from streambench.analysis.metrics import METRICS
from streambench.analysis.stream import AnalysedStream
from streambench.analysis.tally import Tally
from streambench.analysis.target import observations, summarize_target
from streambench.analysis.validity import Excess, excesses, upstream_late_ns
from streambench.errors import ExitCode
from streambench.quantile import quantile
from streambench.units import NS_PER_MS, NS_PER_S

Unit = Literal["rate", "users"]

FACTOR = 2  # from one step to the next, until the conditions break
MAX_REPEATS = 20  # of a step whose streams are too few for its conditions
MAX_TRIES = 3  # at a load that could not be judged: what disturbed it may be over
WARY_WAIT_NS = 2 * NS_PER_S  # in less time a share of the CPU says nothing
UNDECIDABLE = ("authenticity", "claims.held", "goodput", "goodput.share")  # by a step

_AND = re.compile(r"\band\b")
_NO_FAILURE = Gate("error_rate == 0", None, "error_rate", None, "==", 0.0, "ratio", implied=True)


@dataclass(frozen=True, slots=True)
class Sweep:
    """What is looked for: the highest load from `low` to `high` that meets the conditions `until`.

    `unit`: streams a second, or users. The knee is known when the loads beside it are no farther apart than the share
    `precision`. Each step lasts `hold_ns`.
    """

    unit: Unit
    low: float
    high: float
    until: str
    precision: float
    hold_ns: int

    def to_json(self) -> dict[str, Any]:
        """`sweep` of the records' header."""
        return {
            "unit": self.unit,
            "low": self.low,
            "high": self.high,
            "until": self.until,
            "precision": self.precision,
            "hold_s": self.hold_ns / NS_PER_S,
        }

    @classmethod
    def from_json(cls, data: Any) -> Sweep | None:
        """Read back what `to_json` wrote; None for what is none, or of another version."""
        try:
            found = cls(
                data["unit"],
                float(data["low"]),
                float(data["high"]),
                data["until"],
                float(data["precision"]),
                round(data["hold_s"] * NS_PER_S),
            )
            return found if found.unit in ("rate", "users") and conditions_of(found.until) else None
        except (TypeError, KeyError, ValueError, OverflowError):
            return None

    def show(self, load: float) -> str:
        """A load in words, such as `47.5 streams/s` or `12 users`."""
        if self.unit == "rate":
            return f"{load:,g} stream{'' if load == 1 else 's'}/s"
        return f"{load:,.0f} user{'' if load == 1 else 's'}"

    def next_load(self, found: Sequence[Level]) -> float | None:
        """The load of the next step, after what the steps until now have `found`; None where nothing is left to do."""
        again = [level.load for level in found if level.verdict is LevelVerdict.UNJUDGED and level.spoiled < MAX_TRIES]
        if again:
            return again[0]
        ceiling = min((level.load for level in found if level.verdict.ends_it), default=None)
        below = [level for level in found if ceiling is None or level.load < ceiling]
        if not below:
            return self.low if ceiling is None else None
        last = max(below, key=lambda level: level.load)
        if ceiling is None and last.load < self.high:
            return min(self.high, self._rounded(last.load * FACTOR))
        middle = None if ceiling is None else self._between(last.load, ceiling)
        if middle is not None:
            return middle
        return last.load if last.verdict is LevelVerdict.FEW and last.steps < MAX_REPEATS else None

    def _between(self, low: float, high: float) -> float | None:
        if high - low <= low * self.precision:
            return None
        middle = self._rounded((low + high) / 2)
        return middle if low < middle < high else None

    def _rounded(self, load: float) -> float:
        return float(f"{load:.3g}") if self.unit == "rate" else float(int(load))


class LevelVerdict(StrEnum):
    """What came of a load. `few`: too few streams to decide it; `unjudged`: not the target's doing."""

    MET = "met"
    BROKEN = "broken"
    FEW = "few"
    UNJUDGED = "unjudged"

    @property
    def ends_it(self) -> bool:
        """Whether nothing can be found beyond that load."""
        return self in (LevelVerdict.BROKEN, LevelVerdict.UNJUDGED)


@dataclass(frozen=True, slots=True)
class Step:
    """A step that was held: `load` for the streams that were due from `begin_ns` to before `end_ns`.

    `server_wait`: the share of that time for which each started server waited for a CPU.
    """

    load: float
    begin_ns: int
    end_ns: int
    server_wait: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Its line in the records."""
        return {
            "load": self.load,
            "begin_ns": self.begin_ns,
            "end_ns": self.end_ns,
            "server_wait": {name: round(share, 4) for name, share in self.server_wait.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Step:
        """Read back a line that was held against its type."""
        return cls(data["load"], data["begin_ns"], data["end_ns"], data["server_wait"])


@dataclass(frozen=True, slots=True)
class Level:
    """A load and what came of it, in one step or in several. Streams a second are of the time that was held.

    `spoiled` are the steps at this load that could not be judged; if another one could, they do not count. `gates` are
    the conditions, decided; `reason`: why it is not judged. `good_per_s` are the completed streams that met the
    conditions which can be asked of a single stream.
    """

    load: float
    verdict: LevelVerdict
    steps: int
    seconds: float
    counts: Mapping[str, int]
    gates: Sequence[GateResult]
    good_per_s: float
    reason: str | None = None
    spoiled: int = 0

    @property
    def broken(self) -> list[GateResult]:
        """The conditions that did not hold, in the order in which they are written."""
        return [gate for gate in self.gates if gate.result is Result.FAILED]

    @property
    def started_per_s(self) -> float:
        """How many streams began each second."""
        return self.counts["started"] / self.seconds if self.seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        """One of `levels`."""
        out: dict[str, Any] = {
            "load": self.load,
            "verdict": self.verdict,
            "steps": self.steps,
            "spoiled": self.spoiled,
            "seconds": round(self.seconds, 3),
            "streams": dict(self.counts),
            "started_per_s": round(self.started_per_s, 4),
            "good_per_s": round(self.good_per_s, 4),
            "conditions": [gate.to_json() for gate in self.gates],
        }
        return out if self.reason is None else {**out, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class SweepOutcome:
    """What a sweep has found on its `target`, so far as it came. `levels` ascend."""

    target: str
    sweep: Sweep
    levels: Sequence[Level]

    @property
    def ceiling(self) -> Level | None:
        """The lowest load that did not meet the conditions, or could not be judged."""
        return next((level for level in self.levels if level.verdict.ends_it), None)

    @property
    def knee(self) -> Level | None:
        """The highest load below it that met the conditions."""
        limit = None if self.ceiling is None else self.ceiling.load
        met = [level for level in self.levels if level.verdict is LevelVerdict.MET]
        return max((level for level in met if limit is None or level.load < limit), key=_load, default=None)

    @property
    def complete(self) -> bool:
        """Whether it came to its end."""
        return self.sweep.next_load(self.levels) is None

    @property
    def exit_code(self) -> ExitCode:
        """What it means for the run: no load met the conditions, or the knee was beyond what could be judged."""
        ceiling, knee = self.ceiling, self.knee
        if ceiling is not None and ceiling.verdict is LevelVerdict.UNJUDGED:
            return ExitCode.INVALID
        if knee is None:
            return ExitCode.INVALID if ceiling is None else ExitCode.PERFORMANCE
        return ExitCode.PASSED

    @property
    def sentence(self) -> str:
        """What was found, for a person."""
        text = self._found()
        if self.complete:
            return text
        return f"The sweep was stopped. {text}" if self.levels else "The sweep was stopped before its first step ended."

    def _found(self) -> str:
        knee, ceiling, show = self.knee, self.ceiling, self.sweep.show
        met = "" if knee is None else f"{self.target} met the conditions up to {show(knee.load)} ({_shown(knee.gates)})"
        if ceiling is None:
            if knee is None:
                return f"{self.target} had too few streams for {self.sweep.until} to be decided: hold each step longer."
            return f"{met}; more was not tried." if self.complete else f"{met}."
        if ceiling.verdict is LevelVerdict.UNJUDGED:
            so_far = f"{met}; its knee lies higher. At" if knee is not None else f"{self.target} was not measured: at"
            return (
                f"{so_far} {show(ceiling.load)} this machine could not judge it: {ceiling.reason}. Give the generator "
                "cores of its own, or more workers."
            )
        broke = _shown(ceiling.broken) or ceiling.reason or ""
        if knee is None:
            return f"{self.target} did not meet the conditions even at {show(ceiling.load)}: {broke}."
        return f"{met}; at {show(ceiling.load)} they broke: {broke}."

    def to_json(self) -> dict[str, Any]:
        """`sweep` of summary.json."""
        ceiling, knee = self.ceiling, self.knee
        return {
            "target": self.target,
            "sentence": self.sentence,
            **self.sweep.to_json(),
            "complete": self.complete,
            "knee": None if knee is None else knee.load,
            "next": None if ceiling is None else ceiling.load,
            "broke": [] if ceiling is None else [gate.gate.expr for gate in ceiling.broken],
            "levels": [level.to_json() for level in self.levels],
        }


def conditions_of(text: str, *, two_sided: bool = True) -> list[Gate]:
    """The conditions of a text, which `and` joins. Raises GateError with the place of what a step cannot decide.

    That no stream fails is one of them where the text does not speak of failures.
    """
    out: list[Gate] = []
    at = 0
    for part in _AND.split(text):
        try:
            gate = parse_gate(part, {"": two_sided})
        except GateError as error:
            raise GateError(str(error), at + error.at, error.text, error.suggestion) from None
        if gate.metric in UNDECIDABLE:
            raise GateError(f"{gate.metric} cannot be decided by a step of a sweep", at, part)
        out.append(gate)
        at += len(part) + len("and")
    return out if {gate.metric for gate in out} & {"error_rate", "streams.failed"} else [*out, _NO_FAILURE]


class LevelTally:
    """Gathers the streams of one load, step by step, and judges it. `facts` are those of the target in the header."""

    def __init__(self, sweep: Sweep, target: str, facts: Mapping[str, Any]) -> None:
        self._sweep = sweep
        self._target = target
        self._facts = facts
        self._spoiled = 0
        self._begin()

    def _begin(self) -> None:
        self._tally = Tally(self._target)
        self._late_ns: list[int] = []
        self._steps: list[Step] = []

    def add(self, stream: AnalysedStream) -> None:
        """Count a stream that was due in the step at hand."""
        if not stream.record.warmup:
            self._tally.add(len(self._tally.columns), stream)
            self._late_ns += upstream_late_ns(stream.record)

    def end(self, step: Step) -> Level:
        """The step at hand is over: what came of its load by now. One that cannot be judged is not gone on with."""
        self._steps.append(step)
        level = self._level()
        if level.verdict is LevelVerdict.UNJUDGED:
            self._spoiled += 1
            self._begin()
        return replace(level, spoiled=self._spoiled)

    def _level(self) -> Level:
        steps, sweep = self._steps, self._sweep
        # Distributions use the columns up, and further steps may be added to these.
        columns = copy.copy(self._tally.columns)
        columns.chunks = dict(columns.chunks)
        tally = copy.copy(self._tally)
        tally.columns = columns
        seconds = sum(step.end_ns - step.begin_ns for step in steps) / NS_PER_S
        goodput = _goodput_of(sweep.until)
        good = 0 if goodput is None or not len(columns) else goodput_of(goodput, columns).good
        target = summarize_target(self._target, self._facts, tally)
        if goodput is None:
            good = target.counts["completed"]
        seen = observations(target)
        decided = [evaluate(gate, self._target, seen) for gate in conditions_of(sweep.until)]
        gates = [result for result in decided if result is not None]
        starved = self._starved(steps)
        slow = next((_excess(found) for found in excesses({self._target: target.distributions})), None)
        verdict = _verdict(gates, starved, slow)
        reason = (starved or slow) if verdict is LevelVerdict.UNJUDGED else None
        if target.counts["dropped"] and verdict in (LevelVerdict.MET, LevelVerdict.FEW):
            verdict, reason = LevelVerdict.BROKEN, f"{target.counts['dropped']:,} streams found max_active others open"
        return Level(steps[0].load, verdict, len(steps), seconds, target.counts, gates, good / seconds, reason)

    def _starved(self, steps: Sequence[Step]) -> str | None:
        """Why its times show the machine: a server that had no CPU."""
        for step in steps:
            for name, share in step.server_wait.items():
                if share > MAX_SERVER_WAIT and step.end_ns - step.begin_ns > WARY_WAIT_NS:
                    return f"the server {name!r} waited {share:.0%} of the time for a CPU"
        late_ms = quantile(sorted(self._late_ns), 0.95) / NS_PER_MS if self._late_ns else 0.0
        return f"the fake upstream wrote {late_ms:,.0f} ms late at p95" if late_ms > MAX_UPSTREAM_LATE_MS else None


class SweepTally:
    """Gathers the streams of a sweep that is over, or was stopped, in the order of the file: step by step."""

    def __init__(self, header: Mapping[str, Any], sweep: Sweep, steps: Iterable[Mapping[str, Any]]) -> None:
        (self._target, facts), *_ = header["targets"].items()
        self._sweep = sweep
        self._steps = deque(map(Step.from_json, steps))
        self._tallies = {step.load: LevelTally(sweep, self._target, facts) for step in self._steps}
        self._levels: dict[float, Level] = {}

    def add(self, stream: AnalysedStream) -> None:
        """Count a stream; one of a step that was not held to its end is not."""
        due_ns = stream.record.intended_ns
        while self._steps and due_ns >= self._steps[0].end_ns:
            self._end()
        if self._steps and self._steps[0].begin_ns <= due_ns and stream.record.target == self._target:
            self._tallies[self._steps[0].load].add(stream)

    def outcome(self) -> SweepOutcome:
        """What was found. Called at the end."""
        while self._steps:
            self._end()
        return SweepOutcome(self._target, self._sweep, sorted(self._levels.values(), key=_load))

    def _end(self) -> None:
        step = self._steps.popleft()
        self._levels[step.load] = self._tallies[step.load].end(step)


def _shown(gates: Iterable[GateResult]) -> str:
    """What was observed of conditions, such as `ttfc.p95 612.3 ms, error_rate 0%`."""
    return ", ".join(f"{_name(gate.gate)} {_value(gate)}" for gate in gates)


def _name(gate: Gate) -> str:
    return gate.metric if gate.statistic is None else f"{gate.metric}.{gate.statistic}"


def _value(result: GateResult) -> str:
    observed, unit = result.observed, result.gate.unit
    if not isinstance(observed, float):
        return "unknown" if observed is None else observed
    if unit == "ratio":
        return f"{observed:.3g}" if result.gate.metric in METRICS else f"{observed:.2%}"
    return f"{observed:,.1f} {unit}" if unit in ("ms", "per s") else f"{observed:,g}"


def _load(level: Level) -> float:
    return level.load


def _verdict(gates: Sequence[GateResult], starved: str | None, slow: str | None) -> LevelVerdict:
    """A figure that misses its limit by more than the generator's own share does so however slow that was."""
    if starved is not None:
        return LevelVerdict.UNJUDGED
    failed = [gate for gate in gates if gate.result is Result.FAILED]
    if any(gate.gate.metric in METRICS for gate in failed):
        return LevelVerdict.BROKEN
    if slow is not None:
        return LevelVerdict.UNJUDGED
    if failed:
        return LevelVerdict.BROKEN
    return LevelVerdict.MET if all(gate.result is Result.PASSED for gate in gates) else LevelVerdict.FEW


def _excess(found: Excess) -> str:
    return (
        f"up to {found.own:,.1f} ms of {found.metric} {found.quantile} ({found.value:,.1f} ms) may be the generator's "
        "own doing"
    )


def _goodput_of(until: str) -> str | None:
    """The conditions that a single stream can be held against, as those of a goodput; None where there is none."""
    asked = [
        f"{gate.metric} {gate.op} {gate.limit:g}{'ms' if gate.unit == 'ms' else ''}"
        for gate in conditions_of(until)
        if gate.metric in PER_STREAM and gate.op in ("<", "<=", ">", ">=") and isinstance(gate.limit, float)
    ]
    return readable_goodput(" and ".join(asked)) if asked else None
