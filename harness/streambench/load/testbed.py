"""Everything that must be up before streams start: servers, reachable targets, plans, and the upstream's journals.

Whatever drives a scenario stands on it: a run under load, a probe of one stream, a conformance suite, a test.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from streambench.clock import MonotonicClock
from streambench.errors import TargetUnreachable
from streambench.load.executors.trace import TracePhase
from streambench.load.scenario import Scenario
from streambench.load.servers import BundledServers
from streambench.load.service import OnDeath, Service
from streambench.load.targets import Target
from streambench.record.model import Outcome, StreamRecord
from streambench.transport.aio.connect import open_channel
from streambench.transport.failures import ConnectFailure
from streambench.transport.target import locate
from streambench.upstream.journal import JournalFeed
from streambench.upstream.plans import Plan, delete_plans, post_plans

JOIN_TIMEOUT_S = 2.0
LEFT_TIMEOUT_S = 10.0  # how long an upstream may write for a user who has left, and is watched doing so
UPSTREAM_TIMEOUT_S = 10.0
KNOCK_S = 0.2

_clock = MonotonicClock()

Plans = Mapping[str, Mapping[int | None, Plan]]


@dataclass(frozen=True, slots=True)
class Servers:
    """What runs for a scenario, by name: `urls`, and the `processes`."""

    urls: Mapping[str, str] = field(default_factory=dict)
    processes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Testbed:
    """What stands. `scenario` has the started `servers`' URLs in it.

    `plans` (by target, then by the length of the replies) and `feeds` are of the targets seen from both sides. No
    other testbed has the same `token`, which is in the names of users and plans.
    """

    scenario: Scenario
    token: str
    plans: Plans
    feeds: Mapping[str, JournalFeed]
    servers: Servers

    async def join(self, record: StreamRecord) -> None:
        """Add what the upstream says of a stream to its record, where there is one and the prompt was sent."""
        feed = self.feeds.get(record.target)
        if feed is not None and record.mark is not None and record.sent_ns is not None:
            timeout_s = LEFT_TIMEOUT_S if record.outcome is Outcome.LEFT else JOIN_TIMEOUT_S
            record.upstream = await feed.exchanges(record.mark, timeout_s, record.end_ns)


@asynccontextmanager
async def start_servers(
    scenario: Scenario, *, folder: Path | None = None, on_death: OnDeath | None = None
) -> AsyncIterator[Servers]:
    """The servers of a scenario.

    `folder` keeps the logs of the others, `on_death` is told of one that ends by itself. Raises ConfigurationError and
    TargetUnreachable for one that does not come up.
    """
    async with AsyncExitStack() as stack:
        servers = await stack.enter_async_context(BundledServers(scenario.serve))
        urls, processes = dict(servers.urls), dict(servers.pids)
        if scenario.serve.commands and folder is None:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="streambench-")))
        for command in scenario.serve.commands:
            assert folder is not None
            log = folder / f"serve-{command.name}.log"
            service = await stack.enter_async_context(Service(command, urls, log, scenario.secrets, on_death))
            urls[command.name], processes[command.name] = service.url, service.pid
        yield Servers(urls, processes)


@asynccontextmanager
async def open_testbed(
    scenario: Scenario,
    *,
    served: Mapping[str, str] | None = None,
    folder: Path | None = None,
    wait_ns: int = 0,
    on_death: OnDeath | None = None,
) -> AsyncIterator[Testbed]:
    """Start what the scenario needs, and end it afterwards.

    `served`: URLs of servers that run already, so that none is started. `folder` keeps the logs of the user's own
    servers; without one they are gone at the end. Targets have `wait_ns` to come up. `on_death` is told of a server
    that ends by itself. Raises TargetUnreachable where a target does not answer, ConfigurationError for what only the
    servers can know.
    """
    async with AsyncExitStack() as stack:
        servers = Servers(served or {})
        if served is None:
            servers = await stack.enter_async_context(start_servers(scenario, folder=folder, on_death=on_death))
        scenario = scenario.served_by(servers.urls)
        await preflight(scenario, wait_ns)
        token = secrets.token_hex(4)
        plans = plans_of(scenario, token)
        feeds = await stack.enter_async_context(_journals(scenario, plans))
        yield Testbed(scenario, token, plans, feeds, servers)


async def preflight(scenario: Scenario, wait_ns: int = 0) -> None:
    """Connect to every target once, for `wait_ns` again and again.

    Raises TargetUnreachable that names all that cannot be reached.
    """
    deadline_ns = _clock.now_ns() + wait_ns

    async def reach(target: Target) -> str | None:
        while True:
            try:
                channel = await open_channel(target.spec.endpoint, locate(target.spec.endpoint.url))
            except ConnectFailure as failure:
                if _clock.now_ns() >= deadline_ns:
                    return f"{target.name}: {failure}"
                await asyncio.sleep(KNOCK_S)
            else:
                channel.close()
                return None

    failures = [failure for failure in await asyncio.gather(*map(reach, scenario.targets)) if failure]
    if failures:
        raise TargetUnreachable(scenario.secrets("the target cannot be reached: " + "; ".join(failures)))


def plans_of(scenario: Scenario, token: str) -> dict[str, dict[int | None, Plan]]:
    """The plans of each target that is seen from both sides, one for each length of reply that is asked for."""
    served = scenario.serve.openai or {}
    profile = scenario.prompts.profile if scenario.prompts.profile is not None else served.get("profile")
    asked = {prompt.tokens for prompt in scenario.prompts.prompts}
    asked.update(*(phase.tokens or () for phase in scenario.load.phases if isinstance(phase, TracePhase)))
    lengths = sorted(asked, key=lambda n: -1 if n is None else n)
    plans: dict[str, dict[int | None, Plan]] = {}
    for index, target in enumerate(scenario.targets):
        if target.two_sided:
            plans[target.name] = {
                length: Plan(
                    f"{token}-{index}-{number}",
                    scenario.seed,
                    length if length is not None else served.get("tokens"),
                    profile,
                    scenario.prompts.faults,
                )
                for number, length in enumerate(lengths)
            }
    return plans


@asynccontextmanager
async def _journals(scenario: Scenario, plans: Plans) -> AsyncIterator[Mapping[str, JournalFeed]]:
    """The plans stored with their upstreams, and the feeds of their journals, by target; taken back at the end."""
    if not plans:
        yield {}
        return
    import httpx

    async with AsyncExitStack() as stack:
        limits = httpx.Limits(max_connections=None)
        feeds: dict[str, JournalFeed] = {}
        for target in scenario.targets:
            if target.name not in plans or target.upstream is None:
                continue
            token = target.upstream_token
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            client = await stack.enter_async_context(
                httpx.AsyncClient(timeout=UPSTREAM_TIMEOUT_S, limits=limits, trust_env=False, headers=headers)
            )
            ordered = list(plans[target.name].values())
            await post_plans(client, target.upstream, ordered)
            stack.push_async_callback(delete_plans, client, target.upstream, ordered)
            feeds[target.name] = await stack.enter_async_context(JournalFeed(target.upstream, ordered, client))
        yield feeds
