"""The master's record of one run: which workers take part, what each has sent, and which were lost."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Participant:
    """One worker's part in a run. `late`: it joined after the run had begun; `lost`: its part never ended."""

    name: str
    late: bool = False
    lost: bool = False
    records: int = 0
    announced: int | None = None
    facts: dict[str, Any] | None = None
    live: dict[str, Any] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """It has said that its part is over, and every record of it is here."""
        return self.announced is not None and self.records >= self.announced

    def to_json(self) -> dict[str, Any]:
        """What the live page and the end of the records file say of it."""
        return {
            "name": self.name,
            "late": self.late,
            "records": self.records,
            "lost": self.lost,
            "generator": self.facts if self.facts is not None else {},
        }


class Run:
    """One run, from the first spawn order until every worker has ended or is given up."""

    def __init__(self, run_id: str, records_path: Path) -> None:
        self.id = run_id
        self.participants: dict[str, Participant] = {}
        self._fd = os.open(records_path, os.O_WRONLY | os.O_APPEND)

    def join(self, client_id: str, name: str, *, late: bool) -> Participant:
        """The worker's part, which begins here if it is new."""
        return self.participants.setdefault(client_id, Participant(name, late))

    def records(self, client_id: str, name: str, count: int, lines: bytes) -> None:
        """Append a worker's lines to the records file."""
        self.join(client_id, name, late=True).records += count
        while lines:
            lines = lines[os.write(self._fd, lines) :]

    def end(self, client_id: str, name: str, count: int, facts: dict[str, Any]) -> None:
        """A worker's part is over: so many records came from it, and this is what it saw of itself."""
        part = self.join(client_id, name, late=True)
        part.announced, part.facts = count, facts

    @property
    def complete(self) -> bool:
        """Everybody's part is over."""
        return all(part.ended for part in self.participants.values())

    def close(self) -> None:
        """The records file gets no more lines from here."""
        os.close(self._fd)
