"""The tester is tested on sockets too: cases of all transports hold there, and are broken there.

A selection, for time; `python -m tools.conformance --prove` has them all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from streambench.conformance.case import Verdict
from streambench.conformance.runner import CaseResult
from streambench.conformance.suite import all_cases
from tools.conformance import broken_by_its_defect, suites_on

SYSTEMS = ("assistant-ws", "room-chat")
AREAS = ("text", "inputs", "access", "history", "storage")

Judged = Callable[[CaseResult], None]


@pytest.mark.timeout(400)
async def test_cases_of_all_transports_hold_and_are_broken_on_sockets(
    upstream_url: str, assert_broken: Judged, assert_holds: Judged
) -> None:
    async def proved(system: str) -> tuple[list[CaseResult], list[CaseResult]]:
        (suite,) = await suites_on(upstream_url, system, [case for case in all_cases() if case.area in AREAS])
        tested = [result for result in suite.results if result.verdict is not Verdict.NOT_TESTABLE]
        return tested, await broken_by_its_defect(upstream_url, [result.case for result in tested], system)

    for held, broken in await asyncio.gather(*map(proved, SYSTEMS)):
        assert len(held) > 20
        for result in held:
            assert_holds(result)
        for result in broken:
            assert_broken(result)
