"""YAML 1.2 read safely, every value with its position, so that errors can point at it.

Only plain data comes out: tags are refused, duplicate keys are errors, and aliases cannot blow a small file up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streambench.errors import ConfigurationError, nearest

MAX_NODES = 20_000
MAX_DEPTH = 40

MAX_DIGITS = 300  # of a number; what has more is a mistake, and Python refuses to print it
SHOWN_CHARS = 60  # of a text in a message

NOWHERE: Mapping[str, Sequence[str]] = {}

_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")


@dataclass(slots=True, frozen=True)
class Located:
    """A value of a YAML file. `line` and `column` count from 1.

    `value` is null, a bool, an int, a float, a str, a list of Located, or a dict of Located; for a dict, `keys` says
    where each key stands.
    """

    value: Any
    path: str
    line: int
    column: int
    keys: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    block: tuple[str, ...] = ()  # of a scalar in block style (`|`, `>`): its lines in the file, from the next one on
    quoted: bool = False  # a scalar in quotes: its text begins one column further

    def plain(self) -> Any:
        """The value without places, as json.loads would give it."""
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        if isinstance(self.value, list):
            return [item.plain() for item in self.value]
        return self.value

    def error(
        self, reason: str, *, text: str | None = None, valid: Iterable[str] = (), at: int | None = None
    ) -> ConfigurationError:
        """The error to raise about this value; `at` points at a character of a string, `valid` are the names allowed.

        The suggestion is the nearest of `valid` to `text`.
        """
        line, column = self.line, self.column
        if at is not None and isinstance(self.value, str):
            if self.block:
                line, column = _place_in_block(self.value, at, self.block, line + 1)
            else:
                column += at + self.quoted
        return self._error(reason, line, column, text, valid)

    def key_error(self, key: str, reason: str, *, valid: Iterable[str] = ()) -> ConfigurationError:
        """The error to raise about a key of this mapping."""
        line, column = self.keys.get(key, (self.line, self.column))
        return self._error(reason, line, column, key, valid)

    def _error(self, reason: str, line: int, column: int, text: str | None, valid: Iterable[str]) -> ConfigurationError:
        suggestion = nearest(text, valid) if text is not None else None
        return ConfigurationError(reason, path=self.path, line=line, column=column, text=text, suggestion=suggestion)

    # Typed access; each raises a located ConfigurationError.

    def mapping(
        self, what: str, keys: Iterable[str] | None = None, *, elsewhere: Mapping[str, Sequence[str]] = NOWHERE
    ) -> dict[str, Located]:
        """The value as a mapping; with `keys`, any other key is an error.

        `elsewhere` says for keys which other mappings take them: the error names these.
        """
        if not isinstance(self.value, dict):
            raise self.error(f"{what} must be a mapping, not {describe(self.value)}")
        if keys is not None:
            allowed = tuple(keys)
            for key in self.value:
                if key in elsewhere and key not in allowed:
                    takers = ", or ".join(dict.fromkeys(elsewhere[key]))
                    raise self.key_error(key, f"{what} has no key {shown(key)}; it belongs {takers}.")
                if key not in allowed:
                    hint = "" if nearest(key, allowed) else f"; {what} takes {', '.join(allowed)}"
                    raise self.key_error(key, f"{what} has no key {shown(key)}{hint}.", valid=allowed)
        return self.value

    def sequence(self, what: str) -> list[Located]:
        """The value as a list."""
        if not isinstance(self.value, list):
            raise self.error(f"{what} must be a list, not {describe(self.value)}")
        return self.value

    def string(self, what: str) -> str:
        """The value as text; a number or a date is no text."""
        if not isinstance(self.value, str):
            raise self.error(f"{what} must be text, not {describe(self.value)}")
        return self.value

    def choice(self, what: str, valid: Iterable[str]) -> str:
        """The value as one of these texts; the error suggests the nearest of them."""
        allowed = tuple(valid)
        text = self.string(what)
        if text not in allowed:
            raise self.error(
                f"{what} must be one of {', '.join(allowed)}, not {shown(text)}.", text=text, valid=allowed
            )
        return text


def _place_in_block(value: str, at: int, lines: tuple[str, ...], first_line: int) -> tuple[int, int]:
    """Line and column of a character of a block scalar.

    Block styles change nothing but white space, so the character is found by counting all others.
    """
    wanted = sum(not letter.isspace() for letter in value[:at])
    after = first_line, 1  # the place after the last character so far
    for number, line in enumerate(lines, first_line):
        for column, letter in enumerate(line, 1):
            if not letter.isspace():
                if wanted == 0:
                    return number, column
                wanted -= 1
                after = number, column + 1
    return after


def describe(value: Any) -> str:
    """What a value is, in the words of the file format."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case str():
            return f"the text {value!r}" if len(value) <= SHOWN_CHARS else f"a text of {len(value):,} characters"
    return f"the number {value}"


def read_document(text: str, path: str, what: str) -> Located:
    """The mapping that is `what`, such as `a dialect`.

    Raises ConfigurationError, which quotes nothing of what is no mapping: the path may be that of any other file.
    """
    root = read_yaml(text, path)
    if not isinstance(root.value, dict):
        found = "a list" if isinstance(root.value, list) else "one value"
        reason = f"{what} must be a mapping, not {found}"
        raise ConfigurationError(reason, path=path, line=root.line, column=root.column)
    return root


def read_yaml(text: str, path: str) -> Located:
    """The document in `text`, located in `path`. Raises ConfigurationError."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.reader import ReaderError

    try:
        node = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (None, None)
        raise ConfigurationError(
            f"not valid YAML: {error.problem or error.context}", path=path, line=line, column=column
        ) from None
    except ReaderError as error:
        line, column = _place(text, error.position)
        raise ConfigurationError(f"not valid YAML: {error.reason}", path=path, line=line, column=column) from None
    except RecursionError:
        raise ConfigurationError("not valid YAML: nested too deep", path=path) from None
    except (YAMLError, ValueError, OverflowError) as error:
        raise ConfigurationError(f"not valid YAML: {type(error).__name__}", path=path) from None
    if node is None:
        raise ConfigurationError("the file is empty", path=path, line=1, column=1)
    return _Reader(path, text.splitlines()).read(node, 0)


def _place(text: str, position: object) -> tuple[int | None, int | None]:
    """Line and column of a position in a text, both from 1."""
    if not isinstance(position, int):
        return None, None
    line_start = text.rfind("\n", 0, position) + 1
    return text.count("\n", 0, position) + 1, position - line_start + 1


class _Reader:
    """Turns composed nodes into located values."""

    def __init__(self, path: str, lines: list[str]) -> None:
        self._path = path
        self._lines = lines
        self._nodes = 0

    def read(self, node: Any, depth: int) -> Located:
        from ruamel.yaml.nodes import MappingNode, SequenceNode

        line, column = node.start_mark.line + 1, node.start_mark.column + 1
        self._nodes += 1
        if self._nodes > MAX_NODES or depth > MAX_DEPTH:
            raise ConfigurationError("the file is too large or too deep", path=self._path, line=line, column=column)
        if isinstance(node, MappingNode):
            return self._read_mapping(node, line, column, depth)
        if isinstance(node, SequenceNode):
            return Located([self.read(item, depth + 1) for item in node.value], self._path, line, column)
        style = getattr(node, "style", None)
        value = self._scalar(node, line, column)
        end = node.end_mark.line + (node.end_mark.column > 0)
        block = self._lines[line:end] if style in ("|", ">") else ()
        return Located(value, self._path, line, column, block=tuple(block), quoted=style in ("'", '"'))

    def _read_mapping(self, node: Any, line: int, column: int, depth: int) -> Located:
        values: dict[str, Located] = {}
        places: dict[str, tuple[int, int]] = {}
        for key_node, value_node in node.value:
            if str(key_node.tag).endswith(":merge"):
                continue
            key_line, key_column = key_node.start_mark.line + 1, key_node.start_mark.column + 1
            key = self._whole_characters(str(key_node.value), key_line, key_column)
            if key in values:
                raise ConfigurationError(
                    f"the key {shown(key)} appears twice; it was first given in line {places[key][0]}",
                    path=self._path,
                    line=key_line,
                    column=key_column,
                    text=key,
                )
            places[key] = (key_line, key_column)
            values[key] = self.read(value_node, depth + 1)
        for merged in self._merged(node, depth):
            for key in merged.value:
                if key not in values:
                    values[key] = merged.value[key]
                    places[key] = merged.keys[key]
        return Located(values, self._path, line, column, places)

    def _merged(self, node: Any, depth: int) -> list[Located]:
        """The mappings that `<<` merges into this one; its own keys win over theirs, and earlier ones over later."""
        merged: list[Located] = []
        for key_node, value_node in node.value:
            if not str(key_node.tag).endswith(":merge"):
                continue
            value = self.read(value_node, depth + 1)
            for item in value.value if isinstance(value.value, list) else [value]:
                if not isinstance(item.value, dict):
                    raise item.error("`<<` merges a mapping, or a list of mappings")
                merged.append(item)
        return merged

    def _scalar(self, node: Any, line: int, column: int) -> Any:
        text: str = node.value
        kind = str(node.tag).rpartition(":")[2]
        match kind:
            case "null":
                return None
            case "bool":
                return text.lower() == "true"
            case "int" | "float" if len(text) > MAX_DIGITS:
                raise ConfigurationError(
                    f"a number of {len(text):,} characters is too long", path=self._path, line=line, column=column
                )
            case "int" if _INTEGER.fullmatch(text):
                return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
            case "float":
                try:
                    return float(text)
                except ValueError:
                    return text
            case "str" | "timestamp" | "int":
                return self._whole_characters(text, line, column)
        raise ConfigurationError(
            f"the tag {str(node.tag)[:SHOWN_CHARS]} is not allowed here: write plain values",
            path=self._path,
            line=line,
            column=column,
            text=text,
        )

    def _whole_characters(self, text: str, line: int, column: int) -> str:
        r"""`text` with the halves of a character joined, as JSON writes them (`\ud83d\ude00`).

        A half that stays alone cannot be sent or written; it is an error.
        """
        try:
            text.encode()
        except UnicodeEncodeError:
            try:
                return text.encode("utf-16", "surrogatepass").decode("utf-16")
            except UnicodeDecodeError:
                reason = "the text holds half a character (a UTF-16 surrogate without its other half)"
                raise ConfigurationError(reason, path=self._path, line=line, column=column) from None
        return text


def shown(key: str) -> str:
    """A key in a message."""
    return repr(key if len(key) <= SHOWN_CHARS else f"{key[:SHOWN_CHARS]}…")
