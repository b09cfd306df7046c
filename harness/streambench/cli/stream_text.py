"""One stream in words and characters: its outcome, its waterfall, and each of its problems once."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from streambench.analysis.authenticity import judge
from streambench.analysis.remedies import remedy
from streambench.analysis.verdicts import Verdict
from streambench.cli.waterfall import waterfall
from streambench.record.model import Outcome

if TYPE_CHECKING:
    from streambench.analysis.stream import AnalysedStream
    from streambench.dialects.milestone import Milestone
    from streambench.findings import Finding

DEFAULT_COLUMNS = 100
MIN_COLUMNS = 40
MAX_BETTER = 3
NOT_CALLED = (
    "The upstream saw no request of this stream. Either the service failed before it called the upstream, or it does "
    "not use the upstream's URL as its OPENAI_BASE_URL."
)
TOGETHER = "\N{NO-BREAK SPACE}"  # an option and its value, or a figure and its unit, stay on one line


def describe(
    stream: AnalysedStream,
    columns: int = DEFAULT_COLUMNS,
    better: Sequence[str] = (),
    milestones: Sequence[Milestone] = (),
) -> str:
    """One stream for a terminal of so many columns. `better` are dialects that the same bytes fit."""
    record, figures = stream.record, stream.figures.stream
    columns = max(columns, MIN_COLUMNS)
    times = [name for name in ("ttfb", "ttfc", "gap_max", "e2e") if name in figures]
    shown = [f"{name}{TOGETHER}{figures[name]:,.1f}{TOGETHER}ms" for name in times]
    if "cadence" in figures:
        shown.append(f"{figures['cadence']:,.1f}{TOGETHER}chunks/s")
    verdict = f"  {stream.authenticity.verdict}" if stream.authenticity is not None else ""
    # The only stream of a probe that is still open at its end is one that Ctrl-C cut short.
    outcome = "interrupted" if record.outcome is Outcome.CENSORED else record.outcome
    head = f"{outcome.upper()}{verdict}  {', '.join(shown)}".rstrip()
    lines = [
        *_wrapped(head, columns, "", "  "),
        *_reason(stream, columns),
        "",
        *waterfall(record, columns=columns, milestones=milestones),
    ]
    if record.error is not None:
        lines += ["", *_wrapped(f"{record.error}: {record.error_message}", columns)]
        advice = remedy(record.error)
        lines += _wrapped(advice, columns, "    ") if advice else []
    if record.mark is not None and not record.upstream:
        lines += ["", *_wrapped(NOT_CALLED, columns)]
    if better:
        lines += ["", *_wrapped(_instead(record.dialect, better), columns)]
    lines += _findings(stream.findings, columns)
    return "\n".join(lines) + "\n\n"


def _reason(stream: AnalysedStream, columns: int) -> list[str]:
    """What stands behind the verdict, in the words of a run's report; nothing where there is none."""
    if stream.authenticity is None or stream.authenticity.verdict is Verdict.UNKNOWN:
        return []
    evidence = judge([stream.authenticity]).evidence
    return _wrapped(f"{evidence[:1].upper()}{evidence[1:]}.", columns, "  ", "  ")


def _instead(dialect: str, better: Sequence[str]) -> str:
    named = [f"--dialect{TOGETHER}{name}" for name in better[:MAX_BETTER]]
    return f"This is not {dialect}. The same bytes are valid with {' or '.join(named)}."


def _findings(findings: Sequence[Finding], columns: int) -> Iterator[str]:
    """The first finding of each rule, and how many more there are like it."""
    counts = Counter(finding.rule for finding in findings)
    told: set[str] = set()
    for finding in findings:
        if finding.rule in told:
            continue
        told.add(finding.rule)
        where = f" at {finding.place}" if finding.place else ""
        more = counts[finding.rule] - 1
        times = f", and {more} more like it" if more else ""
        yield ""
        yield from _wrapped(f"{finding.severity}{where}: {finding.rule}{times}", columns)
        yield from _wrapped(finding.message, columns, "    ", "    ")
        got, expected = finding.untold
        if got is not None:
            line = f"    got       {got}"
            yield line if len(line) <= columns else f"{line[: columns - 1]}…"
        if expected:
            yield from _wrapped(f"expected  {' | '.join(expected)}", columns, "    ", " " * 14)


def _wrapped(text: str, columns: int, first: str = "  ", rest: str = "    ") -> list[str]:
    """Lines of whole words; a word that is longer than a line stays whole, so that it can be copied."""
    lines = textwrap.wrap(
        text, columns, initial_indent=first, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )
    return [line.replace(TOGETHER, " ") for line in lines] or [first]
