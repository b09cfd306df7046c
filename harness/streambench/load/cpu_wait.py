"""How long threads that could run waited for a CPU (Linux's schedstat); elsewhere nothing is known."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from streambench.clock import MonotonicClock
from streambench.cores import usable_cores

OWN_DOING = 0.5  # of the cores' time: who uses so much waits for itself

_THIS_THREAD = Path("/proc/thread-self")

_clock = MonotonicClock()


class ThreadWait:
    """How long this thread waits for a CPU while it could run."""

    def __init__(self) -> None:
        self._before = _spent(_THIS_THREAD)

    def share(self, elapsed_ns: int) -> float | None:
        """Of the time since the beginning; None where the system does not tell."""
        now = _spent(_THIS_THREAD)
        return None if self._before is None or now is None else (now.waited_ns - self._before.waited_ns) / elapsed_ns


class CpuWait:
    """How long servers wait for a CPU while they could run.

    `processes` are those that were started for a run, of which the main thread counts: it runs the server's loop.
    `listeners` are the processes of other servers; of them the thread that waits longest counts.
    """

    def __init__(self, processes: Mapping[str, int], listeners: Mapping[str, Collection[int]]) -> None:
        self._processes = processes
        self._listeners = listeners
        self._start_ns = _clock.now_ns()
        self._before = {pid: _spent(Path(f"/proc/{pid}")) for pid in processes.values()}
        self._threads_before = {name: _threads(pids) for name, pids in listeners.items()}

    def shares(self) -> dict[str, float]:
        """By name, the share of the time since the beginning.

        A server of others that used half of the machine itself is left out: it waited for its own threads.
        """
        elapsed_ns = _clock.now_ns() - self._start_ns
        out: dict[str, float] = {}
        if elapsed_ns <= 0:
            return out
        for name, pid in self._processes.items():
            before, after = self._before[pid], _spent(Path(f"/proc/{pid}"))
            if before is not None and after is not None:
                out[name] = (after.waited_ns - before.waited_ns) / elapsed_ns
        for name, pids in self._listeners.items():
            spent = [
                now.since(self._threads_before[name].get(thread, _NOTHING)) for thread, now in _threads(pids).items()
            ]
            ran_ns = sum(one.ran_ns for one in spent)
            if spent and ran_ns < OWN_DOING * usable_cores() * elapsed_ns:
                out[name] = max(one.waited_ns for one in spent) / elapsed_ns
        return out


@dataclass(frozen=True, slots=True)
class _Spent:
    """The time of a thread on a CPU, and on a run queue."""

    ran_ns: int
    waited_ns: int

    def since(self, before: _Spent) -> _Spent:
        return _Spent(self.ran_ns - before.ran_ns, self.waited_ns - before.waited_ns)


_NOTHING = _Spent(0, 0)


def _spent(folder: Path) -> _Spent | None:
    """The first two fields of schedstat. That of a process is of its main thread."""
    try:
        ran_ns, waited_ns, _ = (folder / "schedstat").read_text().split()
        return _Spent(int(ran_ns), int(waited_ns))
    except (OSError, ValueError):
        return None


def _threads(pids: Collection[int]) -> dict[str, _Spent]:
    """All threads of some processes, as far as they live."""
    out: dict[str, _Spent] = {}
    for pid in pids:
        with suppress(OSError):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                spent = _spent(thread)
                if spent is not None:
                    out[thread.name] = spent
    return out
