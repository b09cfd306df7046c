"""What is known of a JSON text without decoding it: how many values it holds, and how deeply they are nested."""

from __future__ import annotations

from typing import Final

MAX_VALUES = 100_000  # of one message; to decode a list of digits takes as long as a text fifty times as large
MAX_STRINGS = 2 * MAX_VALUES  # each value may have a key
MAX_BRACKETS = 2 * MAX_VALUES

_NO_BRACKET: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")


def has_too_many_values(text: str) -> bool:
    """Whether there are more than `MAX_VALUES`; a text that is no JSON may have any number of them."""
    if len(text) <= MAX_VALUES or _values(text) <= MAX_VALUES:
        return False
    plain = _unescaped(text)
    return plain.count('"') > 2 * MAX_STRINGS or _values(_outside_strings(plain)) > MAX_VALUES


def nesting(text: str) -> int:
    """How deep the arrays and objects are nested, up to the one that is one value too many."""
    brackets = _outside_strings(_unescaped(text)).encode("utf-8", "surrogatepass").translate(None, _NO_BRACKET)
    depth = deepest = 0
    for bracket in brackets[:MAX_BRACKETS]:
        if bracket in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


def _unescaped(text: str) -> str:
    """Without what is escaped: each quote that is left begins or ends a string."""
    return text.replace("\\\\", "").replace('\\"', "")


def _outside_strings(plain: str) -> str:
    """What is between the strings; behind the last one that is allowed, everything."""
    return "".join(plain.split('"', 2 * MAX_STRINGS)[::2])


def _values(text: str) -> int:
    """At least as many as there are; within a string the same characters mean nothing."""
    return text.count(",") + text.count("[") + text.count("{") + 1
