"""The tester is tested: each case is broken by its defect, on the system on which it is shown."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from streambench.conformance.runner import CaseResult
from streambench.conformance.suite import all_cases
from tools.conformance import broken_by_its_defect

Judged = Callable[[CaseResult], None]


@pytest.mark.timeout(400)
async def test_every_case_is_broken_by_its_defect(upstream_url: str, assert_broken: Judged) -> None:
    for result in await broken_by_its_defect(upstream_url, all_cases()):
        assert_broken(result)
