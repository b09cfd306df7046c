"""A run from its beginning to its end: servers, preflight, plans, load, and the records file around all of it."""

from __future__ import annotations

import asyncio
import os
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streambench import __version__
from streambench.clock import MonotonicClock
from streambench.dialects import bundled_dialects
from streambench.drivers.users import open_session
from streambench.errors import ConfigurationError
from streambench.load.engine import Engine
from streambench.load.progress import Progress
from streambench.load.scenario import Scenario
from streambench.load.service import OnDeath
from streambench.load.targets import Target
from streambench.load.testbed import Testbed, open_testbed
from streambench.load.transcripts import Keep, TranscriptKeeper
from streambench.load.validity import CpuWait, GeneratorFacts, Watch, judge_generator, upstream_late_ns
from streambench.record.journal import RecordWriter
from streambench.record.model import StreamRecord
from streambench.record.transcript import FOLDER
from streambench.units import NS_PER_MS, NS_PER_S

SPARE_DESCRIPTORS = 64

_clock = MonotonicClock()


async def run_scenario(
    scenario: Scenario,
    records_path: Path,
    progress: Progress,
    stop: asyncio.Event,
    on_folder: Callable[[Path], None],
    *,
    wait_ns: int = 0,
    on_death: OnDeath | None = None,
    keep: Keep = Keep.FAILED,
) -> bool:
    """Run a scenario into a records file; returns False where `stop` ended it early.

    The file is created when the targets have been reached, for which they have `wait_ns`; then `on_folder` is called
    with its folder. A run that never began leaves nothing behind but the logs of the user's own servers. `on_death` is
    told of such a server that ends by itself; `keep` says which streams can be looked at again. Raises
    TargetUnreachable, and ConfigurationError for what only the servers can know.
    """
    raise_descriptor_limit(scenario)
    folder = records_path.parent
    async with open_testbed(scenario, folder=folder, wait_ns=wait_ns, on_death=on_death) as testbed:
        folder.mkdir(parents=True, exist_ok=True)
        writer = RecordWriter(records_path, scenario.secrets)
        try:
            writer.header(header_of(testbed.scenario))
            on_folder(folder)
            keeper = TranscriptKeeper(folder / FOLDER, keep, scenario.secrets)
            return await _run_recorded(testbed, writer, keeper, progress, stop)
        finally:
            writer.close()


async def _run_recorded(
    testbed: Testbed, writer: RecordWriter, keeper: TranscriptKeeper, progress: Progress, stop: asyncio.Event
) -> bool:
    scenario = testbed.scenario
    facts = GeneratorFacts()
    writing = asyncio.Lock()
    for target in scenario.targets:
        open_session(target.spec)  # loads the driver, for which the first user must not wait

    async def write(record: StreamRecord) -> None:
        await testbed.join(record)
        facts.upstream_late_ns += upstream_late_ns(record)
        # Where many streams end at once, the sockets of the others are read between two records.
        async with writing:
            writer.stream(record)
            keeper.take(record)
            await asyncio.sleep(0)

    waits = CpuWait(testbed.pids)
    watch = asyncio.create_task(Watch(facts, writer.generator, writer.begun).run())
    finished = False
    try:
        engine = Engine(scenario, testbed.plans, write, progress, facts, testbed.token, listen=keeper.listen)
        finished = await engine.run(stop)
        keeper.close()
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        facts.server_wait = waits.shares()
        writer.end(
            {
                "at_ns": _clock.now_ns(),
                "reason": "finished" if finished else "interrupted",
                "streams": facts.begun,
                "generator": judge_generator(facts),
            }
        )
    return finished


def header_of(scenario: Scenario) -> dict[str, Any]:
    """The first line of the records file."""
    timeouts = scenario.timeouts
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
            }
            for target in scenario.targets
        },
        "gates": [gate.expr for gate in scenario.gates],
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
        "environment": environment(),
    }


def _own_dialect(target: Target) -> dict[str, str]:
    """The file of a dialect that is not bundled: whoever reads the run's streams again needs it."""
    dialect = target.spec.dialect
    return {} if dialect.name in bundled_dialects() else {"dialect_file": str(dialect.source_path)}


def environment() -> dict[str, Any]:
    """The fingerprint of what ran the load: only runs with the same one can be compared."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
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


def raise_descriptor_limit(scenario: Scenario) -> None:
    """Let the process open as many sockets as the load may need. Raises ConfigurationError where it may not."""
    try:
        import resource
    except ImportError:  # not on this platform: the first refused socket will say so
        return
    at_once = max(phase.most_at_once for phase in scenario.load.phases)
    needed = at_once * len(scenario.targets) + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise ConfigurationError(
            f"the load may need {needed:,} open sockets, and the system allows {hard:,}: raise it (ulimit -Hn), or "
            "lower the number of users"
        )
    if soft != resource.RLIM_INFINITY and soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
