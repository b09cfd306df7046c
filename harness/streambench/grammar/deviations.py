"""How a stream can depart from its event grammar: the rules, and the deviation that names one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from streambench.findings import Axis, Severity
from streambench.rules import Rule, declare

_SOURCE: Final = "the dialect's `grammar`"
_SLICES: Final = "the dialect's `grammar`, an `each`"

UNEXPECTED_EVENT: Final = declare(
    Rule("grammar.unexpected-event", Axis.GRAMMAR, "An event is sent only where the grammar allows it.", _SOURCE)
)
AFTER_TERMINAL: Final = declare(
    Rule(
        "grammar.after-terminal",
        Axis.GRAMMAR,
        "Nothing follows once the reply is complete; reported once.",
        "the dialect's `terminal` event",
    )
)
AFTER_INTERRUPT: Final = declare(
    Rule(
        "grammar.after-interrupt",
        Axis.GRAMMAR,
        "Nothing follows an event that cuts the reply short; reported once.",
        "the dialect's `interrupt`",
    )
)
INCOMPLETE_SLICE: Final = declare(
    Rule("grammar.incomplete-slice", Axis.GRAMMAR, "Each part is finished before the stream moves on.", _SLICES)
)
NO_SLICE_KEY: Final = declare(
    Rule(
        "grammar.no-slice-key",
        Axis.GRAMMAR,
        "Every event of a part carries the field that identifies the part.",
        _SLICES,
    )
)
TOO_MANY_SLICES: Final = declare(
    Rule(
        "grammar.too-many-slices",
        Axis.GRAMMAR,
        "A stream has at most 10,000 parts at once; further parts are not checked.",
        "a bound of this tool",
    )
)
TOLERATED: Final = declare(
    Rule(
        "grammar.tolerated",
        Axis.GRAMMAR,
        "An event that the grammar marks with `~` should not be sent; reported once per event.",
        _SOURCE,
        Severity.INFO,
    )
)


@dataclass(slots=True, frozen=True)
class Deviation:
    """How an event departs from the grammar. `where` names the slice, if it is about one.

    `expected` are the events that fit, and `completion` the shortest sequence that would finish an unfinished part.
    """

    broken: Rule
    expected: tuple[str, ...] = ()
    where: str | None = None
    completion: tuple[str, ...] = ()

    @property
    def rule(self) -> str:
        """The id of the broken rule."""
        return self.broken.id
