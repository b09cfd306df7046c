"""Events that belong to no reply: greetings, which nobody has to send, and an end that comes twice."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from streambench.dialects.loading import parse_dialect
from streambench.drivers.target import TargetSpec
from streambench.drivers.users import open_session
from streambench.record.model import Outcome
from streambench.transport.target import Endpoint

DIALECT = """
dialect: greeting
version: 1
transport: websocket
setup:
  - {send: {type: hello}, await: ready}
  - {if: begin, within: 400ms, await: end}
request: {send: {type: ask, text: "{prompt}"}}
name: type
events: {ready: {}, begin: {}, text: {content: text}, end: {}}
grammar: begin text* end
"""
PARTS = ("begin", "text", "text", "end")


async def chat(socket: ServerConnection) -> None:
    """Ends something that was open, as real services do, then greets as its path says, and echoes prompts."""

    async def say(text: str, pause_s: float = 0.0) -> None:
        for kind in PARTS:
            await asyncio.sleep(pause_s)
            await socket.send(json.dumps({"type": kind, "text": text}))

    assert socket.request is not None
    async for raw in socket:
        message = json.loads(raw)
        if message["type"] == "ask":
            await say(message["text"])
            continue
        await socket.send(json.dumps({"type": "end"}))
        await socket.send(json.dumps({"type": "ready"}))
        if "at-once" in socket.request.path:
            await say("Welcome")
        elif "slowly" in socket.request.path:
            await say("Welcome", 0.05)


@pytest.mark.parametrize("greeting", ["never", "at-once", "slowly"])
async def test_the_first_reply_is_that_to_the_first_prompt(greeting: str, stream_of: Any) -> None:
    async with serve(chat, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        spec = TargetSpec("t", parse_dialect(DIALECT, Path("x.yaml")), Endpoint(f"ws://127.0.0.1:{port}/{greeting}"))
        user = open_session(spec)
        await user.prepare()
        for prompt in ("one", "two"):
            record = await stream_of(user, spec, prompt)
            assert (record.outcome, record.text) == (Outcome.COMPLETED, prompt * 2)
            assert record.violations == []
        await user.close()


NO_SETUP = """
dialect: no-setup
version: 1
transport: websocket
request: {send: {type: ask, text: "{prompt}"}}
name: type
events: {text: {content: text}, title: {}, end: {}}
grammar: text+ title? end
"""


async def say(socket: ServerConnection, kind: str, text: str = "") -> None:
    await socket.send(json.dumps({"type": kind, "text": text}))


async def answer(socket: ServerConnection, raw: str | bytes) -> None:
    await say(socket, "text", json.loads(raw)["text"])
    await say(socket, "end")


async def greeter(socket: ServerConnection) -> None:
    """Says the event that its path names when somebody connects, or when the first prompt has come."""
    assert socket.request is not None
    when, greeting = socket.request.path.strip("/").split("/")
    if when == "connected":
        await say(socket, greeting)
    async for raw in socket:
        if when == "asked":
            await say(socket, greeting)
            when = "greeted"
        await answer(socket, raw)


async def wait_for_message(user: Any) -> None:
    while not user.link.receiver.messages:
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("greeting", ["title", "hello"])
async def test_a_greeting_that_no_step_awaits_is_judged_the_same_before_and_after_the_prompt(
    greeting: str, stream_of: Any
) -> None:
    async with serve(greeter, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        found = []
        for when in ("connected", "asked"):
            spec = TargetSpec(
                "t", parse_dialect(NO_SETUP, Path("x.yaml")), Endpoint(f"ws://127.0.0.1:{port}/{when}/{greeting}")
            )
            user = open_session(spec)
            await user.prepare()
            if when == "connected":
                await wait_for_message(user)
            first, second = [await stream_of(user, spec, prompt) for prompt in ("one", "two")]
            assert [(record.outcome, record.text) for record in (first, second)] == [
                (Outcome.COMPLETED, "one"),
                (Outcome.COMPLETED, "two"),
            ]
            assert second.findings == []
            (finding,) = first.findings
            assert "await that event in `setup`" in finding.message
            found.append((finding.rule, finding.severity, finding.got))
            await user.close()
    assert found[0] == found[1]


@pytest.mark.parametrize("when", ["before the prompt", "behind the prompt"])
async def test_an_end_that_comes_twice_does_not_break_the_next_reply(when: str, stream_of: Any) -> None:
    once_more = asyncio.Event()

    async def chat(socket: ServerConnection) -> None:
        await answer(socket, await socket.recv())
        await once_more.wait()
        if when == "before the prompt":
            await say(socket, "end")
        raw = await socket.recv()
        if when == "behind the prompt":
            await say(socket, "end")
        await answer(socket, raw)
        await answer(socket, await socket.recv())

    async with serve(chat, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        spec = TargetSpec("t", parse_dialect(NO_SETUP, Path("x.yaml")), Endpoint(f"ws://127.0.0.1:{port}"))
        user = open_session(spec)
        await user.prepare()
        first = await stream_of(user, spec, "one")
        once_more.set()
        if when == "before the prompt":
            await wait_for_message(user)
        second, third = [await stream_of(user, spec, prompt) for prompt in ("two", "three")]
        await user.close()
    assert [(one.outcome, one.text) for one in (first, second, third)] == [
        (Outcome.COMPLETED, "one"),
        (Outcome.COMPLETED, "two"),
        (Outcome.COMPLETED, "three"),
    ]
    assert (first.findings, third.findings) == ([], [])
    (finding,) = second.findings
    assert finding.rule == "grammar.after-terminal"
    assert f"came after {first.id} had ended" in finding.message
