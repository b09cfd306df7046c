"""Real or simulated: does the text reach the client while the upstream is still writing it?

Three numbers decide about a stream, from the two time lines of its text. *Overlap*: of the text that the upstream had
written before its last write, the share that had reached the client by then. *Granularity*: the client's bursts against
the upstream's. *Slope*: how fast text arrived against how fast it was written.
"""

from __future__ import annotations

import itertools
import math
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from statistics import median
from typing import TYPE_CHECKING, Any

from streambench.analysis.alignment import Alignment
from streambench.record.model import StreamRecord
from streambench.units import NS_PER_MS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Integers = npt.NDArray[np.int64]

BURST_NS = 2 * NS_PER_MS  # arrivals closer than this are one burst
OVERLAP_NONE = 0.1
OVERLAP_FULL = 0.8
GRANULARITY_FINE = 0.35  # below, each burst gathers about three of the upstream's or more
SLOPE_LIKE_UPSTREAM = (0.6, 1.5)
AT_ONCE_SHARE = 0.33  # of the upstream's duration: a reader sees no cadence in it
AT_ONCE_NS = 30 * NS_PER_MS
SHORTEST_PAUSE_NS = 10 * NS_PER_MS  # what is written out faster than this comes at once for a reader
AGREEMENT = 0.8  # the share of streams that must agree for one verdict
STEADY = 0.15  # spread of an artificial cadence's pauses, relative to the pause
MAX_SLOPE_POINTS = 60


class Verdict(StrEnum):
    """What a system does with its upstream's stream."""

    FORWARDED = "forwarded"
    BATCHED = "batched"
    BUFFERED = "buffered"
    PACED = "paced"
    MIXED = "mixed"
    UNKNOWN = "unknown"
    LIKELY_STREAMED = "likely-streamed"
    LIKELY_BUFFERED = "likely-buffered"
    LIKELY_PACED = "likely-paced"


@dataclass(frozen=True, slots=True)
class StreamAuthenticity:
    """The verdict on one stream and the numbers behind it; what could not be computed is None. Times in ms."""

    verdict: Verdict
    overlap: float | None = None
    granularity: float | None = None
    slope: float | None = None
    lag_ms: float | None = None
    period_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Authenticity:
    """The verdict on a target: that of its streams where they agree. Numbers are medians over the streams."""

    verdict: Verdict
    evidence: str
    overlap: float | None = None
    granularity: float | None = None
    slope: float | None = None
    lag_ms: float | None = None
    period_ms: float | None = None
    shares: dict[str, float] = field(default_factory=dict)
    streams: int = 0

    def to_json(self) -> dict[str, Any]:
        """The entry of `summary.json`."""

        def rounded(value: float | None) -> float | None:
            return None if value is None else round(value, 4)

        return {
            "verdict": self.verdict,
            "overlap": rounded(self.overlap),
            "granularity": rounded(self.granularity),
            "slope": rounded(self.slope),
            "lag_ms": rounded(self.lag_ms),
            "period_ms": rounded(self.period_ms),
            "shares": {name: round(share, 4) for name, share in self.shares.items()},
            "streams": self.streams,
            "evidence": self.evidence,
        }


def judge_stream(alignment: Alignment) -> StreamAuthenticity:
    """The verdict on a stream that was seen from both sides."""
    upstream = alignment.upstream
    writes = bursts(upstream.written_ns)
    arrived, chars = alignment.arrived_ns, alignment.chars
    if len(writes) < 2 or not arrived:
        return StreamAuthenticity(Verdict.UNKNOWN)
    last_write_ns = upstream.written_ns[-1]
    total = sum(chars)
    in_time = sum(count for count, at_ns in zip(chars, arrived, strict=True) if at_ns < last_write_ns)
    before_last = upstream.offset[-2] / upstream.offset[-1] if len(upstream.offset) > 1 else 0.0
    if total == 0 or before_last == 0:
        return StreamAuthenticity(Verdict.UNKNOWN)
    overlap = min(1.0, in_time / total / before_last)
    got = bursts(arrived)
    granularity = len(got) / len(writes)
    slope = robust_slope(alignment.written_ns, arrived)
    lag_ns = median(alignment.lag_ns)
    # If all of the text were as late as its median piece, this share of it would have been in time.
    punctual = bisect_left(upstream.written_ns, last_write_ns - lag_ns)
    evenly_late = upstream.offset[punctual - 1] / upstream.offset[-1] / before_last if punctual > 0 else 0.0
    in_step = overlap >= OVERLAP_FULL * min(1.0, evenly_late)
    upstream_span_ns = upstream.written_ns[-1] - upstream.written_ns[0]
    span_ns = arrived[-1] - arrived[0]
    pause_ns = median(pauses) if (pauses := [b - a for a, b in itertools.pairwise(got)]) else 0.0
    verdict = _verdict(overlap, granularity, slope if in_step else None, span_ns, upstream_span_ns, pause_ns)
    period_ms = pause_ns / NS_PER_MS if verdict is Verdict.PACED else None
    return StreamAuthenticity(verdict, overlap, granularity, slope, lag_ns / NS_PER_MS, period_ms)


def _verdict(
    overlap: float, granularity: float, slope: float | None, span_ns: int, upstream_span_ns: int, pause_ns: float
) -> Verdict:
    """`slope` None: the text has no pace of its own, since a part of it was held back."""
    if overlap <= OVERLAP_NONE:
        at_once = span_ns <= max(AT_ONCE_NS, AT_ONCE_SHARE * upstream_span_ns)
        return Verdict.BUFFERED if at_once or pause_ns < SHORTEST_PAUSE_NS else Verdict.PACED
    if granularity < GRANULARITY_FINE:
        return Verdict.BATCHED
    if overlap >= OVERLAP_FULL:
        return Verdict.FORWARDED
    if slope is not None and slope > SLOPE_LIKE_UPSTREAM[1]:
        return Verdict.PACED
    if slope is not None and slope >= SLOPE_LIKE_UPSTREAM[0]:
        return Verdict.FORWARDED  # late, but at the upstream's own pace
    return Verdict.BATCHED


def guess_stream(record: StreamRecord) -> StreamAuthenticity:
    """What a stream looks like from the client's side alone: a guess, which no gate accepts."""
    at_ns = list(itertools.compress(record.events.at_ns, record.events.chars))
    if len(at_ns) < 5:
        return StreamAuthenticity(Verdict.UNKNOWN)
    got = bursts(at_ns)
    waited_ns = at_ns[0] - record.start_ns
    span_ns = at_ns[-1] - at_ns[0]
    if len(got) < 3 or span_ns < 0.05 * waited_ns:
        return StreamAuthenticity(Verdict.LIKELY_BUFFERED)
    pauses = [after - before for before, after in itertools.pairwise(got)]
    middle = median(pauses)
    spread = median([abs(pause - middle) for pause in pauses])
    if len(pauses) >= 5 and spread <= STEADY * middle / 2:
        return StreamAuthenticity(Verdict.LIKELY_PACED, period_ms=middle / NS_PER_MS)
    return StreamAuthenticity(Verdict.LIKELY_STREAMED)


NUMBERS = ("overlap", "granularity", "slope", "lag_ms", "period_ms")
_VERDICTS = tuple(Verdict)
_INDEX = {verdict: index for index, verdict in enumerate(_VERDICTS)}


class AuthenticityColumns:
    """The verdicts on many streams and their numbers, as columns; a number that could not be computed is NaN."""

    def __init__(self, streams: Iterable[StreamAuthenticity] = ()) -> None:
        self.verdict = array("b")
        self.numbers = {name: array("d") for name in NUMBERS}
        for stream in streams:
            self.add(stream)

    def __len__(self) -> int:
        return len(self.verdict)

    def add(self, stream: StreamAuthenticity) -> None:
        """The verdict on one more stream."""
        self.verdict.append(_INDEX[stream.verdict])
        for name, column in self.numbers.items():
            value = getattr(stream, name)
            column.append(math.nan if value is None else value)

    def counts(self) -> Counter[Verdict]:
        """How many streams have each verdict."""
        return Counter({_VERDICTS[index]: count for index, count in Counter(self.verdict).items()})

    def median(self, name: str, verdict: Verdict | None) -> float | None:
        """The median of a number over the streams with a verdict, or over all that were decided; None without any."""
        index = None if verdict is None else _INDEX[verdict]
        unknown = _INDEX[Verdict.UNKNOWN]
        known = [
            value
            for of, value in zip(self.verdict, self.numbers[name], strict=True)
            if (of == index or (index is None and of != unknown)) and not math.isnan(value)
        ]
        return median(known) if known else None


def judge(streams: AuthenticityColumns | Iterable[StreamAuthenticity]) -> Authenticity:
    """The verdict on a target from the verdicts on its streams."""
    columns = streams if isinstance(streams, AuthenticityColumns) else AuthenticityColumns(streams)
    counts = columns.counts()
    undecided = counts.pop(Verdict.UNKNOWN, 0)
    decided = counts.total()
    if not decided:
        why = "no stream could be judged" if undecided else "there was no complete stream"
        return Authenticity(Verdict.UNKNOWN, f"{why}: the upstream wrote the reply at once, or was not seen")
    shares = {str(verdict): count / decided for verdict, count in counts.most_common()}
    verdict, count = counts.most_common(1)[0]
    if count / decided < AGREEMENT:
        verdict = Verdict.MIXED
    agreeing = None if verdict is Verdict.MIXED else verdict
    numbers = {name: columns.median(name, agreeing) for name in NUMBERS}
    found = Authenticity(verdict, "", **numbers, shares=shares, streams=decided)
    return replace(found, evidence=_evidence(found))


def _evidence(found: Authenticity) -> str:
    """The verdict's reason in one sentence."""
    overlap = f"{found.overlap:.0%}" if found.overlap is not None else "?"
    lag = f"{found.lag_ms:,.1f} ms" if found.lag_ms is not None else "?"
    coarse = f"{1 / found.granularity:.0f}" if found.granularity else "?"
    match found.verdict:
        case Verdict.FORWARDED:
            return (
                f"its text arrives while the upstream is still writing (overlap {overlap}), {lag} behind at the median"
            )
        case Verdict.BATCHED:
            return (
                f"text arrives while the upstream is still writing (overlap {overlap}), but in bursts that each gather "
                f"about {coarse} of the upstream's"
            )
        case Verdict.BUFFERED:
            return "nothing arrived before the upstream had written everything; then all of it came at once"
        case Verdict.PACED if found.overlap is not None and found.overlap <= OVERLAP_NONE:
            return (
                "nothing arrived before the upstream had written everything; then the text was typed out with "
                f"{found.period_ms:.0f} ms between pieces"
            )
        case Verdict.PACED:
            return f"text arrived {found.slope:.1f} times slower than it was written, at a cadence of its own"
        case Verdict.MIXED:
            return "streams disagree: " + ", ".join(f"{share:.0%} {name}" for name, share in found.shares.items())
        case Verdict.LIKELY_BUFFERED:
            return "seen from the client only: after a wait everything came at once"
        case Verdict.LIKELY_PACED:
            return f"seen from the client only: pieces came {found.period_ms:.0f} ms apart, too evenly for a model"
        case _:
            return "seen from the client only: text came over time and unevenly, as a model writes it"


def bursts(at_ns: Sequence[int]) -> list[int]:
    """The moments at which bursts begin: what comes within `BURST_NS` of the one before belongs to the same burst."""
    begun = [after for before, after in itertools.pairwise(at_ns) if after - before > BURST_NS]
    return [at_ns[0], *begun] if len(at_ns) else []


def robust_slope(x: Sequence[int], y: Sequence[int]) -> float | None:
    """The median slope between any two points (Theil and Sen); None where x does not change."""
    import numpy as np

    points = sorted(set(zip(x, y, strict=True)))
    if len(points) > MAX_SLOPE_POINTS:
        points = [points[i] for i in np.linspace(0, len(points) - 1, MAX_SLOPE_POINTS).round().astype(int)]
    if points[0][0] == points[-1][0]:
        return None
    columns = np.array(points, dtype=np.float64)
    first, second = _pairs(len(points))
    difference = columns[second] - columns[first]
    dx, dy = difference[:, 0], difference[:, 1]
    apart = dx > 0
    slopes = np.sort(dy[apart] / dx[apart])
    middle = len(slopes) // 2
    return float(slopes[middle] if len(slopes) % 2 else (slopes[middle - 1] + slopes[middle]) / 2)


@cache
def _pairs(count: int) -> tuple[Integers, Integers]:
    """The indices of every pair of so many points, at most MAX_SLOPE_POINTS."""
    import numpy as np

    first, second = np.triu_indices(count, k=1)
    return first, second
