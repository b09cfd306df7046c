"""Services that greet: the greeting belongs to no reply, whenever it ends, and nobody has to greet."""

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
