"""A run from start to end: servers, preflight, plans, load, and the records file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from streambench.errors import ConfigurationError
from streambench.load.book import RunBook
from streambench.load.part import run_part
from streambench.load.progress import Progress
from streambench.load.scenario import Scenario
from streambench.load.service import OnDeath
from streambench.load.testbed import open_testbed, preflight, start_servers
from streambench.load.transcripts import Keep
from streambench.load.validity import GeneratorFacts, judge_generator
from streambench.load.workers import Crew

SPARE_DESCRIPTORS = 64


async def run_scenario(
    scenario: Scenario,
    records_path: Path,
    progress: Progress,
    stop: asyncio.Event,
    on_folder: Callable[[Path], None],
    *,
    wait_ns: int = 0,
    on_death: OnDeath | None = None,
    keep: Keep = Keep.FAILED,
    workers: int = 1,
) -> bool:
    """Run a scenario into a records file; returns False where `stop` ended it early.

    The file is created when the targets have been reached, for which they have `wait_ns`; then `on_folder` is called
    with its folder. A run that never began leaves nothing behind but the logs of the user's own servers. `on_death` is
    told of such a server, and of a worker, that ends by itself; `keep` says which streams can be looked at again. With
    more than one of the `workers`, each is a process of its own. Raises TargetUnreachable, and ConfigurationError for
    what only the servers can know.
    """
    raise_descriptor_limit(scenario, workers)
    folder = records_path.parent
    if workers > 1:
        async with start_servers(scenario, folder=folder, on_death=on_death) as servers:
            served = scenario.served_by(servers.urls)
            await preflight(served, wait_ns)
            async with Crew(scenario, servers.urls, records_path, keep, workers, progress, on_death) as crew:
                folder.mkdir(parents=True, exist_ok=True)
                book = RunBook(records_path, served, servers)
                try:
                    on_folder(folder)
                    return await crew.run(book, stop)
                finally:
                    book.close()
    async with open_testbed(scenario, folder=folder, wait_ns=wait_ns, on_death=on_death) as testbed:
        folder.mkdir(parents=True, exist_ok=True)
        book = RunBook(records_path, testbed.scenario, testbed.servers)
        facts = GeneratorFacts()
        finished = False

        def show(text: str) -> None:
            progress.stage = text

        try:
            on_folder(folder)
            try:
                steps = book.sweeper(show)
                finished = await run_part(testbed, book.writer, folder, keep, progress, facts, stop, steps=steps)
            finally:
                facts.server_wait = book.server_wait()
                book.end("finished" if finished else "interrupted", facts.begun, judge_generator(facts))
        finally:
            book.close()
    return finished


def raise_descriptor_limit(scenario: Scenario, workers: int = 1) -> None:
    """Let a process, one of so many `workers`, open as many sockets as its part of the load may need.

    Raises ConfigurationError where it may not.
    """
    try:
        import resource
    except ImportError:  # not on this platform: the first refused socket will say so
        return
    at_once = max(phase.most_at_once for phase in scenario.load.phases)
    needed = -(-at_once // workers) * len(scenario.targets) + SPARE_DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise ConfigurationError(
            f"the load may need {needed:,} open sockets, and the system allows {hard:,}: raise it (ulimit -Hn), or "
            "lower the number of users"
        )
    if soft != resource.RLIM_INFINITY and soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
