"""`records.jsonl`: what a run saw, one JSON object a line, readable however the run ended.

Every line has a `kind`: `header` (first), `stream`, `generator` (the generator's self-observation, about once a
second) and `end`. A line is written by one system call on a file opened for appending, so a killed run loses no
finished line, and lines of several processes do not mix.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from streambench.errors import ConfigurationError
from streambench.record.model import StreamRecord

SCHEMA = "streambench.records/1"
# What stands there are names and words of our own, by which lines refer to each other. A value from the environment may
# well be such a word (`?streaming=${MODE}` beside a target called `paced`), and hiding it would tear them apart.
OWN_WORDS = frozenset(
    {
        *("kind", "schema", "id", "target", "dialect", "transport", "gates", "mark"),
        *("outcome", "error", "ending", "ended", "finish", "reason", "stamps"),
        *("names", "axis", "rule", "severity"),
    }
)


class RecordWriter:
    """Appends to a records file. `redact` hides secrets in every text but `OWN_WORDS`: none reaches the disk."""

    def __init__(self, path: Path, redact: Callable[[str], str] = str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._redact = redact

    def header(self, header: dict[str, Any]) -> None:
        self._write({"kind": "header", "schema": SCHEMA, **header})

    def stream(self, record: StreamRecord) -> None:
        self._write(record.to_json())

    def generator(self, sample: dict[str, Any]) -> None:
        self._write({"kind": "generator", **sample})

    def end(self, end: dict[str, Any]) -> None:
        self._write({"kind": "end", **end})

    def close(self) -> None:
        os.close(self._fd)

    def _redacted(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._redact(value)
        if isinstance(value, dict):
            return {key: item if key in OWN_WORDS else self._redacted(item) for key, item in value.items()}
        if isinstance(value, list) and value and not isinstance(value[0], int):
            return [self._redacted(item) for item in value]
        return value

    def _write(self, line: dict[str, Any]) -> None:
        redacted = self._redacted(line)
        try:
            data = orjson.dumps(redacted) + b"\n"
        except TypeError:  # half a character, as JavaScript allows it, or a number beyond 64 bits
            text = json.dumps(redacted, ensure_ascii=False, separators=(",", ":"))
            data = text.encode("utf-8", "replace") + b"\n"
        while data:
            data = data[os.write(self._fd, data) :]


@dataclass(slots=True)
class RunData:
    """A records file, read back. `end` is None where the run was killed; `skipped_lines` could not be read."""

    header: dict[str, Any]
    records: list[StreamRecord]
    generator: list[dict[str, Any]] = field(default_factory=list)
    end: dict[str, Any] | None = None
    skipped_lines: int = 0


def read_run(path: Path) -> RunData:
    """Read a records file; a torn last line is tolerated. Raises ConfigurationError where it is not one at all."""
    run: RunData | None = None
    skipped = 0
    try:
        with path.open("rb") as lines:
            for line in lines:
                try:
                    data = orjson.loads(line)
                    kind = data["kind"]
                    if run is None:
                        if kind != "header" or data["schema"] != SCHEMA:
                            raise ConfigurationError(f"not a {SCHEMA} file", path=str(path), line=1)
                        run = RunData(data, [])
                    elif kind == "stream":
                        run.records.append(StreamRecord.from_json(data))
                    elif kind == "generator":
                        run.generator.append(data)
                    elif kind == "end":
                        run.end = data
                except (ValueError, KeyError, TypeError, IndexError):
                    skipped += 1
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {error.strerror}", path=str(path)) from error
    if run is None:
        raise ConfigurationError(f"no {SCHEMA} header: the run ended before it began", path=str(path), line=1)
    run.skipped_lines = skipped
    return run
