"""The metrics: what each one is, and its value for one stream.

Definitions in words: docs/reference/metrics.md.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal

from streambench.analysis.alignment import Alignment
from streambench.analysis.milestones import PREFIX, measure_milestones, milestones_of
from streambench.analysis.own_share import (
    OwnShares,
    difference,
    early_ns,
    other_time_lines,
    share_of_gaps,
    share_of_rows,
    share_of_span,
    share_of_times,
)
from streambench.analysis.qoe import quality_of_experience, read
from streambench.analysis.verdicts import StreamAuthenticity
from streambench.dialects.milestone import ORIGINS, Milestone
from streambench.record.model import CLIENT_LEFT, StreamRecord
from streambench.units import NS_PER_MS, NS_PER_S

Per = Literal["stream", "chunk"]


@dataclass(frozen=True, slots=True)
class Metric:
    """What a metric measures. `per`: one value a stream, or one a chunk. `two_sided`: it needs the upstream's side.

    `lower_is_better` is None where neither is.
    """

    name: str
    unit: str
    description: str
    per: Per = "stream"
    two_sided: bool = False
    lower_is_better: bool | None = True


_ALL = (
    Metric("connect", "ms", "opening the connection: TCP, TLS, upgrade; only streams that opened one"),
    Metric("ttfb", "ms", "from the actual start to the response's headers"),
    Metric("ttfe", "ms", "from the actual start to the first event of any kind"),
    Metric("ttfc", "ms", "from the intended start to the first event with content"),
    Metric("ttfc_service", "ms", "from the request's last byte to the first event with content"),
    Metric("gap", "ms", "between successive events with content; 0 inside one read", per="chunk"),
    Metric("burst_gap", "ms", "between successive reads with content", per="chunk"),
    Metric("gap_max", "ms", "the longest gap of a stream"),
    Metric("stalls", "count", "gaps of a stream longer than `stall_after`"),
    Metric("stalled_ms", "ms", "the sum of a stream's gaps longer than `stall_after`"),
    Metric("cadence", "per s", "chunks per second between the first and the last content", lower_is_better=False),
    Metric(
        "chars_per_s", "per s", "characters per second between the first and the last content", lower_is_better=False
    ),
    Metric("tokens_per_s", "per s", "tokens per second, if the protocol reports their number", lower_is_better=False),
    Metric("jitter", "ms", "median absolute deviation of a stream's gaps"),
    Metric("burstiness", "factor", "(σ−μ)/(σ+μ) of a stream's gaps: −1 regular, 1 bursty", lower_is_better=None),
    Metric("events_per_read", "factor", "events per read of the socket", lower_is_better=None),
    Metric("e2e", "ms", "from the intended start to the end of the stream"),
    Metric("e2e_service", "ms", "from the actual start to the end of the stream"),
    Metric("start_delay", "ms", "how late the generator started the stream"),
    Metric("reading_stall", "ms", "how long a reader waits for text after the first text"),
    Metric("qoe", "ratio", "the reply compared with an ideal one for a reader; 1 is ideal", lower_is_better=False),
    Metric("forward_lag", "ms", "client arrival minus upstream write of the same text", per="chunk", two_sided=True),
    Metric("hold_time", "ms", "the age of a chunk's oldest text on arrival", per="chunk", two_sided=True),
    Metric(
        "held", "ratio", "the share of the upstream's writes that were still held at its next write", two_sided=True
    ),
    Metric(
        "overlap",
        "ratio",
        "text written before the last write that had arrived by then",
        two_sided=True,
        lower_is_better=False,
    ),
    Metric("granularity", "factor", "the client's bursts against the upstream's", two_sided=True, lower_is_better=None),
    Metric("cancel_lag", "ms", "from the client's disconnect until the upstream sees the cancel", two_sided=True),
    Metric("wasted_tokens", "count", "chunks that the upstream wrote after the client left", two_sided=True),
)
METRICS: Mapping[str, Metric] = {metric.name: metric for metric in _ALL}


def metrics_with(milestones: Iterable[Milestone]) -> dict[str, Metric]:
    """The metrics of a target: those that every target has, and one for each of its milestones."""
    named = (
        Metric(
            PREFIX + milestone.name,
            "ms",
            f"from {ORIGINS.get(milestone.since, milestone.since)} to the first {' or '.join(milestone.events)}",
        )
        for milestone in milestones
    )
    return {**METRICS, **{metric.name: metric for metric in named}}


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run may choose about its metrics. `milestones` are those of each target that has any."""

    stall_after_ns: int = 500 * NS_PER_MS
    reading_wpm: float = 250.0
    milestones: Mapping[str, Sequence[Milestone]] = field(default_factory=dict)

    @classmethod
    def of_run(cls, header: Mapping[str, Any]) -> Settings:
        """The settings in the header of a run."""
        return cls(
            stall_after_ns=round(header["settings"]["stall_after_ms"] * NS_PER_MS),
            reading_wpm=header["settings"]["reading_wpm"],
            milestones=milestones_of(header["targets"]),
        )


_RATES = ("cadence", "chars_per_s", "tokens_per_s")
# Figures of the rhythm, of which nothing better is known than what they would be with other arrivals.
_RHYTHM = ("stalls", "stalled_ms", "jitter", "burstiness", "reading_stall", "qoe")


@dataclass(slots=True)
class StreamFigures:
    """The metrics of one stream: `stream` one value each, `chunk` many; in the metric's unit.

    `own` is what in them may be the generator's own doing.
    """

    stream: dict[str, float] = field(default_factory=dict)
    chunk: dict[str, list[float]] = field(default_factory=dict)
    own: OwnShares = field(default_factory=OwnShares)


def measure(
    record: StreamRecord, alignment: Alignment | None, settings: Settings, judged: StreamAuthenticity | None = None
) -> StreamFigures:
    """The figures of a stream, as far as it came; what cannot be said of it is left out."""
    out = StreamFigures()
    put = out.stream
    start_ns, intended_ns, end_ns = record.start_ns, record.intended_ns, record.end_ns
    put["start_delay"] = (start_ns - intended_ns) / NS_PER_MS
    if record.connected_ns is not None and not record.reused_connection:
        ahead_ns = record.connect_ahead_ns
        put["connect"] = (record.connected_ns - start_ns if ahead_ns is None else ahead_ns) / NS_PER_MS
    if record.headers_ns is not None:
        put["ttfb"] = (record.headers_ns - start_ns) / NS_PER_MS
    events = record.events
    if len(events):
        put["ttfe"] = (events.at_ns[0] - start_ns) / NS_PER_MS
        put["events_per_read"] = len(events) / max(1, len(set(events.read)))
    if end_ns is not None:
        put["e2e"] = (end_ns - intended_ns) / NS_PER_MS
        put["e2e_service"] = (end_ns - start_ns) / NS_PER_MS
    early = early_ns(record)
    out.own = share_of_times(record, early)
    if any(events.chars):
        _measure_content(record, settings, out, early)
    if record.target in settings.milestones:
        measure_milestones(record, settings.milestones[record.target], early, put, out.own.stream)
    if alignment is not None and alignment.rows:
        out.chunk["forward_lag"] = [lag / NS_PER_MS for lag in alignment.lag_ns]
        out.chunk["hold_time"] = [age / NS_PER_MS for age in alignment.hold_ns]
        if early is not None:
            share_of_rows(out.own, "forward_lag", early, alignment.rows)
            share_of_rows(out.own, "hold_time", early, alignment.rows)
    if judged is not None:
        for name in ("overlap", "granularity", "held"):
            value = getattr(judged, name)
            if value is not None:
                put[name] = value
    if end_ns is not None:
        _measure_leaving(record, end_ns, put)
    return out


def _measure_leaving(record: StreamRecord, end_ns: int, put: dict[str, float]) -> None:
    """What the upstream saw of a client that had gone, and what it wrote for nobody."""
    cancelled = [exchange for exchange in record.upstream if exchange.cancelled_ns is not None]
    for exchange in cancelled:
        assert exchange.cancelled_ns is not None
        put["cancel_lag"] = max(0.0, (exchange.cancelled_ns - end_ns) / NS_PER_MS)
    unread = record.upstream if record.outcome in CLIENT_LEFT else cancelled
    if unread:
        put["wasted_tokens"] = float(sum(at_ns > end_ns for exchange in unread for at_ns in exchange.written_ns))


def _measure_content(record: StreamRecord, settings: Settings, out: StreamFigures, early: list[int] | None) -> None:
    events = record.events
    at_ns = list(itertools.compress(events.at_ns, events.chars))
    reads = list(itertools.compress(events.read, events.chars))
    _measure_times(record, settings, at_ns, reads, out)
    content_early = [] if early is None else list(itertools.compress(early, events.chars))
    if not any(content_early):
        return
    gaps_ns = list(map(operator.sub, at_ns[1:], at_ns))
    if gaps_ns:
        share_of_gaps(out.own, content_early, gaps_ns, reads)
    rates = {name: value for name, value in out.stream.items() if name in _RATES}
    share_of_span(out.own, content_early, at_ns[-1] - at_ns[0], rates)
    others = [StreamFigures() for _ in range(2)]
    for other, line in zip(others, other_time_lines(at_ns, content_early), strict=True):
        _measure_times(record, settings, line, reads, other)
    for name in _RHYTHM:
        if name in out.stream:
            known = [other.stream[name] for other in others if name in other.stream]
            out.own.stream[name] = difference(out.stream[name], known)


def _measure_times(
    record: StreamRecord, settings: Settings, at_ns: list[int], reads: list[int], out: StreamFigures
) -> None:
    """What the times of a stream's texts give; `reads` brought them."""
    put = out.stream
    chars = list(filter(None, record.events.chars))
    put["ttfc"] = (at_ns[0] - record.intended_ns) / NS_PER_MS
    sent_ns = record.start_ns if record.sent_ns is None else record.sent_ns
    put["ttfc_service"] = (at_ns[0] - sent_ns) / NS_PER_MS
    reading = read(at_ns, chars, settings.reading_wpm)
    put["reading_stall"] = round(reading.stalled_ns) / NS_PER_MS
    put["qoe"] = quality_of_experience(record.intended_ns, reading, chars, settings.reading_wpm)
    if len(at_ns) < 2:
        return
    gaps_ns = list(map(operator.sub, at_ns[1:], at_ns))
    gaps = out.chunk["gap"] = [gap / NS_PER_MS for gap in gaps_ns]
    if len(set(reads)) == len(reads):
        out.chunk["burst_gap"] = gaps
    else:
        out.chunk["burst_gap"] = list(itertools.compress(gaps, map(operator.ne, reads, reads[1:])))
    worst_ns = max(gaps_ns)
    put["gap_max"] = worst_ns / NS_PER_MS
    stalls = [gap for gap in gaps_ns if gap > settings.stall_after_ns] if worst_ns > settings.stall_after_ns else []
    put["stalls"] = float(len(stalls))
    put["stalled_ms"] = sum(stalls) / NS_PER_MS
    span_ns = at_ns[-1] - at_ns[0]
    if span_ns > 0:
        # n chunks have n - 1 gaps between them; what came with the first one is not counted either.
        put["cadence"] = len(gaps_ns) * NS_PER_S / span_ns
        put["chars_per_s"] = sum(chars[1:]) * NS_PER_S / span_ns
        if record.tokens is not None:
            # The first chunk came at the beginning of the span; its share of the tokens is that of its characters.
            put["tokens_per_s"] = record.tokens * sum(chars[1:]) / sum(chars) * NS_PER_S / span_ns
    middle = median(gaps_ns)
    put["jitter"] = median([abs(gap - middle) for gap in gaps_ns]) / NS_PER_MS
    mean = sum(gaps_ns) / len(gaps_ns)
    spread = math.dist(gaps_ns, [mean] * len(gaps_ns)) / math.sqrt(len(gaps_ns))
    if mean + spread > 0:
        put["burstiness"] = (spread - mean) / (spread + mean)
