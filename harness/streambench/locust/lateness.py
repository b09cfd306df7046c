"""Warns if the figures of a locustfile's streams are not those of the server.

A scenario's run is invalid then. Locust's statistics know no such thing, so the process that was late says it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from streambench.analysis.validity import TOLERATED_MS, TOLERATED_SHARE

TOLERATED_STREAMS = 0.01  # of the replies of a run; fewer change no p99
_log = logging.getLogger("streambench")


@dataclass(slots=True)
class Lateness:
    """How many replies of this process had a first content of which too much may be the generator's own doing."""

    replies: int = 0
    late: int = 0
    worst_ms: float = 0.0

    def take(self, ttfc_ms: float, own_ms: float) -> None:
        """Count one reply: its time to the first content, and the generator's own share in it."""
        self.replies += 1
        if own_ms > max(TOLERATED_MS, TOLERATED_SHARE * ttfc_ms):
            self.late += 1
            self.worst_ms = max(self.worst_ms, own_ms)

    def tell(self) -> None:
        """Warn where there were too many, and begin anew."""
        if self.late > TOLERATED_STREAMS * self.replies:
            _log.warning(
                "this process was too busy to measure: in %d of %d replies, up to %.0f ms of the time to first content "
                "may be its own doing. Use fewer users, or more processes on free cores (--processes)",
                self.late,
                self.replies,
                self.worst_ms,
            )
        self.replies, self.late, self.worst_ms = 0, 0, 0.0
