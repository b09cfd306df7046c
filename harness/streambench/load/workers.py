"""Several processes that share a run: how many there are, and the messages exchanged with them while it lasts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from streambench import errors
from streambench.clock import MonotonicClock
from streambench.cores import usable_cores
from streambench.errors import StreambenchError
from streambench.load.book import RunBook
from streambench.load.children import end_child, start_child
from streambench.load.executors.closed import ClosedPhase
from streambench.load.phases import MAX_WORKERS
from streambench.load.progress import Progress
from streambench.load.scenario import Scenario
from streambench.load.self_report import SelfReport, begun_by, judge_workers
from streambench.load.service import OnDeath
from streambench.load.target_load import Steps
from streambench.load.transcripts import Keep
from streambench.units import NS_PER_MS

MARGIN_NS = 100 * NS_PER_MS  # between the order to begin and the beginning: each makes its users ready

_clock = MonotonicClock()


def number_of_workers(scenario: Scenario) -> int:
    """How many processes put on the load: what the scenario asks for, and never more than the load can be dealt to.

    Where the machine decides, it is the cores that the served components leave over, at least 1.
    """
    load = scenario.load
    wanted = min(MAX_WORKERS, free_cores(scenario)) if load.workers is None else load.workers
    # Streams that are counted are dealt out before the users come: each worker needs one who talks.
    most = [phase.users for phase in load.phases if isinstance(phase, ClosedPhase) and phase.streams is not None]
    return max(1, min([wanted, max(phase.most_at_once for phase in load.phases), *most]))


def free_cores(scenario: Scenario) -> int:
    """How many cores of this machine the scenario's own servers leave over, each with one of its own; at least 1."""
    serve = scenario.serve
    return max(1, usable_cores() - (serve.openai is not None) - (serve.chat is not None) - len(serve.commands))


@dataclass(slots=True)
class _Member:
    """One worker as it is known here. `ready`: the phase that it has prepared; `over`: nothing more comes from it.

    `asks`: it wants the next load of a sweep; `held`: from when to when it has held the one before.
    """

    name: str
    child: asyncio.subprocess.Process
    here: bool = False
    ready: int | None = None
    held: list[int] | None = None
    asks: bool = False
    over: bool = False
    finished: bool = False
    generator: Mapping[str, Any] = field(default_factory=dict)
    lost: str | None = None


class Crew:
    """The workers of one run, as an async context manager: inside it, all of them wait for the run to begin.

    `urls` are those of the started servers. `on_loss` is told of a worker that dies.
    """

    def __init__(
        self,
        scenario: Scenario,
        urls: Mapping[str, str],
        records: Path,
        keep: Keep,
        number: int,
        progress: Progress,
        on_loss: OnDeath | None,
    ) -> None:
        source = scenario.source
        assert source is not None, "a scenario that was not read from a text cannot be shared"
        order = {"source": asdict(source), "urls": dict(urls), "records": str(records), "keep": str(keep), "of": number}
        self._orders = [{**order, "index": index} for index in range(number)]
        self._progress = progress
        self._on_loss = on_loss
        self._members: list[_Member] = []
        self._listening: list[asyncio.Task[None]] = []
        self._heard = asyncio.Event()
        self._failure: Exception | None = None
        self._steps: Steps | None = None
        self._choosing: asyncio.Task[None] | None = None
        self._children = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Raises what a worker was told by the machine or by the targets, as `run_scenario` does."""
        try:
            for order in self._orders:
                child = await start_child("streambench.load.worker", order)
                self._children.push_async_callback(end_child, child)
                member = _Member(str(len(self._members) + 1), child)
                self._members.append(member)
                self._listening.append(asyncio.create_task(self._listen(member)))
            while not all(member.here for member in self._members):
                self._heard.clear()
                await self._heard.wait()
                for member in self._members:
                    if member.over:
                        raise self._failure or StreambenchError(f"worker {member.name} {member.lost}")
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._listening:
            task.cancel()
        await asyncio.gather(*self._listening, return_exceptions=True)
        await self._children.aclose()

    async def run(self, book: RunBook, stop: asyncio.Event) -> bool:
        """Run the scenario and write the last line of its book; returns False where `stop` ended it early.

        A worker that dies does not end the run: the others go on. Raises as entering does.
        """
        stopping = asyncio.create_task(self._obey(stop))
        self._steps = book.sweeper(lambda _: None)
        finished = False
        try:
            self._tell_all(do="go")
            await asyncio.gather(*self._listening)
            finished = not stop.is_set() and any(member.finished for member in self._members)
        finally:
            stopping.cancel()
            if self._choosing is not None:
                self._choosing.cancel()
                await asyncio.gather(self._choosing, return_exceptions=True)
            reports = [self._report(member) for member in self._members]
            reason = "finished" if finished else "interrupted"
            book.end(reason, begun_by(reports), judge_workers(reports, book.server_wait()))
        if self._failure is not None:
            raise self._failure
        return finished

    async def _obey(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._tell_all(do="stop")

    def _tell_all(self, **order: Any) -> None:
        for member in self._members:
            assert member.child.stdin is not None
            if not member.over:
                with contextlib.suppress(OSError, RuntimeError):
                    member.child.stdin.write(json.dumps(order).encode() + b"\n")

    async def _listen(self, member: _Member) -> None:
        """Follow what a worker says until it ends."""
        assert member.child.stdout is not None
        async for line in member.child.stdout:
            said = json.loads(line)
            match said.pop("event"):
                case "here":
                    member.here = True
                case "ready":
                    member.ready = said["phase"]
                    self._begin_if_all_are_ready()
                case "held":
                    member.asks, member.held = True, said["held_ns"]
                    self._choose_if_all_ask()
                case "progress":
                    self._progress.merge(member.name, said)
                case "end":
                    member.over, member.finished, member.generator = True, said["finished"], said["generator"]
                case "failed":
                    member.over = True
                    self._failure = self._failure or failure_of(said)
                    self._tell_all(do="stop")
            self._heard.set()
        code = await member.child.wait()
        if not member.over:
            member.over, member.lost = True, how_it_ended(code)
            self._progress.lose(member.name)
            if self._on_loss is not None and member.here:
                self._on_loss(f"worker {member.name} {member.lost}: the streams that it had open are lost")
        self._heard.set()
        self._begin_if_all_are_ready()
        self._choose_if_all_ask()

    def _begin_if_all_are_ready(self) -> None:
        """A phase begins at one moment for all who are still there."""
        there = [member for member in self._members if not member.over]
        phases = {member.ready for member in there}
        if len(phases) == 1 and None not in phases:
            self._tell_all(do="begin", phase=phases.pop(), at_ns=_clock.now_ns() + MARGIN_NS)
            for member in there:
                member.ready = None

    def _choose_if_all_ask(self) -> None:
        """The next load of a sweep is one for all who are still there."""
        there = [member for member in self._members if not member.over]
        if there and all(member.asks for member in there):
            for member in there:
                member.asks = False
            self._choosing = asyncio.create_task(self._choose(there[0].held))

    async def _choose(self, held_ns: Sequence[int] | None) -> None:
        assert self._steps is not None
        try:
            load = await self._steps.next(None if held_ns is None else (held_ns[0], held_ns[1]))
        except Exception as error:
            self._failure = self._failure or error
            self._tell_all(do="stop")
            return
        self._tell_all(do="hold", load=load)

    def _report(self, member: _Member) -> SelfReport:
        records = self._progress.records_of(member.name)
        if member.lost is None:
            return SelfReport(member.name, records, member.generator)
        return SelfReport(member.name, records, lost=True, how=member.lost)


def failure_of(said: Mapping[str, Any]) -> Exception:
    """What ended a worker, as the exception that it was there."""
    if "errno" in said:
        return OSError(said["errno"], said["reason"], said["file"])
    kind = getattr(errors, said["error"], StreambenchError)
    return kind(said["reason"])


def how_it_ended(code: int) -> str:
    """An exit status in words, such as `was killed by SIGKILL`."""
    if code < 0:
        with contextlib.suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
    return f"ended unexpectedly (exit status {code})"
