"""Puts load on the targets and writes a record for every stream that was due.

Every target gets the phases' load at the same time. In the closed model a user's next stream is due when the user has
thought; in the open model streams are due when the arrival process says so, and no server can move that moment.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

from streambench.clock import MonotonicClock
from streambench.drivers.session import SetupError, UserSession, open_session
from streambench.endings import Ending
from streambench.load.arrivals import arrivals_ns
from streambench.load.progress import Progress, TargetProgress
from streambench.load.scenario import Phase, Scenario, Target
from streambench.load.validity import GeneratorFacts
from streambench.record.model import Outcome, StreamRecord
from streambench.record.recorder import Recorder
from streambench.units import NS_PER_MS, NS_PER_S
from streambench.upstream.plans import Plan, marked

PAUSE_AFTER_FAILURE_NS = 100 * NS_PER_MS  # a refused client does not hammer
PAUSE_AFTER_SETUP_FAILURE_NS = NS_PER_S

_clock = MonotonicClock()

Write = Callable[[StreamRecord], Awaitable[None]]


@dataclass(slots=True)
class TargetLoad:
    """What the engine keeps of one target. `plans` by the length of their replies; empty where there is no upstream."""

    target: Target
    plans: Mapping[int | None, Plan]
    progress: TargetProgress
    run_token: str
    number: int = 0
    visits: int = 0  # arrivals of the open model that are at work, setup included
    idle: list[UserSession] = field(default_factory=list)
    users: int = 0

    def next_number(self) -> int:
        self.number += 1
        return self.number - 1

    def user_name(self, number: int) -> str:
        """The name of a simulated user, which no other user of this run or of another one has."""
        return f"{self.run_token}-{self.target.name}-{number}"


@dataclass(slots=True)
class _Turn:
    """When a stream is due, and in which phase."""

    phase: int
    intended_ns: int
    warmup: bool
    user: int | None = None
    iteration: int = 0
    setup_ns: int = 0  # of what passed since the intended start, the server's part


class Engine:
    """Runs the phases of a scenario. `write` takes each finished record; it may take its time, no user waits for it."""

    def __init__(
        self,
        scenario: Scenario,
        plans: Mapping[str, Mapping[int | None, Plan]],
        write: Write,
        progress: Progress,
        facts: GeneratorFacts,
        run_token: str,
    ) -> None:
        self._scenario = scenario
        self._write = write
        self._progress = progress
        self._facts = facts
        self._loads = [
            TargetLoad(target, plans.get(target.name, {}), progress.targets[target.name], run_token)
            for target in scenario.targets
        ]
        self._running: set[asyncio.Task[None]] = set()
        self._writing: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None

    async def run(self, stop: asyncio.Event) -> bool:
        """Run all phases and drain; False where `stop` was set before the end. Every record has been written then.

        What no server can cause, such as a record that cannot be written, sets `stop` and is raised at the end.
        """
        self._stop = stop
        stopping = asyncio.create_task(stop.wait())
        load = asyncio.create_task(self._phases())
        try:
            await asyncio.wait({stopping, load}, return_when=asyncio.FIRST_COMPLETED)
            finished = load.done()
            if finished:
                load.result()
                self._progress.stage = "draining"
                await self._drain(stopping)
                finished = not stopping.done()
        finally:
            self._progress.stage = "ending"
            for task in (stopping, load, *self._running):
                task.cancel()
            await asyncio.gather(stopping, load, *self._running, return_exceptions=True)
            for target_load in self._loads:
                for session in target_load.idle:
                    await session.close()
            if self._writing:
                await asyncio.wait(self._writing)
        if self._failure is not None:
            raise self._failure
        return finished

    async def _drain(self, stopping: asyncio.Task[bool]) -> None:
        """Wait for what is still open, up to the total timeout of a stream."""
        deadline_ns = _clock.now_ns() + self._scenario.timeouts.total_ns
        while self._running and not stopping.done():
            left_s = (deadline_ns - _clock.now_ns()) / NS_PER_S
            if left_s <= 0:
                return
            await asyncio.wait({stopping, *self._running}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)

    async def _phases(self) -> None:
        load = self._scenario.load
        start_ns = self._progress.started_ns = _clock.now_ns()
        durations = [phase.duration_ns for phase in load.phases]
        if None not in durations:
            self._progress.ends_ns = start_ns + load.warmup_ns + sum(duration or 0 for duration in durations)
        for index, phase in enumerate(load.phases):
            warmup_ns = load.warmup_ns if index == 0 else 0
            if phase.is_open:
                await asyncio.gather(*(self._prepare_ahead(target_load, phase) for target_load in self._loads))
            begin_ns = _clock.now_ns()
            self._progress.stage = phase.describe()
            run = self._open_phase if phase.is_open else self._closed_phase
            try:
                await asyncio.gather(
                    *(run(target_load, index, phase, begin_ns, warmup_ns) for target_load in self._loads)
                )
            finally:
                if phase.is_open:
                    self._facts.open_ns += max(0, _clock.now_ns() - begin_ns - warmup_ns)

    # Closed model

    async def _closed_phase(self, load: TargetLoad, index: int, phase: Phase, begin_ns: int, warmup_ns: int) -> None:
        """Users who take turns until the phase ends; those who are in a stream then may finish it."""
        assert phase.users is not None
        judged_ns = begin_ns + warmup_ns
        end_ns = None if phase.duration_ns is None else judged_ns + phase.duration_ns
        quota = _Quota(phase.streams)
        users = [
            self._start(self._user(load, index, phase, number, begin_ns, judged_ns, end_ns, quota))
            for number in range(load.users, load.users + phase.users)
        ]
        load.users += phase.users
        timeout_s = None if end_ns is None else max(0.0, (end_ns - _clock.now_ns()) / NS_PER_S)
        await asyncio.wait(users, timeout=timeout_s)
        if end_ns is not None and not quota.spent:
            await _sleep_until(end_ns)  # who would have thought beyond the end has left already

    async def _user(
        self,
        load: TargetLoad,
        index: int,
        phase: Phase,
        number: int,
        begin_ns: int,
        judged_ns: int,
        end_ns: int | None,
        quota: _Quota,
    ) -> None:
        session = open_session(load.target.spec, {"user": load.user_name(number)})
        due_ns = begin_ns
        iteration = 0
        prepared = False
        try:
            while end_ns is None or due_ns < end_ns:
                await _sleep_until(due_ns)
                turn = _Turn(index, due_ns, due_ns < judged_ns, number, iteration)
                if not turn.warmup and not quota.take():
                    return
                iteration += 1
                pause_ns = phase.think_ns
                if not prepared:
                    prepared = await self._prepared(load, session, turn)
                    if not prepared:
                        due_ns = _clock.now_ns() + max(pause_ns, PAUSE_AFTER_SETUP_FAILURE_NS)
                        continue
                    # The user begins to wait when the prompt can be sent.
                    turn.intended_ns = _clock.now_ns() if load.target.spec.setup_steps else due_ns
                if await self._stream(load, session, turn) is Outcome.FAILED:
                    pause_ns = max(pause_ns, PAUSE_AFTER_FAILURE_NS)
                due_ns = _clock.now_ns() + pause_ns
        finally:
            await session.close()

    async def _prepared(self, load: TargetLoad, session: UserSession, turn: _Turn) -> bool:
        """Do a user's setup; one that fails is recorded as a failed stream."""
        try:
            await session.prepare()
        except SetupError as failure:
            record, recorder, _ = self._open_record(load, turn)
            load.progress.started += 1
            recorder.fail(failure.error, str(failure))
            recorder.end(Ending.NOT_CONNECTED, _clock.now_ns())
            self._finish(load, record)
            return False
        return True

    # Open model

    async def _open_phase(self, load: TargetLoad, index: int, phase: Phase, begin_ns: int, warmup_ns: int) -> None:
        """Start streams when they are due; one that finds `max_active` others at work is dropped, and recorded."""
        judged_ns = begin_ns + warmup_ns
        if warmup_ns and phase.rate_from:
            warmup = replace(phase, rate_to=phase.rate_from, duration_ns=warmup_ns, streams=None)
            for at_ns in arrivals_ns(warmup, self._scenario.seed + 1_000_003):
                await self._arrive(load, phase, _Turn(index, begin_ns + at_ns, warmup=True))
        for at_ns in arrivals_ns(phase, self._scenario.seed + 7919 * index):
            await self._arrive(load, phase, _Turn(index, judged_ns + at_ns, warmup=False))
        if phase.duration_ns is not None:
            await _sleep_until(judged_ns + phase.duration_ns)

    async def _prepare_ahead(self, load: TargetLoad, phase: Phase) -> None:
        """Users whose setup takes time are made ready before they arrive, for about the first second."""
        if not load.target.spec.setup_steps:
            return
        wanted = min(100, math.ceil(max(phase.rate_from or 1, phase.rate_to or 1)) + 1)
        sessions = [self._new_session(load) for _ in range(wanted)]
        results = await asyncio.gather(*(session.prepare() for session in sessions), return_exceptions=True)
        for session, result in zip(sessions, results, strict=True):
            if result is None:
                load.idle.append(session)
            else:
                await session.close()

    def _new_session(self, load: TargetLoad) -> UserSession:
        load.users += 1
        return open_session(load.target.spec, {"user": load.user_name(load.users - 1)})

    async def _arrive(self, load: TargetLoad, phase: Phase, turn: _Turn) -> None:
        await _sleep_until(turn.intended_ns)
        if not turn.warmup:
            self._facts.requested += 1
        if load.visits >= phase.max_active:
            record, _, _ = self._open_record(load, turn)
            record.outcome = Outcome.DROPPED
            record.error_message = f"{phase.max_active:,} streams were open already"
            self._finish(load, record)
            return
        if not turn.warmup:
            self._facts.achieved += 1
        load.visits += 1

        def left(_: asyncio.Task[None]) -> None:
            load.visits -= 1

        self._start(self._visit(load, turn)).add_done_callback(left)

    async def _visit(self, load: TargetLoad, turn: _Turn) -> None:
        """One arrival: a free connection is used again, else a new user comes."""
        if load.idle:
            session = load.idle.pop()
        else:
            session = self._new_session(load)
            began_ns = _clock.now_ns()
            try:
                prepared = await self._prepared(load, session, turn)
                turn.setup_ns = _clock.now_ns() - began_ns
            except asyncio.CancelledError:
                await session.close()
                raise
            if not prepared:
                await session.close()
                return
        try:
            await self._stream(load, session, turn)
        except asyncio.CancelledError:
            await session.close()
            raise
        load.idle.append(session)

    # Both

    def _start(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._writing.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._failure = self._failure or failure
            self._stop.set()

    def _open_record(self, load: TargetLoad, turn: _Turn) -> tuple[StreamRecord, Recorder, str]:
        number = load.next_number()
        prompt = self._scenario.prompts.of_stream(number)
        text, mark = prompt.text, None
        plan = load.plans.get(prompt.tokens)
        if plan is not None:
            mark = plan.mark_of(number)
            text = marked(text, mark)
        spec = load.target.spec
        record = StreamRecord(
            id=f"{spec.name}/{number}",
            target=spec.name,
            dialect=spec.dialect.name,
            intended_ns=turn.intended_ns,
            start_ns=_clock.now_ns(),
            phase=turn.phase,
            user=turn.user,
            iteration=turn.iteration,
            warmup=turn.warmup,
            mark=mark,
        )
        return (
            record,
            Recorder(record, spec.dialect, keep_text=plan is not None, max_events=spec.limits.max_events),
            text,
        )

    async def _stream(self, load: TargetLoad, session: UserSession, turn: _Turn) -> Outcome:
        record, recorder, prompt = self._open_record(load, turn)
        load.progress.started += 1
        load.progress.active += 1
        if not turn.warmup:
            self._facts.start_delays_ns.append(record.start_ns - record.intended_ns - turn.setup_ns)
        try:
            await session.stream(prompt, recorder)
        finally:
            load.progress.active -= 1
            self._finish(load, record)
        return record.outcome

    def _finish(self, load: TargetLoad, record: StreamRecord) -> None:
        load.progress.take(record)
        self._facts.reads += record.reads
        self._facts.coalesced_reads += record.coalesced_reads
        if record.reads:
            self._facts.stamps = record.stamps
        task = asyncio.ensure_future(self._write(record))
        self._writing.add(task)
        task.add_done_callback(self._ended)


class _Quota:
    """How many judged streams the users of a phase may still start together; None: no end."""

    def __init__(self, streams: int | None) -> None:
        self._left = streams

    @property
    def spent(self) -> bool:
        return self._left is not None and self._left <= 0

    def take(self) -> bool:
        if self._left is None:
            return True
        self._left -= 1
        return self._left >= 0


async def _sleep_until(at_ns: int) -> None:
    """Sleep until a moment of the clock; one that has passed still lets others run."""
    await asyncio.sleep(max(0.0, (at_ns - _clock.now_ns()) / NS_PER_S))
