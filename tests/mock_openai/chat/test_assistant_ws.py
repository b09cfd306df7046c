"""assistant-ws: the envelope, sharing within a project, interruption, tools, and refusals."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from mock_openai.chat.app import SERVER, create_app
from mock_openai.chat.server import ChatSettings

Serve = Callable[..., Awaitable[Any]]

SLOW = {"name": "fixed", "ttft_ms": 0, "gap_ms": 20}


async def test_the_envelope_and_the_order_of_a_reply(serve: Serve) -> None:
    servers = await serve()
    user = await servers.user("assistant-ws")
    answer = await user.ask("hello")
    assert {tuple(event) for event in answer.events} == {("type", "data", "timestamp")}
    assert {event["type"] for event in answer.events} == {"assistant_response"}
    stamps = [event["timestamp"] for event in answer.events]
    assert stamps == sorted(stamps)
    assert [event["data"]["done"] for event in answer.events] == [False] * (len(stamps) - 1) + [True]
    assert {event["data"]["conversation_id"] for event in answer.events} == {user.conversation}
    (message_id,) = {event["data"]["message_id"] for event in answer.events}
    assert (await user.messages())[-1]["id"] == message_id
    await user.send("ping")
    assert (await user.receive())["type"] == "pong"
    await user.close()


async def test_rapid_marks_the_last_word(serve: Serve) -> None:
    servers = await serve(tokens=5)
    user = await servers.user("assistant-ws")
    answer = await user.ask("hello", "rapid")
    assert len(answer.events) == 5
    assert answer.events[-1]["data"]["content"].strip()
    await user.close()


@pytest.mark.parametrize("mode", ["real", "rapid"])
async def test_accumulated_content_grows_to_the_same_text(serve: Serve, mode: str) -> None:
    servers = await serve()
    user = await servers.user("assistant-ws", query="&content=accumulated")
    answer = await user.ask(f"hello {await servers.plan('grows')}", mode)
    texts = [event["data"]["content"] for event in answer.events]
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))
    assert texts[-1] == (await servers.ended("grows"))[0]["text"]
    await user.close()


async def test_members_of_a_project_see_the_same_reply(serve: Serve) -> None:
    servers = await serve()
    alice = await servers.user("assistant-ws", project="shared")
    added, _ = await servers.call("POST", "/api/projects/shared/members", {"user": "bob"})
    assert added == 201
    bob = await servers.user("assistant-ws", "bob-token", project="shared", query="&content=accumulated")
    answer = await alice.ask("who reads this?")
    seen = await bob.receive()
    assert (seen["type"], seen["data"]["user"], seen["data"]["content"]) == ("user_message", "alice", "who reads this?")
    texts = [(await bob.receive())["data"] for _ in answer.events]
    assert texts[-1]["done"] is True
    assert texts[-1]["content"] == answer.text
    # A member may read the conversation, go on with it, and see how it fails.
    bob.conversation = alice.conversation
    fault = {"fault": "status", "status": 500, "should_retry": "false"}
    failed = await bob.ask(f"and this? {await servers.plan('fails', faults=[fault])}")
    assert failed.ending == "error"
    assert (await alice.receive())["data"]["user"] == "bob"
    assert (await alice.receive())["type"] == "error"
    for user in (alice, bob):
        await user.close()


async def test_an_interrupted_reply_stops_the_model_and_is_kept(serve: Serve) -> None:
    servers = await serve()
    alice = await servers.user("assistant-ws", project="shared")
    watcher = await servers.user("assistant-ws", project="shared")
    mark = await servers.plan("long", profile=SLOW, tokens=2000)
    await alice.send("user_message", conversation_id=alice.conversation, content=f"go {mark}")
    text = (await alice.receive())["data"]["content"]
    await alice.send("user_message", conversation_id=alice.conversation, content="me too")
    while (event := await alice.receive())["type"] != "error":
        text += event["data"]["content"]
    assert event["data"]["code"] == "busy"
    await watcher.send("chat_interrupted", conversation_id=alice.conversation)
    while not (event := await alice.receive())["data"]["done"]:
        text += event["data"]["content"]
    assert event["data"]["interrupted"] is True
    (entry,) = await servers.ended("long")
    assert entry["ended"] == "cancelled"
    last = (await alice.messages())[-1]
    assert (last["content"], last["interrupted"]) == (text, True)
    assert (await alice.ask(f"again {await servers.plan('again')}")).ending == "complete"
    await alice.send("chat_interrupted", conversation_id=alice.conversation)  # nothing is coming: nothing happens
    await alice.send("ping")
    assert (await alice.receive())["type"] == "pong"
    await alice.close()
    watcher.hang_up()  # it has much left to read


async def test_those_who_watch_learn_that_the_one_who_asked_has_gone(serve: Serve) -> None:
    servers = await serve()
    alice = await servers.user("assistant-ws", project="shared")
    watcher = await servers.user("assistant-ws", project="shared")
    mark = await servers.plan("long", profile=SLOW, tokens=2000)
    await alice.ask_and_leave(f"go {mark}")
    assert (await watcher.receive())["type"] == "user_message"
    while not (event := await watcher.receive())["data"]["done"]:
        pass
    assert event["data"]["interrupted"] is True
    await watcher.close()


async def test_tools_go_up_and_tool_calls_come_back(serve: Serve) -> None:
    servers = await serve()
    user = await servers.user("assistant-ws")
    mark = await servers.plan("tools", tool_calls=[{"name": "weather", "arguments": {"city": "Oslo"}}])
    tools = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
    await user.send("user_message", conversation_id=user.conversation, content=f"rain? {mark}", tools=tools)
    calls: list[dict[str, Any]] = []
    while not (event := await user.receive())["data"]["done"]:
        calls += event["data"].get("tool_calls", [])
    assert calls[0]["function"]["name"] == "weather"
    assert json.loads("".join(call["function"].get("arguments") or "" for call in calls)) == {"city": "Oslo"}
    assert (await servers.ended("tools"))[0]["request"]["tools"] == tools
    await user.close()


BAD_MESSAGES: list[tuple[str | bytes, str]] = [
    ("{", "invalid_json"),
    ("[" * 50_000, "invalid_json"),
    ("[1]", "invalid_json"),
    ('{"type":"ping","data":[]}', "invalid_message"),
    ('{"type":"dance"}', "unknown_type"),
    ('{"type":["ping"]}', "unknown_type"),
    ("{}", "unknown_type"),
    (b"\x00\x01", "invalid_message"),
    ('{"type":"create_conversation","data":{"title":7}}', "invalid_message"),
    ('{"type":"user_message"}', "invalid_message"),
    ('{"type":"user_message","data":{"conversation_id":"x","content":" "}}', "invalid_message"),
    ('{"type":"user_message","data":{"conversation_id":["x"],"content":"hi"}}', "invalid_message"),
    (
        json.dumps({"type": "user_message", "data": {"conversation_id": "x", "content": "x" * 4001}}),
        "invalid_message",
    ),
    ('{"type":"user_message","data":{"conversation_id":"x","content":"\\ud800"}}', "invalid_json"),
    ('{"type":"user_message","data":{"conversation_id":"x","content":"hi"}}', "not_found"),
    ('{"type":"user_message","data":{"conversation_id":"x","content":"hi","streaming":"warp"}}', "invalid_message"),
    ('{"type":"user_message","data":{"conversation_id":"x","content":"hi","tools":[1]}}', "invalid_message"),
    ('{"type":"chat_interrupted","data":{}}', "invalid_message"),
    ('{"type":"chat_interrupted","data":{"conversation_id":"x"}}', "not_found"),
]


async def test_a_bad_message_is_answered_and_the_socket_stays(serve: Serve) -> None:
    servers = await serve()
    user = await servers.user("assistant-ws")
    for message, code in BAD_MESSAGES:
        await user.socket.send(message)
        event = await user.receive()
        assert (event["type"], event["data"]["code"]) == ("error", code), message
        assert event["data"]["message"]
        await user.send("ping")
        assert (await user.receive())["type"] == "pong"
    await user.close()


async def test_refusals_at_the_handshake(serve: Serve) -> None:
    servers = await serve()
    url = servers.url.replace("http", "ws", 1) + "/ws/chat"
    for query, headers, status in [
        ("?project=p", {}, 401),
        ("?project=p&token=wrong", {}, 401),
        ("?token=alice-token", {}, 400),
        ("?project=a%20b&token=alice-token", {}, 400),
        ("?project=p&token=alice-token&streaming=warp", {}, 400),
        ("?project=p&token=alice-token&content=backwards", {}, 400),
        ("?project=p&token=alice-token", {"Origin": "http://evil.example"}, 403),
    ]:
        with pytest.raises(InvalidStatus) as refused:
            await connect(url + query, additional_headers=headers)
        assert refused.value.response.status_code == status, query
    status, _ = await servers.call("GET", "/ws/chat?project=p")
    assert status == 426
    for headers in ({"Authorization": "Bearer alice-token"}, {"Cookie": "session_token=alice-token"}):
        async with connect(url + "?project=p", additional_headers=headers) as socket:
            assert json.loads(await socket.recv())["data"] == {"project_id": "p", "success": True}


async def test_a_message_that_is_too_large_ends_the_connection(serve: Serve) -> None:
    servers = await serve()
    user = await servers.user("assistant-ws")
    await user.socket.send("x" * 70_000)
    with pytest.raises(ConnectionClosed) as closed:
        await user.socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


async def test_the_rate_limit_holds_on_the_socket(serve: Serve) -> None:
    servers = await serve(rate_limit_per_s=1.0)
    user = await servers.user("assistant-ws")
    endings = [(await user.ask("hi")).ending for _ in range(2)]
    assert endings == ["complete", "error"]
    await user.close()


async def test_who_watches_but_does_not_read_holds_up_nobody(serve: Serve) -> None:
    servers = await serve()
    alice = await servers.user("assistant-ws", project="shared")
    sleeper = await servers.user("assistant-ws", project="shared", query="&content=accumulated")
    sleeper.socket.transport.pause_reading()
    mark = await servers.plan("flood", tokens=2000)
    answer = await alice.ask(f"go {mark}")
    assert answer.ending == "complete"
    assert answer.text == (await servers.ended("flood"))[0]["text"]
    sleeper.socket.transport.abort()
    await alice.close()


async def test_closing_the_server_says_goodbye(serve: Serve) -> None:
    servers = await serve()
    user = await servers.user("assistant-ws")
    closing = asyncio.create_task(servers.runners[0].cleanup())
    with pytest.raises(ConnectionClosed) as closed:
        await user.socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001
    await closing


async def test_an_upstream_that_cannot_be_used_is_reported_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    from aiohttp.test_utils import TestClient, TestServer

    app = create_app(ChatSettings(upstream="http://127.0.0.1:9"))
    with caplog.at_level(logging.ERROR):
        async with TestClient(TestServer(app)) as client:
            while (health := await (await client.get("/health")).json())["upstream"] == "not checked yet":
                await asyncio.sleep(0.01)
    assert health["upstream"] == "The model could not be reached."
    assert "http://127.0.0.1:9 cannot be used" in caplog.text
    assert app[SERVER].figures.streams == 0


@pytest.mark.parametrize("user", [[], {}, 5, None, "", ["bob"]])
async def test_who_is_let_in_must_be_named_by_a_text(serve: Serve, user: Any) -> None:
    servers = await serve()
    alice = await servers.user("assistant-ws", project="hers")
    status, data = await servers.call("POST", "/api/projects/hers/members", {"user": user})
    assert (status, set(data)) == (400, {"error"})
    await alice.close()
