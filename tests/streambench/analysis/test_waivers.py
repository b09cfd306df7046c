"""Rules that may be broken: what that changes of a run, and how it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from streambench.analysis.summary import Summary, summarize
from streambench.errors import ExitCode
from streambench.findings import Axis, Finding, Severity
from streambench.record.model import StreamRecord
from streambench.record.run_file import RunData
from streambench.report.export.sarif import render_sarif
from streambench.report.terminal import describe_run

UNEXPECTED = "grammar.unexpected-event"
ORDER = Finding(Axis.GRAMMAR, UNEXPECTED, "out of order", event_index=3)
TYPE = Finding(Axis.GRAMMAR, "schema.token", "not of its schema")
NOTE = Finding(Axis.INTEROP, "sse.crlf", "lines end with CR LF", Severity.INFO)

Judge = Callable[..., Summary]


@pytest.fixture
def judged(make_record: Callable[..., StreamRecord], make_run: Callable[..., RunData]) -> Judge:
    """The summary of some streams, each with these findings; further arguments are of the header."""

    def make(findings: Sequence[Finding], *, gates: Sequence[str] = (), streams: int = 3, **header: Any) -> Summary:
        records = [make_record([(10, "Hello"), (20, " you")], findings=list(findings)) for _ in range(streams)]
        run = make_run(records, gates=gates)
        return summarize(RunData({**run.header, **header}, run.records, [], run.end))

    return make


def test_an_accepted_rule_is_shown_and_fails_nothing(judged: Judge) -> None:
    assert judged([ORDER]).exit_code is ExitCode.CONFORMANCE
    summary = judged([ORDER], accept=[{"rule": UNEXPECTED, "reason": "mended in 2.0"}])
    target = summary.targets["t"]
    assert (summary.exit_code, target.violations, target.broken_streams) == (ExitCode.PASSED, 0, 0)
    (accepted,) = target.to_json()["violations"]["accepted"]
    assert (accepted["rule"], accepted["count"], accepted["reason"]) == (UNEXPECTED, 3, "mended in 2.0")
    assert "Accepted (mended in 2.0): t: grammar.unexpected-event broken in 3 streams" in describe_run(
        summary, {}, brief=False
    )
    assert not summary.removable


def test_only_what_is_accepted_is(judged: Judge) -> None:
    """Another rule, or the same one broken by another target, fails the run as ever."""
    both = judged([ORDER, TYPE], accept=[{"rule": UNEXPECTED}])
    assert (both.exit_code, both.targets["t"].violations) == (ExitCode.CONFORMANCE, 3)
    family = judged([ORDER, TYPE], accept=[{"rule": UNEXPECTED}, {"rule": "schema.EVENT"}])
    assert family.exit_code is ExitCode.PASSED
    assert judged([ORDER], accept=[{"rule": UNEXPECTED, "target": "other"}]).exit_code is ExitCode.CONFORMANCE
    gate = judged([ORDER], gates=[f"findings.{UNEXPECTED} == 0"], accept=[{"rule": UNEXPECTED}])
    assert gate.exit_code is ExitCode.PASSED


def test_an_ignored_rule_is_not_counted(judged: Judge) -> None:
    summary = judged([ORDER, NOTE], ignore=[{"rule": UNEXPECTED, "reason": "r"}, {"rule": "sse.crlf", "reason": "s"}])
    target = summary.targets["t"]
    assert (summary.exit_code, target.violations, target.notes, target.accepted) == (ExitCode.PASSED, 0, [], [])
    assert [rule["rule"] for rule in target.to_json()["violations"]["ignored"]] == [
        UNEXPECTED,
        "sse.crlf",
    ]
    assert "6 findings of ignored rules not counted: grammar.unexpected-event, sse.crlf" in describe_run(
        summary, {}, brief=True
    )
    assert [result["ruleId"] for result in render_sarif(summary)["runs"][0]["results"]] == []


def test_what_no_longer_occurs_can_be_removed(judged: Judge) -> None:
    summary = judged([], accept=[{"rule": UNEXPECTED}], ignore=[{"rule": "sse.crlf", "reason": "s", "target": "t"}])
    assert summary.exit_code is ExitCode.PASSED
    assert summary.to_json()["removable"] == [
        {"key": "ignore", "rule": "sse.crlf", "target": "t", "reason": "s"},
        {"key": "accept", "rule": UNEXPECTED},
    ]
    told = describe_run(summary, {}, brief=True)
    assert "`accept: grammar.unexpected-event` can be removed" in told
    assert "`ignore: sse.crlf` of t can be removed" in told
    assert not judged([], streams=0, accept=[{"rule": UNEXPECTED}]).removable, "nothing was tried"
