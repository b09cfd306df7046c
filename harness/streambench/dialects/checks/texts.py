"""Checks of texts: pieces that make up a whole, and pieces that make up JSON."""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from streambench.dialects.checks.check import (
    MAX_KEYS,
    MAX_TEXT_CHARS,
    CheckFactory,
    Column,
    Observed,
    Parameters,
    show,
    value_key,
)
from streambench.dialects.conditions import Condition, read_condition
from streambench.findings import Axis, Finding, Severity
from streambench.paths import Getter
from streambench.rules import Rule, declare

_SOURCE = "the dialect's `invariants`"
CONCAT = declare(
    Rule("content.concat", Axis.CONTENT, "A field that repeats the text equals what was streamed.", _SOURCE)
)
JSON = declare(Rule("PATH.json", Axis.CONTENT, "The concatenated pieces of a JSON text are valid JSON.", _SOURCE))
TOO_LONG = declare(
    Rule(
        "content.too-long",
        Axis.CONTENT,
        "Texts are compared only up to 8 MiB.",
        "a bound of this tool",
        Severity.INFO,
    )
)


class Concat:
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
        """Gather the pieces; compare them where the whole is repeated."""
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

    def column(self, observed: Observed, changed: Any, holes: Sequence[Any], text: int) -> Column | None:
        """The piece, if it is one of the same text as those before it."""
        piece = holes[text] if self._part is None else self._part(changed)
        key = value_key(self._by, observed.data)
        pieces = self._texts.get(key if self._by else None)
        is_piece = piece.__class__ is str and piece in holes and observed.name not in self._events
        if not is_piece or pieces is None or value_key(self._by, changed) != key:
            return None

        def fits(values: Sequence[str]) -> bool:
            return self._chars + sum(map(len, values)) <= MAX_TEXT_CHARS

        def take(values: Sequence[str]) -> None:
            pieces.extend(values)
            self._chars += sum(map(len, values))

        return Column(holes.index(piece), fits, take)

    def end(self, *, complete: bool) -> Finding | None:
        """Nothing: a text that is never repeated cannot be compared."""
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
        return TOO_LONG.found(
            f"The text is longer than {MAX_TEXT_CHARS:,} characters; from here it is not compared any more.",
            event_index=observed.index,
            offset=observed.offset,
        )


def _difference(observed: Observed, text: str, whole: str) -> Finding:
    at = next((i for i, (a, b) in enumerate(zip(text, whole, strict=False)) if a != b), min(len(text), len(whole)))
    return CONCAT.found(
        f"The text in `{observed.name}` is not the streamed text: from character {at + 1} on it has "
        f"{show(whole[at : at + 30])} where {show(text[at : at + 30])} was streamed. It has {len(whole)} characters; "
        f"{len(text)} were streamed.",
        event_index=observed.index,
        offset=observed.offset,
        got=show(whole[at : at + 30]),
        expected=(show(text[at : at + 30]),),
    )


def concat(parameters: Parameters) -> CheckFactory:
    """`event` and `path` of the whole; `by`, `from`, `part` and `if_streamed` as in `Concat`."""
    events = parameters.event("event")
    path = parameters.path("path")
    by = parameters.paths("by")
    sources = parameters.optional_event("from")
    part = parameters.optional_path("part")
    if_streamed = parameters.flag("if_streamed")
    if (sources is None) != (part is None):
        raise parameters.node.error("'from' and 'part' belong together: the events and the field of the pieces")
    return lambda: Concat(events, path, by, sources, part, if_streamed)


class JsonParses:
    """The pieces of a JSON text, such as a tool call's arguments, joined, are valid JSON.

    The pieces are read from each element of the array at `items`, or from the event where there is no array. A stream
    that runs out of tokens (`unless`) may break off within the text.
    """

    def __init__(self, specification: _JsonPieces) -> None:
        self._spec = specification
        self._only = specification.names
        self._items = specification.items
        self._unless = specification.unless.compile() if specification.unless is not None else None
        self.names = specification.names if specification.unless is None else None
        self._texts: dict[Hashable, list[str]] = {}
        self._where: tuple[int, int] = (0, 0)
        self._chars = 0
        self._excused = False

    def event(self, observed: Observed) -> Finding | None:
        """Gather the pieces of each text."""
        spec = self._spec
        if self._texts and self._unless is not None and self._unless(observed.data):
            self._excused = True
        if self._only is not None and observed.name not in self._only:
            return None
        for item in self._pieces(observed.data):
            piece = spec.text(item)
            if piece.__class__ is str and piece and self._chars <= MAX_TEXT_CHARS:
                outer = value_key(spec.by, observed.data)
                key = (outer, value_key(spec.item_by, item))
                if key in self._texts or len(self._texts) < MAX_KEYS:
                    self._texts.setdefault(key, []).append(piece)
                    self._chars += len(piece)
                self._where = (observed.index, observed.offset)
        return None

    def repeats(self, observed: Observed, changed: Any) -> bool:
        """Whether the event has no piece, and excuses nothing."""
        unless = self._spec.unless
        if unless is not None and not self._excused and not unless.alike(observed.data, changed):
            return False
        if self._only is not None and observed.name not in self._only:
            return True
        pieces = [self._spec.text(item) for data in (observed.data, changed) for item in self._pieces(data)]
        return not any(piece.__class__ is str for piece in pieces)

    def _pieces(self, data: Any) -> list[Any]:
        """What may hold a piece."""
        items = [data] if self._items is None else self._items(data)
        return items if items.__class__ is list else []

    def end(self, *, complete: bool) -> Finding | None:
        """Each text must be JSON."""
        if not complete or self._excused or self._chars > MAX_TEXT_CHARS:
            return None
        for pieces in self._texts.values():
            text = "".join(pieces)
            try:
                json.loads(text)
            except (ValueError, RecursionError) as error:
                return JSON.of(self._spec.label).found(
                    f"The joined `{self._spec.label}` are not valid JSON ({error}): {show(text)}",
                    event_index=self._where[0],
                    offset=self._where[1],
                    got=show(text),
                )
        return None


@dataclass(slots=True, frozen=True)
class _JsonPieces:
    names: frozenset[str] | None
    items: Getter | None
    text: Getter
    by: tuple[Getter, ...]
    item_by: tuple[Getter, ...]
    unless: Condition | None
    label: str


def json_parses(parameters: Parameters) -> CheckFactory:
    """`text`, the path of a piece; `event`, `items`, `by`, `item_by` and `unless` as in `JsonParses`."""
    unless = parameters.located("unless")
    specification = _JsonPieces(
        names=parameters.optional_event("event"),
        items=parameters.optional_path("items"),
        text=parameters.path("text"),
        by=parameters.paths("by"),
        item_by=parameters.paths("item_by"),
        unless=read_condition(unless, "'unless'") if unless is not None else None,
        label=parameters.text("text"),
    )
    return lambda: JsonParses(specification)
