"""Conversations that are wrongly remembered."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mock_openai.chat.defects.defect import Defect
from mock_openai.chat.limits import HISTORY_MESSAGES
from mock_openai.chat.reply import Question
from mock_openai.chat.server import ChatServer
from mock_openai.chat.store import Message

T = TypeVar("T")


class FirstTenHistory(ChatServer):
    """With the wrong end of a conversation."""

    def history(self, owner: str, conversation_id: str) -> list[dict[str, str]]:
        """The first messages instead of the last."""
        first = self.store.messages(owner, conversation_id)[:HISTORY_MESSAGES]
        return [{"role": message.role, "content": message.content} for message in first]


class ForgetsPartialReplies(ChatServer):
    """That stores whole replies only."""

    def keep(self, question: Question, text: str, *, interrupted: bool) -> Message | None:
        """A reply that was cut short is not stored."""
        return None if interrupted else super().keep(question, text, interrupted=interrupted)


class StoreFailureEndsStream(ChatServer):
    """That cannot do without its store."""

    def survive(self, action: Callable[[], T]) -> T | None:
        """Raises StoreError."""
        return action()


DEFECTS = [
    Defect(
        "first-ten-history",
        "the model gets the oldest messages of a conversation instead of the newest",
        FirstTenHistory,
    ),
    Defect("forgets-partial-replies", "a reply that was cut short is not stored", ForgetsPartialReplies),
    Defect("store-failure-ends-stream", "a stream fails when the store does", StoreFailureEndsStream),
]
