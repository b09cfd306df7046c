"""From records to the verdict and its exit code."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest

from streambench.analysis.gates import Result
from streambench.analysis.summary import summarize
from streambench.errors import ExitCode
from streambench.findings import Axis, Finding, Severity
from streambench.record.model import Outcome, StreamRecord, UpstreamExchange
from streambench.record.run_file import RunData

MS = 1_000_000
MakeRecord = Callable[..., StreamRecord]
MakeRun = Callable[..., RunData]
BROKEN = Finding(Axis.GRAMMAR, "grammar.order", "out of order", event_index=3)
NOTE = Finding(Axis.INTEROP, "sse.bom", "a byte order mark", Severity.INFO)


@pytest.fixture
def good(make_record: MakeRecord) -> Callable[..., list[StreamRecord]]:
    def make(count: int = 20, **fields: object) -> list[StreamRecord]:
        return [make_record([(50, "Hello"), (60, " world")], start_ms=100 * i, **fields) for i in range(count)]

    return make


Good = Callable[..., list[StreamRecord]]


def test_a_good_run_passes(good: Good, make_run: MakeRun) -> None:
    summary = summarize(make_run(good(), gates=["ttfc.p95 < 51ms", "gap.p50 <= 10ms", "error_rate < 1%"]))
    assert (summary.verdict, summary.exit_code) == ("passed", ExitCode.PASSED)
    assert not summary.interrupted
    target = summary.targets["t"]
    assert target.counts == {"started": 20, "completed": 20, "failed": 0, "dropped": 0, "censored": 0, "left": 0}
    assert target.distributions["ttfc"].values.tolist() == [50.0] * 20
    assert summary.duration_s == 10


@pytest.mark.parametrize(
    ("gates", "broken", "valid", "unreachable", "code", "verdict"),
    [
        ([], False, True, False, 0, "passed"),
        (["ttfc.p50 < 1ms"], False, True, False, 1, "failed"),
        ([], True, True, False, 3, "failed"),
        (["ttfc.p50 < 1ms"], True, True, False, 3, "failed"),
        (["ttfc.p99 < 1s"], False, True, False, 4, "inconclusive"),
        (["ttfc.p99 < 1s"], True, True, False, 3, "failed"),
        ([], False, False, False, 4, "invalid"),
        (["ttfc.p50 < 1ms"], True, False, False, 4, "invalid"),
        ([], False, False, True, 5, "failed"),
        (["ttfc.p50 < 1ms", "ttfc.p99 < 1s"], True, False, True, 5, "failed"),
    ],
)
def test_the_worst_of_several_exit_codes(
    good: Good,
    make_run: MakeRun,
    failed_with: Callable[[str], StreamRecord],
    gates: Sequence[str],
    broken: bool,
    valid: bool,
    unreachable: bool,
    code: int,
    verdict: str,
) -> None:
    records = good(findings=[BROKEN] if broken else [])
    if unreachable:
        lost = [failed_with("connect"), failed_with("tls"), failed_with("timeout_connect")]
        for record in lost:
            record.target = "gone"
        records += lost
    summary = summarize(make_run(records, gates=gates, valid=valid))
    assert (int(summary.exit_code), summary.verdict) == (code, verdict)


def test_a_target_that_answered_once_was_reachable(
    good: Good, make_run: MakeRun, failed_with: Callable[[str], StreamRecord]
) -> None:
    summary = summarize(make_run([*good(1), failed_with("connect"), failed_with("connect")]))
    assert not summary.targets["t"].unreachable
    assert summary.targets["t"].errors == {"connect": 2}
    assert summary.targets["t"].error_rate == pytest.approx(2 / 3)


def test_failures_are_counted_by_class_with_an_example(
    good: Good, make_run: MakeRun, failed_with: Callable[[str], StreamRecord]
) -> None:
    records = [*good(1), *(failed_with(error) for error in ("http_503", "http_503", "reset"))]
    target = summarize(make_run(records)).targets["t"]
    assert target.errors == {"http_503": 2, "reset": 1}
    assert target.error_examples == {"http_503": "http_503", "reset": "reset"}
    assert target.distributions["ttfc"].adjusted(0.5) == float("inf")
    assert target.distributions["start_delay"].adjusted(0.5) == 0


def test_a_run_in_which_nothing_completes_does_not_pass(
    make_run: MakeRun, failed_with: Callable[[str], StreamRecord]
) -> None:
    for gates in ([], ["streams.dropped == 0"], ["ttfc.p95 < 1s"], ["error_rate < 1%"]):
        summary = summarize(make_run([failed_with("http_500")] * 3, gates=gates))
        assert summary.exit_code in (ExitCode.PERFORMANCE, ExitCode.INVALID), gates
    assert summarize(make_run([])).exit_code is ExitCode.PERFORMANCE


def test_a_decided_failure_is_no_open_question(make_run: MakeRun, failed_with: Callable[[str], StreamRecord]) -> None:
    """Every request was refused: that no stream has a first text either is not the news."""
    summary = summarize(make_run([failed_with("http_422")] * 5, gates=["ttfc.p95 < 1s"]))
    assert (summary.exit_code, summary.verdict) == (ExitCode.PERFORMANCE, "failed")


def test_half_of_the_streams_failed_and_nobody_wrote_a_gate(
    good: Good, make_run: MakeRun, failed_with: Callable[[str], StreamRecord]
) -> None:
    records = [*good(5), *(failed_with("http_429") for _ in range(5))]
    summary = summarize(make_run(records))
    assert (summary.exit_code, summary.verdict) == (ExitCode.PERFORMANCE, "failed")
    assert summarize(make_run(records, gates=["error_rate < 60%"])).exit_code is ExitCode.PASSED


def test_the_warm_up_is_not_judged(good: Good, make_run: MakeRun, make_record: MakeRecord) -> None:
    slow = make_record([(5000, "late")], warmup=True, findings=[BROKEN])
    failed = make_record(warmup=True, outcome=Outcome.FAILED, error="reset")
    summary = summarize(make_run([slow, failed, *good(20)], gates=["ttfc.max < 100ms", "error_rate == 0"]))
    assert summary.exit_code is ExitCode.PASSED
    assert summary.targets["t"].counts["started"] == 20


def test_dropped_and_censored_streams_are_counted_and_not_measured(
    good: Good, make_run: MakeRun, make_record: MakeRecord
) -> None:
    dropped = make_record(outcome=Outcome.DROPPED)
    censored = make_record([(5000, "late")], outcome=Outcome.CENSORED, terminal_event=False)
    target = summarize(make_run([dropped, censored, *good(5)])).targets["t"]
    assert target.counts == {"started": 6, "completed": 5, "failed": 0, "dropped": 1, "censored": 1, "left": 0}
    assert target.error_rate == 0
    assert len(target.distributions["ttfc"]) == 5


def test_only_cancelled_streams_have_a_cancel_lag(
    make_run: MakeRun, make_record: MakeRecord, make_exchange: Callable[..., UpstreamExchange]
) -> None:
    upstream = make_exchange([(0, "a "), (10, "b "), (20, "c ")], cancelled_ns=15 * MS, ended="cancelled")
    left = make_record([(1, "a ")], end_ns=5 * MS, outcome=Outcome.CENSORED, terminal_event=False, upstream=[upstream])
    stopped = make_record([(1, "a ")], end_ns=5 * MS, upstream=[upstream])
    target = summarize(make_run([left, stopped], two_sided=True)).targets["t"]
    assert target.distributions["cancel_lag"].values.tolist() == [10.0]
    assert target.distributions["wasted_tokens"].values.tolist() == [2.0]


def test_rules_are_counted_once_for_each_stream_and_in_all(good: Good, make_run: MakeRun) -> None:
    records = good(3)
    records[0].findings = [BROKEN, BROKEN, NOTE]
    records[2].findings = [BROKEN]
    target = summarize(make_run(records)).targets["t"]
    first, second = target.rules
    assert (first.rule, first.count, first.streams, first.example_stream) == ("grammar.order", 3, 2, records[0].id)
    assert (second.rule, second.severity) == ("sse.bom", Severity.INFO)
    assert target.violations == 3
    out = target.to_json()["violations"]
    assert (out["count"], out["streams"], out["axes"]) == (3, 2, {"grammar": 3})
    assert [rule["rule"] for rule in out["rules"]] == ["grammar.order"]


def test_text_that_was_lost_on_the_way_is_a_violation(
    make_run: MakeRun, make_record: MakeRecord, make_exchange: Callable[..., UpstreamExchange]
) -> None:
    upstream = make_exchange([(0, "one"), (10, " two"), (20, " three")])
    summary = summarize(make_run([make_record([(1, "one"), (21, " three")], upstream=[upstream])], two_sided=True))
    assert summary.exit_code is ExitCode.CONFORMANCE
    assert [rule.rule for rule in summary.targets["t"].rules] == ["content.lost"]


def test_a_killed_run_is_judged_by_what_it_wrote(good: Good, make_run: MakeRun) -> None:
    summary = summarize(make_run(good(), end=False))
    assert summary.interrupted
    assert summary.exit_code is ExitCode.INTERRUPTED
    assert summary.verdict == "inconclusive"
    assert summary.duration_s == pytest.approx((100 * 19 + 60) / 1000)
    assert summary.to_json()["generator"]["reasons"]


@pytest.mark.parametrize(("reason", "interrupted"), [("finished", False), ("interrupted", True), ("terminated", True)])
def test_whether_a_run_came_to_its_own_end(good: Good, make_run: MakeRun, reason: str, interrupted: bool) -> None:
    assert summarize(make_run(good(1), reason=reason)).interrupted is interrupted


def test_a_gate_of_a_newer_version_is_undecided_and_not_green(good: Good, make_run: MakeRun) -> None:
    summary = summarize(make_run(good(), gates=["novelty.p95 < 1s", "ttfc.p95 < 1s"]))
    unreadable, readable = (gate for gate in summary.gates if not gate.gate.implied)
    assert (unreadable.gate.expr, unreadable.result) == ("novelty.p95 < 1s", Result.INCONCLUSIVE)
    assert "cannot read the gate" in (unreadable.reason or "")
    assert "novelty" in (unreadable.reason or "")
    assert readable.result is Result.PASSED
    assert (summary.verdict, summary.exit_code) == ("inconclusive", ExitCode.INVALID)
    told = json.loads(json.dumps(summary.to_json()))["gates"][0]
    assert (told["observed"], told["limit"], told["result"]) == (None, None, "inconclusive")


def test_a_gate_that_cannot_be_read_is_of_the_target_that_it_names(good: Good, make_run: MakeRun) -> None:
    records = [*good(20, target="a"), *good(20, target="b")]
    summary = summarize(make_run(records, gates=["b: novelty.p95 < 1s", "what is this"]))
    undecided = [(gate.gate.expr, gate.target) for gate in summary.gates if gate.result is Result.INCONCLUSIVE]
    assert undecided == [("b: novelty.p95 < 1s", "b"), ("what is this", "a"), ("what is this", "b")]


def test_a_gate_for_all_targets_is_decided_for_each(good: Good, make_run: MakeRun) -> None:
    records = [*good(20, target="a"), *good(20, target="b")]
    summary = summarize(make_run(records, gates=["ttfc.p95 < 1s", "b: e2e.p50 < 1s"]))
    written = [(gate.gate.metric, gate.target) for gate in summary.gates if not gate.gate.implied]
    assert written == [("ttfc", "a"), ("ttfc", "b"), ("e2e", "b")]


def test_the_contract_of_summary_json(
    make_run: MakeRun, make_record: MakeRecord, make_exchange: Callable[..., UpstreamExchange]
) -> None:
    upstream = make_exchange([(i * 20.0, f"w{i} ") for i in range(10)])
    chunks = [(i * 20.0 + 1, f"w{i} ") for i in range(10)]
    records = [make_record(chunks, upstream=[upstream]) for _ in range(30)]
    records.append(make_record(outcome=Outcome.FAILED, error="reset", findings=[BROKEN]))
    out = json.loads(json.dumps(summarize(make_run(records, gates=["ttfc.p95 < 1s"], two_sided=True)).to_json()))
    assert out["schema"] == "streambench.summary/1"
    assert set(out) >= {"verdict", "exit_code", "scenario", "started", "duration_s", "environment", "targets", "gates"}
    target = out["targets"]["t"]
    assert set(target) >= {"dialect", "transport", "streams", "errors", "error_rate", "metrics", "violations"}
    ttfc = target["metrics"]["ttfc"]
    assert set(ttfc) >= {"unit", "n", "mean", "min", "p50", "p90", "p95", "p99", "max", "ci95"}
    assert ttfc["n"] == 30
    assert set(ttfc["ci95"]) == {"p50", "p95", "p99"}
    assert target["authenticity"]["verdict"] == "forwarded"
    assert target["violations"]["rules"][0]["example_stream"] == records[-1].id
    gate = out["gates"][0]
    assert set(gate) >= {"expr", "target", "observed", "limit", "unit", "n", "ci95", "result"}
    assert out["generator"]["valid"] is True
