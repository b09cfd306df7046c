"""The record of one stream: timestamps and facts as observed, and no figure that can be computed from them.

All times are integers, nanoseconds of CLOCK_MONOTONIC. On disk (see `to_json`) they are relative to `start_ns`,
except `intended_ns` and `start_ns`, which stay absolute. Content is counted in characters (Unicode code points),
the unit in which the upstream's journal counts as well.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from streambench.endings import Ending
from streambench.findings import Finding, Severity
from streambench.printable import printable, printable_values
from streambench.record.lines import Shape


class Outcome(StrEnum):
    """How a stream counts."""

    COMPLETED = "completed"
    FAILED = "failed"
    CENSORED = "censored"  # still open when the run had to end
    LEFT = "left"  # its user left before it was complete, as the scenario says
    DROPPED = "dropped"  # its turn came, but it was never started


# The client has gone before the reply was complete: what the service did then is measured.
CLIENT_LEFT = (Outcome.CENSORED, Outcome.LEFT)


class EventColumns:
    """The events of a stream as parallel columns; row i is event i.

    `at_ns` arrival stamps, `chars` how many characters of content the event added, `read` which read of the socket
    brought it (events of one read share a stamp): arrays of 64-bit integers. Of the dialect's event names each row
    holds an index; `name` gives them as text.
    """

    __slots__ = ("_index", "_name", "at_ns", "chars", "read")

    def __init__(
        self, at_ns: Iterable[int] = (), name: Iterable[str] = (), chars: Iterable[int] = (), read: Iterable[int] = ()
    ) -> None:
        self.at_ns = array("q", at_ns)
        self.chars = array("q", chars)
        self.read = array("q", read)
        self._index: dict[str, int] = {}
        self._name = array("L", [self._index.setdefault(text, len(self._index)) for text in name])

    @property
    def name(self) -> list[str]:
        """The dialect's name of each event."""
        names = list(self._index)
        return [names[index] for index in self._name]

    def __len__(self) -> int:
        return len(self.at_ns)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, EventColumns):
            return NotImplemented
        ours, theirs = (self.at_ns, self.chars, self.read), (other.at_ns, other.chars, other.read)
        return ours == theirs and self.name == other.name

    __hash__ = None  # type: ignore[assignment]

    def rows_of(self, names: Collection[str], start: int = 0) -> Iterator[tuple[int, str]]:
        """The events with one of these names from row `start` on, in their order: row and name."""
        wanted = {index: name for name, index in self._index.items() if name in names}
        for row in range(start, len(self._name) if wanted else start):
            if self._name[row] in wanted:
                yield row, wanted[self._name[row]]

    def append(self, at_ns: int, name: str, chars: int, read: int) -> None:
        """Add one event."""
        try:
            self._name.append(self._index[name])
        except KeyError:
            self._name.append(self._index.setdefault(name, len(self._index)))
        self.at_ns.append(at_ns)
        self.chars.append(chars)
        self.read.append(read)

    def extend(self, at_ns: int, names: Sequence[str], chars: Sequence[int], read: int) -> None:
        """Add the events of one read."""
        if len(names) == 1:
            self.append(at_ns, names[0], chars[0], read)
            return
        index = self._index
        for name in names:
            if name not in index:
                index[name] = len(index)
        self._name.extend([index[name] for name in names])
        self.at_ns.extend([at_ns] * len(names))
        self.chars.extend(chars)
        self.read.extend([read] * len(names))

    def repeat(self, at_ns: int, name: str, texts: Sequence[str], read: int) -> None:
        """Add the events of one read that all have one name, by the texts that they added."""
        count = len(texts)
        if count == 1:
            self.append(at_ns, name, len(texts[0]), read)
            return
        index = self._index.setdefault(name, len(self._index))
        self._name.extend(array("L", [index]) * count)
        self.at_ns.extend(array("q", [at_ns]) * count)
        self.chars.extend(map(len, texts))
        self.read.extend(array("q", [read]) * count)

    def repeat_each(self, at_ns: Sequence[int], name: str, texts: Sequence[str], read: int) -> None:
        """Add one event of each of several reads, of which `read` is the first; all have one name."""
        count = len(texts)
        index = self._index.setdefault(name, len(self._index))
        self._name.extend(array("L", [index]) * count)
        self.at_ns.extend(at_ns)
        self.chars.extend(map(len, texts))
        self.read.extend(range(read, read + count))

    def to_json(self, start_ns: int) -> dict[str, Any]:
        """The columns as lists, stamps relative to `start_ns`; the names once, in the order of the alphabet."""
        names = sorted(self._index)
        place = {name: i for i, name in enumerate(names)}
        places = [place[name] for name in self._index]
        return {
            "names": names,
            "name": [places[index] for index in self._name],
            "at": [at_ns - start_ns for at_ns in self.at_ns],
            "chars": self.chars.tolist(),
            "read": self.read.tolist(),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], start_ns: int) -> EventColumns:
        """Read back what `to_json` wrote. Raises ValueError, TypeError or OverflowError where it is something else."""
        _EVENTS.check(data)
        words, name = data["names"], data["name"]
        if not "".join(words).isprintable():
            words = list(map(printable, words))
        columns = cls.__new__(cls)
        columns.at_ns = array("q", [at + start_ns for at in data["at"]])
        columns.chars = array("q", data["chars"])
        columns.read = array("q", data["read"])
        columns._index = {word: i for i, word in enumerate(words)}
        columns._name = array("L", name)
        if name and max(name) >= len(columns._index):
            raise ValueError("an event has a name that is not in the list")
        if not len(name) == len(columns.at_ns) == len(columns.chars) == len(columns.read):
            raise ValueError("the columns of the events are not equally long")
        return columns


@dataclass(slots=True)
class UpstreamExchange:
    """One request that the fake upstream received for a stream's mark, from its journal.

    `scheduled_ns`, `written_ns` and `offset` are parallel: chunk i was due at `scheduled_ns[i]`, was written at
    `written_ns[i]`, and after it `offset[i]` characters of `text` had been written. Stamps are already on this
    host's clock; `clock_error_ns` bounds what that conversion may be off (0 on the same host).

    `stream` is False where the whole reply was asked for at once. Faults may make what was written another text than
    the planned `text`: then `wrote` is that text, and `wrote_offset` how much of it was out after each write.
    """

    attempt: int
    arrived_ns: int
    status: int
    text: str
    scheduled_ns: list[int] = field(default_factory=list)
    written_ns: list[int] = field(default_factory=list)
    offset: list[int] = field(default_factory=list)
    headers_ns: int | None = None
    ended_ns: int | None = None
    ended: str = "open"  # complete | cancelled | fault | shutdown | open
    cancelled_ns: int | None = None
    written_after_cancel: int = 0
    finish: str | None = None
    profile: str | None = None
    faults: list[str] = field(default_factory=list)
    clock_error_ns: int = 0
    stream: bool = True
    wrote: str | None = None
    wrote_offset: list[int] = field(default_factory=list)

    @property
    def sent_text(self) -> str:
        """What a client could really read."""
        if self.wrote is not None:
            return self.wrote
        return self.text[: self.offset[-1]] if self.offset else ""

    @property
    def sent_offset(self) -> list[int]:
        """How many characters of `sent_text` were out after each write."""
        return self.offset if self.wrote is None else self.wrote_offset

    def to_json(self, start_ns: int) -> dict[str, Any]:
        """The exchange in a stream's line, its stamps relative to `start_ns`."""

        def relative(at_ns: int | None) -> int | None:
            return None if at_ns is None else at_ns - start_ns

        return {
            "attempt": self.attempt,
            "status": self.status,
            "profile": self.profile,
            "arrived": self.arrived_ns - start_ns,
            "headers": relative(self.headers_ns),
            "ended_at": relative(self.ended_ns),
            "ended": self.ended,
            "cancelled": relative(self.cancelled_ns),
            "written_after_cancel": self.written_after_cancel,
            "finish": self.finish,
            "faults": self.faults,
            "clock_error": self.clock_error_ns,
            "stream": self.stream,
            "text": self.text,
            "wrote": None if self.wrote is None else {"text": self.wrote, "offset": self.wrote_offset},
            "scheduled": [at_ns - start_ns for at_ns in self.scheduled_ns],
            "written": [at_ns - start_ns for at_ns in self.written_ns],
            "offset": self.offset,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any], start_ns: int) -> UpstreamExchange:
        """Read back what `to_json` wrote. Raises ValueError or TypeError where it is something else."""
        _EXCHANGE.check(data)
        wrote = data.get("wrote")
        if wrote is not None:
            _WROTE.check(wrote)
        lengths = {len(_all(int, data[name])) for name in ("scheduled", "written", "offset")}
        if len(lengths) > 1 or (wrote is not None and len(_all(int, wrote["offset"])) not in lengths):
            raise ValueError("the columns of an upstream's writes are not equally long")

        def absolute(at: int | None) -> int | None:
            return None if at is None else at + start_ns

        return cls(
            attempt=data["attempt"],
            arrived_ns=data["arrived"] + start_ns,
            status=data["status"],
            text=data["text"],
            scheduled_ns=[at + start_ns for at in data["scheduled"]],
            written_ns=[at + start_ns for at in data["written"]],
            offset=list(data["offset"]),
            headers_ns=absolute(data["headers"]),
            ended_ns=absolute(data["ended_at"]),
            ended=data["ended"],
            cancelled_ns=absolute(data["cancelled"]),
            written_after_cancel=data["written_after_cancel"],
            finish=data["finish"],
            profile=data["profile"],
            faults=list(_all(str, data["faults"])),
            clock_error_ns=data["clock_error"],
            stream=data.get("stream", True),  # older files do not say
            wrote=None if wrote is None else wrote["text"],
            wrote_offset=[] if wrote is None else list(wrote["offset"]),
        )


def stamps_of(reads: int, user_reads: int) -> str:
    """Who stamped so many reads, of which the kernel did not stamp `user_reads`: `kernel`, `user` or `mixed`."""
    if user_reads == reads:
        return "user"
    return "mixed" if user_reads else "kernel"


@dataclass(slots=True)
class OwnShare:
    """What in a stream's times was the generator's own doing, in ns; none of it is subtracted anywhere.

    `start_ns`: how late the stream was started, setup not counted. `send_ns`: what sending the request took since the
    start, beside connecting and waiting for the server. `connect_ns`: how much of connecting was ours. `early`: by
    number of the read, how long before its stamp its first bytes may have come, because we read them late.
    """

    start_ns: int = 0
    send_ns: int = 0
    connect_ns: int = 0
    early: dict[int, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """`own` of a stream's line."""
        early = [list(self.early), list(self.early.values())]
        return {"start": self.start_ns, "send": self.send_ns, "connect": self.connect_ns, "early": early}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> OwnShare:
        """Read back what `to_json` wrote; nothing is known of the streams of older files."""
        _OWN.check(data)
        early = [_all(int, column) for column in data.get("early", [[], []])]
        return cls(data.get("start", 0), data.get("send", 0), data.get("connect", 0), dict(zip(*early, strict=True)))


@dataclass(slots=True)
class Further:
    """Findings of one rule beyond those that are kept: how many, and the one that comes first in the stream."""

    first: Finding
    count: int

    def to_json(self) -> dict[str, Any]:
        """The finding, with how many there were."""
        return {**self.first.to_json(), "count": self.count}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Further:
        """Read back what `to_json` wrote. Raises ValueError or TypeError where it is something else."""
        first = _finding(data)
        _all(int, [data["count"]])
        return cls(first, data["count"])


@dataclass(slots=True)
class StreamRecord:
    """Everything that was seen of one stream."""

    id: str
    target: str
    dialect: str
    intended_ns: int
    start_ns: int
    phase: int = 0
    user: int | None = None
    iteration: int = 0
    warmup: bool = False
    mark: str | None = None
    worker: str | None = None  # of several generators, the one that saw it

    connected_ns: int | None = None
    reused_connection: bool = False
    resent: int = 0  # how often the request was sent again, since a kept connection ended without an answer
    connect_ahead_ns: int | None = None  # how long connecting took, where it was done before the stream began
    sent_ns: int | None = None
    headers_ns: int | None = None
    status: int | None = None
    end_ns: int | None = None

    outcome: Outcome = Outcome.COMPLETED
    error: str | None = None  # an ErrorClass, or http_<status>
    error_message: str | None = None
    ending: Ending | None = None
    close_code: int | None = None
    terminal_event: bool = False  # the dialect's terminal event came

    events: EventColumns = field(default_factory=EventColumns)
    findings: list[Finding] = field(default_factory=list)
    findings_dropped: int = 0  # beyond the number that is kept of one stream
    further: list[Further] = field(default_factory=list)  # which those were, by rule
    text: str | None = None  # the content; kept only where an upstream's journal is there to compare it with
    tokens: int | None = None  # as the protocol reported it, never guessed

    reads: int = 0
    user_reads: int = 0  # those that the kernel did not stamp
    coalesced_reads: int = 0
    wire_bytes: int = 0
    own: OwnShare = field(default_factory=OwnShare)
    encoding: str | None = None  # the response's content coding

    upstream: list[UpstreamExchange] = field(default_factory=list)

    @property
    def violations(self) -> list[Finding]:
        """The findings that break the protocol."""
        return [finding for finding in self.findings if finding.severity is Severity.VIOLATION]

    @property
    def stamps(self) -> str:
        """Who stamped what came, of all reads: `kernel`, `user` or `mixed`."""
        return stamps_of(self.reads, self.user_reads)

    def content_rows(self) -> list[int]:
        """Indexes of the events that carried non-empty content."""
        return [i for i, chars in enumerate(self.events.chars) if chars > 0]

    def to_json(self) -> dict[str, Any]:
        """One line of `records.jsonl` (`kind: stream`)."""
        start_ns = self.start_ns

        def relative(at_ns: int | None) -> int | None:
            return None if at_ns is None else at_ns - start_ns

        return {
            "kind": "stream",
            "id": self.id,
            "target": self.target,
            "dialect": self.dialect,
            "phase": self.phase,
            "user": self.user,
            "iteration": self.iteration,
            "warmup": self.warmup,
            "mark": self.mark,
            "worker": self.worker,
            "intended_ns": self.intended_ns,
            "start_ns": start_ns,
            "connected": relative(self.connected_ns),
            "reused_connection": self.reused_connection,
            "resent": self.resent,
            "connect_ahead": self.connect_ahead_ns,
            "sent": relative(self.sent_ns),
            "headers": relative(self.headers_ns),
            "status": self.status,
            "end": relative(self.end_ns),
            "outcome": self.outcome,
            "error": self.error,
            "error_message": self.error_message,
            "ending": self.ending,
            "close_code": self.close_code,
            "terminal_event": self.terminal_event,
            "stamps": self.stamps,
            "reads": self.reads,
            "user_reads": self.user_reads,
            "coalesced_reads": self.coalesced_reads,
            "wire_bytes": self.wire_bytes,
            "own": self.own.to_json(),
            "encoding": self.encoding,
            "tokens": self.tokens,
            "text": self.text,
            "findings": [finding.to_json() for finding in self.findings],
            "findings_dropped": self.findings_dropped,
            "further": [more.to_json() for more in self.further],
            "events": self.events.to_json(start_ns),
            "upstream": [exchange.to_json(start_ns) for exchange in self.upstream],
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> StreamRecord:
        """Read back what `to_json` wrote.

        Raises ValueError, TypeError or OverflowError, which say what is wrong, where it is something else.
        """
        _STREAM.check(data)
        start_ns = data["start_ns"]
        if (start_ns | data["intended_ns"]) >> 63:
            raise ValueError("a moment is out of all bounds")
        names = f"{data['id']}{data['target']}{data['dialect']}{data['error']}"
        if not names.isprintable() and printable(names) != names:
            raise ValueError("a name holds characters that act on a terminal")

        def absolute(at: int | None) -> int | None:
            return None if at is None else at + start_ns

        ending, findings, upstream = data["ending"], data["findings"], data["upstream"]
        # By place, in the order of the fields: that so many names need not be matched is a tenth of the time.
        return cls(
            data["id"],
            data["target"],
            data["dialect"],
            data["intended_ns"],
            start_ns,
            data["phase"],
            data["user"],
            data["iteration"],
            data["warmup"],
            data["mark"],
            data.get("worker"),
            absolute(data["connected"]),
            data["reused_connection"],
            data.get("resent", 0),  # older files do not say
            data.get("connect_ahead"),
            absolute(data["sent"]),
            absolute(data["headers"]),
            data["status"],
            absolute(data["end"]),
            _OUTCOMES[data["outcome"]],
            data["error"],
            None if data["error_message"] is None else printable(data["error_message"]),
            None if ending is None else _ENDINGS[ending],
            data["close_code"],
            data["terminal_event"],
            EventColumns.from_json(data["events"], start_ns),
            list(map(_finding, findings)) if findings else [],
            data["findings_dropped"],
            list(map(Further.from_json, data.get("further", ()))),  # older files do not say
            data["text"],
            data["tokens"],
            data["reads"],
            data.get("user_reads", data["reads"] if data["stamps"] == "user" else 0),
            data["coalesced_reads"],
            data["wire_bytes"],
            OwnShare.from_json(data.get("own", {})),
            data.get("encoding"),
            [UpstreamExchange.from_json(item, start_ns) for item in upstream] if upstream else [],
        )


def _all(kind: type, values: list[Any]) -> list[Any]:
    """The values, if all are of one type."""
    if values and set(map(type, values)) != {kind}:
        raise ValueError("a list holds something else than it should")
    return values


def _finding(data: Any) -> Finding:
    _FINDING.check(data)
    _all(str, data.get("expected", []))
    return Finding.from_json(printable_values(data))


_OUTCOMES = {str(outcome): outcome for outcome in Outcome}
_ENDINGS = {str(ending): ending for ending in Ending}
_INT, _TEXT, _FLAG, _LIST, _MOMENT, _WORD = (int,), (str,), (bool,), (list,), (int, type(None)), (str, type(None))
_STREAM = Shape(
    {
        **dict.fromkeys(("kind", "id", "target", "dialect", "outcome", "stamps"), _TEXT),
        **dict.fromkeys(("phase", "iteration", "intended_ns", "start_ns"), _INT),
        **dict.fromkeys(("reads", "coalesced_reads", "wire_bytes", "findings_dropped"), _INT),
        **dict.fromkeys(("warmup", "reused_connection", "terminal_event"), _FLAG),
        **dict.fromkeys(("user", "connected", "sent", "headers", "status", "end", "close_code", "tokens"), _MOMENT),
        **dict.fromkeys(("mark", "error", "error_message", "ending", "text"), _WORD),
        **dict.fromkeys(("findings", "upstream"), _LIST),
        "events": (dict,),
    },
    {
        **dict.fromkeys(("resent", "user_reads"), _INT),
        **dict.fromkeys(("worker", "encoding"), _WORD),
        "connect_ahead": _MOMENT,
        "further": _LIST,
        "own": (dict,),
    },  # older files lack them
)
_OWN = Shape({}, {**dict.fromkeys(("start", "send", "connect"), _INT), "early": _LIST})
_EVENTS = Shape(dict.fromkeys(("names", "name", "at", "chars", "read"), _LIST))
_FINDING = Shape(
    dict.fromkeys(("axis", "rule", "message"), _TEXT),
    {"severity": _TEXT, "event_index": _INT, "offset": _INT, "got": _TEXT, "expected": _LIST, "count": _INT},
)
_EXCHANGE = Shape(
    {
        **dict.fromkeys(("attempt", "status", "arrived", "written_after_cancel", "clock_error"), _INT),
        **dict.fromkeys(("headers", "ended_at", "cancelled"), _MOMENT),
        **dict.fromkeys(("ended", "text"), _TEXT),
        **dict.fromkeys(("profile", "finish"), _WORD),
        **dict.fromkeys(("faults", "scheduled", "written", "offset"), _LIST),
    },
    {"stream": _FLAG, "wrote": (dict, type(None))},  # older files lack them
)
_WROTE = Shape({"text": _TEXT, "offset": _LIST})
