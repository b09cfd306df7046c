"""What the engine knows of a phase and its executor.

Each kind of phase is a file of `executors`.
"""

from __future__ import annotations

from typing import Protocol

from streambench.load.target_load import Stage


class Executor(Protocol):
    """Runs one phase on one target."""

    async def prepare(self) -> None:
        """What takes time and must have happened before the phase begins."""
        ...

    async def run(self, begin_ns: int) -> None:
        """Run the phase, which begins at a moment of the clock, with its warm-up. Streams may outlive it."""
        ...

    @property
    def size(self) -> float:
        """How hard it drives the target now: users of a closed model, streams a second of an open one."""
        ...

    def resize(self, size: float, *, at_once: bool = False) -> None:
        """Drive harder or less hard from now on, until the phase ends or says otherwise.

        Users who must go finish the stream they are in; `at_once` cancels it, and it is recorded as censored. Raises
        ConfigurationError where the phase has no size.
        """
        ...


class Phase(Protocol):
    """A stretch of load on each target: a value, made from the scenario file."""

    @property
    def is_open(self) -> bool:
        """Whether streams start when they are due, and not when a user is free."""
        ...

    @property
    def duration_ns(self) -> int | None:
        """How long it takes without its warm-up; None where a number of streams ends it."""
        ...

    @property
    def most_at_once(self) -> int:
        """How many streams of one target may be open together: so many sockets are wanted."""
        ...

    def describe(self) -> str:
        """The phase in a few words, for reports."""
        ...

    def executor(self, stage: Stage) -> Executor:
        """What runs it on one target."""
        ...
