"""What the parent knows of one worker, and does for it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections import Counter
from collections.abc import Callable, Sequence

from mock_openai.upstream.desk import PING_S, Desk
from mock_openai.upstream.journal import Entry, Follower
from mock_openai.upstream.ledger import Charge, OwnLedger, Variant
from mock_openai.upstream.profiles import Capacity
from mock_openai.upstream.quotas import Verdict
from mock_openai.upstream.workers.channel import Answers, Channel
from mock_openai.upstream.workers.remote import Progress

REAP_S = 0.01
REAP_TRIES = 100


class Link:
    """One worker.

    `ready` is set when it answers requests, and when it never will: not `alive`. `over` is done when its process has
    ended, with `status` as `waitpid` tells it; `lost_replies` were open then.
    """

    def __init__(
        self,
        pid: int,
        handed: socket.socket,
        ledger: OwnLedger,
        desk: Desk,
        lost: Callable[[Link], None],
    ) -> None:
        self.pid = pid
        self.ledger = ledger
        self.desk = desk
        self._handed = handed
        self._lost = lost
        self._open: dict[int, Entry] = {}
        self._slots: Counter[Capacity] = Counter()
        self._followers: dict[int, Follower] = {}
        self.channel = Channel(self._answers(), self._ended)
        self.ready = asyncio.Event()
        self.alive = True
        self.lost_replies = 0
        self.status = 0
        self.over: asyncio.Task[None] | None = None

    @property
    def open_requests(self) -> int:
        """How many requests it is answering."""
        return len(self._open)

    def hand_over(self, connection: socket.socket) -> bool:
        """Give it a client's connection; False if it has too many waiting, or is gone."""
        try:
            socket.send_fds(self._handed, [b"c"], [connection.fileno()])
        except OSError:
            return False
        return True

    def _answers(self) -> Answers:
        ledger, desk = self.ledger, self.desk
        return {
            "ready": lambda: self.ready.set(),
            "begin": self._begin,
            "progress": self._progress,
            "admit": ledger.charged,
            "take_slot": self._take_slot,
            "free_slot": self._free_slot,
            "refused": ledger.refused,
            "refuse_connections": ledger.refuse_connections,
            "put_plans": desk.put_plans,
            "plan_ids": desk.plan_ids,
            "delete_plans": desk.delete_plans,
            "page": desk.page,
            "clear": desk.clear,
            "follow": self._follow,
            "changes": self._changes,
            "unfollow": self._unfollow,
            "health": desk.health,
            "metrics": desk.metrics,
        }

    def _begin(self, entry: Entry, key: str, variants: Sequence[Variant], charge: Charge) -> tuple[int, int, Verdict]:
        verdict = self.ledger.begin_now(entry, key, variants, charge)
        self._open[entry.seq] = entry
        return entry.seq, entry.attempt, verdict

    def _progress(self, seq: int, news: Progress) -> None:
        entry, fields = self._open[seq], news.fields
        ended, ended_ns = fields.pop("ended", "open"), fields.pop("ended_ns", None)
        for name, value in fields.items():
            setattr(entry, name, value)
        entry.scheduled_ns += news.scheduled_ns
        entry.written_ns += news.written_ns
        entry.offset += news.offset
        if ended != "open":
            del self._open[seq]
            self.ledger.close_at(entry, ended, ended_ns)

    async def _take_slot(self, capacity: Capacity) -> int:
        active = await self.ledger.take_slot(capacity)
        self._slots[capacity] += 1
        return active

    def _free_slot(self, capacity: Capacity) -> None:
        self._slots[capacity] -= 1
        self.ledger.free_slot(capacity)

    def _follow(self, plan: str | None) -> int:
        follower = self.ledger.journal.follow(plan)
        self._followers[id(follower)] = follower
        return id(follower)

    async def _changes(self, number: int) -> bytes | None:
        return await self._followers[number].next(PING_S)

    def _unfollow(self, number: int) -> None:
        self._followers.pop(number).stop()

    def _ended(self) -> None:
        """The process is gone: what it was answering is over, and what it had is free."""
        self.alive = False
        self._handed.close()
        for entry in self._open.values():
            self.ledger.close(entry, "killed")
        self.lost_replies = len(self._open)
        self._open.clear()
        for capacity, taken in self._slots.items():
            for _ in range(taken):
                self.ledger.free_slot(capacity)
        for follower in self._followers.values():
            follower.stop()
        self.over = asyncio.get_running_loop().create_task(self._reaped())
        self.ready.set()

    async def _reaped(self) -> None:
        """Wait for its exit status; a process that does not end is killed."""
        for _ in range(REAP_TRIES):
            if self._reap(os.WNOHANG):
                break
            await asyncio.sleep(REAP_S)
        else:
            self.kill()
            self._reap(0)
        self._lost(self)

    def _reap(self, options: int) -> bool:
        pid, status = os.waitpid(self.pid, options)
        if pid:
            self.status = status
        return pid != 0

    def kill(self) -> None:
        """End its process at once."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
