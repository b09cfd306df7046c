"""The suite: every case of every area, in the order in which a report shows them."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from functools import cache
from importlib import import_module

from streambench.conformance.case import Case, entered_cases
from streambench.errors import ConfigurationError, nearest
from streambench.load.scenario import Scenario

# Each is a file of `areas/`; the texts are the headings of a report.
AREAS = {
    "transport": "Transport and headers",
    "framing": "Framing of events",
    "grammar": "Order and form of events",
    "text": "Integrity of the text",
    "streaming": "Real streaming",
    "termination": "How a stream ends",
    "inputs": "Validation of what users send",
    "access": "Authentication and ownership",
    "history": "History and parameters, as the upstream sees them",
    "client_history": "History that clients send",
    "storage": "What is stored",
    "upstream_faults": "Faults of the upstream",
    "rate_limits": "Rate limits",
    "leaving": "Clients that leave",
    "sockets": "Sockets",
    "websockets": "WebSocket handshakes and frames",
    "rooms": "Rooms",
    "slow_readers": "Clients that read slowly",
    "concurrency": "Many users at once",
}


@cache
def all_cases() -> tuple[Case, ...]:
    """Every case, area by area."""
    for area in AREAS:
        import_module(f"streambench.conformance.areas.{area}")
    order = {area: number for number, area in enumerate(AREAS)}
    return tuple(sorted(entered_cases(), key=lambda case: order[case.area]))


def chosen_cases(patterns: Sequence[str]) -> tuple[Case, ...]:
    """The cases whose id matches one of the patterns (`auth.*`); all without a pattern.

    Raises ConfigurationError for a pattern that matches none.
    """
    cases = all_cases()
    for pattern in patterns:
        if not any(fnmatch.fnmatchcase(case.id, pattern) for case in cases):
            raise ConfigurationError(
                f"no case matches {pattern!r}; `streambench conform --list` shows them",
                suggestion=nearest(pattern, [case.id for case in cases]),
            )
    if not patterns:
        return cases
    return tuple(case for case in cases if any(fnmatch.fnmatchcase(case.id, pattern) for pattern in patterns))


def expected_failures(scenario: Scenario) -> tuple[str, ...]:
    """The cases that may fail on a scenario's targets. Raises ConfigurationError for one that there is not."""
    known = [case.id for case in all_cases()]
    for name in scenario.conform.expected_failures:
        if name not in known:
            raise ConfigurationError(
                f"expected_failures: there is no case {name!r}", path=scenario.path, suggestion=nearest(name, known)
            )
    return scenario.conform.expected_failures
