"""Checks across the events of a stream, named and composable: what a grammar cannot say.

A dialect lists them under `invariants`, in one of two forms:

    - content.concat == ai_response.data.accumulated      # the content so far equals this field of this event
    - timestamp.nondecreasing                             # PATH.CHECK, or EVENT.PATH.CHECK for one event only
    - {check: closed, start: text-start, end: text-end, by: id}

A check is a small object with the state of one stream. Kinds of checks have names; others are added with
`register_check`, or found as entry points of the group `streambench.checks`. Those that are shipped are in `checks`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any, Protocol

from streambench.dialects.located import Located
from streambench.findings import Finding
from streambench.grammar.paths import Getter, compile_path

MAX_TEXT_CHARS = 8 << 20
MAX_KEYS = 10_000
ENTRY_POINTS = "streambench.checks"


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
_registered: dict[str, CheckKind] = {}


def check_kinds() -> dict[str, CheckKind]:
    """All kinds of checks by name: the shipped ones and those that were registered."""
    from streambench.dialects.checks import SHIPPED

    return {**SHIPPED, **_registered}


def register_check(name: str, kind: CheckKind) -> None:
    """Make a kind of check known to dialect files as `check: name`.

    `kind` is called once per dialect with its parameters and returns what makes the check of each stream.
    """
    _registered[name] = kind


def read_invariants(node: Located, variants: Mapping[str, frozenset[str]]) -> tuple[CheckFactory, ...]:
    """The checks of a dialect's `invariants`. Raises a located ConfigurationError."""
    return tuple(_read_invariant(item, variants) for item in node.sequence("invariants"))


def _read_invariant(item: Located, variants: Mapping[str, frozenset[str]]) -> CheckFactory:
    values = _from_text(item, variants) if isinstance(item.value, str) else item.mapping("an invariant")
    if "check" not in values:
        raise item.error("an invariant needs 'check', the name of its kind", valid=check_kinds())
    kind_node = values["check"]
    name = kind_node.string("'check'")
    kind = _find_kind(name)
    if kind is None:
        raise kind_node.error(f"there is no check {name!r}.", text=name, valid=check_kinds())
    parameters = Parameters(item, values, variants)
    factory = kind(parameters)
    parameters.finish()
    return factory


def _find_kind(name: str) -> CheckKind | None:
    kind = check_kinds().get(name)
    if kind is None:
        from importlib.metadata import entry_points

        for entry in entry_points(group=ENTRY_POINTS, name=name):
            register_check(name, entry.load())
        kind = _registered.get(name)
    return kind


def _from_text(item: Located, variants: Mapping[str, frozenset[str]]) -> dict[str, Located]:
    """`content.concat == EVENT.PATH` and `[EVENT.]PATH.CHECK` as parameters."""
    text = item.string("an invariant").strip()

    def part(value: str) -> Located:
        return Located(value, item.path, item.line, item.column)

    left, equals, right = (piece.strip() for piece in text.partition("=="))
    if equals:
        if left != "content.concat":
            raise item.error(
                f"{left!r} cannot be compared: write content.concat == EVENT.PATH",
                text=left,
                valid=("content.concat",),
            )
        event, path = _split_event(right, variants)
        if event is None or not path:
            first = right.split(".")[0]
            raise item.error(
                f"{right!r} must begin with the name of an event, then the path of its field.",
                text=first,
                valid=variants,
            )
        return {"check": part("concat"), "event": part(event), "path": part(path)}
    target, _, name = text.rpartition(".")
    if not target:
        raise item.error(f"{text!r} is not an invariant: write PATH.CHECK", text=name, valid=check_kinds())
    event, path = _split_event(target, variants)
    values = {"check": part(name), "path": part(path)}
    if event is not None:
        values["event"] = part(event)
    return values


def _split_event(text: str, names: Iterable[str]) -> tuple[str | None, str]:
    """Event and path of `EVENT.PATH`; the longest event name that fits, for names have dots as well."""
    for name in sorted(names, key=len, reverse=True):
        if text.startswith(f"{name}."):
            return name, text[len(name) + 1 :]
    return None, text


def value_key(getters: tuple[Getter, ...], data: Any) -> Hashable:
    """The values that tell parallel parts of one stream apart."""
    values = tuple(get(data) for get in getters)
    try:
        hash(values)
    except TypeError:
        return json.dumps(values, sort_keys=True, default=str)
    return values


def show(value: Any) -> str:
    """A value for a message, cut to a readable length."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}…"
