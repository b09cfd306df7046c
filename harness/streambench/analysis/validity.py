"""Whether a run's figures are those of its targets: by the generator's own share in them, and by nothing else.

How busy a core is, or how late an event loop, does not say whether a figure is wrong. They explain why one is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streambench.analysis.quantiles import QUANTILES, Distribution, streams_needed
from streambench.record.model import StreamRecord

TOLERATED_SHARE = 0.05  # of a quantile
TOLERATED_MS = 2.0
MIN_STREAMS = 20  # one hiccup among fewer is no verdict on a run; its gates see to themselves
# What a run is about. Any other figure carries its share too, and a gate on it that the share could turn is undecided.
JUDGED = ("ttfc", "ttfc_service", "gap", "e2e", "forward_lag", "hold_time")
BUSY = 0.8  # of a core: that explains it
WAITED = 0.1  # of the time without the CPU that was wanted: that explains it too
COMFORTABLE = 0.6  # of a core: at that load streams were read in time on every machine that was tried


@dataclass(frozen=True, slots=True)
class Excess:
    """A quantile in which the generator's own share is larger than tolerated. In ms."""

    target: str
    metric: str
    quantile: str
    value: float
    own: float

    @property
    def limit(self) -> float:
        """How much would be tolerated."""
        return max(TOLERATED_MS, TOLERATED_SHARE * self.value)

    def to_json(self) -> dict[str, Any]:
        """One of `excess` in the generator's object of summary.json."""
        return {
            "target": self.target,
            "metric": self.metric,
            "quantile": self.quantile,
            "value_ms": round(self.value, 4),
            "own_ms": round(self.own, 4),
            "limit_ms": round(self.limit, 4),
        }


@dataclass(slots=True)
class Activity:
    """How much the generator had to do at once, of all records."""

    first_ns: int | None = None
    last_ns: int = 0
    open_ns: int = 0  # the streams' durations together

    def add(self, start_ns: int, end_ns: int) -> None:
        """Count one stream."""
        self.first_ns = start_ns if self.first_ns is None else min(self.first_ns, start_ns)
        self.last_ns = max(self.last_ns, end_ns)
        self.open_ns += end_ns - start_ns

    def join(self, other: Activity) -> None:
        """Count the streams of another part of the run."""
        if other.first_ns is not None:
            self.first_ns = other.first_ns if self.first_ns is None else min(self.first_ns, other.first_ns)
        self.last_ns = max(self.last_ns, other.last_ns)
        self.open_ns += other.open_ns

    @property
    def span_ns(self) -> int:
        """From the first start to the last arrival."""
        return 0 if self.first_ns is None else self.last_ns - self.first_ns


def upstream_late_ns(record: StreamRecord) -> list[int]:
    """How late the fake upstream wrote for a stream, a mean for each exchange that was to go as planned."""
    return [
        (sum(exchange.written_ns) - sum(exchange.scheduled_ns)) // len(exchange.written_ns)
        for exchange in record.upstream
        if exchange.written_ns and not exchange.faults
    ]


def excesses(distributions: Mapping[str, Mapping[str, Distribution]]) -> list[Excess]:
    """What is beyond the tolerance, by target and metric; the worst first.

    A quantile with too few streams to say anything does not speak against a run either.
    """
    found = [
        excess
        for target, of_target in distributions.items()
        for metric in JUDGED
        if len(values := of_target[metric])
        for name, q in QUANTILES.items()
        if values.streams >= streams_needed(q)
        and values.streams >= MIN_STREAMS
        and (excess := Excess(target, metric, name, values.quantile(q), values.own_share(q))).own > excess.limit
    ]
    return sorted(found, key=lambda excess: excess.limit / excess.own)


def judged(generator: Mapping[str, Any], found: list[Excess], activity: Activity) -> dict[str, Any]:
    """The `generator` object of a run with what its figures say of it: `valid`, `reasons`, `excess`, `valid_up_to`."""
    out = {**generator, "excess": [excess.to_json() for excess in found], "valid_up_to": None}
    if not found:
        return out
    worst = found[0]
    streams = _valid_up_to(generator, activity)
    more = f", and {len(found) - 1} more" if len(found) > 1 else ""
    out["valid"] = False
    out["valid_up_to"] = streams
    figure = f"{worst.target}'s {worst.metric} {worst.quantile} ({worst.value:,.1f} ms)"
    reason = (
        f"{figure} may be off by up to {worst.own:,.1f} ms because of the generator itself "
        f"(limit {worst.limit:,.1f} ms{more}): "
        f"{_why(generator)}; {_remedy(generator, streams)}"
    )
    out["reasons"] = [reason, *generator["reasons"]]
    return out


def _why(generator: Mapping[str, Any]) -> str:
    cpu, waited, lag_ms = generator.get("cpu"), generator.get("cpu_wait"), generator.get("loop_lag_p99_ms")
    if waited is not None and waited > WAITED:
        return f"other programs used its CPU {waited:.0%} of the time"
    if cpu is not None and cpu > BUSY:
        return f"its core was {cpu:.0%} busy"
    if lag_ms is not None:
        return f"its loop was {lag_ms:,.0f} ms late at p99"
    return "its reads came too late"


def _remedy(generator: Mapping[str, Any], streams: int | None) -> str:
    free = "" if (generator.get("cpu_wait") or 0) <= WAITED else "stop other programs on the machine, or "
    if streams is None:
        return f"{free}give it a core of its own"
    return f"{free}lower the load to about {streams:,} streams at once"


def _valid_up_to(generator: Mapping[str, Any], activity: Activity) -> int | None:
    """About how many streams at once would have been measured right, from what they cost; None where that says nothing.

    What they cost is CPU time over the time in which they came: a generator that falls behind works on after that.
    """
    cpu: float | None = generator.get("cpu")
    elapsed_s: float | None = generator.get("elapsed_s")
    if not cpu or not elapsed_s or activity.span_ns <= 0:
        return None
    at_once = activity.open_ns / activity.span_ns
    needed = cpu * elapsed_s * 1e9 / activity.span_ns
    available = 1 - min(0.9, float(generator.get("cpu_wait") or 0.0))
    streams = at_once * COMFORTABLE * available / needed
    if streams >= at_once:
        return None
    digits = 10 ** max(0, len(str(int(streams))) - 2)
    return int(max(1, int(streams) // digits * digits))
