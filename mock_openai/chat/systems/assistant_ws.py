"""System 1, `assistant-ws`: a WebSocket a user and project; everybody in the project sees every reply.

Both ways, a message is {"type": ..., "data": {...}, "timestamp": milliseconds}.

from the client                                from the server
create_conversation {title?}                   conversation_created {conversation}
user_message {conversation_id, content,        assistant_response {conversation_id, message_id, content, done} ...
              model?, streaming?, tools?}        the last one of a reply has done: true
chat_interrupted {conversation_id}               ... and also interrupted: true when somebody stopped it
ping                                           pong
                                               error {message, code, conversation_id?}
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import defaultdict
from contextlib import aclosing
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from mock_openai.chat.connection import Connection
from mock_openai.chat.limits import MAX_BODY_BYTES, error, message_problem, parse_object, read_object, text_problem
from mock_openai.chat.modes import MODES, with_last
from mock_openai.chat.projects import PROJECT_ID, Projects, owner_of_conversations
from mock_openai.chat.provider import Prompt, explain
from mock_openai.chat.reply import Question, ReplyFailed
from mock_openai.chat.server import ChatServer
from mock_openai.chat.store import StoreError

SYSTEM = "assistant-ws"

log = logging.getLogger(__name__)

HEARTBEAT_S = 20.0
MAX_TOOLS = 128


class AssistantWs:
    """The socket and the routes of the system. `upstream` says what the check at the start found."""

    def __init__(self, server: ChatServer) -> None:
        self.upstream = "not checked yet"
        self._server = server
        self._projects = Projects(server.store)
        self._connections: dict[str, set[Connection]] = defaultdict(set)
        self._replies: dict[str, asyncio.Task[None]] = {}  # by conversation
        self._validation: asyncio.Task[None] | None = None

    @property
    def connections(self) -> int:
        """How many sockets are open."""
        return sum(len(group) for group in self._connections.values())

    def routes(self) -> list[web.RouteDef]:
        """The routes, for aiohttp."""
        return [
            web.get("/ws/chat", self.connect),
            web.post("/api/projects/{project}/members", self.add_member),
            web.get("/api/projects/{project}/conversations/{id}", self.read_conversation),
        ]

    async def start(self, _: web.Application) -> None:
        """Check the connection to the upstream, while the server is already there for its clients."""
        self._validation = asyncio.create_task(self._validate())

    async def stop(self, _: web.Application) -> None:
        """Tell every client that the server goes away."""
        if self._validation is not None:
            self._validation.cancel()
        sockets = [connection.socket for group in self._connections.values() for connection in group]
        await asyncio.gather(*(socket.close(code=WSCloseCode.GOING_AWAY) for socket in sockets), return_exceptions=True)

    async def add_member(self, request: web.Request) -> web.Response:
        """The owner of a project lets another user in."""
        user = self._server.admit(request)
        if isinstance(user, web.Response):
            return user
        data = await read_object(request)
        if isinstance(data, web.Response):
            return data
        problem = message_problem(data.get("user"), "user")
        if problem is not None:
            return error(400, problem)
        if data["user"] not in self._server.users:
            return error(404, "No such user.")
        try:
            added = self._projects.add_member(user, request.match_info["project"], data["user"])
        except StoreError:
            return error(503, "The project could not be changed.")
        return web.json_response({"user": data["user"]}, status=201) if added else error(404, "No such project.")

    async def read_conversation(self, request: web.Request) -> web.Response:
        """A conversation of a project with its messages, for the project's members."""
        user = self._server.admit(request)
        if isinstance(user, web.Response):
            return user
        project, store = request.match_info["project"], self._server.store
        owner = owner_of_conversations(project)
        try:
            conversation = store.conversation(owner, request.match_info["id"])
            if conversation is None or not self._projects.is_member(user, project):
                return error(404, "No such conversation.")
            messages = store.messages(owner, conversation.id)
        except StoreError:
            return error(503, "The conversation could not be read.")
        return web.json_response({**conversation.to_json(), "messages": [item.to_json() for item in messages]})

    async def connect(self, request: web.Request) -> web.StreamResponse:
        """Sign a socket in to a project, and serve it until its client leaves."""
        user = self._server.users.of_handshake(request)
        if user is None:
            return error(401, "Sign in first.", **{"www-authenticate": "Bearer"})
        mode = self._server.mode_of(request)
        if isinstance(mode, web.Response):
            return mode
        project = request.query.get("project", "")
        if not PROJECT_ID.match(project):
            return error(400, "`project` is required: letters, digits, and . _ -")
        if request.query.get("content", "delta") not in ("delta", "accumulated"):
            return error(400, "`content` is delta or accumulated.")
        try:
            if not self._projects.open(user, project):
                return error(404, "No such project.")
        except StoreError:
            return error(503, "The project could not be opened.")
        socket = web.WebSocketResponse(
            heartbeat=self._server.settings.heartbeat_s or HEARTBEAT_S, max_msg_size=MAX_BODY_BYTES
        )
        if not socket.can_prepare(request).ok:
            return error(426, "This is a WebSocket.", upgrade="websocket", **{"sec-websocket-version": "13"})
        await socket.prepare(request)
        accumulated = request.query.get("content") == "accumulated"
        await self._serve(Connection(request, socket, user, project, mode, accumulated))
        return socket

    async def _serve(self, connection: Connection) -> None:
        """Read until the client leaves; then stop what it asked for."""
        writer = asyncio.create_task(connection.write())
        self._connections[connection.project].add(connection)
        try:
            await connection.send("project_joined", {"project_id": connection.project, "success": True})
            async for message in connection.socket:
                if message.type is WSMsgType.TEXT:
                    await self._receive(connection, message.data)
                elif message.type is WSMsgType.BINARY:
                    await connection.send("error", {"message": "Messages are text.", "code": "invalid_message"})
        finally:
            self._connections[connection.project].discard(connection)
            if not self._connections[connection.project]:
                del self._connections[connection.project]
            for task in (writer, *connection.replies):
                task.cancel()

    async def _receive(self, connection: Connection, text: str) -> None:
        message = parse_object(text)
        if isinstance(message, str):
            await connection.send("error", {"message": f"The message is {message}.", "code": "invalid_json"})
            return
        data = message.get("data", {})
        if not isinstance(data, dict):
            await connection.send("error", {"message": "`data` must be an object.", "code": "invalid_message"})
            return
        match message.get("type"):
            case "create_conversation":
                await self._create_conversation(connection, data)
            case "user_message":
                await self._ask(connection, data)
            case "chat_interrupted":
                await self._interrupt(connection, data)
            case "ping":
                await connection.send("pong", {})
            case other:
                await connection.send("error", {"message": f"Unknown type {other!r:.100}.", "code": "unknown_type"})

    async def _create_conversation(self, connection: Connection, data: dict[str, Any]) -> None:
        problem = text_problem(data, "title")
        if problem is not None:
            await connection.send("error", {"message": problem, "code": "invalid_message"})
            return
        title, owner = data.get("title") or "New conversation", owner_of_conversations(connection.project)
        conversation = self._server.survive(lambda: self._server.store.create_conversation(owner, title))
        if conversation is None:
            await connection.send("error", {"message": "The conversation could not be stored.", "code": "store_failed"})
            return
        await connection.send("conversation_created", {"conversation": conversation.to_json()})

    async def _ask(self, connection: Connection, data: dict[str, Any]) -> None:
        """Check a user's message, store it, show it to the others, and start the reply."""
        conversation_id = data.get("conversation_id")
        refusal = self._refusal(connection, data)
        if refusal is not None:
            code, problem = refusal
            where = {"conversation_id": conversation_id} if isinstance(conversation_id, str) else {}
            await connection.send("error", {"message": problem, "code": code, **where})
            return
        assert isinstance(conversation_id, str)
        owner = owner_of_conversations(connection.project)
        history = self._server.history(owner, conversation_id)
        self._server.remember(owner, conversation_id, data["content"])
        for other in self._others(connection):
            shown = {"conversation_id": conversation_id, "content": data["content"], "user": connection.user}
            other.show("user_message", shown)
        question = Question(
            SYSTEM,
            Prompt(
                (*history, {"role": "user", "content": data["content"]}),
                data.get("model"),
                tools=tuple(data.get("tools") or ()),
            ),
            data.get("streaming") or connection.mode,
            (owner, conversation_id),
            uuid.uuid4().hex,
        )
        task = asyncio.create_task(self._answer(connection, conversation_id, question))
        self._replies[conversation_id] = task
        connection.replies.add(task)
        task.add_done_callback(connection.replies.discard)
        task.add_done_callback(lambda _: self._replies.pop(conversation_id, None))

    def _refusal(self, connection: Connection, data: dict[str, Any]) -> tuple[str, str] | None:
        """Code and text of why a message is not taken, or None."""
        problem = (
            message_problem(data.get("conversation_id"), "conversation_id")
            or message_problem(data.get("content"), "content")
            or text_problem(data, "model", "streaming")
        )
        if problem is not None:
            return "invalid_message", problem
        if data.get("streaming") not in (None, *MODES):
            return "invalid_message", f"`streaming` is one of {', '.join(MODES)}."
        tools = data.get("tools") or []
        if not isinstance(tools, list) or len(tools) > MAX_TOOLS or not all(isinstance(tool, dict) for tool in tools):
            return "invalid_message", f"`tools` must be a list of at most {MAX_TOOLS} objects."
        if self._server.is_missing(owner_of_conversations(connection.project), data["conversation_id"]):
            return "not_found", "No such conversation."
        if data["conversation_id"] in self._replies:
            return "busy", "A reply is still coming. Interrupt it, or wait for its end."
        wait_s = self._server.rate_limit.wait_s(connection.user)
        if wait_s > 0:
            return "rate_limited", f"Too many messages. Please try again in {max(1, round(wait_s))} s."
        return None

    async def _answer(self, asker: Connection, conversation_id: str, question: Question) -> None:
        """Send one reply to who asked and to all others in the project."""
        text = ""

        async def respond(content: str, **more: Any) -> None:
            nonlocal text
            text += content
            same = {"conversation_id": conversation_id, "message_id": question.message_id}
            for other in self._others(asker):
                other.show("assistant_response", {**same, "content": text if other.accumulated else content, **more})
            await asker.send("assistant_response", {**same, "content": text if asker.accumulated else content, **more})

        async def tool_calls(calls: tuple[dict[str, Any], ...]) -> None:
            await respond("", done=False, tool_calls=calls)

        try:
            reply = self._server.reply(question, on_tool_calls=tool_calls)
            async with (
                aclosing(reply.pieces()) as pieces,
                aclosing(with_last(pieces, question.mode)) as marked,
            ):
                async for piece, last in marked:
                    await respond(piece, done=last)
        except ReplyFailed as failed:
            failure = {"message": str(failed), "code": failed.code, "conversation_id": conversation_id}
            for connection in (asker, *self._others(asker)):
                connection.show("error", failure)
        except (asyncio.CancelledError, ConnectionResetError):
            # Somebody stopped it, or the one who asked is gone: the others must not wait for the rest.
            same = {"conversation_id": conversation_id, "message_id": question.message_id}
            for connection in (asker, *self._others(asker)):
                content = text if connection.accumulated else ""
                connection.show("assistant_response", {**same, "content": content, "done": True, "interrupted": True})

    async def _interrupt(self, connection: Connection, data: dict[str, Any]) -> None:
        """Stop the reply that is coming in a conversation of this project; nothing where none is."""
        conversation_id = data.get("conversation_id")
        problem = message_problem(conversation_id, "conversation_id")
        if problem is not None:
            await connection.send("error", {"message": problem, "code": "invalid_message"})
            return
        assert isinstance(conversation_id, str)
        if self._server.is_missing(owner_of_conversations(connection.project), conversation_id):
            await connection.send(
                "error", {"message": "No such conversation.", "code": "not_found", "conversation_id": conversation_id}
            )
        elif conversation_id in self._replies:
            self._replies[conversation_id].cancel()

    def _others(self, connection: Connection) -> list[Connection]:
        return [other for other in self._connections.get(connection.project, ()) if other is not connection]

    async def _validate(self) -> None:
        try:
            await self._server.openai.validate()
            self.upstream = "ok"
        except Exception as failure:
            self.upstream = explain(failure)
            log.error("the upstream %s cannot be used, replies will fail: %s", self._server.settings.upstream, failure)
