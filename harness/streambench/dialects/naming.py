"""Which event a message is.

A message is named by a field, by the framing's own event name, by the one key of its object that is an event, or by
conditions alone. The event found so may be refined: those that name it in their `of` are tried first, and it is meant
itself where none of their conditions holds. An `of` that ends in `*` stands for all names that begin so. Conditions
never overlap (the loader sees to it), so their order does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from streambench.dialects.conditions import Condition, Predicate
from streambench.dialects.dialect import Classifier, EventRule
from streambench.paths import MISSING, compile_path
from streambench.wire.message import WireMessage

WIRE_NAMES = {"sse.event": "sse", "socketio.event": "socketio"}
BY_KEY = "keys"


@dataclass(slots=True, frozen=True)
class Candidates:
    """An event and what refines it. `rule` is None where only the refinements are events of the dialect."""

    rule: EventRule | None
    refinements: tuple[tuple[Predicate, EventRule], ...] = ()

    def choose(self, data: Any) -> EventRule | None:
        """The rule of the first refinement whose condition holds, or that of the event itself."""
        for holds, rule in self.refinements:
            if holds(data):
                return rule
        return self.rule


def by_field(path: str, candidates: Mapping[str, Candidates]) -> Classifier:
    """The name is the text at `path`; a whole number counts as its digits."""
    get = compile_path(path)

    def classify(message: WireMessage, data: Any) -> EventRule | str:
        name = get(data)
        if name.__class__ is int:
            name = str(name)
        if name.__class__ is not str:
            return f"there is no name at {path!r}" if name is MISSING else f"the name at {path!r} is not text"
        return _choose(candidates, name, data)

    return classify


def by_wire(candidates: Mapping[str, Candidates]) -> Classifier:
    """The name is the event type of SSE (`message` where it has none) or the event name of Socket.IO."""

    def classify(message: WireMessage, data: Any) -> EventRule | str:
        found = _choose(candidates, message.event or "message", data)
        if isinstance(found, str) and not message.event:
            return "its block has no `event:` line, by which clients of this protocol tell what it is"
        return found

    return classify


def by_key(candidates: Mapping[str, Candidates]) -> Classifier:
    """The name is the one key of the object that is an event of the dialect."""

    def classify(message: WireMessage, data: Any) -> EventRule | str:
        if data.__class__ is not dict:
            return "the data is not an object"
        found: str | None = None
        for key in data:
            if key in candidates:
                if found is not None:
                    return f"it is both {found!r} and {key!r}"
                found = key
        if found is None:
            return f"none of its keys ({', '.join(map(repr, list(data)[:5])) or 'there are none'}) is an event"
        return _choose(candidates, found, data)

    return classify


def alike(path: str | None, conditions: Iterable[Condition]) -> Callable[[Any, Any], bool]:
    """A function of two decoded messages that differ only in strings that are not empty, and in numbers.

    It says whether they are surely the same event: neither the name at `path`, where there is one, nor any condition
    sees a difference.
    """
    get = compile_path(path) if path is not None else None
    kept = tuple(conditions)

    def are_alike(one: Any, other: Any) -> bool:
        if get is not None and get(one) != get(other):
            return False
        return all(condition.alike(one, other) for condition in kept)

    return are_alike


def _by_prefix(candidates: Mapping[str, Candidates], name: str) -> Candidates | None:
    """What an `of: prefix*` says of a name that no event has; the longest prefix counts."""
    fitting = [known for known in candidates if known[-1] == "*" and name.startswith(known[:-1])]
    return candidates[max(fitting, key=len)] if fitting else None


def by_conditions(groups: tuple[tuple[Predicate, Candidates], ...], default: Candidates | None) -> Classifier:
    """The event is the one whose `when` holds."""

    def classify(message: WireMessage, data: Any) -> EventRule | str:
        for holds, group in groups:
            if holds(data):
                return group.choose(data) or "none of its conditions holds"
        return (default.choose(data) if default is not None else None) or "no event's conditions match"

    return classify


def _choose(candidates: Mapping[str, Candidates], name: str, data: Any) -> EventRule | str:
    group = candidates.get(name)
    if group is None:
        group = _by_prefix(candidates, name)
    if group is None:
        return f"{name[:80]!r} is not among its events"
    return group.choose(data) or f"{name!r} meets none of the conditions that tell its variants apart"
