"""chat-stream and what its routes share with all others: refusals, CORS, the page's origin, health."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

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


async def test_other_pages_may_use_the_server_only_where_allowed(serve: Serve) -> None:
    signed_in = {"authorization": "Bearer alice-token"}
    closed, opened = await serve(), await serve(cors_origin="https://app.example")
    for servers, origin, status in [
        (closed, closed.url, 200),
        (closed, "https://app.example", 403),
        (closed, "null", 403),
        (opened, "https://app.example", 200),
        (opened, "https://evil.example", 403),
    ]:
        headers = {**signed_in, "origin": origin}
        async with servers.http.get(servers.url + "/chat/preferences", headers=headers) as response:
            assert response.status == status, origin
            allowed = response.headers.get("access-control-allow-origin")
            assert allowed == ("https://app.example" if origin == "https://app.example" and status == 200 else None)
    preflight = {"origin": "https://app.example", "access-control-request-method": "POST"}
    async with opened.http.options(opened.url + "/api/chat/stream", headers=preflight) as response:
        assert response.status == 204
        assert "authorization" in response.headers["access-control-allow-headers"]
    async with closed.http.options(closed.url + "/api/chat/stream", headers=preflight) as response:
        assert response.status == 403


async def test_health_counts(serve: Serve) -> None:
    servers = await serve()
    user = await servers.user("assistant-ws")
    await user.ask("hello")
    _, health = await servers.call("GET", "/health", token=None)
    assert (health["status"], health["streams"], health["connections"]) == ("ok", 0, 1)
    assert health["counters"] == {"replies_complete": 1}
    await user.close()
