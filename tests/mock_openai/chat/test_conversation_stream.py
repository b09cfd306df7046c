"""conversation-stream: what is told before the reply, sessions, and the fallback from provider to provider."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest

from mock_openai.chat.limits import Caps
from mock_openai.chat.provider import Delta, Prompt

Serve = Callable[..., Awaitable[Any]]

REFUSED = {"faults": [{"fault": "status", "status": 503, "should_retry": "false"}]}
OPENAI = "/v1/chat/completions"
GEMINI = "streamGenerateContent"


async def test_the_events_of_a_reply(serve: Serve) -> None:
    servers = await serve()
    user = await servers.user("conversation-stream")
    answer = await user.ask("Please find a restaurant in Tokyo")
    kinds = [event["type"] for event in answer.events]
    assert kinds == ["status", "context", *["chunk"] * (len(kinds) - 3), "complete"]
    assert answer.events[0]["status"] == "processing"
    assert (answer.events[1]["intent"], answer.events[1]["entities"]) == ("recommendation", ["Tokyo"])
    assert answer.events[-1]["session_id"] == user.session_id
    assert answer.events[-1]["suggestions"]
    # Nothing new: no context event, but the model still knows what it is about.
    answer = await user.ask(f"hm {await servers.plan('next')}")
    assert [event["type"] for event in answer.events][:2] == ["status", "chunk"]
    system = (await servers.ended("next"))[0]["request"]["messages"][0]
    assert "Tokyo" in system["content"]


async def test_a_first_message_starts_a_session(serve: Serve) -> None:
    servers = await serve()
    user = await servers.user("conversation-stream")
    user.session_id = None
    body = {"message": "hello"}
    status, first = await servers.call("POST", "/api/conversation/alice", body)
    assert status == 200
    assert set(first) == {"message", "suggestions", "session_id"}
    status, second = await servers.call("POST", "/api/conversation/alice", {**body, "session_id": first["session_id"]})
    assert (status, second["session_id"]) == (200, first["session_id"])
    status, third = await servers.call("POST", "/api/conversation/alice", body)
    assert third["session_id"] != first["session_id"]
    assert (await servers.call("POST", "/api/conversation/bob", body))[0] == 403
    assert (await servers.call("POST", "/api/conversation-stream/bob", body))[0] == 403
    assert (await servers.call("POST", "/api/conversation/alice", {**body, "session_id": "none"}))[0] == 404


@pytest.mark.parametrize("mode", ["real", "rapid"])
@pytest.mark.parametrize("failures", [1, 2, 3])
async def test_the_next_provider_answers_when_one_cannot_start(serve: Serve, mode: str, failures: int) -> None:
    servers = await serve()
    user = await servers.user("conversation-stream")
    mark = await servers.plan("fallback", attempts=[REFUSED] * failures)
    answer = await user.ask(f"go {mark}", mode)
    entries = await servers.ended("fallback")
    assert len(entries) == min(failures + 1, 3)
    asked = [("gemini" if GEMINI in entry["route"] else entry["route"], entry["stream"]) for entry in entries]
    assert asked == [(OPENAI, True), ("gemini", True), (OPENAI, False)][: len(asked)]
    if failures == 3:
        assert (answer.ending, answer.text) == ("error", "")
    else:
        assert (answer.ending, answer.text) == ("complete", entries[-1]["text"])


async def test_gemini_gets_the_same_conversation(serve: Serve) -> None:
    servers = await serve()
    user = await servers.user("conversation-stream")
    await user.ask("Tell me about Oslo")
    mark = await servers.plan("gemini", attempts=[REFUSED])
    await user.ask(f"and more? {mark}")
    openai, gemini = [entry["request"] for entry in await servers.ended("gemini")]
    system, *messages = openai["messages"]
    assert gemini["systemInstruction"]["parts"] == [{"text": system["content"]}]
    assert [(item["role"], item["parts"][0]["text"]) for item in gemini["contents"]] == [
        ("model" if item["role"] == "assistant" else "user", item["content"]) for item in messages
    ]
    config = gemini["generationConfig"]
    assert (config["temperature"], config["maxOutputTokens"]) == (0.7, 2000)


async def test_text_is_never_sent_twice(serve: Serve) -> None:
    servers = await serve()
    user = await servers.user("conversation-stream")
    cut = {"faults": [{"fault": "cut-fin", "at": {"chunk": 4}}]}
    answer = await user.ask(f"go {await servers.plan('real', attempts=[cut])}", "real")
    (entry,) = await servers.ended("real")
    assert answer.ending == "error"
    assert entry["text"].startswith(answer.text)
    assert answer.text
    # In `rapid` nothing was sent yet when the first provider failed, so the second may answer.
    answer = await user.ask(f"go {await servers.plan('rapid', attempts=[cut])}", "rapid")
    assert answer.ending == "complete"
    assert answer.text == (await servers.ended("rapid"))[1]["text"]


async def test_a_gemini_stream_is_cancelled_and_checked_like_the_other(serve: Serve) -> None:
    servers = await serve()
    user = await servers.user("conversation-stream")
    slow = {"profile": {"name": "fixed", "ttft_ms": 0, "gap_ms": 20}, "tokens": 2000}
    mark = await servers.plan("left", **slow, attempts=[REFUSED])
    await user.ask_and_leave(f"go {mark}")
    entries = await servers.ended("left", 2)
    assert GEMINI in entries[1]["route"]
    assert entries[1]["ended"] == "cancelled"
    cut = {"faults": [{"fault": "cut-end", "at": {"chunk": 4}}]}
    mark = await servers.plan("cut", attempts=[REFUSED, cut])
    assert (await user.ask(f"go {mark}")).ending == "error"
    await servers.idle()


async def test_the_reply_in_one_piece_falls_back_too(serve: Serve) -> None:
    servers = await serve()
    mark = await servers.plan("whole", attempts=[REFUSED])
    status, data = await servers.call("POST", "/api/conversation/alice", {"message": f"go {mark}"})
    entries = await servers.ended("whole")
    assert (status, data["message"]) == (200, entries[1]["text"])
    assert "generateContent" in entries[1]["route"]
    mark = await servers.plan("none", attempts=[REFUSED] * 2)
    status, data = await servers.call("POST", "/api/conversation/alice", {"message": f"go {mark}"})
    assert status == 502
    assert data["error"]


class Silent:
    """A provider that never answers. `asked` and `left` count its requests and those that were given up."""

    def __init__(self) -> None:
        self.asked = self.left = 0

    def stream(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        raise NotImplementedError

    async def complete(self, prompt: Prompt) -> str:
        self.asked += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.left += 1
        return ""

    async def close(self) -> None:
        """Nothing is open."""


async def test_a_reply_in_one_piece_is_not_awaited_for_ever(serve: Serve) -> None:
    servers = await serve(caps=Caps(duration_s=0.05))
    providers = servers.server.openai, servers.server.gemini = Silent(), Silent()
    status, data = await servers.call("POST", "/api/conversation/alice", {"message": "go"})
    assert (status, data["error"]) == (502, "The model took too long.")
    assert [(provider.asked, provider.left) for provider in providers] == [(1, 1), (1, 1)]


async def test_who_gives_up_on_a_reply_in_one_piece_cancels_it(serve: Serve) -> None:
    servers = await serve()
    mark = await servers.plan("never", faults=["silent-headers"])
    asking = asyncio.create_task(servers.call("POST", "/api/conversation/alice", {"message": f"go {mark}"}))
    while not await servers.entries("never"):
        await asyncio.sleep(0.01)
    asking.cancel()
    assert [entry["ended"] for entry in await servers.ended("never")] == ["cancelled"]
