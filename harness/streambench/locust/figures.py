"""Exact quantiles in bounded memory: values are counted by the figure that will be shown.

A quantile of this house is a value that really occurred, so rounding the values and then taking the quantile gives the
same as taking the quantile and then rounding. What is kept is therefore one count for each figure a reader could see,
and not each value; a day's gaps take as much memory as a minute's.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from streambench.analysis.quantiles import QUANTILES
from streambench.quantile import quantile_index

DECIMALS = {"ms": 1, "per s": 1, "count": 1, "factor": 2, "ratio": 3}
SUMMARY_DECIMALS = 4  # a summary's own figures are rounded to this before anything else
SMALL_MS, SMALL_RATIO = 0.05, 0.1


def shown(value: float, unit: str) -> float:
    """The value as far as `report.wording.figure` prints it; for each unit it never falls as the value rises."""
    value = round(value, SUMMARY_DECIMALS)
    if unit == "ms" and abs(value) < SMALL_MS:
        return value  # shown with two digits, whatever they are
    if unit == "ratio" and abs(value) < SMALL_RATIO:
        return round(value, DECIMALS["ratio"] + 1)
    return round(value, DECIMALS.get(unit, SUMMARY_DECIMALS))


@dataclass(slots=True)
class FigureCounts:
    """How often each shown figure of a metric occurred; the counts of parts add up to those of the whole."""

    unit: str
    counts: Counter[float] = field(default_factory=Counter)
    n: int = 0
    total: float = 0.0

    def take(self, values: Iterable[float]) -> None:
        """Count some values."""
        for value in values:
            self.counts[shown(value, self.unit)] += 1
            self.n += 1
            self.total += value

    def add(self, other: FigureCounts) -> None:
        """Count everything that another has counted."""
        self.counts.update(other.counts)
        self.n += other.n
        self.total += other.total

    def quantiles(self, qs: Iterable[float]) -> list[float]:
        """The quantiles in the order asked for; NaN where nothing was counted."""
        wanted = {q: quantile_index(self.n, q) for q in qs} if self.n else {}
        found: dict[float, float] = {}
        pending = sorted(wanted.items(), key=lambda item: item[1])
        seen = 0
        for value in sorted(self.counts):
            seen += self.counts[value]
            while pending and pending[0][1] < seen:
                found[pending.pop(0)[0]] = value
            if not pending:
                break
        return [found.get(q, math.nan) for q in qs]

    def to_json(self) -> dict[str, Any]:
        """`n`, the quantiles of a summary, the least and the largest value; every figure as it is shown."""
        if not self.n:
            return {"unit": self.unit, "n": 0}
        names = list(QUANTILES)
        values = self.quantiles([QUANTILES[name] for name in names])
        ends = {"min": min(self.counts), "max": max(self.counts)}
        return (
            {"unit": self.unit, "n": self.n, "mean": shown(self.total / self.n, self.unit)}
            | ends
            | dict(zip(names, values, strict=True))
        )

    def curve(self, points: int) -> list[tuple[float, float]]:
        """The distribution as at most `points` pairs: a value, and the share that does not exceed it."""
        out: list[tuple[float, float]] = []
        seen, step = 0, max(1.0, self.n / points)
        for value in sorted(self.counts):
            seen += self.counts[value]
            if not out or seen == self.n or seen >= out[-1][1] * self.n + step:
                out.append((value, seen / self.n))
        return out
