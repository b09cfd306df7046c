"""`streambench run`: load, records, reports, verdict."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from streambench.cli.options import DURATION, GATE, SCENARIO
from streambench.cli.output import json_text
from streambench.errors import ExitCode, TargetUnreachable
from streambench.interrupts import ends_with, run_loop

if TYPE_CHECKING:
    from streambench.load.scenario import Scenario


@click.command("run")
@click.argument("scenarios", nargs=-1, required=True, metavar="SCENARIO...", type=SCENARIO)
@click.option(
    "--output",
    "-o",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("reports"),
    show_default=True,
    help="Write run folders to DIRECTORY/<name>/<UTC time>/.",
)
@click.option(
    "--gate", "gates", type=GATE, multiple=True, metavar="EXPR", help="Add a gate, such as 'ttfc.p95 < 800ms'."
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Override a value of the scenario, such as load.users=50.",
)
@click.option(
    "--workers",
    metavar="auto|N",
    help="Processes that share the load; auto uses the cores that served components leave free.",
)
@click.option("--seed", type=int, help="Seed for arrivals, texts and latencies.")
@click.option(
    "--wait",
    type=DURATION,
    default="0",
    metavar="DURATION",
    help="How long to wait for targets that are not up yet; not at all by default.",
)
@click.option("--quiet", "-q", is_flag=True, help="Print only the verdict, without progress.")
@click.option("--json", "as_json", is_flag=True, help="Print only summary.json on standard output.")
@click.option(
    "--save-streams",
    type=click.Choice(["all", "failed", "none"]),
    default="failed",
    show_default=True,
    help="Streams to keep byte by byte; `failed` includes those with violations, and the slowest.",
)
@click.option("--no-plots", is_flag=True, help="Leave the charts out of the report.")
def command(
    scenarios: tuple[str, ...],
    output: Path,
    gates: tuple[str, ...],
    overrides: tuple[str, ...],
    workers: str | None,
    seed: int | None,
    wait: int,
    quiet: bool,
    as_json: bool,
    save_streams: str,
    no_plots: bool,
) -> int:
    """Run each SCENARIO (a file or a bundled name), write its report and say whether it passed.

    \b
    Example:
      streambench run quickstart
      streambench run chat.yaml --gate 'ttfc.p95 < 800ms' --set load.users=50
    """
    from streambench.load.loading import load_scenario

    if seed is not None:
        overrides = (*overrides, f"seed={seed}")
    if workers is not None:
        overrides = (*overrides, f"load.workers={workers}")
    # All are read before the first one runs: a typing mistake in the last must not cost the time of the others.
    loaded = [load_scenario(name, overrides=overrides, gates=gates, environ=os.environ) for name in scenarios]
    codes: list[ExitCode] = []
    for scenario in loaded:
        code = run_one(
            scenario,
            output,
            wait_ns=wait,
            keep=save_streams,
            quiet=quiet,
            as_json=as_json,
            plots=not no_plots,
        )
        if code in (ExitCode.INTERRUPTED, ExitCode.TERMINATED):
            return code
        codes.append(code)
    return ExitCode.worst(codes)


def run_one(
    scenario: Scenario,
    output: Path,
    *,
    wait_ns: int = 0,
    keep: str = "failed",
    quiet: bool,
    as_json: bool,
    plots: bool,
) -> ExitCode:
    """Run one scenario and write its reports; returns its exit code."""
    from streambench.load.book import RECORDS, leave_nothing, new_folder

    folder = new_folder(output / scenario.name)

    def interrupted() -> str:  # at a moment when it is not the run that ends early, but its reports
        if (folder / RECORDS).exists():
            return f"interrupted: the records are in {folder}; streambench report {folder} reads them"
        leave_nothing(folder)
        return "interrupted before the run began"

    with ends_with(interrupted):
        return _run_in(folder, scenario, wait_ns=wait_ns, keep=keep, quiet=quiet, as_json=as_json, plots=plots)


def _run_in(
    folder: Path, scenario: Scenario, *, wait_ns: int, keep: str, quiet: bool, as_json: bool, plots: bool
) -> ExitCode:
    from streambench.cli.reporting import finish_run
    from streambench.load.book import RECORDS, leave_nothing
    from streambench.report.export import DEFAULT_FORMATS
    from streambench.transport.aio.polls import run_polled

    records_path = folder / RECORDS
    try:
        received = run_polled(_run(scenario, records_path, wait_ns=wait_ns, keep=keep, quiet=quiet or as_json))
    except TargetUnreachable as error:
        tell_unreachable(scenario, folder, scenario.secrets(str(error)), as_json=as_json)
        raise
    except OSError as error:
        kept = f"; what was written until then is in {folder}" if records_path.exists() else ""
        raise OSError(error.errno, f"{error.strerror}{kept}", error.filename) from error
    finally:
        leave_nothing(folder)
    code = ExitCode.TERMINATED if received == signal.SIGTERM else ExitCode.INTERRUPTED
    if not records_path.exists():
        click.echo("interrupted before the run began", err=True)
        return code
    if received is None and scenario.conform.gate:
        received = _conform(scenario, folder, quiet=quiet or as_json)
    summary = finish_run(
        records_path, formats=DEFAULT_FORMATS, plots=plots, as_json=as_json, quiet=quiet, redact=scenario.secrets
    )
    if received is not None:
        click.echo(f"interrupted: what was measured until then is in {folder}", err=True)
        return code
    return summary.exit_code


def _conform(scenario: Scenario, folder: Path, *, quiet: bool) -> signal.Signals | None:
    """Put the targets through the conformance cases; returns the signal that ended that early, or None."""
    from streambench.analysis.suites import FOLDER, write_suites
    from streambench.cli.conform import run_suites
    from streambench.report.conformance import write_matrix

    suites, received = run_loop(run_suites([scenario], None, (), strict=False, quiet=quiet))
    if suites:
        write_suites(folder, [suite.to_json() for suite in suites])
        write_matrix(suites, folder / FOLDER)
    return received


async def _run(
    scenario: Scenario, records_path: Path, *, wait_ns: int, keep: str, quiet: bool
) -> signal.Signals | None:
    """Returns the signal that ended the run early, or None."""
    from streambench.cli.progress import show_progress
    from streambench.load.book import point_latest_to
    from streambench.load.progress import Progress, TargetProgress
    from streambench.load.run import run_scenario
    from streambench.load.transcripts import Keep
    from streambench.load.workers import number_of_workers

    progress = Progress({target.name: TargetProgress() for target in scenario.targets})
    stop = asyncio.Event()
    received: list[signal.Signals] = []
    began: list[Path] = []

    def begin(folder: Path) -> None:
        began.append(folder)
        point_latest_to(folder)

    def note(text: str) -> None:
        click.echo(scenario.secrets(f"streambench: {text}"), err=True)

    workers = number_of_workers(scenario)
    if workers < (scenario.load.workers or 1):
        note(f"the load is shared by {workers}: it has no more users than that")
    work = asyncio.create_task(
        run_scenario(
            scenario,
            records_path,
            progress,
            stop,
            begin,
            wait_ns=wait_ns,
            on_death=note,
            keep=Keep(keep),
            workers=workers,
        )
    )

    def interrupt(signum: signal.Signals) -> None:
        if received:  # asked twice: do not wait for anything any more
            os._exit(128 + signum)
        received.append(signum)
        stop.set()
        if not began:
            work.cancel()

    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, interrupt, signum)
    display = None if quiet else asyncio.create_task(show_progress(progress, scenario.name))
    try:
        await work
    except asyncio.CancelledError:
        if not received:
            raise
    finally:
        if display is not None:
            display.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await display
    return received[0] if received else None


def tell_unreachable(scenario: Scenario, folder: Path, reason: str, *, as_json: bool) -> None:
    """Leave a summary and a JUnit file of a run that never began, for pipelines that look for one."""
    from streambench.analysis.summary import SCHEMA
    from streambench.load.book import point_latest_to
    from streambench.report.cases import Case, CaseOutcome
    from streambench.report.export.junit import render_junit

    summary = {
        "schema": SCHEMA,
        "verdict": "failed",
        "exit_code": int(ExitCode.UNREACHABLE),
        "scenario": {"name": scenario.name, "path": scenario.path, "hash": scenario.content_hash},
        "reason": reason,
        "targets": {},
        "gates": [],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").write_text(json_text(summary, indent=2) + "\n", "utf-8")
    cases = [Case(target.name, "reachable", CaseOutcome.FAILED, reason) for target in scenario.targets]
    (folder / "junit.xml").write_text(render_junit(cases, name=scenario.name, seconds=0.0), "utf-8")
    point_latest_to(folder)
    if as_json:
        click.echo(json_text(summary, indent=2))
