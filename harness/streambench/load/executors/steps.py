"""Users in steps: the closed model with a different number of users in each step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from streambench.load.executors.closed import MAX_USERS
from streambench.load.executors.keys import THINK, PhaseType, whole
from streambench.load.executors.users import Users
from streambench.load.fields import Field, Given, Nested, Section
from streambench.load.kinds import Duration, Integer, Schema
from streambench.load.pacing import Alarm
from streambench.load.target_load import Stage
from streambench.load.values import Values
from streambench.located import Located

MAX_STEPS = 1_000


class Numbers:
    """A list of numbers of users, one a step."""

    _one = Integer(1, MAX_USERS)

    def read(self, node: Located, values: Values, what: str) -> tuple[int, ...]:
        """The users of each step."""
        items = node.sequence(what)
        if not items:
            raise node.error("the list is empty: write the number of users of each step, such as [25, 50, 100]")
        if len(items) > MAX_STEPS:
            raise node.error(f"there are more than {MAX_STEPS:,} steps")
        return tuple(self._one.read(item, values, "the users of a step") for item in items)

    def schema(self) -> Schema:
        """A list that is not empty."""
        return {"type": "array", "minItems": 1, "maxItems": MAX_STEPS, "items": self._one.schema()}

    def show(self, value: Any) -> str:
        """Never shown: there is no default."""
        return ""


USERS: Field[tuple[int, ...]] = Field(
    "users", Numbers(), "the number of users in each step: `[25, 50, 100]`", (), required=True
)
HOLD: Field[int] = Field("hold", Duration(some=True), "how long each step lasts", 0, required=True)
STEPS: Field[Given | None] = Field(
    "steps", Nested(Section("'steps'", USERS, HOLD)), "a number of users that changes in steps", None
)
SECTION = Section("a phase of 'load'", STEPS, THINK)


@dataclass(frozen=True, slots=True)
class StepsPhase:
    """`users` of each step, which lasts `hold_ns`; each user thinks for `think_ns` between its streams."""

    users: tuple[int, ...]
    hold_ns: int
    think_ns: int = 0

    @property
    def is_open(self) -> bool:
        """False: a stream starts when its user is free."""
        return False

    @property
    def duration_ns(self) -> int:
        """All steps together."""
        return self.hold_ns * len(self.users)

    @property
    def most_at_once(self) -> int:
        """One a user of the highest step; who leaves may still finish its stream."""
        return max(self.users)

    def describe(self) -> str:
        """Such as `25, 50, 100 users, 60 s each`."""
        think = f", {self.think_ns / 1e9:g} s think time" if self.think_ns else ""
        return f"{', '.join(map(str, self.users))} users{think}, {self.hold_ns / 1e9:g} s each"

    def executor(self, stage: Stage) -> StepsExecutor:
        """Its users on one target."""
        return StepsExecutor(self, stage)


def read(given: Given) -> StepsPhase:
    """The phase that these keys describe. Raises ConfigurationError."""
    steps = given[STEPS]
    assert steps is not None
    return StepsPhase(steps[USERS], steps[HOLD], given[THINK])


STAIRS = PhaseType("steps", "closed", SECTION, read)


class StepsExecutor:
    """Lets users come and go at each step; the first step is warmed up. Who stays keeps its connection."""

    def __init__(self, phase: StepsPhase, stage: Stage) -> None:
        self._phase = phase
        self._stage = stage
        self._users = Users(stage, phase.think_ns)

    async def prepare(self) -> None:
        """The users of the first step connect and do their setup before it begins; the others when they come."""
        await self._users.prepare(self._phase.users[0])

    async def run(self, begin_ns: int) -> None:
        """Until the last step is over; who is in a stream then, or at a step down, may finish it."""
        alarm = Alarm(self._stage.load.clock)
        step_ns = begin_ns + self._stage.warmup_ns
        self._users.begin(self._phase.users[0], begin_ns, self._phase.duration_ns)
        for users in self._phase.users[1:]:
            step_ns += self._phase.hold_ns
            await alarm.sleep_until(step_ns)
            self._users.resize(users)
        await alarm.sleep_until(step_ns + self._phase.hold_ns)

    @property
    def size(self) -> float:
        """The users now."""
        return self._users.number

    def resize(self, size: float, *, at_once: bool = False) -> None:
        """So many users until the next step."""
        self._users.resize(whole(size, MAX_USERS), at_once=at_once)
