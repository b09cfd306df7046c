"""Checks that one event requires another: whatever starts must end, whatever is announced must follow."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from streambench.dialects.checks.check import MAX_KEYS, CheckFactory, Observed, Parameters, show, value_key
from streambench.dialects.conditions import Condition, Predicate, read_condition
from streambench.findings import Axis, Finding
from streambench.paths import Getter
from streambench.rules import Rule, declare

_SOURCE = "the dialect's `invariants`"
CLOSED = declare(
    Rule(
        "EVENT.closed",
        Axis.GRAMMAR,
        "Every part that starts also ends, and no part ends that has not started.",
        _SOURCE,
    )
)
PROMISED = declare(Rule("EVENT.promised", Axis.GRAMMAR, "An event that another event announces is sent.", _SOURCE))


class Closed:
    """Every part that was started is ended before the stream ends, and none is ended that was not started."""

    def __init__(self, starts: frozenset[str], ends: frozenset[str], by: tuple[Getter, ...], label: str) -> None:
        self._starts = starts
        self._ends = ends
        self._by = by
        self._label = label
        self.names: frozenset[str] | None = starts | ends
        self._open: dict[Hashable, tuple[int, int]] = {}

    def event(self, observed: Observed) -> Finding | None:
        """Note what begins; what ends must have begun."""
        key = value_key(self._by, observed.data)
        if observed.name in self._starts:
            doubled = key in self._open
            if doubled or len(self._open) < MAX_KEYS:
                self._open[key] = (observed.index, observed.offset)
            return self._finding(observed, key, "started while it is open") if doubled else None
        if self._open.pop(key, None) is None:
            return self._finding(observed, key, "ended without having been started")
        return None

    def end(self, *, complete: bool) -> Finding | None:
        """What has begun must have ended."""
        if not complete or not self._open:
            return None
        key, (index, offset) = next(iter(self._open.items()))
        others = len(self._open) - 1
        more = f", and neither {'is' if others == 1 else 'are'} {others} more" if others else ""
        return CLOSED.of(self._label).found(
            f"The part that event {index + 1} started{_named(key)} is never ended{more}.",
            event_index=index,
            offset=offset,
            expected=tuple(sorted(self._ends)),
        )

    def _finding(self, observed: Observed, key: Hashable, what: str) -> Finding:
        return CLOSED.of(self._label).found(
            f"`{observed.name}`: the part{_named(key)} is {what}.",
            event_index=observed.index,
            offset=observed.offset,
            got=observed.name,
        )


def _named(key: Hashable) -> str:
    """The key of a part, where there is one: without `by` there is only one part."""
    return "" if key in ((), None) else f" ({show(key)})"


def closed(parameters: Parameters) -> CheckFactory:
    """`start` and `end`, events; `by`, the paths that tell parallel parts apart."""
    starts, ends = parameters.event("start"), parameters.event("end")
    label = parameters.text("start")
    by = parameters.paths("by")
    return lambda: Closed(starts, ends, by, label)


class Promised:
    """Once an event satisfies `when`, an event of the given name must come before the stream ends, or one of another
    name that satisfies a condition of its own.
    """

    def __init__(
        self,
        condition: Condition,
        when: Predicate,
        names: frozenset[str],
        label: str,
        other_names: frozenset[str],
        otherwise: Predicate,
    ) -> None:
        self.names: frozenset[str] | None = None
        self._condition = condition
        self._when = when
        self._keeping = names | other_names
        self._otherwise = otherwise
        self._wanted = names
        self._label = label
        self._promise: tuple[int, int] | None = None
        self._kept = False

    def event(self, observed: Observed) -> Finding | None:
        """Note the promise and what keeps it, in either order."""
        if self._kept:
            return None
        if observed.name in self._keeping:
            self._kept = observed.name in self._wanted or (self._promise is not None and self._otherwise(observed.data))
        if self._promise is None and self._when(observed.data):
            self._promise = (observed.index, observed.offset)
        return None

    def repeats(self, observed: Observed, changed: Any) -> bool:
        """Whether the event neither makes the promise nor keeps it, or this does not matter any more."""
        if self._kept:
            return True
        is_settled = self._promise is not None or self._condition.alike(observed.data, changed)
        return is_settled and observed.name not in self._keeping

    def end(self, *, complete: bool) -> Finding | None:
        """A promise must have been kept."""
        if not complete or self._kept or self._promise is None:
            return None
        return PROMISED.of(self._label).found(
            f"Event {self._promise[0]} announces `{self._label}`, but the stream ended without it.",
            event_index=self._promise[0],
            offset=self._promise[1],
            expected=(self._label,),
        )


def promised(parameters: Parameters) -> CheckFactory:
    """`when`, a condition; `event`, what must come; `or`, another event that keeps the promise, with its own `when`."""
    when = parameters.located("when")
    if when is None:
        raise parameters.node.error("this check needs 'when', the condition that makes the promise")
    holds = read_condition(when, "'when'")
    names = parameters.event("event")
    label = parameters.text("event")
    other = parameters.part("or", ("event", "when"))
    other_names = other.event("event") if other is not None else frozenset()
    condition = other.located("when") if other is not None else None
    keeps = read_condition(condition, "'when'") if condition is not None else Condition({})
    when_it_holds, when_it_keeps = holds.compile(), keeps.compile()
    return lambda: Promised(holds, when_it_holds, names, label, other_names, when_it_keeps)
