"""room-chat: rooms, what the others see, REST, LiveKit, over both transports and with the official client."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import socketio
from websockets.asyncio.client import connect

from mock_openai.chat.livekit import LiveKit

Serve = Callable[..., Awaitable[Any]]

SLOW = {"name": "fixed", "ttft_ms": 0, "gap_ms": 20}
CLIENT = Path(__file__).with_name("room_chat_client.mjs")


def names(events: list[dict[str, Any]]) -> list[str]:
    """Event names in order, runs as one."""
    out: list[str] = []
    for event in events:
        if not out or out[-1] != event["event"]:
            out.append(event["event"])
    return out


async def until(user: Any, *wanted: str) -> list[dict[str, Any]]:
    """What comes up to the first of the wanted events, that one included."""
    events = [await user.receive()]
    while events[-1]["event"] not in wanted:
        events.append(await user.receive())
    return events


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_the_events_of_a_reply(serve: Serve, transport: str) -> None:
    servers = await serve()
    user = await servers.user("room-chat", transport=transport)
    answer = await user.ask("hello")
    assert names(answer.events) == ["stream-start", "stream-chunk", "stream-complete"]
    chunks = [event for event in answer.events if event["event"] == "stream-chunk"]
    assert [chunk["isComplete"] for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1]["content"] == ""
    assert answer.events[-1]["fullResponse"] == answer.text
    assert answer.events[-1]["message"]
    stamps = [event["timestamp"] for event in answer.events]
    assert stamps == sorted(stamps)
    await user.close()


async def test_a_polling_client_that_leaves_stops_the_model(serve: Serve) -> None:
    servers = await serve()
    user = await servers.user("room-chat", transport="polling")
    await user.ask_and_leave(f"go {await servers.plan('left', profile=SLOW, tokens=2000)}")
    (entry,) = await servers.ended("left")
    assert entry["ended"] == "cancelled"
    await servers.idle()


async def test_the_others_in_the_room_see_the_reply_and_the_error(serve: Serve) -> None:
    servers = await serve()
    alice, bob, carol = [await servers.user("room-chat", token) for token in ("alice-token", "bob-token", "bob-token")]
    joined = await alice.client.call("join-room", {"roomName": "den", "participantName": "Al"})
    assert [item["participantName"] for item in joined["participants"]] == ["Al"]
    assert (await alice.receive())["event"] == "room-joined"
    await bob.client.emit("join-room", {"roomName": "den"})
    arrived = await alice.receive()
    assert (arrived["event"], arrived["participantName"]) == ("participant-joined", "bob")
    assert (await bob.receive())["event"] == "room-joined"
    await carol.client.emit("join-room", {"roomName": "attic"})
    assert (await carol.receive())["event"] == "room-joined"

    answer = await alice.ask("hello all")
    seen = await until(bob, "stream-complete")
    assert {event.pop("participantName") for event in seen} == {"Al"}
    assert seen[0].pop("question") == "hello all"
    for event in (answer.events[0], answer.events[-1]):  # which only the one who asked is told
        event.pop("conversationId")
    assert seen == answer.events
    mark = await servers.plan("cut", faults=[{"fault": "cut-fin", "at": {"chunk": 3}}])
    assert (await alice.ask(f"fail {mark}")).ending == "error"
    assert (await until(bob, "stream-error"))[-1]["participantName"] == "Al"

    info = await bob.client.call("get-room-info", {"roomName": "den"})
    assert info["count"] == 2
    assert (await bob.receive())["event"] == "room-info"
    left = await bob.client.call("leave-room", {"roomName": "den"})
    assert left["roomName"] == "den"
    assert (await bob.receive())["event"] == "room-left"
    assert (await alice.receive())["event"] == "participant-left"
    await alice.ask("anybody there?")
    for user in (bob, carol):
        assert user.inbox.empty(), "who is not in the room sees nothing"
    for user in (alice, bob, carol):
        await user.close()


async def test_a_leading_system_prompt_is_kept_however_long_the_history(serve: Serve) -> None:
    servers = await serve()
    user = await servers.user("room-chat")
    system = {"role": "system", "content": "Answer in rhymes."}
    history = [{"role": ("user", "assistant")[number % 2], "content": f"m{number}"} for number in range(20)]
    mark = await servers.plan("rhymes")
    await user.client.emit("stream-chat", {"messages": [system, *history, {"role": "user", "content": mark}]})
    await until(user, "stream-complete")
    (entry,) = await servers.ended("rhymes")
    assert entry["request"]["messages"] == [system, *history[-10:], {"role": "user", "content": mark}]
    await user.close()


async def test_a_disconnect_stops_the_reply_and_tells_the_others(serve: Serve) -> None:
    servers = await serve()
    alice, bob = [await servers.user("room-chat", token) for token in ("alice-token", "bob-token")]
    for user in (alice, bob):
        await user.client.call("join-room", {"roomName": "den"})
        await until(user, "room-joined")
    await until(alice, "participant-joined")
    text = await alice.ask_and_leave(f"go {await servers.plan('left', profile=SLOW, tokens=2000)}")
    events = await until(bob, "participant-left")
    assert names(events) == ["stream-start", "stream-chunk", "stream-error", "participant-left"]
    (entry,) = await servers.ended("left")
    assert entry["ended"] == "cancelled"
    assert entry["text"].startswith(text)
    info = await bob.client.call("get-room-info", {"roomName": "den"})
    assert [item["participantName"] for item in info["participants"]] == ["bob"]
    await bob.close()


async def test_joining_another_room_leaves_the_first(serve: Serve) -> None:
    servers = await serve()
    alice, bob = [await servers.user("room-chat", token) for token in ("alice-token", "bob-token")]
    for user in (alice, bob):
        await user.client.call("join-room", {"roomName": "den"})
        await until(user, "room-joined")
    await bob.client.call("join-room", {"roomName": "attic"})
    assert (await until(alice, "participant-left"))[-1]["participantName"] == "bob"
    await alice.ask("hello")
    assert (await until(bob, "room-joined"))[-1]["roomName"] == "attic"
    assert bob.inbox.empty()
    for user in (alice, bob):
        await user.close()


async def test_replies_of_one_client_come_one_after_the_other(serve: Serve) -> None:
    servers = await serve()
    user = await servers.user("room-chat")
    for number in range(10):
        mark = await servers.plan(f"turn-{number}", profile=SLOW, tokens=4)
        await user.client.emit("stream-chat", {"messages": [{"role": "user", "content": f"go {mark}"}]})
    refused, replies = 0, []
    while len(replies) < 8 or refused < 2:
        event = await user.receive()
        if event["event"] == "stream-error":
            refused += 1
        elif event["event"] == "stream-complete":
            replies.append(event["fullResponse"])
    assert replies == [(await servers.ended(f"turn-{number}"))[0]["text"] for number in range(8)]
    await user.close()


BAD_REQUESTS: list[Any] = [
    None,
    [],
    {},
    {"messages": []},
    {"messages": "hi"},
    {"messages": [{"role": "user", "content": ""}]},
    {"messages": [{"role": "user", "content": "x" * 4001}]},
    {"messages": [{"role": "boss", "content": "x"}]},
    {"messages": [{"role": "user", "content": 5}]},
    {"messages": [{"role": "assistant", "content": "x"}]},
    {"messages": [{"role": "user", "content": "x"}], "streaming": "warp"},
    {"messages": [{"role": "user", "content": "\ud800"}]},
]


async def test_a_bad_request_is_answered_and_the_socket_stays(serve: Serve) -> None:
    servers = await serve()
    user = await servers.user("room-chat")
    for data in BAD_REQUESTS:
        await user.client.emit("stream-chat", data)
        event = await user.receive()
        assert event["event"] == "stream-error", data
        assert event["error"]
    for name in ("join-room", "leave-room", "get-room-info"):
        for data in (None, {"roomName": 5}, {"roomName": "x" * 201}, {"roomName": "\ud800"}):
            assert "error" in await user.client.call(name, data)
            assert (await user.receive())["event"] == "room-error"
    await user.client.emit("dance", {"wildly": True})
    assert (await user.ask("still there?")).ending == "complete"
    await user.close()


async def test_a_name_in_a_room_cannot_be_taken_by_somebody_else(serve: Serve) -> None:
    servers = await serve()
    alice, bob = [await servers.user("room-chat", token) for token in ("alice-token", "bob-token")]
    await alice.client.call("join-room", {"roomName": "den", "participantName": "Al"})
    assert "error" in await bob.client.call("join-room", {"roomName": "den", "participantName": "Al"})
    # A client is a room to the library; its name must not open it.
    await bob.client.call("join-room", {"roomName": alice.client.get_sid()})
    await until(bob, "room-joined")
    await alice.ask("private")
    assert bob.inbox.empty()
    for user in (alice, bob):
        await user.close()


async def test_strangers_are_refused(serve: Serve) -> None:
    servers = await serve()
    for url, auth in [
        ("", None),
        ("?token=wrong", None),
        ("", {"token": "wrong"}),
        ("", {"token": 5}),
        ("", "alice-token"),
    ]:
        client = socketio.AsyncClient(reconnection=False)
        with pytest.raises(socketio.exceptions.ConnectionError):
            await client.connect(servers.url + url, auth=auth)
    client = socketio.AsyncClient(reconnection=False)
    await client.connect(servers.url + "?token=alice-token&streaming=rapid")
    await client.disconnect()
    async with servers.http.get(
        servers.url + "/socket.io/?EIO=4&transport=polling", headers={"origin": "http://evil.example"}
    ) as response:
        assert response.status == 403


async def test_nonsense_on_the_wire_harms_nobody_else(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    servers = await serve()
    user = await servers.user("room-chat")
    url = servers.url.replace("http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket&token=alice-token"
    nonsense = (
        "9",
        "4",
        "49",
        "42",
        "42[",
        "42[5]",
        "451-[]",
        "b!!!",
        "4" + "[" * 50_000,
        "\x1e\x1e",
        "x" * 70_000,
        "",
    )
    for message in (*nonsense, b"", b"\x00\xff"):
        async with connect(url) as socket:
            assert (await socket.recv())[:1] == "0"
            await socket.send("40")
            assert (await socket.recv())[:3] == "40{"
            await socket.send(message)
    assert (await user.ask("still there?")).ending == "complete"
    assert "Traceback" not in caplog.text
    await user.close()
    await servers.idle()


async def test_the_reply_in_one_piece(serve: Serve) -> None:
    servers = await serve()
    mark = await servers.plan("whole")
    messages = [{"role": "user", "content": str(number)} for number in range(20)]
    messages.append({"role": "user", "content": f"hi {mark}"})
    status, data = await servers.call("POST", "/openai/chatCompletion", {"messages": messages})
    (entry,) = await servers.ended("whole")
    assert (status, data) == (200, {"role": "assistant", "content": entry["text"]})
    assert entry["request"]["messages"] == messages[-11:]


async def test_a_session_is_read_once_and_by_its_owner(serve: Serve) -> None:
    servers = await serve()
    body = {"sessionId": "mine", "messages": [{"role": "user", "content": "hi"}]}
    status, started = await servers.call("POST", "/openai/chatCompletion/stream/start", body)
    assert (status, started["sessionId"]) == (201, "mine")
    assert (await servers.call("GET", started["streamUrl"], token="bob-token"))[0] == 404
    headers = {"authorization": "Bearer alice-token"}
    async with servers.http.get(servers.url + started["streamUrl"], headers=headers) as response:
        text = await response.text()
    assert [line for line in text.splitlines() if line.startswith("event:")][-2:] == ["event: chunk", "event: complete"]
    assert (await servers.call("GET", started["streamUrl"]))[0] == 404
    assert (await servers.call("POST", "/openai/chatCompletion/stream/start", {**body, "sessionId": "a/b"}))[0] == 400


async def test_livekit_tokens(serve: Serve) -> None:
    servers = await serve()
    status, data = await servers.call("POST", "/livekit/token", {"roomName": "den"})
    assert status == 503
    assert "LIVEKIT_API_KEY" in data["error"]
    servers = await serve(livekit=LiveKit("key", "secret", "wss://live.example"))
    body = {"roomName": "den", "participantName": "Al"}
    status, data = await servers.call("POST", "/livekit/token", body)
    assert (status, data["url"]) == (200, "wss://live.example")
    signed, _, signature = data["token"].rpartition(".")
    expected = hmac.new(b"secret", signed.encode(), hashlib.sha256).digest()
    assert base64.urlsafe_b64decode(signature + "==") == expected
    claims = json.loads(base64.urlsafe_b64decode(signed.partition(".")[2] + "=="))
    assert (claims["iss"], claims["sub"], claims["name"]) == ("key", "alice", "Al")
    assert claims["video"]["room"] == "den"
    assert claims["exp"] > claims["nbf"]
    assert (await servers.call("POST", "/livekit/token", {}))[0] == 400


@pytest.mark.node
@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]], ids="-".join)
async def test_the_official_client(serve: Serve, node: str, transports: list[str]) -> None:
    servers = await serve()
    mark = await servers.plan("node")
    process = await asyncio.create_subprocess_exec(
        node, str(CLIENT), servers.url, mark, *transports, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(30):
        output, _ = await process.communicate()
    assert process.returncode == 0
    got = json.loads(output)
    text = (await servers.ended("node"))[0]["text"]
    assert got["joined"]["participantName"] == "Alice"
    assert names(got["alice"]) == [
        "connected", "room-joined", "participant-joined", "stream-start", "stream-chunk", "stream-complete",
    ]  # fmt: skip
    assert names(got["bob"]) == [
        "connected", "room-joined", "stream-start", "stream-chunk", "stream-complete", "participant-left",
    ]  # fmt: skip
    for who in ("alice", "bob"):
        chunks = [event["content"] for event in got[who] if event["event"] == "stream-chunk"]
        assert "".join(chunks) == text
    assert got["transport"] == transports[-1]
    assert got["reason"] == "Sign in first."


@pytest.mark.parametrize("event", ["join-room", "leave-room", "get-room-info", "stream-chat"])
async def test_bytes_where_json_is_due_are_refused_like_any_other_nonsense(
    serve: Serve, event: str, caplog: pytest.LogCaptureFixture
) -> None:
    servers = await serve()
    user = await servers.user("room-chat")
    for data in (b"raw", {"roomName": b"den"}, {"messages": [{"role": "user", "content": b"hi"}]}):
        await user.client.emit(event, data)
        answer = await user.receive()
        assert answer["event"] in ("room-error", "stream-error", "room-left"), answer
    assert (await user.ask("and now?")).ending == "complete"
    assert "Traceback" not in caplog.text
    await user.close()
