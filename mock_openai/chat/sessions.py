"""What the store keeps of sessions besides their messages: the context."""

from __future__ import annotations

import json

from mock_openai.chat.intent import Context
from mock_openai.chat.store import Store

_SCHEMA = """
CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY REFERENCES conversations(id), context TEXT NOT NULL);
"""


class Sessions:
    """The contexts of conversations whose owner is known already. Every method raises StoreError."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.create_tables(_SCHEMA)

    def context(self, session_id: str) -> Context:
        """What is known of a session; an empty context of a new one."""
        rows = self._store.run("SELECT context FROM sessions WHERE id = ?", (session_id,))
        if not rows:
            return Context()
        data = json.loads(rows[0][0])
        return Context(data["intent"], tuple(data["entities"]), data["turns"])

    def set_context(self, session_id: str, context: Context) -> None:
        """Keep the context for the next message."""
        self._store.run("INSERT OR REPLACE INTO sessions VALUES (?, ?)", (session_id, json.dumps(context.to_json())))
