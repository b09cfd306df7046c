"""`records.jsonl`: what a run observed, one JSON object per line, readable however the run ended.

Every line has a `kind`: `header` (first), `stream`, `generator` (the generator's self-observation, about once a
second), `begun` (how many streams have begun, told from time to time), `step` (a step of a sweep) and `end`. A line is
written by one system call on a file opened for appending, so a killed run loses no finished line, and lines of several
processes do not mix.

`record/run_file.py` reads it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import orjson

from streambench.record.lines import SCHEMA
from streambench.record.model import StreamRecord

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
        """The first line: what is run, against which targets, on which machine."""
        self._write({"kind": "header", "schema": SCHEMA, **header})

    def stream(self, record: StreamRecord) -> None:
        """One stream that has ended."""
        self._write(record.to_json())

    def generator(self, sample: dict[str, Any]) -> None:
        """What the generator saw of itself."""
        self._write({"kind": "generator", **sample})

    def begun(self, begun: dict[str, Any]) -> None:
        """How many streams have begun."""
        self._write({"kind": "begun", **begun})

    def step(self, step: dict[str, Any]) -> None:
        """A step of a sweep, behind the streams that were due in it."""
        self._write({"kind": "step", **step})

    def end(self, end: dict[str, Any]) -> None:
        """The last line: why the run ended, how many streams had begun, and the generator's verdict on itself."""
        self._write({"kind": "end", **end})

    def close(self) -> None:
        """Close the file. Every line is on it already."""
        os.close(self._fd)

    def _write(self, line: dict[str, Any]) -> None:
        data = encode_line(line, self._redact)
        while data:
            data = data[os.write(self._fd, data) :]


def encode_line(line: Mapping[str, Any], redact: Callable[[str], str]) -> bytes:
    """A line of a records file, its secrets hidden."""
    redacted = _redacted(line, redact)
    try:
        return orjson.dumps(redacted) + b"\n"
    except TypeError:  # half a character, as JavaScript allows it, or a number beyond 64 bits
        text = json.dumps(redacted, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "replace") + b"\n"


def _redacted(value: Any, redact: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: item if key in OWN_WORDS else _redacted(item, redact) for key, item in value.items()}
    if isinstance(value, list) and value and not isinstance(value[0], int):
        return [_redacted(item, redact) for item in value]
    return value
