"""The progress of a run: counts that the engine keeps and a display reads."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from streambench.record.model import Outcome, StreamRecord
from streambench.units import NS_PER_MS

RECENT = 500
ENDED = ("completed", "failed", "dropped", "censored")
COUNTS = ("active", "started", *ENDED, "violations")


@dataclass(slots=True)
class TargetProgress:
    """One target so far; `ttfc_ms` and `gap_ms` are of the newest streams and chunks."""

    active: int = 0
    started: int = 0
    completed: int = 0
    failed: int = 0
    dropped: int = 0
    censored: int = 0
    left: int = 0
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
            case Outcome.LEFT:
                self.left += 1
        self.violations += len(record.violations)
        rows = record.content_rows()
        if rows:
            at_ns = record.events.at_ns
            self.ttfc_ms.append((at_ns[rows[0]] - record.intended_ns) / NS_PER_MS)
            if len(rows) > 1:
                self.gap_ms.append((at_ns[rows[-1]] - at_ns[rows[0]]) / (len(rows) - 1) / NS_PER_MS)

    def take_snapshot(self) -> dict[str, Any]:
        """The counts so far, and the newest values since the last snapshot, as JSON."""
        newest = {"ttfc_ms": list(self.ttfc_ms), "gap_ms": list(self.gap_ms)}
        self.ttfc_ms.clear()
        self.gap_ms.clear()
        return {**{name: getattr(self, name) for name in COUNTS}, "errors": self.errors, **newest}


@dataclass(slots=True)
class Progress:
    """The whole run so far. `ends_ns`: when the load will have ended, where that is known.

    Of a run that several workers share, it is merged from their snapshots.
    """

    targets: dict[str, TargetProgress]
    stage: str = "starting"
    started_ns: int = 0
    ends_ns: int | None = None
    _parts: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)

    def take_snapshot(self) -> dict[str, Any]:
        """What `merge` takes, as JSON."""
        return {
            "stage": self.stage,
            "started_ns": self.started_ns,
            "ends_ns": self.ends_ns,
            "targets": {name: target.take_snapshot() for name, target in self.targets.items()},
        }

    def merge(self, worker: str, snapshot: Mapping[str, Any]) -> None:
        """Take the newest snapshot of a worker."""
        self.stage = snapshot["stage"]
        self.started_ns, self.ends_ns = snapshot["started_ns"], snapshot["ends_ns"]
        self._parts[worker] = snapshot["targets"]
        self._count()
        for name, part in snapshot["targets"].items():
            self.targets[name].ttfc_ms.extend(part["ttfc_ms"])
            self.targets[name].gap_ms.extend(part["gap_ms"])

    def lose(self, worker: str) -> None:
        """A worker is gone: what it had open is not open any more."""
        for part in self._parts.get(worker, {}).values():
            part["active"] = 0
        self._count()

    def records_of(self, worker: str) -> int:
        """How many streams of a worker have ended, by its newest snapshot."""
        return sum(part[name] for part in self._parts.get(worker, {}).values() for name in ENDED)

    def _count(self) -> None:
        for target_name, target in self.targets.items():
            parts = [part[target_name] for part in self._parts.values()]
            for name in COUNTS:
                setattr(target, name, sum(part[name] for part in parts))
            target.errors = Counter()
            for part in parts:
                target.errors.update(part["errors"])
