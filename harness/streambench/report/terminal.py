"""The verdict for a terminal or a CI log: the finding first, then the evidence.

No colour where nobody sees it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from streambench.analysis.gates import Result
from streambench.analysis.summary import Summary
from streambench.report.wording import (
    NOTHING,
    bare,
    findings_in_words,
    gate_sentence,
    gate_title,
    headline,
    plural,
)

COLOURS = {"passed": "green", "failed": "red", "invalid": "yellow", "inconclusive": "yellow"}
MAX_FINDINGS = 12
MAX_GATES = 15  # of more than so many, those that passed are only counted
# What fits beside each other on a terminal; the report has all metrics.
COLUMNS = (
    ("ttfc", "p50", 0.5),
    ("ttfc", "p95", 0.95),
    ("gap_max", "p95", 0.95),
    ("e2e", "p50", 0.5),
    ("forward_lag", "p50", 0.5),
)


# Control characters, and those that turn the direction of what follows.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def describe_run(summary: Summary, written: Mapping[str, Path], *, brief: bool) -> str:
    """What is printed at the end of a run; `brief` is the verdict and what led to it."""
    verdict = summary.verdict
    name = _plain(summary.header["scenario"]["name"])
    lines = [f"{_coloured(verdict.upper(), verdict)}  {name}  {headline(summary)}", ""]
    findings = findings_in_words(summary)
    lines += [f"  {_plain(finding)}" for finding in findings[:MAX_FINDINGS]]
    if len(findings) > MAX_FINDINGS:
        lines.append(f"  … and {len(findings) - MAX_FINDINGS} more findings, see the report")
    if not brief:
        lines += ["", *_table(*_target_rows(summary)), "  times in ms"]
        gates = _gates(summary)
        lines += ["", *gates] if gates else []
    if "html" in written:
        lines += ["", f"  report  {written['html']}"]
    return "\n".join(lines) + "\n"


def _target_rows(summary: Summary) -> tuple[list[str], list[list[str]]]:
    targets = summary.targets.values()
    shown = [column for column in COLUMNS if any(len(target.distributions[column[0]]) for target in targets)]
    headings = ["target", "verdict", "done", "failed", *(f"{name} {statistic}" for name, statistic, _ in shown)]
    rows = [
        [
            _plain(target.name),
            str(target.authenticity.verdict),
            f"{target.counts['completed']:,}",
            f"{target.counts['failed']:,}",
            *(
                bare(values.quantile(q), values.unit) if len(values := target.distributions[name]) else NOTHING
                for name, _, q in shown
            ),
        ]
        for target in targets
    ]
    return headings, rows


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in (headings, *rows)) for i in range(len(headings))]

    def line(cells: Sequence[str]) -> str:
        # Two columns of words, then numbers.
        padded = [
            cell.ljust(width) if i < 2 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"  {'  '.join(padded)}".rstrip()

    return [line(headings), *(line(row) for row in rows)]


def _gates(summary: Summary) -> list[str]:
    several = len(summary.targets) > 1
    told = [gate for gate in summary.gates if not gate.gate.implied or gate.result is not Result.PASSED]
    listed = told if len(told) <= MAX_GATES else [gate for gate in told if gate.result is not Result.PASSED]
    titles = [_plain(gate_title(gate, several=several)) for gate in listed]
    width = max((len(title) for title in titles), default=0)
    lines = [
        f"  {_coloured(f'{gate.result:<12}', str(gate.result))}  {title:<{width}}  {_plain(gate_sentence(gate))}"
        for gate, title in zip(listed, titles, strict=True)
    ]
    if len(listed) < len(told):
        lines.append(f"  {_coloured('passed'.ljust(12), 'passed')}  {plural(len(told) - len(listed), 'gate')}")
    return lines


def _plain(text: str) -> str:
    """Text on one line that cannot rule the terminal: a server may have put escape sequences into it."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", " ".join(text.split()))


def _coloured(text: str, verdict: str) -> str:
    if os.environ.get("NO_COLOR"):
        return text
    return click.style(text, fg=COLOURS[verdict], bold=True)
