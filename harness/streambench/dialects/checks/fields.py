"""Checks of one field in every event that has it: order, constancy, sequence, a flag on the last one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import chain
from typing import Any

from streambench.dialects.checks.check import CheckFactory, CheckKind, Column, Observed, Parameters, show
from streambench.findings import Axis, Finding
from streambench.paths import MISSING, Getter
from streambench.rules import Rule, declare

_SOURCE = "the dialect's `invariants`"
NONDECREASING = declare(
    Rule("PATH.nondecreasing", Axis.TIMING, "A number or timestamp never decreases within a stream.", _SOURCE)
)
CONSTANT = declare(
    Rule("PATH.constant", Axis.GRAMMAR, "A field has the same value in every event that has it.", _SOURCE)
)
CONTIGUOUS = declare(
    Rule(
        "PATH.contiguous",
        Axis.GRAMMAR,
        "A sequence number grows by one: none is skipped, repeated or out of order.",
        _SOURCE,
    )
)
LAST_ONLY = declare(
    Rule("PATH.last_only", Axis.GRAMMAR, "A flag is set on the last event that carries it, and on no other.", _SOURCE)
)


class Field:
    """What the checks of one field have in common: they see it wherever it is present."""

    rule: Rule

    def __init__(self, names: frozenset[str] | None, path: Getter, label: str) -> None:
        self.names = names
        self._path = path
        self._label = label

    def event(self, observed: Observed) -> Finding | None:
        """What is wrong with the field of this event, if it has it."""
        value = self._path(observed.data)
        return None if value is MISSING or value is None else self._value(value, observed)

    def repeats(self, observed: Observed, changed: Any) -> bool:
        """Whether the event lacks the field."""
        return self._path(observed.data) in (MISSING, None) and self._path(changed) in (MISSING, None)

    def end(self, *, complete: bool) -> Finding | None:
        """What is wrong with the field in the stream as a whole."""
        return None

    def _value(self, value: Any, observed: Observed) -> Finding | None:
        raise NotImplementedError

    def _finding(self, observed: Observed, message: str, value: Any, expected: str) -> Finding:
        return self.rule.of(self._label).found(
            message,
            event_index=observed.index,
            offset=observed.offset,
            got=show(value),
            expected=(expected,),
        )


def field_kind(check: type[Field]) -> CheckKind:
    """A kind of check that needs no more than a field: `path`, and `event` where only some events count."""

    def kind(parameters: Parameters) -> CheckFactory:
        path = parameters.path("path")
        label = parameters.text("path")
        names = parameters.optional_event("event")
        return lambda: check(names, path, label)

    return kind


class Nondecreasing(Field):
    """Numbers, or times in ISO 8601, never go back."""

    rule = NONDECREASING

    def __init__(self, names: frozenset[str] | None, path: Getter, label: str) -> None:
        super().__init__(names, path, label)
        self._last: Any = None

    def repeats(self, observed: Observed, changed: Any) -> bool:
        """Whether the field stays what it is now."""
        value = self._path(observed.data)
        is_same = value == self._path(changed) == self._last and in_order(value, value)
        return is_same or super().repeats(observed, changed)

    def column(self, observed: Observed, changed: Any, holes: Sequence[Any], text: int) -> Column | None:
        """The field itself."""
        value = self._path(changed)
        if not isinstance(value, str | int | float) or value not in holes:
            return None
        return Column(holes.index(value), self._are_in_order, self._take)

    def _are_in_order(self, values: Sequence[Any]) -> bool:
        return self._last is not None and all(map(in_order, chain((self._last,), values), values))

    def _take(self, values: Sequence[Any]) -> None:
        self._last = values[-1]

    def _value(self, value: Any, observed: Observed) -> Finding | None:
        last, self._last = self._last, value
        if last is None or in_order(last, value):
            return None
        return self._finding(
            observed,
            f"`{self._label}` went back, from {show(last)} to {show(value)}.",
            value,
            f">= {show(last)}",
        )


def in_order(last: Any, value: Any) -> bool:
    """Whether a value may follow another: numbers by size, texts as times of ISO 8601 where they are times."""
    if isinstance(last, str) and isinstance(value, str):
        try:
            return datetime.fromisoformat(last) <= datetime.fromisoformat(value)
        except (ValueError, TypeError):  # not times, or one with and one without a zone: compared as text
            return last <= value
    try:
        return bool(last <= value)
    except TypeError:
        return False


class Constant(Field):
    """The field is the same in every event that has it."""

    rule = CONSTANT

    def __init__(self, names: frozenset[str] | None, path: Getter, label: str) -> None:
        super().__init__(names, path, label)
        self._first: Any = None
        self._other: Any = None  # seen once: a slip, or what the field has changed to for good

    def event(self, observed: Observed) -> Finding | None:
        """Compare the field with that of the events before; a change for good is reported once."""
        value = self._path(observed.data)
        if value == self._first or value is MISSING or value is None:
            return None
        return self._value(value, observed)

    def repeats(self, observed: Observed, changed: Any) -> bool:
        """Whether the field stays what it was from the first."""
        return bool(self._path(changed) == self._path(observed.data) == self._first) or super().repeats(
            observed, changed
        )

    def _value(self, value: Any, observed: Observed) -> Finding | None:
        first = self._first
        if first is None or value == self._other:
            self._first, self._other = value, None
            return None
        self._other = value
        return self._finding(
            observed,
            f"`{self._label}` changed within the stream, from {show(first)} to {show(value)}.",
            value,
            show(first),
        )


class Contiguous(Field):
    """A sequence number grows by one from event to event, beginning with `first` where that is given. One that comes
    late, after a gap, is not reported again.
    """

    rule = CONTIGUOUS

    def __init__(self, names: frozenset[str] | None, path: Getter, label: str, first: int | None = None) -> None:
        super().__init__(names, path, label)
        self._next = first
        self._missing: range = range(0)

    def _value(self, value: Any, observed: Observed) -> Finding | None:
        due = self._next
        if value.__class__ is int and (due is None or value == due):
            self._next = value + 1
            return None
        if due is None:
            due = 0
        if value.__class__ is int:
            if value in self._missing:
                return None
            if value > due:
                self._missing = range(due, value)
            self._next = max(value + 1, due)
        return self._finding(
            observed,
            f"`{self._label}` is {show(value)} where {due} was expected: events were lost, duplicated or reordered.",
            value,
            str(due),
        )


def contiguous(parameters: Parameters) -> CheckFactory:
    """`path`, `event` where only some events count, and `from`, the first number."""
    path = parameters.path("path")
    label = parameters.text("path")
    names = parameters.optional_event("event")
    first = parameters.integer("from")
    return lambda: Contiguous(names, path, label, first)


class LastOnly(Field):
    """A flag is set on the last event that carries it, and on no other."""

    rule = LAST_ONLY

    def __init__(self, names: frozenset[str] | None, path: Getter, label: str) -> None:
        super().__init__(names, path, label)
        self._last: tuple[Observed, bool] | None = None
        self._reported = False

    def _value(self, value: Any, observed: Observed) -> Finding | None:
        last, self._last = self._last, (observed, bool(value))
        if last is None or not last[1] or self._reported:
            return None
        self._reported = True
        return self._finding(
            observed,
            f"`{self._label}` was already true in event {last[0].index + 1}, so nothing of the kind should follow.",
            value,
            "no further event with it",
        )

    def end(self, *, complete: bool) -> Finding | None:
        """The flag must be set on the last event that has it."""
        if not complete or self._reported or self._last is None or self._last[1]:
            return None
        observed, _ = self._last
        return self._finding(
            observed,
            f"`{self._label}` is true in no event; it should be in this one, the last that carries it.",
            False,
            "true",
        )
