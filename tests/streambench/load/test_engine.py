"""The engine with scripted users in virtual time: who starts when, what is judged, and that nothing is lost."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from streambench.analysis.sweep import Sweep
from streambench.dialects import load_dialect
from streambench.dialects.requests import read_setup_step
from streambench.drivers.failures import SetupError
from streambench.drivers.target import TargetSpec
from streambench.endings import Ending, ErrorClass
from streambench.errors import ConfigurationError
from streambench.load.engine import Engine
from streambench.load.executors import users
from streambench.load.executors.closed import ClosedPhase
from streambench.load.executors.open import OpenPhase
from streambench.load.executors.steps import StepsPhase
from streambench.load.executors.sweep import SweepPhase
from streambench.load.executors.trace import TracePhase
from streambench.load.phase import Phase
from streambench.load.phases import Load
from streambench.load.progress import Progress, TargetProgress
from streambench.load.prompts import Prompt, Prompts
from streambench.load.scenario import Scenario
from streambench.load.segment import WHOLE, Segment
from streambench.load.targets import Target
from streambench.load.validity import GeneratorFacts
from streambench.located import read_yaml
from streambench.record.model import Outcome, StreamRecord
from streambench.record.recorder import Recorder
from streambench.transport.target import Endpoint, Timeouts
from streambench.upstream.plans import Plan
from streambench.wire.message import WireMessage

S = 1_000_000_000
DIALECT = load_dialect("chat-stream")
SETUP = (read_setup_step(read_yaml("{method: POST, path: /x}", "t"), "sse", ()),)


@pytest.fixture(autouse=True)
def _together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users come at the same moment, so that times are round; that they come apart has a test of its own."""
    monkeypatch.setattr(users, "COMING_APART_NS", 0)


@dataclass
class Script:
    """What the users of a run do: each reply takes `reply_s`, and `prepare_s` is their setup."""

    reply_s: float | Callable[[int], float] = 0.1
    prepare_s: float = 0.0
    refuse_setup: Callable[[int], bool] = lambda number: False
    refuse: Callable[[int], bool] = lambda number: False
    raises: BaseException | None = None
    prompts: list[str] = field(default_factory=list)
    users: list[ScriptedUser] = field(default_factory=list)
    most_at_once: int = 0
    at_once: int = 0

    def open(self, spec: TargetSpec, variables: Mapping[str, str]) -> ScriptedUser:
        user = ScriptedUser(self, dict(variables), len(self.users))
        self.users.append(user)
        return user


@dataclass
class ScriptedUser:
    script: Script
    variables: dict[str, str]
    number: int
    connected: int = 0
    prepared: int = 0
    closed: bool = False

    def now_ns(self) -> int:
        loop: Any = asyncio.get_running_loop()
        return int(loop.now_ns())

    async def connect(self) -> None:
        self.connected += 1

    async def prepare(self) -> None:
        await asyncio.sleep(self.script.prepare_s)
        self.prepared += 1
        if self.script.refuse_setup(self.number):
            raise SetupError("http_401", "who are you")

    async def stream(self, prompt: str, recorder: Recorder) -> None:
        script = self.script
        assert not self.closed
        number = len(script.prompts)
        script.prompts.append(prompt)
        if script.raises is not None:
            raise script.raises
        script.at_once += 1
        script.most_at_once = max(script.most_at_once, script.at_once)
        try:
            await asyncio.sleep(script.reply_s(number) if callable(script.reply_s) else script.reply_s)
            if script.refuse(number):
                recorder.fail("http_503", "busy")
            else:
                recorder.read(self.now_ns(), 10, kernel=True)
                for payload in ({"content": "Hello"}, {"done": True}):
                    recorder.message(WireMessage(json.dumps(payload), 0), self.now_ns())
            recorder.end(Ending.RESPONSE_END, self.now_ns())
        except asyncio.CancelledError:
            recorder.censor(self.now_ns())
            raise
        finally:
            script.at_once -= 1

    async def close(self) -> None:
        self.closed = True


@dataclass
class Ran:
    """What came of a run. Times in seconds from its beginning."""

    finished: bool
    records: list[StreamRecord]
    script: Script
    facts: GeneratorFacts
    progress: Progress
    start_ns: int
    took_s: float

    def intended(self, **wanted: Any) -> list[float]:
        """When the judged streams were due, rounded to a microsecond."""
        chosen = [r for r in self.records if all(getattr(r, name) == value for name, value in wanted.items())]
        return sorted(round((record.intended_ns - self.start_ns) / S, 6) for record in chosen)

    def outcomes(self) -> dict[str, int]:
        return dict(Counter(str(record.outcome) for record in self.records))


@pytest.fixture
def run(virtual_time: Callable[..., Any]) -> Callable[..., Ran]:
    def make(
        *phases: Phase,
        script: Script | None = None,
        warmup_s: float = 0,
        stop_after_s: float | None = None,
        setup: bool = False,
        targets: Sequence[str] = ("t",),
        prompts: Sequence[Prompt] = (Prompt("hi"),),
        plans: Mapping[int | None, Plan] | None = None,
        total_s: float = 120,
        write: Callable[[StreamRecord], None] | None = None,
        steps: Any = None,
        during: Mapping[float, Callable[[Engine], None]] | None = None,
        task_factory: Any = None,
        segment: Segment = WHOLE,
    ) -> Ran:
        script = script or Script()
        records: list[StreamRecord] = []
        facts = GeneratorFacts()

        async def keep(record: StreamRecord) -> None:
            await asyncio.sleep(0.5)  # the upstream's journal is asked first
            if write is not None:
                write(record)
            records.append(record)

        async def go(loop: Any) -> Ran:
            loop.set_task_factory(task_factory)
            endpoint = Endpoint("http://127.0.0.1:9/")
            specs = [TargetSpec(name, DIALECT, endpoint, setup=SETUP if setup else ()) for name in targets]
            scenario = Scenario(
                name="s",
                path="s.yaml",
                content_hash="",
                targets=tuple(Target(spec, "http://u" if plans else None) for spec in specs),
                prompts=Prompts(tuple(prompts)),
                load=Load(phases, round(warmup_s * S)),
                timeouts=Timeouts(total_ns=round(total_s * S)),
            )
            progress = Progress({name: TargetProgress() for name in targets})
            stop = asyncio.Event()
            if stop_after_s is not None:
                loop.call_later(stop_after_s, stop.set)
            start_ns = loop.now_ns()
            engine = Engine(
                scenario,
                dict.fromkeys(targets, plans or {}),
                keep,
                progress,
                facts,
                "run",
                clock=loop,
                open_session=script.open,
                segment=segment,
                steps=steps,
            )
            for at_s, act in (during or {}).items():
                loop.call_later(at_s, act, engine)
            finished = await engine.run(stop)
            took_s = (loop.now_ns() - start_ns) / S
            assert all(user.closed for user in script.users)
            assert script.at_once == 0
            return Ran(finished, records, script, facts, progress, start_ns, took_s)

        return virtual_time(go)  # type: ignore[no-any-return]

    return make


Run = Callable[..., Ran]


def seconds(value: float) -> int:
    return round(value * S)


# Closed model


@pytest.mark.parametrize("users", [1, 3, 7, 20])
def test_users_share_the_number_of_streams(run: Run, users: int) -> None:
    ran = run(ClosedPhase(users=users, streams=7))
    assert ran.finished
    assert ran.outcomes() == {"completed": 7}
    assert len({record.id for record in ran.records}) == 7
    assert ran.script.most_at_once == min(users, 7)


def test_a_user_thinks_between_two_streams(run: Run) -> None:
    ran = run(ClosedPhase(users=1, streams=3, think_ns=2 * S))
    assert ran.intended() == [0, 2.1, 4.2]
    assert [record.iteration for record in ran.records] == [0, 1, 2]
    assert all(record.start_ns == record.intended_ns for record in ran.records)
    assert [user.prepared for user in ran.script.users] == [1]


def test_users_have_names_of_their_own_and_keep_their_connection(run: Run) -> None:
    ran = run(ClosedPhase(users=4, duration_ns=S), targets=("a", "b"))
    names = [user.variables["user"] for user in ran.script.users]
    assert len(set(names)) == 8
    assert {record.user for record in ran.records if record.target == "a"} == {0, 1, 2, 3}


def test_a_phase_ends_after_its_time_and_streams_in_it_may_finish(run: Run) -> None:
    ran = run(ClosedPhase(users=2, duration_ns=S), script=Script(reply_s=0.7))
    assert ran.intended() == [0, 0, 0.7, 0.7]
    assert ran.outcomes() == {"completed": 4}
    assert ran.took_s == pytest.approx(1.4 + 0.5, abs=0.01)


def test_the_next_phase_begins_on_time_whatever_the_last_one_left(run: Run) -> None:
    ran = run(ClosedPhase(users=1, duration_ns=S), ClosedPhase(users=1, streams=1), script=Script(reply_s=5))
    assert ran.intended(phase=0) == [0]
    assert ran.intended(phase=1) == [1]


def test_a_phase_takes_its_time_even_if_everybody_thinks_beyond_its_end(run: Run) -> None:
    thinking = ClosedPhase(users=2, duration_ns=5 * S, think_ns=60 * S)
    ran = run(thinking, ClosedPhase(users=1, streams=1))
    assert ran.intended(phase=1) == [5]
    # A number of streams ends it earlier.
    ran = run(ClosedPhase(users=2, duration_ns=50 * S, streams=2), ClosedPhase(users=1, streams=1))
    assert ran.intended(phase=1) == [0.1]


def test_what_failed_is_not_hammered(run: Run) -> None:
    ran = run(ClosedPhase(users=1, duration_ns=S), script=Script(reply_s=0, refuse=lambda number: True))
    assert ran.outcomes() == {"failed": 10}
    assert ran.progress.targets["t"].errors == {"http_503": 10}


def test_a_failed_setup_is_a_failed_stream_and_is_tried_again(run: Run) -> None:
    tries = iter([True, True, True, False])  # the first one before the phase, which is nobody's stream
    script = Script(refuse_setup=lambda number: next(tries))
    ran = run(ClosedPhase(users=1, streams=4), script=script, setup=True)
    assert ran.outcomes() == {"failed": 2, "completed": 2}
    assert [(r.error, r.ending) for r in ran.records[:2]] == [("http_401", Ending.NOT_CONNECTED)] * 2
    assert ran.intended() == [0, 1, 2, 2.1]


def test_users_do_their_setup_before_the_phase_begins(run: Run) -> None:
    """And all of them together: 150 users take as long as two groups of a hundred at most."""
    ran = run(ClosedPhase(users=150, streams=150), script=Script(prepare_s=3), setup=True)
    assert min(ran.intended()) == 6
    assert ran.facts.start_delays_ns == [0] * 150
    assert all((user.prepared, user.connected) == (1, 1) for user in ran.script.users)


def test_a_user_who_comes_later_begins_to_wait_when_setup_is_done(run: Run) -> None:
    ran = run(StepsPhase((1, 2), 10 * S, think_ns=5 * S), script=Script(prepare_s=3), setup=True)
    assert ran.intended(user=0, iteration=0) == [3]
    assert ran.intended(user=1, iteration=0) == [16]
    assert set(ran.facts.start_delays_ns) == {0}


def test_stopping_while_users_do_their_setup_closes_them(run: Run) -> None:
    ran = run(ClosedPhase(users=3, streams=3), script=Script(prepare_s=1000), setup=True, stop_after_s=5)
    assert not ran.finished
    assert ran.records == []


# Open model


def test_streams_start_when_they_are_due_however_slow_the_server_is(run: Run) -> None:
    ran = run(OpenPhase(rate_from=10, rate_to=10, duration_ns=2 * S), script=Script(reply_s=30))
    assert ran.intended() == pytest.approx([i / 10 for i in range(20)])
    assert ran.outcomes() == {"completed": 20}
    assert ran.script.most_at_once == 20
    assert max(ran.facts.start_delays_ns) < 1000  # ns: nobody waited for a server
    assert (ran.facts.requested, ran.facts.achieved) == (20, 20)
    assert ran.facts.open_ns == pytest.approx(2 * S, rel=1e-6)


def test_a_free_connection_is_used_again(run: Run) -> None:
    ran = run(OpenPhase(rate_from=10, rate_to=10, duration_ns=2 * S), script=Script(reply_s=0.25))
    assert len(ran.script.users) == 3
    assert all(user.prepared == 1 for user in ran.script.users)


def test_who_finds_too_many_at_work_is_dropped_and_recorded(run: Run) -> None:
    ran = run(OpenPhase(rate_from=10, rate_to=10, duration_ns=S, max_active=3), script=Script(reply_s=0.35))
    # In each 0.4 s three arrive and one is turned away: 0 1 2 (3) 4 5 6 (7) 8 9.
    assert ran.outcomes() == {"completed": 8, "dropped": 2}
    assert ran.intended(outcome=Outcome.DROPPED) == pytest.approx([0.3, 0.7])
    assert (ran.facts.requested, ran.facts.achieved) == (10, 8)
    assert ran.progress.targets["t"].dropped == 2
    assert len(ran.facts.start_delays_ns) == 8


def test_a_server_that_never_finishes_the_setup_gets_no_more_users_than_allowed(run: Run) -> None:
    script = Script(prepare_s=1000)
    ran = run(
        OpenPhase(rate_from=10, rate_to=10, duration_ns=5 * S, max_active=4), script=script, total_s=10, stop_after_s=20
    )
    assert len(script.users) == 4
    assert ran.outcomes()["dropped"] == 46


def test_arrivals_that_chance_made_fewer_are_no_failure_of_the_generator(run: Run) -> None:
    for arrivals in ("poisson", "gamma"):
        ran = run(OpenPhase(rate_from=5, rate_to=5, arrivals=arrivals, cv=3, duration_ns=2 * S))
        assert ran.facts.requested == ran.facts.achieved == len(ran.records)


def test_users_are_made_ready_before_the_first_arrival(run: Run) -> None:
    ran = run(OpenPhase(rate_from=3, rate_to=3, streams=6), script=Script(prepare_s=7), setup=True)
    assert ran.intended()[0] == 7
    assert max(ran.facts.start_delays_ns) < 1000
    assert ran.outcomes() == {"completed": 6}


def test_a_failed_setup_of_an_arrival_is_a_failed_stream(run: Run) -> None:
    ran = run(OpenPhase(rate_from=1, rate_to=1, streams=3), script=Script(refuse_setup=lambda number: True), setup=True)
    assert ran.outcomes() == {"failed": 3}
    assert {record.error for record in ran.records} == {"http_401"}


def test_every_target_gets_the_same_load(run: Run) -> None:
    ran = run(OpenPhase(rate_from=20, rate_to=20, arrivals="poisson", duration_ns=2 * S), targets=("a", "b"))
    assert ran.intended(target="a") == ran.intended(target="b")
    assert len(ran.intended(target="a")) > 10


def test_a_trace_is_replayed(run: Run) -> None:
    ran = run(TracePhase((0, seconds(0.5), seconds(0.5), 3 * S)))
    assert ran.intended() == [0, 0.5, 0.5, 3]


# Warm-up


@pytest.mark.parametrize(
    ("phase", "warm", "judged"),
    [
        (ClosedPhase(users=1, duration_ns=S, think_ns=seconds(0.4)), [0, 0.5, 1, 1.5], [2, 2.5]),
        # The number of streams is of the judged ones.
        (ClosedPhase(users=1, streams=2, think_ns=seconds(0.9)), [0, 1], [2, 3]),
        (OpenPhase(rate_from=2, rate_to=2, duration_ns=S), [0, 0.5, 1, 1.5], [2, 2.5]),
        (OpenPhase(rate_from=1, rate_to=1, streams=3), [0, 1], [2, 3, 4]),
        # A ramp is warmed up at the rate with which it begins; one that begins with nothing, not at all.
        (OpenPhase(rate_from=1, rate_to=3, duration_ns=S), [0, 1], [2, 2.618034]),
        (OpenPhase(rate_from=0, rate_to=4, duration_ns=S), [], [2, 2.707107]),
    ],
)
def test_the_warm_up_comes_before_and_is_marked(run: Run, phase: Phase, warm: list[float], judged: list[float]) -> None:
    ran = run(phase, warmup_s=2)
    assert ran.intended(warmup=True) == pytest.approx(warm)
    assert ran.intended(warmup=False) == pytest.approx(judged)
    assert len(ran.facts.start_delays_ns) == len(judged)
    if phase.is_open:
        assert ran.facts.requested == len(judged)


def test_only_the_first_phase_is_warmed_up(run: Run) -> None:
    phase = ClosedPhase(users=1, duration_ns=S, think_ns=seconds(0.9))
    ran = run(phase, phase, warmup_s=1)
    assert ran.intended(warmup=True) == [0]
    assert ran.intended(warmup=False) == [1, 2]


# Stopping


@pytest.mark.parametrize(
    "phase", [ClosedPhase(users=3, duration_ns=60 * S), OpenPhase(rate_from=3, rate_to=3, duration_ns=60 * S)]
)
def test_a_stop_censors_what_is_open_and_loses_nothing(run: Run, phase: Phase) -> None:
    ran = run(phase, script=Script(reply_s=lambda number: 0.1 if number < 3 else 1000), stop_after_s=2.05)
    assert not ran.finished
    assert ran.outcomes() == {"completed": 3, "censored": 4 if phase.is_open else 3}
    assert all(record.end_ns is not None and record.ending is not None for record in ran.records)
    assert len(ran.records) == len(ran.script.prompts)
    assert ran.took_s == pytest.approx(2.05 + 0.5, abs=0.01)
    assert ran.progress.targets["t"].active == 0


def test_what_does_not_end_is_drained_up_to_the_timeout_of_a_stream(run: Run) -> None:
    ran = run(ClosedPhase(users=2, duration_ns=S), script=Script(reply_s=1000), total_s=10)
    assert ran.finished
    assert ran.outcomes() == {"censored": 2}
    assert ran.took_s == pytest.approx(1 + 10 + 0.5, abs=0.01)


def test_a_stop_while_draining_ends_it(run: Run) -> None:
    ran = run(ClosedPhase(users=2, duration_ns=S), script=Script(reply_s=1000), stop_after_s=3)
    assert not ran.finished
    assert ran.outcomes() == {"censored": 2}


# Prompts and marks


def test_prompts_are_used_in_turn(run: Run) -> None:
    ran = run(ClosedPhase(users=1, streams=5), prompts=(Prompt("a"), Prompt("b")))
    assert ran.script.prompts == ["a", "b", "a", "b", "a"]
    assert all(record.mark is None and record.text is None for record in ran.records)


def test_marks_tell_the_streams_of_a_two_sided_target_apart(run: Run) -> None:
    plans: dict[int | None, Plan] = {10: Plan("short"), None: Plan("usual")}
    ran = run(ClosedPhase(users=2, streams=4), prompts=(Prompt("a", 10), Prompt("b")), plans=plans)
    assert sorted(ran.script.prompts) == [
        "a [[sb:short.0]]",
        "a [[sb:short.2]]",
        "b [[sb:usual.1]]",
        "b [[sb:usual.3]]",
    ]
    assert {record.mark for record in ran.records} == {"short.0", "usual.1", "short.2", "usual.3"}
    assert {record.text for record in ran.records} == {"Hello"}


# What no server can cause


@pytest.mark.parametrize(
    "phase", [ClosedPhase(users=2, duration_ns=60 * S), OpenPhase(rate_from=5, rate_to=5, duration_ns=60 * S)]
)
def test_a_mistake_of_our_own_ends_the_run_at_once_and_is_raised(run: Run, phase: Phase) -> None:
    with pytest.raises(ZeroDivisionError):
        run(phase, script=Script(raises=ZeroDivisionError("ours")))


def test_a_record_that_cannot_be_written_is_not_lost_in_silence(run: Run) -> None:
    def write(record: StreamRecord) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        run(ClosedPhase(users=2, duration_ns=60 * S), write=write)
    with pytest.raises(OSError, match="No space left"):  # also where it is the last one
        run(ClosedPhase(users=1, streams=1), write=write)


def test_progress_counts_what_happens(run: Run) -> None:
    script = Script(reply_s=0.1, refuse=lambda number: number == 1)
    ran = run(ClosedPhase(users=1, streams=3), script=script)
    seen = ran.progress.targets["t"]
    assert (seen.started, seen.completed, seen.failed, seen.active) == (3, 2, 1, 0)
    assert list(seen.ttfc_ms) == pytest.approx([100, 100])
    assert ran.facts.reads == 2
    assert (ran.facts.reads > 0, ran.facts.user_reads) == (True, 0)
    assert replace(ran.records[0]).outcome is Outcome.COMPLETED
    assert ErrorClass.SETUP not in seen.errors


# Steps, and other sizes while it runs


def users_at(ran: Ran, at_s: float) -> int:
    """How many users were in a stream at a moment."""
    moment_ns = ran.start_ns + seconds(at_s)
    return sum(r.start_ns <= moment_ns < (r.end_ns or 0) for r in ran.records)


def test_users_come_and_go_at_each_step(run: Run) -> None:
    ran = run(StepsPhase((2, 5, 1), 10 * S))
    assert [users_at(ran, at_s) for at_s in (5, 9.95, 10.05, 15, 20.15, 25, 29.95)] == [2, 2, 5, 5, 1, 1, 1]
    assert ran.outcomes() == {"completed": 2 * 100 + 5 * 100 + 100}
    assert len(ran.script.users) == 5  # who stays keeps its connection
    assert max(ran.intended()) < 30
    assert ran.finished


def test_the_first_step_is_warmed_up(run: Run) -> None:
    ran = run(StepsPhase((1, 2), 2 * S, think_ns=seconds(0.9)), warmup_s=3)
    assert ran.intended(warmup=True) == [0, 1, 2]
    assert ran.intended(warmup=False, user=0) == [3, 4, 5, 6]
    assert ran.intended(warmup=False, user=1) == [5, 6]


def test_who_must_go_finishes_first_and_nothing_is_lost(run: Run) -> None:
    ran = run(
        ClosedPhase(users=3, duration_ns=10 * S),
        script=Script(reply_s=4),
        during={5: lambda engine: engine.executors["t"].resize(1)},
    )
    assert ran.outcomes() == {"completed": 3 + 3 + 1}
    assert [users_at(ran, at_s) for at_s in (5.5, 7.5, 8.5)] == [3, 3, 1]
    assert ran.intended(user=2) == [0, 4]  # the last to come is the first to go


def test_who_must_go_at_once_is_recorded_as_censored(run: Run) -> None:
    ran = run(
        ClosedPhase(users=3, duration_ns=10 * S),
        script=Script(reply_s=4),
        during={5: lambda engine: engine.executors["t"].resize(1, at_once=True)},
    )
    assert ran.outcomes() == {"completed": 3 + 2, "censored": 2}
    assert users_at(ran, 5.5) == 1
    assert len(ran.records) == len(ran.script.prompts)


def test_who_thinks_goes_at_once_and_who_comes_begins_at_once(run: Run) -> None:
    ran = run(
        ClosedPhase(users=3, duration_ns=10 * S, think_ns=60 * S),
        during={
            2: lambda engine: engine.executors["t"].resize(1),
            3: lambda engine: engine.executors["t"].resize(2),
        },
    )
    assert ran.intended() == [0, 0, 0, 3]
    assert {record.user for record in ran.records} == {0, 1, 2, 3}
    assert ran.took_s == pytest.approx(10 + 0.0, abs=0.01)


def test_a_phase_of_streams_waits_for_users_who_come_back(run: Run) -> None:
    def resize(users: int) -> Callable[[Engine], None]:
        return lambda engine: engine.executors["t"].resize(users)

    ran = run(ClosedPhase(users=2, streams=10), during={0.25: resize(0), 5: resize(5)})
    assert ran.outcomes() == {"completed": 10}
    assert ran.intended() == pytest.approx([0, 0, 0.1, 0.1, 0.2, 0.2, 5, 5, 5, 5])


def test_a_rate_changes_and_no_arrival_is_lost_or_made_twice(run: Run) -> None:
    sizes: list[float] = []

    def resize(rate: float) -> Callable[[Engine], None]:
        def act(engine: Engine) -> None:
            engine.executors["t"].resize(rate)
            sizes.append(engine.executors["t"].size)

        return act

    ran = run(
        OpenPhase(rate_from=2, rate_to=2, duration_ns=10 * S),
        during={1.25: resize(10), 1.95: resize(0), 5: resize(1)},
    )
    # Halfway between two arrivals the other half of the distance is left, at the new rate.
    assert ran.intended() == pytest.approx(
        [0, 0.5, 1, 1.3, 1.4, 1.5, 1.6, 1.7, 1.8, 1.9, 5.5, 6.5, 7.5, 8.5, 9.5], abs=1e-6
    )
    assert sizes == [10, 0, 1]
    assert ran.facts.requested == ran.facts.achieved == 15
    assert ran.took_s == pytest.approx(10.5, abs=0.6)


def test_a_random_process_goes_on_where_it_was(run: Run) -> None:
    def thrice(engine: Engine) -> None:
        engine.executors["t"].resize(30)

    plain = run(OpenPhase(10, 10, "poisson", duration_ns=4 * S))
    faster = run(OpenPhase(10, 10, "poisson", duration_ns=4 * S), during={1: thrice})
    shared = sum(at_s < 1 for at_s in plain.intended())
    assert plain.intended()[:shared] == faster.intended()[:shared]
    expected = [1 + (at_s - 1) / 3 for at_s in plain.intended()[shared:]]
    assert faster.intended()[shared : len(plain.intended())] == pytest.approx(expected, abs=1e-5)


def test_a_warm_up_can_be_resized_and_the_phase_goes_on_from_there(run: Run) -> None:
    ran = run(
        OpenPhase(1, 1, duration_ns=2 * S), warmup_s=2, during={1: lambda engine: engine.executors["t"].resize(4)}
    )
    assert ran.intended(warmup=False) == pytest.approx([2 + i / 4 for i in range(8)], abs=1e-6)


@pytest.mark.parametrize(
    ("phase", "size"),
    [
        (ClosedPhase(users=1, duration_ns=S), 2.5),
        (ClosedPhase(users=1, duration_ns=S), -1),
        (StepsPhase((1,), S), 10**6),
        (OpenPhase(1, 1, duration_ns=S), -1),
        (OpenPhase(1, 1, duration_ns=S), float("nan")),
        (TracePhase((0, S)), 1),
    ],
)
def test_a_size_that_a_phase_cannot_have_is_refused(run: Run, phase: Phase, size: float) -> None:
    def resize(engine: Engine) -> None:
        with pytest.raises(ConfigurationError):
            engine.executors["t"].resize(size)
        asked.append(size)

    asked: list[float] = []
    run(phase, during={0.5: resize})
    assert asked


def test_users_begin_evenly_over_the_ramp(run: Run) -> None:
    """They are due when they begin, so nobody waits in the figures for the others."""
    phase = ClosedPhase(users=8, duration_ns=10 * S, think_ns=20 * S, ramp_up_ns=4 * S)
    ran = run(phase)
    assert ran.intended() == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5]
    assert {user.connected for user in ran.script.users} == {1}
    shared = [run(phase, segment=Segment(index, 3)) for index in range(3)]
    assert sorted(at for ran in shared for at in ran.intended()) == ran.intended()


# Several workers


@pytest.mark.parametrize("of", [2, 3])
def test_workers_send_together_what_one_would_send(run: Run, of: int) -> None:
    """Streams have the same numbers, so the same prompts, in every phase."""
    phases = [
        ClosedPhase(users=4, streams=11),
        OpenPhase(7, 20, "poisson", duration_ns=2 * S),
        TracePhase((0, S, S, 2 * S)),
        ClosedPhase(users=3, streams=5),
    ]

    def streams(*runs: Ran) -> list[tuple[int, str]]:
        return sorted((record.phase, record.id) for ran in runs for record in ran.records)

    alone = run(*phases)
    together = [run(*phases, segment=Segment(index, of)) for index in range(of)]
    assert streams(*together) == streams(alone)
    for index, ran in enumerate(together):
        assert {record.user for record in ran.records if record.phase == 0} == set(range(index, 4, of))


def test_arrivals_are_due_when_they_would_be_due_for_one_worker(run: Run) -> None:
    phase = OpenPhase(50, 50, "gamma", 3.0, duration_ns=4 * S)
    alone = run(phase, warmup_s=1)
    together = [run(phase, warmup_s=1, segment=Segment(index, 3)) for index in range(3)]
    assert sorted(at for ran in together for at in ran.intended()) == alone.intended()
    assert sum(ran.facts.requested for ran in together) == alone.facts.requested


def test_users_come_and_go_at_their_own_worker(run: Run) -> None:
    phase = StepsPhase((3, 1, 4), hold_ns=2 * S)
    together = [run(phase, segment=Segment(index, 2)) for index in range(2)]
    assert [ran.script.most_at_once for ran in together] == [2, 2]
    assert {record.user for record in together[0].records} == {0, 2, 4}
    assert not [at for at in together[1].intended() if 2 < at < 4]  # the one user of the second step is the other's


# Work


class CountingTask(asyncio.Task[Any]):
    """Counts who asks to be told of a task's end: the work of waiting."""

    asked = 0

    def add_done_callback(self, fn: Any, /, *, context: Any = None) -> None:
        CountingTask.asked += 1
        super().add_done_callback(fn, context=context)


@pytest.mark.parametrize("phase", ["closed", "open"])
def test_a_drain_takes_one_step_for_each_stream(run: Run, phase: str) -> None:
    def work(streams: int) -> float:
        CountingTask.asked = 0
        # Each ends at a moment of its own: whoever looks at all of them each time looks streams² times.
        script = Script(reply_s=lambda number: 2 + number / 1000)
        chosen: Phase = ClosedPhase(users=streams, duration_ns=S)
        if phase == "open":
            chosen = OpenPhase(streams, streams, duration_ns=S)
        ran = run(chosen, script=script, task_factory=lambda loop, coro, **kw: CountingTask(coro, loop=loop, **kw))
        assert ran.outcomes() == {"completed": streams}
        return CountingTask.asked / streams

    assert work(800) <= work(100) * 1.1


def test_users_come_one_after_the_other_as_fast_as_they_can_be_started(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users, "COMING_APART_NS", S // 1000)
    ran = run(ClosedPhase(4, None, 4, 0))
    assert ran.intended() == [0, 0.001, 0.002, 0.003]


def test_a_trace_that_tells_lengths_orders_replies_of_these(run: Run) -> None:
    plans = {tokens: Plan(f"p{tokens}", 0, tokens, None, ()) for tokens in (None, 7, 9)}
    ran = run(TracePhase((0, S, 2 * S), tokens=(9, 7, 9)), plans=plans)
    marks = [record.mark for record in sorted(ran.records, key=lambda record: record.intended_ns)]
    assert [mark.partition(".")[0] if mark else None for mark in marks] == ["p9", "p7", "p9"]


# A sweep


class Loads:
    """Says which loads are held, and keeps when that was."""

    def __init__(self, *loads: float) -> None:
        self._loads = list(loads)
        self.held: list[tuple[int, int] | None] = []

    async def next(self, held_ns: tuple[int, int] | None) -> float | None:
        self.held.append(held_ns)
        return self._loads.pop(0) if self._loads else None

    async def begin(self) -> int:
        return int(asyncio.get_running_loop().now_ns())  # type: ignore[attr-defined]


@pytest.mark.parametrize("unit", ["rate", "users"])
def test_each_step_of_a_sweep_begins_when_all_streams_of_the_one_before_have_ended(run: Run, unit: Any) -> None:
    loads = Loads(2, 4, 3)
    sweep = Sweep(unit, 1, 10, "ttfc.p95 < 1s", 0.05, 2 * S)
    ran = run(SweepPhase(sweep), script=Script(reply_s=1.5), warmup_s=2, steps=loads)
    assert loads.held[0] is None
    windows = [held for held in loads.held if held is not None]
    assert [end - begin for begin, end in windows] == [2 * S] * 3
    for (begin_ns, end_ns), load in zip(windows, (2, 4, 3), strict=True):
        own = [record for record in ran.records if begin_ns <= record.intended_ns < end_ns]
        assert (len(own) == load * 2) if unit == "rate" else (len({record.user for record in own}) == load)
        assert not any(record.warmup for record in own)
        assert not [r for r in ran.records if r.start_ns < begin_ns < (r.end_ns or 0) and not r.warmup]
    warm = [record for record in ran.records if record.warmup]
    assert warm
    assert all(record.intended_ns < windows[0][0] for record in warm)
    assert ran.facts.swept


def test_a_sweep_cannot_be_resized(run: Run) -> None:
    def harder(engine: Engine) -> None:
        assert engine.executors["t"].size == 2
        with pytest.raises(ConfigurationError, match="by itself"):
            engine.executors["t"].resize(5)

    run(SweepPhase(Sweep("rate", 1, 10, "ttfc.p95 < 1s", 0.05, 2 * S)), during={1: harder}, steps=Loads(2))
