"""Latency profiles: when the first token comes, and how the others follow.

Real services send tokens in bursts: more than half of the gaps between chunks are under a millisecond, the gaps
between bursts fit a shifted lognormal, and are nearly independent of each other.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

NS_PER_MS = 1_000_000

Draw = Callable[[random.Random], float]
"""A random duration in milliseconds."""


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

    def schedule_ns(self, tokens: int, draw: random.Random) -> list[int]:
        """When each token is due, in ns after the request arrived; tokens of one burst share the moment."""
        due_ms = self.first(draw)
        out: list[int] = []
        for index in range(tokens):
            if index and index % self.burst == 0:
                due_ms += self.gap(draw)
            out.append(round(due_ms * NS_PER_MS))
        return out


def constant(ms: float) -> Draw:
    return lambda draw: ms


def lognormal(shift_ms: float, median_ms: float, sigma: float) -> Draw:
    mu = math.log(median_ms)
    return lambda draw: shift_ms + draw.lognormvariate(mu, sigma)


def normal_floored(mean_ms: float, sigma_ms: float, floor_ms: float) -> Draw:
    return lambda draw: max(floor_ms, draw.normalvariate(mean_ms, sigma_ms))


def sometimes(usual: Draw, probability: float, extra: Draw) -> Draw:
    """`usual`, and with `probability` `extra` on top."""
    return lambda draw: usual(draw) + (extra(draw) if draw.random() < probability else 0.0)


def uniform(low_ms: float, high_ms: float) -> Draw:
    return lambda draw: draw.uniform(low_ms, high_ms)


def exponential(mean_ms: float) -> Draw:
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


def profile_from(spec: Any) -> Profile:
    """The profile of a name, or of an object with `name` and, for `fixed`, `ttft_ms` and `gap_ms`.

    Raises ValueError that lists the valid names.
    """
    options = {"name": spec} if isinstance(spec, str) else spec
    if not isinstance(options, dict) or options.get("name") not in PROFILES:
        raise ValueError(f"unknown profile {spec!r}: one of {', '.join(PROFILES)}")
    name = options["name"]
    given = {key: value for key, value in options.items() if key != "name"}
    if not given:
        return PROFILES[name]
    if name != "fixed" or not given.keys() <= {"ttft_ms", "gap_ms", "burst"}:
        raise ValueError(f"profile {name!r} takes no {', '.join(given)}; `fixed` takes ttft_ms, gap_ms and burst")
    if not all(isinstance(value, int | float) and value >= 0 for value in given.values()):
        raise ValueError("ttft_ms, gap_ms and burst are numbers of at least 0")
    return Profile(
        "fixed",
        constant(given.get("ttft_ms", 200)),
        constant(given.get("gap_ms", 20)),
        max(1, int(given.get("burst", 1))),
    )
