"""The generator's own share in a stream's figures.

It starts a stream late, takes time to send, and may read late. A late read alone makes no figure wrong, for the kernel
has stamped what came; but where it brought what the server had sent apart, only the last of it came at the stamp. The
rest came between the moment at which the socket was empty for the last time, and the stamp.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from streambench.record.model import StreamRecord
from streambench.units import NS_PER_MS, NS_PER_S


class Share(NamedTuple):
    """By how much a value may really be smaller (`minus`) or larger (`plus`), in the metric's unit."""

    minus: float
    plus: float = 0.0


@dataclass(slots=True)
class OwnShares:
    """The shares in the figures of one stream: of each metric with one value, and of those chunks that have one."""

    stream: dict[str, Share] = field(default_factory=dict)
    chunk: dict[str, list[tuple[int, Share]]] = field(default_factory=dict)


def early_ns(record: StreamRecord) -> list[int] | None:
    """By how much each event may have come before its stamp; None where none may."""
    early = record.own.early
    if not early:
        return None
    reads = record.events.read
    out = [early.get(read, 0) for read in reads]
    if record.stamps == "kernel":
        for i, (read, after) in enumerate(itertools.pairwise(reads)):
            if read != after:
                out[i] = 0  # the last of its read came with the segment that has the stamp
        if out:
            out[-1] = 0
    return out if any(out) else None


def starting_ns(record: StreamRecord) -> int:
    """Of the time between a stream's actual start and its request, what was ours."""
    own = record.own
    connected_now = not record.reused_connection and record.connect_ahead_ns is None
    return own.send_ns + (own.connect_ns if connected_now else 0)


def share_of_times(record: StreamRecord, early: Sequence[int] | None) -> OwnShares:
    """The shares in the times until something; `early` as `early_ns` gives it."""
    out = OwnShares()
    put = out.stream
    own = record.own
    service_ms = starting_ns(record) / NS_PER_MS
    late_ms = own.start_ns / NS_PER_MS
    put["connect"] = Share(own.connect_ns / NS_PER_MS)
    put["ttfb"] = Share(service_ms + own.early.get(0, 0) / NS_PER_MS)
    put["ttfe"] = Share(service_ms + (early[0] / NS_PER_MS if early else 0.0))
    put["e2e"] = Share(late_ms + service_ms)
    put["e2e_service"] = Share(service_ms)
    first_ms = early[_first_content(record)] / NS_PER_MS if early else 0.0
    put["ttfc"] = Share(late_ms + service_ms + first_ms)
    put["ttfc_service"] = Share(first_ms)
    return out


def share_of_gaps(out: OwnShares, early: Sequence[int], gaps_ns: Sequence[int], reads: Sequence[int]) -> None:
    """Add the shares in the gaps between content events; `early` and `reads` are those of these events."""
    shares = [
        Share(min(after, gap) / NS_PER_MS, before / NS_PER_MS)
        for gap, (before, after) in zip(gaps_ns, itertools.pairwise(early), strict=True)
    ]
    out.chunk["gap"] = _some(enumerate(shares))
    gaps_ms = [gap / NS_PER_MS for gap in gaps_ns]
    worst = max(gaps_ms)
    shortest = max(gap - share.minus for gap, share in zip(gaps_ms, shares, strict=True))
    longest = max(gap + share.plus for gap, share in zip(gaps_ms, shares, strict=True))
    out.stream["gap_max"] = Share(worst - shortest, longest - worst)
    between = [share for share, (a, b) in zip(shares, itertools.pairwise(reads), strict=True) if a != b]
    out.chunk["burst_gap"] = _some(enumerate(between))


def share_of_span(out: OwnShares, early: Sequence[int], span_ns: int, rates: Mapping[str, float]) -> None:
    """Add the shares in rates over the time from the first to the last content."""
    shortest, longest = span_ns - early[-1], span_ns + early[0]
    for name, rate in rates.items():
        amount = rate * span_ns
        out.stream[name] = Share(
            rate - amount / longest, amount / shortest - rate if shortest > 0 else amount * NS_PER_S
        )


def share_of_rows(out: OwnShares, name: str, early: Sequence[int], rows: Sequence[int]) -> None:
    """Add the shares in a metric of chunks that measures until the arrival of each of these events."""
    out.chunk[name] = _some((i, Share(early[row] / NS_PER_MS)) for i, row in enumerate(rows))


def difference(value: float, others: Iterable[float]) -> Share:
    """The share in a value that would have been one of `others`, had the texts come when they may have come."""
    known = [value, *others]
    return Share(value - min(known), max(known) - value)


def other_time_lines(at_ns: Sequence[int], early: Sequence[int]) -> list[list[int]]:
    """When the texts may have come instead: as early as they can, and evenly within a late read."""
    soonest: list[int] = []
    for at, before in zip(at_ns, early, strict=True):
        soonest.append(max(at - before, soonest[-1]) if soonest else at - before)
    spread = list(at_ns)
    for at, rows in itertools.groupby(range(len(at_ns)), key=at_ns.__getitem__):
        together = list(rows)
        reach = early[together[0]]
        for place, row in enumerate(together):
            spread[row] = at - reach * (len(together) - 1 - place) // len(together)
    return [soonest, spread]


def _first_content(record: StreamRecord) -> int:
    return next((i for i, chars in enumerate(record.events.chars) if chars), 0)


def _some(shares: Iterable[tuple[int, Share]]) -> list[tuple[int, Share]]:
    return [(i, share) for i, share in shares if share.minus or share.plus]
