"""Dotted paths into JSON values: `choices.0.delta.content`.

A segment of digits is an index into an array, `*` stands for every element of an array, and any other segment is a
member of an object. `$` alone is the value itself. A path that leads nowhere yields `MISSING`, which is different from
null.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from enum import Enum
from typing import Any, Final


class Missing(Enum):
    """The type of `MISSING`; falsy, so that a missing value reads like an empty one where that is meant."""

    MISSING = "missing"

    def __bool__(self) -> bool:
        return False


MISSING: Final = Missing.MISSING

ROOT: Final = "$"

Path = tuple[str | int, ...]
Getter = Callable[[Any], Any]


def parse_path(text: str) -> Path:
    """The segments of a dotted path, none for `$`. Raises ValueError where a segment is empty."""
    if text == ROOT:
        return ()
    segments = text.split(".")
    if not all(segment and segment == segment.strip() for segment in segments):
        raise ValueError(f"{text!r} is not a path: write names and indexes joined by dots, such as choices.0.delta")
    return tuple(int(segment) if segment.isdecimal() else segment for segment in segments)


@functools.lru_cache(maxsize=4096)
def compile_path(text: str) -> Getter:
    """A function that reads the path out of a decoded JSON value; built once, called for every event of every stream.

    With a `*` the result is the list of what was found, empty where nothing was.
    """
    path = parse_path(text)
    if not path:
        return lambda data: data
    if "*" in path:
        return _all_getter(path)
    *parents, last = path
    if isinstance(last, int):
        return _loop_getter(path)
    match parents:
        case []:
            return _member_getter(last)
        case [first]:
            return _second_getter(first, last)
        case [first, second]:
            return _third_getter(first, second, last)
        case [first, second, third]:
            return _fourth_getter(first, second, third, last)
        case _:
            return _loop_getter(path)


# The common lengths are written out: a loop over segments costs twice as much, and most events lack some path, which
# `dict.get` answers far cheaper than a KeyError.


def _member_getter(last: str) -> Getter:
    def get(data: Any) -> Any:
        try:
            return data.get(last, MISSING)
        except AttributeError:
            return MISSING

    return get


def _second_getter(first: str | int, last: str) -> Getter:
    def get(data: Any) -> Any:
        try:
            return data[first].get(last, MISSING)
        except (LookupError, TypeError, AttributeError):
            return MISSING

    return get


def _third_getter(first: str | int, second: str | int, last: str) -> Getter:
    def get(data: Any) -> Any:
        try:
            return data[first][second].get(last, MISSING)
        except (LookupError, TypeError, AttributeError):
            return MISSING

    return get


def _fourth_getter(first: str | int, second: str | int, third: str | int, last: str) -> Getter:
    def get(data: Any) -> Any:
        try:
            return data[first][second][third].get(last, MISSING)
        except (LookupError, TypeError, AttributeError):
            return MISSING

    return get


def _loop_getter(path: Path) -> Getter:
    def get(data: Any) -> Any:
        try:
            for segment in path:
                data = data[segment]
        except (LookupError, TypeError):
            return MISSING
        return data

    return get


def _all_getter(path: Path) -> Getter:
    def get(data: Any) -> list[Any]:
        values = [data]
        for segment in path:
            if segment == "*":
                values = [item for value in values if isinstance(value, list) for item in value]
            else:
                values = [found for value in values if (found := _step(value, segment)) is not MISSING]
        return values

    return get


def _step(value: Any, segment: str | int) -> Any:
    try:
        return value[segment]
    except (LookupError, TypeError):
        return MISSING
