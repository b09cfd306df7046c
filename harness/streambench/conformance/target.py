"""From a scenario's target to what a suite tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from streambench.conformance.profile import profile_of
from streambench.conformance.subject import Subject
from streambench.conformance.upstream import Upstream
from streambench.load.scenario import Scenario
from streambench.load.targets import Target
from streambench.load.testbed import open_testbed


@asynccontextmanager
async def open_subjects(scenario: Scenario, profile: Path | None = None) -> AsyncIterator[list[Subject]]:
    """The scenario's targets, ready to be tested, with everything started that it serves.

    Raises ConfigurationError and TargetUnreachable.
    """
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
    return Subject(spec, profile_of(spec.dialect.name, profile), upstream, mask)
