"""A target's reply to one prompt: its response, and the events in it as the dialect reads them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from streambench.conformance.exchange import Exchange
from streambench.dialects import Dialect, DialectStream
from streambench.dialects.stream import UNDISPATCHED, Event
from streambench.endings import Ending
from streambench.findings import Finding, Severity
from streambench.record.model import StreamRecord
from streambench.record.recorder import Recorder
from streambench.wire.message import WireMessage

EVENT_STREAM = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Seen:
    """One event: when the read came that completed it, and what the dialect made of it."""

    at_ns: int
    name: str
    content: str
    data: Any
    error: str | None
    offset: int


@dataclass(slots=True)
class Reply:
    """The answer to one question. `mark` is its mark at the fake upstream, where there is one."""

    exchange: Exchange
    on_socket: bool = False
    events: list[Seen] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    complete: bool = False
    interrupted: bool = False
    mark: str = ""

    @property
    def status(self) -> int:
        """The response's status; 0 where none came."""
        return self.exchange.status

    @property
    def is_stream(self) -> bool:
        """Whether a stream has begun, and not a refusal: on a socket, an event that is no error."""
        if self.on_socket:
            return bool(self.events) and self.events[0].error is None
        return self.status == 200 and self.content_type != "application/json"

    @property
    def is_refusal(self) -> bool:
        """Whether the target has said no: by its status, or on a socket by an error in place of a reply."""
        if self.status >= 400:
            return True
        return self.on_socket and (bool(self.exchange.refused) or (self.error is not None and not self.is_stream))

    @property
    def content_type(self) -> str:
        """The content type without its parameters, in lower case."""
        return self.exchange.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def text(self) -> str:
        """All of the text that came."""
        return "".join(event.content for event in self.events)

    @property
    def error(self) -> str | None:
        """What an event said went wrong."""
        return next((event.error for event in self.events if event.error is not None), None)

    @property
    def contents(self) -> list[Seen]:
        """The events that brought text."""
        return [event for event in self.events if event.content]

    def json(self) -> Any:
        """The body as JSON; None where it is none."""
        try:
            return json.loads(self.exchange.body)
        except (ValueError, RecursionError):
            return None

    def broken(self, *rules: str, prefix: str = "") -> list[Finding]:
        """The findings of the named rules, information included, or of those that begin with `prefix`."""
        return [
            finding
            for finding in self.findings
            if finding.rule in rules or (prefix and finding.rule.startswith(prefix))
        ]

    def violations(self) -> list[Finding]:
        """The findings that break the protocol."""
        return [finding for finding in self.findings if finding.severity is Severity.VIOLATION]


Leave = Callable[[Reply], bool]
"""Is asked after every event whether the client leaves."""


class Witness(Recorder):
    """The recorder of a reply that a case judges: it keeps what each event said. `leave` is asked after every event
    whether the client leaves, which sets `gone`.
    """

    __slots__ = ("_gone", "_leave", "_reading", "_reply")

    def __init__(self, reply: Reply, dialect: Dialect, gone: asyncio.Event, leave: Leave | None) -> None:
        started_ns = reply.exchange.started_ns
        record = StreamRecord("", "", dialect.name, started_ns, started_ns)
        super().__init__(record, dialect, keep_text=False, tap=reply.exchange)
        self._stream = self._reading = _Reading(dialect)
        self._reply = reply
        self._gone = gone
        self._leave = leave
        reply.findings = record.findings

    def end(self, ending: Ending, at_ns: int, close_code: int | None = None, *, cut: bool = False) -> None:
        """The stream is over."""
        super().end(ending, at_ns, close_code, cut=cut)
        self._reply.complete = self._stream.complete

    def messages(self, messages: Iterable[WireMessage], at_ns: int) -> None:
        """All messages that one read completed, with its stamp."""
        super().messages(messages, at_ns)
        reply = self._reply
        reply.complete, reply.interrupted = self._stream.complete, self._stream.interrupted
        for event in self._reading.drain():
            if event.name != UNDISPATCHED:
                reply.events.append(Seen(at_ns, event.name, event.content, event.data, event.error, event.offset))
                if self._leave is not None and self._leave(reply):
                    self._gone.set()


class _Reading(DialectStream):
    """A reply that is being read; it keeps its events until they are taken."""

    __slots__ = ("_new",)

    def __init__(self, dialect: Dialect) -> None:
        super().__init__(dialect)
        self._new: list[Event] = []

    def repeated(self, message: WireMessage) -> str | None:
        """Nothing is passed over as a repetition."""
        return None

    def take(self, message: WireMessage) -> Event:
        """Take the next message, judged as a whole: cases look at all of it."""
        event = self.feed(message)
        self._new.append(event)
        return event

    def drain(self) -> list[Event]:
        """The events since the last call."""
        new, self._new = self._new, []
        return new
