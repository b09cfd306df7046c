"""Exact quantiles, and how far they can be trusted.

A quantile is a value that really occurred (`streambench.quantile`). Its interval is made of order statistics, without
any assumption about the distribution. Values that belong together, such as the chunks of one stream, are resampled
together.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from streambench.analysis.shares import Shares
from streambench.quantile import quantile, quantile_index

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.95
QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
RESAMPLES = 200
WINDOW_SPREADS = 4  # of the quantile's place from draw to draw; beyond, the window grows
EXACT_BINOMIAL_LIMIT = 20_000


def streams_needed(q: float) -> int:
    """How many streams a quantile needs before it says anything: 1 / (1 - q)."""
    return math.ceil(1 / (1 - q) - 1e-9)


def quantile_bounds(n: int, q: float, confidence: float = CONFIDENCE) -> tuple[int | None, int | None]:
    """The indices of the order statistics that enclose the q-quantile with `confidence`, or None where n is too small.

    The k-th smallest value is below the quantile with a probability that the binomial distribution of (n, q) gives.
    """
    tail = (1 - confidence) / 2
    cumulative = _binomial_cdf(n, q)
    # lower: the largest k with P(at most k values lie below) <= tail; upper: the smallest with >= 1 - tail
    lower = bisect_right(range(n), tail, key=cumulative) - 1
    upper = bisect_left(range(n), 1 - tail, key=cumulative)
    return (lower if lower >= 0 else None), (upper if upper < n else None)


def one_sided_bound(n: int, q: float, confidence: float, *, upper: bool) -> int | None:
    """The index of the order statistic that bounds the q-quantile on one side, or None where n is too small."""
    cumulative = _binomial_cdf(n, q)
    if upper:
        index = bisect_left(range(n), confidence, key=cumulative)
        return index if index < n else None
    index = bisect_right(range(n), 1 - confidence, key=cumulative) - 1
    return index if index >= 0 else None


@lru_cache(maxsize=64)
def _binomial_cdf(n: int, q: float) -> Callable[[int], float]:
    """P(B <= k) as a function of k = 0..n-1, B binomial with n trials of probability q."""
    if n > EXACT_BINOMIAL_LIMIT:
        spread = math.sqrt(n * q * (1 - q))
        return lambda k: 0.5 * math.erfc(-((k + 0.5 - n * q) / spread) / math.sqrt(2))

    import numpy as np

    k = np.arange(n)
    log_factorial = _log_factorials(n)
    log_pmf = log_factorial[n] - log_factorial[k] - log_factorial[n - k] + k * math.log(q) + (n - k) * math.log1p(-q)
    cumulative: list[float] = np.cumsum(np.exp(log_pmf)).tolist()
    return cumulative.__getitem__


@lru_cache(maxsize=8)
def _log_factorials(n: int) -> Floats:
    """The logarithms of 0! to n!."""
    import numpy as np

    return np.array([math.lgamma(value + 1) for value in range(n + 1)])


def wilson(successes: int, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """The Wilson interval of a rate. With no success in n, at most 3/n (the rule of three)."""
    if n == 0:
        return 0.0, 1.0
    if successes == 0:
        return 0.0, min(1.0, 3 / n)
    share = successes / n
    centre = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


@dataclass(frozen=True, slots=True)
class Distribution:
    """All values of a metric over the judged streams of a target.

    `values` ascending. `clusters`: for a metric of chunks, the stream of each value, parallel to `values`; else None.
    `failures`: streams that failed and have no value; in the adjusted quantiles they count as +infinity. `own`: what in
    the values may be the generator's own doing; None where nothing is.
    """

    unit: str
    values: Floats
    streams: int
    failures: int = 0
    clusters: npt.NDArray[np.int32] | None = None
    own: Shares | None = None
    # What `_resampled` has drawn, by quantile: the gates and every report ask for the same intervals.
    _draws: dict[float, Floats] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of_streams(
        cls, unit: str, values: Sequence[float] | Floats, failures: int, own: Shares | None = None
    ) -> Distribution:
        """Of a metric with one value a stream, in any order."""
        import numpy as np

        return cls(unit, np.sort(np.asarray(values, dtype=np.float64)), len(values), failures, None, own)

    @classmethod
    def of_chunks(cls, unit: str, per_stream: Sequence[Sequence[float]], failures: int) -> Distribution:
        """Pools the chunks of the streams; a stream without any is left out."""
        import numpy as np

        given = [values for values in per_stream if len(values)]
        if not given:
            return cls(unit, np.empty(0), 0, failures, np.empty(0, dtype=np.int32))
        values = np.concatenate([np.asarray(values, dtype=np.float64) for values in given])
        clusters = np.repeat(np.arange(len(given), dtype=np.int32), [len(values) for values in given])
        return cls.pooled(unit, values, clusters, len(given), failures)

    @classmethod
    def pooled(
        cls,
        unit: str,
        values: Floats,
        clusters: npt.NDArray[np.int32],
        streams: int,
        failures: int,
        own: Shares | None = None,
    ) -> Distribution:
        """Of the chunks of all streams in any order; `clusters` is the number of each chunk's stream, from 0."""
        import numpy as np

        order = np.argsort(values)
        return cls(unit, values[order], streams, failures, clusters[order], own)

    def __len__(self) -> int:
        return len(self.values)

    def quantile(self, q: float) -> float:
        """The q-quantile of the values; at least one."""
        return quantile(self.values, q)

    def statistic(self, name: str) -> float:
        """The mean, min or max of the values."""
        index = {"min": 0, "max": len(self.values) - 1}.get(name)
        return float(self.values.mean() if index is None else self.values[index])

    def bounds(self, statistic: str | float) -> tuple[float, float]:
        """Between what a quantile, the mean, min or max lies, where the generator's own share is known."""
        if self.own is None:
            value = self.statistic(statistic) if isinstance(statistic, str) else self.quantile(statistic)
            return value, value
        if statistic == "mean":
            return self.own.mean_bounds(self.values)
        n = len(self.values)
        index = {"min": 0, "max": n - 1}[statistic] if isinstance(statistic, str) else quantile_index(n, statistic)
        return self.own.bounds(self.values, index)

    def own_share(self, q: float) -> float:
        """How far the generator may have moved a quantile, up or down."""
        low, high = self.bounds(q)
        value = self.quantile(q)
        return max(value - low, high - value)

    def adjusted(self, q: float) -> float:
        """The quantile with every failed stream as a stream that never got there."""
        if self.clusters is not None or not self.failures:
            return self.quantile(q)
        index = quantile_index(len(self.values) + self.failures, q)
        return float(self.values[index]) if index < len(self.values) else math.inf

    def interval(self, q: float) -> tuple[float, float] | None:
        """The 95% interval of a quantile, or None where there are too few streams for one."""
        if self.clusters is not None:
            return self._clustered_interval(q)
        lower, upper = quantile_bounds(len(self.values), q)
        if lower is None or upper is None:
            return None
        return float(self.values[lower]), float(self.values[upper])

    def _clustered_interval(self, q: float) -> tuple[float, float] | None:
        """A bootstrap over whole streams: the chunks of one stream are not independent of each other."""
        import numpy as np

        found = self._resampled(q)
        if found is None:
            return None
        low, high = np.quantile(found, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], method="inverted_cdf")
        return float(low), float(high)

    def clustered_bound(self, q: float, confidence: float, *, upper: bool) -> float | None:
        """What a quantile over chunks does not exceed (`upper`) or fall below, or None for too few streams."""
        import numpy as np

        found = self._resampled(q)
        if found is None:
            return None
        return float(np.quantile(found, confidence if upper else 1 - confidence, method="inverted_cdf"))

    def _resampled(self, q: float) -> Floats | None:
        """The quantile of each draw of whole streams, with replacement; None where there are too few for one."""
        if self.streams < streams_needed(q) or self.streams < 2:
            return None
        if q not in self._draws:
            wanted = {q, *(usual for usual in QUANTILES.values() if self.streams >= streams_needed(usual))}
            self._draws.update(self._draw(sorted(wanted - self._draws.keys())))
        return self._draws[q]

    def _draw(self, wanted: Sequence[float]) -> dict[float, Floats]:
        """Draw streams once, and take every wanted quantile of each draw.

        A draw weighs each value by how often its stream was drawn. Only values close to the quantile of all can be the
        quantile of a draw, so that the weights are summed up value by value in a window around it; what lies below the
        window is summed up stream by stream.
        """
        import numpy as np

        assert self.clusters is not None
        random = np.random.default_rng(0)
        sizes = np.bincount(self.clusters, minlength=self.streams)
        windows = {q: _Window(self.clusters, self.streams, q) for q in wanted}
        found = {q: np.empty(RESAMPLES) for q in wanted}
        for i in range(RESAMPLES):
            weights = np.bincount(random.integers(0, self.streams, self.streams), minlength=self.streams)
            total = int(weights @ sizes)
            for q in wanted:
                index = windows[q].find(weights, q * total - 1e-9)
                found[q][i] = self.values[min(index, len(self.values) - 1)]
        return found

    def to_json(self) -> dict[str, Any]:
        """The entry of `summary.json`; figures are rounded to what the stamps can carry (a microsecond)."""
        import numpy as np

        values = self.values
        out: dict[str, Any] = {"unit": self.unit, "n": len(values)}
        if self.clusters is not None:
            out["streams"] = self.streams
        out |= {"mean": _rounded(float(np.mean(values))), "min": _rounded(float(values[0]))}
        out |= {name: _rounded(self.quantile(q)) for name, q in QUANTILES.items()}
        out["max"] = _rounded(float(values[-1]))
        intervals = {name: self.interval(q) for name, q in QUANTILES.items() if name != "p90"}
        out["ci95"] = {
            name: None if interval is None else [_rounded(interval[0]), _rounded(interval[1])]
            for name, interval in intervals.items()
        }
        out["own_share"] = {
            **{name: _rounded(self.own_share(q)) for name, q in QUANTILES.items()},
            "worst": _rounded(self.own.worst) if self.own is not None else 0.0,
        }
        if self.failures and self.clusters is None:
            adjusted = {name: self.adjusted(q) for name, q in QUANTILES.items()}
            out["adjusted"] = {name: None if math.isinf(value) else _rounded(value) for name, value in adjusted.items()}
        return out


class _Window:
    """The values around a quantile, in which a weighted quantile is looked for.

    `clusters` is the stream of each value in ascending order. The window grows where a quantile lies outside.
    """

    def __init__(self, clusters: npt.NDArray[np.int32], streams: int, q: float) -> None:
        self._clusters = clusters
        self._streams = streams
        n = len(clusters)
        middle = math.ceil(q * n)
        # Were the chunks of each stream all on one side, the place would spread by this much.
        spread = math.sqrt(q * (1 - q) / streams) * n
        reach = math.ceil(WINDOW_SPREADS * spread) + 1
        self._set(max(0, middle - reach), min(n, middle + reach))

    def _set(self, low: int, high: int) -> None:
        import numpy as np

        self._low, self._high = low, high
        self._below = np.bincount(self._clusters[:low], minlength=self._streams)
        self._inside = self._clusters[low:high]

    def find(self, weights: npt.NDArray[np.int64], wanted: float) -> int:
        """The first value up to which the weights sum up to `wanted`; the number of values where none does."""
        import numpy as np

        while True:
            below = int(weights @ self._below)
            sums = np.cumsum(weights[self._inside])
            inside = int(sums[-1]) if len(sums) else 0
            if (below < wanted or self._low == 0) and (below + inside >= wanted or self._high == len(self._clusters)):
                return self._low + int(np.searchsorted(sums, wanted - below))
            size = self._high - self._low
            self._set(max(0, self._low - size), min(len(self._clusters), self._high + size))


def _rounded(value: float) -> float:
    return round(value, 4)
