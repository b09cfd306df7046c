"""How the upstream's clock relates to ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streambench.clock import MonotonicClock

EXCHANGES = 8
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

_clock = MonotonicClock()


@dataclass(frozen=True, slots=True)
class ClockRelation:
    """The upstream's clock minus ours, in ns, and the most by which that may be wrong (0 on the same host)."""

    offset_ns: int = 0
    error_ns: int = 0

    def to_local(self, at_ns: int) -> int:
        """A stamp of the upstream on our clock."""
        return at_ns - self.offset_ns


async def relate_clocks(client: Any, base_url: str) -> ClockRelation:
    """Ask the upstream's admin API (`client`: an httpx.AsyncClient) how its clock relates to ours.

    On the same boot of the same host there is only one monotonic clock. Elsewhere the quickest of several exchanges
    counts, as in NTP: the answer's stamp belongs to the middle of the exchange, give or take half of its duration.
    """
    best: tuple[int, int] | None = None
    for _ in range(EXCHANGES):
        asked_ns = _clock.now_ns()
        response = await client.get(f"{base_url}/_mock/health")
        answered_ns = _clock.now_ns()
        response.raise_for_status()
        health = response.json()
        if health.get("boot_id") and health["boot_id"] == _boot_id():
            return ClockRelation()
        half_ns = (answered_ns - asked_ns) // 2
        exchange = (half_ns, int(health["now_ns"]) - asked_ns - half_ns)
        best = exchange if best is None else min(best, exchange)
    assert best is not None
    return ClockRelation(best[1], best[0])


def _boot_id() -> str | None:
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return None
