"""A worker: a process that puts its part of a scenario's load on the targets, for the run that started it.

It reads JSON lines from its standard input, the first of which is its `WorkerOrder`, and says what happens in JSON
lines on its standard output. Its records go straight into the run's file. When its input closes, it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from streambench.errors import StreambenchError
from streambench.load.engine import Muster
from streambench.load.loading import read_source
from streambench.load.part import run_part
from streambench.load.progress import Progress, TargetProgress
from streambench.load.run import raise_descriptor_limit
from streambench.load.scenario import Source
from streambench.load.segment import Segment
from streambench.load.testbed import Testbed, open_testbed
from streambench.load.transcripts import Keep
from streambench.load.validity import GeneratorFacts
from streambench.record.journal import RecordWriter
from streambench.transport.aio.polls import run_polled

SNAPSHOT_S = 0.25


@dataclass(frozen=True, slots=True)
class WorkerOrder:
    """What a worker is started with; everything is a JSON value. `urls`: of the started servers, by name.

    It is the worker `index`, from 0, of `of`.
    """

    source: dict[str, Any]
    urls: dict[str, str]
    records: str
    keep: str
    index: int
    of: int

    @property
    def name(self) -> str:
        """What the worker is called in records and messages, from `1`."""
        return str(self.index + 1)


class Worker:
    """One worker, from its orders to its report."""

    def __init__(self, order: WorkerOrder, orders: asyncio.StreamReader, output: asyncio.StreamWriter) -> None:
        self._order = order
        self._orders = orders
        self._output = output
        self._go = asyncio.Event()
        self._stop = asyncio.Event()
        self._begins: dict[int, asyncio.Future[int]] = {}
        self._loads: asyncio.Queue[float | None] = asyncio.Queue()

    async def run(self) -> None:
        """Run this part of the load. Raises what ends it early, as `run_scenario` does."""
        order = self._order
        scenario = read_source(Source(**order.source), environ=os.environ)
        raise_descriptor_limit(scenario, order.of)
        progress = Progress({target.name: TargetProgress() for target in scenario.targets})
        facts = GeneratorFacts()
        beside = [asyncio.create_task(self._obey()), asyncio.create_task(self._show(progress))]
        finished = False
        try:
            async with open_testbed(scenario, served=order.urls) as testbed:
                self._say("here")
                await self._go.wait()
                if not self._stop.is_set():
                    finished = await self._measure(testbed, progress, facts)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
        self._say("progress", **progress.take_snapshot())
        self._say("end", finished=finished, generator=asdict(facts))
        await self._output.drain()

    async def _measure(self, testbed: Testbed, progress: Progress, facts: GeneratorFacts) -> bool:
        order = self._order
        path = Path(order.records)
        writer = RecordWriter(path, testbed.scenario.secrets)
        try:
            return await run_part(
                testbed,
                writer,
                path.parent,
                Keep(order.keep),
                progress,
                facts,
                self._stop,
                worker=order.name,
                segment=Segment(order.index, order.of),
                muster=self._muster,
                steps=_TogetherWithOthers(self._say, self._loads, self._muster, progress),
            )
        finally:
            writer.close()

    async def _obey(self) -> None:
        async for line in self._orders:
            said = json.loads(line)
            match said["do"]:
                case "go":
                    self._go.set()
                case "begin":
                    self._begin_of(said["phase"]).set_result(said["at_ns"])
                case "hold":
                    self._loads.put_nowait(said["load"])
                case "stop":
                    self._stop.set()
        self._stop.set()  # whoever started us is gone
        self._go.set()

    async def _show(self, progress: Progress) -> None:
        while True:
            await asyncio.sleep(SNAPSHOT_S)
            self._say("progress", **progress.take_snapshot())

    async def _muster(self, phase: int) -> int:
        self._say("ready", phase=phase)
        return await self._begin_of(phase)

    def _begin_of(self, phase: int) -> asyncio.Future[int]:
        return self._begins.setdefault(phase, asyncio.get_running_loop().create_future())

    def _say(self, event: str, **facts: Any) -> None:
        self._output.write(json.dumps({"event": event, **facts}).encode() + b"\n")


class _TogetherWithOthers:
    """The loads of a sweep, as all workers are told them."""

    def __init__(
        self,
        say: Callable[..., None],
        loads: asyncio.Queue[float | None],
        muster: Muster,
        progress: Progress,
    ) -> None:
        self._say = say
        self._loads = loads
        self._muster = muster
        self._progress = progress
        self._number = 0

    async def next(self, held_ns: tuple[int, int] | None) -> float | None:
        """What the parent says when all have held the load before."""
        self._say("held", held_ns=held_ns)
        load = await self._loads.get()
        self._progress.stage = "the next step" if load is None else f"step {self._number + 1}: {load:g}"
        return load

    async def begin(self) -> int:
        """When all are ready."""
        self._number += 1  # the phase itself was the first to be mustered for
        return await self._muster(self._number)


async def serve(order: WorkerOrder) -> int:
    """Work off an order; returns the exit code."""
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.streams.FlowControlMixin(loop=loop), os.fdopen(os.dup(1), "wb")
    )
    transport.set_write_buffer_limits(0)  # drained is empty: what is left when the loop ends is lost
    output = asyncio.StreamWriter(transport, protocol, None, loop)
    worker = Worker(order, orders, output)
    failure: dict[str, Any] = {}
    code = 0
    try:
        await worker.run()
    except OSError as error:
        failure, code = {"errno": error.errno, "reason": error.strerror, "file": error.filename}, 1
    except StreambenchError as error:
        failure, code = {"error": type(error).__name__, "reason": str(error)}, error.exit_code
    if failure:
        output.write(json.dumps({"event": "failed", **failure}).encode() + b"\n")
    with contextlib.suppress(OSError):  # nobody may be there any more
        await output.drain()
    transport.close()
    return int(code)


def main() -> int:
    """Read the order from the first line of standard input, and work it off; returns the exit code."""
    with open(0, "rb", buffering=0, closefd=False) as first:
        order = WorkerOrder(**json.loads(first.readline()))
    return run_polled(serve(order))


if __name__ == "__main__":
    sys.exit(main())
