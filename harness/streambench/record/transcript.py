"""A stream's arrivals in a file, and the record that the file gives: the same as the live stream gave.

The format is in docs/reference/transcripts.md: a header line that says what the stream was, then a line an arrival.
Stamps are relative to the stream's start, as in records.
"""

from __future__ import annotations

import base64
import json
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import accumulate, chain, islice, repeat
from pathlib import Path
from typing import Any

from streambench.dialects import Dialect
from streambench.endings import Ending
from streambench.errors import ConfigurationError
from streambench.findings import Finding
from streambench.record.decoding import open_decoding
from streambench.record.model import StreamRecord, UpstreamExchange
from streambench.record.recorder import Recorder
from streambench.record.tap import Setting
from streambench.transport.arrivals import (
    Arrival,
    Cancelled,
    Connected,
    Data,
    Ended,
    Failed,
    Head,
    Noted,
    Read,
    Reads,
    Resent,
    Sent,
)
from streambench.wire.limits import MIB, WireLimits

SCHEMA = "streambench.transcript/1"
FOLDER = "streams"  # of a run folder
MAX_BYTES = 8 * MIB  # of one stream's data; far more than a chat reply has
ARRIVAL_BYTES = 64  # what an arrival counts for beside its data
_COLUMNS = 6  # of a read that is kept with its data
IDENTITY = ("id", "target", "dialect", "phase", "user", "iteration", "warmup", "mark", "intended_ns", "start_ns")


def file_name(stream_id: str) -> str:
    """The name of a stream's transcript: `real/17` is in `real-17.jsonl`."""
    return f"{stream_id.replace('/', '-')}.jsonl"


class Transcript:
    """Keeps a stream's arrivals in memory, up to `max_bytes`: a tap for its recorder.

    `truncated` once more has come than is kept. The beginning stays, and so does the way in which the stream ended.

    Nearly all are reads with one piece of data. These are kept as bytes and numbers: as objects they would take three
    times as much room, and the garbage collector would look at them again and again while the run measures.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.setting: Setting | None = None  # None where the stream never came so far as to be read
        self.truncated = False
        self._left = max_bytes
        self._reads = array("q")  # a row a read, see `_pack`
        self._data = bytearray()
        self._others: list[tuple[int, Arrival]] = []  # each behind so many rows

    @property
    def arrivals(self) -> list[Arrival]:
        """What is kept, in order."""
        out: list[Arrival] = []
        reads, taken = self._unpacked(), 0
        for rows, other in self._others:
            for pair in islice(reads, rows - taken):
                out += pair
            taken = rows
            out.append(other)
        for pair in reads:
            out += pair
        return out

    def begin(self, setting: Setting) -> None:
        """A stream begins."""
        self.setting = setting

    def take(self, arrivals: Sequence[Arrival]) -> None:
        """Keep what came."""
        if len(arrivals) == 2:
            read, data = arrivals
            if read.__class__ is Read and data.__class__ is Data and read.at_ns == data.at_ns:
                left = self._left - 2 * ARRIVAL_BYTES - len(data.data)
                if left >= 0:
                    self._left = left
                    self._pack(read, data)
                    return
        self._take_others(arrivals)

    def take_together(self, reads: Reads) -> None:
        """Keep what came."""
        count, data = len(reads.data), b"".join(reads.data)
        left = self._left - 2 * ARRIVAL_BYTES * count - len(data)
        if left < 0:
            for pair in reads.pairs():
                self.take(pair)
            return
        self._left = left
        self._data += data
        lengths = list(map(len, reads.data))
        offsets = accumulate(lengths, initial=reads.offset)
        flags, early_ns = repeat(reads.kernel | 1 << 2), repeat(0)
        self._reads.extend(
            chain.from_iterable(zip(reads.at_ns, reads.sizes or lengths, flags, early_ns, offsets, lengths))  # noqa: B905
        )

    def _take_others(self, arrivals: Sequence[Arrival]) -> None:
        rows = len(self._reads) // _COLUMNS
        for arrival in arrivals:
            self._left -= _size(arrival)
            if self._left < 0:
                self.truncated = True
            if self._left >= 0 or isinstance(arrival, Failed | Ended | Cancelled):
                self._others.append((rows, arrival))

    def _pack(self, read: Read, data: Data) -> None:
        """Keep a read and its data, which has the same stamp."""
        flags = read.kernel | read.pieces << 2
        payload = data.data
        if isinstance(payload, str):
            payload = payload.encode(errors="surrogatepass")
            flags |= 2
        self._reads.extend((read.at_ns, read.size, flags, read.early_ns, data.offset, len(payload)))
        self._data += payload

    def _unpacked(self) -> Iterator[tuple[Read, Data]]:
        begin = 0
        for first in range(0, len(self._reads), _COLUMNS):
            at_ns, size, flags, early_ns, offset, length = self._reads[first : first + _COLUMNS]
            data = bytes(self._data[begin : begin + length])
            begin += length
            payload = data.decode(errors="surrogatepass") if flags & 2 else data
            yield Read(at_ns, size, bool(flags & 1), flags >> 2, early_ns), Data(at_ns, payload, offset)


def _size(arrival: Arrival) -> int:
    return ARRIVAL_BYTES + len(arrival.data) if isinstance(arrival, Data) else ARRIVAL_BYTES


def write_transcript(
    path: Path, transcript: Transcript, recorder: Recorder, redact: Callable[[str], str] = str
) -> None:
    """Write a stream's transcript. `redact` hides secrets in every text. Raises OSError."""
    record = recorder.record
    setting = transcript.setting
    header: dict[str, Any] = {
        "kind": "transcript",
        "schema": SCHEMA,
        "stream": {name: getattr(record, name) for name in IDENTITY},
        "keep_text": recorder.keep_text,
        "max_events": recorder.max_events,
        "truncated": transcript.truncated,
    }
    if setting is not None:
        header["transport"] = setting.transport
        header["limits"] = asdict(setting.limits)
        header["namespace"] = setting.namespace
        header["noted"] = list(setting.noted)
        if setting.follows:
            header |= {"follows": setting.follows, "end_told": setting.end_told}
    with path.open("w", encoding="utf-8") as file:
        file.write(_line(header, redact))
        for arrival in setting.before if setting is not None else ():
            file.write(_line({"kind": "before", **arrival_to_json(arrival, record.start_ns)}, redact))
        for arrival in transcript.arrivals:
            file.write(_line(arrival_to_json(arrival, record.start_ns), redact))
        for exchange in record.upstream:
            file.write(_line({"kind": "upstream", **exchange.to_json(record.start_ns)}, redact))


def replay(path: Path, dialect_of: Callable[[str], Dialect]) -> StreamRecord:
    """The record that a transcript gives. `dialect_of` finds a dialect by the name that the header gives.

    Raises ConfigurationError where the file is no transcript, or not a whole one.
    """
    lines = _lines(path)
    try:
        header = next(lines)
        if header["schema"] != SCHEMA:
            raise ConfigurationError(f"not a {SCHEMA} file", path=str(path), line=1)
        record = StreamRecord(**header["stream"])
        dialect = dialect_of(record.dialect)
        recorder = Recorder(record, dialect, keep_text=header["keep_text"], max_events=header["max_events"])
        before: list[Arrival] = []
        arrivals: list[Arrival] = []
        for line in lines:
            match line["kind"]:
                case "before":
                    before.append(arrival_from_json(line, record.start_ns))
                case "upstream":
                    record.upstream.append(UpstreamExchange.from_json(line, record.start_ns))
                case _:
                    arrivals.append(arrival_from_json(line, record.start_ns))
        setting = Setting(
            header.get("transport", dialect.transport),
            WireLimits(**header.get("limits", {})),
            header.get("namespace", ""),
            tuple(before),
            tuple(header.get("noted", ())),
            header.get("follows", ""),
            header.get("end_told", False),
        )
    except (StopIteration, KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"not a {SCHEMA} file: {error!r}", path=str(path)) from error
    open_decoding(recorder, setting).take(arrivals)
    return record


def arrival_to_json(arrival: Arrival, start_ns: int) -> dict[str, Any]:
    """An arrival as one line of a transcript."""
    out: dict[str, Any] = {"arrival": _NAMES[arrival.__class__], "at": arrival.at_ns - start_ns}
    match arrival:
        case Connected():
            out["reused"] = arrival.reused
            if arrival.ahead_ns is not None:
                out["ahead"] = arrival.ahead_ns
            if arrival.again:
                out["again"] = arrival.again
            if arrival.own_ns:
                out["own"] = arrival.own_ns
        case Sent():
            if arrival.late_ns:
                out["late"] = arrival.late_ns
        case Read():
            out |= {"size": arrival.size, "kernel": arrival.kernel}
            if arrival.pieces:
                out["pieces"] = arrival.pieces
            if arrival.early_ns:
                out["early"] = arrival.early_ns
        case Head():
            out |= {"status": arrival.status, "headers": dict(arrival.headers)}
        case Data():
            out |= _payload_to_json(arrival.data)
            out["offset"] = arrival.offset
        case Noted():
            out["finding"] = arrival.finding.to_json()
        case Failed():
            out |= {"error": arrival.error, "message": arrival.message}
            if arrival.finding is not None:
                out["finding"] = arrival.finding.to_json()
        case Ended():
            out["ending"] = arrival.ending
            if arrival.close_code is not None:
                out["close_code"] = arrival.close_code
            if arrival.message:
                out["message"] = arrival.message
            if arrival.cut:
                out["cut"] = True
        case Cancelled(left=True):
            out["left"] = True
    return out


def arrival_from_json(line: dict[str, Any], start_ns: int) -> Arrival:
    """What `arrival_to_json` wrote. Raises KeyError, TypeError or ValueError for what it did not write."""
    at_ns = start_ns + line["at"]
    match line["arrival"]:
        case "connected":
            return Connected(at_ns, line["reused"], line.get("ahead"), int(line.get("again", 0)), line.get("own", 0))
        case "sent":
            return Sent(at_ns, line.get("late", 0))
        case "resent":
            return Resent(at_ns)
        case "read":
            return Read(at_ns, line["size"], line["kernel"], line.get("pieces", 0), line.get("early", 0))
        case "head":
            return Head(at_ns, line["status"], line["headers"])
        case "data":
            return Data(at_ns, _payload_from_json(line), line["offset"])
        case "noted":
            return Noted(at_ns, Finding.from_json(line["finding"]))
        case "failed":
            finding = line.get("finding")
            return Failed(
                at_ns, line["error"], line["message"], None if finding is None else Finding.from_json(finding)
            )
        case "ended":
            return Ended(
                at_ns, Ending(line["ending"]), line.get("close_code"), line.get("message", ""), line.get("cut", False)
            )
        case "cancelled":
            return Cancelled(at_ns, line.get("left", False))
    raise ValueError(f"{line['arrival']!r} is no arrival")


_NAMES: dict[type[Arrival], str] = {
    kind: kind.__name__.lower() for kind in (Connected, Sent, Resent, Read, Head, Data, Noted, Failed, Ended, Cancelled)
}


def _payload_to_json(data: bytes | str) -> dict[str, str]:
    """A message's text as `text`; bytes as `utf8` where they are readable, else as `base64`."""
    if isinstance(data, str):
        return {"text": data}
    try:
        return {"utf8": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


def _payload_from_json(line: dict[str, Any]) -> bytes | str:
    if "text" in line:
        text: str = line["text"]
        return text
    if "utf8" in line:
        utf8: str = line["utf8"]
        return utf8.encode()
    return base64.b64decode(line["base64"], validate=True)


def _line(value: dict[str, Any], redact: Callable[[str], str]) -> str:
    return json.dumps(_redacted({"kind": "arrival", **value}, redact), ensure_ascii=False, separators=(",", ":")) + "\n"


def _redacted(value: Any, redact: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: _redacted(item, redact) for key, item in value.items()}
    if isinstance(value, list):
        return [_redacted(item, redact) for item in value]
    return value


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8") as file:
            for text in file:
                value = json.loads(text)
                if not isinstance(value, dict):
                    raise ValueError("a line is no object")
                yield value
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {error.strerror}", path=str(path)) from error
