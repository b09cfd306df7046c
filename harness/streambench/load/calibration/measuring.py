"""Runs rising loads against the calibration server, and compares what was reported with what was written."""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from streambench.analysis.summary import Summary, summarize
from streambench.errors import StreambenchError
from streambench.load.book import RECORDS, environment
from streambench.load.calibration.server import GAP_NS
from streambench.load.loading import read_scenario
from streambench.load.progress import Progress, TargetProgress
from streambench.load.run import run_scenario
from streambench.load.transcripts import Keep
from streambench.quantile import quantile
from streambench.record.run_file import read_run
from streambench.units import NS_PER_MS, NS_PER_S

SCHEMA = "streambench.calibration/1"
READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 3.0
GAP_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
SCENARIO = """\
name: calibration
target: {{dialect: openai-chat, url: "http://127.0.0.1:{port}/v1/chat/completions"}}
load: {{users: {users}, streams: {users}}}
timeouts: {{connect: 30s, first_chunk: 60s, idle: 60s}}
"""


@dataclass(frozen=True, slots=True)
class Level:
    """One load. Errors in ms: how far the reported quantiles were from those of the server's log.

    `first_error_ms`: between the arrivals of the first texts and their writes, p99. `own_share_ms` is what the run said
    of its gaps' p99.
    """

    streams: int
    chunks_per_s: int
    first_error_ms: float
    gap_error_ms: float
    own_share_ms: float
    cpu: float | None
    valid: bool

    @property
    def error_ms(self) -> float:
        """The larger error."""
        return max(self.first_error_ms, self.gap_error_ms)


async def calibrate(loads: Sequence[int], told: Callable[[Level], None]) -> dict[str, Any]:
    """Each load in turn, until one is not valid; returns the calibration as it is kept and shown as JSON."""
    levels: list[Level] = []
    async with _server() as port:
        for users in loads:
            levels.append(await _level(port, users))
            told(levels[-1])
            if not levels[-1].valid:
                break
    return {
        "schema": SCHEMA,
        "calibrated": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": environment(),
        "sentence": sentence(levels),
        "levels": [asdict(level) for level in levels],
    }


def sentence(levels: Sequence[Level]) -> str:
    """What came of it, for a person."""
    valid = list(itertools.takewhile(lambda level: level.valid, levels))
    if not valid:
        return f"At {levels[0].streams:,} streams the figures of this machine are not right: end what else runs on it."
    error_ms = max(level.error_ms for level in valid)
    rate = NS_PER_S // GAP_NS
    beyond = "; more was not tried" if len(valid) == len(levels) else ""
    return (
        f"Up to {valid[-1].streams:,} streams of {rate} chunks/s the figures of this machine are right within "
        f"{max(0.01, error_ms):.2f} ms{beyond}."
    )


async def _level(port: int, users: int) -> Level:
    summary, arrivals = await _run(port, users)
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"http://127.0.0.1:{port}/log", timeout=READY_TIMEOUT_S)
    written: list[list[int]] = answer.json()
    firsts = zip(sorted(row[0] for row in arrivals), sorted(row[0] for row in written), strict=True)
    first_error = quantile(sorted(abs(came - wrote) for came, wrote in firsts), 0.99) / NS_PER_MS
    gaps, true_gaps = _gaps(arrivals), _gaps(written)
    gap_error = max(abs(quantile(gaps, q) - quantile(true_gaps, q)) for q in GAP_QUANTILES.values()) / NS_PER_MS
    (target,) = summary.targets.values()
    return Level(
        streams=users,
        chunks_per_s=users * NS_PER_S // GAP_NS,
        first_error_ms=round(first_error, 4),
        gap_error_ms=round(gap_error, 4),
        own_share_ms=round(target.distributions["gap"].own_share(0.99), 4),
        cpu=summary.generator["cpu"],
        valid=bool(summary.generator["valid"]),
    )


def _gaps(rows: Sequence[Sequence[int]]) -> list[int]:
    return sorted(b - a for row in rows for a, b in itertools.pairwise(row))


async def _run(port: int, users: int) -> tuple[Summary, list[list[int]]]:
    """One run; its summary, and the arrivals of the texts of each stream."""
    scenario = read_scenario(SCENARIO.format(port=port, users=users), "calibration", environ={})
    progress = Progress({target.name: TargetProgress() for target in scenario.targets})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run" / RECORDS
        await run_scenario(scenario, path, progress, asyncio.Event(), lambda _: None, keep=Keep.NONE)
        run = read_run(path)
        summary = summarize(run)
        arrivals = [
            list(itertools.compress(record.events.at_ns, record.events.chars))
            for record in run.records
            if record.error is None
        ]
    if len(arrivals) != users:
        raise StreambenchError(f"only {len(arrivals):,} of {users:,} streams to the calibration server were completed")
    return summary, arrivals


@asynccontextmanager
async def _server() -> AsyncIterator[int]:
    """The calibration server in a process of its own; yields its port."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "streambench.load.calibration.server",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=dict(os.environ),
        process_group=0,
    )
    assert child.stdout is not None
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            line = await child.stdout.readline()
        if not line:
            raise StreambenchError("the calibration server did not start")
        yield int(line)
    finally:
        if child.returncode is None:
            child.terminate()
        try:
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()
