"""Conformance results for a terminal: cases by area, and those that failed, in lines that fit."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from streambench.conformance.case import Case, Verdict
from streambench.conformance.runner import CaseResult, SuiteResult
from streambench.conformance.suite import AREAS
from streambench.report.conformance import counted

MIN_WIDTH = 40
LABEL = 10  # columns of `expected` and its like, with the space behind


def describe_cases(cases: Sequence[Case], *, width: int | None = None) -> str:
    """The cases, area by area. Where a line has no room for both, the requirement is below the case's id."""
    longest = max((len(case.id) for case in cases), default=0)
    lines: list[str] = []
    for area, heading in AREAS.items():
        members = [case for case in cases if case.area == area]
        if members:
            lines += ["", heading] if lines else [heading]
        for case in members:
            begins = f"  {case.id:<{longest}}  {case.keyword:<6}  "
            if width is None or width >= len(begins) + MIN_WIDTH:
                lines += _wrapped(case.requirement, width, begins, " " * len(begins))
            else:
                lines += [f"  {case.id}  {case.keyword}", *_wrapped(case.requirement, width, "    ", "    ")]
    lines += ["", f"{len(cases)} cases"]
    return "\n".join(lines) + "\n"


def describe_suite(suite: SuiteResult, *, commands: bool = False, width: int | None = None) -> str:
    """What was counted, then each case that does not hold, then what could not be tested and why.

    Lines fit into `width` columns; with None a line is as long as it is.
    """
    first = f"{counted(suite)}  {suite.target} ({suite.dialect}), {suite.seconds:.1f} s"
    lines = _wrapped(first, width, "", "  ")
    for result in suite.results:
        if result.is_bad or result.verdict is Verdict.HARNESS_ERROR:
            lines += ["", *describe_result(result, commands=commands, width=width)]
    for result in suite.outlived:
        text = f"{result.case.id} holds, although it may fail: take it off `expected_failures`"
        lines += ["", *_wrapped(text, width, "  ", "    ")]
    locked: dict[str, list[str]] = {}
    for result in suite.results:
        if result.verdict is Verdict.NOT_TESTABLE:
            locked.setdefault(result.unlock, []).append(result.case.id)
    if locked:
        lines += ["", "  Not testable here:"]
        for unlock, ids in locked.items():
            lines += _wrapped(f"{len(ids)} need {unlock}: {', '.join(ids)}", width, "    ", "      ")
    return "\n".join(lines) + "\n"


def describe_result(result: CaseResult, *, commands: bool = False, width: int | None = None) -> list[str]:
    """A case that does not hold: the requirement, what was expected and came, and what to do."""
    case = result.case
    label = " (expected)" if result.expected_failure else ""
    said = [
        (case.keyword, f"{case.requirement} ({case.source})"),
        ("found", result.message + (f", at {result.place}" if result.place else "")),
        ("expected", result.expected),
        ("got", result.got),
        ("remedy", case.remedy if result.is_bad else ""),
    ]
    lines = [f"  {result.verdict.upper()}{label}  {case.id}"]
    for name, text in said:
        if text:
            lines += _wrapped(text, width, f"    {name:<{LABEL}}", " " * (4 + LABEL))
    if commands:  # never wrapped: they are to be copied
        lines += [f"    $ {command}" for command in result.commands[-1:]]
    return lines


def _wrapped(text: str, width: int | None, first: str, others: str) -> list[str]:
    """Text in lines of whole words; what is longer than a line, such as a body without spaces, is broken."""
    if width is None:
        return [first + text]
    return textwrap.wrap(
        text, max(width, MIN_WIDTH), initial_indent=first, subsequent_indent=others, break_on_hyphens=False
    )
