"""Ledger and desk of a worker: everything is asked of its parent, which keeps them."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

from mock_openai.upstream.journal import Entry
from mock_openai.upstream.ledger import Charge, Variant
from mock_openai.upstream.plans import PlanError
from mock_openai.upstream.profiles import Capacity
from mock_openai.upstream.quotas import Verdict
from mock_openai.upstream.workers.channel import Channel

TOLD_EVERY_S = 1.0
"""A worker that is killed takes with it what it wrote since then."""
SLICE_S = 0.01
SLICES = round(TOLD_EVERY_S / SLICE_S)

CHANGING = (
    "text",
    "status",
    "headers_ns",
    "texts",
    "finish",
    "ended",
    "ended_ns",
    "cancelled_ns",
    "written_after_cancel",
    "faults",
)
"""The fields of an entry that change while it is open, beside the times of its writes."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What is new of an entry: changed fields, and further writes."""

    fields: dict[str, Any]
    scheduled_ns: array[int]
    written_ns: array[int]
    offset: array[int]


class _Told:
    """An open entry, and how much of it the parent knows."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self._fields: dict[str, Any] = {}
        self._writes = 0

    def news(self) -> Progress | None:
        """What the parent does not know yet; None if it knows everything."""
        entry, start, end = self.entry, self._writes, len(self.entry.written_ns)
        now = {name: getattr(entry, name) for name in CHANGING}
        now["faults"] = list(now["faults"])
        fields = {name: value for name, value in now.items() if name not in self._fields or self._fields[name] != value}
        if not fields and start == end:
            return None
        self._fields, self._writes = now, end
        return Progress(fields, entry.scheduled_ns[start:end], entry.written_ns[start:], entry.offset[start:end])


class RemoteLedger:
    """A `Ledger` that is kept by the parent."""

    def __init__(self) -> None:
        self.channel: Channel | None = None
        self._open: dict[int, _Told] = {}

    @property
    def _parent(self) -> Channel:
        assert self.channel is not None
        return self.channel

    async def begin(self, entry: Entry, key: str, variants: Sequence[Variant], charge: Charge) -> Verdict:
        """As `Ledger.begin`."""

        def begun(answer: tuple[int, int, Verdict]) -> Verdict:
            entry.seq, entry.attempt, verdict = answer
            if entry.attempt <= len(variants):
                variant = variants[entry.attempt - 1]
                entry.profile, entry.seed = variant.profile, variant.seed
            self._open[entry.seq] = _Told(entry)
            if entry.ended != "open":
                self._tell(entry)
            return verdict

        try:
            answer = await _whatever_comes(self._parent.call("begin", entry, key, variants, charge), begun)
        except RecursionError:
            entry.request = {"omitted_bytes": entry.request_bytes}  # nested as deeply as JSON may be, but no pickle
            answer = await _whatever_comes(self._parent.call("begin", entry, key, variants, charge), begun)
        return begun(answer)

    async def admit(self, charge: Charge) -> Verdict:
        """As `Ledger.admit`."""
        verdict: Verdict = await self._parent.call("admit", charge)
        return verdict

    async def take_slot(self, capacity: Capacity) -> int:
        """As `Ledger.take_slot`."""
        taken: int = await _whatever_comes(self._parent.call("take_slot", capacity), lambda _: self.free_slot(capacity))
        return taken

    def free_slot(self, capacity: Capacity) -> None:
        """As `Ledger.free_slot`."""
        self._parent.tell("free_slot", capacity)

    def close(self, entry: Entry, ended: str) -> bool:
        """As `Ledger.close`."""
        if not entry.end(ended, time.monotonic_ns()):
            return False
        if entry.seq:
            self._tell(entry)
        return True  # else it has just come, and the parent is told when it has given it a number

    def _tell(self, entry: Entry) -> None:
        news = self._open[entry.seq].news()
        if news is not None:
            self._parent.tell("progress", entry.seq, news)
        if entry.ended != "open":
            del self._open[entry.seq]

    def refused(self, route: str, status: int) -> None:
        """As `Ledger.refused`."""
        self._parent.tell("refused", route, status)

    async def refuse_connections(self, ns: int) -> None:
        """As `Ledger.refuse_connections`."""
        await self._parent.call("refuse_connections", ns)

    async def tell_all(self) -> None:
        """Tell the parent all that it does not know yet."""
        await self._tell_slowly(0.0, 10)

    async def keep_telling(self) -> None:
        """Tell the parent of each open entry once a second, a few at a time: nothing that is due waits long for it."""
        while True:
            await self._tell_slowly(SLICE_S, 1 + len(self._open) // SLICES)
            await asyncio.sleep(SLICE_S)

    async def _tell_slowly(self, pause_s: float, in_a_row: int) -> None:
        for index, told in enumerate(list(self._open.values())):
            if told.entry.ended == "open":
                self._tell(told.entry)
            if index % in_a_row == in_a_row - 1:
                await asyncio.sleep(pause_s)


async def _whatever_comes(call: Coroutine[Any, Any, Any], late: Callable[[Any], Any]) -> Any:
    """The answer of the parent. If the request ends before, `late` gets the answer: it has had its effect there."""
    answer = asyncio.ensure_future(call)

    def deal(done: asyncio.Future[Any]) -> None:
        if not done.cancelled() and done.exception() is None:
            late(done.result())

    try:
        return await asyncio.shield(answer)
    except asyncio.CancelledError:
        answer.add_done_callback(deal)
        raise


class RemoteDesk:
    """A `Desk` of the parent."""

    def __init__(self, ledger: RemoteLedger) -> None:
        self._ledger = ledger

    async def _ask(self, name: str, *arguments: Any) -> Any:
        assert self._ledger.channel is not None
        return await self._ledger.channel.call(name, *arguments)

    async def put_plans(self, data: Any) -> list[str]:
        """As `Desk.put_plans`."""
        try:
            ids: list[str] = await self._ask("put_plans", data)
        except RecursionError:
            raise PlanError("nested too deeply") from None
        return ids

    async def plan_ids(self) -> list[str]:
        """As `Desk.plan_ids`."""
        ids: list[str] = await self._ask("plan_ids")
        return ids

    async def delete_plans(self, plan: str | None) -> int:
        """As `Desk.delete_plans`."""
        deleted: int = await self._ask("delete_plans", plan)
        return deleted

    async def page(self, mark: str | None, plan: str | None, since: int, limit: int) -> bytes:
        """As `Desk.page`."""
        page: bytes = await self._ask("page", mark, plan, since, limit)
        return page

    async def clear(self, plan: str | None) -> None:
        """As `Desk.clear`."""
        await self._ask("clear", plan)

    async def follow(self, plan: str | None) -> AsyncGenerator[bytes, None]:
        """As `Desk.follow`."""
        number = await self._ask("follow", plan)
        try:
            while (lines := await self._ask("changes", number)) is not None:
                yield lines
        finally:
            assert self._ledger.channel is not None
            self._ledger.channel.tell("unfollow", number)

    async def health(self) -> dict[str, Any]:
        """As `Desk.health`."""
        health: dict[str, Any] = await self._ask("health")
        return health

    async def metrics(self) -> bytes:
        """As `Desk.metrics`."""
        text: bytes = await self._ask("metrics")
        return text
