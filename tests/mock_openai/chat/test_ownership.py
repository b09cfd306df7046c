"""With two users, nothing of one is read or written by the other: every route and every event is walked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from mock_openai.chat.app import create_app
from mock_openai.chat.server import ChatSettings

Serve = Callable[..., Awaitable[Any]]

SECRET = "the-word-is-swordfish"
INTRUSION = "bob-was-here"

# For each route that names something of Alice's: what Bob sends, and what he must be told.
NAMED = {
    ("POST", "/api/chat/stream"): ({"message": INTRUSION, "conversationId": "{chat}"}, 404),
    ("GET", "/api/chat/conversations/{id}"): (None, 404),
    ("POST", "/api/projects/{project}/members"): ({"user": "bob"}, 404),
    ("GET", "/api/projects/{project}/conversations/{id}"): (None, 404),
    ("GET", "/chat/threads/{id}/messages"): (None, 404),
    ("POST", "/chat/threads/{id}/messages"): ({"content": INTRUSION}, 404),
    ("POST", "/chat/threads/{id}/messages/stream"): ({"content": INTRUSION}, 404),
    ("GET", "/chat/threads/{id}/documents"): (None, 404),
    ("POST", "/chat/threads/{id}/documents"): ({"content": INTRUSION}, 404),
    ("GET", "/openai/chatCompletion/stream/{session}"): (None, 404),
    ("POST", "/api/conversation-stream/{user_id}"): ({"message": INTRUSION}, 403),
    ("GET", "/api/conversation-stream/{user_id}"): (None, 403),
    ("POST", "/api/conversation/{user_id}"): ({"message": INTRUSION}, 403),
}
# Routes that name nothing: each user has what is theirs only. Sockets are walked below.
UNNAMED = {
    ("POST", "/api/chat/conversations"),
    ("POST", "/chat/threads"),
    ("GET", "/chat/preferences"),
    ("PUT", "/chat/preferences"),
    ("POST", "/openai/chatCompletion"),
    ("POST", "/openai/chatCompletion/stream/start"),
    ("POST", "/livekit/token"),
    ("GET", "/ws/chat"),
    ("GET", "/socket.io/"),
    ("POST", "/socket.io/"),
    ("OPTIONS", "/socket.io/"),
}
PUBLIC = {("GET", "/health"), ("GET", "/"), ("GET", "/page/{name}")}


def routes() -> set[tuple[str, str]]:
    """Method and path of every route that the server has."""
    app = create_app(ChatSettings(upstream="http://127.0.0.1:9"))
    return {
        (route.method, route.resource.canonical)
        for route in app.router.routes()
        if route.method != "HEAD" and route.resource is not None
    }


def test_every_route_is_walked_here() -> None:
    assert routes() - PUBLIC == NAMED.keys() | UNNAMED


async def alices(servers: Any) -> dict[str, str]:
    """Something of Alice's in every system: the names that appear in paths and bodies."""
    out = {"project": "hers", "user_id": "alice", "session": "hers"}
    for system in ("chat-stream", "thread-events", "conversation-stream"):
        user = await servers.user(system)
        await user.ask(SECRET)
        out[system] = user.stored.removesuffix("/messages").rpartition("/")[2]
    out["chat"] = out["chat-stream"]
    socket = await servers.user("assistant-ws", project="hers")
    await socket.ask(SECRET)
    out["assistant-ws"] = socket.conversation
    await socket.close()
    room = await servers.user("room-chat")
    await room.ask(SECRET)
    out["room-chat"] = room.stored.rpartition("/")[2]
    await room.close()
    body = {"sessionId": "hers", "messages": [{"role": "user", "content": SECRET}]}
    status, _ = await servers.call("POST", "/openai/chatCompletion/stream/start", body)
    assert status == 201
    await servers.call("PUT", "/chat/preferences", {"name": SECRET})
    await servers.call("POST", f"/chat/threads/{out['thread-events']}/documents", {"content": SECRET})
    return out


def rows_of(servers: Any) -> dict[str, list[Any]]:
    """Everything in the store."""
    tables = [row[0] for row in servers.server.store.run("SELECT name FROM sqlite_master WHERE type = 'table'", ())]
    return {table: servers.server.store.run(f"SELECT * FROM {table}", ()) for table in tables}


async def test_no_route_reads_or_writes_what_is_somebody_elses(serve: Serve) -> None:
    servers = await serve()
    hers = await alices(servers)
    before = rows_of(servers)
    for (method, path), (body, status) in NAMED.items():
        # Every conversation is tried on every route: an id of another system must not open anything either.
        for system in ("chat-stream", "thread-events", "conversation-stream", "assistant-ws", "room-chat"):
            names = {**hers, "id": hers[system], "chat": hers[system]}
            sent = json.loads(json.dumps(body).replace("{chat}", names["chat"])) if body is not None else None
            answered, data = await servers.call(method, path.format(**names), sent, token="bob-token")
            assert answered == status, (method, path, system)
            assert set(data) == {"error"}
            assert SECRET not in str(data)
    mine = "/api/conversation-stream/bob", "/api/conversation/bob"
    for path in mine:
        for system in ("chat-stream", "conversation-stream"):
            body = {"message": INTRUSION, "session_id": hers[system]}
            assert (await servers.call("POST", path, body, token="bob-token"))[0] == 404
    assert (await servers.call("GET", "/chat/preferences", token="bob-token"))[1] == {"preferences": {}}
    assert rows_of(servers) == before
    assert INTRUSION not in str(before)
    # The session is still hers to read.
    headers = {"authorization": "Bearer alice-token"}
    async with servers.http.get(servers.url + "/openai/chatCompletion/stream/hers", headers=headers) as response:
        assert response.status == 200


@pytest.mark.parametrize("token", [None, "wrong", ""])
async def test_strangers_get_nothing_from_any_route(serve: Serve, token: str | None) -> None:
    servers = await serve()
    before = rows_of(servers)
    for method, path in sorted(NAMED.keys() | UNNAMED):
        if path == "/socket.io/":
            continue  # refused when the CONNECT packet comes: see below
        names = {"id": "x", "project": "x", "user_id": "alice", "session": "x"}
        headers = {"authorization": f"Bearer {token}"} if token is not None else {}
        async with servers.http.request(method, servers.url + path.format(**names), headers=headers) as response:
            assert response.status == 401, (method, path)
    assert rows_of(servers) == before


async def test_no_message_on_the_websocket_reaches_another_project(serve: Serve) -> None:
    servers = await serve()
    hers = await alices(servers)
    url = servers.url.replace("http", "ws", 1) + "/ws/chat?token=bob-token"
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"{url}&project=hers")
    assert refused.value.response.status_code == 404
    alice = await servers.user("assistant-ws", project="hers")
    before = rows_of(servers)
    async with connect(f"{url}&project=his") as socket:
        await socket.recv()
        for system in ("chat-stream", "thread-events", "assistant-ws"):
            for kind in ("user_message", "chat_interrupted"):
                data = {"conversation_id": hers[system], "content": INTRUSION}
                await socket.send(json.dumps({"type": kind, "data": data}))
                answer = json.loads(await socket.recv())
                assert (answer["type"], answer["data"]["code"]) == ("error", "not_found")
        after = rows_of(servers)
        assert {**after, "projects": before["projects"]} == before, "nothing but the project of his own"
        # What is said in one project is not heard in the other.
        answer = await alice.ask(SECRET)
        assert answer.ending == "complete"
        await socket.send('{"type":"ping"}')
        assert json.loads(await socket.recv())["type"] == "pong"
    await alice.close()


async def test_no_event_of_socket_io_reaches_who_is_not_in_the_room(serve: Serve) -> None:
    servers = await serve()
    alice, bob = await servers.user("room-chat"), await servers.user("room-chat", "bob-token")
    await alice.client.call("join-room", {"roomName": "hers"})
    while (await alice.receive())["event"] != "room-joined":
        pass
    for event in ("get-room-info", "leave-room"):
        answer = await bob.client.call(event, {"roomName": "hers"})
        assert set(answer) == {"error", "timestamp"}
        assert (await bob.receive())["event"] == "room-error"
    for name in (alice.client.get_sid(), "room:hers", "hers "):
        await bob.client.call("join-room", {"roomName": name})
        assert (await bob.receive())["event"] == "room-joined"
    answer, _ = await asyncio.gather(alice.ask(SECRET), bob.ask("mine"))
    assert answer.ending == "complete"
    assert {event["event"] for event in answer.events} <= {"stream-start", "stream-chunk", "stream-complete"}
    assert bob.inbox.empty()
    assert alice.inbox.empty()
    for user in (alice, bob):
        await user.close()
