"""The knee of a target: which loads are held, and what is said of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streambench.analysis.gates import GateError
from streambench.analysis.summary import summarize
from streambench.analysis.sweep import Level, LevelVerdict, Step, Sweep, SweepOutcome, conditions_of
from streambench.errors import ExitCode
from streambench.record.model import Outcome, OwnShare, StreamRecord
from streambench.record.run_file import RunData
from streambench.report.wording import findings_in_words, sweep_rows

MakeRecord = Callable[..., StreamRecord]
MakeRun = Callable[..., RunData]

S = 1_000_000_000
MET, BROKEN, FEW, UNJUDGED = LevelVerdict.MET, LevelVerdict.BROKEN, LevelVerdict.FEW, LevelVerdict.UNJUDGED
UNTIL = "ttfc.p95 < 1s and error_rate < 1%"
RATES = Sweep("rate", 1, 200, UNTIL, 0.05, 10 * S)
USERS = Sweep("users", 1, 500, UNTIL, 0.05, 10 * S)


def level(load: float, verdict: LevelVerdict, steps: int = 1) -> Level:
    spoiled = steps if verdict is UNJUDGED else 0
    return Level(load, verdict, steps, 10.0, {"started": 10, "failed": 0}, [], 1.0, "it slept", spoiled)


def search(sweep: Sweep, judge: Callable[[float, int], LevelVerdict]) -> tuple[list[float], SweepOutcome]:
    """All loads in the order in which they were held; `judge` is told how often each was."""
    held: list[float] = []
    found: dict[float, Level] = {}
    while (load := sweep.next_load(list(found.values()))) is not None:
        assert len(held) < 100
        held.append(load)
        times = held.count(load)
        found[load] = level(load, judge(load, times), times)
    return held, SweepOutcome("t", sweep, sorted(found.values(), key=lambda level: level.load))


def test_steps_double_and_then_the_rest_is_halved() -> None:
    held, outcome = search(RATES, lambda load, _: MET if load <= 47 else BROKEN)
    assert held == [1, 2, 4, 8, 16, 32, 64, 48, 40, 44, 46]
    assert outcome.complete
    assert (outcome.knee, outcome.ceiling) == (level(46, MET), level(48, BROKEN))
    assert outcome.exit_code is ExitCode.PASSED


@given(st.floats(1.0, 1000.0), st.sampled_from(["rate", "users"]), st.floats(0.01, 0.5))
def test_the_knee_is_found_wherever_it_is(truth: float, unit: Any, precision: float) -> None:
    sweep = Sweep(unit, 1, 1000, UNTIL, precision, S)
    held, outcome = search(sweep, lambda load, _: MET if load <= truth else BROKEN)
    assert outcome.knee is not None
    assert outcome.knee.load <= truth
    if outcome.ceiling is not None:
        assert outcome.ceiling.load > truth
        grain = 1 if unit == "users" else 10 ** (len(str(int(outcome.knee.load))) - 3)
        assert outcome.ceiling.load - outcome.knee.load <= max(grain, precision * outcome.knee.load) * 1.0001
    assert len(held) == len(set(held)) < 25
    assert unit == "rate" or all(load == int(load) for load in held)


def test_what_is_too_few_is_passed_by_and_looked_at_again_where_it_matters() -> None:
    held, outcome = search(USERS, lambda load, times: FEW if load < 4 and times < 3 else MET if load < 3 else BROKEN)
    assert held == [1, 2, 4, 3, 3, 3, 2, 2]
    assert (outcome.knee, outcome.ceiling) == (level(2, MET, 3), level(3, BROKEN, 3))
    held, outcome = search(USERS, lambda load, _: FEW if load == 1 else BROKEN)
    assert held == [1, 2, *[1] * 19]
    assert outcome.knee is None


def test_the_lowest_load_and_the_highest() -> None:
    held, outcome = search(RATES, lambda load, _: BROKEN)
    assert held == [1]
    assert outcome.exit_code is ExitCode.PERFORMANCE
    assert "did not meet the conditions even at 1 stream/s" in outcome.sentence
    held, outcome = search(RATES, lambda load, _: MET)
    assert held == [1, 2, 4, 8, 16, 32, 64, 128, 200]
    assert outcome.exit_code is ExitCode.PASSED
    assert "up to 200 streams/s" in outcome.sentence
    assert "more was not tried" in outcome.sentence


def test_where_the_generator_ends_it_that_is_no_knee() -> None:
    _, outcome = search(USERS, lambda load, _: MET if load <= 100 else UNJUDGED)
    assert outcome.knee is not None
    assert outcome.exit_code is ExitCode.INVALID
    assert "met the conditions up to 100 users" in outcome.sentence
    assert "its knee lies higher" in outcome.sentence
    held, outcome = search(USERS, lambda load, _: UNJUDGED)
    assert held == [1, 1, 1]  # what disturbed it may be over
    assert "was not measured" in outcome.sentence
    assert outcome.exit_code is ExitCode.INVALID


@pytest.mark.parametrize(
    ("text", "at", "said"),
    [
        ("ttfc.p95", 0, "not a gate"),
        ("ttfc.p95 < 1s and", 17, "not a gate"),
        ("ttfc.p95 < 1s and authenticity == forwarded", 17, "cannot be decided by a step"),
        ("ttfc.p95 < 1s and ttcf.p50 < 1s", 18, "ttfc"),
        ("real: ttfc.p95 < 1s", 0, "no target"),
    ],
)
def test_conditions_that_no_step_can_decide(text: str, at: int, said: str) -> None:
    with pytest.raises(GateError) as caught:
        conditions_of(text)
    assert caught.value.at == at
    assert said in f"{caught.value} {caught.value.suggestion}"


def test_that_no_stream_fails_need_not_be_said() -> None:
    assert [gate.expr for gate in conditions_of("ttfc.p95 < 1s")] == ["ttfc.p95 < 1s", "error_rate == 0"]
    assert len(conditions_of("ttfc.p95 < 1s and streams.failed < 3")) == 2


def test_a_sweep_of_another_version_is_none() -> None:
    assert Sweep.from_json(json.loads(json.dumps(RATES.to_json()))) == RATES
    for broken in (None, {}, {**RATES.to_json(), "unit": "stars"}, {**RATES.to_json(), "until": "x"}):
        assert Sweep.from_json(broken) is None


# From records


@pytest.fixture
def swept(make_record: MakeRecord, make_run: MakeRun) -> Callable[..., RunData]:
    """A run with a step of a second a load, whose streams have all the same first chunk."""

    def make(*steps: tuple[float, int, float], own_ms: float = 0, failed: int = 0, **facts: Any) -> RunData:
        records: list[StreamRecord] = []
        lines = []
        for place, (load, streams, first_ms) in enumerate(steps):
            begin_ms = 5000 * place
            wait = facts.get("server_wait", {})
            lines.append(Step(load, begin_ms * S // 1000, (begin_ms + 3000) * S // 1000, wait).to_json())
            for i in range(streams):
                bad: dict[str, Any] = {"outcome": Outcome.FAILED, "error": "http_503"} if i < failed * place else {}
                chunks: Sequence[tuple[float, str]] = () if bad else [(first_ms, "a"), (first_ms + 10, "b")]
                own = OwnShare(start_ns=round(own_ms * S / 1000))
                records.append(make_record(chunks, start_ms=begin_ms + i * 2999 / streams, own=own, **bad))
        run = make_run(records)
        run.header["sweep"] = RATES.to_json()
        run.steps = lines
        return run

    return make


def test_each_step_is_judged_by_its_own_streams(swept: Callable[..., RunData]) -> None:
    summary = summarize(swept((10, 30, 100), (20, 60, 900), (21, 63, 1100)))
    outcome = summary.sweep
    assert outcome is not None
    assert [(one.load, one.verdict, one.counts["started"]) for one in outcome.levels] == [
        (10, MET, 30),
        (20, MET, 60),
        (21, BROKEN, 63),
    ]
    assert outcome.complete
    assert [one.good_per_s for one in outcome.levels] == [10, 20, 0]
    said = (
        "t met the conditions up to 20 streams/s (ttfc.p95 900.0 ms, error_rate 0.00%); at 21 streams/s they broke: "
        "ttfc.p95 1,100.0 ms."
    )
    assert outcome.sentence == said == findings_in_words(summary)[0] == summary.to_json()["sweep"]["sentence"]
    assert summary.to_json()["sweep"]["knee"] == 20
    assert summary.exit_code is ExitCode.PASSED
    assert [row[:3] for row in sweep_rows(outcome)][-1] == ("21 streams/s", "broken", "63")


def test_what_breaks_may_be_an_error(swept: Callable[..., RunData]) -> None:
    summary = summarize(swept((10, 30, 100), (10.4, 60, 100), failed=5))
    assert summary.sweep is not None
    assert summary.sweep.sentence.endswith("at 10.4 streams/s they broke: error_rate 8.33%.")
    assert summary.exit_code is ExitCode.PASSED  # a sweep looks for the load at which streams fail


def test_a_step_that_the_generator_was_too_slow_for_is_not_the_targets(swept: Callable[..., RunData]) -> None:
    outcome = summarize(swept((10, 30, 100), own_ms=20)).sweep
    assert outcome is not None
    assert [one.verdict for one in outcome.levels] == [UNJUDGED]
    assert "generator's own doing" in (outcome.levels[0].reason or "")
    # It misses the limit by far more than what may be the generator's.
    outcome = summarize(swept((10, 30, 3000), own_ms=400)).sweep
    assert outcome is not None
    assert [one.verdict for one in outcome.levels] == [BROKEN]


def test_a_step_whose_server_had_no_cpu_shows_the_machine(swept: Callable[..., RunData]) -> None:
    outcome = summarize(swept((10, 30, 3000), server_wait={"chat": 0.9})).sweep
    assert outcome is not None
    assert [(one.verdict, one.reason) for one in outcome.levels] == [
        (UNJUDGED, "the server 'chat' waited 90% of the time for a CPU")
    ]


def test_a_step_that_was_disturbed_does_not_count_once_another_one_was_not(swept: Callable[..., RunData]) -> None:
    run = swept((10, 30, 100), (10, 30, 100))
    for record in run.records[:30]:
        record.own = OwnShare(start_ns=20 * S // 1000)
    outcome = summarize(run).sweep
    assert outcome is not None
    assert [(one.verdict, one.steps, one.spoiled) for one in outcome.levels] == [(MET, 1, 1)]


def test_steps_of_the_same_load_are_one(swept: Callable[..., RunData]) -> None:
    summary = summarize(swept((10, 12, 100), (10, 12, 100)))
    assert summary.sweep is not None
    (one,) = summary.sweep.levels
    assert (one.verdict, one.steps, one.seconds, one.counts["started"]) == (MET, 2, 6.0, 24)


def test_a_sweep_that_was_stopped_says_what_it_had_found(swept: Callable[..., RunData]) -> None:
    run = swept((1, 30, 100), (2, 60, 100), (4, 60, 100))
    run.steps = run.steps[:2]  # the third was not held to its end
    summary = summarize(run)
    assert summary.sweep is not None
    assert not summary.sweep.complete
    assert summary.sweep.sentence.startswith("The sweep was stopped. t met the conditions up to 2 streams/s")
    run.steps = []
    summary = summarize(run)
    assert summary.sweep is not None
    assert summary.sweep.sentence == "The sweep was stopped before its first step ended."
