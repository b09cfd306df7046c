"""Combines what several workers observed about themselves into a run's one verdict on the generator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streambench.load.validity import GeneratorFacts, judge_generator


@dataclass(frozen=True, slots=True)
class SelfReport:
    """One worker's part in a run: how many records it gave, and its `GeneratorFacts` as JSON, empty where it has none.

    `late`: it joined after the run had begun. `lost`: its part did not come to its end; `how` says what happened to it.
    """

    name: str
    records: int
    generator: Mapping[str, Any] = field(default_factory=dict)
    late: bool = False
    lost: bool = False
    how: str = "was lost"


def judge_workers(reports: Sequence[SelfReport], server_wait: Mapping[str, float]) -> dict[str, Any]:
    """The `generator` object of the records' last line.

    The figures are of all workers together; each is judged by itself, since one that was too slow spoils its streams
    and not those of the others. `lost` names those whose part did not come to its end: what is left says nothing of the
    whole.
    """
    whole = merged([GeneratorFacts(**report.generator) for report in reports if report.generator])
    machine = GeneratorFacts(elapsed_ns=whole.elapsed_ns, server_wait=dict(server_wait), swept=whole.swept)
    reasons: list[str] = list(judge_generator(machine)["reasons"])
    whole.server_wait = machine.server_wait
    parts: list[dict[str, Any]] = []
    for report in reports:
        part = {"name": report.name, "late": report.late, "lost": report.lost, "records": report.records}
        if report.generator:
            judged = judge_generator(GeneratorFacts(**report.generator))
            reasons += [f"worker {report.name}: {reason}" for reason in judged["reasons"]]
            part |= {key: judged[key] for key in ("cpu", "loop_lag_p99_ms", "start_delay_p99_ms", "coalesced_reads")}
        if report.lost:
            reasons.append(f"worker {report.name} {report.how}: the streams that it had open are lost")
        parts.append(part)
    lost = [report.name for report in reports if report.lost]
    return {**judge_generator(whole), "valid": not reasons, "reasons": reasons, "workers": parts, "lost": lost}


def begun_by(reports: Sequence[SelfReport]) -> int | None:
    """How many streams several workers began; None where one of them was lost and did not say."""
    if any(report.lost or not report.generator for report in reports):
        return None
    return sum(int(report.generator["begun"]) for report in reports)


def merged(facts: Sequence[GeneratorFacts]) -> GeneratorFacts:
    """The facts of several generators that ran side by side: counts add up, and `cpu` is that of the busiest."""
    out = GeneratorFacts()
    for one in facts:
        out.begun += one.begun
        out.swept |= one.swept
        out.elapsed_ns = max(out.elapsed_ns, one.elapsed_ns)
        out.open_ns = max(out.open_ns, one.open_ns)
        out.requested += one.requested
        out.achieved += one.achieved
        out.start_delays_ns += one.start_delays_ns
        out.lags_ns += one.lags_ns
        out.upstream_late_ns += one.upstream_late_ns
        out.cpu = one.cpu if out.cpu is None else max(out.cpu, one.cpu or 0.0)
        out.cpu_wait = one.cpu_wait if out.cpu_wait is None else max(out.cpu_wait, one.cpu_wait or 0.0)
        out.gc_pause_ns += one.gc_pause_ns
        out.coalesced_reads += one.coalesced_reads
        out.reads += one.reads
        out.user_reads += one.user_reads
    return out
