"""The memory that a run's servers use: their resident set size (RSS), from the kernel."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SAMPLE_S = 0.05
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class ServerMemory:
    """Watches processes, by the names of their servers; where there is no /proc, nothing is known of them."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = pids
        self._begin = self._now()
        self._peak = dict(self._begin)

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            await asyncio.sleep(SAMPLE_S)
            for name, size in self._now().items():
                self._peak[name] = max(size, self._peak.get(name, 0))

    def to_json(self, urls: Mapping[str, str]) -> dict[str, Any]:
        """By name, in bytes, what each had when the load began and at most, and its URL."""
        return {
            name: {"url": urls.get(name), "rss_begin": size, "rss_peak": self._peak[name]}
            for name, size in self._begin.items()
        }

    def _now(self) -> dict[str, int]:
        sizes = {name: resident_bytes(pid) for name, pid in self._pids.items()}
        return {name: size for name, size in sizes.items() if size is not None}


def resident_bytes(pid: int) -> int | None:
    """The resident set of a process (the second field of statm); None where it is not known."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, IndexError, ValueError):
        return None
