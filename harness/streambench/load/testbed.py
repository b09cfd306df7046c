"""All that must stand before streams flow: servers, reachable targets, plans, and the journals of the other side.

Whatever drives a scenario stands on it: a run under load, a probe of one stream, a conformance suite, a test.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from streambench.errors import TargetUnreachable
from streambench.load.scenario import Scenario
from streambench.load.servers import BundledServers
from streambench.load.targets import Target
from streambench.record.model import StreamRecord
from streambench.transport.aio.connect import open_channel
from streambench.transport.failures import ConnectFailure
from streambench.transport.target import locate
from streambench.upstream.journal import JournalFeed
from streambench.upstream.plans import Plan, delete_plans, post_plans

JOIN_TIMEOUT_S = 2.0
UPSTREAM_TIMEOUT_S = 10.0

Plans = Mapping[str, Mapping[int | None, Plan]]


@dataclass(frozen=True, slots=True)
class Testbed:
    """What stands. `scenario` has the started servers' URLs in it, `pids` are their processes by name.

    `plans` (by target, then by the length of the replies) and `feeds` are of the targets seen from both sides. No
    other testbed has the same `token`, which is in the names of users and plans.
    """

    scenario: Scenario
    token: str
    plans: Plans
    feeds: Mapping[str, JournalFeed]
    pids: Mapping[str, int]

    async def join(self, record: StreamRecord) -> None:
        """Add what the upstream says of a stream to its record, where there is one and the prompt was sent."""
        feed = self.feeds.get(record.target)
        if feed is not None and record.mark is not None and record.sent_ns is not None:
            record.upstream = await feed.exchanges(record.mark, JOIN_TIMEOUT_S)


@asynccontextmanager
async def open_testbed(scenario: Scenario, served: Mapping[str, str] | None = None) -> AsyncIterator[Testbed]:
    """Start what the scenario needs, and end it afterwards. `served`: URLs of bundled servers that run already.

    Raises TargetUnreachable where a target does not answer, ConfigurationError for what only the servers can know.
    """
    async with AsyncExitStack() as stack:
        pids: Mapping[str, int] = {}
        if served is None:
            servers = await stack.enter_async_context(BundledServers(scenario.serve))
            served, pids = servers.urls, servers.pids
        scenario = scenario.served_by(served)
        await preflight(scenario)
        token = secrets.token_hex(4)
        plans = plans_of(scenario, token)
        feeds = await stack.enter_async_context(_journals(scenario, plans))
        yield Testbed(scenario, token, plans, feeds, pids)


async def preflight(scenario: Scenario) -> None:
    """Connect to every target once. Raises TargetUnreachable that names all that cannot be reached."""

    async def reach(target: Target) -> str | None:
        try:
            channel = await open_channel(target.spec.endpoint, locate(target.spec.endpoint.url))
        except ConnectFailure as failure:
            return f"{target.name}: {failure}"
        channel.close()
        return None

    failures = [failure for failure in await asyncio.gather(*map(reach, scenario.targets)) if failure]
    if failures:
        raise TargetUnreachable(scenario.secrets("the target cannot be reached: " + "; ".join(failures)))


def plans_of(scenario: Scenario, token: str) -> dict[str, dict[int | None, Plan]]:
    """The plans of each target that is seen from both sides, one for each length of reply that its prompts ask for."""
    served = scenario.serve.openai or {}
    profile = scenario.prompts.profile if scenario.prompts.profile is not None else served.get("profile")
    lengths = sorted({prompt.tokens for prompt in scenario.prompts.prompts}, key=lambda n: -1 if n is None else n)
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
