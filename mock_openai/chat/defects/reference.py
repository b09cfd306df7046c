"""The defects as a table of the reference: `python -m mock_openai.chat.defects.reference` prints it."""

from __future__ import annotations

import sys

from mock_openai.chat.defects.catalogue import DEFECTS


def table() -> str:
    """The table in Markdown, with a line end after the last row."""
    rows = (f"| `{defect.name}` | {defect.told} |" for defect in DEFECTS.values())
    return "\n".join(("| defect | what is wrong |", "|---|---|", *rows)) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
