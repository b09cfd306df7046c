"""The load on one target: who its users are, and a record for every stream that was due."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from streambench.clock import Clock
from streambench.drivers.failures import SetupError
from streambench.drivers.target import TargetSpec
from streambench.drivers.users import UserSession
from streambench.endings import Ending
from streambench.load.progress import TargetProgress
from streambench.load.prompts import Prompts
from streambench.load.segment import WHOLE, Segment
from streambench.load.streams import begin_stream
from streambench.load.targets import Target
from streambench.load.tasks import Tasks
from streambench.load.validity import GeneratorFacts
from streambench.record.model import Outcome, StreamRecord
from streambench.record.recorder import Recorder
from streambench.upstream.plans import Plan

Write = Callable[[StreamRecord], Awaitable[None]]
Listen = Callable[[Recorder], None]
OpenSession = Callable[[TargetSpec, Mapping[str, str]], UserSession]


@dataclass(slots=True)
class Iteration:
    """One stream of a user: when it is due, in which phase, and which one of its user it is.

    `setup_ns`: of what passed since it was due, the server's part. `tokens`: how many its reply has, where that is not
    its prompt's affair.
    """

    phase: int
    intended_ns: int
    warmup: bool
    user: int | None = None
    number: int = 0
    setup_ns: int = 0
    tokens: int | None = None


class TargetLoad:
    """What all phases share of one target.

    `plans` are by the length of their replies, empty where there is no upstream. `idle` are users of the open model
    who wait for the next arrival, `visits` those who are at work, setup included. Streams and users are numbered from
    `first_number`, so that several loads can follow each other with the same plans; where several workers share the
    run, with the numbers of the `segment`. `dealt` is how many streams have been dealt out to all of them.
    """

    def __init__(
        self,
        target: Target,
        prompts: Prompts,
        plans: Mapping[int | None, Plan],
        progress: TargetProgress,
        facts: GeneratorFacts,
        tasks: Tasks,
        write: Write,
        run_token: str,
        clock: Clock,
        open_session: OpenSession,
        first_number: int = 0,
        listen: Listen | None = None,
        segment: Segment = WHOLE,
    ) -> None:
        self.target = target
        self.segment = segment
        self.dealt = 0
        self.facts = facts
        self.tasks = tasks
        self.clock = clock
        self.idle: list[UserSession] = []
        self.visits = 0
        self._prompts = prompts
        self._plans = plans
        self._progress = progress
        self._write = write
        self._run_token = run_token
        self._open_session = open_session
        self._listen = listen
        self._streams = first_number + segment.index
        self._users = first_number + segment.index

    @property
    def next_number(self) -> int:
        """A number that no stream and no user has had."""
        return max(self._streams, self._users)

    def new_user(self) -> tuple[int, UserSession]:
        """The next simulated user and its number; no other user of this run or of another one has its name."""
        number = self._users
        self._users += self.segment.of
        name = f"{self._run_token}-{self.target.name}-{number}"
        return number, self._open_session(self.target.spec, {"user": name})

    async def prepared(self, session: UserSession, iteration: Iteration) -> bool:
        """Do a user's setup; one that fails is recorded as a failed stream."""
        try:
            await session.prepare()
        except SetupError as failure:
            record, recorder, _ = self._begin(iteration)
            self._progress.started += 1
            recorder.fail(failure.error, str(failure))
            recorder.end(Ending.NOT_CONNECTED, self.clock.now_ns())
            self._finish(record)
            return False
        return True

    async def stream(self, session: UserSession, iteration: Iteration) -> Outcome:
        """One stream from its prompt to its record. A cancelled one is recorded as censored."""
        record, recorder, prompt = self._begin(iteration)
        self._progress.started += 1
        self._progress.active += 1
        record.own.start_ns = record.start_ns - record.intended_ns - iteration.setup_ns
        if not iteration.warmup:
            self.facts.start_delays_ns.append(record.own.start_ns)
        try:
            await session.stream(prompt, recorder)
        finally:
            self._progress.active -= 1
            self._finish(record)
        return record.outcome

    def drop(self, iteration: Iteration, reason: str) -> None:
        """Record a stream that was due and never started."""
        record, _, _ = self._begin(iteration)
        record.outcome = Outcome.DROPPED
        record.error_message = reason
        self._finish(record)

    async def close(self) -> None:
        """Close the connections that wait for an arrival."""
        for session in self.idle:
            await session.close()

    def _begin(self, iteration: Iteration) -> tuple[StreamRecord, Recorder, str]:
        number = self._streams
        self._streams += self.segment.of
        self.facts.begun += 1
        record, recorder, prompt = begin_stream(
            self.target,
            self._prompts,
            self._plans,
            number,
            iteration.intended_ns,
            self.clock.now_ns(),
            tokens=iteration.tokens,
        )
        record.phase = iteration.phase
        record.user = iteration.user
        record.iteration = iteration.number
        record.warmup = iteration.warmup
        if self._listen is not None:
            self._listen(recorder)
        return record, recorder, prompt

    def _finish(self, record: StreamRecord) -> None:
        self._progress.take(record)
        self.facts.reads += record.reads
        self.facts.user_reads += record.user_reads
        self.facts.coalesced_reads += record.coalesced_reads
        self.tasks.write(self._written(record))

    async def _written(self, record: StreamRecord) -> None:
        await self._write(record)


class Steps(Protocol):
    """Who chooses the loads of a sweep."""

    async def next(self, held_ns: tuple[int, int] | None) -> float | None:
        """The next load, None at the end. `held_ns`: from when to when the one before was held, None for the first.

        All streams of that one have been written.
        """
        ...

    async def begin(self) -> int:
        """The moment at which the step begins, when all who share it are ready."""
        ...


@dataclass(frozen=True, slots=True)
class Stage:
    """One phase on one target: the `index` of the phase, how long its load warms up, and the seed of its arrivals.

    `steps` is there for a sweep.
    """

    load: TargetLoad
    index: int
    warmup_ns: int
    seed: int
    steps: Steps | None = None
