"""The verdict for a terminal or a CI log: the finding first, then the evidence.

No colour where nobody sees it.
"""

from __future__ import annotations

import os
import re
import shutil
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from streambench.analysis.gates import Result
from streambench.analysis.summary import Summary
from streambench.analysis.sweep import SweepOutcome
from streambench.report.wording import (
    MILESTONE_HEADING,
    NOTHING,
    SWEEP_HEADING,
    bare,
    broken_stream,
    check_parts,
    claim_row,
    findings_in_words,
    gate_figures,
    gate_title,
    headline,
    kept_streams,
    milestone_rows,
    plural,
    server_logs,
    sweep_rows,
)

COLOURS = {"passed": "green", "failed": "red", "invalid": "yellow", "inconclusive": "yellow"}
MAX_FINDINGS = 12
MAX_GATES = 15  # of more than so many, those that passed are only counted
MIN_WIDTH = 40
TOLD_MS = 0.1  # of its own share the generator speaks from here on
# What fits beside each other on a terminal, and which of it is the first to go (the highest); the report has it all.
COLUMNS = (
    ("ttfc", "p50", 0.5, 3),
    ("ttfc", "p95", 0.95, 5),
    ("gap_max", "p95", 0.95, 7),
    ("e2e", "p50", 0.5, 8),
    ("forward_lag", "p50", 0.5, 6),
)


TOGETHER = "\N{NO-BREAK SPACE}"  # a figure and its unit stay on one line
_BEFORE_UNIT = re.compile(r"(?<=\d) (?=m?s\b)")

# Control characters, and those that turn the direction of what follows.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def describe_run(summary: Summary, written: Mapping[str, Path], *, brief: bool, width: int | None = None) -> str:
    """What is printed at the end of a run; `brief` is the verdict and what led to it.

    Lines fit into `width` columns: words are wrapped, and the least telling columns of a table are left out. With None
    a line is as long as it is.
    """
    verdict = summary.verdict
    name = _plain(summary.header["scenario"]["name"])
    first = _wrapped(f"{verdict.upper()}  {name}  {headline(summary)}", width, indent="", hanging="  ")
    lines = [_coloured(verdict.upper(), verdict) + first[0].removeprefix(verdict.upper()), *first[1:], ""]
    findings = findings_in_words(summary)
    for finding in findings[:MAX_FINDINGS]:
        lines += _wrapped(_plain(finding), width)
    if len(findings) > MAX_FINDINGS:
        lines.append(f"  … and {len(findings) - MAX_FINDINGS} more findings, see the report")
    if not brief:
        lines += ["", *_targets(summary, width)]
        named = _milestones(summary, width)
        lines += ["", *named] if named else []
        if summary.sweep is not None:
            lines += ["", *_sweep(summary.sweep, width)]
        gates = _gates(summary, width)
        lines += ["", *gates] if gates else []
        claims = _claims(summary, width)
        lines += ["", *claims] if claims else []
    if "html" in written:
        lines += ["", f"  report  {written['html']}"]
    if any(target.counts["failed"] for target in summary.targets.values()):
        lines += [f"  log     {log}" for log in server_logs(summary)]
    kept = kept_streams(summary)
    if kept:
        shown = broken_stream(summary) or kept[0]
        lines += command_lines(f"{plural(len(kept), 'stream')} kept, for example:", check_parts(summary, shown), width)
    return "\n".join(lines) + "\n"


def command_lines(what: str, parts: Sequence[str], width: int | None) -> list[str]:
    """A command that can be copied however it is broken: a line that goes on ends with a backslash."""
    command = " ".join(parts)
    if width is None or len(what) + len(command) + 3 <= width:
        return [f"  {what} {command}"]
    lines = [f"    {parts[0]}"]
    for part in parts[1:]:
        if len(lines[-1]) + len(part) + 3 <= width:
            lines[-1] += f" {part}"
        else:
            lines.append(f"      {part}")
    return [f"  {what}", *(f"{line} \\" for line in lines[:-1]), lines[-1]]


def _sweep(outcome: SweepOutcome, width: int | None) -> list[str]:
    """The loads of a sweep and what came of each."""
    rows = [SWEEP_HEADING, *sweep_rows(outcome)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines: list[str] = []
    for load, verdict, *figures, conditions in rows:
        numbers = [cell.rjust(size) for cell, size in zip(figures, widths[2:-1], strict=True)]
        lines.append("  ".join(["", load.ljust(widths[0]), verdict.ljust(widths[1]), *numbers, _plain(conditions)]))
    return [line if width is None else line[:width].rstrip() for line in lines]


def _claims(summary: Summary, width: int | None) -> list[str]:
    """What is claimed of the systems, and what was measured."""
    lines: list[str] = []
    for claim in summary.claims:
        system, said, figure, before, after, ratio, verdict = claim_row(claim)
        pairs = (("simulated", before), ("real", after), ("ratio", ratio))
        measured = ", ".join(f"{what} {value}" for what, value in pairs if value != NOTHING)
        lines += _wrapped(f"{verdict:<14}  {system}: {said} Measured {figure}: {measured or NOTHING}.", width)
    return lines


def terminal_width() -> int | None:
    """The columns of the terminal on standard output, or what COLUMNS says; None where there is no terminal."""
    return shutil.get_terminal_size(fallback=(0, 0)).columns or None


def _wrapped(text: str, width: int | None, indent: str = "  ", hanging: str = "    ") -> list[str]:
    """Text in lines of whole words; one that is longer than a line stays whole, so that it can be copied."""
    if width is None:
        return [indent + text]
    lines = textwrap.wrap(
        _BEFORE_UNIT.sub(TOGETHER, text),
        max(width, MIN_WIDTH),
        initial_indent=indent,
        subsequent_indent=hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(TOGETHER, " ") for line in lines]


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the table of targets; those of a lower `rank` are kept longer."""

    heading: str
    cells: list[str]
    rank: int
    words: bool = False

    @property
    def width(self) -> int:
        return max(map(len, (self.heading, *self.cells)))

    def lines(self) -> list[str]:
        return [
            text.ljust(self.width) if self.words else text.rjust(self.width) for text in (self.heading, *self.cells)
        ]


def _targets(summary: Summary, width: int | None) -> list[str]:
    """The table of targets, with as many columns as there is room for, and what is to know of it."""
    lines, hidden = _table(_target_columns(summary), width)
    timed = any(len(target.distributions[name]) for target in summary.targets.values() for name, *_ in COLUMNS)
    note = ["times in ms"] if timed else []
    note += [f"the report also has {', '.join(hidden)}"] if hidden else []
    note += _own_share(summary)
    return [*lines, *(_wrapped("; ".join(note), width) if note else [])]


def _table(columns: list[_Column], width: int | None) -> tuple[list[str], list[str]]:
    """The lines of a table with as many columns as there is room for, and the headings of the others."""
    kept = list(columns)
    while width is not None and len(kept) > 1 and 2 + sum(column.width + 2 for column in kept) - 2 > width:
        kept.remove(max(kept, key=lambda column: column.rank))
    lines = [f"  {'  '.join(cells)}".rstrip() for cells in zip(*(column.lines() for column in kept), strict=True)]
    return lines, [column.heading for column in columns if column not in kept]


def _milestones(summary: Summary, width: int | None) -> list[str]:
    """The table of milestones, and those that no stream came to."""
    rows = milestone_rows(summary)
    reached = [row for row in rows if row[-1] != NOTHING]
    lines: list[str] = []
    if reached:
        ranks = (1, 0, 2, 3, 4, 5) if len(summary.targets) > 1 else (6, 0, 2, 3, 4, 5)
        cells = [[_plain(cell) for cell in column] for column in zip(*reached, strict=True)]
        lines, _ = _table(
            [
                _Column(heading, column, rank, words=place < 2)
                for place, (heading, column, rank) in enumerate(zip(MILESTONE_HEADING, cells, ranks, strict=True))
            ],
            width,
        )
    never = [_plain(f"{name} of {target}") for target, name, *_, last in rows if last == NOTHING]
    return lines + (_wrapped(f"never reached: {', '.join(never)}", width) if never else [])


def _own_share(summary: Summary) -> list[str]:
    """How much of the times in the table may be the generator's own doing, at most."""
    found = [
        (target.distributions[name].own_share(q), f"{name} {statistic}")
        for target in summary.targets.values()
        for name, statistic, q, _ in COLUMNS
        if len(target.distributions[name])
    ]
    worst, figure = max(found, default=(0.0, ""))
    return [f"up to {bare(worst, 'ms')} of {figure} may come from the generator itself"] if worst >= TOLD_MS else []


def _target_columns(summary: Summary) -> list[_Column]:
    targets = list(summary.targets.values())
    columns = [
        _Column("target", [_plain(target.name) for target in targets], 0, words=True),
        _Column("verdict", [str(target.authenticity.verdict) for target in targets], 2, words=True),
        _Column("done", [f"{target.counts['completed']:,}" for target in targets], 4),
        _Column("failed", [f"{target.counts['failed']:,}" for target in targets], 1),
    ]
    if any(target.counts["left"] for target in targets):
        columns.append(_Column("left", [f"{target.counts['left']:,}" for target in targets], 2))
    for name, statistic, q, rank in COLUMNS:
        values = [target.distributions[name] for target in targets]
        if any(len(one) for one in values):
            cells = [bare(one.quantile(q), one.unit) if len(one) else NOTHING for one in values]
            columns.append(_Column(f"{name} {statistic}", cells, rank))
    return columns


def _gates(summary: Summary, width: int | None) -> list[str]:
    several = len(summary.targets) > 1
    gates = summary.gates
    listed = gates if len(gates) <= MAX_GATES else [gate for gate in gates if gate.result is not Result.PASSED]
    titles = [_plain(gate_title(gate, several=several)) for gate in listed]
    longest = max(map(len, titles), default=0)
    lines: list[str] = []
    for gate, title in zip(listed, titles, strict=True):
        result = f"{gate.result:<12}"
        whole = f"{result}  {title:<{longest}}  {_plain(gate_figures(gate))}"
        if width is not None and len(whole) + 2 > width:
            whole = f"{result}  {title}  {_plain(gate_figures(gate))}"
        if width is None or len(whole) + 2 <= width:
            told = [f"  {whole}"]
        else:
            told = [
                *_wrapped(f"{result}  {title}", width),
                *_wrapped(_plain(gate_figures(gate)), width, indent=" " * 16, hanging=" " * 16),
            ]
        lines += [told[0].replace(result, _coloured(result, str(gate.result)), 1), *told[1:]]
    if len(listed) < len(gates):
        lines.append(f"  {_coloured('passed'.ljust(12), 'passed')}  {plural(len(gates) - len(listed), 'gate')}")
    return lines


def _plain(text: str) -> str:
    """Text on one line that cannot rule the terminal: a server may have put escape sequences into it."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", " ".join(text.split()))


def _coloured(text: str, verdict: str) -> str:
    if os.environ.get("NO_COLOR"):
        return text
    return click.style(text, fg=COLOURS[verdict], bold=True)
