"""Traces of arrivals in their published formats, as times and lengths of replies.

- [Azure LLM inference](https://github.com/Azure/AzurePublicDataset), 2023 and 2024: CSV with `TIMESTAMP`, a date and
  time, and `GeneratedTokens`.
- [BurstGPT](https://github.com/HPMLL/BurstGPT): CSV with `Timestamp`, in seconds, and `Response tokens`.
- [Mooncake](https://github.com/kvcache-ai/Mooncake): JSON lines with `timestamp`, in ms, and `output_length`.
- Any other CSV: the first column, in seconds, and `tokens`, if there is such a column.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from streambench.units import NS_PER_MS, NS_PER_S, NS_PER_US

MAX_ARRIVALS = 1_000_000
MAX_SECONDS = 1e9  # three decades, and Unix times too
MAX_TOKENS = 100_000
EXACT_TOKENS = 100  # longer replies are rounded to two digits: each length is a plan of the fake upstream

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TraceError(ValueError):
    """A trace that cannot be replayed. `line` is where, if it is one line's fault."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.line = line


@dataclass(frozen=True, slots=True)
class Trace:
    """Arrivals in ns from the first one, ascending, and how many tokens each reply has; `tokens` None: not told."""

    at_ns: tuple[int, ...]
    tokens: tuple[int, ...] | None = None

    def faster(self, speed: float) -> Trace:
        """The same arrivals in less time, `speed` times as fast."""
        return self if speed == 1 else Trace(tuple(round(at_ns / speed) for at_ns in self.at_ns), self.tokens)


@dataclass(frozen=True, slots=True)
class _Format:
    """Where a row has its arrival and the length of its reply, and how an arrival is read, in ns."""

    arrival: str
    length: str
    at_ns: Callable[[Any], int]
    what: str


def read_trace(text: str) -> Trace:
    """The arrivals in the text of a file. Raises TraceError."""
    rows = _json_rows(text) if text.lstrip()[:1] == "{" else _csv_rows(text)
    found: list[tuple[int, int]] = []
    told = True
    for at_ns, tokens in rows:
        if len(found) == MAX_ARRIVALS:
            raise TraceError(f"it holds more than {MAX_ARRIVALS:,} arrivals: cut it, such as with `head -n`")
        told &= tokens is not None
        found.append((at_ns, _rounded(tokens or 0)))
    if not found:
        raise TraceError("it holds no arrival")
    found.sort(key=lambda row: row[0])
    first_ns = found[0][0]
    at = tuple(at_ns - first_ns for at_ns, _ in found)
    return Trace(at, tuple(tokens for _, tokens in found) if told else None)


def _rounded(tokens: int) -> int:
    """A length that not too many others have; a reply that failed where the trace was taken has one token."""
    if tokens <= EXACT_TOKENS:
        return max(1, tokens)
    digits: int = 10 ** (len(str(tokens)) - 2)
    return round(tokens / digits) * digits


def _seconds(value: Any) -> int:
    seconds = float(value)
    if not abs(seconds) < MAX_SECONDS:
        raise ValueError(value)
    return round(seconds * NS_PER_S)


def _milliseconds(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < MAX_SECONDS * 1e3:
        raise ValueError(value)
    return round(float(value) * NS_PER_MS)


def _moment(value: Any) -> int:
    moment = datetime.fromisoformat(value.strip())
    since = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)) - _EPOCH
    return since // timedelta(microseconds=1) * NS_PER_US


MOONCAKE = _Format("timestamp", "output_length", _milliseconds, "a number of ms")
CSV_FORMATS = (
    _Format("TIMESTAMP", "GeneratedTokens", _moment, "a date and time, such as 2023-11-16 18:15:46.68"),
    _Format("Timestamp", "Response tokens", _seconds, "a number of seconds"),
)


def _json_rows(text: str) -> Iterator[tuple[int, int | None]]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict):
            raise TraceError("a line of a trace is one JSON object", number)
        yield _read(MOONCAKE, row.get(MOONCAKE.arrival), row.get(MOONCAKE.length), number)


def _csv_rows(text: str) -> Iterator[tuple[int, int | None]]:
    reader = csv.reader(io.StringIO(text, newline=""))
    chosen = _Format("", "tokens", _seconds, "a number of seconds")
    arrival, length = 0, None
    try:
        for row in reader:
            if not row or not row[0].strip():
                continue
            if reader.line_num == 1 and not _is_number(row[0]):
                names = [name.strip() for name in row]
                chosen = next((one for one in CSV_FORMATS if {one.arrival, one.length} <= set(names)), chosen)
                arrival = names.index(chosen.arrival) if chosen.arrival in names else 0
                length = names.index(chosen.length) if chosen.length in names else None
                continue
            cells = dict(enumerate(row))
            yield _read(chosen, cells.get(arrival), None if length is None else cells.get(length, ""), reader.line_num)
    except csv.Error as error:
        raise TraceError(f"is not CSV: {error}", reader.line_num) from None


def _read(chosen: _Format, arrival: Any, length: Any, line: int) -> tuple[int, int | None]:
    try:
        at_ns = chosen.at_ns(arrival)
    except (TypeError, ValueError, AttributeError, OverflowError):
        name = f"{chosen.arrival!r}" if chosen.arrival else "an arrival time"
        raise TraceError(f"{name} is {chosen.what}", line) from None
    if length is None:
        return at_ns, None
    try:
        tokens = float(length)
        if not (0 <= tokens <= MAX_TOKENS and tokens == math.floor(tokens)):
            raise ValueError(length)
    except (TypeError, ValueError):
        raise TraceError(f"{chosen.length!r} is a whole number up to {MAX_TOKENS:,}", line) from None
    return at_ns, int(tokens)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
