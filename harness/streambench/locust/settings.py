"""What a session, its master and its workers are started with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from streambench import __version__
from streambench.load.scenario import Scenario
from streambench.locust.population import points_of
from streambench.units import NS_PER_S


@dataclass(frozen=True, slots=True)
class LocustOptions:
    """What the command line asks for; `workers` are those of this machine. `users` None: as the scenario has it."""

    workers: int
    expect_workers: int
    bind_host: str
    bind_port: int
    headless: bool = False
    users: int | None = None
    spawn_rate: float | None = None
    run_time_s: int | None = None
    stop_timeout_s: float = 10.0
    web: Mapping[str, Any] | None = None


@dataclass(slots=True)
class MasterSettings:
    """What the master is started with; everything is a JSON value. `urls`: of the bundled servers, by name."""

    scenario: str
    scenario_hash: str
    version: str
    classes: dict[str, str]  # the name of each behaviour, and where it goes
    phases: list[dict[str, Any]]
    users: int
    spawn_rate: float
    run_time_s: int | None
    stop_timeout_s: float
    bind_host: str
    bind_port: int
    expect_workers: int
    headless: bool
    shaped: bool = False  # the phases are more than one number of users
    streams: int | None = None  # of each target, after which a headless run ends by itself
    urls: dict[str, str] = field(default_factory=dict)
    web: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What a worker is started with; everything is a JSON value. `follow_parent`: it ends with its standard input."""

    scenario: str
    overrides: list[str]
    gates: list[str]
    master_host: str
    master_port: int
    follow_parent: bool = True


def master_settings(scenario: Scenario, options: LocustOptions, urls: Mapping[str, str]) -> MasterSettings:
    """What the master is told of a scenario whose bundled servers have these URLs."""
    first, *others = scenario.load.phases
    phases = [points_of(first, scenario.load.warmup_ns), *map(points_of, others)]
    loads = [load for _, load in phases[0]["users"]]  # type: ignore[attr-defined]
    ramp_up_ns = getattr(first, "ramp_up_ns", 0)
    users = round(loads[-1 if ramp_up_ns else 0] * len(scenario.targets))
    shaped = len(phases) > 1 or len(set(loads)) > 1
    by_phases = options.users is None and shaped
    run_time_s = options.run_time_s
    if run_time_s is None and not (by_phases or others) and first.duration_ns is not None:
        run_time_s = round((scenario.load.warmup_ns + first.duration_ns) / NS_PER_S)
    spawn_rate = users * NS_PER_S / ramp_up_ns if ramp_up_ns else min(100, options.users or users)
    return MasterSettings(
        scenario=scenario.name,
        scenario_hash=scenario.content_hash,
        version=__version__,
        classes={target.name: scenario.secrets(target.spec.endpoint.url) for target in scenario.targets},
        phases=phases,
        users=0 if by_phases and options.headless else (options.users or users),
        shaped=shaped,
        spawn_rate=options.spawn_rate or spawn_rate,
        run_time_s=run_time_s,
        stop_timeout_s=options.stop_timeout_s,
        bind_host=options.bind_host,
        bind_port=options.bind_port,
        expect_workers=options.expect_workers,
        headless=options.headless,
        streams=None if options.run_time_s else getattr(first, "streams", None),
        urls=dict(urls),
        web=options.web,
    )
