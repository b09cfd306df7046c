"""`streambench conform`: puts an endpoint through the suite of conformance cases."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streambench.cli.output import say, say_json
from streambench.errors import ConfigurationError, ExitCode

if TYPE_CHECKING:
    from streambench.conformance.case import Case
    from streambench.conformance.runner import CaseResult, SuiteResult
    from streambench.load.scenario import Scenario


@click.command("conform")
@click.argument("targets", nargs=-1, metavar="SCENARIO|URL...")
@click.option("--dialect", "-d", metavar="NAME|FILE", help="The protocol of a URL.")
@click.option("--header", "-H", "headers", multiple=True, metavar="NAME:VALUE", help="A request header (repeatable).")
@click.option("--bearer-env", metavar="NAME", help="Environment variable that holds a bearer token.")
@click.option("--upstream", metavar="URL", help="The fake upstream behind a URL: unlocks most of the cases.")
@click.option(
    "--profile",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="What the target promises: limits, users, conversations. Default: that of the dialect.",
)
@click.option("--case", "patterns", multiple=True, metavar="GLOB", help="Only these cases, such as 'auth.*'.")
@click.option("--list", "list_only", is_flag=True, help="List the cases, and run none.")
@click.option("--strict", is_flag=True, help="A broken SHOULD fails the suite, too.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON, and nothing else there.")
@click.option("--curl", "commands", is_flag=True, help="Print the requests of cases that do not hold as curl commands.")
@click.option(
    "--output",
    "-o",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write a page, Markdown, JUnit, a badge and the wire logs there.",
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
    as_json: bool,
    commands: bool,
    output: Path | None,
) -> int:
    """Ask each target what a careful tester would ask, and say which requirements it keeps.

    \b
    Example:
      streambench conform chat-stream
      streambench conform http://localhost:8000/v1/chat/completions -d openai-chat --upstream http://127.0.0.1:4010
      streambench conform mine.yaml yours.yaml --case 'auth.*' -o matrix/
    """
    from streambench.conformance.suite import chosen_cases

    if list_only:
        cases = chosen_cases(patterns)
        if as_json:
            say_json([_told(case) for case in cases], indent=2)
        else:
            say(describe_cases(cases), nl=False)
        return ExitCode.PASSED
    if not targets:
        raise click.UsageError("name a scenario, or a URL with its --dialect; --list shows the cases")
    scenarios = [_scenario(target, dialect, headers, bearer_env, upstream) for target in targets]
    quiet = as_json
    suites = asyncio.run(_run(scenarios, profile, patterns, strict=strict, quiet=quiet))
    if as_json:
        say_json([suite.to_json() for suite in suites], indent=2)
    else:
        for suite in suites:
            say(describe_suite(suite, commands=commands), nl=False)
    if output is not None:
        from streambench.report.conformance import write_matrix

        page = write_matrix(suites, output)
        if not as_json:
            say(f"\n  report  {page}")
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


async def _run(
    scenarios: list[Scenario], profile: Path | None, patterns: tuple[str, ...], *, strict: bool, quiet: bool
) -> list[SuiteResult]:
    from streambench.conformance.runner import run_suite
    from streambench.conformance.suite import all_cases, chosen_cases
    from streambench.conformance.target import open_subjects

    suites: list[SuiteResult] = []
    for scenario in scenarios:
        cases = chosen_cases(patterns or scenario.conform.cases)
        known = {case.id for case in all_cases()}
        for name in scenario.conform.expected_failures:
            if name not in known:
                raise ConfigurationError(f"expected_failures: there is no case {name!r}", path=scenario.path)
        async with open_subjects(scenario, profile or scenario.conform.profile) as subjects:
            for subject in subjects:
                live = None if quiet else Live(subject.name, len(cases))
                suite = await run_suite(
                    subject,
                    cases,
                    expected_failures=scenario.conform.expected_failures,
                    strict=strict,
                    on_result=None if live is None else live.told,
                )
                suites.append(suite)
    return suites


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


def describe_cases(cases: tuple[Case, ...]) -> str:
    """The cases for a terminal, area by area."""
    from streambench.conformance.suite import AREAS

    width = max((len(case.id) for case in cases), default=0)
    lines: list[str] = []
    for area, heading in AREAS.items():
        members = [case for case in cases if case.area == area]
        if members:
            lines += ["", heading] if lines else [heading]
            lines += [f"  {case.id:<{width}}  {case.keyword:<6}  {case.requirement}" for case in members]
    lines += ["", f"{len(cases)} cases"]
    return "\n".join(lines) + "\n"


def describe_suite(suite: SuiteResult, *, commands: bool = False) -> str:
    """A suite for a terminal: what was counted, then each case that does not hold, with its log."""
    from streambench.conformance.case import Verdict
    from streambench.report.conformance import counted

    lines = [f"{counted(suite)}  {suite.target} ({suite.dialect}), {suite.seconds:.1f} s"]
    for result in suite.results:
        if result.is_bad or result.verdict is Verdict.HARNESS_ERROR:
            lines += ["", *describe_result(result, commands=commands)]
    for result in suite.outlived:
        lines += ["", f"  {result.case.id} holds, although it may fail: take it off `expected_failures`"]
    locked: dict[str, list[str]] = {}
    for result in suite.results:
        if result.verdict is Verdict.NOT_TESTABLE:
            locked.setdefault(result.unlock, []).append(result.case.id)
    if locked:
        lines += ["", "  Not testable here:"]
        lines += [f"    {len(ids)} for want of {unlock}: {', '.join(ids)}" for unlock, ids in locked.items()]
    return "\n".join(lines) + "\n"


def describe_result(result: CaseResult, *, commands: bool) -> list[str]:
    """A case that does not hold: the requirement, what was expected and came, and what to do."""
    case = result.case
    label = " (expected)" if result.expected_failure else ""
    lines = [
        f"  {result.verdict.upper()}{label}  {case.id}",
        f"    {case.keyword}      {case.requirement} ({case.source})",
        f"    found     {result.message}" + (f", at {result.place}" if result.place else ""),
    ]
    if result.expected:
        lines.append(f"    expected  {result.expected}")
    if result.got:
        lines.append(f"    came      {result.got}")
    if result.is_bad:
        lines.append(f"    remedy    {case.remedy}")
    if commands:
        lines += [f"    $ {command}" for command in result.commands[-1:]]
    return lines


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
