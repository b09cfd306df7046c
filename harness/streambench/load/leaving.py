"""`leave` of a scenario file: users who do not wait for the end of a reply."""

from __future__ import annotations

import re
from dataclasses import replace

from streambench.dialects.milestone import NAME
from streambench.drivers.leaving import Leave
from streambench.load.fields import Field, Given, Section
from streambench.load.kinds import SOME_DURATION_PATTERN, Number, Schema, pattern
from streambench.load.values import Values
from streambench.located import Located, describe

FIRST_TEXT = "first_text"
MAX_CHUNKS = 1_000_000


class Moment:
    """A number of chunks, a time, `first_text`, or a milestone; read as what a `Leave` is made of."""

    def read(self, node: Located, values: Values, what: str) -> Leave:
        """The moment."""
        if node.value == FIRST_TEXT:
            return Leave(chunks=1)
        if isinstance(node.value, int) and not isinstance(node.value, bool):
            return Leave(chunks=values.integer(node, what, 1, MAX_CHUNKS, 1))
        if not isinstance(node.value, str):
            raise node.error(
                f"{what} is a number of chunks, a time such as 2s, {FIRST_TEXT}, or a milestone, not "
                f"{describe(node.value)}"
            )
        if re.fullmatch(NAME, node.value):
            return _at_milestone(node, values, what)
        duration_ns = values.duration(node, what, 0)
        if duration_ns <= 0:
            raise node.error(f"{what} must be longer than 0, such as 2s")
        return Leave(after_ns=duration_ns)

    def schema(self) -> Schema:
        """One of the four."""
        chunks = {"type": "integer", "minimum": 1, "maximum": MAX_CHUNKS}
        return {"anyOf": [chunks, pattern(NAME, SOME_DURATION_PATTERN)]}

    def show(self, value: object) -> str:
        """Never shown: it has no default."""
        return ""


def _at_milestone(node: Located, values: Values, what: str) -> Leave:
    if node.value not in values.milestones:
        known = (FIRST_TEXT, *values.milestones)
        raise node.error(
            f"{what} is a number of chunks, a time such as 2s, {FIRST_TEXT}, or a milestone of every target, and "
            f"{node.value!r} is none.",
            text=node.value,
            valid=known,
        )
    return Leave(milestone=node.value)


AFTER: Field[Leave] = Field(
    "after",
    Moment(),
    "a number of chunks, a time since the request (`2s`), `first_text`, or a "
    "[milestone](dialect-file.md#milestones) that every target has",
    Leave(),
    required=True,
)
PROBABILITY = Field("probability", Number(0, 1), "the share of streams that are left, 0 to 1", 1.0)
SECTION = Section("'leave'", AFTER, PROBABILITY)


def read_leave(given: Given | None) -> Leave | None:
    """When users leave; None where all stay. Raises a located ConfigurationError."""
    if given is None:
        return None
    return replace(given[AFTER], probability=given[PROBABILITY])
