"""The journal: what was asked of this upstream, what it wrote, and when it really wrote it.

All times are CLOCK_MONOTONIC nanoseconds, which every process of a Linux host shares.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

MAX_ENTRIES = 20_000
MAX_FOLLOWER_LINES = 50_000


@dataclass(slots=True)
class Entry:
    """One request. `offset[i]` characters of `text` had been written after the write at `written_ns[i]`."""

    seq: int
    mark: str | None
    plan: str | None
    rule: str
    attempt: int
    route: str
    model: str
    stream: bool
    profile: str
    seed: int
    arrived_ns: int
    body_ns: int
    request: dict[str, Any]
    text: str = ""
    status: int = 200
    headers_ns: int | None = None
    scheduled_ns: list[int] = field(default_factory=list)
    written_ns: list[int] = field(default_factory=list)
    offset: list[int] = field(default_factory=list)
    finish: str | None = None
    ended: str = "open"
    ended_ns: int | None = None
    cancelled_ns: int | None = None
    written_after_cancel: int = 0
    faults: list[dict[str, Any]] = field(default_factory=list)

    def to_json(self, *, chunks: bool = True) -> dict[str, Any]:
        """The entry as the admin API shows it; an entry that has just opened is shown without its chunks."""
        shown: dict[str, Any] = {
            name: getattr(self, name) for name in self.__slots__ if name not in ("scheduled_ns", "written_ns", "offset")
        }
        if chunks:
            shown["chunks"] = {
                "scheduled_ns": self.scheduled_ns,
                "written_ns": self.written_ns,
                "offset": self.offset,
            }
        return shown


class Journal:
    """The newest entries, and the readers who follow them live. Old entries make room for new ones."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=MAX_ENTRIES)
        self._attempts: dict[str, int] = {}
        self._next_seq = 1
        self._followers: set[Follower] = set()

    def __len__(self) -> int:
        return len(self._entries)

    def attempt_of(self, mark: str | None) -> int:
        """Count a request for `mark` and return which attempt it is, from 1."""
        if mark is None:
            return 1
        if mark not in self._attempts and len(self._attempts) >= MAX_ENTRIES:
            self._attempts.pop(next(iter(self._attempts)))
        self._attempts[mark] = self._attempts.get(mark, 0) + 1
        return self._attempts[mark]

    def open(self, entry: Entry) -> None:
        entry.seq = self._next_seq
        self._next_seq += 1
        self._entries.append(entry)
        self._tell("opened", entry)

    def close(self, entry: Entry, *, ended: str, now_ns: int) -> None:
        """The entry is over; closing it again changes nothing."""
        if entry.ended != "open":
            return
        entry.ended = ended
        entry.ended_ns = now_ns
        if ended == "cancelled":
            entry.cancelled_ns = now_ns
        self._tell("closed", entry)

    def find(
        self, *, mark: str | None = None, plan: str | None = None, since: int = 0, limit: int = 1000
    ) -> list[Entry]:
        """The entries after `since`, oldest first, of one mark or one plan where named."""
        found = (
            entry
            for entry in self._entries
            if entry.seq > since and mark in (None, entry.mark) and plan in (None, entry.plan)
        )
        return [entry for entry, _ in zip(found, range(limit), strict=False)]

    def clear(self, plan: str | None = None) -> None:
        kept = [] if plan is None else [entry for entry in self._entries if entry.plan != plan]
        self._entries = deque(kept, maxlen=MAX_ENTRIES)
        self._attempts = {
            mark: count for mark, count in self._attempts.items() if plan is not None and mark.split(".")[0] != plan
        }

    def follow(self, plan: str | None) -> Follower:
        """A live view, beginning with the entries that are here already; `stop` it when done."""
        follower = Follower(self, plan)
        self._followers.add(follower)
        for entry in self._entries:
            follower.take("opened" if entry.ended == "open" else "closed", entry)
        return follower

    def forget(self, follower: Follower) -> None:
        self._followers.discard(follower)

    def _tell(self, event: str, entry: Entry) -> None:
        for follower in self._followers:
            follower.take(event, entry)


class Follower:
    """One reader's queue of changes. A reader that falls far behind loses the oldest changes and is told how many."""

    def __init__(self, journal: Journal, plan: str | None) -> None:
        self._journal = journal
        self._plan = plan
        self._changes: deque[dict[str, Any]] = deque()
        self._wake = asyncio.Event()
        self.lost = 0

    def take(self, event: str, entry: Entry) -> None:
        if self._plan not in (None, entry.plan):
            return
        if len(self._changes) >= MAX_FOLLOWER_LINES:
            self._changes.popleft()
            self.lost += 1
        self._changes.append({"event": event, "entry": entry.to_json(chunks=event == "closed")})
        self._wake.set()

    async def wait(self, timeout_s: float) -> None:
        """Return when there is something to read, or after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        except TimeoutError:
            return

    def read(self) -> Iterator[dict[str, Any]]:
        self._wake.clear()
        while self._changes:
            yield self._changes.popleft()

    def stop(self) -> None:
        self._journal.forget(self)
