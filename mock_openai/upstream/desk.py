"""What the admin API does, without HTTP: store plans, read the journal, report the server's health.

`Desk` is what the routes ask; `OwnDesk` answers in the process that keeps the ledger. A worker has one that passes
everything on, see `workers/`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any, Protocol

import mock_openai
from mock_openai.upstream.journal import Journal, encoded
from mock_openai.upstream.ledger import OwnLedger
from mock_openai.upstream.plans import Plans

PING_S = 5.0
ENTRIES_IN_A_ROW = 10
"""Entries that are encoded before what is due is written: thousands in a row would make every stream late."""


class Desk(Protocol):
    """The admin operations."""

    async def put_plans(self, data: Any) -> list[str]:
        """Store a plan or a list of them, known to all processes when this returns. Raises PlanError."""

    async def plan_ids(self) -> list[str]:
        """The ids of the stored plans."""

    async def delete_plans(self, plan: str | None) -> int:
        """Forget one plan, or all; returns how many there were."""

    async def page(self, mark: str | None, plan: str | None, since: int, limit: int) -> bytes:
        """Entries of the journal as JSON, see `OwnDesk.page`."""

    async def clear(self, plan: str | None) -> None:
        """Forget the entries and attempts of one plan, or all."""

    def follow(self, plan: str | None) -> AsyncGenerator[bytes, None]:
        """The journal live as lines of JSON, until the server ends."""

    async def health(self) -> dict[str, Any]:
        """That the server runs, and its clock."""

    async def metrics(self) -> bytes:
        """The metrics in the text format of Prometheus."""


class OwnDesk:
    """The operations where plans and ledger are kept."""

    def __init__(self, plans: Plans, ledger: OwnLedger) -> None:
        self._plans = plans
        self._ledger = ledger
        # Two processes with the same boot id share CLOCK_MONOTONIC.
        boot_id = Path("/proc/sys/kernel/random/boot_id")
        self._boot_id = boot_id.read_text().strip() if boot_id.exists() else None

    async def put_plans(self, data: Any) -> list[str]:
        """As `Desk.put_plans`."""
        return self._plans.put(data)

    async def plan_ids(self) -> list[str]:
        """As `Desk.plan_ids`."""
        return self._plans.ids()

    async def delete_plans(self, plan: str | None) -> int:
        """As `Desk.delete_plans`."""
        return self._plans.delete(plan)

    async def page(self, mark: str | None, plan: str | None, since: int, limit: int) -> bytes:
        """The entries after `since`, at most `limit`, of a mark or a plan where named: `{entries, now_ns, next}`."""
        found = self._ledger.journal.find(mark=mark, plan=plan, since=since, limit=max(0, limit))
        shown = []
        for index, entry in enumerate(found):
            shown.append(encoded(entry.to_json()))
            if index % ENTRIES_IN_A_ROW == 0:
                await asyncio.sleep(0)
        after = found[-1].seq if found else since
        return b'{"entries":[%b],"now_ns":%d,"next":%d}' % (b",".join(shown), time.monotonic_ns(), after)

    async def clear(self, plan: str | None) -> None:
        """As `Desk.clear`."""
        self._ledger.journal.clear(plan)

    async def follow(self, plan: str | None) -> AsyncGenerator[bytes, None]:
        """The journal live as lines of JSON: what is there, then what changes, and a ping every 5 s."""
        follower = self._ledger.journal.follow(plan)
        try:
            while (lines := await follower.next(PING_S)) is not None:
                yield lines
        finally:
            follower.stop()

    async def health(self) -> dict[str, Any]:
        """As `Desk.health`."""
        return {
            "status": "ok",
            "now_ns": time.monotonic_ns(),
            "boot_id": self._boot_id,
            "pid": os.getpid(),
            "version": mock_openai.__version__,
        }

    async def metrics(self) -> bytes:
        """As `Desk.metrics`."""
        journal: Journal = self._ledger.journal
        gauges: Mapping[str, tuple[str, float]] = {
            "plans": ("Plans that are stored.", len(self._plans)),
            "journal_entries": ("Entries of the journal.", len(journal)),
            "journal_bytes": ("Memory of the journal, roughly.", journal.bytes),
        }
        return self._ledger.metrics.text(gauges).encode()
