"""Recorded streams, kept as files: what a real service wrote and when.

The `trace` profile replays them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mock_openai.upstream.profiles import MAX_TRACE_CHUNKS, Trace, trace_of

SCHEMA = "mock_openai.trace/1"
MAX_FILE_BYTES = 64 << 20


class TraceError(ValueError):
    """A trace file that cannot be used; the text says which and why."""


def load_traces(folder: Path) -> dict[str, Trace]:
    """The traces of a folder by name, the file's name without `.json`. Raises TraceError."""
    if not folder.is_dir():
        raise TraceError(f"{folder} is not a folder of traces")
    out = {}
    for path in sorted(folder.glob("*.json")):
        trace = load_trace(path)
        if trace is not None:
            out[path.stem] = trace
    return out


def load_trace(path: Path) -> Trace | None:
    """One trace; None for a recorded reply without content, such as an error. Raises TraceError."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise TraceError(f"{path} is larger than {MAX_FILE_BYTES >> 20} MiB")
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise TraceError(f"{path} is not a trace: {error}") from None
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise TraceError(f"{path} is not a trace: its `schema` is not {SCHEMA!r}")
    if not data.get("chunks"):
        return None
    try:
        return trace_of(data["chunks"], 1)
    except ValueError as error:
        raise TraceError(f"{path}: {error}") from None


def save_trace(folder: Path, name: str, data: dict[str, Any], chunks: Sequence[tuple[float, str]]) -> Path:
    """Write a trace file and return its path. Raises OSError."""
    shown = [[round(at_ms, 3), text] for at_ms, text in chunks[:MAX_TRACE_CHUNKS]]
    path = folder / f"{name}.json"
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"schema": SCHEMA, **data, "chunks": shown}, ensure_ascii=False, indent=1))
    partial.replace(path)
    return path
