"""The conformance cases beside the reference chat server: their pages, and the proof that each finds what it is for.

`python -m tools.conformance` writes docs/reference/conformance/ anew. `python -m tools.conformance --prove [RUNS]` puts
each of the systems through the suite so many times, and each case in front of its defect.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace

import orjson
from aiohttp import web

from mock_openai.chat.app import create_app
from mock_openai.chat.defects.catalogue import DEFECTS
from mock_openai.chat.limits import Caps
from mock_openai.chat.server import ChatSettings
from streambench.conformance.case import BROKEN, Case, Need, Verdict
from streambench.conformance.profile import profile_of
from streambench.conformance.runner import CaseResult, SuiteResult, run_case, run_suite
from streambench.conformance.subject import Subject
from streambench.conformance.suite import AREAS, all_cases
from streambench.conformance.trial import Shared
from streambench.conformance.upstream import Upstream
from streambench.dialects import load_dialect
from streambench.drivers.target import TargetSpec
from streambench.transport.target import Endpoint, Timeouts
from streambench.units import NS_PER_S
from tools.imports import ROOT

FOLDER = ROOT / "docs/reference/conformance"
IDLE_S = 1.5  # a server that is as patient as its profile says would keep a proof waiting for half a minute
HEARTBEAT_S = 6.0  # longer than the pauses of clients that read slowly, who would be taken for dead
RATE_LIMIT = {"burst": 1, "recovers_s": 1.0}  # of a server that is started with one; others have none
LIMITED_AREA = "rate_limits"
SIDE_BY_SIDE = 8  # cases do little but wait
TRIES = 3
SYSTEMS = {
    "chat-stream": "/api/chat/stream",
    "thread-events": "",
    "conversation-stream": "/api/conversation-stream/alice",
    "assistant-ws": "",
    "room-chat": "",
}
# The system on which a case is shown; all others are shown on the first.
HOMES = {
    "grammar.order": "thread-events",
    "grammar.repeated-text": "thread-events",
    "grammar.clock-forward": "thread-events",
    "grammar.last-flag": "thread-events",
    "owner.user-in-path": "conversation-stream",
    "upstream.next-provider": "conversation-stream",
    "upstream.nothing-twice": "conversation-stream",
    "rate.is-told": "assistant-ws",
}


# And the system on which cases are shown that need something.
HOMES_OF_NEEDS = {
    Need.CLOSED_ROOMS: "assistant-ws",
    Need.ROOMS: "room-chat",
    Need.CLIENT_HISTORY: "room-chat",
    Need.SOCKET: "assistant-ws",
    Need.WEBSOCKET: "assistant-ws",
}

# Where a case applies, and no defect of the reference server can break it: such a system has only one order of events
# that is wrong in this way, or one provider, or another one that makes up for what the first has spoilt; or its first
# event comes before the text, and the headers with it.
UNBROKEN = {
    "http.headers-early": {"thread-events", "conversation-stream"},
    "upstream.keeps-text": {"conversation-stream"},
    "upstream.once-more": {"conversation-stream"},
    "grammar.order": {"chat-stream", "assistant-ws", "conversation-stream"},
    "upstream.nothing-twice": {"chat-stream", "thread-events", "assistant-ws", "room-chat"},
}


def home_of(case: Case) -> str:
    """The system of the reference chat server on which a case is shown."""
    if case.id in HOMES:
        return HOMES[case.id]
    return next((system for need, system in HOMES_OF_NEEDS.items() if need in case.needs), "chat-stream")


@contextmanager
def fake_upstream() -> Iterator[str]:
    """The URL of a fake upstream in a process of its own."""
    command = [sys.executable, "-m", "mock_openai", "--json", "--no-chat", "--port", "0", "--profile", "instant"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield str(orjson.loads(process.stdout.readline())["openai"])
        finally:
            process.terminate()


@asynccontextmanager
async def reference(upstream_url: str, system: str, *defects: str, limited: bool = False) -> AsyncIterator[Subject]:
    """A system of the reference chat server, with some defects, to be tested; `limited`: one question a second."""
    settings = ChatSettings(
        upstream=upstream_url,
        defects=frozenset(defects),
        caps=Caps(idle_s=IDLE_S),
        rate_limit_per_s=1.0 if limited else None,
        heartbeat_s=HEARTBEAT_S,
    )
    runner = web.AppRunner(create_app(settings), access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        # No other server of this upstream may have the same marks, and a port is soon given to the next one.
        async with Upstream(upstream_url, secrets.token_hex(8)) as upstream:
            endpoint = Endpoint(
                f"http://{host}:{port}{SYSTEMS[system]}",
                headers=(("authorization", "Bearer alice-token"),),
                timeouts=Timeouts(total_ns=20 * NS_PER_S),
            )
            yield Subject(
                TargetSpec(system, load_dialect(system), endpoint),
                replace(
                    profile_of(system),
                    idle_s=IDLE_S,
                    heartbeat_s=HEARTBEAT_S,
                    rate_limit=RATE_LIMIT if limited else None,
                ),
                upstream,
                lambda text: text.replace("alice-token", "***").replace("bob-token", "***"),
            )
    finally:
        await runner.cleanup()


async def broken_by_its_defect(upstream_url: str, cases: Sequence[Case], system: str | None = None) -> list[CaseResult]:
    """Each case in front of a server that has the case's defect and no other: on `system`, or on the case's home.

    What a defect does to the moments of a stream may not show on a busy machine: a case that holds is tried again.
    """
    room = asyncio.Semaphore(SIDE_BY_SIDE)

    async def one(case: Case) -> CaseResult:
        async with (
            room,
            reference(upstream_url, system or home_of(case), case.defect, limited=case.area == LIMITED_AREA) as subject,
        ):
            for _ in range(TRIES):
                result = await run_case(subject, case, Shared(), tries=1)
                if result.verdict is not Verdict.PASSED:
                    break
            return result

    # The longest first: they do little but wait.
    order = sorted(range(len(cases)), key=lambda i: not (cases[i].patient or cases[i].alone))
    results = dict(zip(order, await asyncio.gather(*(one(cases[i]) for i in order)), strict=True))
    return [results[i] for i in range(len(cases))]


def pages() -> dict[str, str]:
    """The pages by their file names: an index, and a page an area."""
    out = {"README.md": _index()}
    for area, heading in AREAS.items():
        members = [case for case in all_cases() if case.area == area]
        out[f"{area.replace('_', '-')}.md"] = "\n".join([f"# {heading}", "", *map(_section, members)])
    return out


def _index() -> str:
    lines = [
        "# Conformance cases",
        "",
        "What `streambench conform` requires of a chat endpoint, area by area. Each case tests one requirement: a",
        "broken MUST is a failure, a broken SHOULD a warning, a broken MAY information. Every case passes on the",
        "reference chat server, and is broken by one of its defects (`streambench mock --defect NAME`).",
        "",
        "`python -m tools.conformance` generates these pages from the code; `--prove` tries every case both ways.",
        "How to run the suite: [commands](../commands.md#streambench-conform). What a target can declare:",
        "[profiles](#profiles). What nginx and model gateways fail: [real software](real-software.md).",
        "",
        "| area | cases | MUST | SHOULD | MAY |",
        "|---|---|---|---|---|",
    ]
    for area, heading in AREAS.items():
        members = [case for case in all_cases() if case.area == area]
        strict = Counter(str(case.keyword) for case in members)
        cells = " | ".join(str(strict[keyword]) for keyword in ("MUST", "SHOULD", "MAY"))
        lines.append(f"| [{heading}]({area.replace('_', '-')}.md) | {len(members)} | {cells} |")
    lines += ["", _PROFILES, "", "## What unlocks a case", "", "| a case lacks | what unlocks it |", "|---|---|"]
    lines += [f"| {need.name.lower().replace('_', ' ')} | {need.value} |" for need in Need]
    return "\n".join(lines) + "\n"


def _section(case: Case) -> str:
    needs = "; ".join(need.value for need in case.needs) or "only the target"
    return (
        f"## `{case.id}`\n\n{case.keyword}: {case.requirement}\n\n"
        f"- **Steps**: {case.steps}\n- **Expected**: {case.judgement}\n- **Source**: {case.source}\n"
        f"- **Needs**: {needs}\n- **Remedy**: {case.remedy}\n"
        f"- **Broken by**: `--defect {case.defect}` ({DEFECTS[case.defect].told})\n"
    )


_PROFILES = """\
## Profiles

A profile says what a target promises beyond its dialect. Only what it declares is tested. The systems of the reference
chat server have bundled profiles; for your own target, write a YAML file (`--profile FILE`, or in a scenario
`conform: {profile: FILE}`):

```yaml
auth: true                        # requests without a token are refused
refuses_empty: true               # a message without text is refused
max_chars: 4000                   # the longest message
max_body: 65536                   # the largest body, in bytes
idle_s: 30                        # timeout for a silent upstream, in seconds
second_user: {headers: {authorization: Bearer other-token}}
conversation:
  create: {method: POST, path: /api/conversations, json: {title: test}, capture: id}
  json: {message: "{prompt}", conversationId: "{conversation_id}"}   # if not the dialect's own body
  read: {path: "/api/conversations/{conversation_id}", messages: messages, role: role, content: content}
health: {path: /health, streams: streams}
model: model                      # the field of the body that names the model
params: {temperature: 0.7}        # expected in requests to the model
fallback: true                    # the service has a second provider
history_messages: 10
rate_limit: {burst: 5, recovers_s: 1}   # 5 requests at once, then one more after each second
rooms:                            # whose members receive each other's replies
  join: {emit: [join-room, {roomName: "{room}"}], heard: room-joined}   # or `send: MESSAGE`; `heard` confirms it
  leave: {emit: [leave-room, {roomName: "{room}"}], heard: room-left}
  joined: participant-joined      # the event for members who join; `left` for those who leave
  left: participant-left
  text: {other-chunk: content}    # the events of such a reply, and where their text is
  ends: [other-complete, other-error]
```

On a socket, `conversation.create: {capture: NAME}` names the variable in which the dialect's setup captures the new
conversation. `create: {by: reply, capture: PATH}` is for a service that keeps one conversation per connection and sends
its id in the events of a reply. `rooms: {shared: NAME}`, instead of `join` and `leave`, means that connections with the
same value of that variable are in one room; `closed: true` means that access to it is restricted."""


async def suites_on(upstream_url: str, system: str, cases: Sequence[Case]) -> list[SuiteResult]:
    """What comes of cases on a system that is correct: of all but those of rate limits, and of these, side by side."""

    async def one(limited: bool) -> SuiteResult | None:
        chosen = [case for case in cases if (case.area == LIMITED_AREA) is limited]
        if not chosen:
            return None
        async with reference(upstream_url, system, limited=limited) as subject:
            return await run_suite(subject, chosen)

    return [suite for suite in await asyncio.gather(one(False), one(True)) if suite is not None]


async def false_alarms(upstream_url: str, system: str) -> tuple[list[CaseResult], int, float]:
    """One suite on a system that is correct: what does not hold all the same, how many cases hold, and the seconds."""
    suites = await suites_on(upstream_url, system, all_cases())
    results = [result for suite in suites for result in suite.results]
    alarms = [result for result in results if result.is_bad or result.verdict is Verdict.HARNESS_ERROR]
    held = sum(result.verdict is Verdict.PASSED for result in results)
    return alarms, held, max(suite.seconds for suite in suites)


async def _prove(runs: int) -> int:
    wrong: Counter[str] = Counter()
    missed: list[str] = []
    with fake_upstream() as upstream_url:
        for system in SYSTEMS:
            for number in range(runs):
                alarms, held, seconds = await false_alarms(upstream_url, system)
                wrong.update(f"{system} {result.case.id} {result.verdict}" for result in alarms)
                print(f"run {number + 1}, {system}: {held} hold, {len(alarms)} false alarms, {seconds:.1f} s")
            cases = [case for case in all_cases() if system not in UNBROKEN.get(case.id, ())]
            tried = [
                result
                for result in await broken_by_its_defect(upstream_url, cases, system)
                if result.verdict is not Verdict.NOT_TESTABLE
            ]
            unseen = [result for result in tried if result.verdict is not BROKEN[result.case.keyword]]
            missed += [f"{system} {result.case.id} {result.case.defect}" for result in unseen]
            print(f"{system}: {len(tried) - len(unseen)} of {len(tried)} cases are broken by their defect")
    for line in [*(f"{count} times: {name}" for name, count in wrong.items()), *(f"not found: {i}" for i in missed)]:
        print(line)
    return 1 if wrong or missed else 0


if __name__ == "__main__":
    if "--prove" in sys.argv:
        logging.disable(logging.CRITICAL)
        sys.exit(asyncio.run(_prove(int(sys.argv[2]) if len(sys.argv) > 2 else 1)))
    FOLDER.mkdir(parents=True, exist_ok=True)
    for filename, text in pages().items():
        (FOLDER / filename).write_text(text, "utf-8")
