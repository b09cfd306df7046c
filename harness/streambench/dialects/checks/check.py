"""What a check is: what it sees of a stream, how it reads its parameters, and how it names what it found.

A check is a small object with the state of one stream. It is called for the events that it asked for, and once at the
end; what it remembers is bounded, whatever a server sends.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

from streambench.findings import Finding
from streambench.located import Located
from streambench.paths import Getter, compile_path

FEW_VALUES = 100
MAX_TEXT_CHARS = 8 << 20
MAX_KEYS = 10_000
MAX_KEY_CHARS = 200  # of a key as it is; a longer one is kept by its digest


class Observed(Protocol):
    """One event as a check sees it: where it stands, what it is called, its decoded data, the text that it added."""

    index: int
    offset: int
    name: str
    data: Any
    content: str


class Check(Protocol):
    """A check on one stream. `names` are the events that it wants to see; None stands for all of them."""

    names: frozenset[str] | None

    def event(self, observed: Observed) -> Finding | None:
        """Take one event."""
        ...

    def end(self, *, complete: bool) -> Finding | None:
        """The stream has ended; `complete` with its terminal event, not by an error and not cut."""
        ...


class Steady(Protocol):
    """A check that need not see each of the events that repeat one another, as the deltas of a reply do."""

    def repeats(self, observed: Observed, changed: Any) -> bool:
        """Whether the event that was taken last would find nothing and change nothing, were it to come again.

        `changed` is its data as it may be then: the values that differ in it may be any others of their type, and a
        text as well as a string that differs is not empty. The text that the event adds is one of them.
        """
        ...


@dataclass(slots=True, frozen=True)
class Column:
    """How a check takes many events at once that repeat one another: by one value of each.

    `hole` is which of the values that differ it is. `fits` says whether nothing would be wrong with the events that
    have these values, and takes none of them; `take` takes them.
    """

    hole: int
    fits: Callable[[Sequence[Any]], bool]
    take: Callable[[Sequence[Any]], None]


class Columnar(Protocol):
    """A check that wants to see every event, but no more than one value of those that repeat one another."""

    def column(self, observed: Observed, changed: Any, holes: Sequence[Any], text: int) -> Column | None:
        """Which value it is in events like the one that was taken last; None if that is not enough.

        `changed` is as in `Steady`; `holes` are the values in it that differ, each of which stands nowhere else, and
        `text` is the number of the one that is the text which the event adds.
        """
        ...


def is_steady(check: Check) -> TypeGuard[Steady]:
    """Whether a check says which events it need not see; `isinstance` would take as long as judging an event."""
    return hasattr(check, "repeats")


def is_columnar(check: Check) -> TypeGuard[Columnar]:
    """Whether a check can take many events at once, by one value of each."""
    return hasattr(check, "column")


CheckFactory = Callable[[], Check]


class Parameters:
    """The parameters of a check in a dialect file, with located errors.

    `variants(name)` are the event and those that refine it: a check on an event is meant for those as well.
    """

    def __init__(self, node: Located, values: Mapping[str, Located], variants: Mapping[str, frozenset[str]]) -> None:
        self.node = node
        self._values = values
        self._variants = variants
        self._used = {"check"}

    def event(self, key: str) -> frozenset[str]:
        """The events meant by a parameter that names one, or a list of them."""
        names = self.optional_event(key)
        if names is None:
            raise self.node.error(f"this check needs {key!r}, the name of an event")
        return names

    def optional_event(self, key: str) -> frozenset[str] | None:
        """The same for a parameter that may be left out: then None."""
        item = self._take(key)
        if item is None:
            return None
        nodes = item.value if isinstance(item.value, list) else [item]
        found: set[str] = set()
        for node in nodes:
            name = node.string(f"{key!r}")
            if name not in self._variants:
                raise node.error(f"there is no event {name!r}.", text=name, valid=self._variants)
            found |= self._variants[name]
        return frozenset(found)

    def path(self, key: str) -> Getter:
        """The getter of a parameter that is a path."""
        getter = self.optional_path(key)
        if getter is None:
            raise self.node.error(f"this check needs {key!r}, the path of a field")
        return getter

    def optional_path(self, key: str) -> Getter | None:
        """The same for a parameter that may be left out: then None."""
        item = self._take(key)
        if item is None:
            return None
        try:
            return compile_path(item.string(f"{key!r}"))
        except ValueError as error:
            raise item.error(str(error)) from None

    def paths(self, key: str) -> tuple[Getter, ...]:
        """The getters of a parameter that is a path or a list of paths; empty where it is left out."""
        item = self._take(key)
        if item is None:
            return ()
        nodes = item.value if isinstance(item.value, list) else [item]
        try:
            return tuple(compile_path(node.string(f"{key!r}")) for node in nodes)
        except ValueError as error:
            raise item.error(str(error)) from None

    def text(self, key: str, default: str = "") -> str:
        """A parameter that is text; `default` where it is left out."""
        item = self._take(key)
        return default if item is None else item.string(f"{key!r}")

    def flag(self, key: str) -> bool:
        """A parameter that is true or false; false where it is left out."""
        item = self._take(key)
        if item is None:
            return False
        if not isinstance(item.value, bool):
            raise item.error(f"{key!r} takes true or false")
        return item.value

    def integer(self, key: str) -> int | None:
        """A parameter that is a whole number; None where it is left out."""
        item = self._take(key)
        if item is None:
            return None
        if not isinstance(item.value, int) or isinstance(item.value, bool):
            raise item.error(f"{key!r} takes a whole number")
        return item.value

    def part(self, key: str, keys: Iterable[str]) -> Parameters | None:
        """A parameter that has parameters itself; any but `keys` is an error."""
        item = self._take(key)
        return None if item is None else Parameters(item, item.mapping(f"{key!r}", keys), self._variants)

    def located(self, key: str) -> Located | None:
        """The parameter itself, for a check that reads it in its own way."""
        return self._take(key)

    def finish(self) -> None:
        """Refuse parameters that nobody asked for."""
        for key in self._values:
            if key not in self._used:
                raise self.node.key_error(key, f"this check has no parameter {key!r}.", valid=self._used - {"check"})

    def _take(self, key: str) -> Located | None:
        self._used.add(key)
        return self._values.get(key)


CheckKind = Callable[[Parameters], CheckFactory]


def value_key(getters: tuple[Getter, ...], data: Any) -> Hashable:
    """The values that tell parallel parts of one stream apart."""
    values = tuple(get(data) for get in getters)
    try:
        hash(values)
    except TypeError:
        text = as_json(values)
        return text if len(text) <= MAX_KEY_CHARS else hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return values


def as_json(value: Any) -> str:
    """A decoded value as JSON, its keys in order; of one that is nested too deep, only that."""
    try:
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    except (RecursionError, ValueError):
        return "(nested too deep)"


def has_few_values(value: Any) -> bool:
    """Whether there are so few that it does not matter how much is done with each."""
    left, room = [value], FEW_VALUES
    while left:
        value = left.pop()
        if isinstance(value, dict | list):
            room -= len(value)
            if room < 0:
                return False
            left += value.values() if isinstance(value, dict) else value
    return True


def excerpt(value: Any, chars: int) -> str:
    """A value as JSON, at least its first characters; of one with many values not much more."""
    if has_few_values(value):
        return as_json(value)
    text = ""
    try:
        for piece in json.JSONEncoder(ensure_ascii=False, default=str).iterencode(value):
            text += piece
            if len(text) > chars:
                break
    except (RecursionError, ValueError):
        return "(nested too deep)"
    return text


def show(value: Any) -> str:
    """A value for a message, cut to a readable length."""
    text = excerpt(value, 80)
    return text if len(text) <= 80 else f"{text[:77]}…"
