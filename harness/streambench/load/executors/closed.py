"""The closed model: a number of users, each of whom waits for its reply and thinks before the next prompt."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from streambench.load.executors.keys import DURATION, ENDS, STREAMS, THINK, PhaseType, end_of, how_long, whole
from streambench.load.executors.users import Users
from streambench.load.fields import Field, Given, Section
from streambench.load.kinds import Duration, Integer
from streambench.load.target_load import Stage
from streambench.units import NS_PER_S

MAX_USERS = 10_000

USERS = Field(
    "users",
    Integer(1, MAX_USERS),
    "number of users, 1 to 10,000; each waits for its reply before it sends the next prompt",
    1,
)
RAMP_UP = Field(
    "ramp_up",
    Duration(),
    "the users start one after another, evenly spaced over this time; 0: all at once, on connections opened beforehand",
    0,
)
SECTION = Section("a phase of 'load'", USERS, RAMP_UP, THINK, DURATION, STREAMS, rules=ENDS)


@dataclass(frozen=True, slots=True)
class ClosedPhase:
    """`users` talk, each with `think_ns` between its streams, for `duration_ns` or `streams` streams together.

    They begin evenly over the first `ramp_up_ns`.
    """

    users: int = 1
    duration_ns: int | None = None
    streams: int | None = None
    think_ns: int = 0
    ramp_up_ns: int = 0

    @property
    def is_open(self) -> bool:
        """False: a stream starts when its user is free."""
        return False

    @property
    def most_at_once(self) -> int:
        """One a user."""
        return self.users

    def describe(self) -> str:
        """Such as `20 users, 0.5 s think time, 60 s`."""
        think = f", {self.think_ns / 1e9:g} s think time" if self.think_ns else ""
        users = f"{self.users} user{'' if self.users == 1 else 's'}"
        ramp = f" over {self.ramp_up_ns / 1e9:g} s" if self.ramp_up_ns else ""
        return f"{users}{ramp}{think}, {how_long(self.duration_ns, self.streams)}"

    def executor(self, stage: Stage) -> ClosedExecutor:
        """Its users on one target."""
        return ClosedExecutor(self, stage)


def read(given: Given) -> ClosedPhase:
    """The phase that these keys describe. Raises ConfigurationError."""
    duration_ns, streams = end_of(given)
    if duration_ns is not None and given[RAMP_UP] >= duration_ns:
        raise given.at(RAMP_UP).error("the phase is over before all users have begun: make 'ramp_up' shorter")
    return ClosedPhase(given[USERS], duration_ns, streams, given[THINK], given[RAMP_UP])


CLOSED = PhaseType("users", "closed", SECTION, read)


class ClosedExecutor:
    """Keeps the users talking until the phase ends; those who are in a stream then may finish it."""

    def __init__(self, phase: ClosedPhase, stage: Stage) -> None:
        self._phase = phase
        self._clock = stage.load.clock
        self._warmup_ns = stage.warmup_ns
        self._users = Users(stage, phase.think_ns, phase.streams)

    async def prepare(self) -> None:
        """The users connect and do their setup before the phase begins."""
        await self._users.prepare(self._phase.users)

    async def run(self, begin_ns: int) -> None:
        """Until the time is over or the streams are used up."""
        duration_ns = self._phase.duration_ns
        self._users.begin(self._phase.users, begin_ns, duration_ns, self._phase.ramp_up_ns)
        if duration_ns is None:
            await self._users.ended()
            return
        left_s = (begin_ns + self._warmup_ns + duration_ns - self._clock.now_ns()) / NS_PER_S
        try:
            async with asyncio.timeout(max(0.0, left_s)):
                await self._users.ended()
        except TimeoutError:
            return

    @property
    def size(self) -> float:
        """The users now."""
        return self._users.number

    def resize(self, size: float, *, at_once: bool = False) -> None:
        """So many users from now on; the last to come are the first to go."""
        self._users.resize(whole(size, MAX_USERS), at_once=at_once)
