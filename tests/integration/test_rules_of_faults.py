"""The fake upstream's streams pass their dialects, and each fault of a stream is reported on its axis, by its rule."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from streambench.analysis.differences import Sent, compare
from streambench.dialects import load_dialect
from streambench.drivers.target import TargetSpec
from streambench.drivers.users import open_session
from streambench.findings import Severity
from streambench.record.model import StreamRecord
from streambench.record.recorder import Recorder
from streambench.transport.target import Endpoint, Timeouts
from streambench.units import NS_PER_MS, NS_PER_S

TEXT = "One two three “four” five six seven eight."
PATHS = {"openai-chat": "/v1/chat/completions", "openai-responses": "/v1/responses", "gemini-sse": ""}


_numbers = itertools.count()


@dataclass
class Seen:
    """What was reported of one stream: its error class, `axis rule` of each violation and of each note."""

    error: str | None
    rules: set[str]
    notes: set[str]
    text: str
    tokens: int | None


@pytest.fixture(scope="module")
def upstream(shared_mock: Callable[..., Any]) -> str:
    """One fake upstream for all tests: each orders its faults for a plan of its own."""
    return str(shared_mock("--no-chat", "--profile", "instant").openai)


async def stream(upstream: str, dialect_name: str, *faults: Any, idle_ms: int = 5000) -> Seen:
    """One stream through the real driver, with what a comparison with the upstream's own text adds."""
    dialect = load_dialect(dialect_name)
    mark = f"p{next(_numbers)}"
    async with httpx.AsyncClient(base_url=upstream) as client:
        plan = await client.post("/_mock/plans", json={"id": mark, "text": TEXT, "faults": list(faults)})
        assert plan.status_code == 201, plan.text
        timeouts = Timeouts(idle_ns=idle_ms * NS_PER_MS, first_chunk_ns=30 * NS_PER_S)
        session = open_session(TargetSpec("t", dialect, Endpoint(upstream + PATHS[dialect_name], timeouts=timeouts)))
        now = time.monotonic_ns()
        record = StreamRecord("1", "t", dialect_name, now, now)
        await session.stream(f"Hello [[sb:{mark}]]", Recorder(record, dialect, keep_text=True))
        await session.close()
        journal = (await client.get("/_mock/journal", params={"id": mark})).json()
    text = record.text or ""
    planned = [Sent(journal["entries"][-1]["text"])]
    found = [*record.findings, *compare(planned, text, complete=record.terminal_event).findings]
    rules = {f"{finding.axis} {finding.rule}" for finding in found if finding.severity is Severity.VIOLATION}
    notes = {f"{finding.axis} {finding.rule}" for finding in found if finding.severity is not Severity.VIOLATION}
    return Seen(record.error, rules, notes, text, record.tokens)


LOST = "content content.lost"
DOUBLED = "content content.duplicated"
MOVED = "content content.reordered"
ENDED = "termination grammar.premature-end"
NUMBERS = "grammar sequence_number.contiguous"
JOINED = "content content.concat"

# Fault, error class, what is reported for openai-chat, for openai-responses, for gemini-sse.
FAULTS: list[tuple[Any, str | None, set[str], set[str], set[str]]] = [
    ("missing-finish", None, {"grammar grammar.incomplete-slice"}, {"grammar grammar.incomplete-slice"}, {ENDED}),
    (
        "missing-usage",
        None,
        {"grammar USAGE.promised"},
        {"grammar schema.response.completed"},
        {"grammar schema.FINISH"},
    ),
    ("missing-done", "disconnect", {ENDED}, {ENDED}, {ENDED}),
    ("cut-fin", "disconnect", {ENDED}, {ENDED}, {ENDED}),
    ("cut-end", "disconnect", {ENDED}, {ENDED}, {ENDED}),
    ("cut-rst", "reset", *[{"termination termination.reset"}] * 3),
    ({"fault": "stall-forever", "ms": 20_000}, "timeout_idle", *[{"termination termination.timeout"}] * 3),
    (
        "malformed-json",
        None,
        {"grammar data.not-json", LOST},
        {"grammar data.not-json", NUMBERS, JOINED, LOST},
        {"grammar data.not-json", LOST},
    ),
    ("duplicate-chunk", None, {DOUBLED}, {NUMBERS, JOINED, DOUBLED}, {DOUBLED}),
    ("reorder-chunks", None, {MOVED}, {NUMBERS, JOINED, MOVED}, {MOVED}),
    ("lost-chunk", None, {LOST}, {NUMBERS, JOINED, LOST}, {LOST}),
    (
        "text-after-done",
        None,
        *[{"grammar grammar.after-terminal"}] * 3,
    ),
    ("empty-choices", None, {"grammar grammar.unknown-event"}, {NUMBERS}, set()),
    ({"fault": "giant-chunk", "bytes": 5 << 20}, "oversize", *[{"grammar wire.oversize"}] * 3),
    # Unusual on the wire, and right: nothing is reported.
    ({"fault": "stall", "ms": 50}, None, set(), set(), set()),
    ("comments", None, set(), set(), set()),
    ("crlf", None, set(), set(), set()),
    ("split-utf8", None, set(), set(), set()),
    ("split-frame", None, set(), set(), set()),
    ("coalesce", None, set(), set(), set()),
    ({"fault": "drip", "bytes": 7}, None, set(), set(), set()),
    ("gzip", None, set(), set(), set()),
]
CASES = [
    (dialect, fault, error, expected[column])
    for fault, error, *expected in FAULTS
    for column, dialect in enumerate(PATHS)
    # Gemini has no sentinel that could be missing on its own.
    if (dialect, fault) not in [("gemini-sse", "missing-done")]
]


@pytest.mark.parametrize(
    ("dialect", "fault", "error", "expected"),
    CASES,
    ids=lambda value: value["fault"] if isinstance(value, dict) else value if isinstance(value, str) else "",
)
async def test_a_fault_is_reported_on_its_axis(
    upstream: str, dialect: str, fault: Any, error: str | None, expected: set[str]
) -> None:
    name = fault if isinstance(fault, str) else fault["fault"]
    seen = await stream(upstream, dialect, fault, idle_ms=700 if name == "stall-forever" else 20_000)
    assert (seen.rules, seen.error) == (
        expected,
        error if (dialect, name) != ("gemini-sse", "missing-finish") else "disconnect",
    )


@pytest.mark.parametrize("dialect", PATHS)
async def test_a_stream_without_a_fault_passes(upstream: str, dialect: str) -> None:
    seen = await stream(upstream, dialect)
    assert seen.rules == set()
    assert (seen.error, seen.text) == (None, TEXT)
    assert seen.tokens


@pytest.mark.parametrize("dialect", PATHS)
async def test_an_error_in_the_stream_is_its_error(upstream: str, dialect: str) -> None:
    """It ends the stream as the protocol has it: the text before it counts, and the order of events is not broken."""
    seen = await stream(upstream, dialect, {"fault": "error", "at": {"chunk": 3}})
    assert seen.error == "error_event"
    assert TEXT.startswith(seen.text)
    assert 0 < len(seen.text) < len(TEXT)
    assert not {rule for rule in seen.rules if rule.startswith("termination")}


@pytest.mark.parametrize("dialect", PATHS)
async def test_a_response_that_is_held_open_is_complete_and_noted(upstream: str, dialect: str) -> None:
    seen = await stream(upstream, dialect, {"fault": "hold-open", "ms": 20_000})
    assert (seen.error, seen.rules, seen.text) == (None, set(), TEXT)
    assert "termination termination.timeout-after-end" in seen.notes
