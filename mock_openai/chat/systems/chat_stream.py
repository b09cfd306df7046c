"""System 0, `chat-stream`: one POST, and the reply as server-sent events.

data: {"content": "..."}     a piece of the reply
data: {"done": true}         the reply is complete
data: {"error": "..."}       it failed after it had begun; nothing follows
"""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web

from mock_openai.chat.limits import CapReached, error, message_problem, read_object
from mock_openai.chat.provider import explain
from mock_openai.chat.server import ChatServer
from mock_openai.chat.sse import EventStream
from mock_openai.chat.store import StoreError

log = logging.getLogger(__name__)


class ChatStream:
    """The routes of the system."""

    def __init__(self, server: ChatServer) -> None:
        self._server = server

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/chat/stream", self.stream),
            web.post("/api/chat/conversations", self.create_conversation),
            web.get("/api/chat/conversations/{id}", self.read_conversation),
        ]

    async def create_conversation(self, request: web.Request) -> web.Response:
        user = self._server.admit(request)
        if isinstance(user, web.Response):
            return user
        data = await read_object(request) if request.can_read_body else {}
        if isinstance(data, web.Response):
            return data
        title = data.get("title", "New conversation")
        if not isinstance(title, str):
            return error(400, "`title` must be a string.")
        try:
            conversation = self._server.store.create_conversation(user, title)
        except StoreError:
            return error(503, "The conversation could not be stored.")
        return web.json_response(conversation.to_json(), status=201)

    async def read_conversation(self, request: web.Request) -> web.Response:
        user = self._server.admit(request)
        if isinstance(user, web.Response):
            return user
        try:
            conversation = self._server.store.conversation(user, request.match_info["id"])
            if conversation is None:
                return error(404, "No such conversation.")
            messages = self._server.store.messages(user, conversation.id)
        except StoreError:
            return error(503, "The conversation could not be read.")
        return web.json_response({**conversation.to_json(), "messages": [item.to_json() for item in messages]})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        user = self._server.admit(request)
        if isinstance(user, web.Response):
            return user
        mode = self._server.mode_of(request)
        if isinstance(mode, web.Response):
            return mode
        data = await read_object(request)
        if isinstance(data, web.Response):
            return data
        problem = message_problem(data.get("message"))
        if problem is not None:
            return error(400, problem)
        conversation_id, model = data.get("conversationId"), data.get("model")
        for name, value in (("conversationId", conversation_id), ("model", model)):
            if value is not None and not isinstance(value, str):
                return error(400, f"`{name}` must be a string.")
        if conversation_id is not None:
            known = self._server.survive(lambda: [self._server.store.conversation(user, conversation_id)])
            if known == [None]:
                return error(404, "No such conversation.")
        return await self._reply(request, user, data["message"], conversation_id, mode, model)

    async def _reply(
        self, request: web.Request, user: str, message: str, conversation_id: str | None, mode: str, model: str | None
    ) -> web.StreamResponse:
        server = self._server
        history: list[dict[str, str]] = []
        if conversation_id is not None:
            history = server.history(user, conversation_id)
            server.survive(lambda: server.store.add_message(user, conversation_id, "user", message))
        events = await EventStream.start(request)
        sent: list[str] = []
        complete = False
        try:
            async for piece in server.reply([*history, {"role": "user", "content": message}], mode=mode, model=model):
                sent.append(piece)
                await events.send({"content": piece})
            complete = True
            await events.send({"done": True})
        except (asyncio.CancelledError, ConnectionResetError):
            # The client is gone; leaving `reply` has cancelled the upstream request.
            server.counters["clients_gone"] += 1
            raise
        except CapReached as reached:
            await events.send({"error": str(reached)})
        except Exception as failure:
            log.warning("the upstream failed: %s: %s", type(failure).__name__, failure)
            server.counters["upstream_failures"] += 1
            await events.send({"error": explain(failure)})
        finally:
            if conversation_id is not None and sent:
                server.survive(
                    lambda: server.store.add_message(
                        user, conversation_id, "assistant", "".join(sent), interrupted=not complete
                    )
                )
        return await events.end()
