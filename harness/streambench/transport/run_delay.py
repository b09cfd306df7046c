"""How long a thread waited for a CPU: the only time between what wakes a poll and our return from it.

While a poll waits nothing is ready, and the first segment wakes it. Linux counts for how long a thread could have run
and did not (`schedstat`).
"""

from __future__ import annotations

import os

SHORT_WAIT_NS = 50_000  # of a wait that short, the beginning is bound enough
WAKING_NS = 50_000  # from the segment to the run queue, where an idle CPU has to be woken first
SCHEDSTAT = "/proc/thread-self/schedstat"


class RunDelay:
    """How long the thread waited for a CPU while it could run, from one call of `since` to the next."""

    def __init__(self) -> None:
        self._file: int | None = None
        self._total_ns = 0
        try:
            self._file = os.open(SCHEDSTAT, os.O_RDONLY | os.O_CLOEXEC)
            self._total_ns = self._read(self._file)
        except (OSError, ValueError, IndexError):
            self.close()

    def since(self) -> int | None:
        """In ns, since the last call; None where the system does not tell."""
        if self._file is None:
            return None
        before_ns, self._total_ns = self._total_ns, self._read(self._file)
        return self._total_ns - before_ns

    def empty_until(self, begun_ns: int, back_ns: int) -> int:
        """Until when nothing was ready, of a poll that waited from one moment to the other."""
        if back_ns - begun_ns <= SHORT_WAIT_NS:
            return begun_ns
        delay_ns = self.since()
        return begun_ns if delay_ns is None else max(begun_ns, back_ns - delay_ns - WAKING_NS)

    def close(self) -> None:
        """Give the file back."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @staticmethod
    def _read(file: int) -> int:
        return int(os.pread(file, 64, 0).split()[1])
