"""Users of the closed model: each waits for its reply, thinks, and asks again.

Their number can change at any time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from streambench.drivers.failures import SetupError
from streambench.drivers.users import UserSession
from streambench.load.pacing import Alarm
from streambench.load.target_load import Iteration, Stage
from streambench.record.model import Outcome
from streambench.units import NS_PER_MS, NS_PER_S

PAUSE_AFTER_FAILURE_NS = 100 * NS_PER_MS  # a refused client does not hammer
PAUSE_AFTER_SETUP_FAILURE_NS = NS_PER_S
CONNECTING_AT_ONCE = 100
COMING_APART_NS = NS_PER_MS // 2  # users who came at the same moment would make each other late


class Quota:
    """How many judged streams the users of a phase may still start together; None: no end."""

    def __init__(self, streams: int | None) -> None:
        self._left = streams

    @property
    def spent(self) -> bool:
        """Whether no stream is left."""
        return self._left is not None and self._left <= 0

    def take(self) -> bool:
        """Take one; False where none is left."""
        if self._left is None:
            return True
        self._left -= 1
        return self._left >= 0


class Users:
    """The users of one phase on one target. A user's first stream is due when it comes.

    Numbers of users and streams are those of the whole run: what is here is this worker's segment of them.
    """

    def __init__(self, stage: Stage, think_ns: int, streams: int | None = None) -> None:
        load = stage.load
        self.quota = Quota(None if streams is None else load.segment.count(streams, load.dealt))
        load.dealt += streams or 0
        self._stage = stage
        self._think_ns = think_ns
        self._judged_ns = 0
        self._end_ns: int | None = None
        self._present: dict[_User, None] = {}  # in the order in which they came
        self._resting: set[_User] = set()
        self._gone = asyncio.Event()
        self._ready: deque[_Ready] = deque()  # those who have not come yet

    async def prepare(self, users: int) -> None:
        """Have the first users connected, and their setup done, before they begin.

        Those who do it together make each other late. A setup that fails is tried again when its user begins, and is
        that user's failed stream then.
        """
        load = self._stage.load
        room = asyncio.Semaphore(CONNECTING_AT_ONCE)

        async def make_ready(user: _Ready) -> None:
            async with room:
                if load.target.spec.setup_steps:
                    try:
                        await user.session.prepare()
                    except SetupError:
                        return
                    user.prepared = True
                await user.session.connect()

        self._ready.extend(_Ready(*load.new_user()) for _ in range(load.segment.count(users)))
        try:
            await asyncio.gather(*map(make_ready, self._ready))
        except BaseException:
            for user in self._ready:
                await user.session.close()
            raise

    def begin(self, users: int, begin_ns: int, duration_ns: int | None, ramp_up_ns: int = 0) -> None:
        """The first users come from `begin_ns` on, evenly over `ramp_up_ns`.

        After the warm-up and `duration_ns` no stream starts any more.
        """
        self._judged_ns = begin_ns + self._stage.warmup_ns
        self._end_ns = None if duration_ns is None else self._judged_ns + duration_ns
        segment = self._stage.load.segment
        own = range(segment.index, users, segment.of)
        self._come(
            begin_ns + max(place * COMING_APART_NS, ramp_up_ns * number // users) for place, number in enumerate(own)
        )

    @property
    def number(self) -> int:
        """How many users there are here now, without those who are leaving."""
        return len(self._present)

    def resize(self, users: int, *, at_once: bool = False) -> None:
        """Let users come, or let those go who came last.

        Who thinks goes at once; who is in a stream goes when it has ended, or now (`at_once`), when it is censored.
        """
        users = self._stage.load.segment.count(users)
        if users > self.number:
            now_ns = self._stage.load.clock.now_ns()
            self._come(now_ns + place * COMING_APART_NS for place in range(users - self.number))
        while self.number > users:
            user, _ = self._present.popitem()
            self._resting.discard(user)
            user.leave(at_once=at_once)

    async def ended(self) -> None:
        """Wait until the phase's streams are used up and their users have gone."""
        await self._gone.wait()

    def _come(self, moments_ns: Iterable[int]) -> None:
        for due_ns in moments_ns:
            ready = self._ready.popleft() if self._ready else _Ready(*self._stage.load.new_user())
            user = _User(self, self._stage, due_ns, ready)
            self._present[user] = None
            task = self._stage.load.tasks.start(user.run(self._think_ns, self._judged_ns, self._end_ns))
            user.task = task
            task.add_done_callback(lambda _, user=user: self._left(user))  # type: ignore[misc]

    def rest(self, user: _User) -> None:
        """A user thinks beyond the end of the phase: it is still there, and starts no stream any more."""
        if user in self._present:
            self._resting.add(user)
            self._look_for_the_end()

    def _left(self, user: _User) -> None:
        self._present.pop(user, None)
        self._resting.discard(user)
        self._look_for_the_end()

    def _look_for_the_end(self) -> None:
        if self.quota.spent and len(self._resting) == len(self._present):
            self._gone.set()
            for user in self._resting:
                user.leave(at_once=False)


@dataclass(slots=True)
class _Ready:
    """A user with its number; `prepared`: its setup is done."""

    number: int
    session: UserSession
    prepared: bool = False


class _User:
    """One of them. It leaves between two streams."""

    def __init__(self, users: Users, stage: Stage, due_ns: int, ready: _Ready) -> None:
        self._users = users
        self._number = ready.number
        self._session = ready.session
        self._prepared = ready.prepared
        self._stage = stage
        self._due_ns = due_ns
        self._alarm = Alarm(stage.load.clock)
        self._leaving = False
        self.task: asyncio.Task[None] | None = None

    def leave(self, *, at_once: bool) -> None:
        self._leaving = True
        self._alarm.wake()
        if at_once and self.task is not None and not self._alarm.asleep:
            self.task.cancel()

    async def run(self, think_ns: int, judged_ns: int, end_ns: int | None) -> None:
        try:
            await self._talk(self._session, self._number, think_ns, judged_ns, end_ns)
        finally:
            await self._session.close()

    async def _talk(self, session: UserSession, user: int, think_ns: int, judged_ns: int, end_ns: int | None) -> None:
        load = self._stage.load
        number = 0
        prepared = self._prepared
        while not self._leaving:
            due_ns = self._due_ns
            if end_ns is not None and due_ns >= end_ns:
                self._users.rest(self)
                if not self._leaving:
                    await self._alarm.sleep_until(end_ns)
                return
            if not await self._alarm.sleep_until(due_ns) or self._leaving:
                return
            iteration = Iteration(self._stage.index, due_ns, due_ns < judged_ns, user, number)
            if not iteration.warmup and not self._users.quota.take():
                return
            number += 1
            pause_ns = think_ns
            if not prepared:
                prepared = await load.prepared(session, iteration)
                if not prepared:
                    self._due_ns = load.clock.now_ns() + max(pause_ns, PAUSE_AFTER_SETUP_FAILURE_NS)
                    continue
                # The user begins to wait when the prompt can be sent.
                iteration.intended_ns = load.clock.now_ns() if load.target.spec.setup_steps else due_ns
            if await load.stream(session, iteration) is Outcome.FAILED:
                pause_ns = max(pause_ns, PAUSE_AFTER_FAILURE_NS)
            self._due_ns = load.clock.now_ns() + pause_ns
