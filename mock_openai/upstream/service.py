"""What a running server keeps, and what all of its routes share."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from mock_openai.upstream.garbage import collect_soon
from mock_openai.upstream.ledger import Ledger
from mock_openai.upstream.pacing import Pacer
from mock_openai.upstream.plans import Plans
from mock_openai.upstream.quotas import Limits

MAX_BYTES_IN_FLIGHT = 512 << 20
STALLED_NS = 1_000_000_000
"""Who has not read for so long may have to make room."""


class OpenRequest(Protocol):
    """A request that is being answered."""

    @property
    def stalled_ns(self) -> int | None:
        """Since when its client has not read although much is waiting for it; None while it reads."""

    def give_up(self) -> None:
        """Cut a client that does not read."""

    def shut_down(self) -> None:
        """End it at once: the server goes away."""


@dataclass(slots=True)
class Service:
    """What a process that answers requests keeps.

    `bytes_in_flight`: of replies that are composed and not yet over, at most `max_bytes_in_flight`. `aside`: a thread
    for replies that take long to compose, one after the other: `composing`.
    """

    plans: Plans
    ledger: Ledger
    pacer: Pacer = field(default_factory=Pacer)
    limits: Limits = field(default_factory=Limits)
    open_requests: set[OpenRequest] = field(default_factory=set)
    bytes_in_flight: int = 0
    max_bytes_in_flight: int = MAX_BYTES_IN_FLIGHT
    aside: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "compose"))
    composing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def has_room(self) -> bool:
        """Whether another reply can be composed; clients that do not read make room for those that do."""
        if self.bytes_in_flight <= self.max_bytes_in_flight:
            return True
        before_ns = time.monotonic_ns() - STALLED_NS
        stalled = [(since, item) for item in self.open_requests if (since := item.stalled_ns or before_ns) < before_ns]
        for _, request in sorted(stalled, key=lambda item: item[0]):
            request.give_up()
            if self.bytes_in_flight <= self.max_bytes_in_flight:
                return True
        return False

    def closed(self, request: OpenRequest) -> None:
        """A request is over."""
        self.open_requests.discard(request)
        if not self.open_requests:
            collect_soon(self.open_requests)

    def shut_down(self) -> None:
        """End the open streams at once, and say so in the journal."""
        for request in list(self.open_requests):
            request.shut_down()
        self.aside.shutdown(wait=False, cancel_futures=True)

    async def wait_until(self, due_ns: int) -> None:
        """Return at a moment of CLOCK_MONOTONIC."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def step() -> None:
            if not done.done():
                done.set_result(None)

        self.pacer.start(due_ns, step)
        await done
