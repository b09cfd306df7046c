"""The time that users see.

It never runs backwards, also when the machine's clock is set.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

_START = datetime.now(UTC)
_START_NS = time.monotonic_ns()


def now() -> datetime:
    """The wall time of the start plus the monotonic time since."""
    return _START + timedelta(microseconds=(time.monotonic_ns() - _START_NS) / 1000)


def now_ms() -> int:
    """Milliseconds since the epoch."""
    return int(now().timestamp() * 1000)


def now_iso() -> str:
    """ISO 8601 with milliseconds, in UTC."""
    return now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
