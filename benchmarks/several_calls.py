"""Services that ask the model more than once for a reply, or add words of their own: are they cleared?

    python benchmarks/several_calls.py                              # 1,000 streams of each
    python benchmarks/several_calls.py --way agent --streams 100

The service under test is in this file (`--serve PORT`), is started by the scenario's `serve`, and calls the fake
upstream through the official SDK. Each way to answer is one target. Every one passes its text on as it comes, so the
right verdict is `forwarded`, and the only finding is `content.added` for the service's own words. Exits 1 otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiohttp import web

    from streambench.analysis.target import TargetSummary

TITLE = "Name this conversation in a few words: "
PREFACE = "Here is what our handbook says.\n\n"
SOURCES = "\n\nSources: Staff handbook, chapter 4; https://handbook.example/leave"
GENERATIONS = ("", "Which tools would help? ", "Now put it all together. ")
# How each way answers, and the rules that may be reported of it.
WAYS: dict[str, frozenset[str]] = {
    "title-before": frozenset(),
    "title-beside": frozenset(),
    "title-after": frozenset(),
    "title-late": frozenset(),
    "agent": frozenset(),
    "preface-and-sources": frozenset({"content.added"}),
}
USERS = 12
TOKENS = 16
PROFILE = {"name": "fixed", "ttft_ms": 100, "gap_ms": 40}


class Service:
    """Answers `POST /<way>` as the dialect `chat-stream` does."""

    def __init__(self) -> None:
        from openai import AsyncOpenAI

        self._model = AsyncOpenAI()
        self._later: set[asyncio.Task[str]] = set()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The reply to a message, in the way that the path names."""
        from aiohttp import web

        way = request.match_info["way"]
        message = (await request.json())["message"]
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        async for text in self._pieces(way, message):
            await response.write(f"data: {json.dumps({'content': text})}\n\n".encode())
        await response.write(b'data: {"done":true}\n\n')
        await response.write_eof()
        if way == "title-late":
            self._keep(asyncio.create_task(self._title(message)))
        return response

    async def _pieces(self, way: str, message: str) -> AsyncIterator[str]:
        if way == "title-before":
            await self._title(message)
        beside = self._keep(asyncio.create_task(self._title(message))) if way == "title-beside" else None
        if way == "preface-and-sources":
            yield PREFACE
        for instruction in GENERATIONS if way == "agent" else ("",):
            async for text in self._generate(instruction + message):
                yield text
        if way == "preface-and-sources":
            yield SOURCES
        if way == "title-after":
            await self._title(message)
        if beside is not None:
            await beside

    async def _generate(self, prompt: str) -> AsyncIterator[str]:
        stream = await self._model.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": prompt}], stream=True
        )
        async for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content

    async def _title(self, message: str) -> str:
        completion = await self._model.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": TITLE + message}], max_tokens=6
        )
        return completion.choices[0].message.content or ""

    def _keep(self, task: asyncio.Task[str]) -> asyncio.Task[str]:
        self._later.add(task)
        task.add_done_callback(self._later.discard)
        return task


def serve(port: int) -> None:
    """Run the service until it is ended."""
    from aiohttp import web

    async def app() -> web.Application:
        application = web.Application()
        application.router.add_post("/{way}", Service().answer)
        return application

    web.run_app(app(), host="127.0.0.1", port=port, print=None)


def scenario(ways: Sequence[str], streams: int, users: int) -> dict[str, Any]:
    """A run of some ways, so many streams of each."""
    return {
        "version": 1,
        "name": "several-calls",
        "serve": {
            "openai": {"profile": PROFILE},
            "service": {
                "command": [sys.executable, str(Path(__file__).resolve()), "--serve", "${port}"],
                "env": {"OPENAI_BASE_URL": "${serve.openai}/v1", "OPENAI_API_KEY": "sk-mock"},
            },
        },
        "targets": {
            way: {"dialect": "chat-stream", "url": f"${{serve.service}}/{way}", "upstream": "${serve.openai}"}
            for way in ways
        },
        "prompts": {"text": "How many days of leave do I have?", "tokens": TOKENS},
        "load": {"users": users, "streams": streams},
    }


def run(ways: Sequence[str], streams: int, users: int) -> tuple[dict[str, TargetSummary], dict[str, Any]]:
    """What is said of each way, findings that are only information included; and of the generator."""
    from streambench.analysis.summary import summarize
    from streambench.record.run_file import read_run

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scenario.yaml"
        path.write_text(json.dumps(scenario(ways, streams, users)))
        command = [sys.executable, "-m", "streambench", "run", str(path), "--output", folder, "--no-plots", "--json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
        records = list(Path(folder).rglob("records.jsonl"))
        if not records:
            raise SystemExit(done.stderr[-2000:])
        summary = summarize(read_run(records[0]))
        return summary.targets, summary.generator


def row(way: str, target: TargetSummary) -> tuple[bool, str]:
    """Whether all is right with a way, and its row of the table."""
    found = target.authenticity
    rules = {rule.rule: rule.streams for rule in target.rules}
    false = {rule: count for rule, count in rules.items() if rule not in WAYS[way]}
    missed = [rule for rule in WAYS[way] if rules.get(rule) != target.counts["completed"]]
    right = found.verdict == "forwarded" and not false and not missed and not target.counts["failed"]
    shares = ", ".join(f"{share:.1%} {verdict}" for verdict, share in found.shares.items())
    reported = ", ".join(f"{rule} {count:,}" for rule, count in rules.items()) or "none"
    lag = "–" if found.lag_ms is None else f"{found.lag_ms:.1f} ms"
    return right, (
        f"| {way} | {target.counts['completed']:,} | {found.verdict} | {shares or '–'} | {found.streams:,} | {lag} "
        f"| {reported} | {'✓' if right else '✗'} |"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--way", action="append", choices=WAYS, help="repeatable (default: all)")
    parser.add_argument("--streams", type=int, default=1000, help="of each way (default: %(default)s)")
    parser.add_argument("--users", type=int, default=USERS, help="on each way (default: %(default)s)")
    parser.add_argument("--serve", type=int, metavar="PORT", help="be the service")
    given = parser.parse_args()
    if given.serve is not None:
        serve(given.serve)
        return 0
    ways = given.way or list(WAYS)
    failed = False
    print("| way | streams | verdict | shares | judged | lag p50 | findings (streams) | |")
    print(f"|{'---|' * 8}")
    begin = time.monotonic()
    for i in range(0, len(ways), 2):  # more at a time would measure the machine
        targets, generator = run(ways[i : i + 2], given.streams, given.users)
        if not generator["valid"]:
            print(f"  invalid: {'; '.join(generator['reasons'])}", file=sys.stderr)
        for way, target in targets.items():
            right, line = row(way, target)
            failed |= not right
            print(line, flush=True)
    print(f"\n{time.monotonic() - begin:.0f} s on {os.cpu_count()} cores")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
