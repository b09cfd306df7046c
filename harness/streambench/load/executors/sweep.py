"""A sweep: steps of one kind of load, each chosen from the results so far, until the target's knee is known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from streambench.analysis.gates import GateError
from streambench.analysis.sweep import Sweep, conditions_of
from streambench.errors import ConfigurationError
from streambench.load.arrivals import CONSTANT
from streambench.load.executors.closed import MAX_USERS, ClosedPhase
from streambench.load.executors.keys import ACTIVE, MOST_EXPECTED, THINK, PhaseType
from streambench.load.executors.open import ARRIVALS, CV, MAX_RATE_PER_S, OpenPhase
from streambench.load.fields import Field, Given, Nested, Section
from streambench.load.kinds import SOME_RATE_PATTERN, Duration, Number, Schema, pattern
from streambench.load.phase import Phase
from streambench.load.target_load import Stage
from streambench.load.values import Values
from streambench.located import Located
from streambench.units import NS_PER_S, parse_rate_per_s

TO = ".."


class Range:
    """Two loads with `..` between them; read as both, the lower one first."""

    def __init__(self, example: str, most: float) -> None:
        self._example = example
        self._most = most

    def read(self, node: Located, values: Values, what: str) -> tuple[float, float]:
        """The lowest and the highest load. Raises ConfigurationError."""
        text = values.scalar(node, what)
        first, dots, last = text.partition(TO)
        if not dots:
            raise node.error(f"{what} goes from one load to another: write it as {self._example}", text=text)
        try:
            low, high = self._one(first), self._one(last)
        except ValueError as error:
            raise node.error(f"{error}; a range is written as {self._example}", text=text) from None
        if not 0 < low < high <= self._most:
            raise node.error(
                f"{what} goes from a load above 0 to a higher one, at most {self._most:,.0f}, such as {self._example}",
                text=text,
            )
        return low, high

    def _one(self, text: str) -> float:
        raise NotImplementedError

    def schema(self) -> Schema:
        """A text of two loads."""
        raise NotImplementedError

    def show(self, value: Any) -> str:
        """Never shown: there is no default."""
        return ""


class Rates(Range):
    """Streams a second."""

    def _one(self, text: str) -> float:
        return parse_rate_per_s(text)

    def schema(self) -> Schema:
        """A text of two rates."""
        return pattern(rf"{SOME_RATE_PATTERN}\.\.{SOME_RATE_PATTERN}")


class Numbers(Range):
    """Users."""

    def _one(self, text: str) -> float:
        if not text.strip().isdecimal():
            raise ValueError(f"{text.strip()!r} is not a number of users")
        return float(int(text))

    def schema(self) -> Schema:
        """A text of two whole numbers."""
        return pattern(r"\s*0*[1-9]\d*\s*\.\.\s*0*[1-9]\d*\s*")


class Conditions:
    """Gates that `and` joins, which the streams of a step meet or do not."""

    def read(self, node: Located, values: Values, what: str) -> str:
        """The text. Raises ConfigurationError for conditions that no step can decide."""
        text = node.string(what)
        check_conditions(node, text, two_sided=True)
        return text

    def schema(self) -> Schema:
        """A text."""
        return {"type": "string"}

    def show(self, value: Any) -> str:
        """Never shown: there is no default."""
        return ""


def check_conditions(node: Located, text: str, *, two_sided: bool) -> None:
    """Raise ConfigurationError at `node` for conditions that cannot be decided for a target measured so."""
    try:
        conditions_of(text, two_sided=two_sided)
    except GateError as error:
        located = node.error(str(error), text=error.text, at=error.at)
        located.suggestion = error.suggestion
        raise located from None


RATE: Field[tuple[float, float] | None] = Field(
    "rate",
    Rates("1/s..200/s", MAX_RATE_PER_S),
    "the range of rates to search, in streams per second: `1/s..200/s`",
    None,
)
USERS: Field[tuple[float, float] | None] = Field(
    "users", Numbers("1..500", MAX_USERS), "instead of `rate`: the range of users to search: `1..500`", None
)
UNTIL: Field[str] = Field(
    "until",
    Conditions(),
    "the conditions that a load must meet, [gates](gates.md) joined by `and`: `ttfc.p95 < 1s and "
    "error_rate < 1%`. If none of them is about errors, no stream may fail",
    "",
    required=True,
)
HOLD: Field[int] = Field("hold", Duration(some=True), "how long each step lasts", 20 * NS_PER_S)
PRECISION = Field(
    "precision",
    Number(0.001, 1),
    "the relative distance at which the search stops, between the load that met the conditions and "
    "the one that did not, 0.001 to 1",
    0.05,
)
SWEEP: Field[Given | None] = Field(
    "sweep",
    Nested(
        Section(
            "'sweep'",
            RATE,
            USERS,
            UNTIL,
            HOLD,
            PRECISION,
            rules={"oneOf": [{"required": [RATE.name]}, {"required": [USERS.name]}]},
        )
    ),
    "the highest load that meets conditions is looked for, step by step",
    None,
)
SECTION = Section("a phase of 'load'", SWEEP, THINK, ARRIVALS, CV, ACTIVE)


@dataclass(frozen=True, slots=True)
class SweepPhase:
    """The steps of a `sweep`; how streams arrive, or how long users think, is the same in each of them."""

    sweep: Sweep
    think_ns: int = 0
    arrivals: str = CONSTANT
    cv: float = 1.0
    max_active: int = 10_000

    @property
    def is_open(self) -> bool:
        """Whether it is a rate that is looked for."""
        return self.sweep.unit == "rate"

    @property
    def duration_ns(self) -> int | None:
        """None: it depends on what is found."""
        return None

    @property
    def most_at_once(self) -> int:
        """One a user of the highest load; of a rate, as many as are to be expected."""
        return min(self.max_active, MOST_EXPECTED) if self.is_open else int(self.sweep.high)

    def describe(self) -> str:
        """Such as `sweep from 1 stream/s to 200 streams/s until ttfc.p95 < 1s, 20 s a step`."""
        sweep = self.sweep
        return (
            f"sweep from {sweep.show(sweep.low)} to {sweep.show(sweep.high)} until {sweep.until}, "
            f"{sweep.hold_ns / NS_PER_S:g} s a step"
        )

    def step(self, load: float) -> OpenPhase | ClosedPhase:
        """The phase that a step is."""
        if self.is_open:
            return OpenPhase(load, load, self.arrivals, self.cv, self.sweep.hold_ns, max_active=self.max_active)
        return ClosedPhase(int(load), self.sweep.hold_ns, think_ns=self.think_ns)

    def executor(self, stage: Stage) -> SweepExecutor:
        """Its steps on one target."""
        return SweepExecutor(self, stage)


def read(given: Given) -> SweepPhase:
    """The phase that these keys describe. Raises ConfigurationError."""
    keys = given[SWEEP]
    assert keys is not None
    rate, users = keys[RATE], keys[USERS]
    if (rate is None) == (users is None):
        raise keys.node.error("a sweep is over either a 'rate', such as 1/s..200/s, or 'users', such as 1..500")
    for field in (THINK,) if users is None else (ARRIVALS, CV, ACTIVE):
        if field in given:
            raise given.at(field).error(f"{field.name!r} says nothing in a sweep over {'a rate' if rate else 'users'}")
    low, high = rate or users or (0.0, 0.0)
    sweep = Sweep("users" if rate is None else "rate", low, high, keys[UNTIL], keys[PRECISION], keys[HOLD])
    return SweepPhase(sweep, given[THINK], given[ARRIVALS], given[CV], given[ACTIVE])


def sweep_in(phases: Iterable[Phase]) -> Sweep | None:
    """The sweep that a load is, or None."""
    return next((phase.sweep for phase in phases if isinstance(phase, SweepPhase)), None)


SEARCH = PhaseType("sweep", "sweep", SECTION, read)


class SweepExecutor:
    """Holds one load after the other; between two of them all streams end, so that none of them waits for another."""

    def __init__(self, phase: SweepPhase, stage: Stage) -> None:
        self._phase = phase
        self._stage = stage
        self._load = 0.0
        stage.load.facts.swept = True

    async def prepare(self) -> None:
        """Nothing: each step is prepared when its load is known."""

    async def run(self, _: int) -> None:
        """Until the knee is known. Only the first step is warmed up."""
        steps, stage = self._stage.steps, self._stage
        assert steps is not None, "a sweep without anybody who chooses its loads"
        load = await steps.next(None)
        while load is not None:
            self._load = load
            executor = self._phase.step(load).executor(stage)
            await executor.prepare()
            begin_ns = await steps.begin()
            await executor.run(begin_ns)
            await stage.load.tasks.idle()
            await stage.load.tasks.written()
            begin_ns += stage.warmup_ns
            stage = replace(stage, warmup_ns=0)
            load = await steps.next((begin_ns, begin_ns + self._phase.sweep.hold_ns))

    @property
    def size(self) -> float:
        """The load now."""
        return self._load

    def resize(self, size: float, *, at_once: bool = False) -> None:
        """Refused. Raises ConfigurationError."""
        raise ConfigurationError("a sweep chooses its own loads: they cannot be changed during the run")
