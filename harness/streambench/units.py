"""Durations, rates and ratios: as people write them, and as integers internally.

Inside, a duration is an integer number of nanoseconds; at the edges it is milliseconds.
"""

from __future__ import annotations

import math
import re

NS_PER_US = 1_000
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

_DURATION_UNITS_NS = {
    "ns": 1,
    "us": NS_PER_US,
    "µs": NS_PER_US,
    "ms": NS_PER_MS,
    "s": NS_PER_S,
    "m": 60 * NS_PER_S,
    "min": 60 * NS_PER_S,
    "h": 3600 * NS_PER_S,
}
_RATE_UNITS_S = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}
_QUANTITY = re.compile(r"\s*(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)\s*(?P<unit>\D*?)\s*")


def parse_duration_ns(text: str) -> int:
    """Nanoseconds of a duration such as `800ms`, `2s`, `1.5s` or `5min`.

    A bare number is refused, except 0: it would leave open which unit is meant. Raises ValueError with the remedy.
    """
    match = _QUANTITY.fullmatch(text)
    if match is not None:
        number, unit = match["number"], match["unit"]
        duration_ns = float(number) * _DURATION_UNITS_NS.get(unit, math.inf)
        if math.isfinite(duration_ns):
            return round(duration_ns)
        if unit == "" and float(number) == 0:
            return 0
        if unit == "" and math.isfinite(float(number)):
            raise ValueError(f"{text!r} has no unit: write {number}s, {number}ms or {number}min")
    raise ValueError(f"{text!r} is not a duration: write a number with a unit, such as 800ms, 2s or 5min")


def parse_rate_per_s(text: str) -> float:
    """Events a second of a rate such as `10/s` or `90/min`. Raises ValueError with the remedy."""
    number_text, slash, unit = text.partition("/")
    try:
        if slash and unit.strip() in _RATE_UNITS_S:
            number = float(number_text)
            if 0 <= number < math.inf:
                return number / _RATE_UNITS_S[unit.strip()]
    except ValueError:
        pass
    raise ValueError(f"{text!r} is not a rate: write a number and a unit of time, such as 10/s or 90/min")


def parse_ratio(text: str) -> float:
    """A ratio such as `1%`, `0.01` or `0`. Raises ValueError with the remedy."""
    stripped = text.strip()
    try:
        return float(stripped[:-1]) / 100 if stripped.endswith("%") else float(stripped)
    except ValueError:
        raise ValueError(f"{text!r} is not a ratio: write it as 1% or 0.01") from None


def format_duration(duration_ns: float) -> str:
    """A duration for a person: three significant digits and the unit that keeps them readable (`812 ms`, `1.24 s`)."""
    magnitude = abs(duration_ns)
    if magnitude < 999.5:
        return f"{duration_ns:.0f} ns"
    for unit_ns, unit in ((NS_PER_US, "µs"), (NS_PER_MS, "ms"), (NS_PER_S, "s")):
        value = duration_ns / unit_ns
        if abs(value) < 999.5 or unit == "s":
            digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
            return f"{value:.{digits}f} {unit}"
    raise AssertionError("unreachable")
