"""Conditions on fields: what holds, and which two can never hold together."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streambench.dialects.conditions import Condition, read_condition
from streambench.located import read_yaml


def condition(text: str) -> Condition:
    return read_condition(read_yaml(text, "x.yaml"), "'when'")


@pytest.mark.parametrize(
    ("text", "data", "holds"),
    [
        ("{a: true}", {"a": True}, True),
        ("{a: true}", {"a": 1}, False),
        ("{a: 1}", {"a": True}, False),
        ("{a: x}", {"a": "x"}, True),
        ("{a: null}", {"a": None}, True),
        ("{a: null}", {}, False),
        ("{a: {not: true}}", {}, True),
        ("{a: {not: null}}", {}, False),
        ("{a: {not: null}}", {"a": 0}, True),
        ("{a: {in: [x, y]}}", {"a": "y"}, True),
        ("{a: {in: [x, y]}}", {"a": "z"}, False),
        ("{a: {exists: true}}", {"a": None}, True),
        ("{a: {exists: false}}", {"b": 1}, True),
        ("{a: {empty: true}}", {"a": []}, True),
        ("{a: {empty: true}}", {}, True),
        ("{a: {empty: true}}", {"a": 0}, False),
        ("{a: {empty: false}}", {"a": "x"}, True),
        ("{a: {starts: pre}}", {"a": "prefix"}, True),
        ("{a: {starts: pre}}", {"a": 1}, False),
        ("{$: {text: true}}", "anything", True),
        ("{$: {text: true}}", {"a": 1}, False),
        ("{a: {text: false}}", {"a": 1}, True),
        ("{a.b: 1, c: 2}", {"a": {"b": 1}, "c": 2}, True),
        ("{a.b: 1, c: 2}", {"a": {"b": 1}, "c": 3}, False),
        ("{a: 1, b: 2, c: 3}", {"a": 1, "b": 2, "c": 3}, True),
        ("{a: 1}", [1], False),
    ],
)
def test_it_holds(text: str, data: Any, holds: bool) -> None:
    assert bool(condition(text).compile()(data)) is holds


@pytest.mark.parametrize(
    ("one", "other", "excludes"),
    [
        ("{a: true}", "{a: false}", True),
        ("{a: true}", "{a: {not: true}}", True),
        ("{a: true}", "{b: true}", False),
        ("{a: {exists: true}}", "{a: {exists: false}}", True),
        ("{a: {empty: true}}", "{a.b: 1}", True),  # a field exists only in what is not empty
        ("{a: x}", "{a.b: {exists: true}}", True),  # nor in a text
        ("{$: {text: true}}", "{a: {exists: true}}", True),
        ("{a: {in: [x, y]}}", "{a: {in: [y, z]}}", False),
        ("{a: {starts: ab}}", "{a: {starts: ac}}", True),
        ("{a: {starts: ab}}", "{a: {starts: a}}", False),
        ("{a: null}", "{a: {empty: true}}", False),
        ("{a.b: {not: null}}", "{a: {empty: true}}", True),
        ("{a.b: {not: true}}", "{a: {empty: true}}", False),
    ],
)
def test_two_that_can_never_hold_together(one: str, other: str, excludes: bool) -> None:
    assert condition(one).excludes(condition(other)) is excludes
    assert condition(other).excludes(condition(one)) is excludes


VALUES = st.sampled_from([None, True, False, 0, 1, "", "x", "xy", "z", [], ["x"], {}, {"b": 1}, {"b": "x"}])
TESTS = st.sampled_from(
    [
        "true",
        "false",
        "null",
        "x",
        "1",
        "{not: true}",
        "{not: null}",
        "{not: x}",
        "{in: [x, 1]}",
        "{exists: true}",
        "{exists: false}",
        "{empty: true}",
        "{empty: false}",
        "{starts: x}",
        "{text: true}",
    ]
)
MESSAGES = st.one_of(
    st.dictionaries(st.sampled_from(["a", "c"]), VALUES, max_size=2),
    VALUES,
)


@settings(max_examples=400, deadline=None)
@given(st.tuples(TESTS, TESTS), st.tuples(TESTS, TESTS), MESSAGES)
def test_what_is_said_to_exclude_each_other_never_holds_together(
    one: tuple[str, str], other: tuple[str, str], data: Any
) -> None:
    try:
        first = condition(f"{{a: {one[0]}, a.b: {one[1]}}}")
        second = condition(f"{{a.b: {other[0]}, c: {other[1]}}}")
    except ValueError:
        return
    except Exception as error:
        assert "contradicts itself" in str(error)  # noqa: PT017 - either outcome is fine, nothing else is
        return
    if first.excludes(second):
        assert not (first.compile()(data) and second.compile()(data))
