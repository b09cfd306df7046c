"""`streams.csv` and `chunks.csv`: the run as tables, for any program that reads them."""

from __future__ import annotations

from pathlib import Path

from streambench.analysis.summary import Summary
from streambench.report.dataframes import write_csv


def write(summary: Summary, folder: Path, *, plots: bool) -> Path:
    """Write both files; returns the one of the streams."""
    return write_csv(summary, folder)[0]
