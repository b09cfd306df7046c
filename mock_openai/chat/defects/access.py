"""Users who get access to what is not theirs."""

from __future__ import annotations

from dataclasses import replace

from mock_openai.chat.auth import SEEDED_USERS, Users
from mock_openai.chat.defects.defect import Defect
from mock_openai.chat.server import ChatServer, ChatSettings
from mock_openai.chat.store import Conversation, Message, Store


class WritesToOthers(ChatServer):
    """With a store that does not ask whose a conversation is."""

    def open_store(self) -> Store:
        """Raises StoreError."""
        return SharedStore(self.settings.db)


class SharedStore(Store):
    """Everybody reads and writes everything."""

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


class NoAuth(ChatServer):
    """With users of whom nobody is turned away."""

    def open_users(self) -> Users:
        """Everybody is somebody."""
        first = next(iter(SEEDED_USERS))
        return OpenDoor({**SEEDED_USERS, **self.settings.users}, guest=first)


class OpenDoor(Users):
    """A wrong token is the first user's."""

    def of_token(self, token: str) -> str | None:
        """The token's user, or else the first user."""
        return super().of_token(token) or next(iter(SEEDED_USERS))


class LeaksDocuments(ChatServer):
    """With the highest clearance for everybody."""

    def __init__(self, settings: ChatSettings) -> None:
        users = {**SEEDED_USERS, **settings.users}
        super().__init__(replace(settings, clearances=dict.fromkeys(users, "secret")))


DEFECTS = [
    Defect("writes-to-others", "conversations of other users can be read and written", WritesToOthers),
    Defect("no-auth", "a wrong token, or none, signs in as the first user", NoAuth),
    Defect("leaks-documents", "stored documents are shown to users who may not read them", LeaksDocuments),
]
