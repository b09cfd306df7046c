"""The results of conformance suites: a page with a matrix of targets, Markdown, JUnit, a badge, and the wire logs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from streambench.conformance.case import Case, Verdict
from streambench.conformance.runner import CaseResult, SuiteResult
from streambench.conformance.suite import AREAS
from streambench.report.cases import Case as ReportCase
from streambench.report.cases import CaseOutcome
from streambench.report.export.junit import render_junit
from streambench.report.style import css_variables

MARKS = {
    Verdict.PASSED: "✅",
    Verdict.FAILED: "❌",
    Verdict.WARNING: "⚠️",
    Verdict.INFO: "ℹ️",
    Verdict.FLAKY: "🔀",
    Verdict.NOT_TESTABLE: "➖",
    Verdict.HARNESS_ERROR: "💥",
}
_OUTCOMES = {
    Verdict.PASSED: CaseOutcome.PASSED,
    Verdict.FAILED: CaseOutcome.FAILED,
    Verdict.FLAKY: CaseOutcome.FAILED,
    Verdict.WARNING: CaseOutcome.PASSED,
    Verdict.INFO: CaseOutcome.PASSED,
    Verdict.NOT_TESTABLE: CaseOutcome.SKIPPED,
    Verdict.HARNESS_ERROR: CaseOutcome.UNDECIDED,
}


def write_matrix(suites: Sequence[SuiteResult], folder: Path) -> Path:
    """Write `report.html`, `conformance.md`, `junit.xml`, `badge.svg` and `logs/`; returns the page.

    Raises OSError where the folder cannot be written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "report.html"
    page.write_text(render_page(suites), "utf-8")
    (folder / "conformance.md").write_text(render_matrix(suites), "utf-8")
    (folder / "badge.svg").write_text(render_badge(suites), "utf-8")
    seconds = sum(suite.seconds for suite in suites)
    (folder / "junit.xml").write_text(render_junit(report_cases(suites), name="conformance", seconds=seconds), "utf-8")
    for suite in suites:
        for result in suite.results:
            if result.log:
                logs = folder / "logs" / suite.target
                logs.mkdir(parents=True, exist_ok=True)
                (logs / f"{result.case.id}.txt").write_text(result.log, "utf-8")
    return page


def counted(suite: SuiteResult) -> str:
    """The verdicts of a suite in a line, the worst first."""
    word = "FAILED" if suite.exit_code else "PASSED"
    if suite.interrupted:
        word = "INTERRUPTED"
    elif not suite.tested:
        word = "NOTHING TESTED"
    order = (
        Verdict.HARNESS_ERROR,
        Verdict.FAILED,
        Verdict.FLAKY,
        Verdict.WARNING,
        Verdict.INFO,
        Verdict.PASSED,
        Verdict.NOT_TESTABLE,
    )
    counts = [f"{count} {verdict}" for verdict in order if (count := suite.count(verdict))]
    expected = sum(result.expected_failure for result in suite.results)
    return f"{word}  {', '.join(counts)}" + (f", {expected} may fail" if expected else "")


def report_cases(suites: Sequence[SuiteResult]) -> list[ReportCase]:
    """The results as neutral cases, for JUnit."""
    return [
        ReportCase(
            suite.target,
            result.case.id,
            CaseOutcome.SKIPPED if result.expected_failure and result.is_bad else _OUTCOMES[result.verdict],
            result.message or result.case.requirement,
            tuple(_details(result)),
            result.place or None,
            result.seconds,
        )
        for suite in suites
        for result in suite.results
    ]


def render_matrix(suites: Sequence[SuiteResult]) -> str:
    """The matrix in Markdown: a row a case, a column a target; below it what does not hold."""
    heads = [f"{suite.target} ({suite.dialect})" for suite in suites]
    lines = ["## Conformance", "", *(f"- **{suite.target}**: {counted(suite)}" for suite in suites), ""]
    lines += [
        f"| case | requirement | {' | '.join(map(_cell, heads))} |",
        f"|---|---|{'---|' * len(suites)}",
    ]
    for case in _cases(suites):
        marks = [MARKS[result.verdict] if result else "" for result in _row(suites, case)]
        lines.append(f"| `{case.id}` | {case.keyword}: {_cell(case.requirement)} | {' | '.join(marks)} |")
    lines += ["", " · ".join(f"{mark} {verdict}" for verdict, mark in MARKS.items())]
    for suite in suites:
        bad = [result for result in suite.results if result.is_bad]
        if bad:
            lines += ["", f"### {suite.target}", ""]
            lines += [f"- `{result.case.id}`: {_cell(' '.join(_details(result)))}" for result in bad]
    return "\n".join(lines) + "\n"


def render_page(suites: Sequence[SuiteResult]) -> str:
    """The page: the matrix, then each case that does not hold with its wire log. Texts of servers are escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("streambench.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    areas = [
        (heading, [(case, _row(suites, case)) for case in _cases(suites) if case.area == area])
        for area, heading in AREAS.items()
    ]
    return environment.get_template("conformance.html.j2").render(
        suites=[(suite, counted(suite)) for suite in suites],
        areas=[(heading, rows) for heading, rows in areas if rows],
        bad=[(suite, result) for suite in suites for result in suite.results if result.is_bad],
        marks=MARKS,
        colours=Markup(css_variables()),  # noqa: S704 - constants
    )


def render_badge(suites: Sequence[SuiteResult]) -> str:
    """A badge for a README: how many of the cases that could be tested hold."""
    decided = [
        result
        for suite in suites
        for result in suite.results
        if result.verdict not in (Verdict.NOT_TESTABLE, Verdict.HARNESS_ERROR)
    ]
    held = sum(result.verdict is Verdict.PASSED for result in decided)
    good = all(int(suite.exit_code) == 0 for suite in suites)
    text, colour = f"{held} of {len(decided)}", "#14713a" if good else "#b3261e"
    left, right = 104, 12 + 7 * len(text)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="20" role="img" '
        f'aria-label="conformance: {escape(text)}"><title>conformance: {escape(text)}</title>'
        f'<rect width="{left + right}" height="20" rx="3" fill="#3a4048"/>'
        f'<path d="M{left} 0h{right - 3}a3 3 0 0 1 3 3v14a3 3 0 0 1-3 3h-{right - 3}z" fill="{colour}"/>'
        '<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">'
        f'<text x="{left / 2}" y="14">conformance</text><text x="{left + right / 2}" y="14">{escape(text)}</text>'
        "</g></svg>\n"
    )


def _cases(suites: Sequence[SuiteResult]) -> list[Case]:
    return list({result.case.id: result.case for suite in suites for result in suite.results}.values())


def _row(suites: Sequence[SuiteResult], case: Case) -> list[CaseResult | None]:
    return [next((result for result in suite.results if result.case.id == case.id), None) for suite in suites]


def _details(result: CaseResult) -> list[str]:
    if not result.is_bad:
        return [result.unlock] if result.unlock else []
    out = [f"{result.message}."]
    if result.expected:
        out.append(f"Expected: {result.expected}.")
    if result.got:
        out.append(f"Came: {result.got}.")
    return [*out, f"{result.case.requirement} ({result.case.source})", result.case.remedy]


def _cell(text: str) -> str:
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("|", "\\|")
