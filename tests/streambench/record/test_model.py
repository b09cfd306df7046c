"""What is written of a stream can be read back, whatever it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streambench.endings import Ending, ErrorClass, http_error_class
from streambench.findings import Axis, Finding, Severity
from streambench.printable import printable
from streambench.record.model import EventColumns, Outcome, OwnShare, StreamRecord, UpstreamExchange

stamp = st.integers(0, 2**62)
maybe = st.none() | stamp
count = st.integers(0, 2**40)
text = st.text(max_size=30).map(printable)  # as the recorder keeps words of servers


def columns(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, list[Any]]]:
    """Parallel lists."""
    rows = st.lists(st.tuples(*fields.values()), max_size=8)
    return rows.map(lambda found: {name: [row[i] for row in found] for i, name in enumerate(fields)})


events = columns(at_ns=stamp, name=text, chars=count, read=count).map(lambda given_: EventColumns(**given_))
findings = st.builds(
    Finding,
    axis=st.sampled_from(Axis),
    rule=text,
    message=text,
    severity=st.sampled_from(Severity),
    event_index=st.none() | count,
    offset=st.none() | count,
    got=st.none() | text,
    expected=st.lists(text, max_size=3).map(tuple),
)
exchanges = st.builds(
    lambda written, **fields: UpstreamExchange(**written, **fields),
    columns(scheduled_ns=stamp, written_ns=stamp, offset=count),
    attempt=count,
    arrived_ns=stamp,
    status=st.integers(100, 599),
    text=text,
    headers_ns=maybe,
    ended_ns=maybe,
    ended=text,
    cancelled_ns=maybe,
    written_after_cancel=count,
    finish=st.none() | text,
    profile=st.none() | text,
    faults=st.lists(text, max_size=3),
    clock_error_ns=count,
)
records = st.builds(
    StreamRecord,
    id=text,
    target=text,
    dialect=text,
    intended_ns=stamp,
    start_ns=stamp,
    phase=count,
    user=st.none() | count,
    iteration=count,
    warmup=st.booleans(),
    mark=st.none() | text,
    connected_ns=maybe,
    reused_connection=st.booleans(),
    resent=count,
    sent_ns=maybe,
    headers_ns=maybe,
    status=st.none() | st.integers(100, 599),
    end_ns=maybe,
    outcome=st.sampled_from(Outcome),
    error=st.none() | st.sampled_from(ErrorClass).map(str) | st.integers(400, 599).map(http_error_class),
    error_message=st.none() | text,
    ending=st.none() | st.sampled_from(Ending),
    close_code=st.none() | count,
    terminal_event=st.booleans(),
    events=events,
    findings=st.lists(findings, max_size=3),
    findings_dropped=count,
    text=st.none() | text,
    tokens=st.none() | count,
    reads=count,
    user_reads=count,
    coalesced_reads=count,
    wire_bytes=count,
    own=st.builds(
        OwnShare, start_ns=count, send_ns=count, connect_ns=count, early=st.dictionaries(count, count, max_size=3)
    ),
    upstream=st.lists(exchanges, max_size=2),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(records)
def test_a_record_survives_json(record: StreamRecord) -> None:
    line = json.dumps(record.to_json())
    assert StreamRecord.from_json(json.loads(line)) == record


def test_every_field_is_in_the_json() -> None:
    """A field that is added and not written would be lost without a sign."""
    names = set(StreamRecord.__dataclass_fields__)
    written = set(StreamRecord("s", "t", "d", 1, 2).to_json())
    assert {name.removesuffix("_ns") for name in names} == {name.removesuffix("_ns") for name in written} - {
        "kind",
        "stamps",  # follows from the reads
    }


@pytest.mark.parametrize(
    ("reads", "user_reads", "stamps"), [(0, 0, "user"), (3, 0, "kernel"), (3, 3, "user"), (3, 1, "mixed")]
)
def test_stamps_are_said_of_all_reads(reads: int, user_reads: int, stamps: str) -> None:
    assert StreamRecord("s", "t", "d", 0, 0, reads=reads, user_reads=user_reads).stamps == stamps


def test_times_are_relative_to_the_start_except_the_starts() -> None:
    record = StreamRecord("s", "t", "d", 900, 1000, connected_ns=1003, end_ns=1010)
    record.events.append(1004, "role", 0, 0)
    out = record.to_json()
    assert (out["intended_ns"], out["start_ns"], out["connected"], out["end"]) == (900, 1000, 3, 10)
    assert out["events"] == {"names": ["role"], "name": [0], "at": [4], "chars": [0], "read": [0]}


def test_content_rows_are_the_events_with_characters() -> None:
    record = StreamRecord("s", "t", "d", 0, 0)
    for chars in (0, 3, 0, 1):
        record.events.append(0, "e", chars, 0)
    assert record.content_rows() == [1, 3]


def test_information_is_no_violation() -> None:
    note = Finding(Axis.INTEROP, "a", "b", Severity.INFO)
    broken = Finding(Axis.GRAMMAR, "c", "d")
    assert StreamRecord("s", "t", "d", 0, 0, findings=[note, broken]).violations == [broken]
