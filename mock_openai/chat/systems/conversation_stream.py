"""System 4, `conversation-stream`: what is being done, the context that was found, and the reply of OpenAI or Gemini.

{"type": "status", "status": "processing"}
{"type": "context", "intent", "entities", "turns"}      when the context has changed
{"type": "chunk", "content"} ...
{"type": "complete", "suggestions", "session_id"}
{"type": "error", "error"}                              instead of the rest

A provider that fails, or stays silent, before the user has any text is followed by the next one. After that there is
none: the text would come twice. A client that has lost its connection can come back to its stream.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial

from aiohttp import web

from mock_openai.chat.auth import GUEST
from mock_openai.chat.intent import Context
from mock_openai.chat.limits import error, message_problem, read_object, text_problem
from mock_openai.chat.provider import Prompt
from mock_openai.chat.reply import Question, ReplyFailed
from mock_openai.chat.resumable import ResumableStream, ResumableStreams, Send
from mock_openai.chat.server import TOO_MANY, ChatServer
from mock_openai.chat.sessions import Sessions

SYSTEM = "conversation-stream"

# Not all that an owner may be called in the store: what projects own is nobody's.
USER_ID = re.compile(r"[\w.-]{1,64}\Z")


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a user in its session."""

    user: str
    session_id: str
    before: Context
    context: Context
    question: Question


class ConversationStream:
    """The routes of the system."""

    def __init__(self, server: ChatServer) -> None:
        self._server = server
        self._sessions = Sessions(server.store)
        self._streams = ResumableStreams()

    def routes(self) -> list[web.RouteDef]:
        """The routes, for aiohttp."""
        return [
            web.post("/api/conversation-stream/{user_id}", self.stream),
            web.get("/api/conversation-stream/{user_id}", self.resume),
            web.post("/api/conversation/{user_id}", self.answer),
        ]

    async def stop(self, _: web.Application) -> None:
        """End the replies whose clients are away."""
        await self._streams.stop()

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """The reply to `{message, session_id?, model?}` as events."""
        turn = await self._turn(request)
        if isinstance(turn, web.Response):
            return await self._limited(request, turn) if turn.status == 429 else turn
        stream = self._streams.open(turn.user)
        stream.start(partial(self._reply, turn))
        return await self._follow(request, stream, 0)

    async def resume(self, request: web.Request) -> web.StreamResponse:
        """The events after `Last-Event-ID`, for a client that has lost its connection; 204 when it has had them all."""
        user = self._user(request)
        if isinstance(user, web.Response):
            return user
        event_id = request.headers.get("last-event-id")
        if event_id is None:
            return error(400, "To come back to a stream, send the id of the last event as `Last-Event-ID`.")
        found = self._streams.find(user, event_id)
        if found is None:
            return error(404, "No such stream, or it is too long ago.")
        stream, number = found
        return web.Response(status=204) if stream.length == number else await self._follow(request, stream, number)

    async def _follow(self, request: web.Request, stream: ResumableStream, number: int) -> web.StreamResponse:
        """Send the events of a stream after the one of this number."""
        stream.join()
        try:
            events = await self._server.start_events(request)
            async with aclosing(stream.after(number)) as following:
                async for number, data in following:
                    await events.send(data, event_id=f"{stream.id}.{number}")
            return await events.end()
        finally:
            stream.leave(self._server.settings.resume_s)
            self._streams.forget_soon(stream)

    async def _reply(self, turn: Turn, send: Send) -> None:
        """Send the events of a reply."""
        reply = self._server.reply(turn.question, providers=self._server.in_turn)
        try:
            await send({"type": "status", "status": "processing"})
            if (turn.context.intent, turn.context.entities) != (turn.before.intent, turn.before.entities):
                await send({"type": "context", **turn.context.to_json()})
            async with aclosing(reply.pieces()) as pieces:
                async for piece in pieces:
                    await send({"type": "chunk", "content": piece})
            suggestions = turn.context.suggestions()
            await send({"type": "complete", "suggestions": suggestions, "session_id": turn.session_id})
        except ReplyFailed as failed:
            await send({"type": "error", "error": str(failed)})
        except asyncio.CancelledError:
            # Who comes back later shall know that there is no more.
            await send({"type": "error", "error": "The reply was stopped when its reader had left. Please ask again."})
            raise

    async def _limited(self, request: web.Request, refusal: web.Response) -> web.StreamResponse:
        """Too many requests, told as the system tells every error: as an event."""
        events = await self._server.start_events(
            request, status=429, headers={"retry-after": refusal.headers["retry-after"]}
        )
        await events.send({"type": "error", "error": TOO_MANY, "retry_after": int(refusal.headers["retry-after"])})
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
        user = self._user(request)
        if isinstance(user, web.Response):
            return user
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

    def _user(self, request: web.Request) -> str | web.Response:
        """The user of a request, who must be the one in the path, or the refusal."""
        user = self._server.admit(request)
        if isinstance(user, web.Response):
            return user
        user_id = request.match_info["user_id"]
        if self._server.settings.open and user == GUEST and USER_ID.match(user_id):
            return user_id  # nobody has to sign in here: everybody is who they say
        return user if user_id == user else error(403, "This is somebody else's conversation.")

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
        return Turn(user, session_id, before, context, Question(SYSTEM, prompt, mode, (user, session_id)))
