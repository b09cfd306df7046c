"""The load of one process, a whole run or a worker's part of it: streams, their records, and observations of itself."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from streambench.analysis.validity import upstream_late_ns
from streambench.drivers.users import open_session
from streambench.load.engine import Engine, Muster
from streambench.load.progress import Progress
from streambench.load.segment import WHOLE, Segment
from streambench.load.target_load import Steps
from streambench.load.testbed import Testbed
from streambench.load.transcripts import Keep, TranscriptKeeper
from streambench.load.validity import GeneratorFacts, Watch
from streambench.record.journal import RecordWriter
from streambench.record.model import StreamRecord
from streambench.record.transcript import FOLDER


async def run_part(
    testbed: Testbed,
    writer: RecordWriter,
    folder: Path,
    keep: Keep,
    progress: Progress,
    facts: GeneratorFacts,
    stop: asyncio.Event,
    *,
    worker: str | None = None,
    segment: Segment = WHOLE,
    muster: Muster | None = None,
    steps: Steps | None = None,
) -> bool:
    """Run the load, or a `segment` of it, and write a record for each stream; False where `stop` ended it early.

    `facts` are filled on the way. `worker` is the name that stands in the records, `muster` makes all workers begin a
    phase together, `steps` chooses the loads of a sweep. Transcripts go to the run's `folder`.
    """
    scenario = testbed.scenario
    keeper = TranscriptKeeper(folder / FOLDER, keep, scenario.secrets)
    writing = asyncio.Lock()
    for target in scenario.targets:
        open_session(target.spec)  # loads the driver, for which the first user must not wait

    async def write(record: StreamRecord) -> None:
        await testbed.join(record)
        facts.upstream_late_ns += upstream_late_ns(record)
        record.worker = worker
        # Where many streams end at once, the sockets of the others are read between two records.
        async with writing:
            writer.stream(record)
            keeper.take(record)
            await asyncio.sleep(0)

    def named(facts: dict[str, Any]) -> dict[str, Any]:
        return facts if worker is None else {**facts, "worker": worker}

    watching = Watch(facts, lambda sample: writer.generator(named(sample)), lambda begun: writer.begun(named(begun)))
    watch = asyncio.create_task(watching.run())
    try:
        engine = Engine(
            scenario,
            testbed.plans,
            write,
            progress,
            facts,
            testbed.token,
            listen=keeper.listen,
            segment=segment,
            muster=muster,
            steps=steps,
        )
        finished = await engine.run(stop)
        keeper.close()
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
    return finished
