"""What several workers saw of themselves, as the one verdict on the generator that a run has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from streambench.load.validity import GeneratorFacts, judge_generator


def judge_workers(workers: Sequence[Mapping[str, Any]], server_wait: Mapping[str, float]) -> dict[str, Any]:
    """The `generator` object of the records' last line. `workers` as `runs.Participant.to_json` gives them.

    The figures are of all workers together; each is judged by itself, since one that was too slow spoils its streams
    and not those of the others. `lost` names those whose part did not come to its end.
    """
    facts = [GeneratorFacts(**worker["generator"]) for worker in workers if worker["generator"]]
    whole = merged(facts)
    machine = GeneratorFacts(elapsed_ns=whole.elapsed_ns, server_wait=dict(server_wait))
    reasons: list[str] = list(judge_generator(machine)["reasons"])
    whole.server_wait = machine.server_wait
    parts: list[dict[str, Any]] = []
    for worker in workers:
        part = {key: worker[key] for key in ("name", "late", "lost", "records")}
        if worker["generator"]:
            judged = judge_generator(GeneratorFacts(**worker["generator"]))
            reasons += [f"worker {worker['name']}: {reason}" for reason in judged["reasons"]]
            part |= {key: judged[key] for key in ("cpu", "loop_lag_p99_ms", "start_delay_p99_ms", "coalesced_reads")}
        parts.append(part)
    lost = [worker["name"] for worker in workers if worker["lost"]]
    return {**judge_generator(whole), "valid": not reasons, "reasons": reasons, "workers": parts, "lost": lost}


def begun_by(workers: Sequence[Mapping[str, Any]]) -> int | None:
    """How many streams several workers began; None where one of them was lost and did not say."""
    if any(worker["lost"] or not worker["generator"] for worker in workers):
        return None
    return sum(int(worker["generator"]["begun"]) for worker in workers)


def merged(facts: Sequence[GeneratorFacts]) -> GeneratorFacts:
    """The facts of several generators that ran side by side: counts add up, and `cpu` is that of the busiest."""
    out = GeneratorFacts()
    for one in facts:
        out.begun += one.begun
        out.elapsed_ns = max(out.elapsed_ns, one.elapsed_ns)
        out.open_ns = max(out.open_ns, one.open_ns)
        out.requested += one.requested
        out.achieved += one.achieved
        out.start_delays_ns += one.start_delays_ns
        out.lags_ns += one.lags_ns
        out.upstream_late_ns += one.upstream_late_ns
        out.cpu = one.cpu if out.cpu is None else max(out.cpu, one.cpu or 0.0)
        out.gc_pause_ns += one.gc_pause_ns
        out.coalesced_reads += one.coalesced_reads
        out.reads += one.reads
    kinds = {one.stamps for one in facts if one.reads}
    out.stamps = "kernel" if kinds == {"kernel"} else "user"
    return out
