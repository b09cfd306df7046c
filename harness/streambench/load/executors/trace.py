"""Replay: streams start when those of a trace did."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from typing import Any

from streambench.errors import ConfigurationError
from streambench.load.executors.keys import ACTIVE, DURATION, MOST_EXPECTED, STREAMS, PhaseType
from streambench.load.executors.visits import Visits
from streambench.load.fields import Field, Given, Section
from streambench.load.kinds import Schema
from streambench.load.pacing import Alarm
from streambench.load.target_load import Stage
from streambench.load.values import Values
from streambench.located import Located
from streambench.units import NS_PER_S

MAX_ARRIVALS = 1_000_000
MAX_SECONDS = 1e9  # three decades, and Unix times too


def _second(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


class ArrivalTimes:
    """A CSV file whose first column holds seconds; read as ns from its first arrival, ascending."""

    def read(self, node: Located, values: Values, what: str) -> tuple[int, ...]:
        """The arrivals. Raises ConfigurationError with the line of the file where one is no number."""
        name = values.text(node, what)
        path, content = values.file_beside(node, name, f"the trace {name}")
        seconds: list[float] = []
        reader = csv.reader(io.StringIO(content, newline=""))
        try:
            for row in reader:
                if len(seconds) == MAX_ARRIVALS:
                    raise node.error(f"the trace {name} holds more than {MAX_ARRIVALS:,} arrivals")
                if row and row[0].strip():
                    second = _second(row[0])
                    if second is None and reader.line_num == 1:
                        continue  # a heading
                    if second is None or not abs(second) < MAX_SECONDS:
                        raise ConfigurationError(
                            "an arrival time is a number of seconds", path=str(path), line=reader.line_num
                        )
                    seconds.append(second)
        except csv.Error as error:
            raise ConfigurationError(f"is not CSV: {error}", path=str(path), line=reader.line_num) from None
        if not seconds:
            raise node.error(f"the trace {name} holds no arrival")
        first = min(seconds)
        return tuple(sorted(round((second - first) * NS_PER_S) for second in seconds))

    def schema(self) -> Schema:
        """The name of a file."""
        return {"type": "string"}

    def show(self, value: Any) -> str:
        """Never shown: there is no default."""
        return ""


TRACE: Field[tuple[int, ...]] = Field(
    "trace",
    ArrivalTimes(),
    "a CSV file whose first column holds arrival times in seconds; the first arrival is at 0, a heading is skipped",
    (),
    required=True,
)
SECTION = Section("a phase of 'load'", TRACE, ACTIVE, DURATION, STREAMS)


@dataclass(frozen=True, slots=True)
class TracePhase:
    """Streams start at `at_ns` from the beginning, until `duration_ns` are over or `streams` have started."""

    at_ns: tuple[int, ...]
    duration_ns: int | None = None
    streams: int | None = None
    max_active: int = 10_000

    @property
    def is_open(self) -> bool:
        """True: a stream starts when it is due."""
        return True

    @property
    def most_at_once(self) -> int:
        """As many as are allowed, as far as that is to be expected."""
        return min(self.max_active, MOST_EXPECTED)

    def describe(self) -> str:
        """Such as `2,000 arrivals of a trace`, without a separator."""
        return f"{len(self.at_ns)} arrivals of a trace"

    def arrivals_ns(self) -> tuple[int, ...]:
        """The arrivals that the phase has time and streams for."""
        chosen = self.at_ns[: self.streams]
        return tuple(at_ns for at_ns in chosen if self.duration_ns is None or at_ns < self.duration_ns)

    def executor(self, stage: Stage) -> TraceExecutor:
        """Its arrivals on one target."""
        return TraceExecutor(self, stage)


def read(given: Given) -> TracePhase:
    """The phase that these keys describe. Raises ConfigurationError."""
    return TracePhase(given[TRACE], given[DURATION] or None, given[STREAMS], given[ACTIVE])


REPLAY = PhaseType("trace", "replay", SECTION, read)


class TraceExecutor:
    """Starts streams when the trace says. It has no rate of its own, so there is nothing to warm up with."""

    def __init__(self, phase: TracePhase, stage: Stage) -> None:
        self._phase = phase
        self._clock = stage.load.clock
        self._visits = Visits(stage, phase.max_active)

    async def prepare(self) -> None:
        """Users for the first arrivals."""
        await self._visits.prepare(2)

    async def run(self, begin_ns: int) -> None:
        """Until the last arrival has started, or the phase's time is over."""
        alarm = Alarm(self._clock)
        for at_ns in self._phase.arrivals_ns():
            if not self._visits.next_is_ours:
                self._visits.leave_to_others()
                continue
            await alarm.sleep_until(begin_ns + at_ns)
            self._visits.arrive(begin_ns + at_ns, warmup=False)
        if self._phase.duration_ns is not None:
            await alarm.sleep_until(begin_ns + self._phase.duration_ns)

    @property
    def size(self) -> float:
        """Streams a second, on average over the trace."""
        last_ns = self._phase.at_ns[-1]
        return len(self._phase.at_ns) * NS_PER_S / last_ns if last_ns else math.inf

    def resize(self, size: float, *, at_once: bool = False) -> None:
        """Refused. Raises ConfigurationError."""
        raise ConfigurationError("a trace fixes when streams start: its load cannot be changed while it runs")
