"""The schema of dialect files takes what the loader takes, and refuses the commonest mistakes."""

from __future__ import annotations

from functools import cache
from typing import Any

import jsonschema_rs
import pytest

from streambench.dialects import bundled_dialects, load_dialect
from streambench.dialects.schema import dialect_schema
from streambench.located import read_yaml

GOOD = """\
dialect: d
version: 1
transport: sse
name: type
events: {a: {content: x}, b: {}}
grammar: a* b
"""


@cache
def schema() -> Any:
    return jsonschema_rs.validator_for(dialect_schema())


def errors(text: str) -> list[Any]:
    return list(schema().iter_errors(read_yaml(text, "d.yaml").plain()))


@pytest.mark.parametrize("name", bundled_dialects())
def test_every_bundled_dialect_fits(name: str) -> None:
    found = errors(load_dialect(name).source_path.read_text("utf-8"))
    assert [error.message for error in found] == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("grammar: a* b\n", ""),
        ("version: 1", "version: 2"),
        ("transport: sse", "transport: see"),
        ("grammar:", "gramar:"),
        ("content: x", "contant: x"),
        ("content: x", "content: x, mode: deltas"),
        ("events: {a: {content: x}, b: {}}", "events: {}"),
        ("events: {a: {content: x}, b: {}}", "events: [a, b]"),
        ("name: type", "name: type\nunknown: warn"),
        ("name: type", "name: type\ndata: xml"),
    ],
)
def test_a_mistake_is_refused(old: str, new: str) -> None:
    assert errors(GOOD) == []
    assert errors(GOOD.replace(old, new, 1)) != []
