"""What a running chat server counts, in total and per system: outcomes, durations and numbers of chunks."""

from __future__ import annotations

import math
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

KEPT = 1000
"""So many of the newest replies of a system are looked at for its quantiles."""
NS_PER_MS = 1_000_000


@dataclass(slots=True)
class ReplyFigures:
    """One reply on its way; times of CLOCK_MONOTONIC."""

    started_ns: int = field(default_factory=time.monotonic_ns)
    first_ns: int | None = None
    ended_ns: int = 0
    chunks: int = 0

    def chunk(self) -> None:
        """A part of the text goes out."""
        self.chunks += 1
        if self.first_ns is None:
            self.first_ns = time.monotonic_ns()


@dataclass(slots=True)
class SystemFigures:
    """One system: `streams` that are on their way now, how the others `ended`, and the newest ones in detail."""

    streams: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    newest: deque[ReplyFigures] = field(default_factory=lambda: deque(maxlen=KEPT))

    def to_json(self) -> dict[str, Any]:
        """What to watch of streams in production. Quantiles are of the newest replies; null before the first."""
        total = self.ended.total()
        failed = self.ended["failed"] + self.ended["capped"]
        firsts = [reply.first_ns - reply.started_ns for reply in self.newest if reply.first_ns is not None]
        return {
            "streams": self.streams,
            "ended": dict(self.ended),
            "error_rate": failed / total if total else None,
            "first_chunk_ms": _quantiles(firsts, NS_PER_MS),
            "duration_ms": _quantiles((reply.ended_ns - reply.started_ns for reply in self.newest), NS_PER_MS),
            "chunks": _quantiles((reply.chunks for reply in self.newest), 1),
        }


@dataclass(slots=True)
class Figures:
    """`counters`: how often each thing has happened since the start. `systems`: by name, once they had a reply."""

    counters: Counter[str] = field(default_factory=Counter)
    systems: dict[str, SystemFigures] = field(default_factory=dict)

    @property
    def streams(self) -> int:
        """Replies that are on their way now."""
        return sum(system.streams for system in self.systems.values())

    def begin(self, system: str) -> ReplyFigures:
        """A reply of a system begins."""
        self.systems.setdefault(system, SystemFigures()).streams += 1
        return ReplyFigures()

    def end(self, system: str, reply: ReplyFigures, how: str) -> None:
        """A reply that has begun is over; `how`: complete, capped, failed or abandoned."""
        reply.ended_ns = time.monotonic_ns()
        figures = self.systems[system]
        figures.streams -= 1
        figures.ended[how] += 1
        figures.newest.append(reply)
        self.counters[f"replies_{how}"] += 1


def _quantiles(values: Iterable[int], unit: int) -> dict[str, float] | None:
    """p50 and p95 by nearest rank, in units of `unit`; None without values."""
    ordered = sorted(values)
    if not ordered:
        return None
    return {f"p{percent}": ordered[math.ceil(percent / 100 * len(ordered)) - 1] / unit for percent in (50, 95)}
