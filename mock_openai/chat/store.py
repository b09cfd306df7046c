"""Conversations and messages in SQLite.

Everything is asked for as its owner, and what belongs to somebody else does not exist: no method reads or writes across
owners, so no route can. An owner is a user or, where conversations are shared, `project:<id>`.
"""

from __future__ import annotations

import sqlite3
import uuid
from dataclasses import asdict, dataclass
from typing import Any

from mock_openai.chat.clock import now_iso

BUSY_S = 0.05  # waiting for another process's lock holds up every stream, so not for long

_SCHEMA = """
CREATE TABLE IF NOT EXISTS conversations (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, title TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS messages (
    id TEXT PRIMARY KEY, conversation_id TEXT NOT NULL REFERENCES conversations(id), position INTEGER NOT NULL,
    role TEXT NOT NULL, content TEXT NOT NULL, interrupted INTEGER NOT NULL DEFAULT 0, created_at TEXT NOT NULL,
    UNIQUE (conversation_id, position));
"""


class StoreError(Exception):
    """The store could not do it; a stream that is running goes on without."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation; `interrupted` marks a reply that was cut short."""

    id: str
    role: str
    content: str
    interrupted: bool
    created_at: str

    def to_json(self) -> dict[str, Any]:
        """As the routes show it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation; `created_at` is ISO 8601 in UTC."""

    id: str
    title: str
    created_at: str

    def to_json(self) -> dict[str, Any]:
        """As the routes show it."""
        return asdict(self)


class Store:
    """One SQLite database. Its statements are short, so they run on the event loop's thread."""

    def __init__(self, path: str = ":memory:") -> None:
        try:
            self._db = sqlite3.connect(path, isolation_level=None, timeout=BUSY_S)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.Error as error:
            raise StoreError(f"{path}: {error}") from error
        self.create_tables(_SCHEMA)

    def create_tables(self, schema: str) -> None:
        """Create what is not there yet."""
        try:
            self._db.executescript(schema)
        except sqlite3.Error as error:
            raise StoreError(str(error)) from error

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def create_conversation(self, owner: str, title: str) -> Conversation:
        """A new conversation of `owner`. Raises StoreError."""
        conversation = Conversation(uuid.uuid4().hex, title, now_iso())
        self.run(
            "INSERT INTO conversations VALUES (?, ?, ?, ?)",
            (conversation.id, owner, conversation.title, conversation.created_at),
        )
        return conversation

    def conversation(self, owner: str, conversation_id: str) -> Conversation | None:
        """The conversation, or None where it does not exist or is somebody else's."""
        rows = self.run(
            "SELECT id, title, created_at FROM conversations WHERE id = ? AND owner = ?", (conversation_id, owner)
        )
        return Conversation(*rows[0]) if rows else None

    def messages(self, owner: str, conversation_id: str) -> list[Message]:
        """All messages, oldest first; none of a conversation that is somebody else's."""
        rows = self.run(
            "SELECT m.id, m.role, m.content, m.interrupted, m.created_at FROM messages m"
            " JOIN conversations c ON c.id = m.conversation_id"
            " WHERE c.id = ? AND c.owner = ? ORDER BY m.position",
            (conversation_id, owner),
        )
        return [Message(row[0], row[1], row[2], bool(row[3]), row[4]) for row in rows]

    def last_messages(self, owner: str, conversation_id: str, count: int) -> list[Message]:
        """The newest `count` messages, oldest first."""
        rows = self.run(
            "SELECT m.id, m.role, m.content, m.interrupted, m.created_at FROM messages m"
            " JOIN conversations c ON c.id = m.conversation_id"
            " WHERE c.id = ? AND c.owner = ? ORDER BY m.position DESC LIMIT ?",
            (conversation_id, owner, count),
        )
        return [Message(row[0], row[1], row[2], bool(row[3]), row[4]) for row in reversed(rows)]

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
        """Append a message; None, and nothing written, where the conversation is not the owner's."""
        message = Message(message_id or uuid.uuid4().hex, role, content, interrupted, now_iso())
        rows = self.run(
            "INSERT INTO messages SELECT ?, c.id,"
            " (SELECT COALESCE(MAX(position), 0) + 1 FROM messages WHERE conversation_id = c.id), ?, ?, ?, ?"
            " FROM conversations c WHERE c.id = ? AND c.owner = ? RETURNING id",
            (message.id, role, content, int(interrupted), message.created_at, conversation_id, owner),
        )
        return message if rows else None

    def run(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        """The rows of one statement. Raises StoreError."""
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise StoreError(str(error)) from error
