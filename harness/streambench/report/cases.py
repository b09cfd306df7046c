"""Cases: every single decision, whatever made it, for formats that list passes and failures.

A gate becomes a case, and so does the generator's verdict on itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from streambench.analysis.gates import GateResult, Result
from streambench.analysis.summary import Summary
from streambench.report.wording import (
    accepted_rules_in_words,
    broken_rules_in_words,
    failures_in_words,
    gate_sentence,
    gate_title,
    removable_in_words,
)

GENERATOR = "generator"


class CaseOutcome(StrEnum):
    """What came of a case. An undecided one has not shown that anything holds."""

    PASSED = "passed"
    FAILED = "failed"
    UNDECIDED = "undecided"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Case:
    """One decision. `suite` is what it is about, such as a target, and `name` tells it apart there.

    `title` names it where cases of several suites stand together. `message` is one sentence, `details` are further
    ones; `place` is where to look, such as a stream and an event in it. `seconds` is how long the decision took to
    come by.
    """

    suite: str
    name: str
    outcome: CaseOutcome
    message: str = ""
    details: tuple[str, ...] = ()
    place: str | None = None
    seconds: float | None = None
    title: str = ""


_OUTCOMES = {
    Result.PASSED: CaseOutcome.PASSED,
    Result.FAILED: CaseOutcome.FAILED,
    Result.INCONCLUSIVE: CaseOutcome.UNDECIDED,
}


def gate_cases(summary: Summary) -> list[Case]:
    """A case a gate and target, in the order of the gates; each needed the whole run."""
    return [_gate_case(summary, gate) for gate in summary.gates]


def waiver_cases(summary: Summary) -> list[Case]:
    """A skipped case for each rule that was broken and may be, and for each that the scenario need not accept."""
    cases = [
        Case(target.name, f"accepted: {rule.rule}", CaseOutcome.SKIPPED, accepted)
        for target in summary.targets.values()
        for rule, accepted in zip(target.accepted, accepted_rules_in_words(target), strict=False)
    ]
    cases += [
        Case(waiver.target or "scenario", f"{waiver.key}: {waiver.rule}", CaseOutcome.SKIPPED, sentence)
        for waiver, sentence in zip(summary.removable, removable_in_words(summary), strict=True)
    ]
    return cases


_SUITE_OUTCOMES = {
    "passed": CaseOutcome.PASSED,
    "warning": CaseOutcome.PASSED,
    "info": CaseOutcome.PASSED,
    "not testable": CaseOutcome.SKIPPED,
    "harness error": CaseOutcome.UNDECIDED,
}


def suite_cases(summary: Summary) -> list[Case]:
    """A case for each case of the conformance suites that gate the run."""
    return [
        Case(
            f"{suite.target} conformance",
            case["case"],
            CaseOutcome.SKIPPED
            if case.get("expected_failure")
            else _SUITE_OUTCOMES.get(case["verdict"], CaseOutcome.FAILED),
            case.get("message") or case["requirement"],
            tuple(case[key] for key in ("expected", "got", "requirement", "remedy", "unlock") if case.get(key)),
            case.get("place"),
            case.get("seconds"),
        )
        for suite in summary.suites
        for case in suite.cases
    ]


def generator_case(summary: Summary) -> Case:
    """Whether the load generator kept up, so that the figures are those of the target."""
    valid = summary.generator["valid"]
    return Case(
        GENERATOR,
        "the measurement is valid",
        CaseOutcome.PASSED if valid else CaseOutcome.UNDECIDED,
        "" if valid else "; ".join(summary.generator["reasons"]),
        seconds=summary.duration_s,
    )


def count(cases: Iterable[Case], outcome: CaseOutcome) -> int:
    """How many of the cases came to that."""
    return sum(case.outcome is outcome for case in cases)


def _gate_case(summary: Summary, result: GateResult) -> Case:
    target = summary.targets[result.target]
    details: list[str] = []
    if result.result is not Result.PASSED:
        details += failures_in_words(target)
        details += broken_rules_in_words(target)
    return Case(
        result.target,
        result.gate.expr,
        _OUTCOMES[result.result],
        gate_sentence(result),
        tuple(details),
        seconds=summary.duration_s,
        title=gate_title(result, several=len(summary.targets) > 1),
    )
