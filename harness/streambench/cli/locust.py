"""`streambench locust`: the scenario's load from Locust's web UI, on one machine or on many."""

from __future__ import annotations

import importlib.util
import os
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streambench.cores import usable_cores
from streambench.errors import ConfigurationError, ExitCode, MissingDependency
from streambench.interrupts import run_loop

if TYPE_CHECKING:
    from streambench.load.scenario import Scenario

LOGIN_VARIABLE = "STREAMBENCH_WEB_LOGIN"
REPORTS = ("html", "junit", "markdown")
_TIMESPAN = re.compile(r"(?=\d)(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?\Z")


class RunTime(click.ParamType[int]):
    """A duration as Locust takes it: `90`, `90s`, `5m`, `1h30m`; in seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The seconds."""
        if isinstance(value, int):
            return value
        match = _TIMESPAN.match(value)
        seconds = (
            sum(int(part or 0) * unit for part, unit in zip(match.groups(), (3600, 60, 1), strict=True)) if match else 0
        )
        if seconds <= 0:
            self.fail(f"{value!r} is not a run time: write it as 90s, 5m or 1h30m", param, ctx)
        return seconds


@click.command("locust")
@click.argument("scenario", metavar="SCENARIO")
@click.option(
    "--users", "-u", type=click.IntRange(1, 100_000), help="Users across all targets.  [default: the scenario's]"
)
@click.option("--spawn-rate", "-r", type=click.FloatRange(0, min_open=True), help="Users to start per second.")
@click.option("--run-time", "-t", type=RunTime(), help="Stop after this time, such as 90s, 5m or 1h30m.")
@click.option("--headless", is_flag=True, help="No web UI: run once and exit with the same code as `run`.")
@click.option(
    "--workers", metavar="N|auto", default="auto", show_default=True, help="Number of worker processes on this machine."
)
@click.option("--master", "is_master", is_flag=True, help="Start only the master; workers join from other machines.")
@click.option("--worker", "is_worker", is_flag=True, help="Start only workers, for a master on another machine.")
@click.option("--master-host", default="127.0.0.1", show_default=True, help="For a worker: the master's address.")
@click.option(
    "--master-port",
    type=click.IntRange(1, 65535),
    default=5557,
    show_default=True,
    help="For a worker: the master's port.",
)
@click.option(
    "--master-bind-host", default="127.0.0.1", show_default=True, help="For the master: the address it listens on."
)
@click.option(
    "--master-bind-port",
    type=click.IntRange(0, 65535),
    help="For the master: its port; 0 picks a free one.  [default: 5557 with --master, else 0]",
)
@click.option("--expect-workers", type=click.IntRange(1), help="With --headless: the number of workers to wait for.")
@click.option(
    "--stop-timeout",
    type=click.FloatRange(0),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long open streams may take to finish after a stop.",
)
@click.option("--web-host", default="127.0.0.1", show_default=True, help="The address that the web UI listens on.")
@click.option(
    "--web-port", type=click.IntRange(1, 65535), default=8089, show_default=True, help="The port of the web UI."
)
@click.option(
    "--tls-cert", type=click.Path(exists=True, dir_okay=False), help="Serve the web UI over TLS with this certificate."
)
@click.option("--tls-key", type=click.Path(exists=True, dir_okay=False), help="The certificate's key.")
@click.option(
    "--web-login",
    is_flag=True,
    help=f"Require a login: NAME:PASSWORD from ${LOGIN_VARIABLE}, or else a generated one.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("reports"),
    show_default=True,
    help="Write run folders to DIRECTORY/<name>/<UTC time>/.",
)
@click.option("--gate", "gates", multiple=True, metavar="EXPR", help="Add a gate, such as 'ttfc.p95 < 800ms'.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Override a value of the scenario, such as prompts.tokens=50.",
)
@click.option("--seed", type=int, help="Seed for arrivals, texts and latencies.")
@click.option("--quiet", "-q", is_flag=True, help="Print only the verdicts.")
@click.option("--json", "as_json", is_flag=True, help="Print only summary.json of each run on standard output.")
@click.option("--no-plots", is_flag=True, help="Leave the charts out of the report.")
def command(scenario: str, **given: Any) -> int:
    """Run SCENARIO (a file or a bundled name) from Locust's web UI; every run ends with a run folder and a verdict.

    \b
    Example:
      streambench locust quickstart
      streambench locust chat.yaml --headless -u 200 -r 20 -t 5m
      streambench locust chat.yaml --master --master-bind-host 10.0.0.5 --web-login
      streambench locust chat.yaml --worker --master-host 10.0.0.5
    """
    from streambench.load.loading import load_scenario
    from streambench.locust.population import check_phases

    if importlib.util.find_spec("locust") is None:  # looked for and not imported: it patches whoever imports it
        raise MissingDependency("the Locust web UI", "locust")
    overrides = given["overrides"]
    if given["seed"] is not None:
        overrides = (*overrides, f"seed={given['seed']}")
    if given["is_master"] and given["is_worker"]:
        raise ConfigurationError("a process is the --master or a --worker, not both")
    loaded = load_scenario(scenario, overrides=overrides, gates=given["gates"], environ=os.environ)
    check_phases(loaded)
    if given["is_worker"]:
        return serve_workers(loaded, scenario, overrides, given)
    return serve_master(loaded, scenario, overrides, given)


def serve_master(scenario: Scenario, name: str, overrides: tuple[str, ...], given: dict[str, Any]) -> ExitCode:
    """The master, and unless it is only one, the workers of this machine; returns the worst exit code of the runs."""
    from streambench.cli.reporting import finish_run
    from streambench.load.book import new_folder, point_latest_to
    from streambench.locust.session import LocustSession, Output
    from streambench.locust.settings import LocustOptions

    def open_folder() -> Path:
        folder = new_folder(given["output"] / scenario.name)
        point_latest_to(folder)
        return folder

    def finish(records: Path) -> Any:
        return finish_run(
            records,
            formats=REPORTS,
            plots=not given["no_plots"],
            as_json=given["as_json"],
            quiet=given["quiet"],
            redact=scenario.secrets,
        )

    def note(text: str) -> None:
        if not given["quiet"]:
            click.echo(text, err=True)

    workers = 0 if given["is_master"] else number_of_workers(given["workers"])
    bind_port = given["master_bind_port"]
    if bind_port is None:
        bind_port = given["master_port"] if given["is_master"] else 0
    options = LocustOptions(
        workers=workers,
        expect_workers=given["expect_workers"] or max(1, workers),
        bind_host=given["master_bind_host"],
        bind_port=bind_port,
        headless=given["headless"],
        users=given["users"],
        spawn_rate=given["spawn_rate"],
        run_time_s=given["run_time"],
        stop_timeout_s=given["stop_timeout"],
        web=None if given["headless"] else web_options(given),
    )
    arguments = {"overrides": overrides, "gates": given["gates"]}
    return run_loop(LocustSession(scenario, arguments, options, Output(open_folder, finish, note)).serve())


def serve_workers(scenario: Scenario, name: str, overrides: tuple[str, ...], given: dict[str, Any]) -> ExitCode:
    """Workers for a master elsewhere, until it ends; returns the worst of their exit codes."""
    from streambench.locust.session import serve_workers
    from streambench.locust.settings import WorkerSettings

    settings = WorkerSettings(
        scenario=name,
        overrides=list(overrides),
        gates=list(given["gates"]),
        master_host=given["master_host"],
        master_port=given["master_port"],
    )
    return run_loop(serve_workers(settings, number_of_workers(given["workers"])))


def number_of_workers(asked: str) -> int:
    """How many processes measure. `auto` leaves a core to the master and to what else runs here."""
    if asked == "auto":
        return max(1, usable_cores() - 1)
    if not asked.isdecimal() or not 1 <= int(asked) <= 256:
        raise ConfigurationError(f"--workers is a number from 1 to 256, or auto, not {asked!r}")
    return int(asked)


def web_options(given: dict[str, Any]) -> dict[str, Any]:
    """How the web UI is served; where a login is asked for and none was chosen, one is made up and told."""
    if (given["tls_cert"] is None) != (given["tls_key"] is None):
        raise ConfigurationError("TLS needs both: --tls-cert and --tls-key")
    login = None
    if given["web_login"]:
        name, found, password = os.environ.get(LOGIN_VARIABLE, "").partition(":")
        if not (found and name and password):
            if LOGIN_VARIABLE in os.environ:
                raise ConfigurationError(f"${LOGIN_VARIABLE} is written as NAME:PASSWORD")
            name, password = "streambench", secrets.token_urlsafe(12)
            click.echo(f"login: {name}, password: {password}", err=True)
        login = [name, password]
    return {
        "host": given["web_host"],
        "port": given["web_port"],
        "tls_cert": given["tls_cert"],
        "tls_key": given["tls_key"],
        "login": login,
    }
