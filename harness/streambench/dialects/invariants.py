"""Checks across the events of a stream, named and composable: what a grammar cannot say.

A dialect lists them under `invariants`, in one of two forms:

    - content.concat == ai_response.data.accumulated      # the content so far equals this field of this event
    - timestamp.nondecreasing                             # PATH.CHECK, or EVENT.PATH.CHECK for one event only
    - {check: closed, start: text-start, end: text-end, by: id}

A check is a small object with the state of one stream. `CHECKS` holds the kinds by name. Others are added with
`register_check`, or found as entry points of the group `streambench.checks`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from streambench.dialects.located import Located
from streambench.findings import Axis, Finding, Severity
from streambench.grammar.paths import MISSING, Getter, compile_path

MAX_TEXT_CHARS = 8 << 20
MAX_KEYS = 10_000
ENTRY_POINTS = "streambench.checks"


@dataclass(slots=True)
class Observed:
    """One event as a check sees it."""

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
CHECKS: dict[str, CheckKind] = {}


def register_check(name: str, kind: CheckKind) -> None:
    """Make a kind of check known to dialect files as `check: name`.

    `kind` is called once per dialect with its parameters and returns what makes the check of each stream.
    """
    CHECKS[name] = kind


def read_invariants(node: Located, variants: Mapping[str, frozenset[str]]) -> tuple[CheckFactory, ...]:
    """The checks of a dialect's `invariants`. Raises a located ConfigurationError."""
    return tuple(_read_invariant(item, variants) for item in node.sequence("invariants"))


def _read_invariant(item: Located, variants: Mapping[str, frozenset[str]]) -> CheckFactory:
    values = _from_text(item, variants) if isinstance(item.value, str) else item.mapping("an invariant")
    if "check" not in values:
        raise item.error("an invariant needs 'check', the name of its kind", valid=CHECKS)
    kind_node = values["check"]
    name = kind_node.string("'check'")
    kind = _find_kind(name)
    if kind is None:
        raise kind_node.error(f"there is no check {name!r}.", text=name, valid=CHECKS)
    parameters = Parameters(item, values, variants)
    factory = kind(parameters)
    parameters.finish()
    return factory


def _find_kind(name: str) -> CheckKind | None:
    if name not in CHECKS:
        from importlib.metadata import entry_points

        for entry in entry_points(group=ENTRY_POINTS, name=name):
            register_check(name, entry.load())
    return CHECKS.get(name)


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
        raise item.error(f"{text!r} is not an invariant: write PATH.CHECK", text=name, valid=CHECKS)
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


def _show(value: Any) -> str:
    """A value for a message, cut to a readable length."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else f"{text[:77]}…"


class _Concat:
    """The pieces of a text, joined, equal a field that repeats the whole.

    Pieces are the content of events, or with `from` and `part` a field of certain events. `by` tells parallel texts
    apart. With `if_streamed` a text of which no piece came is not compared. After a difference the field is taken as
    the truth, so that one loss is one violation.
    """

    def __init__(
        self,
        events: frozenset[str],
        path: Getter,
        by: tuple[Getter, ...],
        sources: frozenset[str] | None,
        part: Getter | None,
        if_streamed: bool,
    ) -> None:
        self._if_streamed = if_streamed
        self._events = events
        self._path = path
        self._by = by
        self._sources = sources
        self._part = part
        self.names = None if sources is None else sources | events
        self._texts: dict[Hashable, list[str]] = {}
        self._chars = 0
        self._given_up = False

    def event(self, observed: Observed) -> Finding | None:
        piece = self._piece(observed)
        if not piece and observed.name not in self._events:
            return None
        if self._given_up:
            return None
        key = value_key(self._by, observed.data) if self._by else None
        pieces = self._texts.get(key)
        if pieces is None:
            pieces = self._texts[key] = []
        if piece:
            pieces.append(piece)
            self._chars += len(piece)
        if self._chars > MAX_TEXT_CHARS or len(self._texts) > MAX_KEYS:
            return self._give_up(observed)
        if observed.name not in self._events:
            return None
        whole = self._path(observed.data)
        if whole.__class__ is list and all(item.__class__ is str for item in whole):
            whole = "".join(whole)
        if whole.__class__ is not str or (self._if_streamed and not pieces):
            return None
        text = "".join(pieces)
        self._texts[key] = [whole]
        if text == whole:
            return None
        self._chars += len(whole) - len(text)
        return _difference(observed, text, whole)

    def end(self, *, complete: bool) -> Finding | None:
        return None

    def _piece(self, observed: Observed) -> str:
        if self._part is None:
            return observed.content
        if self._sources is None or observed.name not in self._sources:
            return ""
        value = self._part(observed.data)
        return value if value.__class__ is str else ""

    def _give_up(self, observed: Observed) -> Finding:
        self._given_up = True
        self._texts.clear()
        return Finding(
            Axis.CONTENT,
            "content.too-long",
            f"The text is longer than {MAX_TEXT_CHARS:,} characters; from here it is not compared any more.",
            Severity.INFO,
            observed.index,
            observed.offset,
        )


def _difference(observed: Observed, text: str, whole: str) -> Finding:
    at = next((i for i, (a, b) in enumerate(zip(text, whole, strict=False)) if a != b), min(len(text), len(whole)))
    return Finding(
        Axis.CONTENT,
        "content.concat",
        f"The text in `{observed.name}` is not what was streamed: they differ from character {at}. Streamed were "
        f"{len(text)} characters, here are {len(whole)}; streamed {_show(text[at : at + 30])}, "
        f"here {_show(whole[at : at + 30])}.",
        event_index=observed.index,
        offset=observed.offset,
        got=_show(whole[at : at + 30]),
        expected=(_show(text[at : at + 30]),),
    )


def _concat(parameters: Parameters) -> CheckFactory:
    events = parameters.event("event")
    path = parameters.path("path")
    by = parameters.paths("by")
    sources = parameters.optional_event("from")
    part = parameters.optional_path("part")
    if_streamed = parameters.flag("if_streamed")
    if (sources is None) != (part is None):
        raise parameters.node.error("'from' and 'part' belong together: the events and the field of the pieces")
    return lambda: _Concat(events, path, by, sources, part, if_streamed)


class _Field:
    """What the checks of one field have in common: they see it wherever it is present."""

    rule = ""

    def __init__(self, names: frozenset[str] | None, path: Getter, label: str) -> None:
        self.names = names
        self._path = path
        self._label = label

    def event(self, observed: Observed) -> Finding | None:
        value = self._path(observed.data)
        return None if value is MISSING or value is None else self._value(value, observed)

    def end(self, *, complete: bool) -> Finding | None:
        return None

    def _value(self, value: Any, observed: Observed) -> Finding | None:
        raise NotImplementedError

    def _finding(self, observed: Observed, message: str, value: Any, expected: str, axis: Axis) -> Finding:
        return Finding(
            axis,
            f"{self._label}.{self.rule}",
            message,
            event_index=observed.index,
            offset=observed.offset,
            got=_show(value),
            expected=(expected,),
        )


def _field_kind(check: type[_Field]) -> CheckKind:
    def kind(parameters: Parameters) -> CheckFactory:
        path = parameters.path("path")
        label = parameters.text("path")
        names = parameters.optional_event("event")
        return lambda: check(names, path, label)

    return kind


class _Nondecreasing(_Field):
    """Numbers, or times in ISO 8601, never go back."""

    rule = "nondecreasing"

    def __init__(self, names: frozenset[str] | None, path: Getter, label: str) -> None:
        super().__init__(names, path, label)
        self._last: Any = None

    def _value(self, value: Any, observed: Observed) -> Finding | None:
        last, self._last = self._last, value
        if last is None or in_order(last, value):
            return None
        return self._finding(
            observed,
            f"`{self._label}` went back, from {_show(last)} to {_show(value)}.",
            value,
            f">= {_show(last)}",
            Axis.TIMING,
        )


def in_order(last: Any, value: Any) -> bool:
    if isinstance(last, str) and isinstance(value, str):
        try:
            return datetime.fromisoformat(last) <= datetime.fromisoformat(value)
        except (ValueError, TypeError):  # not times, or one with and one without a zone: compared as text
            return last <= value
    try:
        return bool(last <= value)
    except TypeError:
        return False


class _Constant(_Field):
    """The field is the same in every event that has it."""

    rule = "constant"

    def __init__(self, names: frozenset[str] | None, path: Getter, label: str) -> None:
        super().__init__(names, path, label)
        self._first: Any = None

    def event(self, observed: Observed) -> Finding | None:
        value = self._path(observed.data)
        if value == self._first or value is MISSING or value is None:
            return None
        return self._value(value, observed)

    def _value(self, value: Any, observed: Observed) -> Finding | None:
        first, self._first = self._first, value
        if first is None:
            return None
        return self._finding(
            observed,
            f"`{self._label}` changed within the stream, from {_show(first)} to {_show(value)}.",
            value,
            _show(first),
            Axis.GRAMMAR,
        )


class _Contiguous(_Field):
    """A sequence number grows by one from event to event. One that comes late, after a gap, is not reported again."""

    rule = "contiguous"

    def __init__(self, names: frozenset[str] | None, path: Getter, label: str) -> None:
        super().__init__(names, path, label)
        self._next: int | None = None
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
            f"`{self._label}` is {_show(value)} where {due} was due: events were lost, doubled or reordered.",
            value,
            str(due),
            Axis.GRAMMAR,
        )


class _LastOnly(_Field):
    """A flag is set on the last event that carries it, and on no other."""

    rule = "last_only"

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
            f"`{self._label}` was already true in event {last[0].index}, so nothing of the kind should follow.",
            value,
            "no further event with it",
            Axis.GRAMMAR,
        )

    def end(self, *, complete: bool) -> Finding | None:
        if not complete or self._reported or self._last is None or self._last[1]:
            return None
        observed, _ = self._last
        return self._finding(
            observed,
            f"`{self._label}` is true in no event; it should be in this one, the last that carries it.",
            False,
            "true",
            Axis.GRAMMAR,
        )


class _Closed:
    """Every part that was started is ended before the stream ends, and none is ended that was not started."""

    def __init__(self, starts: frozenset[str], ends: frozenset[str], by: tuple[Getter, ...], label: str) -> None:
        self._starts = starts
        self._ends = ends
        self._by = by
        self._label = label
        self.names: frozenset[str] | None = starts | ends
        self._open: dict[Hashable, tuple[int, int]] = {}

    def event(self, observed: Observed) -> Finding | None:
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
        if not complete or not self._open:
            return None
        key, (index, offset) = next(iter(self._open.items()))
        more = f", and {len(self._open) - 1} more" if len(self._open) > 1 else ""
        return Finding(
            Axis.GRAMMAR,
            f"{self._label}.closed",
            f"What event {index} started ({_show(key)}{more}) is never ended.",
            event_index=index,
            offset=offset,
            expected=tuple(sorted(self._ends)),
        )

    def _finding(self, observed: Observed, key: Hashable, what: str) -> Finding:
        return Finding(
            Axis.GRAMMAR,
            f"{self._label}.closed",
            f"`{observed.name}`: {_show(key)} is {what}.",
            event_index=observed.index,
            offset=observed.offset,
            got=observed.name,
        )


def _closed(parameters: Parameters) -> CheckFactory:
    starts, ends = parameters.event("start"), parameters.event("end")
    label = parameters.text("start")
    by = parameters.paths("by")
    return lambda: _Closed(starts, ends, by, label)


class _JsonParses:
    """The pieces of a JSON text, such as a tool call's arguments, joined, are valid JSON.

    The pieces are read from each element of the array at `items`, or from the event where there is no array. A stream
    that stops for want of tokens (`unless`) may break off within the text.
    """

    def __init__(self, specification: _JsonPieces) -> None:
        self._spec = specification
        self._only = specification.names
        self._items = specification.items
        self.names = specification.names if specification.unless is None else None
        self._texts: dict[Hashable, list[str]] = {}
        self._where: tuple[int, int] = (0, 0)
        self._chars = 0
        self._excused = False

    def event(self, observed: Observed) -> Finding | None:
        spec = self._spec
        if self._texts and spec.unless is not None and spec.unless(observed.data):
            self._excused = True
        if self._only is not None and observed.name not in self._only:
            return None
        items = [observed.data] if self._items is None else self._items(observed.data)
        if items.__class__ is not list:
            return None
        for item in items:
            piece = spec.text(item)
            if piece.__class__ is str and piece and self._chars <= MAX_TEXT_CHARS:
                outer = value_key(spec.by, observed.data)
                key = (outer, value_key(spec.item_by, item))
                if key in self._texts or len(self._texts) < MAX_KEYS:
                    self._texts.setdefault(key, []).append(piece)
                    self._chars += len(piece)
                self._where = (observed.index, observed.offset)
        return None

    def end(self, *, complete: bool) -> Finding | None:
        if not complete or self._excused or self._chars > MAX_TEXT_CHARS:
            return None
        for pieces in self._texts.values():
            text = "".join(pieces)
            try:
                json.loads(text)
            except (ValueError, RecursionError) as error:
                return Finding(
                    Axis.CONTENT,
                    f"{self._spec.label}.json",
                    f"The joined `{self._spec.label}` are not valid JSON ({error}): {_show(text)}",
                    event_index=self._where[0],
                    offset=self._where[1],
                    got=_show(text),
                )
        return None


@dataclass(slots=True, frozen=True)
class _JsonPieces:
    names: frozenset[str] | None
    items: Getter | None
    text: Getter
    by: tuple[Getter, ...]
    item_by: tuple[Getter, ...]
    unless: Callable[[Any], bool] | None
    label: str


def _json_parses(parameters: Parameters) -> CheckFactory:
    from streambench.dialects.conditions import read_condition

    unless = parameters.located("unless")
    specification = _JsonPieces(
        names=parameters.optional_event("event"),
        items=parameters.optional_path("items"),
        text=parameters.path("text"),
        by=parameters.paths("by"),
        item_by=parameters.paths("item_by"),
        unless=read_condition(unless, "'unless'").compile() if unless is not None else None,
        label=parameters.text("text"),
    )
    return lambda: _JsonParses(specification)


class _Promised:
    """Once an event satisfies `when`, an event of the given name must come before the stream ends, or one of another
    name that satisfies a condition of its own.
    """

    def __init__(
        self,
        when: Callable[[Any], bool],
        names: frozenset[str],
        label: str,
        other_names: frozenset[str],
        otherwise: Callable[[Any], bool],
    ) -> None:
        self.names: frozenset[str] | None = None
        self._when = when
        self._other_names = other_names
        self._otherwise = otherwise
        self._wanted = names
        self._label = label
        self._promise: tuple[int, int] | None = None
        self._kept = False

    def event(self, observed: Observed) -> Finding | None:
        if self._kept:
            return None
        if observed.name in self._wanted:
            self._kept = True
        elif self._promise is None:
            if self._when(observed.data):
                self._promise = (observed.index, observed.offset)
        elif observed.name in self._other_names and self._otherwise(observed.data):
            self._kept = True
        return None

    def end(self, *, complete: bool) -> Finding | None:
        if not complete or self._kept or self._promise is None:
            return None
        return Finding(
            Axis.GRAMMAR,
            f"{self._label}.promised",
            f"Event {self._promise[0]} announces `{self._label}`, but the stream ended without it.",
            event_index=self._promise[0],
            offset=self._promise[1],
            expected=(self._label,),
        )


def _promised(parameters: Parameters) -> CheckFactory:
    from streambench.dialects.conditions import read_condition

    when = parameters.located("when")
    if when is None:
        raise parameters.node.error("this check needs 'when', the condition that makes the promise")
    holds = read_condition(when, "'when'").compile()
    names = parameters.event("event")
    label = parameters.text("event")
    other = parameters.part("or", ("event", "when"))
    other_names = other.event("event") if other is not None else frozenset()
    condition = other.located("when") if other is not None else None
    keeps = read_condition(condition, "'when'").compile() if condition is not None else lambda data: True
    return lambda: _Promised(holds, names, label, other_names, keeps)


register_check("concat", _concat)
register_check("nondecreasing", _field_kind(_Nondecreasing))
register_check("constant", _field_kind(_Constant))
register_check("contiguous", _field_kind(_Contiguous))
register_check("last_only", _field_kind(_LastOnly))
register_check("closed", _closed)
register_check("json", _json_parses)
register_check("promised", _promised)
