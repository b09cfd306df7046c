"""`streams.parquet` and `chunks.parquet`: the run as typed tables."""

from __future__ import annotations

from pathlib import Path

from streambench.analysis.summary import Summary
from streambench.report.dataframes import write_parquet


def write(summary: Summary, folder: Path, *, plots: bool) -> Path:
    """Write both files; returns the one of the streams. Raises MissingDependency without pyarrow."""
    return write_parquet(summary, folder)[0]
