"""`leave` of a scenario file: users who do not wait for the end of a reply."""

from __future__ import annotations

from streambench.drivers.leaving import Leave
from streambench.load.fields import Field, Given, Section
from streambench.load.kinds import SOME_DURATION_PATTERN, Number, Schema, pattern
from streambench.load.values import Values
from streambench.located import Located, describe

FIRST_TEXT = "first_text"
MAX_CHUNKS = 1_000_000


class Moment:
    """A number of chunks, a time, or `first_text`; read as chunks and ns, of which one is None."""

    def read(self, node: Located, values: Values, what: str) -> tuple[int | None, int | None]:
        """The moment."""
        if node.value == FIRST_TEXT:
            return 1, None
        if isinstance(node.value, int) and not isinstance(node.value, bool):
            return values.integer(node, what, 1, MAX_CHUNKS, 1), None
        if not isinstance(node.value, str):
            raise node.error(
                f"{what} is a number of chunks, a time such as 2s, or {FIRST_TEXT}, not {describe(node.value)}"
            )
        duration_ns = values.duration(node, what, 0)
        if duration_ns <= 0:
            raise node.error(f"{what} is some time above 0, such as 2s")
        return None, duration_ns

    def schema(self) -> Schema:
        """One of the three."""
        chunks = {"type": "integer", "minimum": 1, "maximum": MAX_CHUNKS}
        return {"anyOf": [chunks, pattern(FIRST_TEXT, SOME_DURATION_PATTERN)]}

    def show(self, value: object) -> str:
        """Never shown: it has no default."""
        return ""


AFTER: Field[tuple[int | None, int | None]] = Field(
    "after",
    Moment(),
    "a number of chunks, a time since the request (`2s`), or `first_text`",
    (None, None),
    required=True,
)
PROBABILITY = Field("probability", Number(0, 1), "the share of the streams that are left, 0 to 1", 1.0)
SECTION = Section("'leave'", AFTER, PROBABILITY)


def read_leave(given: Given | None) -> Leave | None:
    """When users leave; None where all stay. Raises a located ConfigurationError."""
    if given is None:
        return None
    chunks, after_ns = given[AFTER]
    return Leave(chunks, after_ns, given[PROBABILITY])
