"""The book of a run: its folder, which no other run has, and what frames the streams in its records file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streambench import __version__
from streambench.clock import MonotonicClock
from streambench.cores import usable_cores
from streambench.dialects import bundled_dialects
from streambench.load.calibration.saved import saved_for
from streambench.load.cpu_wait import CpuWait
from streambench.load.executors.sweep import sweep_in
from streambench.load.listeners import find_listeners
from streambench.load.scenario import Scenario
from streambench.load.server_memory import ServerMemory
from streambench.load.sweeping import Sweeper
from streambench.load.targets import Target
from streambench.load.testbed import Servers
from streambench.record.journal import RecordWriter
from streambench.units import NS_PER_MS, NS_PER_S

RECORDS = "records.jsonl"

_clock = MonotonicClock()


class RunBook:
    """The records file of a run, from its header to its last line.

    The streams between them are written by whoever measures them: here, or in processes that append to the same file.
    `servers` are those that were started for the run. It is made and closed inside an event loop.
    """

    def __init__(self, path: Path, scenario: Scenario, servers: Servers) -> None:
        self.path = path
        self.writer = RecordWriter(path, scenario.secrets)
        self._processes = servers.processes
        self._listeners = _others(scenario, servers)
        self._waits = self._watch()
        self._urls = servers.urls
        self._memory = ServerMemory(servers.processes)
        self._weighing = asyncio.create_task(self._memory.run())
        self._scenario = scenario
        self._header = header_of(scenario)
        try:
            self.writer.header(self._header)
        except BaseException:
            self.close()
            raise

    def server_wait(self) -> dict[str, float]:
        """For what share of the time servers on this machine waited for a CPU, by name."""
        return self._waits.shares()

    def _watch(self) -> CpuWait:
        return CpuWait(self._processes, self._listeners)

    def sweeper(self, show: Callable[[str], None]) -> Sweeper | None:
        """Who chooses the loads where the scenario asks for a sweep; `show` is told of each step."""
        sweep = sweep_in(self._scenario.load.phases)
        if sweep is None:
            return None
        facts = self._header["targets"][self._scenario.targets[0].name]
        return Sweeper(sweep, self._scenario, facts, self.path, self.writer, self._watch, show)

    def end(self, reason: str, begun: int | None, generator: Mapping[str, Any]) -> None:
        """The last line: why the run ended (`finished` or `interrupted`), and the verdict on who measured it.

        `begun`: how many streams had begun, None where that is not known.
        """
        told = {} if begun is None else {"streams": begun}
        servers = self._memory.to_json(self._urls)
        end = {"at_ns": _clock.now_ns(), "reason": reason, **told, "generator": generator, "servers": servers}
        self.writer.end(end)

    def close(self) -> None:
        """The file gets no more lines."""
        self._weighing.cancel()
        self.writer.close()


def _others(scenario: Scenario, servers: Servers) -> dict[str, set[int]]:
    """The processes of targets on this machine that were not started for the run."""
    known = {os.getpid(), *servers.processes.values()}
    found = find_listeners(target.spec.endpoint.url for target in scenario.targets)
    return {name: pids - known for name, pids in found.items() if pids - known}


def new_folder(parent: Path) -> Path:
    """A new run folder, named after the present moment (UTC). No other run has it: making it is what claims it."""
    parent.mkdir(parents=True, exist_ok=True)
    stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%SZ")
    folder, number = parent / stamp, 1
    while True:
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
            folder = parent / f"{stamp}-{number}"
        else:
            return folder


def leave_nothing(folder: Path) -> None:
    """Remove a folder into which nothing was written, and those above it that were made for it."""
    with contextlib.suppress(OSError):  # not empty: it stays
        folder.rmdir()
        folder.parent.rmdir()


def point_latest_to(folder: Path) -> None:
    """Make `latest` beside the folder a link to it, where the file system has links."""
    latest = folder.parent / "latest"
    with contextlib.suppress(OSError):
        if latest.is_symlink():
            latest.unlink()
        latest.symlink_to(folder.name, target_is_directory=True)


def header_of(scenario: Scenario) -> dict[str, Any]:
    """The first line of the records file."""
    timeouts, fingerprint, sweep = scenario.timeouts, environment(), sweep_in(scenario.load.phases)
    return {
        "streambench": __version__,
        "scenario": {"name": scenario.name, "path": scenario.path, "hash": scenario.content_hash},
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "start_ns": _clock.now_ns(),
        "seed": scenario.seed,
        "targets": {
            target.name: {
                "dialect": target.spec.dialect.name,
                "transport": target.spec.dialect.transport,
                "url": target.spec.endpoint.url,
                "two_sided": target.two_sided,
                "upstream": target.upstream,
                **_own_dialect(target),
                **_milestones(target),
            }
            for target in scenario.targets
        },
        "gates": [gate.expr for gate in scenario.gates],
        "goodput": scenario.goodput,
        "accept": [waiver.to_json() for waiver in scenario.waivers if not waiver.ignored],
        "ignore": [waiver.to_json() for waiver in scenario.waivers if waiver.ignored],
        "settings": {
            "stall_after_ms": scenario.stall_after_ns / NS_PER_MS,
            "reading_wpm": scenario.reading_wpm,
            "timeouts_ms": {
                name: getattr(timeouts, f"{name}_ns") / NS_PER_MS
                for name in ("connect", "first_chunk", "idle", "total")
            },
        },
        "warmup_s": scenario.load.warmup_ns / NS_PER_S,
        "phases": [phase.describe() for phase in scenario.load.phases],
        "sweep": None if sweep is None else sweep.to_json(),
        "environment": fingerprint,
        "calibration": saved_for(fingerprint),
    }


def _own_dialect(target: Target) -> dict[str, str]:
    """The file of a dialect that is not bundled: whoever reads the run's streams again needs it."""
    dialect = target.spec.dialect
    return {} if dialect.name in bundled_dialects() else {"dialect_file": str(dialect.source_path)}


def _milestones(target: Target) -> dict[str, Any]:
    """The moments that have a name, of a target that has any."""
    named = {milestone.name: milestone.to_json() for milestone in target.spec.dialect.milestones}
    return {"milestones": named} if named else {}


def environment() -> dict[str, Any]:
    """The fingerprint of what ran the load: only runs with the same one can be compared."""
    return {
        "cpu": _cpu_model(),
        "cores": usable_cores(),
        "platform": f"{platform.system()} {platform.release()}",
        "python": f"{sys.implementation.name} {platform.python_version()}",
        "streambench": __version__,
    }


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
