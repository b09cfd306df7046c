"""What a JSON text says of itself before it is decoded."""

from __future__ import annotations

import json

import pytest

from streambench.wire.json_text import MAX_VALUES, has_too_many_values, nesting


@pytest.mark.parametrize(
    ("text", "too_many"),
    [
        ("[" + "1," * (MAX_VALUES + 10) + "1]", True),
        ("[" + "[]," * MAX_VALUES + "1]", True),
        ('{"a":[' + "{}," * (MAX_VALUES // 2 + 10) + "{}]}", True),
        (json.dumps(["a, b" * 20, "["] * (MAX_VALUES // 10)), False),
        (json.dumps({"csv": "1,2,[3],{4}\n" * MAX_VALUES}), False),
        (json.dumps({"quotes": '\\",' * MAX_VALUES}), False),
        ('["' + "," * 3 * MAX_VALUES, False),
        (json.dumps({str(number): "\\" for number in range(MAX_VALUES + 10)}), True),
        ("1" * 3 * MAX_VALUES, False),
        ("", False),
    ],
)
def test_values_are_counted_but_not_what_looks_like_them(text: str, too_many: bool) -> None:
    assert has_too_many_values(text) is too_many


@pytest.mark.parametrize(
    ("text", "levels"),
    [
        ("", 0),
        ("1", 0),
        ("[]", 1),
        ('{"a":[{}]}', 3),
        ('"[[["', 0),
        ('["[", "\\"[["]', 1),
        ("[" * 500, 500),
        ("[][]", 1),
    ],
)
def test_levels_are_counted_outside_of_strings(text: str, levels: int) -> None:
    assert nesting(text) == levels
