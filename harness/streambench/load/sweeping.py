"""Chooses the loads of a sweep while it runs: each step's streams are read back from the records and judged.

That is done between two steps, when nothing is measured, and by the code that judges them in the report.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from streambench.analysis.metrics import Settings
from streambench.analysis.stream import analyse
from streambench.analysis.sweep import Level, LevelTally, Step, Sweep
from streambench.clock import MonotonicClock
from streambench.load.cpu_wait import CpuWait
from streambench.load.scenario import Scenario
from streambench.record.journal import RecordWriter
from streambench.record.run_file import records_between

_clock = MonotonicClock()


class Sweeper:
    """The sweep of a run. `path` is the records file, in which the steps are noted by `writer`.

    `facts` are those of its one target in the header. `watch` begins to watch how long servers wait for a CPU; `show`
    is told what happens.
    """

    def __init__(
        self,
        sweep: Sweep,
        scenario: Scenario,
        facts: Mapping[str, Any],
        path: Path,
        writer: RecordWriter,
        watch: Callable[[], CpuWait],
        show: Callable[[str], None],
    ) -> None:
        self._sweep = sweep
        self._settings = Settings(scenario.stall_after_ns, scenario.reading_wpm)
        self._target = scenario.targets[0].name
        self._facts = facts
        self._path = path
        self._writer = writer
        self._watch = watch
        self._show = show
        self._waits = watch()
        self._load: float | None = None
        self._begin = 0  # where in the file the streams of the step begin
        self._held = 0
        self._tallies: dict[float, LevelTally] = {}
        self._levels: dict[float, Level] = {}

    async def next(self, held_ns: tuple[int, int] | None) -> float | None:
        """The next load, or None at the end; `held_ns` is from when to when the one before was held."""
        if held_ns is not None and self._load is not None:
            step = Step(self._load, *held_ns, self._waits.shares())
            self._held += 1
            self._levels[step.load] = await asyncio.to_thread(self._judged, step)
            self._writer.step(step.to_json())
        self._load = self._sweep.next_load(list(self._levels.values()))
        self._begin = self._path.stat().st_size
        self._waits = self._watch()
        if self._load is not None:
            self._show(self._told(self._load))
        return self._load

    async def begin(self) -> int:
        """When the step begins, for whoever is alone."""
        return _clock.now_ns()

    def _judged(self, step: Step) -> Level:
        tally = self._tallies.setdefault(step.load, LevelTally(self._sweep, self._target, self._facts))
        for record in records_between(self._path, self._begin, self._path.stat().st_size):
            tally.add(analyse(record, self._settings))
        return tally.end(step)

    def _told(self, load: float) -> str:
        found = [f"{self._sweep.show(level.load)} {level.verdict}" for level in list(self._levels.values())[-2:]]
        return f"step {self._held + 1}: " + ", ".join([self._sweep.show(load), *found])
