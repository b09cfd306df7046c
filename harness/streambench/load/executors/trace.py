"""Replay: streams start when those of a trace did."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

from streambench.errors import ConfigurationError
from streambench.load.executors.keys import ACTIVE, DURATION, MOST_EXPECTED, STREAMS, PhaseType
from streambench.load.executors.visits import Visits
from streambench.load.fields import Field, Given, Section
from streambench.load.kinds import Number, Schema
from streambench.load.pacing import Alarm
from streambench.load.target_load import Stage
from streambench.load.trace_file import Trace, TraceError, read_trace
from streambench.load.values import Values
from streambench.located import Located
from streambench.units import NS_PER_S


class TraceFile:
    """The name of a file of arrivals; read as what it holds."""

    def read(self, node: Located, values: Values, what: str) -> Trace:
        """The arrivals. Raises ConfigurationError with the line of the file that is wrong."""
        name = values.text(node, what)
        path, content = values.file_beside(node, name, f"the trace {name}")
        try:
            return read_trace(content)
        except TraceError as error:
            if error.line is None:
                raise node.error(f"the trace {name}: {error}", text=name) from None
            raise ConfigurationError(str(error), path=str(path), line=error.line) from None

    def schema(self) -> Schema:
        """The name of a file."""
        return {"type": "string"}

    def show(self, value: Any) -> str:
        """Never shown: there is no default."""
        return ""


TRACE: Field[Trace] = Field(
    "trace",
    TraceFile(),
    "a file of arrivals, the first of which counts as 0: an Azure, BurstGPT or Mooncake trace, or a "
    "CSV file whose first column holds seconds",
    Trace(()),
    required=True,
)
SPEED = Field("speed", Number(0.001, 100_000), "playback speed relative to the trace, 0.001 to 100,000", 1.0)
SECTION = Section("a phase of 'load'", TRACE, SPEED, ACTIVE, DURATION, STREAMS)


@dataclass(frozen=True, slots=True)
class TracePhase:
    """Streams start at `at_ns` from the beginning, until `duration_ns` are over or `streams` have started.

    `tokens`: how many each reply has, where the trace tells.
    """

    at_ns: tuple[int, ...]
    duration_ns: int | None = None
    streams: int | None = None
    max_active: int = 10_000
    tokens: tuple[int, ...] | None = None

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
    trace = given[TRACE].faster(given[SPEED])
    return TracePhase(trace.at_ns, given[DURATION] or None, given[STREAMS], given[ACTIVE], trace.tokens)


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
        lengths = self._phase.tokens or itertools.repeat(None)
        for at_ns, tokens in zip(self._phase.arrivals_ns(), lengths, strict=False):
            if not self._visits.next_is_ours:
                self._visits.leave_to_others()
                continue
            await alarm.sleep_until(begin_ns + at_ns)
            self._visits.arrive(begin_ns + at_ns, warmup=False, tokens=tokens)
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
