"""What is known of a JSON text without decoding it: how many values it holds, and how deeply they are nested."""

from __future__ import annotations

import re
from typing import Final

MAX_VALUES = 100_000  # of one message; to decode a list of digits takes as long as a text fifty times as large
MAX_STRINGS = 2 * MAX_VALUES  # each value may have a key

_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_NO_BRACKET: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")


def has_too_many_values(text: str) -> bool:
    """Whether there are more than `MAX_VALUES`; a text that is no JSON may have any number of them."""
    if len(text) <= MAX_VALUES or _values(text) <= MAX_VALUES:
        return False
    bare, strings = _STRING.subn("", text, MAX_STRINGS + 1)
    return strings > MAX_STRINGS or _values(bare) > MAX_VALUES


def nesting(text: str) -> int:
    """How deep the arrays and objects are nested."""
    depth = deepest = 0
    for bracket in _STRING.sub("", text).encode("utf-8", "surrogatepass").translate(None, _NO_BRACKET):
        if bracket in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


def _values(text: str) -> int:
    """At least as many as there are; within a string the same characters mean nothing."""
    return text.count(",") + text.count("[") + text.count("{") + 1
