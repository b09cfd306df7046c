"""Paths into JSON values."""

from __future__ import annotations

from typing import Any

import pytest

from streambench.paths import MISSING, compile_path, parse_path

DATA = {"a": {"b": {"c": {"d": {"e": 1}}}}, "l": [{"x": "p"}, {"y": 2}, {"x": "q"}], "n": None, "0": "zero"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$", DATA),
        ("n", None),
        ("a.b", {"c": {"d": {"e": 1}}}),
        ("a.b.c", {"d": {"e": 1}}),
        ("a.b.c.d", {"e": 1}),
        ("a.b.c.d.e", 1),
        ("l.0.x", "p"),
        ("l.1", {"y": 2}),
        ("l.*.x", ["p", "q"]),
        ("l.*", [{"x": "p"}, {"y": 2}, {"x": "q"}]),
        ("a.*.x", []),
        ("missing", MISSING),
        ("a.missing", MISSING),
        ("a.b.missing.d", MISSING),
        ("a.b.c.d.e.f", MISSING),
        ("l.9", MISSING),
        ("l.x", MISSING),
        ("n.x", MISSING),
        ("a.b.c.d.missing", MISSING),
    ],
)
def test_a_path_leads_to_its_value(path: str, value: Any) -> None:
    found = compile_path(path)(DATA)
    assert found is value if value is MISSING else found == value


@pytest.mark.parametrize("data", [None, 1, "text", [], {}, [None], True])
def test_a_path_into_anything_else_is_missing_and_never_an_error(data: Any) -> None:
    for path in ("a", "a.b", "a.b.c", "a.b.c.d", "a.0.b", "0.a"):
        assert compile_path(path)(data) is MISSING


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", " a", "a. b"])
def test_what_is_not_a_path(text: str) -> None:
    with pytest.raises(ValueError, match="not a path"):
        parse_path(text)


def test_missing_is_not_null_and_is_falsy() -> None:
    assert not MISSING
    assert compile_path("n")(DATA) is None
