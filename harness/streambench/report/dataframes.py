"""The run as data frames, for your own analysis."""

from __future__ import annotations

import math
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any

from streambench.analysis.summary import Summary
from streambench.errors import MissingDependency
from streambench.units import NS_PER_MS

if TYPE_CHECKING:
    from pandas import DataFrame

_FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def stream_frame(summary: Summary) -> DataFrame:
    """One row a judged stream: what it was, how it ended, and its metrics in their units."""
    import pandas as pd

    rows: list[dict[str, Any]] = []
    for target in summary.targets.values():
        for stream in summary.streams_of(target):
            record = stream.record
            row: dict[str, Any] = {
                "stream": record.id,
                "target": target.name,
                "phase": record.phase,
                "user": record.user,
                "intended_ms": (record.intended_ns - summary.header["start_ns"]) / NS_PER_MS,
                "outcome": str(record.outcome),
                "error": record.error,
                "status": record.status,
                "violations": len(stream.violations),
                "authenticity": None if stream.authenticity is None else str(stream.authenticity.verdict),
            }
            rows.append(row | stream.figures.stream)
    return pd.DataFrame(rows)


def chunk_frame(summary: Summary) -> DataFrame:
    """One row a chunk with content: when it arrived and, seen from both sides, when the upstream had written it."""
    import pandas as pd

    streams: list[str] = []
    targets: list[str] = []
    numbers = {name: array("q") for name in ("event", "chars", "read")}
    moments = {name: array("d") for name in ("arrived_ms", "written_ms")}
    for target in summary.targets.values():
        for stream in summary.streams_of(target):
            record, alignment = stream.record, stream.alignment
            written: dict[int, int] = {}
            if alignment is not None:
                written = dict(zip(alignment.rows, alignment.written_ns, strict=True))
            rows = record.content_rows()
            streams += [record.id] * len(rows)
            targets += [target.name] * len(rows)
            numbers["event"].extend(rows)
            for row in rows:
                wrote_ns = written.get(row)
                numbers["chars"].append(record.events.chars[row])
                numbers["read"].append(record.events.read[row])
                moments["arrived_ms"].append((record.events.at_ns[row] - record.start_ns) / NS_PER_MS)
                moments["written_ms"].append(math.nan if wrote_ns is None else (wrote_ns - record.start_ns) / NS_PER_MS)
    return pd.DataFrame(
        {
            "stream": streams,
            "target": targets,
            "event": numbers["event"],
            **moments,
            "chars": numbers["chars"],
            "read": numbers["read"],
        }
    )


def write_csv(summary: Summary, folder: Path) -> list[Path]:
    """`streams.csv` and `chunks.csv`."""
    paths = [folder / "streams.csv", folder / "chunks.csv"]
    for frame, path in zip((stream_frame(summary), chunk_frame(summary)), paths, strict=True):
        for name in frame.select_dtypes(include=["object", "string"]):
            frame[name] = frame[name].map(_no_formula)
        frame.to_csv(path, index=False)
    return paths


def _no_formula(cell: Any) -> Any:
    """A word that a spreadsheet would compute, such as `=1+1`, as one that it shows (OWASP, CSV injection)."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULAS) else cell


def write_parquet(summary: Summary, folder: Path) -> list[Path]:
    """`streams.parquet` and `chunks.parquet`. Raises MissingDependency without pyarrow."""
    paths = [folder / "streams.parquet", folder / "chunks.parquet"]
    try:
        for frame, path in zip((stream_frame(summary), chunk_frame(summary)), paths, strict=True):
            frame.to_parquet(path, index=False)
    except ImportError as error:
        raise MissingDependency("parquet", "parquet") from error
    return paths
