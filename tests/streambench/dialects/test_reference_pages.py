"""The page of each bundled dialect: its generated part is what the file says now.

After a change of a dialect: `python tests/streambench/dialects/test_reference_pages.py` writes the pages anew.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from streambench.dialects import bundled_dialects, load_dialect
from streambench.dialects.reference_page import page

ROOT = Path(__file__).parents[3]
PAGES = ROOT / "docs/reference/dialects"
CAPTURES = ROOT / "tests/captures"
BEGIN = "<!-- from here on made from the dialect file: python tests/streambench/dialects/test_reference_pages.py -->"
SHOWN_LINES = 24
LINE_CHARS = 240


def example(name: str) -> str:
    """The beginning of the dialect's valid capture."""
    path = next((CAPTURES / name).glob("valid.*"))
    lines = path.read_text("utf-8").rstrip("\n").splitlines()
    shown = [line if len(line) <= LINE_CHARS else f"{line[:LINE_CHARS]}…" for line in lines[:SHOWN_LINES]]
    if len(lines) > SHOWN_LINES:
        shown.append("…")
    where = f"tests/captures/{name}"
    return "\n".join(
        (
            "## Example",
            "",
            f"A reply on the wire, from the [valid and broken captures](../../../{where}/):",
            "",
            "```",
            *shown,
            "```",
            "",
        )
    )


def rewritten(name: str) -> str:
    """The page with its generated part made anew."""
    written = (PAGES / f"{name}.md").read_text("utf-8")
    head, found, _ = written.partition(BEGIN)
    assert found, f"{name}.md has no line {BEGIN}"
    return f"{head}{BEGIN}\n\n{page(load_dialect(name))}\n{example(name)}"


@pytest.mark.parametrize("name", bundled_dialects())
def test_the_generated_part_is_up_to_date(name: str) -> None:
    assert (PAGES / f"{name}.md").read_text("utf-8") == rewritten(name), "run this file with python"


@pytest.mark.parametrize("name", bundled_dialects())
def test_a_page_says_what_the_protocol_is_and_where_it_is_described(name: str) -> None:
    head = (PAGES / f"{name}.md").read_text("utf-8").partition(BEGIN)[0]
    assert head.startswith(f"# `{name}`\n")
    assert "Source:" in head


def test_there_is_no_page_too_many() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} == {*bundled_dialects(), "README"}
    index = (PAGES / "README.md").read_text("utf-8")
    assert all(f"({name}.md)" in index for name in bundled_dialects())


if __name__ == "__main__":
    for dialect_name in bundled_dialects():
        (PAGES / f"{dialect_name}.md").write_text(rewritten(dialect_name), "utf-8")
