"""The faults as a table of the reference: `python -m mock_openai.upstream.faults.reference` prints it."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from mock_openai.upstream.faults.catalogue import STAGES
from mock_openai.upstream.faults.kind import Range, Words


def table() -> str:
    """The table in Markdown, with a row for each fault under its stage, and a line end after the last."""
    lines = ["| fault | options (default) | `at` | what happens |", "|---|---|---|---|"]
    for stage, kinds in STAGES.items():
        lines.append(f"| **{stage}** | | | |")
        for kind in kinds:
            name = f"`{kind.name}` ◦" if kind.stream_only else f"`{kind.name}`"
            cells = (name, _options(kind.options), "yes" if kind.placed else "", kind.told)
            lines.append("|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|")
    return "\n".join(lines) + "\n"


def _options(options: Mapping[str, Range | Words]) -> str:
    return ", ".join(f"`{key}`{_default(spec)}" for key, spec in options.items())


def _default(spec: Range | Words) -> str:
    """The default of an option, and for a choice what else there is."""
    if spec.shown:
        return f" ({spec.shown})"
    if isinstance(spec, Range):
        return "" if spec.default is None else f" ({spec.default:.0f})"
    others = ", ".join(f"`{choice}`" for choice in spec.choices if choice != spec.default)
    default = "" if spec.default is None else f"`{spec.default}`"
    shown = "; ".join(part for part in (default, others) if part)
    return f" ({shown})" if shown else ""


if __name__ == "__main__":
    sys.stdout.write(table())
