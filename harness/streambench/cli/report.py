"""`streambench report`: recomputes the reports from the records alone."""

from __future__ import annotations

from pathlib import Path

import click

from streambench.errors import ConfigurationError, ExitCode
from streambench.report.export import DEFAULT_FORMATS, formats


def find_records(run: Path) -> Path:
    """The records file of a run folder, or of the folder's latest run. Raises ConfigurationError with the remedy."""
    newest = sorted(run.glob("*/records.jsonl"), reverse=True)  # folders are named after their time
    for candidate in (run, run / "records.jsonl", run / "latest" / "records.jsonl", *newest):
        if candidate.is_file():
            return candidate
    raise ConfigurationError(
        "no records.jsonl here: name a run folder such as reports/quickstart/latest", path=str(run)
    )


@click.command("report")
@click.argument("run", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--format",
    "asked",
    metavar="NAME,...",
    default=",".join(DEFAULT_FORMATS),
    show_default=True,
    help=f"Comma-separated: {', '.join(formats())}.",
)
@click.option("--no-plots", is_flag=True, help="Leave the charts out.")
@click.option("--json", "as_json", is_flag=True, help="Print only summary.json on standard output.")
def command(run: Path, asked: str, no_plots: bool, as_json: bool) -> int:
    """Rebuild the reports of RUN, a run folder, from its records, even if the run was killed.

    The exit code is that of the run's verdict.

    \b
    Example:
      streambench report reports/quickstart/latest --format html,csv
    """
    from streambench.cli.reporting import finish_run

    chosen = tuple(name.strip() for name in asked.split(",") if name.strip())
    for name in chosen:
        if name not in formats():
            from streambench.errors import nearest

            raise ConfigurationError(f"unknown format {name!r}", suggestion=nearest(name, formats()))
    summary = finish_run(find_records(run), formats=chosen, plots=not no_plots, as_json=as_json)
    return ExitCode(summary.exit_code)
