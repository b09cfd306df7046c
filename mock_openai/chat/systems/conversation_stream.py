"""System 4, `conversation-stream`: what is being done, the context that was found, and the reply of OpenAI or Gemini.

{"type": "status", "status": "processing"}
{"type": "context", "intent", "entities", "turns"}      when the context has changed
{"type": "chunk", "content"} ...
{"type": "complete", "suggestions", "session_id"}
{"type": "error", "error"}                              instead of the rest

A provider that fails before the user has any text is followed by the next one. After that there is none: the text
would come twice.
"""

from __future__ import annotations

import re
import uuid
from contextlib import aclosing
from dataclasses import dataclass

from aiohttp import web

from mock_openai.chat.auth import GUEST
from mock_openai.chat.intent import Context
from mock_openai.chat.limits import error, message_problem, read_object, text_problem
from mock_openai.chat.provider import Prompt
from mock_openai.chat.reply import Question, ReplyFailed
from mock_openai.chat.server import ChatServer
from mock_openai.chat.sessions import Sessions

# Not all that an owner may be called in the store: what projects own is nobody's.
USER_ID = re.compile(r"[\w.-]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class Turn:
    """One message in its session."""

    session_id: str
    before: Context
    context: Context
    question: Question


class ConversationStream:
    """The routes of the system."""

    def __init__(self, server: ChatServer) -> None:
        self._server = server
        self._sessions = Sessions(server.store)

    def routes(self) -> list[web.RouteDef]:
        """The routes, for aiohttp."""
        return [
            web.post("/api/conversation-stream/{user_id}", self.stream),
            web.post("/api/conversation/{user_id}", self.answer),
        ]

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """The reply to `{message, session_id?, model?}` as events."""
        turn = await self._turn(request)
        if isinstance(turn, web.Response):
            return turn
        events = await self._server.start_events(request)
        reply = self._server.reply(turn.question, providers=self._server.in_turn)
        try:
            await events.send({"type": "status", "status": "processing"})
            if (turn.context.intent, turn.context.entities) != (turn.before.intent, turn.before.entities):
                await events.send({"type": "context", **turn.context.to_json()})
            async with aclosing(reply.pieces()) as pieces:
                async for piece in pieces:
                    await events.send({"type": "chunk", "content": piece})
            suggestions = turn.context.suggestions()
            await events.send({"type": "complete", "suggestions": suggestions, "session_id": turn.session_id})
        except ReplyFailed as failed:
            await events.send({"type": "error", "error": str(failed)})
        return await events.end()

    async def answer(self, request: web.Request) -> web.Response:
        """The reply in one piece, for clients that cannot read a stream."""
        turn = await self._turn(request)
        if isinstance(turn, web.Response):
            return turn
        try:
            text = await self._server.reply(turn.question, providers=self._server.in_turn[:2]).whole()
        except ReplyFailed as failed:
            return error(502, str(failed))
        return web.json_response(
            {"message": text, "suggestions": turn.context.suggestions(), "session_id": turn.session_id}
        )

    async def _turn(self, request: web.Request) -> Turn | web.Response:
        """Rate limit, session, intent, context: everything before the model is asked. Or the refusal."""
        mode = self._server.mode_of(request)
        if isinstance(mode, web.Response):
            return mode
        user = self._server.admit(request)
        if isinstance(user, web.Response):
            return user
        user_id = request.match_info["user_id"]
        if self._server.settings.open and user == GUEST and USER_ID.match(user_id):
            user = user_id  # nobody has to sign in here: everybody is who they say
        if user_id != user:
            return error(403, "This is somebody else's conversation.")
        data = await read_object(request)
        if isinstance(data, web.Response):
            return data
        problem = message_problem(data.get("message")) or text_problem(data, "session_id", "model")
        if problem is not None:
            return error(400, problem)
        session_id = data.get("session_id")
        if session_id is not None and self._server.is_missing(user, session_id):
            return error(404, "No such session.")
        return self._prepare(user, session_id, data["message"], mode, data.get("model"))

    def _prepare(self, user: str, session_id: str | None, message: str, mode: str, model: str | None) -> Turn:
        server = self._server
        if session_id is None:
            created = server.survive(lambda: server.store.create_conversation(user, "Conversation"))
            session_id = created.id if created is not None else uuid.uuid4().hex
        before = server.survive(lambda: self._sessions.context(session_id)) or Context()
        context = before.after(message)
        system = {"role": "system", "content": context.instructions()}
        history = server.history(user, session_id)
        server.remember(user, session_id, message)
        server.survive(lambda: self._sessions.set_context(session_id, context))
        prompt = Prompt((system, *history, {"role": "user", "content": message}), model)
        return Turn(session_id, before, context, Question(prompt, mode, (user, session_id)))
