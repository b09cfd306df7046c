"""What a run looks like while it goes on: counts that the engine keeps and a display reads."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

from streambench.record.model import Outcome, StreamRecord
from streambench.units import NS_PER_MS

RECENT = 500


@dataclass(slots=True)
class TargetProgress:
    """One target so far; `ttfc_ms` and `gap_ms` are of the newest streams and chunks."""

    active: int = 0
    started: int = 0
    completed: int = 0
    failed: int = 0
    dropped: int = 0
    censored: int = 0
    violations: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    ttfc_ms: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    gap_ms: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))

    def take(self, record: StreamRecord) -> None:
        """Count a finished stream."""
        match record.outcome:
            case Outcome.COMPLETED:
                self.completed += 1
            case Outcome.FAILED:
                self.failed += 1
                self.errors[record.error or "?"] += 1
            case Outcome.DROPPED:
                self.dropped += 1
            case Outcome.CENSORED:
                self.censored += 1
        self.violations += len(record.violations)
        rows = record.content_rows()
        if rows:
            at_ns = record.events.at_ns
            self.ttfc_ms.append((at_ns[rows[0]] - record.intended_ns) / NS_PER_MS)
            if len(rows) > 1:
                self.gap_ms.append((at_ns[rows[-1]] - at_ns[rows[0]]) / (len(rows) - 1) / NS_PER_MS)


@dataclass(slots=True)
class Progress:
    """The whole run so far. `ends_ns`: when the load will have ended, where that is known."""

    targets: dict[str, TargetProgress]
    stage: str = "starting"
    started_ns: int = 0
    ends_ns: int | None = None
