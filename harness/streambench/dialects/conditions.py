"""The `when` of an event: tests on fields of its message, all of which must hold.

    when: {data.done: true, data.content: {empty: false}}

A test is a literal (the field equals it), or one of `{not: literal}`, `{in: [literals]}`, `{exists: bool}`,
`{empty: bool}` (missing, null, "", [] and {} are empty), `{text: bool}` (it is a text), `{starts: prefix}`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from streambench.located import Located
from streambench.paths import MISSING, ROOT, Getter, compile_path, parse_path

TESTS = ("not", "in", "exists", "empty", "text", "starts")
_OF_FORM = ("exists", "empty", "text")  # the tests that ask for no particular value

Predicate = Callable[[Any], bool]


@dataclass(slots=True, frozen=True)
class Test:
    """One test of a field: `kind` is `is`, one of TESTS, or `holds`, and `operand` what it compares with.

    `holds` is never written: a field that is there implies it for what it is in.
    """

    kind: str
    operand: Any

    def __call__(self, value: Any) -> bool:
        """Whether a value, or MISSING, satisfies the test."""
        match self.kind:
            case "is":
                return _same(value, self.operand)
            case "not":
                return not _same(None if value is MISSING else value, self.operand)
            case "in":
                return any(_same(value, item) for item in self.operand)
            case "exists":
                return (value is not MISSING) is self.operand
            case "empty":
                return _is_empty(value) is self.operand
            case "text":
                return isinstance(value, str) is self.operand
            case "holds":
                return isinstance(value, (dict, list)) and bool(value)
        return isinstance(value, str) and value.startswith(self.operand)

    def literals(self) -> Iterable[Any]:
        """The values that it mentions."""
        if self.kind in ("is", "not", "starts"):
            return (self.operand,)
        return self.operand if self.kind == "in" else ()

    def describe(self) -> str:
        """The test in words: `is present`, `starts with "x"`."""
        operand = json.dumps(self.operand, ensure_ascii=False)
        match self.kind:
            case "is":
                return f"is {operand}"
            case "exists":
                return "is present" if self.operand else "is absent"
            case "empty":
                return "is empty" if self.operand else "is not empty"
            case "text":
                return "is text" if self.operand else "is not text"
            case "not":
                return f"is not {operand}"
            case "in":
                return f"is one of {operand[1:-1]}"
        return f"starts with {operand}"


_HOLDS_FIELDS = Test("holds", True)


@dataclass(slots=True, frozen=True)
class Condition:
    """A conjunction of tests, by path. Without tests it always holds."""

    tests: Mapping[str, Test]

    def compile(self) -> Predicate:
        """A function of the decoded message; the tests run in the order of the file."""
        tests = [_compile_test(test, compile_path(path)) for path, test in self.tests.items()]
        match tests:
            case [only]:
                return only
            case [first, second]:
                return lambda data: first(data) and second(data)
            case [first, second, third]:
                return lambda data: first(data) and second(data) and third(data)
        return lambda data: all(holds(data) for holds in tests)

    def alike(self, one: Any, other: Any) -> bool:
        """Whether it holds for both of two messages or for neither, whatever else the other has where they differ.

        They are the same but for strings, none of them empty, and numbers.
        """
        return all(
            test.kind in _OF_FORM or (get := compile_path(path))(one) == get(other) for path, test in self.tests.items()
        )

    def excludes(self, other: Condition) -> bool:
        """Whether no message can satisfy both; that is how two events are kept apart."""
        mine, theirs = self._with_implied(), other._with_implied()
        return any(path in theirs and not _satisfiable((*tests, *theirs[path])) for path, tests in mine.items())

    def is_satisfiable(self) -> bool:
        """Whether any message can satisfy it."""
        return all(_satisfiable(tests) for tests in self._with_implied().values())

    def describe(self) -> str:
        """The condition in words, the tests joined by `and`."""
        return " and ".join(f"{path} {test.describe()}" for path, test in self.tests.items()) or "always"

    def _with_implied(self) -> dict[str, tuple[Test, ...]]:
        """The tests by path, with what they imply for the paths above: a field exists only in an object or array."""
        found: dict[str, tuple[Test, ...]] = {}
        for path, test in self.tests.items():
            found[path] = (*found.get(path, ()), test)
            if not test(MISSING):
                segments = path.split(".") if path != ROOT else []
                for end in range(len(segments)):
                    parent = ".".join(segments[:end]) or ROOT
                    found[parent] = (*found.get(parent, ()), _HOLDS_FIELDS)
        return found


def read_condition(node: Located, what: str) -> Condition:
    """The condition in a `when`. Raises a located ConfigurationError."""
    tests: dict[str, Test] = {}
    for path, item in node.mapping(what).items():
        try:
            if "*" in parse_path(path):
                raise ValueError(f"{path!r}: a condition is about one field, so `*` cannot be used")
        except ValueError as error:
            raise node.key_error(path, str(error)) from None
        tests[path] = _read_test(item, path)
    condition = Condition(tests)
    if not tests:
        raise node.error(f"{what} has no test: leave it out, or write the path of a field and its value")
    if not condition.is_satisfiable():
        raise node.error(f"{what} contradicts itself: no message can satisfy it")
    return condition


def _read_test(item: Located, path: str) -> Test:
    if not isinstance(item.value, dict):
        return Test("is", item.plain())
    keys = item.mapping(f"the test of {path!r}", TESTS)
    if len(keys) != 1:
        raise item.error(f"the test of {path!r} needs exactly one of {', '.join(TESTS)}")
    kind, operand = next(iter(keys.items()))
    value = operand.plain()
    if kind in ("exists", "empty", "text") and not isinstance(value, bool):
        raise operand.error(f"{kind!r} takes true or false")
    if kind == "in" and not (isinstance(value, list) and value):
        raise operand.error("'in' takes a list of values")
    if kind == "starts" and not (isinstance(value, str) and value):
        raise operand.error("'starts' takes a text")
    return Test(kind, value)


def _compile_test(test: Test, get: Getter) -> Predicate:
    """The test of a field as one closure; the common kinds without the dispatch of `Test.__call__`."""
    operand = test.operand
    match test.kind:
        case "is" if isinstance(operand, str):
            return lambda data: bool(get(data) == operand)
        case "is" if operand is None or isinstance(operand, bool):
            return lambda data: get(data) is operand
        case "not" if operand is None or isinstance(operand, bool):
            nothing = operand is None
            return lambda data: (value := get(data)) is not operand and not (nothing and value is MISSING)
        case "exists":
            return lambda data: (get(data) is not MISSING) is operand
        case "empty" if operand:
            return lambda data: not (value := get(data)) and (value is None or _is_empty(value))
        case "empty":
            return lambda data: bool(value := get(data)) or not _is_empty(value)
    return lambda data: test(get(data))


def _same(value: Any, literal: Any) -> bool:
    """JSON equality: true is not 1."""
    if isinstance(literal, bool) or isinstance(value, bool):
        return value is literal
    return bool(value == literal)


def _is_empty(value: Any) -> bool:
    return value is MISSING or value is None or (isinstance(value, (str, list, dict)) and not value)


def _satisfiable(tests: tuple[Test, ...]) -> bool:
    """Whether some value passes all tests.

    Each test depends only on equality with its literals, on a prefix, on emptiness or on presence, so these witnesses
    cover every case.
    """
    return any(all(test(value) for test in tests) for value in _witnesses(tests))


def _witnesses(tests: tuple[Test, ...]) -> Iterator[Any]:
    literals = list(chain.from_iterable(test.literals() for test in tests))
    yield from (MISSING, None, True, False, 0, 0.5, "", [], {}, ["\0"], {"\0": 0}, "\0")
    yield from literals
    yield from (literal + "\0" for literal in literals if isinstance(literal, str))
