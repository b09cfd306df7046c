"""The keys of a scenario file, each declared once: name, type, default and meaning.

A declaration is what the loader reads with, what the JSON Schema is made from, and what the tables of
`docs/reference/scenario.md` show. A new key is one `Field`, named in its `Section`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from streambench.load.kinds import Kind, Schema
from streambench.load.values import Values
from streambench.located import Located, describe

T = TypeVar("T")

# Where a key of this name belongs: who puts it elsewhere is told.
TAKERS: Final[dict[str, list[str]]] = {}

_LINK = re.compile(r"\[([^]]*)\]\([^)]*\)")


@dataclass(frozen=True, slots=True, eq=False)
class Field(Generic[T]):
    """A key: its `name`, what it may hold, what it means (Markdown), and its value where it is absent.

    `shown` says the default in words where the value itself does not tell; `required` keys have none.
    """

    name: str
    kind: Kind[T]
    doc: str
    default: T
    shown: str | None = None
    required: bool = False

    def schema(self) -> Schema:
        """The JSON Schema of the value, with its meaning."""
        return {**self.kind.schema(), "description": _LINK.sub(r"\1", self.doc)}

    def show_default(self) -> str:
        """The last cell of its row in the documentation."""
        if self.required:
            return "required"
        if self.shown is not None:
            return self.shown
        return "" if self.default is None else self.kind.show(self.default)


class Section:
    """A mapping of the file: the keys that it takes. `what` is how errors call it.

    `rules` are conditions between keys as JSON Schema; the code that reads the section checks them too.
    """

    def __init__(self, what: str, *fields: Field[Any], rules: Mapping[str, Any] | None = None) -> None:
        self.what = what
        self.fields = {field.name: field for field in fields}
        self.rules = dict(rules or {})
        for field in fields:
            TAKERS.setdefault(field.name, []).append(f"in {what}")

    def __iter__(self) -> Iterator[Field[Any]]:
        return iter(self.fields.values())

    def read(self, node: Located, values: Values) -> Given:
        """The keys that are given. Raises ConfigurationError for one that does not exist, and for a missing one."""
        keys = node.mapping(self.what, self.fields, elsewhere=TAKERS)
        for field in self:
            if field.required and field.name not in keys:
                raise node.error(f"{self.what} needs {field.name!r}")
        return Given(node, keys, values)

    def read_or_empty(self, node: Located | None, values: Values, beside: Located) -> Given:
        """As `read`; a section that is not there gives no key. `beside` is the place for errors about it."""
        return Given(beside, {}, values) if node is None else self.read(node, values)

    def schema(self, more: Mapping[str, Any] | None = None) -> Schema:
        """An object with exactly these keys. `more` are properties that are described elsewhere."""
        out: Schema = {
            "type": "object",
            "additionalProperties": False,
            "properties": {**{field.name: field.schema() for field in self}, **(more or {})},
        }
        required = [field.name for field in self if field.required]
        if required:
            out["required"] = required
        return {**out, **self.rules}

    def table(self) -> str:
        """The section as a table of the documentation."""
        rows = [("key", "meaning", "default"), ("---", "---", "---"), *self._rows("")]
        return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in rows)

    def _rows(self, prefix: str) -> Iterator[tuple[str, str, str]]:
        for field in self:
            yield f"`{prefix}{field.name}`", field.doc, field.show_default()
            if isinstance(field.kind, Nested) and field.kind.in_table:
                yield from field.kind.section._rows(f"{prefix}{field.name}.")


class Given:
    """The keys of one mapping of a file; a value is read when it is asked for, by its declaration."""

    def __init__(self, node: Located, keys: Mapping[str, Located], values: Values) -> None:
        self.node = node
        self._keys = keys
        self._values = values

    def __contains__(self, field: Field[Any]) -> bool:
        return field.name in self._keys

    def __getitem__(self, field: Field[T]) -> T:
        """The value of a key, its default where it is absent. Raises ConfigurationError with the place."""
        node = self._keys.get(field.name)
        return field.default if node is None else field.kind.read(node, self._values, f"'{field.name}'")

    def at(self, field: Field[Any]) -> Located:
        """The value with its place; only for a key that is given."""
        return self._keys[field.name]

    def get(self, field: Field[Any]) -> Located | None:
        """The value with its place, None where the key is absent."""
        return self._keys.get(field.name)


@dataclass(frozen=True, slots=True)
class Nested:
    """A mapping with keys of its own. `nullable`: nothing after the colon means all defaults.

    `in_table`: its keys are rows of the outer table, as `outer.key`.
    """

    section: Section
    nullable: bool = False
    in_table: bool = True

    def read(self, node: Located, values: Values, what: str) -> Given | None:
        """The keys that are given."""
        if self.nullable and node.value is None:
            return Given(node, {}, values)
        return self.section.read(node, values)

    def schema(self) -> Schema:
        """The section's schema."""
        schema = self.section.schema()
        return {**schema, "type": ["object", "null"]} if self.nullable else schema

    def show(self, value: Any) -> str:
        """What it is where it is absent."""
        return describe(value)
