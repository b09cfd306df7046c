"""The fake upstream as a case uses it: it replies as planned, injects faults, and reports what reached it."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, Self

import httpx

from streambench.errors import TargetUnreachable
from streambench.upstream.clocks import ClockRelation, relate_clocks

POLL_S = 0.03
TIMEOUT_S = 10.0
# Quick, and slow enough that what comes early and what comes late can be told apart.
PROFILE = {"name": "fixed", "ttft_ms": 60, "gap_ms": 12}
TOKENS = 24


class Upstream:
    """The admin side of one fake upstream. An async context manager."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._numbers = itertools.count()
        self._client = httpx.AsyncClient(base_url=self._url, timeout=TIMEOUT_S, trust_env=False)
        self._clock = ClockRelation()
        self._plans: list[str] = []

    async def __aenter__(self) -> Self:
        """Raises TargetUnreachable where nothing there answers as a fake upstream."""
        try:
            self._clock = await relate_clocks(self._client, self._url)
        except (httpx.HTTPError, ValueError, KeyError) as error:
            await self._client.aclose()
            raise TargetUnreachable(f"{self._url} does not answer as the fake upstream: {error}") from error
        return self

    async def __aexit__(self, *_: object) -> None:
        for plan in self._plans:
            try:
                await self._client.delete("/_mock/plans", params={"id": plan})
            except httpx.HTTPError:
                break
        await self._client.aclose()

    async def plan(self, **order: Any) -> str:
        """Order a reply; returns the mark that a prompt must carry. The order's keys are those of a plan."""
        mark = f"{self._token}-{next(self._numbers)}"
        plan = {"id": mark, "profile": PROFILE, "tokens": TOKENS, **order}
        if "text" in order:
            del plan["tokens"]
        response = await self._client.post("/_mock/plans", json=plan)
        if response.status_code != 201:
            raise RuntimeError(f"the fake upstream refused the plan: {response.text}")
        self._plans.append(mark)
        return mark

    async def entries(self, mark: str) -> list[dict[str, Any]]:
        """What the journal has of a mark, the oldest first."""
        response = await self._client.get("/_mock/journal", params={"id": mark})
        entries: list[dict[str, Any]] = response.json()["entries"]
        return entries

    async def settled(self, mark: str, within_s: float = 5.0) -> list[dict[str, Any]]:
        """The journal's entries of a mark once there is one and none is open, or what there is after `within_s`."""
        entries: list[dict[str, Any]] = []
        try:
            async with asyncio.timeout(within_s):
                while True:
                    entries = await self.entries(mark)
                    if entries and all(entry["ended"] != "open" for entry in entries):
                        return entries
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            return entries

    async def reached(self, mark: str, within_s: float = 10.0) -> None:
        """Wait until a request with the mark has come, or `within_s` is over."""
        try:
            async with asyncio.timeout(within_s):
                while True:
                    if await self.entries(mark):
                        return
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            return

    def local(self, at_ns: int) -> int:
        """A stamp of the upstream on our clock."""
        return self._clock.to_local(at_ns)
