"""The users of one worker in one run: as many on each target as Locust orders, by the scenario's own executors."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from streambench.clock import MonotonicClock
from streambench.drivers.users import open_session
from streambench.errors import ConfigurationError
from streambench.load.executors.closed import ClosedPhase
from streambench.load.executors.open import OpenPhase
from streambench.load.executors.steps import StepsPhase
from streambench.load.executors.sweep import SweepPhase
from streambench.load.phase import Executor, Phase
from streambench.load.progress import Progress, TargetProgress
from streambench.load.scenario import Scenario
from streambench.load.target_load import Stage, TargetLoad, Write
from streambench.load.tasks import Tasks
from streambench.load.testbed import Testbed
from streambench.load.validity import GeneratorFacts
from streambench.units import NS_PER_S

_clock = MonotonicClock()


class Population:
    """Users on every target of a scenario, until `end`. The number on each target can change at any time.

    Locust decides how many users there are and how long a run takes, so of the scenario's phases only their kind
    counts: what users do between two streams, or how arrivals are spread.
    """

    def __init__(self, testbed: Testbed, write: Write, facts: GeneratorFacts, first_number: int = 0) -> None:
        self._scenario = scenario = testbed.scenario
        self.progress = Progress({target.name: TargetProgress() for target in scenario.targets})
        self._tasks = Tasks()
        self._facts = facts
        self._begin_ns = _clock.now_ns()
        self._open_since_ns: int | None = None  # arrivals have been due since
        self._loads = {
            target.name: TargetLoad(
                target,
                scenario.prompts,
                testbed.plans.get(target.name, {}),
                self.progress.targets[target.name],
                facts,
                self._tasks,
                write,
                testbed.token,
                _clock,
                open_session,
                first_number,
            )
            for target in scenario.targets
        }
        self._executors: dict[str, tuple[int, Executor, asyncio.Task[None]]] = {}

    async def resize(self, users: Mapping[str, int], phase: int) -> None:
        """Have so many users on each target, who behave as in the scenario's phase with this index."""
        phase = min(phase, len(self._scenario.load.phases) - 1)
        for name, number in users.items():
            load = self._loads.get(name)
            if load is None:
                continue
            current = self._executors.get(name)
            if current is not None and current[0] != phase:
                self._leave(name)
                current = None
            if current is None:
                if not number:
                    continue
                self._executors[name] = await self._enter(load, phase, number)
            else:
                current[1].resize(number)

    async def _enter(self, load: TargetLoad, index: int, number: int) -> tuple[int, Executor, asyncio.Task[None]]:
        warmup_ns = max(0, self._begin_ns + self._scenario.load.warmup_ns - _clock.now_ns())
        phase = endless(self._scenario.load.phases[index], number)
        executor = phase.executor(Stage(load, index, warmup_ns, self._scenario.seed))
        await executor.prepare()
        running = asyncio.create_task(executor.run(_clock.now_ns()))
        if phase.is_open and self._open_since_ns is None:
            self._open_since_ns = _clock.now_ns() + warmup_ns
        await asyncio.sleep(0)  # its first users come before anybody changes their number
        return index, executor, running

    def _leave(self, name: str) -> None:
        _, executor, running = self._executors.pop(name)
        executor.resize(0)
        running.cancel()
        if self._open_since_ns is not None and not any(
            self._is_open(index) for index, _, _ in self._executors.values()
        ):
            self._facts.open_ns += max(0, _clock.now_ns() - self._open_since_ns)
            self._open_since_ns = None

    def _is_open(self, index: int) -> bool:
        return self._scenario.load.phases[index].is_open

    async def end(self, timeout_s: float) -> None:
        """Let no stream start any more, wait for the open ones so long, and until every record has been written."""
        for name in list(self._executors):
            self._leave(name)
        try:
            async with asyncio.timeout(timeout_s):
                await self._tasks.idle()
        except TimeoutError:
            pass
        await self._tasks.cancel()
        for load in self._loads.values():
            await load.close()
        await self._tasks.written()

    @property
    def next_number(self) -> int:
        """For a population that follows: a number that no stream and no user here has had."""
        return max(load.next_number for load in self._loads.values())

    @property
    def failure(self) -> BaseException | None:
        """A mistake of our own, such as a record that could not be written."""
        return self._tasks.failure


def endless(phase: Phase, size: int) -> Phase:
    """The phase without an end of its own, with so many users or streams a second."""
    if not phase.is_open:
        return ClosedPhase(users=size, think_ns=getattr(phase, "think_ns", 0))
    assert isinstance(phase, OpenPhase)
    return replace(phase, rate_from=size, rate_to=size, duration_ns=None, streams=None)


def check_phases(scenario: Scenario) -> None:
    """That Locust can order every phase of a scenario. Raises ConfigurationError."""
    for phase in scenario.load.phases:
        if not isinstance(phase, (ClosedPhase, OpenPhase, StepsPhase)):
            raise ConfigurationError(
                f"Locust orders numbers of users, and cannot run this phase: {phase.describe()}. `streambench run` "
                "does; under Locust, a phase has 'users', 'steps' or a 'rate'",
                path=scenario.path,
            )


def points_of(phase: Phase, warmup_ns: int = 0) -> dict[str, object]:
    """A phase for the master's shape: users over seconds, and how long it takes (None where streams end it).

    A warm-up before it has the phase's first load; only users who begin over a ramp begin with the warm-up.
    Raises ConfigurationError for a sweep.
    """
    if isinstance(phase, SweepPhase):
        raise ConfigurationError("a sweep chooses its loads by itself: use `streambench run`")
    lead_s = warmup_ns / NS_PER_S
    seconds = None if phase.duration_ns is None else lead_s + phase.duration_ns / NS_PER_S
    if isinstance(phase, OpenPhase):
        points = [(lead_s, phase.rate_from), (seconds or lead_s, phase.rate_to)]
    elif isinstance(phase, ClosedPhase):
        points = [(phase.ramp_up_ns / NS_PER_S, phase.users)]
        if phase.ramp_up_ns:
            points.insert(0, (0.0, 1))
    else:
        assert isinstance(phase, StepsPhase)
        hold_s = phase.hold_ns / NS_PER_S
        points = [(lead_s + (i + edge) * hold_s, users) for i, users in enumerate(phase.users) for edge in (0, 1)]
    return {"users": points, "seconds": seconds, "text": phase.describe()}
