"""From a scenario's target to what a suite tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from streambench.conformance.profile import Profile, profile_of
from streambench.conformance.subject import Subject
from streambench.conformance.upstream import Upstream
from streambench.errors import ConfigurationError
from streambench.load.scenario import Scenario
from streambench.load.targets import Target
from streambench.load.testbed import open_testbed
from streambench.transport.urls import encoded_url

TRANSPORTS = ("sse",)


@asynccontextmanager
async def open_subjects(scenario: Scenario, profile: Path | None = None) -> AsyncIterator[list[Subject]]:
    """The scenario's targets, ready to be tested, with everything started that it serves.

    Raises ConfigurationError for a target whose transport has no cases yet, and TargetUnreachable.
    """
    for target in scenario.targets:
        if target.spec.dialect.transport not in TRANSPORTS:
            raise ConfigurationError(
                f"{target.name} speaks {target.spec.dialect.transport}: there are cases for "
                f"{', '.join(TRANSPORTS)} only; `streambench probe` and `run` check the order of its events"
            )
    async with open_testbed(scenario) as testbed, AsyncExitStack() as stack:
        yield [
            await _subject(stack, target, testbed.token, index, profile, scenario.secrets)
            for index, target in enumerate(testbed.scenario.targets)
        ]


async def _subject(
    stack: AsyncExitStack, target: Target, token: str, index: int, profile: Path | None, mask: Callable[[str], str]
) -> Subject:
    spec = target.spec
    upstream = None
    if target.upstream is not None:
        upstream = await stack.enter_async_context(Upstream(target.upstream, f"{token}c{index}"))
    promised: Profile = profile_of(spec.dialect.name, profile)
    return Subject(
        name=target.name,
        dialect=spec.dialect,
        url=encoded_url(spec.endpoint.url),
        headers=spec.endpoint.headers,
        variables=spec.variables,
        profile=promised,
        upstream=upstream,
        timeout_ns=spec.endpoint.timeouts.total_ns,
        verify=spec.endpoint.tls_verify,
        mask=mask,
    )
