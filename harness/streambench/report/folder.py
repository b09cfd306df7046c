"""Writes all files of a run folder from its summary."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streambench.analysis.summary import Summary
from streambench.printable import printable_json
from streambench.report.export import exporter


def summary_json(summary: Summary) -> dict[str, Any]:
    """What `summary.json` says: the summary and, for systems about which something is claimed, their claims."""
    claims = [claim.to_json() for claim in summary.claims]
    return {**summary.to_json(), **({"claims": claims} if claims else {})}


def write_reports(summary: Summary, folder: Path, *, formats: Sequence[str], plots: bool) -> dict[str, Path]:
    """Write `summary.json` and the asked formats, which are modules of `export`; with `plots`, `plots/*.svg`.

    Returns the main file of each format. Raises OSError where the folder cannot be written to.
    """
    path = folder / "summary.json"
    document = json.dumps(summary_json(summary), indent=2, ensure_ascii=False)
    path.write_text(printable_json(document) + "\n", "utf-8")
    return {"json": path, **{name: exporter(name).write(summary, folder, plots=plots) for name in formats}}
