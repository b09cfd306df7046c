"""Being wrong on purpose: what a tester of chat servers must notice.

The server itself knows nothing of this. Each defect replaces one of its parts by a wrong one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import TypeVar

from aiohttp import web

from mock_openai.chat.auth import SEEDED_USERS, Users
from mock_openai.chat.limits import HISTORY_MESSAGES, Caps
from mock_openai.chat.provider import Delta, Prompt, Provider
from mock_openai.chat.reply import Question, Reply, ToolCallsSeen
from mock_openai.chat.server import ChatServer, ChatSettings
from mock_openai.chat.store import Conversation, Message, Store

DEFECTS: dict[str, str] = {
    "wrong-content-type": "event streams say that they are plain text",
    "first-ten-history": "the model gets the first messages of a conversation instead of the last",
    "writes-to-others": "conversations of other users can be read and written",
    "no-auth": "a wrong token, or none, signs in as the first user",
    "no-cancel": "the request to the model goes on when the client has left",
    "no-caps": "a stream that stalls is never ended",
    "double-text-on-fallback": "the next provider starts over when there was text already",
    "silent-truncation": "a reply that was cut short ends as if it were complete",
    "loses-text": "every tenth chunk is lost",
    "doubles-text": "every tenth chunk comes twice",
    "garbles-unicode": "characters beyond ASCII become question marks",
    "forgets-partial-replies": "a reply that was cut short is not stored",
    "store-failure-ends-stream": "a stream fails when the store does",
    "leaks-documents": "stored documents are shown to users who may not read them",
}
EVERY = 10
FOREVER_S = 10 * 365 * 86400.0

T = TypeVar("T")


def server_with(settings: ChatSettings) -> ChatServer:
    """The server that `settings` ask for: a correct one unless they name defects. Raises StoreError."""
    return DefectiveServer(settings) if settings.defects else ChatServer(settings)


def spoil_responses(defects: frozenset[str]) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """A signal that spoils the headers of responses."""

    async def spoil(_: web.Request, response: web.StreamResponse) -> None:
        if "wrong-content-type" in defects and response.content_type == "text/event-stream":
            response.content_type = "text/plain"

    return spoil


class DefectiveServer(ChatServer):
    """A server with some parts replaced."""

    def __init__(self, settings: ChatSettings) -> None:
        self._defects = settings.defects
        users = {**SEEDED_USERS, **settings.users}
        if "leaks-documents" in self._defects:
            settings = replace(settings, clearances=dict.fromkeys(users, "secret"))
        if "no-caps" in self._defects:
            settings = replace(settings, caps=Caps(FOREVER_S, 1 << 60, FOREVER_S))
        super().__init__(settings)
        if "no-auth" in self._defects:
            self.users = OpenDoor(users)
        if "double-text-on-fallback" in self._defects:
            self.reply_type = RepeatingReply

    def open_store(self) -> Store:
        """Raises StoreError."""
        return SharedStore(self.settings.db) if "writes-to-others" in self._defects else super().open_store()

    def history(self, owner: str, conversation_id: str) -> list[dict[str, str]]:
        """With `first-ten-history` the first messages instead of the last."""
        if "first-ten-history" not in self._defects:
            return super().history(owner, conversation_id)
        first = self.store.messages(owner, conversation_id)[:HISTORY_MESSAGES]
        return [{"role": message.role, "content": message.content} for message in first]

    def survive(self, action: Callable[[], T]) -> T | None:
        """With `store-failure-ends-stream` it raises StoreError."""
        return action() if "store-failure-ends-stream" in self._defects else super().survive(action)

    def reply(
        self,
        question: Question,
        *,
        providers: Sequence[Provider] | None = None,
        on_tool_calls: ToolCallsSeen | None = None,
    ) -> Reply:
        """A reply from spoilt providers."""
        spoilt = [SpoiltProvider(provider, self._defects) for provider in providers or (self.openai,)]
        return super().reply(question, providers=spoilt, on_tool_calls=on_tool_calls)

    def keep(self, question: Question, text: str, *, interrupted: bool) -> Message | None:
        """With `forgets-partial-replies` a reply that was cut short is not stored."""
        if interrupted and "forgets-partial-replies" in self._defects:
            return None
        return super().keep(question, text, interrupted=interrupted)


class RepeatingReply(Reply):
    """A reply that starts over with the next provider, whatever the user has already."""

    def _may_ask_another(self) -> bool:
        return True


class SpoiltProvider:
    """A provider whose replies are damaged on their way."""

    def __init__(self, provider: Provider, defects: frozenset[str]) -> None:
        self._provider = provider
        self._defects = defects

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Delta, None]:
        """The reply, lost, doubled, garbled or cut in silence as the defects say."""
        defects, count = self._defects, 0
        chunks = self._provider.stream(prompt)
        try:
            async with aclosing(_unstoppable(chunks) if "no-cancel" in defects else chunks) as deltas:
                async for delta in deltas:
                    count += 1
                    if "garbles-unicode" in defects:
                        delta = replace(delta, text=delta.text.encode("ascii", "replace").decode())
                    if "loses-text" not in defects or count % EVERY:
                        yield delta
                    if "doubles-text" in defects and count % EVERY == 0:
                        yield delta
        except Exception:
            if "silent-truncation" not in defects or count == 0:
                raise

    async def complete(self, prompt: Prompt) -> Delta:
        """The whole reply, unspoilt."""
        return await self._provider.complete(prompt)

    async def close(self) -> None:
        """Close the provider behind."""
        await self._provider.close()


async def _unstoppable(chunks: AsyncGenerator[Delta, None]) -> AsyncGenerator[Delta, None]:
    """The same chunks, but leaving early does not stop where they come from."""
    queue: asyncio.Queue[Delta | Exception | None] = asyncio.Queue()

    async def pump() -> None:
        try:
            async for delta in chunks:
                queue.put_nowait(delta)
            queue.put_nowait(None)
        except Exception as failure:
            queue.put_nowait(failure)

    task = asyncio.create_task(pump())
    _pumping.add(task)
    task.add_done_callback(_pumping.discard)
    while (item := await queue.get()) is not None:
        if isinstance(item, Exception):
            raise item
        yield item


_pumping: set[asyncio.Task[None]] = set()  # the event loop alone would not keep them


class OpenDoor(Users):
    """Users of whom nobody is turned away."""

    def of_token(self, token: str) -> str | None:
        """The token's user, or else the first user."""
        return super().of_token(token) or next(iter(SEEDED_USERS))


class SharedStore(Store):
    """A store that does not ask whose a conversation is."""

    def conversation(self, owner: str, conversation_id: str) -> Conversation | None:
        """The conversation, whoever's it is."""
        return super().conversation(self._real_owner(owner, conversation_id), conversation_id)

    def messages(self, owner: str, conversation_id: str) -> list[Message]:
        """Its messages, whoever's it is."""
        return super().messages(self._real_owner(owner, conversation_id), conversation_id)

    def last_messages(self, owner: str, conversation_id: str, count: int) -> list[Message]:
        """Its newest messages, whoever's it is."""
        return super().last_messages(self._real_owner(owner, conversation_id), conversation_id, count)

    def add_message(
        self,
        owner: str,
        conversation_id: str,
        role: str,
        content: str,
        *,
        interrupted: bool = False,
        message_id: str | None = None,
    ) -> Message | None:
        """Append a message, whoever's conversation it is."""
        real = self._real_owner(owner, conversation_id)
        return super().add_message(real, conversation_id, role, content, interrupted=interrupted, message_id=message_id)

    def _real_owner(self, owner: str, conversation_id: str) -> str:
        rows = self.run("SELECT owner FROM conversations WHERE id = ?", (conversation_id,))
        return str(rows[0][0]) if rows else owner
