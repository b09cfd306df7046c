"""Arrivals of the open model: each is one stream, on an idle connection or a new one."""

from __future__ import annotations

import asyncio

from streambench.load.target_load import Iteration, Stage

MAX_PREPARED = 100


class Visits:
    """Starts arrivals of one phase on one target; one that finds `max_active` others at work is dropped.

    Of a run that several workers share it starts those of its own segment, and has its share of `max_active`.
    """

    def __init__(self, stage: Stage, max_active: int) -> None:
        self._stage = stage
        self._load = stage.load
        self._max_active = max(1, stage.load.segment.count(max_active))

    async def prepare(self, wanted: int) -> None:
        """Make users ready whose setup takes time, so that nobody waits for it who arrives in the first moments."""
        if not self._load.target.spec.setup_steps:
            return
        own = self._load.segment.count(min(MAX_PREPARED, wanted))
        sessions = [self._load.new_user()[1] for _ in range(own)]
        results = await asyncio.gather(*(session.prepare() for session in sessions), return_exceptions=True)
        for session, result in zip(sessions, results, strict=True):
            if result is None:
                self._load.idle.append(session)
            else:
                await session.close()

    @property
    def next_is_ours(self) -> bool:
        """Whether the next arrival of the run is for this worker."""
        return self._load.segment.has(self._load.dealt)

    def leave_to_others(self) -> None:
        """The next arrival happens elsewhere."""
        self._load.dealt += 1

    def arrive(self, intended_ns: int, *, warmup: bool, tokens: int | None = None) -> None:
        """The arrival that was due at `intended_ns` happens now; `tokens`: of its reply, where that is known."""
        load, facts = self._load, self._load.facts
        load.dealt += 1
        iteration = Iteration(self._stage.index, intended_ns, warmup, tokens=tokens)
        if not warmup:
            facts.requested += 1
        if load.visits >= self._max_active:
            load.drop(iteration, f"{self._max_active:,} streams were open already")
            return
        if not warmup:
            facts.achieved += 1
        load.visits += 1
        load.tasks.start(self._visit(iteration)).add_done_callback(self._left)

    def _left(self, _: asyncio.Task[None]) -> None:
        self._load.visits -= 1

    async def _visit(self, iteration: Iteration) -> None:
        load = self._load
        session = load.idle.pop() if load.idle else None
        try:
            if session is None:
                _, session = load.new_user()
                began_ns = load.clock.now_ns()
                prepared = await load.prepared(session, iteration)
                iteration.setup_ns = load.clock.now_ns() - began_ns
                if not prepared:
                    await session.close()
                    return
            await load.stream(session, iteration)
        except asyncio.CancelledError:
            if session is not None:
                await session.close()
            raise
        load.idle.append(session)
