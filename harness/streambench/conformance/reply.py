"""What a target said to one question: its response, and the events in it as the dialect reads them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from streambench.conformance.exchange import Exchange
from streambench.dialects import Dialect, DialectStream
from streambench.dialects.stream import UNDISPATCHED
from streambench.findings import Finding, Severity
from streambench.wire.framings import capture_decoder
from streambench.wire.limits import WireError
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
        """Whether a stream has begun, and not a refusal."""
        return self.status == 200 and self.content_type != "application/json"

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


class Listener:
    """Reads a body as it comes, event by event; `reply` is what there is of it at any time."""

    def __init__(self, dialect: Dialect, reply: Reply) -> None:
        self.reply = reply
        self._stream = DialectStream(dialect)
        self._decoder = capture_decoder(dialect.transport)
        self._broken = False

    def feed(self, at_ns: int, data: bytes) -> None:
        """Bytes of the body came at `at_ns`."""
        if self._broken:
            return
        try:
            self._take(at_ns, self._decoder.feed(data))
        except WireError as error:
            self._fail(error)
        self.reply.findings += self._decoder.take_findings()

    def finish(self, ending: str, at_ns: int) -> None:
        """The response is over."""
        if not self._broken and ending == "response_end":
            try:
                self._take(at_ns, self._decoder.finish())
            except WireError as error:
                self._fail(error)
            self.reply.findings += self._decoder.take_findings()
        self.reply.findings += self._stream.finish(ending)
        self.reply.complete = self._stream.complete
        self.reply.interrupted = self._stream.interrupted

    def _take(self, at_ns: int, messages: list[WireMessage]) -> None:
        for message in messages:
            event = self._stream.feed(message)
            self.reply.findings += event.findings
            if event.name != UNDISPATCHED:
                self.reply.events.append(Seen(at_ns, event.name, event.content, event.data, event.error, event.offset))
        self.reply.complete = self._stream.complete

    def _fail(self, error: WireError) -> None:
        self._broken = True
        self.reply.findings.append(error.finding)
