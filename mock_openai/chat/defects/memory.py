"""Defects in history, storage and requests to the model."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from mock_openai.chat.defects.defect import Defect
from mock_openai.chat.limits import HISTORY_MESSAGES
from mock_openai.chat.provider import OpenAIProvider, Prompt, Provider
from mock_openai.chat.reply import Question, Reply, ToolCallsSeen
from mock_openai.chat.server import ChatServer, ChatSettings
from mock_openai.chat.store import Message, Store

LATE_S = 1.0
Messages = list[dict[str, str]]


def history_as(change: Callable[[Messages], Messages]) -> type[ChatServer]:
    """A server that changes what it sends of a conversation."""

    class Changed(ChatServer):
        """The server."""

        def history(self, owner: str, conversation_id: str) -> Messages:
            """The changed history."""
            return change(super().history(owner, conversation_id))

    return Changed


class AllHistory(ChatServer):
    """With no bound on a conversation."""

    def history(self, owner: str, conversation_id: str) -> Messages:
        """All of it."""
        return [
            {"role": message.role, "content": message.content}
            for message in self.store.messages(owner, conversation_id)
        ]


class MixesHistories(ChatServer):
    """That does not tell conversations apart."""

    def history(self, owner: str, conversation_id: str) -> Messages:
        """The newest messages of the owner."""
        rows = self.store.run(
            "SELECT m.role, m.content FROM messages m JOIN conversations c ON c.id = m.conversation_id"
            " WHERE c.owner = ? ORDER BY m.created_at DESC LIMIT ?",
            (owner, HISTORY_MESSAGES),
        )
        return [{"role": row[0], "content": row[1]} for row in reversed(rows)]


def prompt_as(change: Callable[[Prompt], Prompt]) -> type[ChatServer]:
    """A server that changes what it asks."""

    class Changed(ChatServer):
        """The server."""

        def reply(
            self,
            question: Question,
            *,
            providers: Sequence[Provider] | None = None,
            on_tool_calls: ToolCallsSeen | None = None,
        ) -> Reply:
            """A reply to something else."""
            other = replace(question, prompt=change(question.prompt))
            return super().reply(other, providers=providers, on_tool_calls=on_tool_calls)

    return Changed


def asking(change: Callable[[dict[str, Any]], dict[str, Any]], **client: Any) -> type[ChatServer]:
    """A server that asks the model with other arguments."""

    class Provider(OpenAIProvider):
        """The provider."""

        def _arguments(self, prompt: Prompt) -> dict[str, Any]:
            return change(super()._arguments(prompt))

    class Changed(ChatServer):
        """The server."""

        def __init__(self, settings: ChatSettings) -> None:
            super().__init__(settings)
            self.openai = Provider(f"{settings.upstream.rstrip('/')}/v1", settings.api_key, settings.model)
            if client:
                self.openai._client = self.openai._client.with_options(**client)

    return Changed


class ForgetsQuestions(ChatServer):
    """That does not store what users say."""

    def remember(self, owner: str, conversation_id: str, text: str) -> Message | None:
        """Nothing is stored."""
        return None


class ForgetsReplies(ChatServer):
    """That does not store replies."""

    def keep(self, question: Question, text: str, *, interrupted: bool) -> Message | None:
        """Nothing is stored."""
        return None


class ForgetsAbandoned(ChatServer):
    """That stores nothing for whom has left."""

    def keep(self, question: Question, text: str, *, interrupted: bool) -> Message | None:
        """Nothing is stored while a stream is being cancelled."""
        if isinstance(sys.exc_info()[1], GeneratorExit | asyncio.CancelledError):
            return None
        return super().keep(question, text, interrupted=interrupted)


class StoresLate(ChatServer):
    """That stores replies a second later."""

    def keep(self, question: Question, text: str, *, interrupted: bool) -> Message | None:
        """Stored later."""
        store = super().keep
        asyncio.get_running_loop().call_later(LATE_S, lambda: store(question, text, interrupted=interrupted))
        return None


class HidesInterruption(ChatServer):
    """That takes every reply for whole."""

    def keep(self, question: Question, text: str, *, interrupted: bool) -> Message | None:
        """Stored as whole."""
        return super().keep(question, text, interrupted=False)


class StoresInNewest(ChatServer):
    """That has one current conversation for everybody."""

    _newest: tuple[str, str] | None = None

    def remember(self, owner: str, conversation_id: str, text: str) -> Message | None:
        """Stored, and from now on current."""
        self._newest = (owner, conversation_id)
        return super().remember(owner, conversation_id, text)

    def keep(self, question: Question, text: str, *, interrupted: bool) -> Message | None:
        """Stored in the current conversation."""
        return super().keep(replace(question, conversation=self._newest), text, interrupted=interrupted)


class ReversedStore(Store):
    """A store that shows conversations from their end."""

    def messages(self, owner: str, conversation_id: str) -> list[Message]:
        """The newest first."""
        return super().messages(owner, conversation_id)[::-1]


class StoresReversed(ChatServer):
    """With the newest messages first."""

    def open_store(self) -> Store:
        """Raises StoreError."""
        return ReversedStore(self.settings.db)


class LeaksStreams(ChatServer):
    """That never gives a stream back."""

    def reply(
        self,
        question: Question,
        *,
        providers: Sequence[Provider] | None = None,
        on_tool_calls: ToolCallsSeen | None = None,
    ) -> Reply:
        """A reply that stays open."""
        self.figures.begin("leaked")
        return super().reply(question, providers=providers, on_tool_calls=on_tool_calls)


class NoFallback(ChatServer):
    """With one provider."""

    @property
    def in_turn(self) -> tuple[Provider, ...]:
        """OpenAI alone."""
        return (self.openai,)


DEFECTS = [
    Defect("no-history", "the model does not get the earlier messages", history_as(lambda messages: [])),
    Defect(
        "history-roles",
        "the model gets its own replies with the user's role",
        history_as(lambda messages: [{**message, "role": "user"} for message in messages]),
    ),
    Defect("history-reversed", "the model gets the newest message first", history_as(lambda messages: messages[::-1])),
    Defect("all-history", "the model gets every message of a conversation", AllHistory),
    Defect("mixes-histories", "the model gets messages from other conversations", MixesHistories),
    Defect(
        "doubles-question",
        "the model gets the question twice",
        prompt_as(lambda prompt: replace(prompt, messages=(*prompt.messages, prompt.messages[-1]))),
    ),
    Defect("ignores-model", "the requested model is ignored", prompt_as(lambda p: replace(p, model=None))),
    Defect("other-params", "the temperature is 1", asking(lambda arguments: {**arguments, "temperature": 1.0})),
    Defect(
        "no-max-tokens",
        "replies have no length limit",
        asking(lambda arguments: {k: v for k, v in arguments.items() if not k.startswith("max_")}),
    ),
    Defect("no-retry", "failed requests are not retried", asking(lambda arguments: arguments, max_retries=0)),
    Defect("forgets-questions", "questions are not stored", ForgetsQuestions),
    Defect("forgets-replies", "replies are not stored", ForgetsReplies),
    Defect("forgets-abandoned", "a reply is not stored if its client disconnects", ForgetsAbandoned),
    Defect("stores-late", "replies are stored a second late", StoresLate),
    Defect("stores-reversed", "conversations are returned newest first", StoresReversed),
    Defect("hides-interruption", "replies that were cut short are stored as complete", HidesInterruption),
    Defect("stores-in-newest", "replies are stored in the newest conversation", StoresInNewest),
    Defect("leaks-streams", "streams are never released", LeaksStreams),
    Defect("no-fallback", "no other provider is tried", NoFallback),
]
