"""The chat server and its upstream on real sockets of this process, and a client of each of the five systems."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import pytest
import socketio
from aiohttp import web
from websockets.asyncio.client import connect

from mock_openai.chat.app import SERVER, create_app
from mock_openai.chat.limits import Caps
from mock_openai.chat.server import ChatServer, ChatSettings
from mock_openai.upstream.app import UpstreamSettings, app_of_one

SLOW = {"name": "fixed", "ttft_ms": 0, "gap_ms": 20}  # with 2,000 tokens a stream that is going on for a long time
PATIENCE_S = 20


async def _listen(app: web.Application) -> tuple[web.AppRunner, str]:
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


@dataclass
class Servers:
    """What runs in a test. `runners` are ended after it, the chat server first."""

    url: str
    upstream: str
    server: ChatServer
    runners: list[web.AppRunner]
    http: aiohttp.ClientSession = field(default_factory=aiohttp.ClientSession)

    async def plan(self, plan_id: str, **plan: Any) -> str:
        """Order a reply; returns the mark that asks for it."""
        async with self.http.post(f"{self.upstream}/_mock/plans", json={"id": plan_id, **plan}) as response:
            assert response.status == 201, await response.text()
        return f"[[sb:{plan_id}]]"

    async def entries(self, plan_id: str) -> list[dict[str, Any]]:
        """What the upstream has seen for a plan, oldest first."""
        async with self.http.get(f"{self.upstream}/_mock/journal", params={"plan": plan_id}) as response:
            return list((await response.json())["entries"])

    async def ended(self, plan_id: str, count: int = 1) -> list[dict[str, Any]]:
        """The same, once `count` requests have come and all of them have ended."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                entries = await self.entries(plan_id)
                if len(entries) >= count and all(entry["ended"] != "open" for entry in entries):
                    return entries
                await asyncio.sleep(0.01)

    async def idle(self) -> None:
        """Wait until no reply is on its way, and no socket open."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                _, health = await self.call("GET", "/health")
                if health["streams"] == health["connections"] == 0:
                    return
                await asyncio.sleep(0.01)

    async def call(
        self, method: str, path: str, data: Any = None, *, token: str | None = "alice-token", **more: Any
    ) -> tuple[int, Any]:
        """Status and JSON of one request."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        async with self.http.request(method, self.url + path, json=data, headers=headers, **more) as response:
            return response.status, await response.json()

    def cap(self, caps: Caps) -> None:
        """End replies that begin from now on by these caps."""
        self.server.settings = replace(self.server.settings, caps=caps)

    async def user(self, system: str, token: str = "alice-token", **options: Any) -> Any:
        """A client of a system, ready to ask."""
        user = USERS[system](self, token, **options)
        await user.start()
        return user


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[Servers]]]:
    """Starts a chat server with the given settings before an upstream without delays."""
    started: list[Servers] = []

    async def start(*, tokens: int = 24, **settings: Any) -> Servers:
        upstream, upstream_url = await _listen(app_of_one(UpstreamSettings(profile="instant", tokens=tokens))[0])
        app = create_app(ChatSettings(upstream=upstream_url, **settings))
        chat, url = await _listen(app)
        started.append(Servers(url, upstream_url, app[SERVER], [chat, upstream]))
        return started[-1]

    yield start
    for servers in started:
        for runner in servers.runners:
            await runner.cleanup()
        await servers.http.close()


@dataclass
class Answer:
    """What a client got for one message: every event, the text, and how it ended: complete or error."""

    events: list[dict[str, Any]] = field(default_factory=list)
    text: str = ""
    ending: str | None = None
    error: str = ""


@dataclass
class User:
    """One signed-in client of one system. `stored` is where its messages can be read again."""

    servers: Servers
    token: str
    stored: str = ""

    async def start(self) -> None:
        raise NotImplementedError

    def events(self, prompt: str, mode: str | None) -> AsyncIterator[dict[str, Any]]:
        """The events of one reply, each with its name in `event`."""
        raise NotImplementedError

    def take(self, answer: Answer, event: dict[str, Any]) -> None:
        """Add an event to the answer."""
        raise NotImplementedError

    def pieces(self, answer: Answer) -> list[str]:
        """The text of an answer as it came."""
        again, out = Answer(), []
        for event in answer.events:
            before = len(again.text)
            self.take(again, event)
            out.append(again.text[before:])
        return [piece for piece in out if piece]

    async def ask(self, prompt: str, mode: str | None = None) -> Answer:
        """Ask, and read to the end."""
        answer = Answer()
        async with asyncio.timeout(PATIENCE_S):
            async for event in self.events(prompt, mode):
                answer.events.append(event)
                self.take(answer, event)
        return answer

    async def ask_and_leave(self, prompt: str, after: int = 3) -> str:
        """Ask, and hang up without a word when `after` pieces have come; returns their text."""
        answer, pieces = Answer(), 0
        async with asyncio.timeout(PATIENCE_S), contextlib.aclosing(self.events(prompt, None)) as events:
            async for event in events:
                before = answer.text
                self.take(answer, event)
                pieces += answer.text != before
                if pieces == after:
                    self.hang_up()
                    break
        return answer.text

    def hang_up(self) -> None:
        raise NotImplementedError

    async def messages(self) -> list[dict[str, Any]]:
        status, data = await self.servers.call("GET", self.stored, token=self.token)
        assert status == 200, data
        return list(data["messages"])

    async def close(self) -> None:
        """Leave politely."""


class SseUser(User):
    path = ""
    field_name = "message"

    def body(self, prompt: str) -> dict[str, Any]:
        return {self.field_name: prompt}

    async def events(self, prompt: str, mode: str | None) -> AsyncIterator[dict[str, Any]]:
        async for event in self.read("POST", self.path, mode, json=self.body(prompt)):
            yield event

    async def read(self, method: str, path: str, mode: str | None, **request: Any) -> AsyncIterator[dict[str, Any]]:
        async with aiohttp.ClientSession(headers={"authorization": f"Bearer {self.token}"}) as session:
            params = {"streaming": mode} if mode else {}
            async with session.request(method, self.servers.url + path, params=params, **request) as response:
                assert response.status == 200, await response.text()
                assert response.content_type == "text/event-stream"
                self.response = response
                name = None
                async for line in response.content:
                    if line.startswith(b"event: "):
                        name = line[7:].strip().decode()
                    elif line.startswith(b"data: "):
                        yield {"event": name, **json.loads(line[6:])}
                        name = None

    def hang_up(self) -> None:
        if self.response.connection is not None:
            self.response.connection.transport.abort()

    def stop_reading(self) -> None:
        """The next event is not asked for; the kernel would take megabytes for us if it were let."""
        raw = self.response.connection.transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)


class ChatStreamUser(SseUser):
    path = "/api/chat/stream"

    async def start(self) -> None:
        _, data = await self.servers.call("POST", "/api/chat/conversations", {}, token=self.token)
        self.conversation = data["id"]
        self.stored = f"/api/chat/conversations/{self.conversation}"

    def body(self, prompt: str) -> dict[str, Any]:
        return {"message": prompt, "conversationId": self.conversation}

    def take(self, answer: Answer, event: dict[str, Any]) -> None:
        answer.text += event.get("content", "")
        if "error" in event:
            answer.ending, answer.error = "error", event["error"]
        elif event.get("done"):
            answer.ending = "complete"


class ThreadEventsUser(SseUser):
    field_name = "content"

    def __init__(self, servers: Servers, token: str, **thread: Any) -> None:
        super().__init__(servers, token)
        self.thread_options = thread

    async def start(self) -> None:
        status, data = await self.servers.call(
            "POST", "/chat/threads", {"title": "A thread", **self.thread_options}, token=self.token
        )
        assert status == 201, data
        self.thread = data["thread"]["id"]
        self.stored = f"/chat/threads/{self.thread}/messages"
        self.path = self.stored + "/stream"

    def take(self, answer: Answer, event: dict[str, Any]) -> None:
        match event["type"]:
            case "ai_response":
                answer.text += event["data"]["content"]
            case "error":
                answer.ending, answer.error = "error", event["data"]["error"]
            case "done" if event["data"]["success"]:
                answer.ending = "complete"


class ConversationStreamUser(SseUser):
    session_id: str | None = None

    async def start(self) -> None:
        name = self.token.removesuffix("-token")
        self.path = f"/api/conversation-stream/{name}"
        status, data = await self.servers.call(
            "POST", f"/api/conversation/{name}", {"message": "hello"}, token=self.token
        )
        assert status == 200, data
        self.session_id = data["session_id"]
        self.stored = f"/api/chat/conversations/{self.session_id}"

    def body(self, prompt: str) -> dict[str, Any]:
        return {"message": prompt, "session_id": self.session_id}

    def take(self, answer: Answer, event: dict[str, Any]) -> None:
        match event["type"]:
            case "chunk":
                answer.text += event["content"]
            case "complete":
                answer.ending = "complete"
            case "error":
                answer.ending, answer.error = "error", event["error"]


class RoomChatRestUser(SseUser):
    async def start(self) -> None:
        pass

    async def events(self, prompt: str, mode: str | None) -> AsyncIterator[dict[str, Any]]:
        status, started = await self.servers.call(
            "POST",
            "/openai/chatCompletion/stream/start",
            {"messages": [{"role": "user", "content": prompt}]},
            token=self.token,
            params={"streaming": mode} if mode else {},
        )
        assert status == 201, started
        self.stored = f"/api/chat/conversations/{started['conversationId']}"
        async for event in self.read("GET", started["streamUrl"], None):
            yield event

    def take(self, answer: Answer, event: dict[str, Any]) -> None:
        match event["event"]:
            case "chunk":
                answer.text += event["content"]
                assert event["fullResponse"] == answer.text
            case "complete":
                answer.ending = "complete"
            case "error":
                answer.ending, answer.error = "error", event["error"]


class AssistantWsUser(User):
    def __init__(self, servers: Servers, token: str, *, project: str | None = None, query: str = "") -> None:
        super().__init__(servers, token)
        self.project = project or f"p-{id(self)}"
        self.query = query

    async def start(self) -> None:
        url = self.servers.url.replace("http", "ws", 1)
        url = f"{url}/ws/chat?project={self.project}&token={self.token}{self.query}"
        self.socket = await connect(url, compression=None)
        assert (await self.receive())["type"] == "project_joined"
        await self.send("create_conversation", title="A conversation")
        self.conversation = (await self.receive())["data"]["conversation"]["id"]
        self.stored = f"/api/projects/{self.project}/conversations/{self.conversation}"

    async def send(self, kind: str, **data: Any) -> None:
        await self.socket.send(json.dumps({"type": kind, "data": data}))

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            return dict(json.loads(await self.socket.recv()))

    async def events(self, prompt: str, mode: str | None) -> AsyncIterator[dict[str, Any]]:
        more = {"streaming": mode} if mode else {}
        await self.send("user_message", conversation_id=self.conversation, content=prompt, **more)
        while True:
            event = await self.receive()
            yield event
            if event["type"] == "error" or event["data"].get("done"):
                return

    def take(self, answer: Answer, event: dict[str, Any]) -> None:
        if event["type"] == "error":
            answer.ending, answer.error = "error", event["data"]["message"]
            return
        answer.text += event["data"]["content"]
        if event["data"]["done"]:
            answer.ending = "complete"

    def hang_up(self) -> None:
        self.socket.transport.abort()

    def stop_reading(self) -> None:
        self.socket.transport.pause_reading()

    async def close(self) -> None:
        await self.socket.close()


class RoomChatUser(User):
    def __init__(self, servers: Servers, token: str, *, transport: str = "websocket") -> None:
        super().__init__(servers, token)
        self.transport = transport
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def start(self) -> None:
        self.client = socketio.AsyncClient(reconnection=False)
        self.client.on("*", self._received)
        await self.client.connect(self.servers.url, auth={"token": self.token}, transports=[self.transport])
        assert (await self.receive())["event"] == "connected"

    async def _received(self, event: str, data: Any) -> None:
        self.inbox.put_nowait({"event": event, **data})

    async def receive(self) -> dict[str, Any]:
        async with asyncio.timeout(PATIENCE_S):
            return await self.inbox.get()

    async def events(self, prompt: str, mode: str | None) -> AsyncIterator[dict[str, Any]]:
        more = {"streaming": mode} if mode else {}
        await self.client.emit("stream-chat", {"messages": [{"role": "user", "content": prompt}], **more})
        while True:
            event = await self.receive()
            yield event
            if event["event"] in ("stream-complete", "stream-error"):
                return

    def take(self, answer: Answer, event: dict[str, Any]) -> None:
        match event["event"]:
            case "stream-chunk":
                answer.text += event["content"]
                assert event["fullResponse"] == answer.text
            case "stream-complete":
                answer.ending = "complete"
                self.stored = f"/api/chat/conversations/{event['conversationId']}"
            case "stream-error":
                answer.ending, answer.error = "error", event["error"]

    def hang_up(self) -> None:
        if self.transport == "websocket":
            self.client.eio.ws._response.connection.transport.abort()
        else:
            for connections in (
                self.client.eio.http.connector._acquired,
                *self.client.eio.http.connector._conns.values(),
            ):
                for connection in connections:
                    protocol = connection[0] if isinstance(connection, tuple) else connection
                    if protocol.transport is not None:
                        protocol.transport.abort()
            self.client.eio.state = "disconnected"

    def stop_reading(self) -> None:
        self.client.eio.ws._response.connection.transport.pause_reading()

    async def close(self) -> None:
        await self.client.disconnect()


USERS: dict[str, type[Any]] = {
    "chat-stream": ChatStreamUser,
    "assistant-ws": AssistantWsUser,
    "thread-events": ThreadEventsUser,
    "room-chat": RoomChatUser,
    "room-chat-rest": RoomChatRestUser,
    "conversation-stream": ConversationStreamUser,
}


@pytest.fixture(params=USERS)
def system(request: pytest.FixtureRequest) -> str:
    """Each of the systems; `room-chat` over its socket and over its event stream."""
    return str(request.param)
