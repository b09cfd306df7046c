"""What follows every run: the summary is computed from the records, reports are written, the verdict is printed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import click

from streambench.analysis.suites import read_suites
from streambench.analysis.summary import Summary, summarize
from streambench.cli.output import json_text
from streambench.record.run_file import read_run


def finish_run(
    records_path: Path,
    *,
    formats: Sequence[str],
    plots: bool,
    as_json: bool,
    quiet: bool = False,
    redact: Callable[[str], str] = str,
) -> Summary:
    """Write the reports of a records file beside it, and print the verdict on standard output.

    `formats` are those of `streambench report`. Raises ConfigurationError where the file is no records file.
    """
    from streambench.report.folder import summary_json, write_reports
    from streambench.report.terminal import describe_run, terminal_width

    summary = summarize(read_run(records_path))
    summary.suites = read_suites(records_path.parent)
    written = write_reports(summary, records_path.parent, formats=formats, plots=plots)
    if as_json:
        click.echo(redact(json_text(summary_json(summary), indent=2)))
    else:
        click.echo(redact(describe_run(summary, written, brief=quiet, width=terminal_width())), nl=False)
    return summary
