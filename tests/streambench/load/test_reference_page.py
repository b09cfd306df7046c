"""The tables of the scenario's page say what the declarations of its keys say now.

After a change of a key: `python tests/streambench/load/test_reference_page.py` writes the page anew.
"""

from __future__ import annotations

from pathlib import Path

from streambench.load.reference_page import TABLES, rewritten, tables_in

PAGE = Path(__file__).parents[3] / "docs/reference/scenario.md"


def test_the_tables_are_up_to_date() -> None:
    page = PAGE.read_text("utf-8")
    assert page == rewritten(page), "run this file with python"


def test_every_key_is_in_the_page() -> None:
    page = PAGE.read_text("utf-8")
    assert sorted(tables_in(page)) == sorted(TABLES)
    for name, section in TABLES.items():
        for field in section:
            assert f"| `{field.name}` |" in page, f"{field.name} of {name}"


def test_a_stale_table_is_seen() -> None:
    page = PAGE.read_text("utf-8")
    assert rewritten(page.replace("longer gap is a stall", "shorter gap is a stall")) == page


if __name__ == "__main__":
    PAGE.write_text(rewritten(PAGE.read_text("utf-8")), "utf-8")
