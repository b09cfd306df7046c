"""The tester is tested on sockets too: cases of all transports hold there, and are broken there.

A selection, for time; `python -m tools.conformance --prove` has them all.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streambench.conformance.case import Verdict
from streambench.conformance.runner import CaseResult
from streambench.conformance.suite import all_cases
from tools.conformance import broken_by_its_defect, suites_on

AREAS = ("text", "inputs", "access", "history", "storage")

Judged = Callable[[CaseResult], None]


@pytest.mark.timeout(400)
@pytest.mark.parametrize("system", ["assistant-ws", "room-chat"])
async def test_cases_of_all_transports_hold_and_are_broken_on_sockets(
    upstream_url: str, system: str, assert_broken: Judged, assert_holds: Judged
) -> None:
    cases = [case for case in all_cases() if case.area in AREAS]
    (suite,) = await suites_on(upstream_url, system, cases)
    tested = [result for result in suite.results if result.verdict is not Verdict.NOT_TESTABLE]
    assert len(tested) > 20
    for result in tested:
        assert_holds(result)
    for result in await broken_by_its_defect(upstream_url, [result.case for result in tested], system):
        assert_broken(result)
