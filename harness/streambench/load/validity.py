"""The generator watches itself: figures of a generator that was the bottleneck would not describe the target."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from streambench.analysis.authenticity import MAX_SERVER_WAIT, MAX_UPSTREAM_LATE_MS
from streambench.clock import MonotonicClock
from streambench.load.cpu_wait import ThreadWait
from streambench.quantile import quantile
from streambench.record.model import stamps_of
from streambench.units import NS_PER_MS, NS_PER_S

SAMPLE_S = 0.02
LINE_NS = NS_PER_S
CALM_THRESHOLDS = (20_000, 50, 100)
MIN_RATE_SHARE = 0.95
MIN_JUDGED_NS = 2 * NS_PER_S  # in less time a share of the CPU says nothing

_clock = MonotonicClock()


@dataclass(slots=True)
class GeneratorFacts:
    """What the generator has seen of itself. Rates per second, `cpu` in cores; None where nothing can be said."""

    begun: int = 0  # streams, those included that were due and never started: each gets a record
    elapsed_ns: int = 0
    requested: int = 0  # intended starts of the open phases
    achieved: int = 0
    open_ns: int = 0  # how long the open phases took, without the warm-up
    start_delays_ns: list[int] = field(default_factory=list)
    lags_ns: list[int] = field(default_factory=list)
    upstream_late_ns: list[int] = field(default_factory=list)  # of each stream, the mean against its schedule
    cpu: float | None = None
    cpu_wait: float | None = None  # share of the time in which the loop's thread could run and had no CPU
    gc_pause_ns: int = 0
    server_wait: dict[str, float] = field(default_factory=dict)  # share of the time without the CPU they wanted
    swept: bool = False  # the load was one that nobody knew before to be too much: each step is judged by itself
    reads: int = 0
    user_reads: int = 0  # those that the kernel did not stamp
    coalesced_reads: int = 0


class Watch:
    """Samples how late the event loop is, and the CPU, while the load runs.

    `line` takes what it has seen, about once a second; `begun` how many streams have begun, soon after it has changed.
    """

    def __init__(
        self,
        facts: GeneratorFacts,
        line: Callable[[dict[str, Any]], None],
        begun: Callable[[dict[str, Any]], None],
    ) -> None:
        self.facts = facts
        self._line = line
        self._begun = begun
        self._told = 0
        self._gc_started_ns = 0

    async def run(self) -> None:
        """Sample until cancelled; a line for the records about once a second."""
        gc.callbacks.append(self._gc)
        # What is here now stays: collections need not look at it, and the rare full ones are the long ones.
        gc.collect()
        gc.freeze()
        thresholds = gc.get_threshold()
        gc.set_threshold(*CALM_THRESHOLDS)
        start_ns = line_ns = _clock.now_ns()
        cpu_start_ns = cpu_line_ns = time.process_time_ns()
        waiting = ThreadWait()
        lags_ns: list[int] = []
        try:
            while True:
                asleep_ns = _clock.now_ns()
                await asyncio.sleep(SAMPLE_S)
                now_ns = _clock.now_ns()
                lags_ns.append(max(0, now_ns - asleep_ns - round(SAMPLE_S * NS_PER_S)))
                self._tell_begun(now_ns)
                if now_ns - line_ns < LINE_NS:
                    continue
                cpu_ns = time.process_time_ns()
                self.facts.lags_ns += lags_ns
                self.facts.cpu = (cpu_ns - cpu_start_ns) / (now_ns - start_ns)
                self._line(
                    {
                        "at_ns": now_ns,
                        "loop_lag_p99_ms": percentile_ms(lags_ns, 99),
                        "cpu": round((cpu_ns - cpu_line_ns) / (now_ns - line_ns), 3),
                        "gc_pause_ms": round(self.facts.gc_pause_ns / NS_PER_MS, 3),
                    }
                )
                line_ns, cpu_line_ns, lags_ns = now_ns, cpu_ns, []
        finally:
            self.facts.lags_ns += lags_ns
            self.facts.elapsed_ns = _clock.now_ns() - start_ns
            if self.facts.elapsed_ns > 0:
                self.facts.cpu = (time.process_time_ns() - cpu_start_ns) / self.facts.elapsed_ns
                self.facts.cpu_wait = waiting.share(self.facts.elapsed_ns)
            gc.callbacks.remove(self._gc)
            gc.set_threshold(*thresholds)
            gc.unfreeze()

    def _tell_begun(self, now_ns: int) -> None:
        if self.facts.begun != self._told:
            self._told = self.facts.begun
            self._begun({"at_ns": now_ns, "streams": self._told})

    def _gc(self, phase: str, _: dict[str, int]) -> None:
        if phase == "start":
            self._gc_started_ns = _clock.now_ns()
        else:
            self.facts.gc_pause_ns += _clock.now_ns() - self._gc_started_ns


def percentile_ms(values_ns: list[int], percent: float) -> float | None:
    """A percentile of durations in ns, in ms."""
    if not values_ns:
        return None
    return round(quantile(sorted(values_ns), percent / 100) / NS_PER_MS, 3)


def judge_generator(facts: GeneratorFacts) -> dict[str, Any]:
    """The `generator` object of the records' last line: `valid`, and in `reasons` why not and what helps.

    What the generator has added to the figures is not known here: the analysis decides on that, and on each step of a
    sweep.
    """
    lag_ms = percentile_ms(facts.lags_ns, 99)
    delay_ms = percentile_ms(facts.start_delays_ns, 99)
    requested_rate = achieved_rate = None
    reasons: list[str] = []
    if facts.open_ns > 0 and facts.requested:
        requested_rate = facts.requested * NS_PER_S / facts.open_ns
        achieved_rate = facts.achieved * NS_PER_S / facts.open_ns
        if facts.achieved < MIN_RATE_SHARE * facts.requested:
            reasons.append(
                f"only {achieved_rate:.1f} of {requested_rate:.1f} streams/s were started: lower the rate, raise "
                "max_active, or use a larger machine"
            )
    late_ms = percentile_ms(facts.upstream_late_ns, 95)
    if late_ms is not None and late_ms > MAX_UPSTREAM_LATE_MS:
        reasons.append(
            f"the fake upstream wrote {late_ms:,.0f} ms late at p95 (limit {MAX_UPSTREAM_LATE_MS:,.0f} ms): the "
            "machine is busy; lower the load, or stop what else runs on it"
        )
    for name, share in facts.server_wait.items():
        if share > MAX_SERVER_WAIT and facts.elapsed_ns > MIN_JUDGED_NS:
            reasons.append(
                f"the server {name!r} waited {share:.0%} of the time for a CPU (limit {MAX_SERVER_WAIT:.0%}): "
                "the machine is busy; lower the load, or stop what else runs on it"
            )
    if facts.swept:
        reasons = []
    return {
        "valid": not reasons,
        "reasons": reasons,
        "requested_rate": None if requested_rate is None else round(requested_rate, 3),
        "achieved_rate": None if achieved_rate is None else round(achieved_rate, 3),
        "start_delay_p99_ms": delay_ms,
        "loop_lag_p99_ms": lag_ms,
        "upstream_late_p95_ms": late_ms,
        "server_wait": {name: round(share, 3) for name, share in facts.server_wait.items()},
        "elapsed_s": round(facts.elapsed_ns / NS_PER_S, 3),
        "cpu": None if facts.cpu is None else round(facts.cpu, 3),
        "cpu_wait": None if facts.cpu_wait is None else round(facts.cpu_wait, 3),
        "gc_pause_ms": round(facts.gc_pause_ns / NS_PER_MS, 3),
        "stamps": stamps_of(facts.reads, facts.user_reads),
        "coalesced_reads": facts.coalesced_reads,
        "reads": facts.reads,
    }
