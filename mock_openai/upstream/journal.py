"""The journal: what was asked of this upstream, what it wrote, and when it really wrote it.

All times are CLOCK_MONOTONIC nanoseconds, which every process of a Linux host shares.
"""

from __future__ import annotations

import asyncio
import json
import time
from array import array
from collections import deque
from dataclasses import dataclass, field
from itertools import accumulate, islice
from typing import Any

MAX_ENTRIES = 20_000
MAX_BYTES = 256 << 20
MAX_FOLLOWER_BYTES = 64 << 20
BATCH_BYTES = 32 << 10
"""Changes are encoded so many bytes at a time: what is due meanwhile is written in between."""
ENTRY_BYTES = 2_000
OPENED_BYTES = 1_000


def _times() -> array[int]:
    return array("q")


HIDDEN = frozenset({"api", "scheduled_ns", "written_ns", "offset", "texts", "request_bytes"})


@dataclass(slots=True)
class Entry:
    """One request. `offset[i]` characters of `text` had been written after the write at `written_ns[i]`.

    `scheduled_ns` and `offset` may be longer than `written_ns`, by writes that are yet to come or never came.

    `texts`: the readable text of each write of content, also of those that are yet to come, where a fault has made it
    another than the part of `text` up to `offset`. `api`: the pattern of `route` that metrics count under.
    """

    seq: int
    mark: str | None
    plan: str | None
    rule: str
    attempt: int
    api: str
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
    scheduled_ns: array[int] = field(default_factory=_times)
    written_ns: array[int] = field(default_factory=_times)
    offset: array[int] = field(default_factory=_times)
    texts: list[str] | None = None
    finish: str | None = None
    ended: str = "open"
    ended_ns: int | None = None
    cancelled_ns: int | None = None
    written_after_cancel: int = 0
    faults: list[dict[str, Any]] = field(default_factory=list)
    request_bytes: int = 0

    @property
    def weight(self) -> int:
        """Roughly how many bytes of memory it takes."""
        texts = 0 if self.texts is None else sum(80 + 2 * len(text) for text in self.texts)
        times = 24 * len(self.written_ns)
        return ENTRY_BYTES + 4 * self.request_bytes + 2 * len(self.text) + times + texts

    @property
    def whole_ns(self) -> int | None:
        """When the last of the planned text was out; None before that, and where it never is."""
        writes = len(self.written_ns)
        return self.written_ns[-1] if writes and self.offset[writes - 1] == len(self.text) else None

    @property
    def wrote(self) -> dict[str, Any] | None:
        """What a client could really read, where a fault made it another text than the planned one.

        `text`, and for each write of content how many of its characters were out after it.
        """
        if self.texts is None:
            return None
        texts = self.texts[: len(self.written_ns)]
        return {"text": "".join(texts), "offset": list(accumulate(map(len, texts)))}

    def end(self, ended: str, now_ns: int) -> bool:
        """It is over, and returns True; ending it again changes nothing."""
        if self.ended != "open":
            return False
        self.ended, self.ended_ns = ended, now_ns
        if ended == "cancelled" and self.cancelled_ns is None:
            self.cancelled_ns = now_ns
        return True

    def to_json(self, *, chunks: bool = True) -> dict[str, Any]:
        """The entry as the admin API shows it; an entry that has just opened is shown without its chunks."""
        shown: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__ if name not in HIDDEN}
        if chunks:
            shown["whole_ns"] = self.whole_ns
            shown["wrote"] = self.wrote
            writes = len(self.written_ns)
            shown["chunks"] = {
                "scheduled_ns": self.scheduled_ns[:writes].tolist(),
                "written_ns": self.written_ns.tolist(),
                "offset": self.offset[:writes].tolist(),
            }
        return shown


class Journal:
    """The newest entries, and the readers who follow them live.

    Old entries make room for new ones when there are too many of them, or when they take too much memory.
    """

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._weights: dict[int, int] = {}
        self.bytes = 0
        self._attempts: dict[str, int] = {}
        self._next_seq = 1
        self._followers: set[Follower] = set()
        self.ended = False

    def __len__(self) -> int:
        return len(self._entries)

    def attempt_of(self, key: str) -> int:
        """Count a request for a mark, or what else tells requests apart, and return which attempt it is, from 1."""
        if key not in self._attempts and len(self._attempts) >= MAX_ENTRIES:
            self._attempts.pop(next(iter(self._attempts)))
        self._attempts[key] = self._attempts.get(key, 0) + 1
        return self._attempts[key]

    def open(self, entry: Entry) -> None:
        """Add a request that has come, under the next number."""
        entry.seq = self._next_seq
        self._next_seq += 1
        self._entries.append(entry)
        self._weigh(entry)
        self._tell("opened", entry)

    def close(self, entry: Entry, *, ended: str, now_ns: int) -> bool:
        """The entry is over, and returns True; closing it again changes nothing."""
        if not entry.end(ended, now_ns):
            return False
        if entry.seq in self._weights:
            self._weigh(entry)
        self._tell("closed", entry)
        return True

    def _weigh(self, entry: Entry) -> None:
        weight = entry.weight
        self.bytes += weight - self._weights.get(entry.seq, 0)
        self._weights[entry.seq] = weight
        while self._entries and (len(self._entries) > MAX_ENTRIES or self.bytes > MAX_BYTES):
            self.bytes -= self._weights.pop(self._entries.popleft().seq)

    def find(
        self, *, mark: str | None = None, plan: str | None = None, since: int = 0, limit: int = 1000
    ) -> list[Entry]:
        """The entries after `since`, oldest first, of one mark or one plan where named."""
        found = (
            entry
            for entry in self._entries
            if entry.seq > since and mark in (None, entry.mark) and plan in (None, entry.plan)
        )
        return list(islice(found, limit))

    def clear(self, plan: str | None = None) -> None:
        """Forget the entries and the counted attempts, of one plan where named."""
        self._entries = deque(entry for entry in self._entries if plan is not None and entry.plan != plan)
        kept = {entry.seq for entry in self._entries}
        self._weights = {seq: weight for seq, weight in self._weights.items() if seq in kept}
        self.bytes = sum(self._weights.values())
        self._attempts = {
            key: count for key, count in self._attempts.items() if plan is not None and key.split(".")[0] != plan
        }

    def follow(self, plan: str | None) -> Follower:
        """A live view, beginning with the entries that are here already; `stop` it when done."""
        follower = Follower(self, plan)
        self._followers.add(follower)
        for entry in self._entries:
            follower.take("opened" if entry.ended == "open" else "closed", entry)
        return follower

    def forget(self, follower: Follower) -> None:
        """A follower reads no more."""
        self._followers.discard(follower)

    def end(self) -> None:
        """Nothing more will come; followers may go when they have read everything."""
        self.ended = True
        for follower in self._followers:
            follower.wake()

    def _tell(self, event: str, entry: Entry) -> None:
        for follower in self._followers:
            follower.take(event, entry)


class Follower:
    """One reader's queue of changes. A reader that falls far behind loses the oldest changes and is told how many."""

    def __init__(self, journal: Journal, plan: str | None) -> None:
        self._journal = journal
        self._plan = plan
        # An opened entry is kept as it was then; a closed one does not change any more.
        self._changes: deque[tuple[int, dict[str, Any] | Entry]] = deque()
        self._bytes = 0
        self._wake = asyncio.Event()
        self._begun = False
        self.lost = 0

    def take(self, event: str, entry: Entry) -> None:
        """Keep a change for its reader."""
        if self._plan not in (None, entry.plan):
            return
        if event == "opened":
            self._changes.append((OPENED_BYTES, entry.to_json(chunks=False)))
        else:
            self._changes.append((entry.weight, entry))
        self._bytes += self._changes[-1][0]
        while self._bytes > MAX_FOLLOWER_BYTES:
            self._bytes -= self._changes.popleft()[0]
            self.lost += 1
        self._wake.set()

    def wake(self) -> None:
        """There is something new, or nothing more will come."""
        self._wake.set()

    async def next(self, timeout_s: float) -> bytes | None:
        """Some of the changes as lines of JSON, oldest first; a ping where none came within `timeout_s`.

        The first call does not wait. None: the journal has ended, and everything was read.
        """
        if self._begun and not self._changes:
            if self._journal.ended:
                return None
            try:
                async with asyncio.timeout(timeout_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
        self._begun = True
        self._wake.clear()
        lines = bytearray()
        while self._changes and len(lines) < BATCH_BYTES:
            weight, change = self._changes.popleft()
            self._bytes -= weight
            event: dict[str, Any] = {"event": "opened", "entry": change}
            if isinstance(change, Entry):
                event = {"event": "closed", "entry": change.to_json()}
            lines += encoded(event) + b"\n"
        return bytes(lines) or encoded({"event": "ping", "now_ns": time.monotonic_ns(), "lost": self.lost}) + b"\n"

    def stop(self) -> None:
        """Read no more."""
        self._journal.forget(self)


def encoded(value: Any) -> bytes:
    """A value as JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
