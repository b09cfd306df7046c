"""Real or simulated, for one stream: does its text reach the client while the upstream is still writing it?

Four numbers decide about a stream, from the two time lines of its text. *Overlap*: of the text that the upstream had
written before its last write, the share that had reached the client by then. *Held*: the share of the upstream's writes
whose text had not left before the next write, where the pause between the two is longer than the path's own spread.
*Granularity*: the client's bursts against the upstream's. *Slope*: how fast text arrived against how fast it was
written. An upstream that was asked for the whole reply at once wrote once; what comes after that is not streaming.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import TYPE_CHECKING

from streambench.analysis.alignment import Alignment
from streambench.analysis.quantiles import wilson
from streambench.analysis.verdicts import StreamAuthenticity, Verdict, Why
from streambench.analysis.windows import NO_WINDOW, Window, find_window, moments
from streambench.quantile import quantile
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
TYPED_SHARE = 0.5  # bursts for each piece: who types, sends them one by one; fewer came at once on a busy machine
HELD_SHARE = 0.25  # of the writes; a buffer of two single tokens holds every other one
MIN_WRITES = 3  # that a long enough pause follows, or nothing is said of what was held
MIN_WRITES_SHARE = 1 / 3  # of all writes: the few longest pauses of a stream that was disturbed say nothing
SPREADS_A_PAUSE = 1.5  # how much longer than the path's spread a pause must be to count
HELD_PAUSE = 0.6  # of the pause: text that leaves later than this has waited for the next write
STEADY_SHARE = 0.25  # of the upstream's duration: lags that differ less follow its rhythm
STEADY_LAG = 0.75  # of the upstream's duration: what is later than this has waited for the whole reply
MERGED = 0.7  # client bursts for each of the upstream's: with fewer, something gathers, be it only a busy machine
SHORTEST_REPLY_NS = 100 * NS_PER_MS
PATHS_A_REPLY = 3  # how much longer than the path the upstream must write before a reply at once means a buffer
STEADY = 0.15  # spread of an artificial cadence's pauses, relative to the pause
MAX_SLOPE_POINTS = 60


def judge_stream(alignment: Alignment) -> StreamAuthenticity:
    """The verdict on a stream that was seen from both sides."""
    arrived = alignment.arrived_ns
    if not arrived:
        return StreamAuthenticity(Verdict.UNKNOWN, why=Why.OTHER_TEXT)
    got = bursts(arrived)
    span_ns = arrived[-1] - arrived[0]
    pauses = [after - before for before, after in itertools.pairwise(got)]
    pause_ns = median(pauses) if pauses else 0.0
    lag_ns = median(alignment.lag_ns)
    numbers: dict[str, float] = {
        "lag_ms": lag_ns / NS_PER_MS,
        "hold_ms": median(_hold_of_bursts(alignment)) / NS_PER_MS,
        "bursts": float(len(got)),
    }
    if _asked_whole(alignment):
        numbers["writes"] = 1.0
        at_once = span_ns <= AT_ONCE_NS or pause_ns < SHORTEST_PAUSE_NS or not _one_by_one(alignment, got)
        verdict = Verdict.BUFFERED if at_once else Verdict.PACED
        period_ms = None if at_once else pause_ns / NS_PER_MS
        return StreamAuthenticity(verdict, **numbers, period_ms=period_ms, why=Why.ASKED_WHOLE)
    writes = alignment.writes()
    wrote = bursts([written_ns for written_ns, _, _ in writes])
    numbers |= {"writes": float(len(wrote)), "write_words": _words_a_write(alignment)}
    # A damaged record may say that what was written last was written first.
    if len(wrote) < 2 or not any(size for written_ns, size, _ in writes if written_ns < writes[-1][0]):
        return StreamAuthenticity(Verdict.UNKNOWN, **numbers, why=Why.WROTE_ONCE)
    upstream_span_ns = writes[-1][0] - writes[0][0]
    overlap, in_step = _overlap(alignment, writes, lag_ns)
    granularity = len(got) / len(wrote)
    slope = robust_slope(alignment.written_ns, arrived)
    late_ns = _upstream_late(alignment)
    steady = span_ns > AT_ONCE_SHARE * upstream_span_ns and _steady(alignment, upstream_span_ns)
    after_all = overlap <= OVERLAP_NONE and not steady
    path_ns = arrived[0] - writes[-1][0]
    window = find_window(moments(writes, BURST_NS), late_ns) if overlap > OVERLAP_NONE else NO_WINDOW
    held, held_of = _held(writes, *_path(alignment, window, late_ns, path_ns if after_all else None))
    numbers |= {"overlap": overlap, "granularity": granularity, "held_of": float(held_of)}
    verdict, why = _verdict(
        _Seen(
            overlap,
            granularity,
            slope if in_step else None,
            held,
            span_ns,
            upstream_span_ns,
            pause_ns,
            path_ns=path_ns,
            after_all=after_all,
            steady=steady,
            one_by_one=_one_by_one(alignment, got),
            window=window,
            held_of=held_of,
            late_ns=late_ns,
            write_pause_ns=median([after - before for before, after in itertools.pairwise(wrote)]),
        )
    )
    if window.score is not None:
        numbers["window_score"] = window.score
    if why in (Why.WINDOW, Why.PATH_OR_WINDOW):
        numbers["window"] = float(window.writes)
    period_ms = pause_ns / NS_PER_MS if verdict is Verdict.PACED else None
    return StreamAuthenticity(verdict, **numbers, slope=slope, held=held, period_ms=period_ms, why=why)


def _one_by_one(alignment: Alignment, got: Sequence[int]) -> bool:
    """Pieces came with pauses between most of them, as who types sends them; and not in a few heaps."""
    return len(got) > TYPED_SHARE * len(alignment.arrived_ns)


def _asked_whole(alignment: Alignment) -> bool:
    """Most of the text is of requests that asked for the whole reply at once."""
    streamed = sum(
        count
        for count, source in zip(alignment.chars, alignment.source, strict=True)
        if alignment.exchanges[source].stream
    )
    return 2 * streamed < sum(alignment.chars)


def _overlap(alignment: Alignment, writes: Sequence[tuple[int, int, int | None]], lag_ns: float) -> tuple[float, bool]:
    """The overlap, and whether it is what an evenly late path would leave of it."""
    last_write_ns = writes[-1][0]
    total = sum(alignment.chars)
    written = sum(size for _, size, _ in writes)
    in_time = sum(
        count for count, at_ns in zip(alignment.chars, alignment.arrived_ns, strict=True) if at_ns < last_write_ns
    )
    before_last = sum(size for at_ns, size, _ in writes if at_ns < last_write_ns) / written
    overlap = min(1.0, in_time / total / before_last)
    # If all of the text were as late as its median piece, this share of it would have been in time.
    punctual = sum(size for at_ns, size, _ in writes if at_ns < last_write_ns - lag_ns) / written
    return overlap, overlap >= OVERLAP_FULL * min(1.0, punctual / before_last)


def _newest_lags(alignment: Alignment) -> list[int]:
    """For each burst of the client's, how old its newest character was: what the path takes, whatever is held back."""
    lags: list[int] = []
    previous: int | None = None
    for at_ns, written_ns in zip(alignment.arrived_ns, alignment.written_ns, strict=True):
        if previous is None or at_ns - previous > BURST_NS:
            lags.append(at_ns - written_ns)
        else:
            lags[-1] = min(lags[-1], at_ns - written_ns)
        previous = at_ns
    return lags


def _hold_of_bursts(alignment: Alignment) -> list[int]:
    """For each burst of the client's, how old its oldest character was."""
    holds: list[int] = []
    previous: int | None = None
    for at_ns, oldest_ns in zip(alignment.arrived_ns, alignment.oldest_ns, strict=True):
        if previous is None or at_ns - previous > BURST_NS:
            holds.append(at_ns - oldest_ns)
        else:
            holds[-1] = max(holds[-1], at_ns - oldest_ns)
        previous = at_ns
    return holds


def _path(alignment: Alignment, window: Window, late_ns: float, after_all_ns: int | None) -> tuple[float, float]:
    """How long the path takes, and the longest pause that says nothing of what is held.

    That is the path's own spread or the upstream's own lateness: what the path always takes is not held, and a machine
    that lets the upstream wait lets the system between wait as well. `after_all_ns` is how long after the upstream's
    last write the first text came, where hardly any came before it: then the path is seen in that text alone, however
    many reads brought the rest, and no jitter makes a reply wait for its own end.
    """
    if after_all_ns is not None:
        return max(0, after_all_ns), BURST_NS
    lags = sorted(_newest_lags(alignment))
    path_ns, spread_ns = quantile(lags, 0.5), quantile(lags, 0.9) - quantile(lags, 0.1)
    if window.sure:  # the lags are its doing, and not the path's
        path_ns, spread_ns = window.path_ns, 0.0
    return path_ns, max(float(BURST_NS), SPREADS_A_PAUSE * max(spread_ns, late_ns))


def _held(
    writes: Sequence[tuple[int, int, int | None]], path_ns: float, shortest_ns: float
) -> tuple[float | None, int]:
    """The share of the upstream's writes whose text had not left before the next write, and of how many writes.

    Only writes count that a pause longer than `shortest_ns` follows. None where too few count.
    """
    pauses = counted = held = 0
    for (written_ns, _, arrived_ns), (next_ns, _, _) in itertools.pairwise(writes):
        pause_ns = next_ns - written_ns
        pauses += pause_ns > BURST_NS
        if arrived_ns is None or pause_ns <= shortest_ns:
            continue
        counted += 1
        held += arrived_ns - path_ns - written_ns > HELD_PAUSE * pause_ns
    enough = counted >= max(MIN_WRITES, MIN_WRITES_SHARE * pauses)
    return (held / counted, counted) if enough else (None, 0)


def _upstream_late(alignment: Alignment) -> float:
    """How late the upstream wrote against its own schedule, in ns, all but a tenth of the writes."""
    late = sorted(
        written_ns - scheduled_ns
        for exchange in alignment.exchanges
        for written_ns, scheduled_ns in zip(exchange.written_ns, exchange.scheduled_ns, strict=False)
    )
    return quantile(late, 0.9) if late else 0.0


def _steady(alignment: Alignment, upstream_span_ns: int) -> bool:
    """The text arrived in the rhythm in which it was written: evenly late, however late."""
    lags = sorted(_newest_lags(alignment))
    if len(lags) < 2:
        return False
    spread_ns = quantile(lags, 0.9) - quantile(lags, 0.1)
    return spread_ns <= STEADY_SHARE * upstream_span_ns and quantile(lags, 0.5) <= STEADY_LAG * upstream_span_ns


def _words_a_write(alignment: Alignment) -> float:
    """How many words the upstream wrote at a time, the median; what it wrote in one burst counts as one write."""
    counts: list[int] = []
    for exchange in alignment.exchanges:
        text, before, previous = exchange.sent_text, 0, None
        for at_ns, offset in zip(exchange.written_ns, exchange.sent_offset, strict=True):
            words = max(1, len(text[before:offset].split()))
            if previous is not None and at_ns - previous <= BURST_NS:
                counts[-1] += words
            else:
                counts.append(words)
            before, previous = offset, at_ns
    return float(median(counts)) if counts else math.nan


@dataclass(frozen=True, slots=True)
class _Seen:
    """What decides on a stream. `slope` None: the text has no pace of its own, since a part of it was held back;
    `path_ns` how long after the upstream's last write the first text came, `after_all` that hardly any came before it;
    `late_ns` how late the upstream itself wrote, and `write_pause_ns` its median pause; `held_of` of how many writes
    `held` is a share.
    """

    overlap: float
    granularity: float
    slope: float | None
    held: float | None
    span_ns: int
    upstream_span_ns: int
    pause_ns: float
    path_ns: int
    after_all: bool
    steady: bool
    one_by_one: bool
    window: Window
    held_of: int
    late_ns: float
    write_pause_ns: float


def _verdict(seen: _Seen) -> tuple[Verdict, Why | None]:
    if seen.after_all:
        at_once = seen.span_ns <= max(AT_ONCE_NS, AT_ONCE_SHARE * seen.upstream_span_ns)
        at_once = at_once or seen.pause_ns < SHORTEST_PAUSE_NS or not seen.one_by_one
        path_ns = PATHS_A_REPLY * seen.path_ns if at_once else 0
        if seen.upstream_span_ns < max(SHORTEST_REPLY_NS, path_ns):
            return Verdict.UNKNOWN, Why.TOO_SHORT
        return (Verdict.BUFFERED if at_once else Verdict.PACED), None
    if seen.window.sure:
        return Verdict.BATCHED, Why.WINDOW
    typed = not seen.steady and seen.slope is not None and seen.slope > SLOPE_LIKE_UPSTREAM[1]
    if typed and seen.granularity >= GRANULARITY_FINE:
        return Verdict.PACED, None
    close = Why.CLOSE if seen.held is not None and _is_close(seen.held, seen.held_of) else None
    if seen.held is None and SPREADS_A_PAUSE * seen.late_ns > seen.write_pause_ns:
        return Verdict.UNKNOWN, Why.UPSTREAM_LATE
    if seen.granularity < GRANULARITY_FINE if seen.held is None else seen.held >= HELD_SHARE:
        return Verdict.BATCHED, close
    if seen.granularity < (MERGED if seen.held is None else GRANULARITY_FINE):
        return Verdict.UNKNOWN, Why.TOO_FAST  # gathered, but not in the upstream's rhythm: so by a busy machine
    at_its_pace = seen.slope is not None and seen.slope >= SLOPE_LIKE_UPSTREAM[0]  # late, but like the upstream
    if seen.steady or seen.overlap >= OVERLAP_FULL or at_its_pace:
        return (Verdict.UNKNOWN, Why.PATH_OR_WINDOW) if seen.window.open else (Verdict.FORWARDED, close)
    return (Verdict.UNKNOWN, Why.TOO_FAST) if seen.held is None else (Verdict.BATCHED, None)


def _is_close(held: float, writes: int) -> bool:
    """So few writes were looked at that the true share may be on either side of the limit."""
    low, high = wilson(round(held * writes), writes)
    return low <= HELD_SHARE <= high


def guess_stream(record: StreamRecord) -> StreamAuthenticity:
    """What a stream looks like from the client's side alone: a guess, which no gate accepts."""
    at_ns = list(itertools.compress(record.events.at_ns, record.events.chars))
    if len(at_ns) < 5:
        return StreamAuthenticity(Verdict.UNKNOWN, why=Why.TOO_FEW if at_ns else Why.NO_TEXT)
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
