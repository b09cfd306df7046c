"""System 3 without sockets: a reply in one piece, a reply as server-sent events, and tokens for LiveKit.

event: chunk       data: {content, isComplete, timestamp, fullResponse}
event: complete    data: {fullResponse, timestamp, message}
event: error       data: {error, timestamp}
"""

from __future__ import annotations

import re
import uuid
from collections import OrderedDict
from contextlib import aclosing
from typing import Any

from aiohttp import web

from mock_openai.chat.clock import now_iso
from mock_openai.chat.limits import error, message_problem, read_object, text_problem
from mock_openai.chat.provider import Prompt
from mock_openai.chat.reply import Question, ReplyFailed
from mock_openai.chat.server import ChatServer
from mock_openai.chat.systems.room_chat import SYSTEM, last_messages, prompt_problem

SESSION_ID = re.compile(r"[\w.-]{1,64}\Z")
MAX_WAITING_SESSIONS = 1000


class RoomChatRest:
    """The routes of the system."""

    def __init__(self, server: ChatServer) -> None:
        self._server = server
        # Sessions that were started and not yet read, by user and id; each is read once.
        self._sessions: OrderedDict[tuple[str, str], Question] = OrderedDict()

    def routes(self) -> list[web.RouteDef]:
        """The routes, for aiohttp."""
        return [
            web.post("/openai/chatCompletion", self.complete),
            web.post("/openai/chatCompletion/stream/start", self.start),
            web.get("/openai/chatCompletion/stream/{session}", self.stream),
            web.post("/livekit/token", self.livekit_token),
        ]

    async def complete(self, request: web.Request) -> web.Response:
        """The reply to `{messages, model?}` in one piece."""
        asked = await self._asked(request)
        if isinstance(asked, web.Response):
            return asked
        _, _, question = asked
        try:
            text = await self._server.reply(question).whole()
        except ReplyFailed as failed:
            return error(502, str(failed))
        return web.json_response({"role": "assistant", "content": text})

    async def start(self, request: web.Request) -> web.Response:
        """Keep a prompt until its stream is fetched: browsers' EventSource can only GET."""
        asked = await self._asked(request)
        if isinstance(asked, web.Response):
            return asked
        user, data, question = asked
        session = data.get("sessionId", uuid.uuid4().hex)
        if not isinstance(session, str) or not SESSION_ID.match(session):
            return error(400, "`sessionId` must be 1 to 64 letters, digits, or . _ -")
        self._sessions[user, session] = question
        if len(self._sessions) > MAX_WAITING_SESSIONS:
            self._sessions.popitem(last=False)
        return web.json_response(
            {
                "sessionId": session,
                "streamUrl": f"/openai/chatCompletion/stream/{session}",
                "message": "The stream is ready.",
                "conversationId": question.conversation[1] if question.conversation is not None else None,
            },
            status=201,
        )

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """The reply to what `start` has kept, as events; it can be read once."""
        user = self._server.admit(request)
        if isinstance(user, web.Response):
            return user
        question = self._sessions.pop((user, request.match_info["session"]), None)
        if question is None:
            return error(404, "No such session, or its stream was read already.")
        events = await self._server.start_events(request)
        reply = self._server.reply(question)
        try:
            async with aclosing(reply.pieces()) as pieces:
                async for piece in pieces:
                    await events.send(_chunk(piece, reply.text, last=False), event="chunk")
            await events.send(_chunk("", reply.text, last=True), event="chunk")
            complete = {"fullResponse": reply.text, "timestamp": now_iso(), "message": "The answer is complete."}
            await events.send(complete, event="complete")
        except ReplyFailed as failed:
            await events.send({"error": str(failed), "timestamp": now_iso()}, event="error")
        return await events.end()

    async def livekit_token(self, request: web.Request) -> web.Response:
        """A token for a LiveKit room, where LiveKit is configured."""
        user = self._server.admit(request)
        if isinstance(user, web.Response):
            return user
        data = await read_object(request)
        if isinstance(data, web.Response):
            return data
        problem = message_problem(data.get("roomName"), "roomName") or text_problem(data, "roomName", "participantName")
        if problem is not None:
            return error(400, problem)
        livekit = self._server.settings.livekit
        if livekit is None:
            return error(503, "LiveKit is not configured: set LIVEKIT_API_KEY and LIVEKIT_API_SECRET.")
        # The identity is who signed in; only the shown name is the client's to choose.
        name = data.get("participantName") or user
        token = livekit.token(room=data["roomName"], identity=user, name=name)
        return web.json_response({"token": token, "url": livekit.url})

    async def _asked(self, request: web.Request) -> tuple[str, dict[str, Any], Question] | web.Response:
        """User, body and question of a request, or the refusal."""
        mode = self._server.mode_of(request)
        if isinstance(mode, web.Response):
            return mode
        user = self._server.admit(request)
        if isinstance(user, web.Response):
            return user
        data = await read_object(request)
        if isinstance(data, web.Response):
            return data
        problem = prompt_problem(data)
        if problem is not None:
            return error(400, problem)
        store = self._server.store
        created = self._server.survive(lambda: store.create_conversation(user, "Room chat"))
        if created is not None:
            self._server.remember(user, created.id, data["messages"][-1]["content"])
        prompt = Prompt(last_messages(data["messages"]), data.get("model"))
        return user, data, Question(SYSTEM, prompt, mode, (user, created.id) if created is not None else None)


def _chunk(content: str, text: str, *, last: bool) -> dict[str, Any]:
    return {"content": content, "isComplete": last, "timestamp": now_iso(), "fullResponse": text}
