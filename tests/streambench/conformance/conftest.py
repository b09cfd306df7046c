"""What the proofs share: an upstream, and what they ask of a result."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from streambench.conformance.case import BROKEN, Verdict
from streambench.conformance.runner import CaseResult
from tools.conformance import fake_upstream

# Areas in which time counts: on a loaded machine a second try may be needed.
TIMED = {"transport", "framing", "streaming", "termination", "leaving", "slow_readers", "concurrency", "storage"}
TIMED |= {"rate_limits", "rooms"}


@pytest.fixture(scope="module", autouse=True)
def plain(one_tls_context: None) -> None:
    """Nothing here speaks TLS, and hundreds of servers are started."""


@pytest.fixture(scope="session")
def upstream_url() -> Iterator[str]:
    """One fake upstream for all suites."""
    with fake_upstream() as url:
        yield url


@pytest.fixture
def assert_holds() -> Callable[[CaseResult], None]:
    def check(result: CaseResult) -> None:
        accepted = {Verdict.PASSED, Verdict.FLAKY} if result.case.area in TIMED else {Verdict.PASSED}
        assert result.verdict in accepted, _told(result)

    return check


@pytest.fixture
def assert_broken() -> Callable[[CaseResult], None]:
    def check(result: CaseResult) -> None:
        assert result.verdict is BROKEN[result.case.keyword], _told(result)
        assert result.log, f"{result.case.id} shows nothing of what went over the wire"
        assert "alice-token" not in result.log + " ".join(result.commands)

    return check


def _told(result: CaseResult) -> str:
    """For whoever has to mend it."""
    return f"{result.case.id} {result.verdict}: {result.message} expected {result.expected!r}, got {result.got!r}"
