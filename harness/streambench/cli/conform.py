"""`streambench conform`: runs the conformance cases against an endpoint."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streambench.cli.output import say, say_json
from streambench.errors import ExitCode
from streambench.interrupts import run_loop

if TYPE_CHECKING:
    from streambench.conformance.case import Case
    from streambench.conformance.runner import CaseResult, SuiteResult
    from streambench.load.scenario import Scenario


END_S = 5.0  # how long the end of servers is waited for after a signal


@click.command("conform")
@click.argument("targets", nargs=-1, metavar="SCENARIO|URL...")
@click.option("--dialect", "-d", metavar="NAME|FILE", help="The protocol of a URL.")
@click.option("--header", "-H", "headers", multiple=True, metavar="NAME:VALUE", help="A request header (repeatable).")
@click.option("--bearer-env", metavar="NAME", help="Environment variable that holds a bearer token.")
@click.option("--upstream", metavar="URL", help="The fake upstream behind a URL; most cases need it.")
@click.option(
    "--profile",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What the target promises: limits, users, conversations.  [default: the dialect's]",
)
@click.option("--case", "patterns", multiple=True, metavar="GLOB", help="Run only these cases, such as 'auth.*'.")
@click.option("--list", "list_only", is_flag=True, help="List the cases without running them.")
@click.option("--strict", is_flag=True, help="Fail the suite for a broken SHOULD, too.")
@click.option(
    "--repeat",
    type=click.IntRange(1, 100),
    default=1,
    metavar="N",
    help="Run each passing case N times, to find intermittent failures.",
)
@click.option("--json", "as_json", is_flag=True, help="Print only the results, as JSON.")
@click.option("--curl", "commands", is_flag=True, help="Print the requests of failed cases as curl commands.")
@click.option(
    "--output",
    "-o",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write HTML, Markdown, JUnit, a badge and the wire logs to DIRECTORY.",
)
def command(
    targets: tuple[str, ...],
    dialect: str | None,
    headers: tuple[str, ...],
    bearer_env: str | None,
    upstream: str | None,
    profile: Path | None,
    patterns: tuple[str, ...],
    list_only: bool,
    strict: bool,
    repeat: int,
    as_json: bool,
    commands: bool,
    output: Path | None,
) -> int:
    """Run the conformance cases against each target and say which requirements it meets.

    \b
    Example:
      streambench conform chat-stream
      streambench conform http://localhost:8000/v1/chat/completions -d openai-chat --upstream http://127.0.0.1:4010
      streambench conform mine.yaml yours.yaml --case 'auth.*' -o matrix/
    """
    from streambench.conformance.suite import chosen_cases
    from streambench.report.conformance_text import describe_cases, describe_suite
    from streambench.report.terminal import terminal_width

    if list_only:
        cases = chosen_cases(patterns)
        if as_json:
            say_json([_told(case) for case in cases], indent=2)
        else:
            say(describe_cases(cases, width=terminal_width()), nl=False)
        return ExitCode.PASSED
    if not targets:
        raise click.UsageError("name a scenario, or a URL with its --dialect; --list shows the cases")
    scenarios = [_scenario(target, dialect, headers, bearer_env, upstream) for target in targets]
    suites, received = run_loop(run_suites(scenarios, profile, patterns, strict=strict, repeat=repeat, quiet=as_json))
    if as_json:
        say_json([suite.to_json() for suite in suites], indent=2)
    else:
        for suite in suites:
            say(describe_suite(suite, commands=commands, width=terminal_width()), nl=False)
    if output is not None:
        from streambench.report.conformance import write_matrix

        page = write_matrix(suites, output)
        if not as_json:
            say(f"\n  report  {page}")
    if received is not None:
        click.echo("interrupted: the other cases were not tried", err=True)
        return ExitCode.TERMINATED if received == signal.SIGTERM else ExitCode.INTERRUPTED
    return ExitCode.worst([suite.exit_code for suite in suites])


def _scenario(
    target: str, dialect: str | None, headers: tuple[str, ...], bearer_env: str | None, upstream: str | None
) -> Scenario:
    """The scenario of a name or file, or one of a single target that is made of the options."""
    from streambench.load.loading import load_scenario, read_scenario

    if "://" not in target:
        return load_scenario(target, environ=os.environ)
    if dialect is None:
        raise click.UsageError("name the protocol of a URL with --dialect; `streambench dialects` lists them")
    described: dict[str, Any] = {"dialect": dialect, "url": target.replace("${", "$ {")}
    for text in headers:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise click.UsageError(f"--header {text!r}: write it as NAME:VALUE")
        described.setdefault("headers", {})[name.strip()] = value.strip()
    if bearer_env is not None:
        if bearer_env not in os.environ:
            raise click.UsageError(f"--bearer-env {bearer_env}: this environment variable is not set")
        described["auth"] = {"bearer": f"${{{bearer_env}}}"}
    if upstream is not None:
        described["upstream"] = upstream
    # JSON is YAML: the loader's checks and errors are those of a scenario file.
    return read_scenario(json.dumps({"name": "conform", "target": described}), "conform", environ=os.environ)


async def run_suites(
    scenarios: list[Scenario],
    profile: Path | None,
    patterns: tuple[str, ...],
    *,
    strict: bool,
    quiet: bool,
    repeat: int = 1,
) -> tuple[list[SuiteResult], signal.Signals | None]:
    """The suites, and the signal that ended them early. What was decided until then is kept."""
    stop = asyncio.Event()
    suites: list[SuiteResult] = []
    received: list[signal.Signals] = []
    work = asyncio.create_task(
        _run(scenarios, profile, patterns, suites, stop, strict=strict, repeat=repeat, quiet=quiet)
    )

    def interrupt(signum: signal.Signals) -> None:
        if received:  # asked twice: do not wait for anything any more
            os._exit(128 + signum)
        received.append(signum)
        stop.set()

    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, interrupt, signum)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait([work, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    try:
        async with asyncio.timeout(END_S if received else None):
            await work
    except TimeoutError:
        pass  # it had not begun, or a server does not end: what was decided is kept all the same
    return suites, received[0] if received else None


async def _run(
    scenarios: list[Scenario],
    profile: Path | None,
    patterns: tuple[str, ...],
    suites: list[SuiteResult],
    stop: asyncio.Event,
    *,
    strict: bool,
    repeat: int,
    quiet: bool,
) -> None:
    """Add the suite of each target to `suites`, until `stop`."""
    from streambench.conformance.runner import run_suite
    from streambench.conformance.suite import chosen_cases, expected_failures
    from streambench.conformance.target import open_subjects

    for scenario in scenarios:
        cases = chosen_cases(patterns or scenario.conform.cases)
        expected = expected_failures(scenario)
        async with open_subjects(scenario, profile or scenario.conform.profile) as subjects:
            for subject in subjects:
                if stop.is_set():
                    return
                live = None if quiet else Live(subject.name, len(cases))
                suite = await run_suite(
                    subject,
                    cases,
                    expected_failures=expected,
                    strict=strict or scenario.conform.strict,
                    repeat=repeat,
                    on_result=None if live is None else live.told,
                    stop=stop,
                )
                suites.append(suite)


class Live:
    """A line a case on standard error, as soon as it is decided; on a pipe those only that do not hold."""

    def __init__(self, target: str, cases: int) -> None:
        self._target = target
        self._cases = cases
        self._done = 0
        self._terminal = sys.stderr.isatty()

    def told(self, result: CaseResult) -> None:
        """A case is decided."""
        self._done += 1
        if self._terminal or result.is_bad:
            share = f"[{self._done * 100 // self._cases:3d}%]"
            say(f"{self._target}::{result.case.id} {result.verdict.upper()} {share}", err=True)


def _told(case: Case) -> dict[str, Any]:
    return {
        "id": case.id,
        "area": case.area,
        "keyword": case.keyword,
        "requirement": case.requirement,
        "source": case.source,
        "needs": [need.name.lower() for need in case.needs],
        "steps": case.steps,
        "judgement": case.judgement,
        "remedy": case.remedy,
        "defect": case.defect,
    }
