"""System 2, `thread-events`: threads with a workflow and documents; every event is {"type", "data", "timestamp"}.

connected {threadId}
message_saved {message}
workflow_status {state, step, position, total}      only in threads with a workflow
ai_response {content, isComplete, accumulated?}     one or more; the last one has isComplete: true and the whole text
workflow_complete {message}                         after the last step
done {success}

error {error} may come at any time, and is followed by done {success: false}.
"""

from __future__ import annotations

import uuid
from contextlib import aclosing
from itertools import count
from typing import Any

from aiohttp import web

from mock_openai.chat.clock import now_iso
from mock_openai.chat.limits import error, message_problem, read_object, text_problem
from mock_openai.chat.modes import with_last
from mock_openai.chat.provider import MAX_TOKENS, Prompt
from mock_openai.chat.reply import Question, ReplyFailed
from mock_openai.chat.retrieval import CLEARANCES, DEFAULT_CLEARANCE, MAX_DOCUMENTS, Passage, may_read, retrieve
from mock_openai.chat.server import ChatServer
from mock_openai.chat.store import Message, StoreError
from mock_openai.chat.threads import Thread, Threads
from mock_openai.chat.workflow import WORKFLOWS, parse_steps

SYSTEM = "thread-events"

PREFERENCES = {
    "name": "The user's name is {}.",
    "language": "Answer in this language: {}.",
    "tone": "Use this tone: {}.",
}
UNSAFE = str.maketrans("\r\n", "  ")  # a preference stays one line of the system prompt


class ThreadEvents:
    """The routes of the system."""

    def __init__(self, server: ChatServer) -> None:
        self._server = server
        self._threads = Threads(server.store)

    def routes(self) -> list[web.RouteDef]:
        """The routes, for aiohttp."""
        return [
            web.post("/chat/threads", self.create),
            web.get("/chat/threads/{id}/messages", self.read_messages),
            web.post("/chat/threads/{id}/messages", self.answer),
            web.post("/chat/threads/{id}/messages/stream", self.stream),
            web.get("/chat/threads/{id}/documents", self.read_documents),
            web.post("/chat/threads/{id}/documents", self.add_document),
            web.get("/chat/preferences", self.read_preferences),
            web.put("/chat/preferences", self.set_preferences),
        ]

    async def create(self, request: web.Request) -> web.Response:
        """`workflow` names one of the built-in ones, `steps` brings one's own; without, the thread just answers."""
        user = self._server.admit(request)
        if isinstance(user, web.Response):
            return user
        data = await read_object(request)
        if isinstance(data, web.Response):
            return data
        problem = text_problem(data, "title")
        if problem is not None:
            return error(400, problem)
        workflow = data.get("workflow", "open")
        if not isinstance(workflow, str) or workflow not in WORKFLOWS:
            return error(400, f"`workflow` is one of {', '.join(WORKFLOWS)}.")
        steps = parse_steps(data["steps"]) if "steps" in data else WORKFLOWS[workflow]
        if isinstance(steps, str):
            return error(400, steps)
        try:
            thread = self._threads.create(user, data.get("title") or "New thread", steps)
        except StoreError:
            return error(503, "The thread could not be stored.")
        return web.json_response({"thread": thread.to_json()}, status=201)

    async def read_messages(self, request: web.Request) -> web.Response:
        """The messages of a thread, oldest first."""
        known = self._known(request)
        if isinstance(known, web.Response):
            return known
        user, thread = known
        try:
            messages = self._server.store.messages(user, thread.id)
        except StoreError:
            return error(503, "The messages could not be read.")
        return web.json_response({"messages": [message.to_json() for message in messages]})

    async def read_documents(self, request: web.Request) -> web.Response:
        """The documents of a thread that the user may know of, without their text."""
        known = self._known(request)
        if isinstance(known, web.Response):
            return known
        user, thread = known
        try:
            documents = self._threads.documents(thread)
        except StoreError:
            return error(503, "The documents could not be read.")
        clearance = self._clearance(user)
        return web.json_response({"documents": [item.to_json() for item in documents if may_read(clearance, item)]})

    async def add_document(self, request: web.Request) -> web.Response:
        """Store `{content, title?, clearance?}` with a thread."""
        known = self._known(request)
        if isinstance(known, web.Response):
            return known
        _, thread = known
        data = await read_object(request)
        if isinstance(data, web.Response):
            return data
        problem = text_problem(data, "title")
        if problem is None and not (isinstance(data.get("content"), str) and data["content"].strip()):
            problem = "`content` must be a text."
        if problem is None and data.get("clearance", "public") not in CLEARANCES:
            problem = f"`clearance` is one of {', '.join(CLEARANCES)}."
        if problem is not None:
            return error(400, problem)
        try:
            if len(self._threads.documents(thread)) >= MAX_DOCUMENTS:
                return error(409, f"A thread has at most {MAX_DOCUMENTS} documents.")
            document = self._threads.add_document(
                thread, data.get("title") or "Document", data["content"], data.get("clearance", "public")
            )
        except StoreError:
            return error(503, "The document could not be stored.")
        return web.json_response({"document": document.to_json()}, status=201)

    async def read_preferences(self, request: web.Request) -> web.Response:
        """What the user prefers."""
        user = self._server.admit(request)
        if isinstance(user, web.Response):
            return user
        try:
            return web.json_response({"preferences": self._threads.preferences(user)})
        except StoreError:
            return error(503, "The preferences could not be read.")

    async def set_preferences(self, request: web.Request) -> web.Response:
        """Replace what the user prefers; a preference that is left out is forgotten."""
        user = self._server.admit(request)
        if isinstance(user, web.Response):
            return user
        data = await read_object(request)
        if isinstance(data, web.Response):
            return data
        unknown = [name for name in data if name not in PREFERENCES]
        problem = f"Preferences are {', '.join(PREFERENCES)}." if unknown else text_problem(data, *PREFERENCES)
        if problem is not None:
            return error(400, problem)
        preferences = {name: value.translate(UNSAFE) for name, value in data.items() if value}
        try:
            self._threads.set_preferences(user, preferences)
        except StoreError:
            return error(503, "The preferences could not be stored.")
        return web.json_response({"preferences": preferences})

    async def answer(self, request: web.Request) -> web.Response:
        """The reply in one piece, for clients that cannot read a stream."""
        asked = await self._asked(request)
        if isinstance(asked, web.Response):
            return asked
        user, thread, content = asked
        question, _ = self._question(user, thread, content, "real")
        self._server.remember(user, thread.id, content)
        try:
            text = await self._server.reply(question).whole()
        except ReplyFailed as failed:
            return error(502, str(failed))
        if thread.step is not None:
            self._server.survive(lambda: self._threads.finish_step(thread))
        return web.json_response({"response": text})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """The reply to `{content}` as events."""
        mode = self._server.mode_of(request)
        if isinstance(mode, web.Response):
            return mode
        asked = await self._asked(request)
        if isinstance(asked, web.Response):
            return asked
        user, thread, content = asked
        question, passages = self._question(user, thread, content, mode)
        saved = self._server.remember(user, thread.id, content)
        return await self._send(request, thread, question, saved, passages)

    async def _send(
        self, request: web.Request, thread: Thread, question: Question, saved: Message | None, passages: list[Passage]
    ) -> web.StreamResponse:
        events = await self._server.start_events(request)
        stream_id, numbers = uuid.uuid4().hex[:12], count(1)

        async def send(kind: str, data: dict[str, Any]) -> None:
            event_id = f"{stream_id}.{next(numbers)}"
            await events.send({"type": kind, "data": data, "timestamp": now_iso()}, event_id=event_id)

        await send("connected", {"threadId": thread.id})
        # A message that the store has lost is shown all the same; it has no id.
        await send("message_saved", {"message": saved.to_json() if saved is not None else {"id": None}})
        if thread.step is not None:
            await send("workflow_status", _status(thread))
        reply = self._server.reply(question)
        accumulated = ""
        try:
            async with (
                aclosing(reply.pieces()) as pieces,
                aclosing(with_last(pieces, question.mode)) as marked,
            ):
                async for piece, last in marked:
                    accumulated += piece
                    data: dict[str, Any] = {"content": piece, "isComplete": last}
                    if last:
                        # Only here: on every event it would make a reply's bytes grow with the square of its length.
                        data["accumulated"] = accumulated
                        if passages:
                            data["sources"] = _sources(passages)
                    await send("ai_response", data)
        except ReplyFailed as failed:
            await send("error", {"error": str(failed)})
            await send("done", {"success": False})
            return await events.end()
        if thread.step is not None:
            after = self._server.survive(lambda: self._threads.finish_step(thread))
            if after is not None and after.step is None:
                message = reply.message.to_json() if reply.message is not None else {"id": None, "content": accumulated}
                await send("workflow_complete", {"message": message})
        await send("done", {"success": True})
        return await events.end()

    def _question(self, user: str, thread: Thread, content: str, mode: str) -> tuple[Question, list[Passage]]:
        """What is asked of the model: guidelines, preferences, passages, the last messages, and the new one."""
        documents = self._server.survive(lambda: self._threads.documents(thread)) or []
        passages = retrieve(documents, content, self._clearance(user))
        preferences = self._server.survive(lambda: self._threads.preferences(user)) or {}
        step = thread.step
        parts = [step.guidelines] if step is not None and step.guidelines else []
        if step is not None and step.max_sentences is not None:
            parts.append(f"Answer in at most {step.max_sentences} sentences.")
        parts += [PREFERENCES[name].format(value) for name, value in preferences.items()]
        parts += [f"From “{passage.document.title}”:\n{passage.text}" for passage in passages]
        system = [{"role": "system", "content": "\n\n".join(parts)}] if parts else []
        history = self._server.history(user, thread.id)
        prompt = Prompt(
            (*system, *history, {"role": "user", "content": content}),
            max_tokens=step.max_tokens if step is not None else MAX_TOKENS,
        )
        limit = step.max_sentences if step is not None else None
        return Question(SYSTEM, prompt, mode, (user, thread.id), max_sentences=limit), passages

    async def _asked(self, request: web.Request) -> tuple[str, Thread, str] | web.Response:
        """User, thread and message of a request, or the refusal."""
        known = self._known(request)
        if isinstance(known, web.Response):
            return known
        data = await read_object(request)
        if isinstance(data, web.Response):
            return data
        problem = message_problem(data.get("content"), "content")
        return error(400, problem) if problem is not None else (*known, data["content"])

    def _known(self, request: web.Request) -> tuple[str, Thread] | web.Response:
        """The user and the thread of a request, or the refusal."""
        user = self._server.admit(request)
        if isinstance(user, web.Response):
            return user
        try:
            thread = self._threads.get(user, request.match_info["id"])
        except StoreError:
            return error(503, "The thread could not be read.")
        return (user, thread) if thread is not None else error(404, "No such thread.")

    def _clearance(self, user: str) -> str:
        return self._server.settings.clearances.get(user, DEFAULT_CLEARANCE)


def _status(thread: Thread) -> dict[str, Any]:
    """Which step a thread has come to."""
    assert thread.step is not None
    state = "started" if thread.position == 0 else "step_changed"
    return {"state": state, "step": thread.step.name, "position": thread.position + 1, "total": len(thread.steps)}


def _sources(passages: list[Passage]) -> list[dict[str, str]]:
    """The documents behind a reply, each once."""
    titles = {passage.document.id: passage.document.title for passage in passages}
    return [{"id": document_id, "title": title} for document_id, title in titles.items()]
