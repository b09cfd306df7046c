"""A measuring worker: one asyncio loop, the scenario's own load and records, and Locust's protocol to the master."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import platform
import secrets
import sys
import traceback
from typing import Any

from streambench.clock import MonotonicClock
from streambench.drivers.users import open_session
from streambench.errors import StreambenchError
from streambench.load.loading import load_scenario
from streambench.load.run import raise_descriptor_limit
from streambench.load.scenario import Scenario
from streambench.load.testbed import Testbed, open_testbed
from streambench.locust.joining import Questions, greet, relate_clocks
from streambench.locust.link import MasterLink
from streambench.locust.messages import CLOCK, END, OURS, RECORDS, REFUSED, WELCOME
from streambench.locust.part import Part
from streambench.locust.protocol import (
    Acknowledged,
    Custom,
    ProtocolError,
    Quit,
    Reconnect,
    Spawn,
    State,
    Stop,
    WorkerProtocol,
)
from streambench.locust.rows import Rows
from streambench.locust.settings import WorkerSettings
from streambench.locust.usage import CpuMeter, memory_bytes
from streambench.transport.aio.polls import run_polled
from streambench.units import NS_PER_S
from streambench.upstream.clocks import ClockRelation

TICK_S = 0.1
STATS_EVERY_NS = NS_PER_S

_clock = MonotonicClock()
_log = logging.getLogger("streambench.worker")


class Worker:
    """One worker, from its first word to the master until it is told to quit."""

    def __init__(self, scenario: Scenario, settings: WorkerSettings) -> None:
        self._scenario = scenario
        self._settings = settings
        client_id = f"{platform.node()}_{secrets.token_hex(16)}"
        self._protocol = WorkerProtocol(client_id)
        self._link = MasterLink(settings.master_host, settings.master_port, client_id)
        self._name = client_id
        self._rows = Rows()
        self._relation = ClockRelation()
        self._testbed: Testbed | None = None
        self._part: Part | None = None
        self._last_run: str | None = None
        self._questions = Questions(self._link, self._protocol)
        self._orders: asyncio.Queue[Spawn | Stop] = asyncio.Queue()
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._cpu = CpuMeter()
        self._stats_ns = 0
        self._stop_timeout_s = 0.0
        self._next_number = 0

    async def run(self) -> None:
        """Serve one master. Raises TargetUnreachable where there is none, ConfigurationError where it refuses us."""
        raise_descriptor_limit(self._scenario)
        tasks = [self._start(self._receive()), self._start(self._watch_parent())]
        try:
            where = f"{self._settings.master_host}:{self._settings.master_port}"
            welcome = await greet(self._questions, self._scenario, where, self._over)
            self._name = welcome.name
            self._relation = await relate_clocks(self._questions)
            async with open_testbed(self._scenario, served=welcome.urls) as self._testbed:
                for target in self._testbed.scenario.targets:
                    open_session(target.spec)  # loads the driver, for which the first user must not wait
                tasks += [self._start(self._tick()), self._start(self._obey())]
                try:
                    await self._over
                finally:
                    if self._part is not None:
                        await self._end_part(0.0)
                        await self._report()
                    if self._protocol.state is not State.ENDED:
                        await self._link.send(self._protocol.leaving())
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._link.close()

    def _start(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        task.add_done_callback(self._failed)
        return task

    def _failed(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (failure := task.exception()) is not None and not self._over.done():
            self._over.set_exception(failure)

    def _finish(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    # Serving

    async def _receive(self) -> None:
        """Read the master's frames for as long as the worker lives."""
        while True:
            frame = await self._link.receive()
            try:
                event = self._protocol.receive(frame, _clock.now_ns())
            except ProtocolError as error:
                _log.warning("the master sent %s", error)
                continue
            match event:
                case Custom(type=kind) if kind in (WELCOME, REFUSED, CLOCK):
                    self._questions.answers.put_nowait(event)
                case Spawn() | Stop():
                    self._orders.put_nowait(event)
                case Quit():
                    self._finish()
                case Reconnect():
                    self._link.reconnect()
                case Acknowledged() | Custom() | None:
                    pass

    async def _tick(self) -> None:
        """Say by itself what is due: heartbeats, finished streams, reports."""
        while True:
            now_ns = _clock.now_ns()
            frames, end = self._protocol.due(now_ns, cpu_percent=self._cpu.percent(now_ns), memory_bytes=memory_bytes())
            for frame in frames:
                await self._link.send(frame)
            if end is not None:
                _log.warning("%s; the worker ends", end.reason)
                return self._finish()
            await self._flush()
            if now_ns - self._stats_ns >= STATS_EVERY_NS:
                await self._report()
            await asyncio.sleep(TICK_S)

    async def _flush(self) -> None:
        """Send the lines that have gathered."""
        part = self._part
        while part is not None:
            count, lines = part.take_lines()
            if not lines:
                return
            await self._link.send(self._protocol.custom(RECORDS, {"run": part.run, "count": count, "lines": lines}))

    async def _report(self) -> None:
        self._stats_ns = _clock.now_ns()
        ours = {} if self._part is None else {OURS: self._part.live()}
        await self._link.send(self._protocol.stats(self._rows.report(ours)))

    async def _obey(self) -> None:
        """Do what is ordered, one order after the other; of several spawn orders that wait the last one counts."""
        while True:
            order = await self._orders.get()
            while isinstance(order, Spawn) and not self._orders.empty():
                order = self._orders.get_nowait()
            try:
                if isinstance(order, Spawn):
                    await self._spawn(order)
                else:
                    await self._stop()
            except StreambenchError:
                raise
            except Exception as error:  # a mistake of ours belongs where the user of the UI sees it
                await self._link.send(self._protocol.exception(repr(error), traceback.format_exc()))
                raise

    async def _spawn(self, order: Spawn) -> None:
        assert self._testbed is not None
        ours = order.options.get(OURS) or {}
        run = str(ours.get("run"))
        if run == self._last_run:
            return  # of a run that is over here already
        await self._link.send(self._protocol.spawning())
        if self._part is None:
            self._rows = Rows()
            self._stop_timeout_s = order.stop_timeout_s
            self._part = Part(run, self._name, self._testbed, self._relation, self._rows, self._next_number)
        await self._part.population.resize(order.users, int(ours.get("phase", 0)))
        await self._link.send(self._protocol.spawned())

    async def _stop(self) -> None:
        if self._part is not None:
            await self._end_part(self._stop_timeout_s)
        self._protocol.no_users()
        await self._report()
        for frame in self._protocol.stopped():
            await self._link.send(frame)

    async def _end_part(self, timeout_s: float) -> None:
        """End this worker's part of the run, and hand over everything that is left of it."""
        part = self._part
        assert part is not None
        await part.end(timeout_s)
        await self._flush()
        await self._report()
        self._part, self._last_run = None, part.run
        self._next_number = part.population.next_number
        end = {"run": part.run, "count": part.records, "facts": part.final()}
        await self._link.send(self._protocol.custom(END, end))
        if part.population.failure is not None:
            raise part.population.failure

    async def _watch_parent(self) -> None:
        """End with the process that started us: its end of our standard input closes."""
        if not self._settings.follow_parent:
            return
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        await reader.read()
        self._finish()


def main() -> int:
    """Read the settings from the first line of standard input, and serve; returns the exit code."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s", stream=sys.stderr)
    with open(0, "rb", buffering=0, closefd=False) as first:
        settings = WorkerSettings(**json.loads(first.readline()))

    async def serve() -> None:
        scenario = load_scenario(
            settings.scenario, overrides=settings.overrides, gates=settings.gates, environ=os.environ
        )
        await Worker(scenario, settings).run()

    try:
        run_polled(serve())
    except StreambenchError as error:
        _log.error("%s", error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
