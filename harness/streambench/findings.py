"""Violations of a protocol as data: what the parsers, the grammar and the checks report.

A server that misbehaves is the thing this tool exists to measure, so a misbehaviour is a value and never an exception.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Axis(StrEnum):
    """The four verdicts that are kept apart, and `interop` for what popular SDKs would read differently."""

    CONTENT = "content"
    GRAMMAR = "grammar"
    TERMINATION = "termination"
    TIMING = "timing"
    INTEROP = "interop"


class Severity(StrEnum):
    """A violation breaks the protocol; information does not."""

    VIOLATION = "violation"
    INFO = "info"


@dataclass(slots=True, frozen=True)
class Finding:
    """One deviation: where it was, what came, what was expected, and which rule says so.

    `event_index` counts the stream's events from 0; `offset` counts bytes of the decoded stream from 0. Both are
    None where the finding is about the stream as a whole.
    """

    axis: Axis
    rule: str
    message: str
    severity: Severity = Severity.VIOLATION
    event_index: int | None = None
    offset: int | None = None
    got: str | None = None
    expected: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Where it was, for people: `event 3, byte 152`, or nothing. Events count from 1 here, bytes from 0."""
        event = () if self.event_index is None else (f"event {self.event_index + 1}",)
        byte = () if self.offset is None else (f"byte {self.offset}",)
        return ", ".join((*event, *byte))

    @property
    def untold(self) -> tuple[str | None, tuple[str, ...]]:
        """What came and what was expected, each only where the message does not say it already."""
        known = self.got is None or self.got == "end of stream" or f"`{self.got}`" in self.message
        listed = "nothing may follow" in self.message or all(f"`{name}`" in self.message for name in self.expected)
        return None if known else self.got, () if listed else self.expected

    def to_json(self) -> dict[str, Any]:
        """As it stands in a record; what is at its default is left out."""
        out: dict[str, Any] = {"axis": self.axis, "rule": self.rule, "message": self.message}
        if self.severity is not Severity.VIOLATION:
            out["severity"] = self.severity
        for name in ("event_index", "offset", "got"):
            value = getattr(self, name)
            if value is not None:
                out[name] = value
        if self.expected:
            out["expected"] = list(self.expected)
        return out

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Finding:
        """Reads what `to_json` wrote."""
        return cls(
            axis=Axis(data["axis"]),
            rule=data["rule"],
            message=data["message"],
            severity=Severity(data.get("severity", Severity.VIOLATION)),
            event_index=data.get("event_index"),
            offset=data.get("offset"),
            got=data.get("got"),
            expected=tuple(data.get("expected", ())),
        )
