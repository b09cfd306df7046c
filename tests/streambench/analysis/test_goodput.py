"""Which streams are good enough, and how many of them there are a second."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from streambench.analysis.gates import GateError, Result
from streambench.analysis.goodput import Condition, parse_goodput
from streambench.analysis.summary import summarize
from streambench.record.model import Outcome, StreamRecord
from streambench.record.run_file import RunData
from streambench.report.wording import findings_in_words

MakeRecord = Callable[..., StreamRecord]
MakeRun = Callable[..., RunData]


def test_conditions_are_read_in_the_units_of_their_metrics() -> None:
    assert parse_goodput("ttft < 1s and gap_max <= 200ms and qoe > 90%") == (
        Condition("ttfc", "<", 1000.0),
        Condition("gap_max", "<=", 200.0),
        Condition("qoe", ">", 0.9),
    )


@pytest.mark.parametrize(
    ("text", "at", "suggestion"),
    [
        ("ttfc", 0, None),
        ("ttfc < 1s and", 13, None),
        ("ttfc < 1s and gap < 1s", 14, "gap_max"),
        ("ttfc < 1s and ttcf < 1s", 14, "ttfc"),
        ("ttfc < 1", 7, None),
        ("forward_lag < 1s", 0, None),
    ],
)
def test_conditions_that_no_stream_can_be_held_against(text: str, at: int, suggestion: str | None) -> None:
    with pytest.raises(GateError) as caught:
        parse_goodput(text)
    assert caught.value.at == at
    assert suggestion is None or caught.value.suggestion == suggestion


def test_a_good_stream_meets_all_of_them_at_once(make_record: MakeRecord, make_run: MakeRun) -> None:
    """Ten streams in two seconds: two are late, one of which also pauses; one pauses; one failed; one has no text."""
    chunks = [
        *[[(50, "a"), (60, "b")]] * 5,
        [(500, "a"), (510, "b")],
        [(500, "a"), (900, "b")],
        [(50, "a"), (450, "b")],
    ]
    records = [make_record(one, start_ms=200 * i) for i, one in enumerate(chunks)]
    records.append(make_record([(50, "a")], start_ms=1600, outcome=Outcome.FAILED, error="reset"))
    records.append(make_record([], start_ms=1800))
    run = make_run(records, gates=["goodput > 2/s", "goodput.share > 60%"])
    run.header["goodput"] = "ttfc < 100ms and gap_max < 200ms"
    summary = summarize(run)
    good = summary.targets["t"].goodput
    assert good is not None
    assert (good.good, good.finished, good.share) == (5, 10, 0.5)
    assert good.per_s == pytest.approx(5 / (good.span_ns / 1e9))
    assert 1.7e9 < good.span_ns < 3e9
    assert [gate.result for gate in summary.gates[:2]] == [
        Result.PASSED if good.per_s > 2 else Result.FAILED,
        Result.FAILED,
    ]
    assert any("5 of 10 streams of t were good" in sentence for sentence in findings_in_words(summary))
    assert summary.to_json()["targets"]["t"]["goodput"]["share"] == 0.5


def test_what_a_stream_has_no_value_of_cannot_be_too_large(make_record: MakeRecord, make_run: MakeRun) -> None:
    run = make_run([make_record([(50, "all of it")])])
    for expr, good in (("gap_max < 1ms", 1), ("cadence > 1/s", 0)):
        found = summarize(replace(run, header={**run.header, "goodput": expr})).targets["t"].goodput
        assert found is not None
        assert found.good == good


def test_without_a_definition_there_is_no_goodput(make_record: MakeRecord, make_run: MakeRun) -> None:
    run = make_run([make_record([(50, "a")])], gates=["goodput > 1/s"])
    summary = summarize(run)
    assert summary.targets["t"].goodput is None
    assert summary.gates[0].result is Result.INCONCLUSIVE
    run.header["goodput"] = "of another version"
    assert summarize(run).targets["t"].goodput is None
