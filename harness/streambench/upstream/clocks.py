"""How the upstream's clock relates to ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    exchanges: list[tuple[int, int, dict[str, Any]]] = []
    for _ in range(EXCHANGES):
        asked_ns = _clock.now_ns()
        response = await client.get(f"{base_url}/_mock/health")
        answered_ns = _clock.now_ns()
        response.raise_for_status()
        exchanges.append((asked_ns, answered_ns, response.json()))
        if relation_of(exchanges) == ClockRelation():
            break
    return relation_of(exchanges)


def relation_of(exchanges: Sequence[tuple[int, int, Mapping[str, Any]]]) -> ClockRelation:
    """The relation to a clock that was asked some times: when we asked, when the answer came, and the answer.

    An answer has the other side's `now_ns` and its `boot_id`.
    """
    best: list[tuple[int, int]] = []
    for asked_ns, answered_ns, said in exchanges:
        if said.get("boot_id") and said["boot_id"] == boot_id():
            return ClockRelation()
        half_ns = (answered_ns - asked_ns) // 2
        best.append((half_ns, int(said["now_ns"]) - asked_ns - half_ns))
    error_ns, offset_ns = min(best)
    return ClockRelation(offset_ns, error_ns)


def boot_id() -> str | None:
    """What tells this boot of this host from every other one; None where the system does not say."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:
        return None
