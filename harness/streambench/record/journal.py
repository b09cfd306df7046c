"""`records.jsonl`: what a run saw, one JSON object a line, readable however the run ended.

Every line has a `kind`: `header` (first), `stream`, `generator` (the generator's self-observation, about once a
second) and `end`. A line is written by one system call on a file opened for appending, so a killed run loses no
finished line, and lines of several processes do not mix.
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, overload

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
        """The first line: what is run, against which targets, on which machine."""
        self._write({"kind": "header", "schema": SCHEMA, **header})

    def stream(self, record: StreamRecord) -> None:
        """One stream that has ended."""
        self._write(record.to_json())

    def generator(self, sample: dict[str, Any]) -> None:
        """What the generator saw of itself."""
        self._write({"kind": "generator", **sample})

    def end(self, end: dict[str, Any]) -> None:
        """The last line: why the run ended, and the generator's verdict on itself."""
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


class Run(Protocol):
    """What a run saw. `end` is None where the run was killed; `skipped_lines` could not be read.

    `records` can be gone through any number of times, in the order in which the streams ended, and asked for one
    record by its place.
    """

    @property
    def header(self) -> dict[str, Any]:
        """The first line: what was run, against which targets, on which machine."""
        ...

    @property
    def records(self) -> Sequence[StreamRecord]:
        """A record for each stream."""
        ...

    @property
    def generator(self) -> Sequence[dict[str, Any]]:
        """The generator's observations of itself, about one a second."""
        ...

    @property
    def end(self) -> dict[str, Any] | None:
        """The last line."""
        ...

    @property
    def skipped_lines(self) -> int:
        """How many lines could not be read."""
        ...

    @property
    def folder(self) -> Path | None:
        """The run folder, in which the records are; None for a run that is in no file."""
        ...


@dataclass(slots=True)
class RunData:
    """A run in memory."""

    header: dict[str, Any]
    records: Sequence[StreamRecord]
    generator: Sequence[dict[str, Any]] = ()
    end: dict[str, Any] | None = None
    skipped_lines: int = 0
    folder: Path | None = None


class RunFile:
    """A records file, of which no more than one record is in memory at a time.

    The file is gone through once before anything but its header is known: by whoever iterates over `records` first, or
    else by whoever asks for what stands elsewhere in it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._places = array("q")  # where the readable records begin
        self._generator: list[dict[str, Any]] = []
        self._end: dict[str, Any] | None = None
        self._skipped = 0
        self._gone_through = False
        self.header: dict[str, Any] = self._read_header()

    @property
    def records(self) -> Sequence[StreamRecord]:
        """The records, read anew whenever they are asked for."""
        return _StoredRecords(self)

    @property
    def generator(self) -> Sequence[dict[str, Any]]:
        """The generator's observations of itself."""
        self._go_through()
        return self._generator

    @property
    def end(self) -> dict[str, Any] | None:
        """The last line; None where the run was killed."""
        self._go_through()
        return self._end

    @property
    def skipped_lines(self) -> int:
        """How many lines could not be read."""
        self._go_through()
        return self._skipped

    @property
    def folder(self) -> Path | None:
        """The run folder, in which the file is."""
        return self._path.parent

    def places(self) -> array[int]:
        """Where each record begins in the file."""
        self._go_through()
        return self._places

    def record_at(self, place: int) -> StreamRecord:
        """The record that begins at a place."""
        with self._path.open("rb") as lines:
            lines.seek(place)
            return StreamRecord.from_json(orjson.loads(lines.readline()))

    def stream(self) -> Iterator[StreamRecord]:
        """All records in the file's order; what else stands in the file is noted on the way."""
        places = array("q")
        generator: list[dict[str, Any]] = []
        end = None
        skipped = 0
        with self._path.open("rb") as lines:
            place = len(lines.readline())
            for line in lines:
                try:
                    data = orjson.loads(line)
                    kind = data["kind"]
                    if kind == "stream":
                        record = StreamRecord.from_json(data)
                        places.append(place)
                        yield record
                    elif kind == "generator":
                        generator.append(data)
                    elif kind == "end":
                        end = data
                except (ValueError, KeyError, TypeError, IndexError, OverflowError):
                    skipped += 1
                place += len(line)
        self._places, self._generator, self._end, self._skipped = places, generator, end, skipped
        self._gone_through = True

    def _go_through(self) -> None:
        if not self._gone_through:
            for _ in self.stream():
                pass

    def _read_header(self) -> dict[str, Any]:
        try:
            with self._path.open("rb") as lines:
                line = lines.readline()
        except OSError as error:
            raise ConfigurationError(f"cannot be read: {error.strerror}", path=str(self._path)) from error
        try:
            data = orjson.loads(line)
            if data["kind"] == "header" and data["schema"] == SCHEMA:
                return dict(data)
        except (ValueError, KeyError, TypeError, IndexError):
            if not line.endswith(b"\n"):
                reason = f"no {SCHEMA} header: the run ended before it began"
                raise ConfigurationError(reason, path=str(self._path), line=1) from None
        raise ConfigurationError(f"not a {SCHEMA} file", path=str(self._path), line=1)


class _StoredRecords(Sequence[StreamRecord]):
    """The records of a file as a sequence; `stream` is behind iteration, and a place behind an index."""

    def __init__(self, file: RunFile) -> None:
        self._file = file

    def __iter__(self) -> Iterator[StreamRecord]:
        return self._file.stream()

    def __len__(self) -> int:
        return len(self._file.places())

    @overload
    def __getitem__(self, index: int) -> StreamRecord: ...
    @overload
    def __getitem__(self, index: slice) -> list[StreamRecord]: ...
    def __getitem__(self, index: int | slice) -> StreamRecord | list[StreamRecord]:
        places = self._file.places()
        if isinstance(index, slice):
            return [self._file.record_at(place) for place in places[index]]
        return self._file.record_at(places[index])


def read_run(path: Path) -> RunFile:
    """Open a records file; a torn last line is tolerated. Raises ConfigurationError where it is not one at all."""
    return RunFile(path)
