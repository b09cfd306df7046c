"""From a run's records to its results: metrics, verdicts, gates.

Nothing here is measured; all of it is recomputed.

`Summary.to_json` is the contract with other tools; docs/reference/summary-json.md describes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from streambench.analysis.authenticity import starvation
from streambench.analysis.claims import Claim, Evidence, claims_of
from streambench.analysis.gates import (
    GateResult,
    Result,
    evaluate,
    implied_gates,
    read_gates,
)
from streambench.analysis.gathering import Whole, gather
from streambench.analysis.goodput import readable_goodput
from streambench.analysis.metrics import Settings
from streambench.analysis.stream import AnalysedStream, analyse
from streambench.analysis.suites import SuiteOutcome
from streambench.analysis.sweep import Sweep, SweepOutcome, SweepTally
from streambench.analysis.target import TargetSummary, if_any, observations, summarize_target
from streambench.analysis.validity import excesses, judged
from streambench.analysis.waivers import Waiver, read_waivers
from streambench.errors import ExitCode
from streambench.record.model import stamps_of
from streambench.record.run_file import Run
from streambench.units import NS_PER_S

SCHEMA = "streambench.summary/1"


@dataclass(slots=True)
class Summary:
    """What is said of a run. `last_end_ns` is when its last stream ended.

    `removable` are the waivers of the scenario about which nothing was found any more, `suites` the conformance suites
    that gate the run, `claims` what is claimed of chat systems that are in the run before and after, `sweep` what it
    has found if it is one.
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
    sweep: SweepOutcome | None = None

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
        if self.sweep is not None and failed is ExitCode.PASSED:
            failed = self.sweep.exit_code
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
            **({} if self.sweep is None else {"sweep": self.sweep.to_json()}),
            **if_any("removable", [{"key": waiver.key, **waiver.to_json()} for waiver in self.removable]),
            **({"conformance": [suite.to_json() for suite in self.suites]} if self.suites else {}),
            "generator": self.generator,
        }


def summarize(run: Run) -> Summary:
    """Everything that is said of a run, from its records and the gates in their header.

    The records are gone through once; of each stream a row of numbers is kept.
    """
    header = run.header
    settings = Settings.of_run(header)
    waivers = read_waivers(header.get("accept", ()), header.get("ignore", ()))
    sweep = Sweep.from_json(header.get("sweep")) if header["targets"] else None
    swept = None if sweep is None else SweepTally(header, sweep, run.steps)
    gathered = gather(run, settings, waivers, None if swept is None else swept.add)
    tallies, whole = gathered.tallies, gathered.whole
    generator = _generator(run, whole)
    doubt = starvation(generator)
    goodput = readable_goodput(header.get("goodput"))
    targets = {
        name: summarize_target(name, facts, tallies[name], doubt, goodput) for name, facts in header["targets"].items()
    }
    sides = {name: bool(facts["two_sided"]) for name, facts in header["targets"].items()}
    named = {name: [one.name for one in milestones] for name, milestones in settings.milestones.items()}
    gates = read_gates(header["gates"], sides, named)
    removable = tuple(waiver for waiver in waivers if _is_removable(waiver, targets))
    summary = Summary(run, targets, [], generator, settings, whole.last_end_ns, removable)
    servers = {} if run.end is None else run.end.get("servers", {})
    evidence = Evidence(lambda name: summary.streams_of(targets[name]), settings.reading_wpm, servers)
    summary.sweep = None if swept is None else swept.outcome()
    summary.claims = claims_of(list(targets.values()), evidence)
    left = [name for name, target in targets.items() if target.counts["left"]]
    observed = {
        name: observations(target, [claim.holds for claim in summary.claims if claim.target == name])
        for name, target in targets.items()
    }
    summary.gates = [
        result
        for gate in [*gates, *implied_gates(gates, list(targets), left, swept=swept is not None)]
        for name, seen in observed.items()
        if gate.target in (None, name) and (result := evaluate(gate, name, seen)) is not None
    ]
    # A sweep goes on until something is too slow, be it the generator: each of its steps was judged by itself.
    found = excesses({name: target.distributions for name, target in targets.items()}) if swept is None else []
    summary.generator = judged(generator, found, whole.activity)
    return summary


def _is_removable(waiver: Waiver, targets: Mapping[str, TargetSummary]) -> bool:
    """Streams were completed by all targets that it is about, and nothing was found of it."""
    concerned = [target for target in targets.values() if waiver.target in (None, target.name)]
    found = any(waiver.concerns(target.name, rule.rule) for target in concerned for rule in target.rules)
    return not found and all(target.counts["completed"] for target in concerned)


def _generator(run: Run, whole: Whole) -> dict[str, Any]:
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
