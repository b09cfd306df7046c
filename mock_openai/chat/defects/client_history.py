"""Histories that clients send with their questions, passed on wrongly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from aiohttp import web

from mock_openai.chat.defects.defect import Defect
from mock_openai.chat.defects.messages import framed, incoming, parsed
from mock_openai.chat.limits import HISTORY_MESSAGES
from mock_openai.chat.provider import Provider
from mock_openai.chat.reply import Question, Reply, ToolCallsSeen
from mock_openai.chat.server import ChatServer

Messages = list[dict[str, Any]]


def _sending(change: Callable[[Messages], Messages]) -> Callable[[web.StreamResponse], None]:
    """Changes the messages of a question before they are read."""

    async def look(text: str, _: ChatServer) -> str:
        message = parsed(text)
        if message is None or not isinstance(message.get("messages"), list):
            return text
        return framed({**message, "messages": change(message["messages"])})

    return lambda response: incoming(response, look)


class AddsStored(ChatServer):
    """That sends the model what it has stored, beside what the client says."""

    def reply(
        self,
        question: Question,
        *,
        providers: Sequence[Provider] | None = None,
        on_tool_calls: ToolCallsSeen | None = None,
    ) -> Reply:
        """A reply to all of it."""
        if question.conversation is not None:
            stored = self.history(*question.conversation)[:-1]  # the last one is the question
            question = replace(question, prompt=replace(question.prompt, messages=(*stored, *question.prompt.messages)))
        return super().reply(question, providers=providers, on_tool_calls=on_tool_calls)


class SendsAll(ChatServer):
    """That sends the model all that a client says."""

    said: Messages | None = None

    def reply(
        self,
        question: Question,
        *,
        providers: Sequence[Provider] | None = None,
        on_tool_calls: ToolCallsSeen | None = None,
    ) -> Reply:
        """A reply to the last message, with all before it."""
        if self.said is not None:
            question = replace(question, prompt=replace(question.prompt, messages=tuple(self.said)))
        return super().reply(question, providers=providers, on_tool_calls=on_tool_calls)


def _hearing_all(response: web.StreamResponse) -> None:
    async def look(text: str, server: ChatServer) -> str:
        message = parsed(text)
        if message is not None and isinstance(message.get("messages"), list) and isinstance(server, SendsAll):
            server.said = message["messages"]
        return text

    incoming(response, look)


DEFECTS = [
    Defect(
        "last-message-only", "the model gets only the client's last message", spoil=_sending(lambda said: said[-1:])
    ),
    Defect(
        "client-roles-lost",
        "the model gets all of the client's messages with the user's role",
        spoil=_sending(lambda said: [{**message, "role": "user"} for message in said]),
    ),
    Defect(
        "oldest-of-client",
        "the model gets the oldest messages of a client instead of the newest",
        spoil=_sending(lambda said: [*said[:-1][:HISTORY_MESSAGES], said[-1]]),
    ),
    Defect("adds-stored-history", "the stored history is added to the client's", AddsStored),
    Defect("all-of-client", "the model gets every message that a client sends", SendsAll, spoil=_hearing_all),
]
