"""The open model: streams start at a rate, whether the server keeps up or not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from streambench.errors import ConfigurationError
from streambench.load.arrivals import CONSTANT, PROCESSES, Process, Rate, Schedule
from streambench.load.executors.keys import ACTIVE, DURATION, ENDS, MOST_EXPECTED, STREAMS, PhaseType, end_of, how_long
from streambench.load.executors.visits import Visits
from streambench.load.fields import Field, Given, Section
from streambench.load.kinds import RATE_PATTERN, SOME_RATE_PATTERN, Choice, Number, Schema, pattern
from streambench.load.pacing import Alarm
from streambench.load.target_load import Stage
from streambench.load.values import Values
from streambench.located import Located
from streambench.units import NS_PER_S, parse_rate_per_s

MAX_RATE_PER_S = 100_000.0
WARMUP_SEED = 1_000_003
PHASE_SEED = 7919
FOREVER_NS = 1_000_000 * NS_PER_S


class RateOrRamp:
    """A rate, or a ramp from one to another; read as both ends, in streams a second."""

    def read(self, node: Located, values: Values, what: str) -> tuple[float, float]:
        """The rate at the beginning and at the end."""
        if isinstance(node.value, dict):
            keys = node.mapping(what, ("from", "to"))
            for key in ("from", "to"):
                if key not in keys:
                    raise node.error(f"a ramp needs {key!r}, such as {{from: 5/s, to: 50/s}}")
            start, end = (values.read(keys[key], parse_rate_per_s, f"'{key}'") for key in ("from", "to"))
        else:
            start = end = values.read(node, parse_rate_per_s, what)
        if max(start, end) <= 0:
            raise node.error("the rate is 0")
        if max(start, end) > MAX_RATE_PER_S:
            raise node.error(f"a rate is at most {MAX_RATE_PER_S:,.0f}/s")
        return start, end

    def schema(self) -> Schema:
        """A rate above 0, or both ends of a ramp, one of them above 0."""
        some, any_rate = pattern(SOME_RATE_PATTERN), pattern(RATE_PATTERN)
        ramp = {
            "type": "object",
            "additionalProperties": False,
            "properties": {"from": any_rate, "to": any_rate},
            "required": ["from", "to"],
            "anyOf": [{"properties": {"from": some}}, {"properties": {"to": some}}],
        }
        return {"anyOf": [some, ramp]}

    def show(self, value: Any) -> str:
        """Never shown: a rate has no default."""
        return ""


RATE: Field[tuple[float, float]] = Field(
    "rate",
    RateOrRamp(),
    "streams started per second, at most 100,000; `{from: RATE, to: RATE}` is a ramp and needs a `duration`",
    (0.0, 0.0),
    required=True,
)
ARRIVALS = Field("arrivals", Choice(PROCESSES), "`constant`, `poisson` or `gamma`", CONSTANT)
CV = Field(
    "cv",
    Number(0.01, 100),
    "coefficient of variation of `gamma` inter-arrival times, 0.01 to 100: below 1 more regular than "
    "Poisson, above 1 burstier",
    1.0,
)
_RAMP_ENDS = {"if": {"properties": {"rate": {"type": "object"}}}, "then": {"required": [DURATION.name]}}
SECTION = Section("a phase of 'load'", RATE, ARRIVALS, CV, ACTIVE, DURATION, STREAMS, rules={**ENDS, **_RAMP_ENDS})


@dataclass(frozen=True, slots=True)
class OpenPhase:
    """Streams start by an arrival process at `rate_from` to `rate_to` a second, for `duration_ns` or `streams`."""

    rate_from: float
    rate_to: float
    arrivals: str = CONSTANT
    cv: float = 1.0
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
        """Such as `5/s to 50/s poisson arrivals, 60 s`."""
        rate = f"{self.rate_from:g}/s" + ("" if self.rate_from == self.rate_to else f" to {self.rate_to:g}/s")
        return f"{rate} {self.arrivals} arrivals, {how_long(self.duration_ns, self.streams)}"

    def executor(self, stage: Stage) -> OpenExecutor:
        """Its arrivals on one target."""
        return OpenExecutor(self, stage)

    def schedule(self, seed: int) -> Schedule:
        """The arrivals of the phase, in ns from its beginning."""
        rate = Rate(self.rate_from, self.rate_to, self.duration_ns)
        process = Process(self.arrivals, self.cv)
        return Schedule(rate, process, seed, duration_ns=self.duration_ns, streams=self.streams)


def read(given: Given) -> OpenPhase:
    """The phase that these keys describe. Raises ConfigurationError."""
    duration_ns, streams = end_of(given)
    start, end = given[RATE]
    if start != end and duration_ns is None:
        raise given.at(RATE).error("a ramp needs a 'duration'")
    return OpenPhase(start, end, given[ARRIVALS], given[CV], duration_ns, streams, given[ACTIVE])


OPEN = PhaseType("rate", "open", SECTION, read)


class OpenExecutor:
    """Starts streams when they are due; a change of the rate moves those that are still to come."""

    def __init__(self, phase: OpenPhase, stage: Stage) -> None:
        self._phase = phase
        self._stage = stage
        self._clock = stage.load.clock
        self._visits = Visits(stage, phase.max_active)
        self._alarm = Alarm(self._clock)
        self._schedule = phase.schedule(stage.seed + PHASE_SEED * stage.index)
        self._begin_ns = 0

    async def prepare(self) -> None:
        """Users for about the first second."""
        await self._visits.prepare(math.ceil(max(self._phase.rate_from, self._phase.rate_to)) + 1)

    async def run(self, begin_ns: int) -> None:
        """Warm up with the first rate, then run the phase; streams that have started may outlive it."""
        phase, warmup_ns = self._phase, self._stage.warmup_ns
        if warmup_ns and phase.rate_from:
            judged = self._schedule
            steady = Rate(phase.rate_from, phase.rate_from)
            process = Process(phase.arrivals, phase.cv)
            self._schedule = Schedule(steady, process, self._stage.seed + WARMUP_SEED, duration_ns=warmup_ns)
            await self._start(begin_ns, warmup_ns, warmup=True)
            resized = self._schedule.rate if self._schedule.rate is not steady else None
            self._schedule = judged
            if resized is not None:
                judged.rate = judged.rate.changed(0, resized.start)
        await self._start(begin_ns + warmup_ns, phase.duration_ns, warmup=False)

    async def _start(self, begin_ns: int, duration_ns: int | None, *, warmup: bool) -> None:
        self._begin_ns = begin_ns
        end_ns = begin_ns + (FOREVER_NS if duration_ns is None else duration_ns)
        while not self._schedule.spent:
            at_ns = self._schedule.next_ns()
            if at_ns is not None and not self._visits.next_is_ours:
                self._visits.leave_to_others()
                self._schedule.advance()
                continue
            if not await self._alarm.sleep_until(end_ns if at_ns is None else begin_ns + at_ns):
                continue  # the rate has changed
            if at_ns is None:
                return
            self._visits.arrive(begin_ns + at_ns, warmup=warmup)
            self._schedule.advance()
        while duration_ns is not None and not await self._alarm.sleep_until(end_ns):
            pass

    @property
    def size(self) -> float:
        """Streams a second now."""
        return self._schedule.rate.at(self._clock.now_ns() - self._begin_ns)

    def resize(self, size: float, *, at_once: bool = False) -> None:
        """So many streams a second from now on, 0 for none; it takes no stream back that has started."""
        if not 0 <= size <= MAX_RATE_PER_S:
            raise ConfigurationError(f"a rate is from 0 to {MAX_RATE_PER_S:,.0f}/s, not {size:g}")
        self._schedule.rate = self._schedule.rate.changed(self._clock.now_ns() - self._begin_ns, size)
        self._alarm.wake()
