"""Everything around a master: the bundled servers, its process and the workers', live figures, and one report per run.

Master and workers are processes of their own. This one measures nothing; it reads what they have written.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from streambench.analysis.summary import Summary
from streambench.errors import ConfigurationError, ExitCode, StreambenchError
from streambench.load.book import RECORDS, RunBook
from streambench.load.children import end_child, start_child
from streambench.load.scenario import Scenario
from streambench.load.self_report import SelfReport, begun_by, judge_workers
from streambench.load.testbed import preflight, start_servers
from streambench.locust.live import LiveRun, Tail
from streambench.locust.settings import LocustOptions, WorkerSettings, master_settings
from streambench.report.wording import headline

SNAPSHOT_EVERY_S = 1.0
NICENESS = 5  # a third of the CPU that an equal would get

Result = TypeVar("Result")


@dataclass(slots=True)
class Output:
    """Where a session's results go. `open_folder` makes a run's folder, `finish` writes its reports, `note` a line."""

    open_folder: Callable[[], Path]
    finish: Callable[[Path], Summary]
    note: Callable[[str], None]


@dataclass
class OpenRun:
    """A run that goes on, as this process sees it."""

    id: str
    book: RunBook
    live: LiveRun = field(default_factory=LiveRun)

    def __post_init__(self) -> None:
        self._tail = Tail(self.book.path)

    def read(self) -> None:
        """Take what the file has gained."""
        while lines := self._tail.lines():
            for line in lines:
                self.live.take(line)

    def close(self) -> None:
        """The file gets no more lines."""
        self._tail.close()
        self.book.close()


class LocustSession:
    """One master with its runs, and the workers of this machine."""

    def __init__(
        self, scenario: Scenario, arguments: Mapping[str, Sequence[str]], options: LocustOptions, output: Output
    ) -> None:
        self._scenario = scenario
        self._arguments = arguments
        self._options = options
        self._output = output
        self._master: asyncio.subprocess.Process
        self._run: OpenRun | None = None
        self._codes: list[ExitCode] = []
        self._finishing: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._quit = False
        self._joined = False
        self._workers_left = options.workers
        self._failure: ExitCode | None = None
        # One thread for all that is computed of runs, behind everything that measures or serves.
        self._analysis = ThreadPoolExecutor(1, initializer=step_back)

    async def serve(self) -> ExitCode:
        """Until it is ended; in headless mode until the run is over.

        Returns the worst exit code of its runs, or that of the workers where none of them came to be ready.

        Raises TargetUnreachable, and ConfigurationError for what only the machine can know, such as a busy port.
        """
        async with AsyncExitStack() as stack:
            servers = await stack.enter_async_context(start_servers(self._scenario))
            urls, self._servers = servers.urls, servers
            self._scenario = self._scenario.served_by(urls)
            if self._options.workers:
                await preflight(self._scenario)
            self._master = await start_child(
                "streambench.locust.master", asdict(master_settings(self._scenario, self._options, urls))
            )
            stack.push_async_callback(end_child, self._master)
            snapshots = asyncio.create_task(self._snapshots())
            stack.callback(snapshots.cancel)
            loop = asyncio.get_running_loop()
            for signum in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(signum, self._interrupted)
                stack.callback(loop.remove_signal_handler, signum)
            await self._listen(stack)
        return self._failure or ExitCode.worst(self._codes)

    def _interrupted(self) -> None:
        if self._stopping:
            with contextlib.suppress(ProcessLookupError):
                self._master.kill()
        self._stopping = True
        self._tell("stop")

    async def _listen(self, stack: AsyncExitStack) -> None:
        """Follow what the master says until it ends."""
        assert self._master.stdout is not None
        async for line in self._master.stdout:
            said = json.loads(line)
            match said.pop("event"):
                case "ready":
                    await self._ready(stack, **said)
                case "failed":
                    raise ConfigurationError(said["reason"])
                case "worker":
                    self._joined = True
                    self._output.note(f"worker {said['name']} has joined")
                case "refused":
                    self._output.note(said["reason"])
                case "start":
                    self._begin(said["run"])
                case "end":
                    # In the UI a stop is one way to end a run; without it, the run had an end of its own.
                    cut_short = self._stopping and self._options.web is None
                    reports = [SelfReport(**worker) for worker in said["workers"]]
                    self._end(reports, reason="interrupted" if cut_short else "finished")
                case "quit":
                    self._quit = True
        if not self._quit:
            self._output.note("the master has ended unexpectedly")
            self._codes.append(ExitCode.INVALID)
            self._end([SelfReport("master", 0, lost=True)], reason="interrupted")
        while self._finishing:
            await asyncio.wait(self._finishing)

    async def _ready(self, stack: AsyncExitStack, port: int, web: int | None) -> None:
        options = self._options
        if options.web is not None:
            scheme = "https" if options.web["tls_cert"] else "http"
            self._output.note(f"web UI: {scheme}://{shown_host(options.web['host'])}:{options.web['port']}")
        self._output.note(f"workers: {shown_host(options.bind_host)}:{port}")
        settings = WorkerSettings(
            scenario=self._scenario.path,
            overrides=list(self._arguments["overrides"]),
            gates=list(self._arguments["gates"]),
            master_host="127.0.0.1" if options.bind_host in ("*", "0.0.0.0") else options.bind_host,  # noqa: S104
            master_port=port,
        )
        for _ in range(options.workers):
            worker = await start_child("streambench.locust.worker", asdict(settings))
            stack.push_async_callback(end_child, worker)
            watching = asyncio.create_task(self._watch(worker))
            stack.callback(watching.cancel)

    async def _watch(self, worker: asyncio.subprocess.Process) -> None:
        code = await worker.wait()
        if self._stopping or self._quit or code == 0:
            return
        self._output.note(f"the worker with process id {worker.pid} has ended unexpectedly (exit status {code})")
        self._workers_left -= 1
        if not self._workers_left and not self._joined:
            # What ended them all before they were ready would end the next ones as well.
            self._failure = ExitCode(code) if code in set(ExitCode) else ExitCode.INTERNAL
            self._stopping = True
            self._tell("stop")

    async def _beside(self, work: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._analysis, work, *arguments)

    def _tell(self, order: str, **facts: Any) -> None:
        assert self._master.stdin is not None
        with contextlib.suppress(OSError, RuntimeError):
            self._master.stdin.write(json.dumps({"do": order, **facts}).encode() + b"\n")

    # Runs

    def _begin(self, run_id: str) -> None:
        records = self._output.open_folder() / RECORDS
        self._run = OpenRun(run_id, RunBook(records, self._scenario, self._servers))
        self._tell("open", run=run_id, records=str(records.resolve()))

    async def _snapshots(self) -> None:
        """Live figures for the page, about once a second."""
        while True:
            await asyncio.sleep(SNAPSHOT_EVERY_S)
            run = self._run
            if run is not None:
                await self._beside(run.read)
                if self._run is run:
                    self._tell("snapshot", run=run.id, snapshot=run.live.snapshot())

    def _end(self, workers: Sequence[SelfReport], *, reason: str) -> None:
        """The load has ended. The next run may begin while the report of this one is written."""
        if self._run is None:
            return
        run, self._run = self._run, None
        task = asyncio.create_task(self._finish(run, workers, reason))
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)

    async def _finish(self, run: OpenRun, workers: Sequence[SelfReport], reason: str) -> None:
        """Close a run: its last line, its reports, its verdict."""
        for worker in workers:
            if worker.lost:
                self._output.note(f"the worker {worker.name} was lost: the run is invalid")
        run.book.end(reason, begun_by(workers), judge_workers(workers, run.book.server_wait()))
        await self._beside(run.read)
        self._tell("snapshot", run=run.id, snapshot=run.live.snapshot())
        run.close()
        try:
            summary = await self._beside(self._output.finish, run.book.path)
        except StreambenchError as error:
            self._output.note(f"the run has no report: {error}")
            self._codes.append(error.exit_code)
        else:
            self._codes.append(summary.exit_code)
            self._tell(
                "report",
                run=run.id,
                path=str((run.book.path.parent / "report.html").resolve()),
                verdict=summary.verdict,
                exit_code=int(summary.exit_code),
                headline=headline(summary),
                reasons=[] if summary.generator["valid"] else summary.generator["reasons"],
            )


def step_back() -> None:
    """Let others have the CPU before this thread; on Linux, the priority of a thread is its own."""
    if sys.platform.startswith("linux"):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


async def serve_workers(settings: WorkerSettings, number: int) -> ExitCode:
    """So many workers for a master elsewhere, until all have ended; returns the worst of their exit codes."""
    async with AsyncExitStack() as stack:
        workers = []
        for _ in range(number):
            workers.append(await start_child("streambench.locust.worker", asdict(settings)))
            stack.push_async_callback(end_child, workers[-1])
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, let_go, workers)
        codes = [await worker.wait() for worker in workers]
    known = [ExitCode(code) if code in set(ExitCode) else ExitCode.INTERNAL for code in codes]
    return next((code for code in known if code in (ExitCode.USAGE, ExitCode.INTERNAL)), ExitCode.worst(known))


def let_go(workers: Sequence[asyncio.subprocess.Process]) -> None:
    """Tell workers to end: what they have open is recorded first."""
    for worker in workers:
        if worker.stdin is not None:
            worker.stdin.close()


def shown_host(host: str) -> str:
    """A host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host
