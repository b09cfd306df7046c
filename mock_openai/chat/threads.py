"""What the store keeps of threads besides their messages: the workflow, documents, and users' preferences."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any

from mock_openai.chat.clock import now_iso
from mock_openai.chat.retrieval import Document
from mock_openai.chat.store import Conversation, Store
from mock_openai.chat.workflow import Step

_SCHEMA = """
CREATE TABLE IF NOT EXISTS threads (
    id TEXT PRIMARY KEY REFERENCES conversations(id), steps TEXT NOT NULL, position INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS documents (
    id TEXT PRIMARY KEY, thread_id TEXT NOT NULL REFERENCES threads(id), title TEXT NOT NULL, content TEXT NOT NULL,
    clearance TEXT NOT NULL, created_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS preferences (user TEXT PRIMARY KEY, data TEXT NOT NULL);
"""


@dataclass(frozen=True, slots=True)
class Thread:
    """A conversation with a workflow; `position` counts the steps that are done."""

    conversation: Conversation
    steps: tuple[Step, ...]
    position: int

    @property
    def id(self) -> str:
        """The conversation's."""
        return self.conversation.id

    @property
    def step(self) -> Step | None:
        """The step that the next message is answered in; None in an open thread, and after the last step."""
        return self.steps[self.position] if self.position < len(self.steps) else None

    def to_json(self) -> dict[str, Any]:
        """As the routes show it."""
        return {
            **self.conversation.to_json(),
            "steps": [step.to_json() for step in self.steps],
            "step": self.step.name if self.step is not None else None,
        }


class Threads:
    """Threads, each for its owner only. Every method raises StoreError."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.create_tables(_SCHEMA)

    def create(self, owner: str, title: str, steps: tuple[Step, ...]) -> Thread:
        """A new thread, before its first step."""
        conversation = self._store.create_conversation(owner, title)
        data = json.dumps([step.to_json() for step in steps])
        self._store.run("INSERT INTO threads (id, steps) VALUES (?, ?)", (conversation.id, data))
        return Thread(conversation, steps, 0)

    def get(self, owner: str, thread_id: str) -> Thread | None:
        """The thread, or None where there is none or it is somebody else's."""
        conversation = self._store.conversation(owner, thread_id)
        rows = self._store.run("SELECT steps, position FROM threads WHERE id = ?", (thread_id,))
        if conversation is None or not rows:
            return None
        return Thread(conversation, tuple(Step(**item) for item in json.loads(rows[0][0])), rows[0][1])

    def finish_step(self, thread: Thread) -> Thread:
        """The thread in its next step. A step that two replies finish at once is finished once."""
        self._store.run(
            "UPDATE threads SET position = ? WHERE id = ? AND position = ?",
            (thread.position + 1, thread.id, thread.position),
        )
        return Thread(thread.conversation, thread.steps, thread.position + 1)

    def add_document(self, thread: Thread, title: str, content: str, clearance: str) -> Document:
        """Store a document with a thread."""
        document = Document(uuid.uuid4().hex, title, content, clearance, now_iso())
        self._store.run(
            "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?)",
            (document.id, thread.id, title, content, clearance, document.created_at),
        )
        return document

    def documents(self, thread: Thread) -> list[Document]:
        """The documents of a thread, oldest first, whoever may read them."""
        rows = self._store.run(
            "SELECT id, title, content, clearance, created_at FROM documents WHERE thread_id = ? ORDER BY rowid",
            (thread.id,),
        )
        return [Document(*row) for row in rows]

    def preferences(self, user: str) -> dict[str, str]:
        """What a user prefers."""
        rows = self._store.run("SELECT data FROM preferences WHERE user = ?", (user,))
        return dict(json.loads(rows[0][0])) if rows else {}

    def set_preferences(self, user: str, preferences: dict[str, str]) -> None:
        """Replace what a user prefers."""
        self._store.run("INSERT OR REPLACE INTO preferences VALUES (?, ?)", (user, json.dumps(preferences)))
