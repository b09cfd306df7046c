"""The page of limits says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

from streambench.load.bounds import SECTION

PAGE = Path(__file__).parents[2] / "docs/explanation/limits.md"


def test_every_key_is_on_the_page_with_its_default() -> None:
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in PAGE.read_text().splitlines() if "|" in line]
    shown = {row[2].strip("`"): row[1] for row in rows if len(row) == 4}
    for field in SECTION:
        number = int(re.match(r"[\d,]+", shown[field.name])[0].replace(",", ""))  # type: ignore[index]
        assert number * (1 << 20 if "MiB" in shown[field.name] else 1) == field.default, field.name
