"""Recognises a message that differs from another only in its text, so that it need not be checked again.

The deltas of a reply are one JSON document over and over, with another text in it and perhaps another counter. Once a
document has been judged, its *shape* is kept: its characters, with holes in place of the values that change. A message
that fits the shape is known to be right without being decoded.

Why that is exact. Let a shape have been made from one message, and let another message fit it.

- Both are JSON, and they differ in nothing but the values in the holes. When the shape is made, each hole is filled
  with a value that stands nowhere else, and in the decoded result each of these must be found exactly once, as a value
  and not as a key. So a hole holds one whole token, and how JSON reads on does not depend on what a token was. What
  fits a hole is a token of the same type: a string that is not empty and has no half of a surrogate pair, or a number
  that all readers take for the same.
- The text is what stands in the hole that `content` leads to.
- The event has the same name: naming and conditions see no difference (`Dialect.alike`).
- The grammar stays where it is: the event leads from its state to that state (`GrammarChecker.repeats`).
- The schema still holds: it asks nothing of the values in the holes but their type (`allows_any`).
- A check would find nothing and remember nothing (`check.Steady`); any other check is asked each time.

A shape holds until another event is judged in full, for that one may change the state.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from json import JSONDecoder
from typing import Any

import orjson

from streambench.dialects.checks.check import Column, Observed
from streambench.findings import Finding
from streambench.paths import Getter, Path
from streambench.wire.message import WireMessage

MAX_CHARS = 4_096  # of a message; a longer one would cost too much to look into
MAX_HOLES = 6
PAYS = 8  # a search, where so many events are recognised for each that is judged
MAX_WAIT = 256  # between two searches, in events that are judged
MAX_NUMBER = 10**15  # beyond it readers round in different ways

# What to ask of a schema on the way to a hole, and at the hole itself.
_OF_CONTAINERS = frozenset(("type", "required", "properties", "items", "additionalProperties", "title", "description"))
_OF_VALUES = frozenset(("type", "minLength", "title", "description"))

_TOKEN = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*"|-?\d+(?:\.\d+)?)')


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


# Reads one value that begins at an index: the value, and where it ends. `raw_decode` is the same at twice the price.
_scan: Callable[[str, int], tuple[Any, int]] = JSONDecoder(parse_constant=_refuse).scan_once  # type: ignore[attr-defined]


@dataclass(slots=True, frozen=True)
class Cut:
    """A document with holes. `pieces` stand around them, so there is one more.

    `types` and `paths` are those of the values in the holes, `text` is the hole that holds the content. `changed` is
    the decoded document with other values in all of them, the `fillings`.
    """

    pieces: tuple[str, ...]
    types: tuple[type, ...]
    paths: tuple[Path, ...]
    text: int
    changed: Any
    fillings: tuple[str | int | float, ...]


def cut(before: str, message: WireMessage, data: Any, text: str, content: Getter) -> Cut | None:
    """Cut out of a message what differs from the one before, and its content, which is `text`.

    `data` is the message decoded: its JSON, or the only argument of a Socket.IO event. None where the two differ in
    more than a few values, or where the content is not one of the strings.
    """
    now, arguments = message.data, message.args
    if len(now) > MAX_CHARS or len(before) > MAX_CHARS:
        return None
    parts, other_parts = _TOKEN.split(now), _TOKEN.split(before)
    if parts[::2] != other_parts[::2]:
        return None
    pieces, types = [""], []
    fillings: list[str | int | float] = []
    for index, part in enumerate(parts):
        if index % 2 and (part != other_parts[index] or _holds(part, text)):
            kind = str if part[0] == '"' else float if "." in part else int
            types.append(kind)
            fillings.append(_FILLINGS[kind](len(fillings)))
            pieces.append("")
        else:
            pieces[-1] += part
    if len(fillings) > MAX_HOLES:
        return None
    tokens = [orjson.dumps(filling).decode() for filling in fillings]
    try:
        changed = orjson.loads("".join(chain.from_iterable(zip_longest(pieces, tokens, fillvalue=""))))
        if orjson.loads(now) != (data if arguments is None else arguments):
            return None  # a text that only looks like JSON, or arguments with binary attachments, which the JSON lacks
        if arguments is not None:
            if len(arguments) != 1:
                return None
            changed = changed[0]
        found = [list(_places(changed, filling)) for filling in fillings]
        mixed_up = any(place for filling in fillings for place in _places(data, filling))
    except (ValueError, RecursionError):
        return None
    value = content(changed)
    if mixed_up or any(len(paths) != 1 for paths in found) or value.__class__ is not str or value not in fillings:
        return None
    places = tuple(paths[0] for paths in found)
    return Cut(tuple(pieces), tuple(types), places, fillings.index(value), changed, tuple(fillings))


_FILLINGS: dict[type, Callable[[int], str | int | float]] = {
    str: "\ue000streambench-{}\ue000".format,
    int: lambda n: 718_281_828_459_040 + n,
    float: lambda n: 71_828_182_845.125 + n,
}


def _holds(token: str, text: str) -> bool:
    """Whether a token is this text, in whatever way it is written."""
    return token[0] == '"' and len(token) > len(text) and bool(_scan(token, 0)[0] == text)


def _places(value: Any, wanted: Any, path: Path = ()) -> Iterator[Path]:
    """The paths that lead to a value."""
    if value.__class__ is dict:
        for key, item in value.items():
            yield from _places(item, wanted, (*path, key))
    elif value.__class__ is list:
        for index, item in enumerate(value):
            yield from _places(item, wanted, (*path, index))
    elif value.__class__ is wanted.__class__ and value == wanted:
        yield path


def allows_any(schema: Any, path: Path, kind: type) -> bool:
    """Whether a JSON Schema that a document satisfies is satisfied with any other value of the type at `path`.

    Strings that are not empty are meant. A schema that says more than is understood here does not count.
    """
    if schema is None or schema is True:
        return True
    if not isinstance(schema, dict):
        return False
    if not path:
        fits = schema.keys() <= _OF_VALUES and schema.get("minLength", 0) <= 1
        return fits and not (kind is float and "integer" in schema.get("type", ()))
    if not schema.keys() <= _OF_CONTAINERS or not isinstance(schema.get("additionalProperties", True), bool):
        return False
    key, *below = path
    inner = schema.get("properties", {}).get(key) if isinstance(key, str) else schema.get("items")
    return allows_any(inner, tuple(below), kind)


def text_of(inside: str) -> str | None:
    """What JSON reads between two quotes; None where it is no text, or one that holds more than can be printed."""
    if not inside.isprintable():
        return None
    if '"' not in inside and "\\" not in inside:
        return inside
    try:
        text, end = _scan(f'"{inside}"', 0)
        if end != len(inside) + 2:
            return None
        text.encode()  # fails where there is half a surrogate pair
    except (ValueError, StopIteration):
        return None
    return str(text)


class Shape:
    """What is the same in messages that repeat each other.

    `name` is that of the event, `wire_event` the framing's name for it, and `again` are the checks that want to see
    each of the messages; `columns` is what they want to see of many at once, None where one of them asks for more.
    `text_hole` is the hole that holds the text. Where nothing but the text differs, `around` is what stands before it
    and after it, its quotes included; what `text_of` says of the characters between the two is the text.
    """

    __slots__ = (
        "_document",
        "_fixed_chars",
        "_holes",
        "_tail",
        "_tree",
        "again",
        "around",
        "columns",
        "name",
        "text_hole",
        "wire_event",
    )

    def __init__(
        self,
        name: str,
        wire_event: str,
        document: Cut,
        again: tuple[Callable[[Observed], Finding | None], ...],
        columns: tuple[Column, ...] | None,
    ) -> None:
        *heads, self._tail = document.pieces
        self._holes: tuple[tuple[str, int, Any], ...] = tuple(
            (head, len(head), kind) for head, kind in zip(heads, document.types, strict=True)
        )
        self.text_hole = document.text
        self._document = document.changed if again else None  # it is larger than all else here
        self._tree = _tree(document.paths)
        self.around = (f'{heads[0]}"', f'"{self._tail}') if len(heads) == 1 else None
        self._fixed_chars = len(heads[0]) + 2 + len(self._tail)
        self.name = name
        self.wire_event = wire_event
        self.again = again
        self.columns = columns

    def values_in(self, message: WireMessage) -> tuple[Any, ...] | None:
        """The values in the holes of a message that has this shape; None where it has another."""
        if message.event != self.wire_event or not message.dispatched:
            return None
        return self.values(message.data)

    def values(self, data: str) -> tuple[Any, ...] | None:
        """The same of a message's data alone, where its name is known to be that of the shape."""
        around = self.around
        if around is not None and len(data) > self._fixed_chars:
            before, after = around
            if data.startswith(before) and data.endswith(after):
                inside = text_of(data[len(before) : -len(after)])
                if inside is not None:
                    return (inside,)
        values = []
        end = 0
        try:
            for head, size, kind in self._holes:
                if not data.startswith(head, end):
                    return None
                value, end = _scan(data, end + size)
                if value.__class__ is not kind:
                    return None
                if kind is str:
                    if not value.isascii():
                        value.encode()  # fails where there is half a surrogate pair
                    elif not value:
                        return None
                elif not -MAX_NUMBER < value < MAX_NUMBER:
                    return None
                values.append(value)
        except (ValueError, StopIteration, RecursionError):
            return None
        return tuple(values) if data[end:] == self._tail else None

    def text(self, values: Sequence[Any]) -> str:
        """The text among the values in the holes."""
        text: str = values[self.text_hole]
        return text

    def data(self, values: Sequence[Any]) -> Any:
        """The decoded data of the message with these values, for checks that want to see it `again`.

        What has no hole in it is the same object each time.
        """
        return _filled(self._document, self._tree, values)


Tree = int | dict[str | int, Any]  # the number of a hole, or what of an object or array has holes in it, by key


def _tree(paths: Sequence[Path]) -> Tree:
    """Where the holes are, level by level."""
    if not paths[0]:
        return 0
    tree: dict[str | int, Any] = {}
    for number, (*way, last) in enumerate(paths):
        level = tree
        for key in way:
            level = level.setdefault(key, {})
        level[last] = number
    return tree


def _filled(value: Any, tree: Tree, values: Sequence[Any]) -> Any:
    """A value with these in its holes; what has holes in it is copied."""
    if isinstance(tree, int):
        return values[tree]
    copy = value.copy()
    for key, inner in tree.items():
        copy[key] = _filled(copy[key], inner, values)
    return copy


class ShapeSeeker:
    """When to look for a shape, which costs as much as judging several events: not in vain again and again."""

    __slots__ = ("_index", "_judged", "_looked_at", "_message", "_name", "_wait")

    def __init__(self) -> None:
        self._name = ""
        self._message = ""
        self._judged = 0  # the messages that might have had a shape, and were judged in full
        self._looked_at = 0  # after how many of them it was looked for last
        self._index = 0  # the event where that was
        self._wait = 1

    def before(self, name: str, message: WireMessage, index: int) -> str | None:
        """What to compare a message with, which is event `index`: the one of that name before it.

        None where it is not yet the time to look. Each search that does not pay doubles the wait for the next one.
        """
        before, self._message = self._message, message.data
        is_same, self._name = name == self._name, name
        self._judged += 1
        judged = self._judged - self._looked_at
        if not is_same or judged < self._wait:
            return None
        pays = index - self._index > PAYS * judged
        self._wait = 1 if pays else min(2 * self._wait, MAX_WAIT)
        self._looked_at, self._index = self._judged, index
        return before
