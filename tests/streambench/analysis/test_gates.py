"""Gates: what can be written, what is refused and where, and how each is decided."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from streambench.analysis.gates import (
    GateError,
    GateResult,
    Observations,
    Result,
    evaluate,
    implied_gates,
    parse_gate,
)
from streambench.analysis.metrics import METRICS
from streambench.analysis.quantiles import Distribution
from streambench.analysis.verdicts import Authenticity, Verdict
from streambench.errors import ExitCode

BOTH = {"real": True, "paced": True}
ONE_SIDED = {"t": False}


def seen(
    values: Sequence[float] | None = None,
    *,
    metric: str = "ttfc",
    chunks: Sequence[Sequence[float]] | None = None,
    completed: int = 100,
    failed: int = 0,
    censored: int = 0,
    left: int = 0,
    dropped: int = 0,
    violations: Mapping[str, int] | None = None,
    findings: Mapping[str, int] | None = None,
    verdict: Verdict = Verdict.FORWARDED,
    two_sided: bool = True,
) -> Observations:
    unit = METRICS[metric].unit
    distributions = {}
    if values is not None:
        distributions[metric] = Distribution.of_streams(unit, values, failed)
    if chunks is not None:
        distributions[metric] = Distribution.of_chunks(unit, chunks, failed)
    started = completed + failed + censored
    return Observations(
        {
            "started": started,
            "completed": completed,
            "failed": failed,
            "dropped": dropped,
            "censored": censored,
            "left": left,
        },
        violations or {},
        findings or {},
        distributions,
        Authenticity(verdict, "the evidence", streams=completed),
        two_sided,
    )


def decide(text: str, observations: Observations) -> GateResult:
    result = evaluate(parse_gate(text, {"t": True}), "t", observations)
    assert result is not None
    return result


# What can be written


@pytest.mark.parametrize(
    ("text", "metric", "statistic", "op", "limit"),
    [
        ("ttfc.p95 < 800ms", "ttfc", "p95", "<", 800.0),
        ("ttfc.p95<0.8s", "ttfc", "p95", "<", 800.0),
        ("  gap.p99.9   <=  250us ", "gap", "p99.9", "<=", 0.25),
        ("e2e.max < 2min", "e2e", "max", "<", 120_000.0),
        ("cadence.p50 >= 20/s", "cadence", "p50", ">=", 20.0),
        ("cadence.p50 >= 20", "cadence", "p50", ">=", 20.0),
        ("chars_per_s.min > 90/min", "chars_per_s", "min", ">", 1.5),
        ("qoe.mean > 90%", "qoe", "mean", ">", 0.9),
        ("burstiness.p50 < 0.5", "burstiness", "p50", "<", 0.5),
        ("stalls.max == 0", "stalls", "max", "==", 0.0),
        ("error_rate < 1%", "error_rate", None, "<", 0.01),
        ("error_rate <= 0.01", "error_rate", None, "<=", 0.01),
        ("violations == 0", "violations", None, "==", 0.0),
        ("violations.grammar == 0", "violations.grammar", None, "==", 0.0),
        ("streams.completed >= 20", "streams.completed", None, ">=", 20.0),
        ("authenticity != buffered", "authenticity", None, "!=", "buffered"),
    ],
)
def test_every_unit_and_statistic_can_be_written(
    text: str, metric: str, statistic: str | None, op: str, limit: float | str
) -> None:
    gate = parse_gate(text, BOTH)
    assert (gate.target, gate.metric, gate.statistic, gate.op, gate.limit) == (None, metric, statistic, op, limit)
    assert gate.expr == text.strip()


@pytest.mark.parametrize(
    "text", ["real: ttfc.p95 < 1s", "real:ttfc.p95<1s", " real : ttfc.p95 < 1s, confidence 95%", "real: gap.p50 < 1s"]
)
def test_a_gate_may_be_for_one_target(text: str) -> None:
    assert parse_gate(text, BOTH).target == "real"


@pytest.mark.parametrize("form", [" confidence 99%", ", confidence 99%", " confidence: 99 %", ",confidence: 99%"])
def test_a_gate_may_ask_for_confidence(form: str) -> None:
    gate = parse_gate("ttfc.p95 < 800ms" + form, BOTH)
    assert gate.confidence == pytest.approx(0.99)
    assert gate.limit == 800


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_can_have_a_gate(metric: str) -> None:
    limit = {"ms": "1s", "ratio": "0.5", "per s": "1/s", "count": "1", "factor": "1.5"}[METRICS[metric].unit]
    assert parse_gate(f"{metric}.p95 < {limit}", BOTH).unit == METRICS[metric].unit


# What is refused


@pytest.mark.parametrize(
    ("text", "marked", "suggestion"),
    [
        ("ttcf.p95 < 800ms", "ttcf", "ttfc"),
        ("real: ttcf.p95 < 800ms", "ttcf", "ttfc"),
        ("raal: ttfc.p95 < 800ms", "raal", "real"),
        ("ttfc.95 < 800ms", "95", "p95"),
        ("ttfc.p100 < 800ms", "p100", None),
        ("ttfc < 800ms", "ttfc", "ttfc.p95"),
        ("ttfc.p95 < 800", "800", None),
        ("ttfc.p95 < 800mz", "800mz", None),
        ("ttfc.p95 < fast", "fast", None),
        ("error_rate < few", "few", None),
        ("error_rates < 1%", "error_rates", "error_rate"),
        ("violations == none", "none", None),
        ("violations.grammer == 0", "violations.grammer", "violations.grammar"),
        ("streams.complete > 0", "streams.complete", "streams.completed"),
        ("authenticity == forwardd", "forwardd", "forwarded"),
        ("authenticity == likely-streamed", "likely-streamed", None),
        ("authenticity < forwarded", "forwarded", None),
        ("error_rate < 1% confidence 95%", "95", None),
        ("ttfc.mean < 1s confidence 95%", "95", None),
        ("ttfc.p95 < 1s confidence 100%", "100", None),
        ("ttfc.p95 == 1s confidence 95%", "95", None),
    ],
)
def test_a_gate_that_can_never_be_decided_is_refused_where_it_is_wrong(
    text: str, marked: str, suggestion: str | None
) -> None:
    with pytest.raises(GateError) as caught:
        parse_gate(text, BOTH)
    assert text[caught.value.at :].startswith(marked)
    assert caught.value.text == marked
    if suggestion is not None:
        assert caught.value.suggestion == suggestion


@pytest.mark.parametrize(
    "text",
    [
        *("", "ttfc", "ttfc.p95", "ttfc.p95 <", "< 800ms", "ttfc.p95 =< 800ms", "ttfc.p95 << 800ms"),
        *("ttfc.p95 800ms", "ttfc.p95 < 1s < 2s", "a: b: ttfc.p95 < 1s", "ttfc.p95 < 1,5s"),
        *("ttfc.p95 < 1s confidence 9.5.1%", "ttfc.p95 < 1s confidence 95", "ttfc.p95 < -1ms"),
        *("ttfc.p0 < 1s", "ttfc.p00 < 1s", "ttfc.p0.0 < 1s", "ttfc.p99.9999999999999999999 < 1s"),
        *("violations == nan", "error_rate < inf", "qoe.p50 > nan", "cadence.p50 > inf/s", "ttfc.p95 < 1e999s"),
        *("error_rate.p95 < 1%", "violations.interop == 0", "streams == 3", "authenticity.p50 == paced"),
    ],
)
def test_nonsense_is_a_gate_error_and_nothing_else(text: str) -> None:
    with pytest.raises(GateError) as caught:
        parse_gate(text, BOTH)
    assert 0 <= caught.value.at <= len(text)
    assert caught.value.suggestion is None or caught.value.suggestion not in text.split()


def test_a_metric_of_both_sides_needs_both_sides() -> None:
    for text in ("forward_lag.p99 < 50ms", "authenticity == forwarded", "t: cancel_lag.max < 1s"):
        with pytest.raises(GateError, match="upstream"):
            parse_gate(text, ONE_SIDED)
        if ":" not in text:  # one of several is enough where the gate is for all
            parse_gate(text, {"t": False, "u": True})
    with pytest.raises(GateError, match="upstream"):
        parse_gate("t: authenticity == forwarded", {"t": False, "u": True})


# How a gate is decided


@pytest.mark.parametrize(
    ("op", "below", "equal", "above"),
    [
        ("<", True, False, False),
        ("<=", True, True, False),
        (">", False, False, True),
        (">=", False, True, True),
        ("==", False, True, False),
        ("!=", True, False, True),
    ],
)
def test_every_operator(op: str, below: bool, equal: bool, above: bool) -> None:
    for observed, holds in ((19.0, below), (20.0, equal), (21.0, above)):
        result = decide(f"ttfc.p50 {op} 20ms", seen([observed] * 10))
        assert (result.result is Result.PASSED) is holds
        assert (result.observed, result.n) == (observed, 10)


@pytest.mark.parametrize(("statistic", "value"), [("mean", 2.5), ("min", 1.0), ("max", 4.0), ("p50", 2.0)])
def test_every_statistic(statistic: str, value: float) -> None:
    assert decide(f"ttfc.{statistic} < 1s", seen([4, 1, 3, 2])).observed == value


@pytest.mark.parametrize(("quantile", "needed"), [("p50", 2), ("p90", 10), ("p95", 20), ("p99", 100)])
def test_too_few_streams_are_inconclusive_and_say_how_many_it_takes(quantile: str, needed: int) -> None:
    few = decide(f"ttfc.{quantile} < 800ms", seen([100.0] * (needed - 1)))
    assert few.result is Result.INCONCLUSIVE
    assert str(needed) in (few.reason or "")
    assert few.observed == 100
    assert decide(f"ttfc.{quantile} < 800ms", seen([100.0] * needed)).result is Result.PASSED


def test_too_few_streams_fail_where_no_further_stream_could_help() -> None:
    assert decide("ttfc.p95 < 800ms", seen([801.0, 900.0])).result is Result.FAILED
    assert decide("ttfc.p95 < 800ms", seen([799.0, 900.0])).result is Result.INCONCLUSIVE
    assert decide("qoe.p95 > 90%", seen([0.5, 0.89], metric="qoe")).result is Result.FAILED
    assert decide("qoe.p95 > 90%", seen([0.5, 0.91], metric="qoe")).result is Result.INCONCLUSIVE
    # More streams might bring any value, so equality is never hopeless.
    assert decide("stalls.p95 == 0", seen([1.0, 2.0], metric="stalls")).result is Result.INCONCLUSIVE


def test_no_value_at_all_is_inconclusive() -> None:
    assert decide("ttfc.p95 < 800ms", seen([], completed=0, failed=3)).result is Result.INCONCLUSIVE
    assert "cancelled" in (decide("cancel_lag.max < 1s", seen([], metric="cancel_lag")).reason or "")
    assert decide("error_rate < 1%", seen(completed=0)).result is Result.INCONCLUSIVE
    assert decide("violations == 0", seen(completed=0)).result is Result.INCONCLUSIVE
    assert decide("violations == 0", seen(completed=0, censored=1)).result is Result.PASSED


@pytest.mark.parametrize(("quantile", "needed"), [("p95", 59), ("p99", 299)])
def test_confidence_needs_enough_streams_even_where_all_are_good(quantile: str, needed: int) -> None:
    gate = f"ttfc.{quantile} < 800ms confidence 95%"
    few = decide(gate, seen([100.0] * (needed - 1)))
    assert few.result is Result.INCONCLUSIVE
    assert str(needed) in (few.reason or "")
    assert decide(gate, seen([100.0] * needed)).result is Result.PASSED


def test_confidence_needs_the_whole_interval_on_the_right_side() -> None:
    good, slow = [100.0] * 58, [900.0]
    assert decide("ttfc.p95 < 800ms", seen(good + slow)).result is Result.PASSED
    unsure = decide("ttfc.p95 < 800ms confidence 95%", seen(good + slow))
    assert unsure.result is Result.INCONCLUSIVE
    assert "900" in (unsure.reason or "")
    assert decide("ttfc.p95 < 800ms confidence 95%", seen(good[:40] + slow * 19)).result is Result.FAILED


def test_confidence_from_below() -> None:
    values = [10.0] * 59
    assert decide("cadence.p5 > 9/s confidence 95%", seen(values, metric="cadence")).result is Result.PASSED
    assert decide("cadence.p5 > 9/s confidence 95%", seen(values[1:], metric="cadence")).result is Result.INCONCLUSIVE


def test_more_confidence_over_chunks_is_harder_to_reach() -> None:
    """3.75% of the gaps are slow, all in 5 of 40 streams: a draw of other streams might well have had 5%."""
    chunks = [[10.0] * 20] * 35 + [[10.0] * 14 + [60.0] * 6] * 5
    observations = seen(chunks=chunks, metric="gap")
    assert decide("gap.p95 < 50ms", observations).result is Result.PASSED
    results = [decide(f"gap.p95 < 50ms confidence {c}%", observations).result for c in (50, 60, 70, 80, 90, 95, 99)]
    assert results[0] is Result.PASSED
    assert results[-1] is Result.INCONCLUSIVE
    assert results == sorted(results, key=[Result.PASSED, Result.INCONCLUSIVE].index)


def test_chunks_count_as_the_streams_they_are_of() -> None:
    """A thousand chunks of one stream say nothing of the target's p95."""
    result = decide("gap.p95 < 50ms", seen(chunks=[[10.0] * 1000], metric="gap"))
    assert (result.result, result.n) == (Result.INCONCLUSIVE, 1)


@pytest.mark.parametrize(
    ("text", "observations", "result"),
    [
        ("error_rate < 1%", seen(completed=99, failed=1), Result.FAILED),
        ("error_rate <= 1%", seen(completed=99, failed=1), Result.PASSED),
        ("violations == 0", seen(violations={}), Result.PASSED),
        ("violations == 0", seen(violations={"grammar": 1}), Result.FAILED),
        ("violations < 3", seen(violations={"grammar": 1, "content": 1}), Result.PASSED),
        ("violations.content == 0", seen(violations={"grammar": 1}), Result.PASSED),
        ("violations.grammar == 0", seen(violations={"grammar": 1}), Result.FAILED),
        ("streams.dropped == 0", seen(dropped=1), Result.FAILED),
        ("streams.started >= 101", seen(failed=1), Result.PASSED),
        ("authenticity == forwarded", seen(), Result.PASSED),
        ("authenticity == forwarded", seen(verdict=Verdict.PACED), Result.FAILED),
        ("authenticity != paced", seen(verdict=Verdict.MIXED), Result.PASSED),
        ("authenticity == forwarded", seen(verdict=Verdict.UNKNOWN), Result.INCONCLUSIVE),
        ("authenticity == forwarded", seen(verdict=Verdict.LIKELY_STREAMED), Result.INCONCLUSIVE),
    ],
)
def test_what_a_target_has_one_value_of(text: str, observations: Observations, result: Result) -> None:
    assert decide(text, observations).result is result


def test_the_interval_of_an_error_rate_without_errors_is_the_rule_of_three() -> None:
    assert decide("error_rate < 5%", seen(completed=100)).ci95 == (0.0, 0.03)


def test_a_target_seen_from_one_side_is_left_out_of_a_gate_on_both() -> None:
    for text in ("authenticity == forwarded", "forward_lag.p50 < 1s"):
        assert evaluate(parse_gate(text, {"t": False, "u": True}), "t", seen(two_sided=False)) is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("violations == 0", ExitCode.CONFORMANCE),
        ("violations.termination == 0", ExitCode.CONFORMANCE),
        ("authenticity == forwarded", ExitCode.CONFORMANCE),
        ("ttfc.p95 < 1s", ExitCode.PERFORMANCE),
        ("error_rate < 1%", ExitCode.PERFORMANCE),
        ("streams.completed > 0", ExitCode.PERFORMANCE),
    ],
)
def test_what_a_miss_means(text: str, code: ExitCode) -> None:
    assert parse_gate(text, BOTH).exit_code is code


# What nobody has to write


@pytest.mark.parametrize(
    ("written", "implied"),
    [
        ([], {"violations == 0", "error_rate == 0", "streams.completed > 0"}),
        (["ttfc.p95 < 1s"], {"violations == 0", "error_rate == 0", "streams.completed > 0"}),
        (["violations < 5"], {"error_rate == 0", "streams.completed > 0"}),
        (["violations.grammar == 0"], {"error_rate == 0", "streams.completed > 0"}),
        (["error_rate < 1%"], {"violations == 0"}),
        (["streams.completed > 10"], {"violations == 0", "error_rate == 0"}),
        (["streams.failed < 10"], {"violations == 0"}),
        # Nothing of this says that a reply has to come.
        (["streams.dropped == 0"], {"violations == 0", "error_rate == 0", "streams.completed > 0"}),
        (
            ["streams.started > 3", "streams.censored == 0"],
            {"violations == 0", "error_rate == 0", "streams.completed > 0"},
        ),
    ],
)
def test_the_protocol_is_kept_and_a_reply_comes_whoever_says_so(written: list[str], implied: set[str]) -> None:
    gates = [parse_gate(text, ONE_SIDED) for text in written]
    found = implied_gates(gates, ["t"])
    assert {gate.expr for gate in found} == implied
    assert all(gate.implied and gate.target == "t" for gate in found)


def test_a_gate_for_one_target_says_nothing_of_the_others() -> None:
    gates = [parse_gate("real: violations < 5", BOTH), parse_gate("real: error_rate < 1%", BOTH)]
    assert {(gate.target, gate.metric) for gate in implied_gates(gates, list(BOTH))} == {
        ("paced", "violations"),
        ("paced", "error_rate"),
        ("paced", "streams.completed"),
    }


def test_the_json_of_a_result() -> None:
    result: dict[str, Any] = decide("ttfc.p50 < 800ms", seen([1.23456789] * 10)).to_json()
    assert result == {
        "expr": "ttfc.p50 < 800ms",
        "target": "t",
        "observed": 1.2346,
        "limit": 800.0,
        "unit": "ms",
        "n": 10,
        "ci95": [1.2346, 1.2346],
        "result": "passed",
    }
    assert decide("ttfc.p95 < 1s", seen([1.0])).to_json()["reason"]


# What people type


@pytest.mark.parametrize(
    ("typed", "metric"),
    [("ttft", "ttfc"), ("itl", "gap"), ("tpot", "gap"), ("inter_token_latency", "gap"), ("latency", "e2e")],
)
def test_metrics_are_known_by_the_names_that_others_give_them(typed: str, metric: str) -> None:
    gate = parse_gate(f"{typed}.p95 < 1s", ONE_SIDED)
    assert (gate.metric, gate.expr) == (metric, f"{typed}.p95 < 1s")


@pytest.mark.parametrize(
    ("text", "remedy"),
    [("error_rate < 5", "did you mean 5%?"), ("qoe.p50 > 90", "did you mean 90%?"), ("error_rate < 150%", "100%")],
)
def test_a_ratio_beyond_one_is_refused(text: str, remedy: str) -> None:
    with pytest.raises(GateError, match=re.escape(remedy)):
        parse_gate(text, ONE_SIDED)


def test_a_gate_can_name_a_rule() -> None:
    found = {"content.added": 3, "schema.token": 1, "schema.done": 1}
    assert decide("findings.content.added == 0", seen(findings=found)).result is Result.FAILED
    assert decide("findings.content.added == 0", seen()).result is Result.PASSED
    family = decide("findings.schema.EVENT <= 1", seen(findings=found))
    assert (family.observed, family.result, family.gate.exit_code) == (2, Result.FAILED, ExitCode.CONFORMANCE)
    with pytest.raises(GateError, match=r"no rule 'content\.aded'") as caught:
        parse_gate("findings.content.aded == 0", {"t": True})
    assert (caught.value.at, caught.value.suggestion) == (len("findings."), "content.added")
