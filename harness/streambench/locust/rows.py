"""The rows of Locust's Statistics and Failures tabs, as a worker reports them for each target.

Locust rounds what it keeps (10 ms between 100 ms and 1 s), so these rows carry whole milliseconds, and the exact
figures travel with the records. A stream counts once, in the row of its target, with the whole of its duration; rows
for the first content and the longest gap stand beside it and stay out of the total.
"""

from __future__ import annotations

import hashlib
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

TRANSPORTS = {"sse": "SSE", "ndjson": "NDJSON", "websocket": "WS", "socketio": "SIO"}
MAX_FAILURES = 500  # kinds of failure between two reports
MAX_FAILURE_CHARS = 300


def method_of(transport: str, dialect: str) -> str:
    """The type of a target's row, such as `SSE openai-chat`."""
    return f"{TRANSPORTS.get(transport, transport.upper())} {dialect}"


def wall_s() -> float:
    """The time of day in seconds, which is how Locust dates what it shows. No latency is made of it."""
    return time.time()  # noqa: TID251


@dataclass(slots=True)
class Row:
    """One row since the last report. Durations in ms, as Locust has them."""

    name: str
    method: str
    start_s: float = field(default_factory=wall_s)
    last_s: float | None = None
    requests: int = 0
    failures: int = 0
    total_ms: float = 0.0
    min_ms: float | None = None
    max_ms: float = 0.0
    content_bytes: int = 0
    times: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    per_second: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    failures_per_second: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))

    def take(self, duration_ms: float, size: int = 0) -> None:
        """Count one stream, or one value of it."""
        now_s = wall_s()
        self.requests += 1
        self.last_s = now_s
        self.per_second[int(now_s)] += 1
        self.total_ms += duration_ms
        self.min_ms = duration_ms if self.min_ms is None else min(self.min_ms, duration_ms)
        self.max_ms = max(self.max_ms, duration_ms)
        self.content_bytes += size
        self.times[round(duration_ms)] += 1

    def fail(self) -> None:
        """Count one failure."""
        self.failures += 1
        self.failures_per_second[int(wall_s())] += 1

    def to_locust(self) -> dict[str, Any]:
        """The keys of Locust's `StatsEntry`."""
        return {
            "name": self.name,
            "method": self.method,
            "last_request_timestamp": self.last_s,
            "start_time": self.start_s,
            "num_requests": self.requests,
            "num_none_requests": 0,
            "num_failures": self.failures,
            "total_response_time": self.total_ms,
            "max_response_time": self.max_ms,
            "min_response_time": self.min_ms,
            "total_content_length": self.content_bytes,
            "response_times": dict(self.times),
            "num_reqs_per_sec": dict(self.per_second),
            "num_fail_per_sec": dict(self.failures_per_second),
        }


class Rows:
    """The rows of a worker between two reports."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self._rows: dict[tuple[str, str], Row] = {}
        self._total = Row("Aggregated", "")
        self._failures: dict[str, dict[str, Any]] = {}

    def stream(self, name: str, method: str, duration_ms: float, size: int) -> None:
        """Count a stream that ended, however it ended; it enters the total."""
        self._row(name, method).take(duration_ms, size)
        self._total.take(duration_ms, size)

    def beside(self, name: str, method: str, value_ms: float) -> None:
        """Count a value of a stream that has a row of its own, and leaves the total alone."""
        self._row(name, method).take(value_ms)

    def fail(self, name: str, method: str, errors: Sequence[tuple[str, str]], *, counts: bool) -> None:
        """List failures of one stream: what each is, and its place in the stream, which is shown of the first one only.

        `counts`: the stream itself failed, rather than only broke a rule.
        """
        if counts:
            self._row(name, method).fail()
            self._total.fail()
        for error, place in errors:
            self._list(name, method, error[:MAX_FAILURE_CHARS], place)

    def _row(self, name: str, method: str) -> Row:
        return self._rows.setdefault((name, method), Row(name, method))

    def _list(self, name: str, method: str, error: str, place: str) -> None:
        # Locust's master adds up what has the same key, and keeps the text that came with it first.
        key = hashlib.sha256(f"{method}.{name}.{error!r}".encode("utf-8", "replace")).hexdigest()
        now_s = wall_s()
        if key in self._failures:
            self._failures[key]["occurrences"] += 1
            self._failures[key]["last_seen"] = now_s
        elif len(self._failures) < MAX_FAILURES:
            self._failures[key] = {
                "method": method,
                "name": name,
                "error": f"{error} ({place})",
                "occurrences": 1,
                "first_seen": now_s,
                "last_seen": now_s,
            }

    def report(self, extra: Mapping[str, Any]) -> dict[str, Any]:
        """What happened since the last report, as the `stats` message carries it; begins anew."""
        out = {
            "stats": [row.to_locust() for row in self._rows.values()],
            "stats_total": self._total.to_locust(),
            "errors": self._failures,
            **extra,
        }
        self._clear()
        return out
