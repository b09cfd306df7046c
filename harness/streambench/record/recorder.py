"""Fills the record of one stream while it runs.

Asks for no time: every stamp is given to it by the driver.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable, Iterable, Sequence

from streambench.dialects import Dialect, DialectStream
from streambench.dialects.milestone import Watch
from streambench.dialects.stream import UNDISPATCHED
from streambench.endings import Ending, ErrorClass, http_error_class
from streambench.findings import Axis, Finding, Severity
from streambench.printable import printable
from streambench.record.model import Further, Outcome, StreamRecord
from streambench.record.repeats import MessageRepeats, Repeats
from streambench.record.tap import Tap
from streambench.rules import Rule, declare
from streambench.transport.arrivals import Reads
from streambench.units import NS_PER_MS
from streambench.wire.framings import BodyDecoder
from streambench.wire.message import WireMessage

MAX_EVENTS = 1_000_000
MAX_TEXT_CHARS = 4 << 20
MAX_FINDINGS = 100
MAX_FURTHER = 100  # rules of which findings beyond those are counted
MAX_MESSAGE_CHARS = 500

CONTENT_TYPE = declare(
    Rule(
        "http.content-type",
        Axis.GRAMMAR,
        "The response has the content type of its transport.",
        "WHATWG HTML, section 9.2.2; RFC 9110, section 8.3",
    )
)

EMPTY = declare(
    Rule(
        "content.empty",
        Axis.CONTENT,
        "A complete reply has text, unless the dialect allows empty replies (`empty: info`).",
        "the events with `content` of the dialect",
        may_inform=True,
    )
)

REPEAT_CHARS = 6  # models do say short words twice
REPEAT_NS = 2 * NS_PER_MS
REPEATED = declare(
    Rule(
        "content.repeated",
        Axis.CONTENT,
        "No chunk is sent twice in a row.",
        "each chunk compared with the one before it; measured from one side, the repetition may be the model's own",
        Severity.INFO,
    )
)

# How the dialect is told of an ending; a client that left on its own breaks no rule of the server's.
_SILENCES = {ErrorClass.TIMEOUT_FIRST_CHUNK, ErrorClass.TIMEOUT_IDLE}
_TIMEOUTS = {*_SILENCES, ErrorClass.TIMEOUT_TOTAL}


def empty_reply(dialect: Dialect) -> Finding:
    """The finding of a reply that is complete and blank; for information where its dialect says that it may be."""
    message = "The reply is complete but has no text."
    return EMPTY.found(message, severity=Severity.INFO) if dialect.may_be_empty else EMPTY.found(message)


class Recorder:
    """The one who writes a `StreamRecord`, from the connection's first moment to the end of the stream.

    `keep_text` keeps the content itself, for comparison with what an upstream wrote. `tap` is given every arrival that
    the record is made of. `done`: the stream is complete or has failed. `unreadable`: nothing more that comes can
    change what it is, for it has failed by something else than an event that says so. `ended`: it is over. `chunks`
    counts the events with text.
    """

    __slots__ = (
        "_blank",
        "_further",
        "_last_at_ns",
        "_last_content",
        "_read",
        "_stream",
        "_text",
        "_text_chars",
        "chunks",
        "dialect",
        "done",
        "ended",
        "keep_text",
        "max_events",
        "record",
        "tap",
        "unreadable",
    )

    def __init__(
        self,
        record: StreamRecord,
        dialect: Dialect,
        *,
        keep_text: bool,
        max_events: int = MAX_EVENTS,
        tap: Tap | None = None,
    ) -> None:
        self.record = record
        self.tap = tap
        self.done = False
        self.unreadable = False
        self.ended = False
        self.chunks = 0
        self.dialect = dialect
        self._further: dict[tuple[str, str], Further] = {}
        self._blank = True  # no text has come, or nothing but white space
        self._stream = DialectStream(dialect)
        self.keep_text = keep_text
        self.max_events = max_events
        self._text: list[str] = []
        self._text_chars = 0
        self._last_content = ""
        self._last_at_ns = 0
        self._read = -1

    def milestone(self, name: str) -> Callable[[], bool]:
        """What says whether the stream has come to a milestone of its dialect by now."""
        watch, events, taken = Watch(self.dialect.milestones), self.record.events, 0

        def is_reached() -> bool:
            nonlocal taken
            for row, event in events.rows_of(watch.events, taken):
                watch.take(row, event, has_text=events.chars[row] > 0)
            taken = len(events)
            return name in watch.reached

        return is_reached

    def connected(
        self,
        at_ns: int,
        *,
        reused: bool = False,
        ahead_ns: int | None = None,
        again: int = 0,
        own_ns: int = 0,
    ) -> None:
        """The connection is ready for the request, TLS and upgrade included.

        `ahead_ns` is how long that took, where it was done before the stream began, and `own_ns` how much of it was
        ours; `again`: how many requests had been sent before, on kept connections that ended without an answer.
        """
        self.record.resent += again
        self.record.connected_ns = at_ns
        self.record.own.connect_ns = own_ns
        self.record.connect_ahead_ns = ahead_ns
        self.record.reused_connection = reused

    def resent(self) -> None:
        """One more request had to be sent again."""
        self.record.resent += 1

    def sent(self, at_ns: int, *, late_ns: int = 0) -> None:
        """The request was handed to the kernel; a request too large for its buffer, its last byte.

        `late_ns` is what the generator took for that. A reply may be over before it is known; then it changes nothing.
        """
        if not self.ended:
            self.record.sent_ns = at_ns
            self.record.own.send_ns = late_ns

    def headers(self, status: int, at_ns: int, encoding: str | None = None) -> None:
        """The response's headers are complete; `encoding` is its content coding."""
        self.record.status = status
        self.record.encoding = encoding
        self.record.headers_ns = at_ns

    def read(self, at_ns: int, size: int, *, kernel: bool, early_ns: int = 0) -> None:
        """One read of the socket brought `size` bytes; the messages that follow came with it.

        Its first bytes came up to `early_ns` before its stamp.
        """
        record = self.record
        self._read += 1
        record.reads += 1
        record.wire_bytes += size
        if not kernel:
            record.user_reads += 1
        if early_ns:
            record.own.early[self._read] = early_ns

    def reads(self, reads: Reads) -> None:
        """Several reads, each of which brought one of the server's writes."""
        record, count = self.record, len(reads.at_ns)
        record.reads += count
        record.wire_bytes += reads.bytes
        if not reads.kernel:
            record.user_reads += count
        self._read += count

    def coalesced(self) -> None:
        """The newest read brought several of the server's writes, so that its stamp is that of the last of them."""
        self.record.coalesced_reads += 1

    def message(self, message: WireMessage, at_ns: int) -> None:
        """A decoded message of the wire, with the stamp of the read that completed it."""
        self.messages((message,), at_ns)

    def messages(self, messages: Iterable[WireMessage], at_ns: int) -> None:
        """All messages that one read completed, with its stamp."""
        stream = self._stream
        repeated, take = stream.repeated, stream.take
        events = self.record.events
        room = self.max_events - len(events)
        names: list[str] = []
        chars: list[int] = []
        last = self._last_content if at_ns - self._last_at_ns < REPEAT_NS else ""
        for message in messages:
            if len(names) == room:
                break
            delta = repeated(message)
            if delta is not None:
                names.append(stream.delta)
                chars.append(len(delta))
                if delta == last:
                    self._note_repeat(delta, len(events) + len(names) - 1)
                last = delta
                if self._blank or self.keep_text:
                    self._content(delta)
                continue
            event = take(message)
            if event.name == UNDISPATCHED:
                continue
            text = event.content
            names.append(event.name)
            chars.append(len(text))
            if text:
                if text == last:
                    self._note_repeat(text, len(events) + len(names) - 1)
                last = text
                if self._blank or self.keep_text:
                    self._content(text)
            if event.findings:
                self.findings(event.findings)
            if stream.complete:
                self.record.terminal_event = not stream.interrupted
                self.done = True
            if event.error is not None:
                self.fail(ErrorClass.ERROR_EVENT, event.error)
        events.extend(at_ns, names, chars, max(self._read, 0))
        came = len(chars) - chars.count(0)
        if came:
            self.chunks += came
            self._last_content, self._last_at_ns = last, at_ns
        if len(names) == room:
            self._fail_events()

    def repeats(self, decoder: BodyDecoder, max_bytes: int) -> Repeats:
        """What finds in the bytes of a read the `deltas` that repeat those before them."""
        return Repeats(decoder, self._stream, max_bytes)

    def message_repeats(self, max_chars: int) -> MessageRepeats:
        """The same for the messages of a socket."""
        return MessageRepeats(self._stream, max_chars)

    def deltas(self, texts: list[str], at_ns: int) -> None:
        """Events of one read that `repeats` has found, by their texts."""
        events = self.record.events
        room = self.max_events - len(events)
        if len(texts) >= room:
            del texts[room:]
            self._fail_events()
        last = self._last_content if at_ns - self._last_at_ns < REPEAT_NS else ""
        for number, text in enumerate(texts, len(events)):
            if text == last:
                self._note_repeat(text, number)
            last = text
        if self._blank or self.keep_text:
            self._contents(texts)
        events.repeat(at_ns, self._stream.delta, texts, max(self._read, 0))
        self.chunks += len(texts)
        self._last_content, self._last_at_ns = last, at_ns

    def has_room(self, count: int) -> bool:
        """Whether so many events more are not too many."""
        return len(self.record.events) + count < self.max_events

    def delta_of_each(self, texts: Sequence[str], at_ns: Sequence[int]) -> None:
        """The same, one event of each of the newest reads, for which there `has_room`."""
        events = self.record.events
        last, last_ns = self._last_content, self._last_at_ns
        for number, (text, now_ns) in enumerate(zip(texts, at_ns, strict=True), len(events)):
            if text == last and now_ns - last_ns < REPEAT_NS:
                self._note_repeat(text, number)
            last, last_ns = text, now_ns
        if self._blank or self.keep_text:
            self._contents(texts)
        events.repeat_each(at_ns, self._stream.delta, texts, self._read + 1 - len(texts))
        self.chunks += len(texts)
        self._last_content, self._last_at_ns = last, last_ns

    def _fail_events(self) -> None:
        self.fail(ErrorClass.OVERSIZE, f"the stream had more than {self.max_events:,} events")

    def _content(self, text: str) -> None:
        """Text that a reader sees, where it matters what it is."""
        if self._blank:
            self._blank = text.isspace()
        if self.keep_text and self._text_chars < MAX_TEXT_CHARS:
            self._text.append(text)
            self._text_chars += len(text)

    def _contents(self, texts: Sequence[str]) -> None:
        """The same for several."""
        chars = sum(map(len, texts))
        if self._blank or not self.keep_text or self._text_chars + chars >= MAX_TEXT_CHARS:
            for text in texts:
                self._content(text)
            return
        self._text += texts
        self._text_chars += chars

    def _note_repeat(self, text: str, event_index: int) -> None:
        if len(text.strip()) >= REPEAT_CHARS:
            message = "The same text came twice in a row."
            self.findings([REPEATED.found(message, event_index=event_index, got=text[:MAX_MESSAGE_CHARS])])

    def findings(self, findings: list[Finding] | tuple[Finding, ...]) -> None:
        """Keep what a decoder or the dialect found; of one stream, the hundred that come first in it.

        All are counted. Which are kept does not depend on how the bytes were read.
        """
        kept = self.record.findings
        for finding in findings:
            if len(kept) < MAX_FINDINGS:
                kept.append(finding)
                continue
            if not self.record.findings_dropped:
                kept.sort(key=_place)
            if _place(finding) < _place(kept[-1]):
                insort(kept, finding, key=_place)
                finding = kept.pop()
            self._count(finding)

    def _count(self, finding: Finding) -> None:
        """Count a finding that is not kept, with the first of each rule as its example."""
        self.record.findings_dropped += 1
        key = (finding.rule, finding.severity)
        further = self._further.get(key)
        if further is None:
            if len(self._further) == MAX_FURTHER:
                return
            further = self._further[key] = Further(finding, 0)
            self.record.further.append(further)
        elif _place(finding) < _place(further.first):
            further.first = finding
        further.count += 1

    def fail(self, error: str, message: str) -> None:
        """The stream has failed; the first reason stands. An error event may be followed by more of the protocol."""
        self.done = True
        if error != ErrorClass.ERROR_EVENT:
            self.unreadable = True
        if self.record.error is None:
            self.record.outcome = Outcome.FAILED
            self.record.error = str(error)
            self.record.error_message = printable(message)[:MAX_MESSAGE_CHARS]

    def fail_status(self, status: int, excerpt: str) -> None:
        """The response's status is no success; `excerpt` is the beginning of its body.

        It says more than that the rest of the body did not come in time.
        """
        if self.record.error in _TIMEOUTS:
            self.record.error = None
        self.fail(http_error_class(status), f"the server answered {status}: {excerpt}" if excerpt else f"{status}")

    def censor(self, at_ns: int) -> None:
        """We ended the stream while it was still open, because the run had to end."""
        self._break_off(at_ns, Outcome.CENSORED)

    def leave(self, at_ns: int) -> None:
        """The user left while the stream was still open."""
        self._break_off(at_ns, Outcome.LEFT)

    def _break_off(self, at_ns: int, outcome: Outcome) -> None:
        if self.ended:
            return
        self._finish(Ending.CLIENT, at_ns)
        if self.record.error is None and not self._stream.complete:
            self.record.outcome = outcome

    def end(self, ending: Ending, at_ns: int, close_code: int | None = None, *, cut: bool = False) -> None:
        """The stream is over. Ending it a second time changes nothing.

        `cut`: the response broke off, so a protocol without a terminal event is not complete either.
        """
        if self.ended:
            return
        record = self.record
        record.close_code = close_code
        reached = record.error is None or record.error == ErrorClass.ERROR_EVENT or record.error in _TIMEOUTS
        if reached and ending is not Ending.NOT_CONNECTED:
            told = "cut" if cut and ending is Ending.FIN else str(ending)
            if record.error in _SILENCES:
                told = "timeout"
            elif record.error == ErrorClass.TIMEOUT_TOTAL:
                told = "client"  # a slow stream is late, and breaks no rule
            self.findings(self._stream.finish(told))
            # A protocol without a terminal event is complete when it closes at the right place.
            record.terminal_event = self._stream.complete and not self._stream.interrupted
        if record.error is None and record.terminal_event and self._blank and self.dialect.has_text:
            self._note_empty()
        self._finish(ending, at_ns)
        if record.error is None and not self._stream.complete:
            if ending is Ending.RESET:
                self.fail(ErrorClass.RESET, "the connection was reset before the stream was complete")
            elif ending in (Ending.FIN, Ending.RESPONSE_END, Ending.CLOSE_FRAME):
                code = f" (close code {close_code})" if close_code is not None else ""
                self.fail(ErrorClass.DISCONNECT, f"the stream ended before its terminal event{code}")

    def _note_empty(self) -> None:
        """The reply is complete, and there is nothing to read."""
        finding = empty_reply(self.dialect)
        self.findings([finding])
        if finding.severity is Severity.INFO:
            return
        self.fail(
            ErrorClass.EMPTY,
            "the reply is complete but has no text; if that is right, set `empty: info` in its dialect",
        )

    def _finish(self, ending: Ending, at_ns: int) -> None:
        self.ended = True
        self.done = True
        record = self.record
        record.ending = ending
        record.end_ns = at_ns
        record.tokens = self._stream.tokens
        if self.keep_text:
            record.text = "".join(self._text)


def wrong_content_type(expected: str, got: str) -> Finding:
    """The finding for a response whose content type is not the transport's."""
    return CONTENT_TYPE.found(f"The response should be {expected}.", got=got or "no content type", expected=(expected,))


def _place(finding: Finding) -> tuple[float, float, str, str, str, str]:
    """Where a finding stands in its stream; what is about the whole of it comes last."""
    return (
        math.inf if finding.offset is None else finding.offset,
        math.inf if finding.event_index is None else finding.event_index,
        finding.rule,
        finding.severity,
        finding.message,
        finding.got or "",
    )
