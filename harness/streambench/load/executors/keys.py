"""What the kinds of phase have in common: shared keys, and how a file distinguishes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from streambench.errors import ConfigurationError
from streambench.load.fields import Field, Given, Section
from streambench.load.kinds import Duration, Integer
from streambench.load.phase import Phase

MAX_ACTIVE = 100_000
MOST_EXPECTED = 1_000  # of streams at once in the open model, where `max_active` is only a last bound

DURATION: Field[int] = Field("duration", Duration(), "how long the phase lasts", 0, shown="")
STREAMS: Field[int | None] = Field(
    "streams", Integer(1, 10**9), "how many streams the phase runs, over all users", None
)
THINK = Field("think", Duration(), "a user's pause between two streams", 0)
ACTIVE = Field(
    "max_active",
    Integer(1, MAX_ACTIVE),
    "the maximum number of open streams, 1 to 100,000; an arrival beyond it is dropped",
    10_000,
)
# A phase without an end of its own needs one.
ENDS: dict[str, Any] = {"anyOf": [{"required": [DURATION.name]}, {"required": [STREAMS.name]}]}


@dataclass(frozen=True, slots=True)
class PhaseType:
    """A kind of phase: the key that chooses it, its model, the keys it takes, and how they are read."""

    key: str
    model: str
    section: Section
    read: Callable[[Given], Phase]


def end_of(given: Given) -> tuple[int | None, int | None]:
    """The duration in ns and the number of streams of a phase that needs one of them. Raises ConfigurationError."""
    duration_ns, streams = given[DURATION] or None, given[STREAMS]
    if duration_ns is None and streams is None:
        raise given.node.error("a phase needs an end: a 'duration' such as 20s, a number of 'streams', or both")
    return duration_ns, streams


def how_long(duration_ns: int | None, streams: int | None) -> str:
    """The end of a phase in words, such as `20 streams or 60 s`."""
    count = "" if streams is None else f"{streams} streams"
    seconds = "" if duration_ns is None else f"{duration_ns / 1e9:g} s"
    return " or ".join(part for part in (count, seconds) if part)


def whole(size: float, most: int) -> int:
    """A number of users. Raises ConfigurationError for what is none."""
    if size != int(size) or not 0 <= size <= most:
        raise ConfigurationError(f"the number of users is a whole number up to {most:,}, not {size:g}")
    return int(size)
