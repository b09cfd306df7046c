"""How far a client's arrival stamp is from the moment when the server wrote: ours, and how others take it.

The fake upstream writes 50 chunks, 20 ms apart, to each of N streams that begin together, and journals when it really
wrote each of them. A client's stamp minus that moment, on the one monotonic clock of the host, is the network and the
error of the client; over loopback nearly all of it is error. Readers:

  streambench kernel   the kernel's receive stamp
  streambench user     the moment after the read, in the same callback
  aiohttp              the moment at which a coroutine gets the line
  httpx                the moment at which a coroutine gets the line

Server and client are pinned to different cores. Medians over the rounds; bounded to a few minutes, loopback only. Run
it with `python benchmarks/stamps.py [STREAMS] [ROUNDS]`.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

STREAMS = 500
ROUNDS = 3
CHUNKS = 50
PROFILE = {"name": "fixed", "ttft_ms": 1500, "gap_ms": 20}
SCENARIO = """\
name: stamps
target: {{dialect: openai-chat, url: "{url}/v1/chat/completions", upstream: "{url}", stamps: {stamps}}}
prompts: {{tokens: {chunks}, profile: {{name: fixed, ttft_ms: 1500, gap_ms: 20}}}}
load: {{users: {streams}, streams: {streams}}}
"""

Stamps = dict[str, list[int]]
"""Arrival stamps of the content chunks, in ns, by the stream's mark."""


def ours(url: str, streams: int, stamps: str) -> list[float]:
    """Lags in ms of `streambench run`, from its records."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scenario = folder / "stamps.yaml"
        scenario.write_text(SCENARIO.format(url=url, stamps=stamps, chunks=CHUNKS, streams=streams))
        subprocess.run(
            [sys.executable, "-m", "streambench", "run", str(scenario), "-o", name, "--quiet", "--no-plots"],
            stdout=subprocess.DEVNULL,
            check=False,  # a busy machine makes the run invalid, which is no matter here
        )
        lags: list[float] = []
        for line in next((folder / "stamps").glob("*/records.jsonl")).read_text().splitlines():
            record = json.loads(line)
            if record["kind"] != "stream" or not record["upstream"]:
                continue
            events = record["events"]
            arrived = [at for at, chars in zip(events["at"], events["chars"], strict=True) if chars]
            written = record["upstream"][-1]["written"]
            lags += [(at - wrote) / 1e6 for at, wrote in zip(arrived, written, strict=False)]
        return lags


def peer(url: str, streams: int, read: Callable[[str, str], Awaitable[list[int]]], prefix: str) -> list[float]:
    """Lags in ms of a client that reads each stream with `read(url, mark)`."""
    plan = {"id": prefix, "tokens": CHUNKS, "profile": PROFILE}
    post(f"{url}/_mock/plans", plan)
    marks = [f"{prefix}.{number}" for number in range(streams)]

    async def all_streams() -> Stamps:
        return dict(zip(marks, await asyncio.gather(*(read(url, mark) for mark in marks)), strict=True))

    arrived = asyncio.run(all_streams())
    lags: list[float] = []
    for mark in marks:
        with urllib.request.urlopen(f"{url}/_mock/journal?id={mark}") as answer:
            written = json.load(answer)["entries"][-1]["chunks"]["written_ns"]
        lags += [(at - wrote) / 1e6 for at, wrote in zip(arrived[mark], written, strict=False)]
    return lags


def post(url: str, body: Any) -> None:
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers={"content-type": "application/json"})
    urllib.request.urlopen(request).close()


def body_of(mark: str) -> dict[str, Any]:
    return {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": f"Hello [[sb:{mark}]]"}]}


def has_text(line: str) -> bool:
    return line.startswith("data: {") and bool(json.loads(line[6:])["choices"][0]["delta"].get("content"))


def with_aiohttp() -> Callable[[str, str], Awaitable[list[int]]]:
    import aiohttp

    async def read(url: str, mark: str) -> list[int]:
        stamps: list[int] = []
        connector = aiohttp.TCPConnector(limit=0)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post(f"{url}/v1/chat/completions", json=body_of(mark)) as response,
        ):
            async for line in response.content:
                at_ns = time.monotonic_ns()
                if has_text(line.decode()):
                    stamps.append(at_ns)
        return stamps

    return read


def with_httpx() -> Callable[[str, str], Awaitable[list[int]]]:
    import httpx

    async def read(url: str, mark: str) -> list[int]:
        stamps: list[int] = []
        async with (
            httpx.AsyncClient(timeout=120) as client,
            client.stream("POST", f"{url}/v1/chat/completions", json=body_of(mark)) as response,
        ):
            async for line in response.aiter_lines():
                at_ns = time.monotonic_ns()
                if has_text(line):
                    stamps.append(at_ns)
        return stamps

    return read


def quantile(values: list[float], q: float) -> float:
    ascending = sorted(values)
    return ascending[min(len(ascending) - 1, int(q * len(ascending)))]


def main() -> int:
    streams = int(sys.argv[1]) if len(sys.argv) > 1 else STREAMS
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else ROUNDS
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    server = subprocess.Popen(
        [sys.executable, "-m", "mock_openai", "--json", "--no-chat", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        url = json.loads(server.stdout.readline())["openai"]
        os.sched_setaffinity(0, {cores[0]})
        readers: dict[str, Callable[[int], list[float]]] = {
            "streambench kernel": lambda _: ours(url, streams, "kernel"),
            "streambench user": lambda _: ours(url, streams, "user"),
            "aiohttp": lambda turn: peer(url, streams, with_aiohttp(), f"aiohttp{turn}"),
            "httpx": lambda turn: peer(url, streams, with_httpx(), f"httpx{turn}"),
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in readers}
        for turn in range(rounds):
            for name, run in readers.items():
                lags = run(turn)
                found[name].append((quantile(lags, 0.5), quantile(lags, 0.99)))
    finally:
        server.terminate()
        server.wait(10)
    print(f"{streams} streams of {CHUNKS} chunks 20 ms apart, {rounds} rounds, {len(cores)} cores; stamp minus write")
    print(f"{'reader':<20}{'p50 (ms)':>12}{'p99 (ms)':>12}{'p99, times ours':>18}")
    best = statistics.median(p99 for _, p99 in found["streambench kernel"])
    for name, rows in found.items():
        p50, p99 = (statistics.median(row[i] for row in rows) for i in (0, 1))
        print(f"{name:<20}{p50:>12.3f}{p99:>12.3f}{p99 / best:>18.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
