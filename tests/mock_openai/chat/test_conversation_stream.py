"""conversation-stream: what is told before the reply, sessions, and the fallback from provider to provider."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import pytest

from mock_openai.chat.limits import Caps
from mock_openai.chat.provider import Delta, Prompt

Serve = Callable[..., Awaitable[Any]]

REFUSED = {"faults": [{"fault": "status", "status": 503, "should_retry": "false"}]}
SLOW = {"name": "fixed", "ttft_ms": 0, "gap_ms": 20}
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


@pytest.mark.parametrize("mode", ["real", "rapid", "sentence"])
async def test_the_next_provider_answers_when_one_stays_silent(serve: Serve, mode: str) -> None:
    servers = await serve()
    user = await servers.user("conversation-stream")
    await user.ask(f"warm up {await servers.plan('warm', attempts=[REFUSED])}")  # loads Gemini's SDK
    servers.cap(Caps(first_text_s=0.3))
    silent = {"profile": {"name": "fixed", "ttft_ms": 60_000}}
    mark = await servers.plan("silent", attempts=[silent])
    answer = await user.ask(f"go {mark}", mode)
    first, second = await servers.ended("silent", 2)
    assert (first["ended"], GEMINI in second["route"]) == ("cancelled", True)
    assert (answer.ending, answer.text) == ("complete", second["text"])
    # Once there is text a silence ends the reply: the next provider would say it all again.
    servers.cap(Caps(first_text_s=0.3, idle_s=0.5))
    mark = await servers.plan("stalls", faults=[{"fault": "stall-forever", "at": {"chunk": 3}}])
    answer = await user.ask(f"go {mark}", "real")
    assert (answer.ending, len(await servers.ended("stalls"))) == ("error", 1)


async def test_too_many_requests_are_told_in_the_streams_own_words(serve: Serve) -> None:
    servers = await serve(rate_limit_per_s=1 / 3600)
    headers = {"authorization": "Bearer alice-token"}
    url = servers.url + "/api/conversation-stream/alice"
    async with servers.http.post(url, json={"message": "hello"}, headers=headers) as response:
        assert response.status == 200
        await response.read()
    async with servers.http.post(url, json={"message": "hello"}, headers=headers) as response:
        assert (response.status, response.content_type) == (429, "text/event-stream")
        event = json.loads((await response.text()).partition("data: ")[2])
        assert (event["type"], event["retry_after"]) == ("error", int(response.headers["retry-after"]))
    status, refused = await servers.call("POST", "/api/conversation/alice", {"message": "hello"})
    assert (status, set(refused)) == (429, {"error"})


async def test_health_has_the_figures_to_watch(serve: Serve) -> None:
    servers = await serve(tokens=7)
    user = await servers.user("conversation-stream")
    await user.ask("hello")
    await user.ask(f"go {await servers.plan('cut', faults=[{'fault': 'cut-fin', 'at': {'chunk': 3}}])}")
    _, health = await servers.call("GET", "/health", token=None)
    (figures,) = health["systems"].values()
    assert list(health["systems"]) == ["conversation-stream"]
    assert figures["ended"] == {"complete": 1, "failed": 1}
    assert figures["error_rate"] == 0.5
    assert figures["chunks"] == {"p50": 3, "p95": 7}
    assert 0 < figures["first_chunk_ms"]["p50"] <= figures["duration_ms"]["p95"]


async def resumed(servers: Any, user: Any, last: str) -> tuple[int, list[tuple[str, dict[str, Any]]]]:
    """Status and events of coming back after the event of this id."""
    headers = {"authorization": f"Bearer {user.token}", "last-event-id": last}
    async with servers.http.get(servers.url + user.path, headers=headers) as response:
        blocks = (await response.text()).split("\n\n")[:-1]
    events = [block.split("\n", 1) for block in blocks]
    return response.status, [(line.removeprefix("id: "), json.loads(data[6:])) for line, data in events]


async def begin_and_lose(servers: Any, user: Any, mark: str) -> tuple[str, str]:
    """Read a few pieces of a reply, then lose the connection; returns the last event's id and the text."""
    headers = {"authorization": f"Bearer {user.token}"}
    last, text = "", ""
    async with servers.http.post(servers.url + user.path, json={"message": mark}, headers=headers) as response:
        async for line in response.content:
            if line.startswith(b"id: "):
                last = line[4:].strip().decode()
            if line.startswith(b"data: "):
                text += json.loads(line[6:]).get("content", "")
            if len(text.split()) == 3 and line == b"\n":
                response.connection.transport.abort()
                return last, text
    raise AssertionError("the reply was over before its third word")


async def test_who_comes_back_goes_on_where_they_were(serve: Serve) -> None:
    servers = await serve(resume_s=20.0)
    alice, bob = [await servers.user("conversation-stream", token) for token in ("alice-token", "bob-token")]
    last, text = await begin_and_lose(servers, alice, await servers.plan("resumed", profile=SLOW, tokens=20))
    assert (await resumed(servers, bob, last))[0] == 404
    status, events = await resumed(servers, alice, last)
    (entry,) = await servers.ended("resumed")
    assert (status, entry["ended"]) == (200, "complete")
    assert text + "".join(event.get("content", "") for _, event in events) == entry["text"]
    numbers = [int(event_id.rpartition(".")[2]) for event_id, _ in events]
    assert numbers == list(range(int(last.rpartition(".")[2]) + 1, numbers[-1] + 1))
    assert events[-1][1]["type"] == "complete"
    # Everything has come: a browser that connects again is told to stop.
    assert await resumed(servers, alice, events[-1][0]) == (204, [])
    for wrong in ("nothing", f"{last}x", "none.1"):
        assert (await resumed(servers, alice, wrong))[0] == 404


async def test_without_patience_a_lost_connection_stops_the_model_and_is_explained(serve: Serve) -> None:
    servers = await serve()
    user = await servers.user("conversation-stream")
    last, text = await begin_and_lose(servers, user, await servers.plan("lost", profile=SLOW, tokens=2000))
    (entry,) = await servers.ended("lost")
    assert entry["ended"] == "cancelled"
    status, events = await resumed(servers, user, last)
    assert (status, events[-1][1]["type"]) == (200, "error")
    assert entry["text"].startswith(text + "".join(event.get("content", "") for _, event in events))
    await servers.idle()


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
