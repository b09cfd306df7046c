"""`summary.md`: a step summary for a CI service."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from streambench.analysis.summary import Summary
from streambench.report.cases import Case, gate_cases, suite_cases
from streambench.report.wording import (
    CLAIM_HEADING,
    HEADLINE,
    MILESTONE_HEADING,
    SWEEP_HEADING,
    bare,
    claim_row,
    figure,
    findings_in_words,
    headline,
    metric_heading,
    milestone_rows,
    suite_counts,
    sweep_rows,
    verdict_matrix,
)

MARKS = {"passed": "✅", "failed": "❌", "inconclusive": "⚠️", "invalid": "⚠️", "undecided": "⚠️", "skipped": "➖"}


def write(summary: Summary, folder: Path, *, plots: bool) -> Path:
    """Write `summary.md`."""
    path = folder / "summary.md"
    path.write_text(render_markdown(summary), "utf-8")
    return path


def render_markdown(summary: Summary) -> str:
    """The run as Markdown: verdict, findings, gates, figures."""
    parts = [
        f"## {MARKS[summary.verdict]} streambench: {_escape(summary.header['scenario']['name'])} {summary.verdict}",
        f"{_escape(headline(summary))}.",
        "\n".join(f"- {_escape(finding)}" for finding in findings_in_words(summary)),
        *_sweep(summary),
        *_matrix(summary),
        "### Gates",
        case_table("gate", gate_cases(summary)),
        *_suites(summary),
        "### Figures",
        _figures(summary),
    ]
    named = milestone_rows(summary)
    if named:
        parts += ["### Milestones (ms)", _table(MILESTONE_HEADING, [tuple(map(_escape, row)) for row in named])]
    claims = summary.claims
    if claims:
        rows = [tuple(map(_escape, claim_row(claim))) for claim in claims]
        parts += ["### Claims about real streaming, and what was measured", _table(CLAIM_HEADING, rows)]
    return "\n\n".join(parts) + "\n"


def _sweep(summary: Summary) -> list[str]:
    if summary.sweep is None:
        return []
    rows = [tuple(map(_escape, row)) for row in sweep_rows(summary.sweep)]
    return [f"### Steps of the sweep on {_escape(summary.sweep.target)}", _table(SWEEP_HEADING, rows)]


def _suites(summary: Summary) -> list[str]:
    out: list[str] = []
    for suite in summary.suites:
        bad = {case["case"] for case in suite.bad}
        shown = [case for case in suite_cases(summary) if case.name in bad and case.suite.startswith(suite.target)]
        out += [f"### Conformance of {_escape(suite.target)}", f"{_escape(suite_counts(suite))}."]
        out += [case_table("case", shown)] if shown else []
    return out


def case_table(noun: str, cases: Sequence[Case]) -> str:
    """Cases as a table, each with its mark; `noun` is what they are."""
    return _table(
        ("", noun, "result"),
        [(MARKS[case.outcome], _code(case.title or case.name), _escape(case.message)) for case in cases],
    )


def _matrix(summary: Summary) -> list[str]:
    matrix = verdict_matrix(summary)
    if matrix is None:
        return []
    columns, rows = matrix
    return ["### Verdicts", _table(("", *columns), [(_escape(row), *cells) for row, cells in rows])]


def _figures(summary: Summary) -> str:
    rows: list[tuple[str, ...]] = []
    for name, target in summary.targets.items():
        rows += [
            (
                _escape(name),
                metric_heading(metric, values.unit),
                f"{len(values):,}",
                *(bare(values.quantile(q), values.unit) for q in (0.5, 0.95, 0.99)),
                bare(float(values.values[-1]), values.unit),
            )
            for metric in HEADLINE
            if len(values := target.distributions[metric])
        ]
        rows.append(
            (
                _escape(name),
                "error rate",
                f"{target.counts['started']:,}",
                figure(target.error_rate, "ratio"),
                "",
                "",
                "",
            )
        )
    return _table(("target", "metric", "n", "p50", "p95", "p99", "max"), rows)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def _code(text: str) -> str:
    """A code span: nothing in it is escaped but what would end it, or its table cell."""
    return "`" + " ".join(text.replace("`", "ˋ").replace("|", "\\|").split()) + "`"


def _escape(text: str) -> str:
    """Text that stays text: no markup, no table cell, no line break, no HTML."""
    for character in "\\`*_[]|":
        text = text.replace(character, "\\" + character) if character != "`" else text.replace("`", "ˋ")
    return " ".join(text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").split())
