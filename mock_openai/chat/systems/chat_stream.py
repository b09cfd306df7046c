"""System 0, `chat-stream`: one POST, and the reply as server-sent events.

data: {"content": "..."}     a piece of the reply
data: {"done": true}         the reply is complete
data: {"error": "..."}       it failed after it had begun; nothing follows

Every exchange is saved: without a conversation in a new one, which the header `x-conversation-id` names.
"""

from __future__ import annotations

from contextlib import aclosing

from aiohttp import web

from mock_openai.chat.limits import error, message_problem, read_object, text_problem
from mock_openai.chat.provider import Prompt
from mock_openai.chat.reply import Question, ReplyFailed
from mock_openai.chat.server import ChatServer
from mock_openai.chat.store import StoreError

SYSTEM = "chat-stream"


class ChatStream:
    """The routes of the system."""

    def __init__(self, server: ChatServer) -> None:
        self._server = server

    def routes(self) -> list[web.RouteDef]:
        """The routes, for aiohttp."""
        return [
            web.post("/api/chat/stream", self.stream),
            web.post("/api/chat/conversations", self.create_conversation),
            web.get("/api/chat/conversations/{id}", self.read_conversation),
        ]

    async def create_conversation(self, request: web.Request) -> web.Response:
        """A new conversation, `{title?}` → `{id, title, created_at}`."""
        user = self._server.admit(request)
        if isinstance(user, web.Response):
            return user
        data = await read_object(request) if request.can_read_body else {}
        if isinstance(data, web.Response):
            return data
        problem = text_problem(data, "title")
        if problem is not None:
            return error(400, problem)
        try:
            conversation = self._server.store.create_conversation(user, data.get("title") or "New conversation")
        except StoreError:
            return error(503, "The conversation could not be stored.")
        return web.json_response(conversation.to_json(), status=201)

    async def read_conversation(self, request: web.Request) -> web.Response:
        """One of the user's conversations with its messages."""
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
        """The reply to `{message, conversationId?, model?}` as events."""
        user = self._server.admit(request)
        if isinstance(user, web.Response):
            return user
        mode = self._server.mode_of(request)
        if isinstance(mode, web.Response):
            return mode
        data = await read_object(request)
        if isinstance(data, web.Response):
            return data
        problem = message_problem(data.get("message")) or text_problem(data, "conversationId", "model")
        if problem is not None:
            return error(400, problem)
        conversation_id = data.get("conversationId")
        if conversation_id is not None and self._server.is_missing(user, conversation_id):
            return error(404, "No such conversation.")
        if conversation_id is None:
            created = self._server.survive(lambda: self._server.store.create_conversation(user, "New conversation"))
            conversation_id = created.id if created is not None else None
        history, conversation = [], None
        if conversation_id is not None:
            history = self._server.history(user, conversation_id)
            self._server.remember(user, conversation_id, data["message"])
            conversation = (user, conversation_id)
        prompt = Prompt((*history, {"role": "user", "content": data["message"]}), data.get("model"))
        return await self._send(request, Question(SYSTEM, prompt, mode, conversation))

    async def _send(self, request: web.Request, question: Question) -> web.StreamResponse:
        saved = {} if question.conversation is None else {"x-conversation-id": question.conversation[1]}
        events = await self._server.start_events(request, headers=saved)
        try:
            async with aclosing(self._server.reply(question).pieces()) as pieces:
                async for piece in pieces:
                    await events.send({"content": piece})
            await events.send({"done": True})
        except ReplyFailed as failed:
            await events.send({"error": str(failed)})
        return await events.end()
