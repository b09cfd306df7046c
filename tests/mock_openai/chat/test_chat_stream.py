"""chat-stream and what its routes share with all others: refusals, CORS, the page's origin, health."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mock_openai.chat.debug import streaming, turn_on

Serve = Callable[..., Awaitable[Any]]


async def test_the_events_of_a_reply(serve: Serve) -> None:
    servers = await serve()
    user = await servers.user("chat-stream")
    answer = await user.ask("hello")
    assert all(set(event) == {"event", "content"} for event in answer.events[:-1])
    assert answer.events[-1] == {"event": None, "done": True}
    mark = await servers.plan("cut", faults=[{"fault": "cut-fin", "at": {"chunk": 3}}])
    answer = await user.ask(f"go {mark}")
    assert set(answer.events[-1]) == {"event", "error"}


async def test_the_model_of_the_request_is_asked(serve: Serve) -> None:
    servers = await serve()
    mark = await servers.plan("model")
    body = {"message": f"hi {mark}", "model": "gpt-4.1"}
    headers = {"authorization": "Bearer alice-token"}
    async with servers.http.post(servers.url + "/api/chat/stream", json=body, headers=headers) as response:
        assert response.status == 200
        assert response.headers["cache-control"].startswith("no-cache")
        await response.read()
    (entry,) = await servers.ended("model")
    assert entry["model"] == "gpt-4.1"


async def test_bad_requests(serve: Serve) -> None:
    servers = await serve()
    for body, status in [
        (b"{", 400),
        (b"[]", 400),
        (b"\xff\xfe", 400),
        (b"[" * 60_000, 400),
        (b"{}", 400),
        (b'{"message": 5}', 400),
        (b'{"message": "   "}', 400),
        (b'{"message": "\\ud800"}', 400),
        (b'{"message": "x", "model": 5}', 400),
        (b'{"message": "x", "conversationId": {}}', 400),
        (b'{"message": "x", "conversationId": "none"}', 404),
        (json.dumps({"message": "x" * 4001}).encode(), 400),
        (json.dumps({"message": "x" * 70_000}).encode(), 413),
    ]:
        headers = {"authorization": "Bearer alice-token"}
        async with servers.http.post(servers.url + "/api/chat/stream", data=body, headers=headers) as response:
            assert response.status == status, body[:40]
            assert (await response.json())["error"]
    assert (await servers.call("POST", "/api/chat/stream?streaming=warp", {"message": "x"}))[0] == 400
    assert (await servers.call("POST", "/api/chat/stream", {"message": "x" * 4000}, token="wrong"))[0] == 401
    assert (await servers.call("GET", "/api/chat/stream"))[0] == 405
    assert (await servers.call("GET", "/nowhere"))[0] == 404


async def test_who_may_sign_in(serve: Serve) -> None:
    servers = await serve(users={"carol": "c:1"})
    for headers, status in [
        ({"authorization": "Bearer alice-token"}, 200),
        ({"authorization": "bearer c:1"}, 200),
        ({"cookie": "session_token=bob-token"}, 200),
        ({"authorization": "alice-token"}, 401),
        ({"authorization": "Basic alice-token"}, 401),
        ({"authorization": "Bearer "}, 401),
        ({"authorization": "Bearer \u00e9"}, 401),
        ({"authorization": "", "cookie": "session_token=bob-token"}, 401),
        ({}, 401),
    ]:
        async with servers.http.get(servers.url + "/chat/preferences", headers=headers) as response:
            assert response.status == status, headers
    # In a URL a token ends up in logs: only sockets, which cannot do better, may bring it there.
    assert (await servers.call("GET", "/chat/preferences?token=alice-token", token=None))[0] == 401


APP, STAGING = "https://app.example", "https://staging.example"


async def test_other_pages_may_use_the_server_only_where_allowed(serve: Serve) -> None:
    signed_in = {"authorization": "Bearer alice-token"}
    closed, opened = await serve(), await serve(cors_origins=(APP, STAGING))
    for servers, origin, status in [
        (closed, closed.url, 200),
        (closed, APP, 403),
        (closed, "null", 403),
        (opened, APP, 200),
        (opened, STAGING, 200),
        (opened, "https://evil.example", 403),
    ]:
        headers = {**signed_in, "origin": origin}
        async with servers.http.get(servers.url + "/chat/preferences", headers=headers) as response:
            assert response.status == status, origin
            allowed = response.headers.get("access-control-allow-origin")
            assert allowed == (origin if origin in (APP, STAGING) and status == 200 else None)
    preflight = {"origin": APP, "access-control-request-method": "POST"}
    async with opened.http.options(opened.url + "/api/chat/stream", headers=preflight) as response:
        assert response.status == 204
        assert "authorization" in response.headers["access-control-allow-headers"]
    async with closed.http.options(closed.url + "/api/chat/stream", headers=preflight) as response:
        assert response.status == 403


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:4000", 200), ("[::1]:4000", 200), ("127.0.0.1", 200), ("rebound.example:4000", 421), ("", 421)],
)
async def test_requests_for_another_name_are_refused(serve: Serve, host: str, status: int) -> None:
    servers = await serve()
    headers = {"authorization": "Bearer alice-token", "host": host}
    async with servers.http.get(servers.url + "/chat/preferences", headers=headers) as response:
        assert response.status == status


async def test_open_as_in_development_takes_everybody(serve: Serve) -> None:
    servers = await serve(open=True)
    for path, body in (
        ("/api/chat/stream", {"message": "Hello, test streaming", "model": "gpt-5-mini"}),
        ("/api/conversation-stream/test", {"message": "hello"}),
    ):
        async with servers.http.post(servers.url + path, json=body, headers={"origin": "https://any.example"}) as got:
            assert got.status == 200, path
            assert got.headers["access-control-allow-origin"] == "https://any.example"
            assert "error" not in await got.text()
    assert (await servers.call("GET", "/chat/preferences", token="wrong"))[0] == 401, "who signs in has to be right"
    # Projects own conversations as well: nobody may call himself one.
    status, _ = await servers.call("POST", "/api/conversation/project:demo", {"message": "hello"}, token=None)
    assert status == 403


async def test_an_exchange_without_a_conversation_is_saved_in_a_new_one(serve: Serve) -> None:
    servers = await serve()
    headers = {"authorization": "Bearer alice-token"}
    async with servers.http.post(servers.url + "/api/chat/stream", json={"message": "hi"}, headers=headers) as response:
        await response.read()
        conversation = response.headers["x-conversation-id"]
    _, saved = await servers.call("GET", f"/api/chat/conversations/{conversation}")
    assert [item["role"] for item in saved["messages"]] == ["user", "assistant"]
    assert (await servers.call("GET", f"/api/chat/conversations/{conversation}", token="bob-token"))[0] == 404


async def test_debugging_tells_what_happens_on_the_streams(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    servers = await serve(tokens=3)
    user = await servers.user("chat-stream")
    await user.ask("quiet")
    assert "stream" not in caplog.text
    turn_on("express:*, chat:*")
    try:
        await user.ask("loud")
    finally:
        streaming.setLevel(logging.NOTSET)
    for told in ("POST /api/chat/stream: the stream begins", '{"done": true}', "the stream ends"):
        assert told in caplog.text


async def test_health_counts(serve: Serve) -> None:
    servers = await serve()
    user = await servers.user("assistant-ws")
    await user.ask("hello")
    _, health = await servers.call("GET", "/health", token=None)
    assert (health["status"], health["streams"], health["connections"]) == ("ok", 0, 1)
    assert health["counters"] == {"replies_complete": 1}
    await user.close()
