"""Reads a run from `records.jsonl`, however the run ended and whatever has happened to the file since.

Each line is held against the types in `record/lines.py`. One that is something else is skipped and counted by its kind.
Where streams are missing for that, or the header or the end cannot be trusted, `damage` says so, and the run is not
valid.
"""

from __future__ import annotations

import contextlib
import sys
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, get_type_hints, overload

import orjson

from streambench.errors import ConfigurationError
from streambench.printable import printable, printable_values
from streambench.record.lines import SCHEMA, Additions, Begun, End, Generator, Header, Step, Target, fault
from streambench.record.model import StreamRecord

STREAM, GENERATOR, BEGUN, STEP, END, TORN, OTHER = "stream", "generator", "begun", "step", "end", "torn", "unknown"
_STEP_BEGINS = b'{"kind":"step",'
# What a header is read as in the places where it is damaged.
NEUTRAL: Mapping[str, Any] = {
    "scenario": {"name": "unknown", "path": "unknown", "hash": ""},
    "started": "unknown",
    "start_ns": 0,
    "targets": {},
    "gates": [],
    "accept": [],
    "ignore": [],
    "calibration": None,
    "settings": {"stall_after_ms": 500.0, "reading_wpm": 250.0},
    "environment": {"cpu": "unknown", "cores": 0, "platform": "unknown", "python": "unknown"},
    "streambench": "unknown",
    "seed": None,
    "warmup_s": 0,
    "phases": [],
}
# What damaged bytes, and values of other types or out of all bounds, make of reading a line.
_UNREADABLE = (ValueError, KeyError, TypeError, IndexError, OverflowError, AttributeError)


class Run(Protocol):
    """What a run saw. `end` is None where the run was killed.

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
    def steps(self) -> Sequence[dict[str, Any]]:
        """The steps of a sweep."""
        ...

    @property
    def end(self) -> dict[str, Any] | None:
        """The last line."""
        ...

    @property
    def begun(self) -> int | None:
        """How many streams had begun, as far as that is known."""
        ...

    @property
    def skipped(self) -> Mapping[str, int]:
        """How many lines of which kind could not be read; `torn` is a last one that was not written to its end."""
        ...

    @property
    def damage(self) -> Sequence[str]:
        """Why the records are not those of the whole run, each a sentence without its full stop."""
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
    skipped: Mapping[str, int] = field(default_factory=dict)
    damage: Sequence[str] = ()
    begun: int | None = None
    folder: Path | None = None
    steps: Sequence[dict[str, Any]] = ()


@dataclass(slots=True)
class Rest:
    """What stands in a file, or a part of one, besides its records, and where those are. `lines` counts all lines."""

    places: array[int] = field(default_factory=lambda: array("q"))
    generator: list[dict[str, Any]] = field(default_factory=list)
    end: dict[str, Any] | None = None
    begun: dict[str, int] = field(default_factory=dict)  # by worker
    skipped: Counter[str] = field(default_factory=Counter)
    first_skipped: tuple[int, str] | None = None  # the number of the line, and what is wrong with it
    lines: int = 0

    def skip(self, kind: str, reason: str) -> None:
        """The newest line cannot be read."""
        if self.first_skipped is None:
            self.first_skipped = self.lines, reason
        self.skipped[kind] += 1

    def add(self, part: Rest) -> None:
        """Join the next part of the same file."""
        if self.first_skipped is None and part.first_skipped is not None:
            number, reason = part.first_skipped
            self.first_skipped = self.lines + number, reason
        self.places += part.places
        self.generator += part.generator
        self.end = self.end if part.end is None else part.end
        self.begun |= part.begun
        self.skipped += part.skipped
        self.lines += part.lines


class RunFile:
    """A records file, of which no more than one record is in memory at a time.

    The file is gone through once before anything but its header is known: by whoever iterates over `records` first, or
    else by whoever asks for what stands elsewhere in it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rest: Rest | None = None
        self._header_faults: list[str] = []
        self.header: dict[str, Any] = self._read_header()

    @property
    def records(self) -> Sequence[StreamRecord]:
        """The records, read anew whenever they are asked for."""
        return _StoredRecords(self)

    @property
    def generator(self) -> Sequence[dict[str, Any]]:
        """The generator's observations of itself."""
        return self._known().generator

    @property
    def steps(self) -> Sequence[dict[str, Any]]:
        """The steps of a sweep, found without reading the streams: which belong to them has to be known before."""
        found = []
        with self._path.open("rb") as lines:
            for line in lines:
                if line.startswith(_STEP_BEGINS):
                    with contextlib.suppress(*_UNREADABLE):
                        data = orjson.loads(line)
                        if fault(data, Step) is None:
                            found.append(data)
        return found

    @property
    def end(self) -> dict[str, Any] | None:
        """The last line; None where the run was killed."""
        return self._known().end

    @property
    def begun(self) -> int | None:
        """How many streams had begun: all of them where the run came to its end, else as many as had been told."""
        rest = self._known()
        told = rest.end.get("streams") if rest.end is not None else None
        if told is None and rest.begun:
            told = sum(rest.begun.values())
        return told

    @property
    def skipped(self) -> Mapping[str, int]:
        """How many lines of which kind could not be read."""
        return self._known().skipped

    @property
    def damage(self) -> Sequence[str]:
        """Why the records are not those of the whole run."""
        rest = self._known()
        out = [f"the header of the records is damaged: {found}" for found in self._header_faults]
        lost = rest.skipped.total() - rest.skipped[TORN]
        if lost:
            kinds = ", ".join(f"{kind} {count:,}" for kind, count in sorted(rest.skipped.items()) if kind != TORN)
            example = "line {}: {}".format(*rest.first_skipped or ())
            out.append(f"{lost:,} line{'s' * (lost != 1)} of the records could not be read ({kinds}; {example})")
        told = None if rest.end is None else rest.end.get("streams")
        if told is not None and told != len(rest.places):
            out.append(f"{told:,} streams had begun, and the file has {len(rest.places):,} records of streams")
        return out

    @property
    def folder(self) -> Path | None:
        """The run folder, in which the file is."""
        return self._path.parent

    def places(self) -> array[int]:
        """Where each record begins in the file."""
        return self._known().places

    def record_at(self, place: int) -> StreamRecord:
        """The record that begins at a place."""
        with self._path.open("rb") as lines:
            lines.seek(place)
            return StreamRecord.from_json(orjson.loads(lines.readline()))

    def stream(self) -> Iterator[StreamRecord]:
        """All records in the file's order; what else stands in the file is noted on the way."""
        rest = Rest()
        yield from self.part(0, sys.maxsize, rest)
        self._rest = rest

    def part(self, begin: int, end: int, rest: Rest) -> Iterator[StreamRecord]:
        """The records of the lines that begin in a part of the file, cut as `cuts` does; `rest` notes what else is."""
        targets = self.header["targets"]
        loads, read, note = orjson.loads, StreamRecord.from_json, rest.places.append
        with self._path.open("rb") as lines:
            if begin == 0:
                begin = len(lines.readline())
                rest.lines = 1
            lines.seek(begin)
            place = begin
            for line in lines:
                if place >= end:
                    break
                rest.lines += 1
                kind = OTHER
                try:
                    data = loads(line)
                    kind = data["kind"]
                    if kind == STREAM:
                        record = read(data)
                        if record.target not in targets:
                            raise ValueError(f"the header has no target {record.target!r}")
                        note(place)
                        yield record
                    else:
                        _take(rest, kind, data)
                except _UNREADABLE as error:
                    torn = not line.endswith(b"\n")
                    rest.skip(TORN if torn else _shown(kind), printable(str(error))[:200])
                place += len(line)

    def cuts(self, count: int) -> list[tuple[int, int]]:
        """The file in `count` parts of about the same size, each of whole lines: where they begin and end, in bytes."""
        size = self._path.stat().st_size
        places = [0]
        with self._path.open("rb") as lines:
            for number in range(1, count):
                lines.seek(size * number // count)
                lines.readline()
                places.append(lines.tell())
        return list(pairwise([*places, sys.maxsize]))

    def know(self, rest: Rest) -> None:
        """Take what stands besides the records from who has gone through all parts."""
        self._rest = rest

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def _known(self) -> Rest:
        if self._rest is None:
            for _ in self.stream():
                pass
        assert self._rest is not None
        return self._rest

    def _read_header(self) -> dict[str, Any]:
        try:
            with self._path.open("rb") as lines:
                line = lines.readline()
        except OSError as error:
            raise ConfigurationError(f"cannot be read: {error.strerror}", path=str(self._path)) from error
        try:
            data = orjson.loads(line)
        except ValueError:
            data = None
        if not isinstance(data, dict) or data.get("kind") != "header" or data.get("schema") != SCHEMA:
            if not line.endswith(b"\n"):
                reason = f"no {SCHEMA} header: the run ended before it began"
                raise ConfigurationError(reason, path=str(self._path), line=1)
            if not self._streams_follow():
                raise ConfigurationError(f"not a {SCHEMA} file", path=str(self._path), line=1)
            self._header_faults.append("it cannot be read")
            data = data if isinstance(data, dict) else {}
        header = {name: self._sound(data.get(name), name, kind) for name, kind in get_type_hints(Header).items()}
        for name, kind in get_type_hints(Additions).items():
            header[name] = self._sound(data.get(name, NEUTRAL[name]), name, kind)
        return dict(printable_values(data | header))

    def _sound(self, value: Any, name: str, kind: Any) -> Any:
        """The value of a key of the header, or where it is damaged what is neutral, or what the streams say."""
        found = fault(value, kind, name)
        if found is None:
            return value
        if not self._header_faults or self._header_faults[0] != "it cannot be read":
            self._header_faults.append(printable(found)[:200])
        if name == "start_ns":
            return min((record.intended_ns for record in self._readable()), default=0)
        if name == "targets":
            told = value if isinstance(value, dict) else {}
            return {record.target: _target(told.get(record.target), record.dialect) for record in self._readable()} | {
                name: facts for name, facts in told.items() if fault(facts, Target) is None
            }
        return NEUTRAL[name]

    def _streams_follow(self) -> bool:
        return next(self._readable(), None) is not None

    def _readable(self) -> Iterator[StreamRecord]:
        """The records that can be read, whatever the header says of their targets."""
        with self._path.open("rb") as lines:
            next(lines)
            for line in lines:
                with contextlib.suppress(*_UNREADABLE):
                    yield StreamRecord.from_json(orjson.loads(line))


def records_between(path: Path, begin: int, end: int) -> Iterator[StreamRecord]:
    """The records in a part of a file that is still written to; both places are ends of lines."""
    with path.open("rb") as lines:
        lines.seek(begin)
        while lines.tell() < end:
            data = orjson.loads(lines.readline())
            if data["kind"] == STREAM:
                yield StreamRecord.from_json(data)


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


def _take(rest: Rest, kind: Any, data: dict[str, Any]) -> None:
    """Note a line that is no stream's. Raises ValueError where it does not hold what its kind asks for."""
    if kind not in (GENERATOR, BEGUN, STEP, END):
        if kind.__class__ is not str:
            raise ValueError("kind is no text")
        return  # of a later version
    found = fault(data, {GENERATOR: Generator, BEGUN: Begun, STEP: Step, END: End}[kind])
    if found is not None:
        raise ValueError(found)
    if kind == GENERATOR:
        rest.generator.append(data)
    elif kind == BEGUN:
        rest.begun[data.get("worker", "")] = data["streams"]
    elif kind == END:
        rest.end = printable_values(data)


def _shown(kind: Any) -> str:
    return kind if kind in (STREAM, GENERATOR, BEGUN, STEP, END) else OTHER


def _target(told: Any, dialect: str) -> dict[str, Any]:
    """What the header says of a target, as far as it can be read."""
    facts = {"dialect": dialect, "transport": "unknown", "url": "unknown", "two_sided": False}
    kinds = get_type_hints(Target)
    if isinstance(told, dict):
        facts |= {key: told[key] for key in kinds if key in told and fault(told[key], kinds[key]) is None}
    return facts
