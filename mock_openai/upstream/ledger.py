"""What all requests of a server have in common, and all its processes: journal, attempts, limits, slots and counts.

A request asks through a `Ledger`. In a server of one process that is the `OwnLedger`; workers have one that asks their
parent's, see `workers/`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mock_openai.upstream.capacity import Pools
from mock_openai.upstream.journal import Entry, Journal
from mock_openai.upstream.metrics import Metrics
from mock_openai.upstream.profiles import Capacity
from mock_openai.upstream.quotas import Limits, Quotas, Verdict


@dataclass(frozen=True, slots=True)
class Charge:
    """What a request uses of the limits of `key`."""

    key: str
    limits: Limits
    tokens: int


@dataclass(frozen=True, slots=True)
class Variant:
    """What the journal tells of the plan of one attempt."""

    profile: str
    seed: int


class Ledger(Protocol):
    """What the requests of all processes share."""

    async def begin(self, entry: Entry, key: str, variants: Sequence[Variant], charge: Charge) -> Verdict:
        """Journal a request that has come, and count it: gives `entry` its `seq` and its `attempt`.

        `key`: what tells it from other requests. `variants[k]` replaces the entry's profile and seed if it is attempt
        number k+1. The verdict is that of the limits which `charge` names.
        """

    async def admit(self, charge: Charge) -> Verdict:
        """Count a request against further limits."""

    async def take_slot(self, capacity: Capacity) -> int:
        """Wait for one of the slots of a pool; returns how many are taken then."""

    def free_slot(self, capacity: Capacity) -> None:
        """Give a slot back."""

    def close(self, entry: Entry, ended: str) -> bool:
        """An entry is over, and returns True; closing it again changes nothing."""

    def refused(self, route: str, status: int) -> None:
        """Count a request that was wrong, and so has no entry."""

    async def refuse_connections(self, ns: int) -> None:
        """Let nobody connect for a while; when it returns, nobody can."""


@dataclass(slots=True)
class OwnLedger:
    """The ledger of the process that keeps it. `refuse_all` closes the listening socket for a while."""

    journal: Journal = field(default_factory=Journal)
    metrics: Metrics = field(default_factory=Metrics)
    quotas: Quotas = field(default_factory=Quotas)
    pools: Pools = field(default_factory=Pools)
    refuse_all: Callable[[int], Awaitable[None]] | None = None

    async def begin(self, entry: Entry, key: str, variants: Sequence[Variant], charge: Charge) -> Verdict:
        """As `Ledger.begin`."""
        return self.begin_now(entry, key, variants, charge)

    def begin_now(self, entry: Entry, key: str, variants: Sequence[Variant], charge: Charge) -> Verdict:
        """The same at once."""
        entry.attempt = self.journal.attempt_of(key)
        if entry.attempt <= len(variants):
            variant = variants[entry.attempt - 1]
            entry.profile, entry.seed = variant.profile, variant.seed
        self.journal.open(entry)
        self.metrics.opened(entry.api)
        return self.charged(charge)

    async def admit(self, charge: Charge) -> Verdict:
        """As `Ledger.admit`."""
        return self.charged(charge)

    def charged(self, charge: Charge) -> Verdict:
        """The same at once."""
        return self.quotas.ask(charge.key, charge.limits, charge.tokens, time.monotonic_ns())

    async def take_slot(self, capacity: Capacity) -> int:
        """As `Ledger.take_slot`."""
        pool = self.pools.of(capacity)
        await pool.take(capacity.slots)
        return pool.active

    def free_slot(self, capacity: Capacity) -> None:
        """As `Ledger.free_slot`."""
        self.pools.of(capacity).free()

    def close(self, entry: Entry, ended: str) -> bool:
        """As `Ledger.close`."""
        return self.close_at(entry, ended, time.monotonic_ns())

    def close_at(self, entry: Entry, ended: str, now_ns: int) -> bool:
        """An entry was over at a moment."""
        if not self.journal.close(entry, ended=ended, now_ns=now_ns):
            return False
        self.metrics.closed(entry.api, entry)
        return True

    def refused(self, route: str, status: int) -> None:
        """As `Ledger.refused`."""
        self.metrics.refused(route, status)

    async def refuse_connections(self, ns: int) -> None:
        """As `Ledger.refuse_connections`."""
        if self.refuse_all is not None:
            await self.refuse_all(ns)
