"""A run from its beginning to its end: servers, preflight, plans, load, and the records file around all of it."""

from __future__ import annotations

import asyncio
import os
import platform
import secrets as tokens
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from streambench import __version__
from streambench.clock import MonotonicClock
from streambench.drivers.connect import ConnectFailure, endpoint, open_channel
from streambench.drivers.session import SetupError, open_session
from streambench.errors import ConfigurationError, TargetUnreachable
from streambench.load.engine import Engine
from streambench.load.progress import Progress
from streambench.load.scenario import Scenario
from streambench.load.serve import BundledServers
from streambench.load.validity import CpuWait, GeneratorFacts, Watch, judge_generator
from streambench.record.journal import RecordWriter
from streambench.record.model import StreamRecord
from streambench.record.recorder import Recorder
from streambench.units import NS_PER_MS, NS_PER_S
from streambench.upstream.journal import JournalFeed
from streambench.upstream.plans import Plan, delete_plans, marked, post_plans

JOIN_TIMEOUT_S = 2.0
SPARE_DESCRIPTORS = 64
UPSTREAM_TIMEOUT_S = 10.0

_clock = MonotonicClock()


async def run_scenario(
    scenario: Scenario,
    records_path: Path,
    progress: Progress,
    stop: asyncio.Event,
    on_folder: Callable[[Path], None],
) -> bool:
    """Run a scenario into a records file; returns False where `stop` ended it early.

    The file is created when the targets have been reached, so a run that never began leaves nothing behind; then
    `on_folder` is called with its folder. Raises
    TargetUnreachable, and ConfigurationError for what only the servers can know.
    """
    raise_descriptor_limit(scenario)
    async with BundledServers(scenario.serve) as servers:
        scenario = scenario.served_by(servers.urls)
        await preflight(scenario)
        run_token = tokens.token_hex(4)
        plans = plans_of(scenario, run_token)
        async with _upstreams(scenario, plans) as feeds:
            return await _run_recorded(
                scenario, plans, feeds, run_token, records_path, progress, stop, on_folder, servers.pids
            )


async def _run_recorded(
    scenario: Scenario,
    plans: Mapping[str, Mapping[int | None, Plan]],
    feeds: Mapping[str, JournalFeed],
    run_token: str,
    records_path: Path,
    progress: Progress,
    stop: asyncio.Event,
    on_folder: Callable[[Path], None],
    server_pids: Mapping[str, int],
) -> bool:
    records_path.parent.mkdir(parents=True, exist_ok=True)
    writer = RecordWriter(records_path, scenario.secrets)
    facts = GeneratorFacts()
    turn = asyncio.Lock()
    for target in scenario.targets:
        open_session(target.spec)  # loads the driver, for which the first user must not wait

    async def write(record: StreamRecord) -> None:
        feed = feeds.get(record.target)
        if feed is not None and record.mark is not None and record.sent_ns is not None:
            record.upstream = await feed.exchanges(record.mark, JOIN_TIMEOUT_S)
            facts.upstream_late_ns += [
                (sum(exchange.written_ns) - sum(exchange.scheduled_ns)) // len(exchange.written_ns)
                for exchange in record.upstream
                if exchange.written_ns and not exchange.faults
            ]
        # Where many streams end at once, the sockets of the others are read between two records.
        async with turn:
            writer.stream(record)
            await asyncio.sleep(0)

    try:
        writer.header(header_of(scenario))
        on_folder(records_path.parent)
        waits = CpuWait(server_pids)
        watch = asyncio.create_task(Watch(facts, writer.generator).run())
        finished = False
        try:
            finished = await Engine(scenario, plans, write, progress, facts, run_token).run(stop)
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
            facts.server_wait = waits.shares()
            writer.end(
                {
                    "at_ns": _clock.now_ns(),
                    "reason": "finished" if finished else "interrupted",
                    "generator": judge_generator(facts),
                }
            )
        return finished
    finally:
        writer.close()


Begin = Callable[[int], tuple[StreamRecord, Awaitable[None]]]


@asynccontextmanager
async def open_probe(scenario: Scenario) -> AsyncIterator[Begin]:
    """One user of the scenario's first target, connected and set up.

    Yields a function that begins a stream by its number: it returns the record, which fills while the second value is
    awaited. Raises TargetUnreachable, and ConfigurationError for what only the servers can know.
    """
    async with BundledServers(scenario.serve) as servers:
        scenario = replace(scenario, targets=scenario.targets[:1]).served_by(servers.urls)
        await preflight(scenario)
        run_token = tokens.token_hex(4)
        plans = plans_of(scenario, run_token)
        async with _upstreams(scenario, plans) as feeds:
            (target,) = scenario.targets
            spec = target.spec
            session = open_session(spec, {"user": f"{run_token}-{spec.name}-0"})
            try:
                await session.prepare()
            except SetupError as failure:
                raise TargetUnreachable(f"the setup failed: {failure}") from failure

            def begin(number: int) -> tuple[StreamRecord, Awaitable[None]]:
                prompt = scenario.prompts.of_stream(number)
                plan = plans.get(target.name, {}).get(prompt.tokens)
                mark = None if plan is None else plan.mark_of(number)
                now_ns = _clock.now_ns()
                record = StreamRecord(f"{spec.name}/{number}", spec.name, spec.dialect.name, now_ns, now_ns, mark=mark)
                recorder = Recorder(record, spec.dialect, keep_text=True)
                return record, stream(record, recorder, prompt.text if mark is None else marked(prompt.text, mark))

            async def stream(record: StreamRecord, recorder: Recorder, prompt: str) -> None:
                await session.stream(prompt, recorder)
                if record.mark is not None and record.sent_ns is not None:
                    record.upstream = await feeds[target.name].exchanges(record.mark, JOIN_TIMEOUT_S)

            try:
                yield begin
            finally:
                await session.close()


async def preflight(scenario: Scenario) -> None:
    """Connect to every target once. Raises TargetUnreachable that names all that cannot be reached."""

    async def reach(target: Any) -> str | None:
        try:
            channel = await open_channel(target.spec, endpoint(target.spec.url))
        except ConnectFailure as failure:
            return f"{target.name}: {failure}"
        channel.close()
        return None

    failures = [failure for failure in await asyncio.gather(*map(reach, scenario.targets)) if failure]
    if failures:
        raise TargetUnreachable(scenario.secrets("the target cannot be reached: " + "; ".join(failures)))


def plans_of(scenario: Scenario, run_token: str) -> dict[str, dict[int | None, Plan]]:
    """The plans of each target that is seen from both sides, one for each length of reply that its prompts ask for."""
    served = scenario.serve.openai or {}
    profile = scenario.prompts.profile if scenario.prompts.profile is not None else served.get("profile")
    lengths = sorted({prompt.tokens for prompt in scenario.prompts.prompts}, key=lambda n: -1 if n is None else n)
    plans: dict[str, dict[int | None, Plan]] = {}
    for index, target in enumerate(scenario.targets):
        if target.two_sided:
            plans[target.name] = {
                length: Plan(
                    f"{run_token}-{index}-{number}",
                    scenario.seed,
                    length if length is not None else served.get("tokens"),
                    profile,
                    scenario.prompts.faults,
                )
                for number, length in enumerate(lengths)
            }
    return plans


@asynccontextmanager
async def _upstreams(
    scenario: Scenario, plans: Mapping[str, Mapping[int | None, Plan]]
) -> AsyncIterator[dict[str, JournalFeed]]:
    """The plans stored with their upstreams, and the feeds of their journals, by target; taken back at the end."""
    if not plans:
        yield {}
        return
    import httpx

    async with AsyncExitStack() as stack:
        limits = httpx.Limits(max_connections=None)
        client = await stack.enter_async_context(
            httpx.AsyncClient(timeout=UPSTREAM_TIMEOUT_S, limits=limits, trust_env=False)
        )
        feeds: dict[str, JournalFeed] = {}
        for target in scenario.targets:
            if target.name not in plans or target.upstream is None:
                continue
            ordered = list(plans[target.name].values())
            await post_plans(client, target.upstream, ordered)
            stack.push_async_callback(delete_plans, client, target.upstream, ordered)
            feeds[target.name] = await stack.enter_async_context(JournalFeed(target.upstream, ordered, client))
        yield feeds


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
                "url": target.spec.url,
                "two_sided": target.two_sided,
            }
            for target in scenario.targets
        },
        "gates": [gate.expr for gate in scenario.gates],
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
    at_once = max((phase.users or min(phase.max_active, 1000)) for phase in scenario.load.phases)
    needed = at_once * len(scenario.targets) + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise ConfigurationError(
            f"the load may need {needed:,} open sockets, and the system allows {hard:,}: raise it (ulimit -Hn), or "
            "lower the number of users"
        )
    if soft != resource.RLIM_INFINITY and soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
