"""The tester is tested: each case holds on the system of the reference server on which it is shown.

`python -m tools.conformance --prove` has all cases on all systems.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from streambench.conformance.runner import CaseResult
from streambench.conformance.suite import all_cases
from tools.conformance import SYSTEMS, home_of, suites_on

Judged = Callable[[CaseResult], None]


@pytest.mark.timeout(400)
async def test_every_case_holds_on_the_reference_server(upstream_url: str, assert_holds: Judged) -> None:
    homes = [system for system in SYSTEMS if any(home_of(case) == system for case in all_cases())]
    suites = await asyncio.gather(
        *(suites_on(upstream_url, home, [case for case in all_cases() if home_of(case) == home]) for home in homes)
    )
    results = [result for of_home in suites for suite in of_home for result in suite.results]
    assert sorted(result.case.id for result in results) == sorted(case.id for case in all_cases())
    for result in results:
        assert_holds(result)
