"""The types that a key of a scenario file can have: how each is read, and its JSON Schema.

A schema never refuses what can be read: where a text may hold `${NAME}`, whatever stands there passes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from streambench.load.values import Values
from streambench.located import Located
from streambench.units import NS_PER_MS, NS_PER_S, parse_rate_per_s

Schema = dict[str, Any]
T_co = TypeVar("T_co", covariant=True)

_REFERENCE = r"\$\{"
_NUMBER = r"\d+(\.\d+)?([eE][+-]?\d{1,2})?"
DURATION_PATTERN = rf"\s*({_NUMBER}\s*(ns|us|µs|ms|s|m|min|h)|0+(\.0+)?)\s*"
SOME_DURATION_PATTERN = rf"(?=[^a-zµ]*[1-9]){DURATION_PATTERN}"
RATE_PATTERN = rf"\s*[+]?{_NUMBER}\s*/\s*(s|m|min|h)\s*"
SOME_RATE_PATTERN = rf"(?=[^/eE]*[1-9]){RATE_PATTERN}"
# A name and a value as HTTP allows them (RFC 9110, 5.1 and 5.5).
HEADER_NAME = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
HEADER_VALUE = r"[^\x00-\x1f]*"


class Kind(Protocol[T_co]):
    """What a key may hold."""

    def read(self, node: Located, values: Values, what: str) -> T_co:
        """The value; `what` is how errors call it. Raises ConfigurationError with the place."""
        ...

    def schema(self) -> Schema:
        """The JSON Schema (draft 2020-12) of what can be read."""
        ...

    def show(self, value: Any) -> str:
        """A default, as it is written in a file and shown in the documentation."""
        ...


def pattern(*alternatives: str) -> Schema:
    """The schema of a text that is wholly one of the alternatives, or holds a `${reference}`."""
    return {"type": "string", "pattern": "|".join([*(f"^({one})$" for one in alternatives), _REFERENCE])}


def _plain(value: Any) -> str:
    return f"`{value}`"


@dataclass(frozen=True, slots=True)
class Text:
    """A text in which `${NAME}` is replaced; `like` is a regular expression that all of it must match in an editor."""

    like: tuple[str, ...] = ()

    def read(self, node: Located, values: Values, what: str) -> str:
        """The text with its references replaced."""
        return values.text(node, what)

    def schema(self) -> Schema:
        """A string."""
        return pattern(*self.like) if self.like else {"type": "string"}

    def show(self, value: Any) -> str:
        """The text itself."""
        return _plain(value)


@dataclass(frozen=True, slots=True)
class Scalar:
    """A text, a number or a truth value; it is read as text."""

    like: tuple[str, ...] = ()

    def read(self, node: Located, values: Values, what: str) -> str:
        """The value as text, `true` and `false` in small letters."""
        return values.scalar(node, what)

    def schema(self) -> Schema:
        """A string of the pattern, a number or a boolean."""
        return {"anyOf": [pattern(*self.like) if self.like else {"type": "string"}, {"type": ["number", "boolean"]}]}

    def show(self, value: Any) -> str:
        """The text itself."""
        return _plain(value)


@dataclass(frozen=True, slots=True)
class Duration:
    """A duration with its unit, read as ns; `some`: it cannot be 0."""

    some: bool = False

    def read(self, node: Located, values: Values, what: str) -> int:
        """Nanoseconds."""
        duration_ns = values.duration(node, what, 0)
        if self.some and duration_ns <= 0:
            raise node.error(f"{what} must be longer than 0, such as 60s")
        return duration_ns

    def schema(self) -> Schema:
        """A text with a unit, or the number 0."""
        if self.some:
            return pattern(SOME_DURATION_PATTERN)
        return {"anyOf": [{"const": 0}, pattern(DURATION_PATTERN)]}

    def show(self, value: Any) -> str:
        """As short as it can be written."""
        if value == 0:
            return _plain(0)
        return _plain(f"{value // NS_PER_S}s" if value % NS_PER_S == 0 else f"{value / NS_PER_MS:g}ms")


@dataclass(frozen=True, slots=True)
class Rate:
    """A number of events and a unit of time, read as events a second."""

    def read(self, node: Located, values: Values, what: str) -> float:
        """Events a second."""
        return values.read(node, parse_rate_per_s, what)

    def schema(self) -> Schema:
        """A text with a unit of time."""
        return pattern(RATE_PATTERN)

    def show(self, value: Any) -> str:
        """A rate a second."""
        return _plain(f"{value:g}/s")


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number from `low` to `high`, also as text."""

    low: int
    high: int

    def read(self, node: Located, values: Values, what: str) -> int:
        """The number."""
        return values.integer(node, what, self.low, self.high, 0)

    def schema(self) -> Schema:
        """An integer in its bounds, or a text of digits."""
        return {"anyOf": [{"type": "integer", "minimum": self.low, "maximum": self.high}, pattern(r"\s*[-+]?\d+\s*")]}

    def show(self, value: Any) -> str:
        """Its digits."""
        return _plain(value)


@dataclass(frozen=True, slots=True)
class Number:
    """A number from `low` to `high`, also as text."""

    low: float
    high: float

    def read(self, node: Located, values: Values, what: str) -> float:
        """The number."""
        return values.number(node, what, self.low, self.high, 0.0)

    def schema(self) -> Schema:
        """A number in its bounds, or a text of digits."""
        bounds = {"type": "number", "minimum": self.low, "maximum": self.high}
        return {"anyOf": [bounds, pattern(rf"\s*[-+]?{_NUMBER}\s*")]}

    def show(self, value: Any) -> str:
        """As short as it can be written."""
        return _plain(f"{value:g}")


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words."""

    words: tuple[str, ...]

    def read(self, node: Located, values: Values, what: str) -> str:
        """The word."""
        return node.choice(what, self.words)

    def schema(self) -> Schema:
        """An enumeration."""
        return {"enum": list(self.words)}

    def show(self, value: Any) -> str:
        """The word."""
        return _plain(value)


@dataclass(frozen=True, slots=True)
class Plain:
    """A value that is handed on as it is; `json_schema` says what an editor accepts."""

    json_schema: Mapping[str, Any] = field(default_factory=dict)

    def read(self, node: Located, values: Values, what: str) -> Any:
        """The value without places."""
        return node.plain()

    def schema(self) -> Schema:
        """What was declared."""
        return dict(self.json_schema)

    def show(self, value: Any) -> str:
        """The value."""
        return _plain(value)


@dataclass(frozen=True, slots=True)
class JsonObject:
    """A mapping of any JSON values, in whose texts `${NAME}` is replaced."""

    def read(self, node: Located, values: Values, what: str) -> Mapping[str, Any]:
        """The values without places."""
        return {name: _json(item, values, f"{what}: {name!r}") for name, item in node.mapping(what).items()}

    def schema(self) -> Schema:
        """Any object."""
        return {"type": "object"}

    def show(self, value: Any) -> str:
        """Never shown: it has no default."""
        return ""


@dataclass(frozen=True, slots=True)
class ScalarMap:
    """A mapping from names to scalars; `name` and `value` are regular expressions, `each` names one in errors."""

    each: str
    name: str | None = None
    value: str | None = None

    def read(self, node: Located, values: Values, what: str) -> dict[str, str]:
        """The values as texts, by name."""
        return {name: values.scalar(item, f"{self.each} {name!r}") for name, item in node.mapping(what).items()}

    def schema(self) -> Schema:
        """An object of scalars."""
        item = Scalar() if self.value is None else Scalar((self.value,))
        out: Schema = {"type": "object", "additionalProperties": item.schema()}
        return out if self.name is None else {**out, "propertyNames": {"pattern": f"^({self.name})$"}}

    def show(self, value: Any) -> str:
        """Never shown: a mapping has no default."""
        return ""


def _json(node: Located, values: Values, what: str) -> Any:
    if isinstance(node.value, dict):
        return {name: _json(item, values, what) for name, item in node.value.items()}
    if isinstance(node.value, list):
        return [_json(item, values, what) for item in node.value]
    return values.text(node, what) if isinstance(node.value, str) else node.plain()


def matches(expression: str, text: str) -> bool:
    """Whether the whole of `text` is of a pattern of this module."""
    return re.fullmatch(expression, text) is not None
