"""Projects that several users share."""

from __future__ import annotations

import re

from mock_openai.chat.store import Store

PROJECT_ID = re.compile(r"[\w.-]{1,64}\Z")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS projects (id TEXT PRIMARY KEY, owner TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS members (
    project_id TEXT NOT NULL REFERENCES projects(id), user TEXT NOT NULL, PRIMARY KEY (project_id, user));
"""


def owner_of_conversations(project_id: str) -> str:
    """Under which owner the store keeps a project's conversations. No user's name has a colon."""
    return f"project:{project_id}"


class Projects:
    """Who may use which project. Every method raises StoreError."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.create_tables(_SCHEMA)

    def open(self, user: str, project_id: str) -> bool:
        """Whether the user may use the project. The first who opens one owns it."""
        self._store.run("INSERT OR IGNORE INTO projects VALUES (?, ?)", (project_id, user))
        return self.is_member(user, project_id)

    def is_member(self, user: str, project_id: str) -> bool:
        """Whether the user owns the project or was let in."""
        rows = self._store.run(
            "SELECT 1 FROM projects WHERE id = ? AND owner = ?"
            " UNION SELECT 1 FROM members WHERE project_id = ? AND user = ?",
            (project_id, user, project_id, user),
        )
        return bool(rows)

    def add_member(self, owner: str, project_id: str, user: str) -> bool:
        """Let another user in; False where the project is not the owner's."""
        rows = self._store.run(
            "INSERT OR REPLACE INTO members SELECT id, ? FROM projects WHERE id = ? AND owner = ? RETURNING user",
            (user, project_id, owner),
        )
        return bool(rows)
