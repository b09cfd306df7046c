"""The page of rules names every rule that the product can report."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from streambench.dialects.invariants import check_kinds
from streambench.dialects.loading import EVENT_KEYS, TOP_KEYS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/reference/rules.md").read_text("utf-8")
DIALECT_PAGE = (ROOT / "docs/reference/dialect-file.md").read_text("utf-8")
NOT_RULES = {"sse.event", "socketio.event", "content.concat == "}
FAMILIES = "grammar|content|termination|data|sse|ndjson|websocket|engineio|socketio|wire|http|har"
RULE = re.compile(rf'"((?:{FAMILIES})\.[a-z][a-z0-9-]*)"')
ROOMS = ("wire", "grammar", "dialects", "record", "analysis/alignment.py", "drivers", "cli/har.py", "cli/check.py")


def rules() -> set[str]:
    package = ROOT / "harness/streambench"
    files: list[Path] = []
    for room in ROOMS:
        files += [package / room] if room.endswith(".py") else (package / room).rglob("*.py")
    return {rule for path in files for rule in RULE.findall(path.read_text("utf-8"))} - NOT_RULES


@pytest.mark.parametrize("rule", sorted(rules()))
def test_every_rule_is_documented(rule: str) -> None:
    assert f"`{rule}`" in PAGE


@pytest.mark.parametrize("name", sorted(check_kinds()))
def test_every_check_is_documented(name: str) -> None:
    assert f"| `{name}` |" in DIALECT_PAGE
    assert f".{name}`" in PAGE or name == "concat"


@pytest.mark.parametrize("key", [*TOP_KEYS, *EVENT_KEYS])
def test_every_key_of_a_dialect_file_is_documented(key: str) -> None:
    assert re.search(rf"^\|[^|]*`{key}`", DIALECT_PAGE, re.MULTILINE)
