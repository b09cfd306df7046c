"""Latency profiles: when the first token comes, and how the others follow.

Real services send tokens in bursts: more than half of the gaps between chunks are under a millisecond, the gaps
between bursts fit a shifted lognormal, and are nearly independent of each other.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from mock_openai.arguments import did_you_mean

NS_PER_MS = 1_000_000

Draw = Callable[[random.Random], float]
"""A random duration in milliseconds."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A recorded stream: when each chunk came, in ms after the request, and its text. `speed` 2 is twice as fast."""

    chunks: tuple[tuple[float, str], ...]
    speed: float = 1.0


@dataclass(frozen=True, slots=True)
class Capacity:
    """A model that serves `slots` requests at a time and lets the others wait in their order.

    The prompt is read at `prefill_tokens_per_s`. Each other active request makes the gaps longer by `slowdown`.
    All plans that name the same `pool` share its slots.
    """

    pool: str
    slots: int
    prefill_tokens_per_s: float
    slowdown: float


@dataclass(frozen=True, slots=True)
class Profile:
    """How a reply is spread over time; all durations in ms.

    `first` is the wait before the first token, `burst` how many tokens leave in one write, `gap` the wait between
    writes.
    """

    name: str
    first: Draw
    gap: Draw
    burst: int = 1
    trace: Trace | None = None
    capacity: Capacity | None = None

    def schedule_ns(self, tokens: int, draw: random.Random, *, prompt_tokens: int = 0, active: int = 1) -> list[int]:
        """When each token is due, in ns after the reply was begun; tokens of one burst share the moment.

        `active` requests, this one included, share the capacity where there is one.
        """
        if self.trace is not None:
            return _traced_ns(self.trace, tokens)
        due_ms, stretch = self.first(draw), 1.0
        if self.capacity is not None:
            due_ms += 1000 * prompt_tokens / self.capacity.prefill_tokens_per_s
            stretch += self.capacity.slowdown * (active - 1)
        out: list[int] = []
        for start in range(0, tokens, self.burst):
            if start:
                due_ms += self.gap(draw) * stretch
            out += [round(due_ms * NS_PER_MS)] * min(self.burst, tokens - start)
        return out


def _traced_ns(trace: Trace, tokens: int) -> list[int]:
    """The times of a trace; a reply that is longer than the trace goes on with the trace's gaps from the start."""
    times = [round(at_ms / trace.speed * NS_PER_MS) for at_ms, _ in trace.chunks]
    period = times[-1]
    return [times[index % len(times)] + index // len(times) * period for index in range(tokens)]


def constant(ms: float) -> Draw:
    """Always `ms`."""
    return lambda draw: ms


def lognormal(shift_ms: float, median_ms: float, sigma: float) -> Draw:
    """`shift_ms` and a lognormal draw of this median on top."""
    mu = math.log(median_ms)
    return lambda draw: shift_ms + draw.lognormvariate(mu, sigma)


def normal_floored(mean_ms: float, sigma_ms: float, floor_ms: float) -> Draw:
    """A normal draw, but never less than `floor_ms`."""
    return lambda draw: max(floor_ms, draw.normalvariate(mean_ms, sigma_ms))


def sometimes(usual: Draw, probability: float, extra: Draw) -> Draw:
    """`usual`, and with `probability` `extra` on top."""
    return lambda draw: usual(draw) + (extra(draw) if draw.random() < probability else 0.0)


def uniform(low_ms: float, high_ms: float) -> Draw:
    """Anything between the two."""
    return lambda draw: draw.uniform(low_ms, high_ms)


def exponential(mean_ms: float) -> Draw:
    """An exponential draw of this mean."""
    return lambda draw: draw.expovariate(1 / mean_ms)


_FAST_FIRST = lognormal(300, 250, 0.6)
_FAST_GAP = lognormal(8, 14, 0.6)

PROFILES = {
    profile.name: profile
    for profile in (
        Profile("instant", constant(0), constant(0)),
        Profile("fixed", constant(200), constant(20)),
        Profile("openai-fast", _FAST_FIRST, _FAST_GAP, burst=2),
        Profile(
            "openai-slow",
            lognormal(600, 300, 0.6),
            sometimes(lognormal(0, 62, 0.71), 0.008, uniform(500, 1500)),
            burst=2,
        ),
        Profile("azure-filtered", lognormal(700, 300, 0.4), normal_floored(430, 250, 20), burst=28),
        Profile("contended", sometimes(_FAST_FIRST, 0.15, exponential(1200)), _FAST_GAP, burst=2),
    )
}
DEFAULT_PROFILE = "openai-fast"


PROFILE_NAMES = (*PROFILES, "slots", "trace")
MAX_TRACE_CHUNKS = 100_000

# The numbers each configurable profile takes: default and lowest value.
_FIXED = {"ttft_ms": (200, 0), "gap_ms": (20, 0), "burst": (1, 1)}
_SLOTS = {"slots": (8, 1), "prefill_tokens_per_s": (5000, 1e-3), "slowdown": (0, 0), **_FIXED}


def profile_from(spec: Any, traces: Mapping[str, Trace] = MappingProxyType({})) -> Profile:
    """The profile of a name, or of an object with `name` and the parameters that `fixed`, `slots` and `trace` take.

    `traces` are those that a profile can name. Raises ValueError that lists what is valid.
    """
    options = {"name": spec} if isinstance(spec, str) else spec
    name = options.get("name") if isinstance(options, dict) else None
    if not isinstance(options, dict) or name not in PROFILE_NAMES:
        raise ValueError(
            f"unknown profile {spec!r}: one of {', '.join(PROFILE_NAMES)}.{did_you_mean(name, PROFILE_NAMES)}"
        )
    given = {key: value for key, value in options.items() if key != "name"}
    if name == "trace":
        return Profile("trace", constant(0), constant(0), trace=_trace_from(given, traces))
    if name == "slots":
        pool = given.pop("pool", "default")
        if not isinstance(pool, str):
            raise ValueError("`pool` of profile `slots` is a string")
        numbers = _numbers(name, given, _SLOTS)
        capacity = Capacity(pool, int(numbers["slots"]), numbers["prefill_tokens_per_s"], numbers["slowdown"])
        return _fixed(name, numbers, capacity)
    if name == "fixed":
        return _fixed(name, _numbers(name, given, _FIXED))
    if given:
        raise ValueError(f"profile `{name}` takes no parameters; `fixed`, `slots` and `trace` do")
    return PROFILES[name]


def _fixed(name: str, numbers: dict[str, float], capacity: Capacity | None = None) -> Profile:
    first, gap = constant(numbers["ttft_ms"]), constant(numbers["gap_ms"])
    return Profile(name, first, gap, int(numbers["burst"]), capacity=capacity)


def _numbers(name: str, given: dict[str, Any], spec: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    unknown = given.keys() - spec.keys()
    if unknown:
        raise ValueError(f"profile `{name}` takes no {', '.join(sorted(unknown))}; it takes {', '.join(spec)}")
    out = {}
    for key, (default, low) in spec.items():
        value = given.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= 1e9:
            raise ValueError(f"`{key}` of profile `{name}` is a number of at least {low:g}")
        out[key] = value
    return out


def _trace_from(given: Mapping[str, Any], traces: Mapping[str, Trace]) -> Trace:
    """The trace that a profile names or spells out."""
    unknown = given.keys() - {"trace", "chunks", "speed"}
    if unknown or ("trace" in given) == ("chunks" in given):
        raise ValueError("profile `trace` takes `trace`, a name, or `chunks`, a list of [ms, text]; and `speed`")
    speed = given.get("speed", 1)
    if "chunks" in given:
        return trace_of(given["chunks"], speed)
    name = given["trace"]
    if not isinstance(name, str) or name not in traces:
        raise ValueError(f"unknown trace {name!r}: {', '.join(sorted(traces)) or 'none'} loaded (--traces DIR)")
    return trace_of(traces[name].chunks, speed)


def trace_of(chunks: Any, speed: Any) -> Trace:
    """A trace from data. Raises ValueError."""
    if not isinstance(chunks, list | tuple) or not 0 < len(chunks) <= MAX_TRACE_CHUNKS:
        raise ValueError(f"`chunks` of a trace is a list of 1 to {MAX_TRACE_CHUNKS:,} pairs [ms, text]")
    if isinstance(speed, bool) or not isinstance(speed, int | float) or not 0.001 <= speed <= 1000:
        raise ValueError("`speed` of a trace is a number from 0.001 to 1000")
    before_ms = 0.0
    for chunk in chunks:
        match chunk:
            case [int() | float() as at_ms, str()] if before_ms <= at_ms <= 3_600_000:
                before_ms = at_ms
            case _:
                raise ValueError("a chunk of a trace is [ms, text], and the times never go back")
    return Trace(tuple((float(at_ms), text) for at_ms, text in chunks), float(speed))
