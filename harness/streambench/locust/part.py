"""A worker's part in one run: its users, and what happens to a stream when it ends."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import asdict
from typing import Any

from streambench.analysis.milestones import PREFIX, spans
from streambench.analysis.validity import upstream_late_ns
from streambench.findings import Finding
from streambench.load.testbed import Testbed
from streambench.load.validity import GeneratorFacts, Watch, percentile_ms
from streambench.locust.population import Population
from streambench.locust.rows import Rows, method_of
from streambench.record.journal import encode_line
from streambench.record.model import CLIENT_LEFT, Outcome, StreamRecord, stamps_of
from streambench.units import NS_PER_MS
from streambench.upstream.clocks import ClockRelation

RECENT_DELAYS = 2_000
LINES_AT_ONCE = 500


class Part:
    """One worker in one run. Lines of the records file gather here until they are taken."""

    def __init__(
        self,
        run: str,
        worker: str,
        testbed: Testbed,
        relation: ClockRelation,
        rows: Rows,
        first_number: int,
    ) -> None:
        self.run = run
        self.records = 0
        self.facts = GeneratorFacts()
        self.population = Population(testbed, self._write, self.facts, first_number)
        self._worker = worker
        self._testbed = testbed
        self._relation = relation
        self._rows = rows
        self._methods = {
            t.name: method_of(t.spec.dialect.transport, t.spec.dialect.name) for t in testbed.scenario.targets
        }
        self._milestones = {t.name: t.spec.dialect.milestones for t in testbed.scenario.targets}
        self._lines: list[tuple[bytes, int]] = []  # and how many streams each is
        self._judged = dict.fromkeys(self._methods, 0)
        self._sample: dict[str, Any] = {}
        self._watch = asyncio.create_task(Watch(self.facts, self._sampled, self._begun).run())

    async def end(self, timeout_s: float) -> None:
        """End the users; what they have open has so long to finish."""
        await self.population.end(timeout_s)
        self._watch.cancel()
        await asyncio.gather(self._watch, return_exceptions=True)

    def take_lines(self) -> tuple[int, bytes]:
        """Some of the lines that wait, oldest first, and how many streams are among them."""
        taken, self._lines = self._lines[:LINES_AT_ONCE], self._lines[LINES_AT_ONCE:]
        return sum(streams for _, streams in taken), b"".join(line for line, _ in taken)

    def live(self) -> dict[str, Any]:
        """What the Streaming page shows of this worker."""
        facts = self.facts
        return {
            "run": self.run,
            "targets": {
                name: {"active": target.active, "judged": self._judged[name]}
                for name, target in self.population.progress.targets.items()
            },
            "generator": {
                "cpu": self._sample.get("cpu"),
                "loop_lag_p99_ms": self._sample.get("loop_lag_p99_ms"),
                "start_delay_p99_ms": percentile_ms(facts.start_delays_ns[-RECENT_DELAYS:], 99),
                "stamps": stamps_of(facts.reads, facts.user_reads),
                "coalesced_reads": facts.coalesced_reads,
                "clock_error_ms": self._relation.error_ns / NS_PER_MS,
            },
        }

    def final(self) -> dict[str, Any]:
        """What the worker has seen of itself, as `GeneratorFacts` take it."""
        return asdict(self.facts)

    def _sampled(self, sample: dict[str, Any]) -> None:
        self._sample = sample
        self._note("generator", sample)

    def _begun(self, begun: dict[str, Any]) -> None:
        self._note("begun", begun)

    def _note(self, kind: str, facts: dict[str, Any]) -> None:
        at_ns = facts["at_ns"] + self._relation.offset_ns
        line = {"kind": kind, **facts, "at_ns": at_ns, "worker": self._worker}
        self._lines.append((encode_line(line, str), 0))

    async def _write(self, record: StreamRecord) -> None:
        await self._testbed.join(record)
        self.facts.upstream_late_ns += upstream_late_ns(record)
        target, _, number = record.id.rpartition("/")
        record.id = f"{target}/{self._worker}.{number}"
        record.worker = self._worker
        self._count(record)
        line = record.to_json()
        for key in ("intended_ns", "start_ns"):  # all other moments count from the start
            line[key] += self._relation.offset_ns
        self._lines.append((encode_line(line, self._testbed.scenario.secrets), 1))
        self.records += 1
        await asyncio.sleep(0)

    def _count(self, record: StreamRecord) -> None:
        """Put a stream into Locust's rows, as far as it is judged."""
        if record.warmup or record.outcome in CLIENT_LEFT:
            return
        self._judged[record.target] += 1
        name, method, hide = record.target, self._methods[record.target], self._testbed.scenario.secrets
        if record.end_ns is not None:
            self._rows.stream(name, method, (record.end_ns - record.intended_ns) / NS_PER_MS, record.wire_bytes)
        failed = record.outcome in (Outcome.FAILED, Outcome.DROPPED)
        errors = [(hide(f"{found.rule}: {found.message}"), place_of(found, record)) for found in record.violations]
        if failed:
            errors.append((hide(f"{record.error or record.outcome}: {record.error_message or ''}"), f"in {record.id}"))
        if errors:
            self._rows.fail(name, method, errors, counts=failed)
        at_ns = record.events.at_ns
        rows = record.content_rows()
        if record.outcome is Outcome.COMPLETED and len(rows):
            self._rows.beside(name, "TTFC", (at_ns[rows[0]] - record.intended_ns) / NS_PER_MS)
            if len(rows) > 1:
                gaps = [at_ns[after] - at_ns[before] for before, after in itertools.pairwise(rows)]
                self._rows.beside(name, "GAP MAX", max(gaps) / NS_PER_MS)
        if record.outcome is Outcome.COMPLETED and self._milestones[name]:
            for milestone, span in spans(record, self._milestones[name]).items():
                self._rows.beside(name, f"{PREFIX}{milestone}", span.ns / NS_PER_MS)


def place_of(finding: Finding, record: StreamRecord) -> str:
    """Where a finding is, such as `in chat/host/0.12 at event 31, byte 8546`."""
    return f"in {record.id}" + (f" at {finding.place}" if finding.place else "")
