"""Puts load on the targets and writes a record for every stream that was due.

Every target gets the phases' load at the same time. In the closed model a user's next stream is due when the user has
thought; in the open model streams are due when the arrival process says so, and no server can move that moment. How,
is the phases' own business (`executors`); the engine runs one after the other, and ends what they leave.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal

from streambench.clock import Clock, MonotonicClock
from streambench.drivers.users import open_session as connect
from streambench.load.phase import Executor, Phase
from streambench.load.progress import Progress
from streambench.load.scenario import Scenario
from streambench.load.segment import WHOLE, Segment
from streambench.load.target_load import Listen, OpenSession, Stage, Steps, TargetLoad, Write
from streambench.load.tasks import Tasks
from streambench.load.validity import GeneratorFacts
from streambench.units import NS_PER_S
from streambench.upstream.plans import Plan

Muster = Callable[[int], Awaitable[int]]


class Engine:
    """Runs the phases of a scenario. `write` takes each finished record; it may take its time, no user waits for it.

    `listen` is called with the recorder of each stream before it begins. Where several workers share the run, each has
    a `segment` of it, and `muster` is called when the phase with an index has been prepared: it waits for the others
    and returns the moment at which the phase begins for all of them. `steps` chooses the loads of a sweep.
    """

    def __init__(
        self,
        scenario: Scenario,
        plans: Mapping[str, Mapping[int | None, Plan]],
        write: Write,
        progress: Progress,
        facts: GeneratorFacts,
        run_token: str,
        *,
        clock: Clock | None = None,
        open_session: OpenSession = connect,
        listen: Listen | None = None,
        segment: Segment = WHOLE,
        muster: Muster | None = None,
        steps: Steps | None = None,
    ) -> None:
        self._scenario = scenario
        self._progress = progress
        self._facts = facts
        self._clock = clock if clock is not None else MonotonicClock()
        self._tasks = Tasks()
        self._loads = [
            TargetLoad(
                target,
                scenario.prompts,
                plans.get(target.name, {}),
                progress.targets[target.name],
                facts,
                self._tasks,
                write,
                run_token,
                self._clock,
                open_session,
                listen=listen,
                segment=segment,
            )
            for target in scenario.targets
        ]
        self._muster = muster
        self._steps = steps
        self._executors: Mapping[str, Executor] = {}

    @property
    def executors(self) -> Mapping[str, Executor]:
        """What runs now, by target: it can be resized. Empty before the first phase and after the last one."""
        return self._executors

    async def run(self, stop: asyncio.Event) -> bool:
        """Run all phases and drain; False where `stop` was set before the end. Every record has been written then.

        What no server can cause, such as a record that cannot be written, ends the run and is raised at its end.
        """
        ends = {asyncio.create_task(stop.wait()), asyncio.create_task(self._tasks.failed.wait())}
        load = asyncio.create_task(self._phases())
        try:
            await asyncio.wait({*ends, load}, return_when=asyncio.FIRST_COMPLETED)
            finished = load.done()
            if finished:
                load.result()
                self._progress.stage = "draining"
                await self._drain(ends)
                finished = not stop.is_set()
        finally:
            self._progress.stage = "ending"
            for task in (*ends, load):
                task.cancel()
            await asyncio.gather(*ends, load, return_exceptions=True)
            await self._tasks.cancel()
            for target_load in self._loads:
                await target_load.close()
            await self._tasks.written()
        if self._tasks.failure is not None:
            raise self._tasks.failure
        return finished

    async def _drain(self, ends: set[asyncio.Task[Literal[True]]]) -> None:
        """Wait for what is still open, up to the total timeout of a stream."""
        idle = asyncio.create_task(self._tasks.idle())
        try:
            timeout_s = self._scenario.timeouts.total_ns / NS_PER_S
            await asyncio.wait({*ends, idle}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            idle.cancel()

    async def _phases(self) -> None:
        load = self._scenario.load
        start_ns = self._progress.started_ns = self._clock.now_ns()
        durations = [phase.duration_ns for phase in load.phases]
        if None not in durations:
            self._progress.ends_ns = start_ns + load.warmup_ns + sum(duration or 0 for duration in durations)
        try:
            for index, phase in enumerate(load.phases):
                await self._phase(index, phase, load.warmup_ns if index == 0 else 0)
        finally:
            self._executors = {}

    async def _phase(self, index: int, phase: Phase, warmup_ns: int) -> None:
        self._executors = {
            load.target.name: phase.executor(Stage(load, index, warmup_ns, self._scenario.seed, self._steps))
            for load in self._loads
        }
        executors: Sequence[Executor] = list(self._executors.values())
        await asyncio.gather(*(executor.prepare() for executor in executors))
        begin_ns = self._clock.now_ns() if self._muster is None else await self._muster(index)
        self._progress.stage = phase.describe()
        try:
            await asyncio.gather(*(executor.run(begin_ns) for executor in executors))
        finally:
            if phase.is_open:
                self._facts.open_ns += max(0, self._clock.now_ns() - begin_ns - warmup_ns)
