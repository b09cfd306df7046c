"""What five chat systems claim about real and simulated streaming, next to what this run measured.

The claims are those that the authors of these systems published with their own change from simulated to real
streaming; the pages of the systems in docs/reference/systems/ say more about each.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from streambench.analysis.alignment import Alignment
from streambench.analysis.qoe import read
from streambench.analysis.stream import AnalysedStream
from streambench.analysis.stream_verdict import bursts
from streambench.analysis.verdicts import Authenticity, Verdict
from streambench.quantile import quantile
from streambench.record.model import Outcome
from streambench.units import NS_PER_MS


class Side(Protocol):
    """A target as far as claims are about it."""

    @property
    def name(self) -> str:
        """Its name in the run."""

    @property
    def dialect(self) -> str:
        """The system that it is."""

    @property
    def url(self) -> str:
        """Where it is."""

    @property
    def two_sided(self) -> bool:
        """Whether its upstream was seen."""

    @property
    def counts(self) -> Mapping[str, int]:
        """Its streams by outcome."""

    @property
    def authenticity(self) -> Authenticity:
        """What it does with its upstream's stream."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What claims are measured on: the judged streams of a target by its name, the reader's speed, and the servers of
    the run as the last line of its records tells of them.
    """

    streams: Callable[[str], Iterable[AnalysedStream]]
    reading_wpm: float
    servers: Mapping[str, Mapping[str, Any]]


Figure = Callable[[AnalysedStream, Evidence], float | None]
"""A figure of one stream."""
Measure = Callable[[Evidence, Side], float | None]
"""A figure of a target."""

SIMULATED = (Verdict.PACED, Verdict.BUFFERED)


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim, and what was measured: medians over the streams of the target before and of the one after.

    `target` is the one after. `figure` says with its unit what the two values are; either is None where the claim is
    not about it. `ratio` is before divided by after. `holds` is None where there was nothing to measure.
    """

    system: str
    target: str
    claim: str
    figure: str
    before: float | None
    after: float | None
    holds: bool | None

    @property
    def ratio(self) -> float | None:
        """Before divided by after."""
        return self.before / self.after if self.before is not None and self.after else None

    @property
    def verdict(self) -> str:
        """`holds`, `does not hold`, or `not measured`."""
        return {True: "holds", False: "does not hold", None: "not measured"}[self.holds]

    def to_json(self) -> dict[str, Any]:
        """As `summary.json` has it."""
        return {
            "system": self.system,
            "claim": self.claim,
            "figure": self.figure,
            "before": self.before,
            "after": self.after,
            "ratio": self.ratio,
            "verdict": self.verdict,
        }


@dataclass(frozen=True, slots=True)
class _Statement:
    """How a claim is measured and judged; what is not given is not looked at."""

    system: str
    claim: str
    figure: str
    before: Measure | None
    after: Measure | None
    holds: Callable[[float, float], bool]


def claims_of(targets: Sequence[Side], evidence: Evidence) -> list[Claim]:
    """The claims on each system that has a target which simulates beside one which forwards."""
    out = []
    for statement in _statements():
        found = _pair(targets, statement.system)
        if found is None:
            continue
        before, after = (
            None if measure is None else measure(evidence, target)
            for target, measure in zip(found, (statement.before, statement.after), strict=True)
        )
        measured = (before is not None or statement.before is None) and (after is not None or statement.after is None)
        holds = statement.holds(before or 0.0, after or 0.0) if measured else None
        out.append(Claim(statement.system, found[1].name, statement.claim, statement.figure, before, after, holds))
    return out


def _pair(targets: Sequence[Side], system: str) -> tuple[Side, Side] | None:
    """The first targets of a system that simulate and that forward."""
    judged = [
        target for target in targets if target.dialect == system and target.two_sided and target.counts["completed"]
    ]
    before = next((target for target in judged if target.authenticity.verdict in SIMULATED), None)
    after = next((target for target in judged if target.authenticity.verdict is Verdict.FORWARDED), None)
    return (before, after) if before is not None and after is not None else None


def _median(figure: Figure, outcome: Outcome = Outcome.COMPLETED) -> Measure:
    """The median of a figure over the streams with this outcome that have it."""

    def measure(evidence: Evidence, target: Side) -> float | None:
        values = sorted(_values(evidence, target, figure, outcome))
        return quantile(values, 0.5) if values else None

    return measure


def _values(evidence: Evidence, target: Side, figure: Figure, outcome: Outcome) -> Iterator[float]:
    for stream in evidence.streams(target.name):
        value = figure(stream, evidence) if stream.record.outcome is outcome else None
        if value is not None:
            yield value


def _statements() -> tuple[_Statement, ...]:
    """What the authors of the systems say, in the order of their descriptions."""
    ttfc, ttfe, overlap = (_median(_metric(name)) for name in ("ttfc", "ttfe", "overlap"))
    gap, gap_ratio, first_lag, held_back = map(_median, (_client_gap_ms, _gap_ratio, _first_lag_ms, _held_back))
    wire_bytes, read_ms, writes = map(_median, (_wire_bytes, _read_ms, _writes))
    error_ms = _median(_metric("e2e"), Outcome.FAILED)
    return (
        _Statement(
            "chat-stream",
            "Simulated streaming takes about 50 ms for every word.",
            "between pieces (ms)",
            gap,
            gap,
            lambda before, _: 45 <= before <= 60,
        ),
        _Statement(
            "chat-stream",
            "Real streaming has the upstream's own cadence.",
            "between pieces, as a multiple of the upstream's",
            None,
            gap_ratio,
            lambda _, after: 0.9 <= after <= 1.1,
        ),
        _Statement(
            "assistant-ws",
            "Simulated, nothing is seen for 2 to 5 s.",
            "first text (ms)",
            ttfc,
            ttfc,
            lambda before, _: 2000 <= before <= 5000,
        ),
        _Statement(
            "assistant-ws",
            "Real, the first words come within 100 ms of the upstream's first token.",
            "behind the first token (ms)",
            None,
            first_lag,
            lambda _, after: after < 100,
        ),
        _Statement(
            "assistant-ws",
            "The whole reply is held in memory, or only a chunk at a time.",
            "most text held back (characters)",
            held_back,
            held_back,
            lambda before, after: before >= 10 * after,
        ),
        _Statement(
            "assistant-ws",
            "Memory is higher while whole replies are stored, and lower when chunks are passed on.",
            "server's memory over idle (MB)",
            _memory_mb,
            _memory_mb,
            lambda before, after: before > 1.1 * after,
        ),
        _Statement(
            "assistant-ws",
            "The model's reply is one large response before, and comes in chunks now.",
            "writes of the upstream",
            writes,
            writes,
            lambda before, after: before == 1 and after > 1,
        ),
        _Statement(
            "assistant-ws",
            "Errors are detected early.",
            "until an error is told (ms)",
            error_ms,
            error_ms,
            lambda before, after: after < before,
        ),
        _Statement(
            "thread-events",
            "Memory is lower, since complete replies are not buffered.",
            "server's memory over idle (MB)",
            _memory_mb,
            _memory_mb,
            lambda before, after: before > 1.1 * after,
        ),
        _Statement(
            "thread-events",
            "The bandwidth is about the same.",
            "a stream (bytes)",
            wire_bytes,
            wire_bytes,
            lambda before, after: 2 / 3 <= after / before <= 3 / 2 if before else False,
        ),
        _Statement(
            "thread-events",
            "Text is shown while the rest is being written.",
            "text that came before the last was written (share)",
            None,
            overlap,
            lambda _, after: after > 0.9,
        ),
        _Statement(
            "room-chat",
            "`stream-start` comes at once.",
            "first event (ms)",
            ttfe,
            ttfe,
            lambda before, after: max(before, after) < 100,
        ),
        _Statement(
            "conversation-stream",
            "The first token comes after 2 to 3 s before, and after about 500 ms now.",
            "first text (ms)",
            ttfc,
            ttfc,
            lambda before, after: 2000 <= before <= 3000 and 400 <= after <= 650,
        ),
        _Statement(
            "conversation-stream",
            "The first token comes 5 to 6 times sooner.",
            "first text (ms)",
            ttfc,
            ttfc,
            lambda before, after: 5 <= before / after <= 6 if after else False,
        ),
        _Statement(
            "conversation-stream",
            "The reader is done after 5.5 s before, and after 3.5 s now.",
            "done reading (ms)",
            read_ms,
            read_ms,
            lambda before, after: abs(before - 5500) <= 550 and abs(after - 3500) <= 350,
        ),
        _Statement(
            "conversation-stream",
            "Streaming saves the reader 2 s.",
            "done reading (ms)",
            read_ms,
            read_ms,
            lambda before, after: 1800 <= before - after <= 2200,
        ),
    )


def _metric(name: str) -> Figure:
    return lambda stream, _: stream.figures.stream.get(name)


def _wire_bytes(stream: AnalysedStream, _: Evidence) -> float | None:
    return float(stream.record.wire_bytes)


def _writes(stream: AnalysedStream, _: Evidence) -> float | None:
    return float(len(stream.alignment.writes())) if stream.alignment is not None else None


def _memory_mb(evidence: Evidence, target: Side) -> float | None:
    """How much more memory the target's server took at most than when the load began."""
    base = urlsplit(target.url)
    for server in evidence.servers.values():
        if urlsplit(server["url"] or "")[1] == base[1]:
            return float(server["rss_peak"] - server["rss_begin"]) / 1e6
    return None


def _read_ms(stream: AnalysedStream, evidence: Evidence) -> float | None:
    """When a reader of the run's speed is done."""
    events, rows = stream.record.events, stream.record.content_rows()
    if not rows:
        return None
    at_ns, chars = [events.at_ns[i] for i in rows], [events.chars[i] for i in rows]
    done = read(at_ns, chars, evidence.reading_wpm)
    return (done.finished_ns - stream.record.intended_ns) / NS_PER_MS


def _client_gap_ms(stream: AnalysedStream, _: Evidence) -> float | None:
    return _burst_gap_ms(stream.alignment, client=True)


def _gap_ratio(stream: AnalysedStream, _: Evidence) -> float | None:
    client, upstream = (_burst_gap_ms(stream.alignment, client=side) for side in (True, False))
    return client / upstream if client is not None and upstream else None


def _burst_gap_ms(alignment: Alignment | None, *, client: bool) -> float | None:
    if alignment is None:
        return None
    moments = bursts(alignment.arrived_ns if client else alignment.upstream.written_ns)
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    return statistics.median(gaps) / NS_PER_MS if gaps else None


def _first_lag_ms(stream: AnalysedStream, _: Evidence) -> float | None:
    alignment = stream.alignment
    if alignment is None or not alignment.arrived_ns:
        return None
    return (alignment.arrived_ns[0] - alignment.upstream.written_ns[0]) / NS_PER_MS


def _held_back(stream: AnalysedStream, _: Evidence) -> float | None:
    """The most characters that the upstream had written and the client had not got, at any moment."""
    alignment = stream.alignment
    if alignment is None:
        return None
    steps = [
        (at_ns, 1, offset)
        for at_ns, offset in zip(alignment.upstream.written_ns, alignment.upstream.sent_offset, strict=True)
    ]
    got = 0
    for at_ns, count in zip(alignment.arrived_ns, alignment.chars, strict=True):
        got += count
        steps.append((at_ns, 0, got))
    written = arrived = most = 0
    for _at_ns, side, offset in sorted(steps):
        if side:
            written = offset
            most = max(most, written - arrived)
        else:
            arrived = offset
    return float(most)
