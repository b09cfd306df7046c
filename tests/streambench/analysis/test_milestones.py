"""When streams come to the milestones of their target: figures by hand, own shares, gates, what is never reached."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from streambench.analysis.gates import GateError, Result, parse_gate
from streambench.analysis.metrics import Settings, metrics_with
from streambench.analysis.milestones import Span, spans
from streambench.analysis.own_share import Share
from streambench.analysis.stream import analyse
from streambench.analysis.summary import summarize
from streambench.dialects.milestone import MAX_MILESTONES, Milestone
from streambench.record.model import EventColumns, Outcome, OwnShare, StreamRecord
from streambench.record.run_file import RunData

MS = 1_000_000
MakeRecord = Callable[..., StreamRecord]
MakeRun = Callable[..., RunData]

DOCUMENT = Milestone("document", ("search",))
ANSWER = Milestone("answer", ("delta",), needs_text=True)
PLAN = Milestone("plan", ("search",), since="sent")
AFTER = Milestone("after", ("delta",), since="document", needs_text=True)
ALL = (DOCUMENT, ANSWER, PLAN, AFTER)
EVENTS = [(20, "start", 0), (50, "search", 0), (60, "delta", 0), (90, "delta", 5), (120, "search", 0)]


def streamed(make_record: MakeRecord, events: list[tuple[int, str, int]] = EVENTS, **fields: Any) -> StreamRecord:
    """Due at 1000 ms, started at 1010, sent at 1012; each event in a read of its own, at ms after the start."""
    columns = EventColumns(
        [(1010 + at) * MS for at, _, _ in events],
        [name for _, name, _ in events],
        [chars for _, _, chars in events],
        range(len(events)),
    )
    given = {"intended_ns": 1000 * MS, "sent_ns": 1012 * MS, "end_ns": 1200 * MS, "events": columns, **fields}
    return make_record([], start_ms=1010, **given)


def told(*milestones: Milestone) -> dict[str, Any]:
    return {milestone.name: milestone.to_json() for milestone in milestones}


def run_of(make_run: MakeRun, records: list[StreamRecord], *milestones: Milestone, **header: Any) -> RunData:
    run = make_run(records, gates=header.pop("gates", ()))
    for facts in run.header["targets"].values():
        facts["milestones"] = told(*milestones)
    run.header |= header
    return run


def test_each_is_measured_from_where_it_says(make_record: MakeRecord) -> None:
    record = streamed(make_record)
    assert spans(record, ALL) == {
        "document": Span(1000 * MS, 1060 * MS, 1),
        "answer": Span(1000 * MS, 1100 * MS, 3),
        "plan": Span(1012 * MS, 1060 * MS, 1),
        "after": Span(1060 * MS, 1100 * MS, 3, 1),
    }
    found = analyse(record, Settings(milestones={"t": ALL})).figures.stream
    assert {name: found[f"milestone.{name}"] for name in ("document", "answer", "plan", "after")} == {
        "document": 60,
        "answer": 100,
        "plan": 48,
        "after": 40,
    }
    assert not any(name.startswith("milestone.") for name in analyse(record, Settings()).figures.stream)
    assert set(metrics_with(ALL)) >= {name for name in found if name.startswith("milestone.")}


def test_without_a_stamp_of_the_request_it_is_measured_from_the_start(make_record: MakeRecord) -> None:
    assert spans(streamed(make_record, sent_ns=None), [PLAN])["plan"].since_ns == 1010 * MS


def test_a_milestone_is_read_back_from_the_header() -> None:
    assert [Milestone.from_json(name, data) for name, data in told(*ALL).items()] == list(ALL)


def test_the_own_share_is_that_of_the_first_text(make_record: MakeRecord) -> None:
    """Late by 3 ms, sending took 1 ms; the read of the document may have come 2 ms early, that of the answer 4 ms."""
    own = OwnShare(start_ns=3 * MS, send_ns=MS, early={1: 2 * MS, 3: 4 * MS})
    record = streamed(make_record, own=own)
    record.reads = record.user_reads = 5
    shares = analyse(record, Settings(milestones={"t": ALL})).figures.own.stream
    assert shares["milestone.document"] == Share(3 + 1 + 2)
    assert shares["milestone.plan"] == Share(2)
    assert shares["milestone.after"] == Share(4, 2)
    assert shares["milestone.answer"] == shares["ttfc"] == Share(3 + 1 + 4)


def test_what_is_never_reached_is_absent_and_counted(make_record: MakeRecord, make_run: MakeRun) -> None:
    """Twenty streams are completed, two of which find no document; a third that finds none fails."""
    records = [streamed(make_record) for _ in range(18)]
    records += [streamed(make_record, EVENTS[2:4]) for _ in range(2)]
    records.append(streamed(make_record, EVENTS[:1], outcome=Outcome.FAILED, error="reset"))
    gates = [
        "milestone.document.p50 < 1s",
        "milestone.document.reached >= 95%",
        "milestone.document.reached >= 90%",
        "milestone.after.p90 < 10ms",
        "error_rate < 10%",
    ]
    summary = summarize(run_of(make_run, records, DOCUMENT, AFTER, gates=gates, goodput="milestone.document < 100ms"))
    target = summary.targets["t"]
    out = target.to_json()
    assert out["milestones"] == {
        "document": {"events": ["search"], "from": "intended", "text": False, "reached": 18, "of": 20},
        "after": {"events": ["delta"], "from": "document", "text": True, "reached": 18, "of": 20},
    }
    figures = out["metrics"]["milestone.document"]
    assert (figures["n"], figures["p50"], figures["unit"]) == (18, 60, "ms")
    assert figures["adjusted"]["p99"] is None  # the failed stream never came so far
    results = {result.gate.expr: result.result for result in summary.gates}
    assert [results[gate] for gate in gates] == [
        Result.PASSED,
        Result.FAILED,
        Result.PASSED,
        Result.FAILED,
        Result.PASSED,
    ]
    assert target.goodput is not None
    assert target.goodput.good == 20


def test_a_milestone_without_any_stream_decides_nothing(make_record: MakeRecord, make_run: MakeRun) -> None:
    gates = ["milestone.document.p50 < 1s", "milestone.document.reached > 0%"]
    records = [streamed(make_record, EVENTS[2:4]) for _ in range(3)]
    summary = summarize(run_of(make_run, records, DOCUMENT, gates=gates))
    found = {result.gate.expr: result for result in summary.gates}
    assert found[gates[0]].result is Result.INCONCLUSIVE
    assert (found[gates[1]].result, found[gates[1]].observed) == (Result.FAILED, 0.0)
    assert "milestone.document" not in summary.targets["t"].to_json()["metrics"]


def test_targets_have_milestones_of_their_own(make_record: MakeRecord, make_run: MakeRun) -> None:
    records = [streamed(make_record, target=target) for target in ("a", "b") for _ in range(2)]
    run = make_run(records, gates=["milestone.document.p50 < 1s"])
    run.header["targets"]["a"]["milestones"] = told(DOCUMENT)
    summary = summarize(run)
    (gate,) = [result for result in summary.gates if not result.gate.implied]
    assert (gate.target, gate.result) == ("a", Result.PASSED)
    assert "milestones" not in summary.targets["b"].to_json()


def test_a_header_may_name_no_end_of_milestones(make_record: MakeRecord, make_run: MakeRun) -> None:
    many = [Milestone(f"m{i}", ("search",)) for i in range(1000)]
    target = summarize(run_of(make_run, [streamed(make_record)], *many)).targets["t"]
    assert len(target.milestones) == MAX_MILESTONES


@pytest.mark.parametrize(
    ("text", "at", "suggestion"),
    [
        ("milestone.documnet.p95 < 2s", 10, "document"),
        ("b: milestone.document.p95 < 2s", 13, None),
        ("milestone.document < 2s", 0, "milestone.document.p95"),
        ("milestone.document.p950 < 2s", 19, "p95"),
        ("milestone.document.reach > 2%", 19, "reached"),
        ("milestone.document.p95 < 2", 25, None),
        ("milestone.document.reached > 2s", 29, None),
    ],
)
def test_gates_that_can_never_be_decided(text: str, at: int, suggestion: str | None) -> None:
    with pytest.raises(GateError) as caught:
        parse_gate(text, {"a": False, "b": False}, {"a": ["document"], "b": ["answer"]})
    assert (caught.value.at, caught.value.suggestion) == (at, suggestion)
