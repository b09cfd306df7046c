"""The upstream's journal, followed live, so that each record can be joined with what was written for it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Self

import orjson

from streambench.errors import TargetUnreachable
from streambench.record.model import UpstreamExchange
from streambench.upstream.clocks import ClockRelation, relate_clocks
from streambench.upstream.plans import Plan

RETRY_S = 0.2
READY_TIMEOUT_S = 5.0


class JournalFeed:
    """The entries of some plans, as the upstream opens and closes them.

    An async context manager; inside, `exchanges` gives what was written for one mark.
    """

    def __init__(self, base_url: str, plans: Sequence[Plan], client: Any) -> None:
        self._base_url = base_url
        self._plans = plans
        self._client = client
        self._clock = ClockRelation()
        self._entries: defaultdict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
        self._waiting: dict[str, asyncio.Event] = {}
        self._followers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        """Raises TargetUnreachable where the upstream does not answer as one."""
        import httpx

        try:
            self._clock = await relate_clocks(self._client, self._base_url)
            ready = [asyncio.Event() for _ in self._plans]
            self._followers = [
                asyncio.create_task(self._follow(plan, event)) for plan, event in zip(self._plans, ready, strict=True)
            ]
            async with asyncio.timeout(READY_TIMEOUT_S):
                await asyncio.gather(*(event.wait() for event in ready))
        except (httpx.HTTPError, TimeoutError, ValueError, KeyError, TypeError) as error:
            await self.__aexit__()
            reason = str(error) or type(error).__name__
            raise TargetUnreachable(
                f"the fake upstream at {self._base_url} did not return its journal: {reason}"
            ) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        for follower in self._followers:
            follower.cancel()
        await asyncio.gather(*self._followers, return_exceptions=True)

    async def exchanges(self, mark: str, timeout_s: float, until_ns: int | None = None) -> list[UpstreamExchange]:
        """The upstream requests of a mark in the order of their attempts, waiting for those that are still open.

        After `timeout_s` what there is; a mark that never reached the upstream has none. A mark is asked for once.
        What came after `until_ns`, when the stream was over, belongs to no stream and is not waited for.
        """
        event = self._waiting.setdefault(mark, asyncio.Event())
        try:
            async with asyncio.timeout(timeout_s):
                while not self._settled(mark, until_ns):
                    event.clear()
                    await event.wait()
        except TimeoutError:
            await self._ask(mark)
        finally:
            self._waiting.pop(mark, None)
        entries = self._entries.pop(mark, {})
        return [
            _exchange(entry, self._clock) for _, entry in sorted(entries.items()) if not self._is_late(entry, until_ns)
        ]

    def _settled(self, mark: str, until_ns: int | None) -> bool:
        entries = [entry for entry in self._entries.get(mark, {}).values() if not self._is_late(entry, until_ns)]
        return bool(entries) and all(entry["ended"] != "open" for entry in entries)

    def _is_late(self, entry: dict[str, Any], until_ns: int | None) -> bool:
        return until_ns is not None and self._clock.to_local(entry["arrived_ns"]) - self._clock.error_ns > until_ns

    async def _follow(self, plan: Plan, ready: asyncio.Event) -> None:
        """Read the live journal of one plan, and begin again when the connection is lost."""
        import httpx

        while True:
            try:
                async with self._client.stream(
                    "GET", f"{self._base_url}/_mock/journal/stream", params={"plan": plan.id}, timeout=None
                ) as response:
                    ready.set()
                    async for line in response.aiter_lines():
                        self._take(line)
                        await asyncio.sleep(0)  # lines come in heaps, and sockets are to be read meanwhile
            except (httpx.HTTPError, ValueError):
                ready.set()
            await asyncio.sleep(RETRY_S)

    def _take(self, line: str) -> None:
        if not line.strip():
            return
        change = orjson.loads(line)
        entry = change.get("entry") if isinstance(change, dict) else None
        if entry is not None:
            self._store(entry)

    def _store(self, entry: dict[str, Any]) -> None:
        mark = entry.get("mark")
        if mark is None:
            return
        self._entries[mark][entry["seq"]] = entry
        event = self._waiting.get(mark)
        if event is not None:
            event.set()

    async def _ask(self, mark: str) -> None:
        """The journal's present state of a mark, open entries included."""
        import httpx

        try:
            response = await self._client.get(f"{self._base_url}/_mock/journal", params={"id": mark})
            for entry in response.json()["entries"]:
                self._entries[mark][entry["seq"]] = entry
        except (httpx.HTTPError, ValueError, KeyError):
            return


def _exchange(entry: dict[str, Any], clock: ClockRelation) -> UpstreamExchange:
    chunks = entry.get("chunks") or {"scheduled_ns": [], "written_ns": [], "offset": []}
    wrote = entry.get("wrote")

    def local(at_ns: int | None) -> int | None:
        return None if at_ns is None else clock.to_local(at_ns)

    return UpstreamExchange(
        attempt=entry["attempt"],
        arrived_ns=clock.to_local(entry["arrived_ns"]),
        status=entry["status"],
        text=entry["text"],
        scheduled_ns=[clock.to_local(at_ns) for at_ns in chunks["scheduled_ns"]],
        written_ns=[clock.to_local(at_ns) for at_ns in chunks["written_ns"]],
        offset=list(chunks["offset"]),
        headers_ns=local(entry["headers_ns"]),
        ended_ns=local(entry["ended_ns"]),
        ended=entry["ended"],
        cancelled_ns=local(entry["cancelled_ns"]),
        written_after_cancel=entry["written_after_cancel"],
        finish=entry["finish"],
        profile=entry["profile"],
        faults=[str(fault["fault"]) for fault in entry["faults"]],
        clock_error_ns=clock.error_ns,
        stream=entry.get("stream", True),
        wrote=None if wrote is None else wrote["text"],
        wrote_offset=[] if wrote is None else list(wrote["offset"]),
    )
