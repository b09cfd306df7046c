"""Server-sent events, read exactly as WHATWG HTML section 9.2.6 ("Interpreting an event stream") says.

The model. A stream is lines; a line ends at LF, CR, or CR LF, and a CR ends its line at once, without waiting to see
whether an LF follows. Lines gather into a block until a blank line ends it. A block that brought a `data` field is
dispatched as an event; any other block is not, and neither is what is left when the stream ends. A byte order mark
counts only as the first three bytes, and U+2028 or U+0085 never end a line. Decoding line by line gives the same text
as decoding the whole, since the bytes of CR and LF occur in no multi-byte UTF-8 sequence.

Popular clients differ from these rules. Where a stream would read differently in one of them, the decoder notes an
`interop` finding, once a stream and rule; a block that is not dispatched although such clients would emit it is
returned with `dispatched=False`.
"""

from __future__ import annotations

import re
from typing import Final

from streambench.findings import Axis, Finding
from streambench.rules import Rule, declare, declare_note
from streambench.wire.limits import OversizeError, WireError, WireLimits
from streambench.wire.message import WireMessage

BOM = b"\xef\xbb\xbf"
MAX_UTF8_FINDINGS = 20
MAX_RETRY_DIGITS = 18

_LINE = re.compile(rb"([^\r\n]*)(\r\n|\r|\n)")
# What `str.splitlines` takes for line ends and this specification does not.
_FOREIGN_LINE_ENDS = re.compile("[\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e]")

_SOURCE: Final = "WHATWG HTML, section 9.2.6"
INVALID_UTF8: Final = declare(
    Rule(
        "sse.invalid-utf8",
        Axis.CONTENT,
        "An event stream is valid UTF-8: clients read U+FFFD in place of invalid bytes.",
        "WHATWG HTML, section 9.2.5",
    )
)
BYTE_ORDER_MARK: Final = declare_note(
    "sse.bom",
    "A stream begins without a byte order mark: clients that do not strip it lose the first field.",
    _SOURCE,
)
BARE_CR: Final = declare_note(
    "sse.bare-cr",
    "A line does not end in CR alone: clients that look for LF never see the event end.",
    _SOURCE,
)
CRLF: Final = declare_note(
    "sse.crlf",
    "Lines do not end in CR LF: clients that split at two LF never see an event end.",
    _SOURCE,
)
NO_SPACE: Final = declare_note(
    "sse.no-space",
    "A space follows `data:`: clients that look for `data: ` skip lines without it.",
    _SOURCE,
)
MULTI_LINE_DATA: Final = declare_note(
    "sse.multi-line-data",
    "An event has a single `data` line: clients that parse each line separately get fragments.",
    _SOURCE,
)
FOREIGN_LINE_END: Final = declare_note(
    "sse.foreign-line-end",
    "The data contains no character that Python's `splitlines` treats as a line break.",
    _SOURCE,
)
NO_DATA: Final = declare_note(
    "sse.no-data",
    "A block with fields has a `data` line: without one nothing is dispatched, but some SDKs emit an empty event.",
    _SOURCE,
)
BLANK_BLOCK_AFTER_ID: Final = declare_note(
    "sse.blank-block-after-id",
    "No blank block follows an `id`: some SDKs emit an empty event for it.",
    _SOURCE,
)
UNDISPATCHED_TAIL: Final = declare_note(
    "sse.undispatched-tail",
    "A blank line follows the last block: without it, conforming clients drop the event.",
    _SOURCE,
)

_NOTES: Final = {
    BYTE_ORDER_MARK: "The stream begins with a byte order mark; clients that do not strip it lose the first field.",
    BARE_CR: "A line ends in a bare CR; clients that look for LF never see the event end.",
    CRLF: "Lines end in CR LF; clients that split the stream at two LF never see an event end.",
    NO_SPACE: "A `data:` without a space after it is valid, but clients that look for `data: ` skip the line.",
    MULTI_LINE_DATA: "One event has several `data` lines; clients that parse each line by itself get fragments.",
    FOREIGN_LINE_END: "The data holds a character that Python's splitlines and httpx's iter_lines take for a "
    "line end; clients built on them cut the event in two.",
    NO_DATA: "A block has fields but no `data` line: it is not dispatched, but the OpenAI and Anthropic Python "
    "SDKs and httpx-sse emit an event with empty data for it.",
    BLANK_BLOCK_AFTER_ID: "A blank line ends a block without fields after an `id` was set: nothing is "
    "dispatched, but the OpenAI and Anthropic Python SDKs and httpx-sse emit an event with empty data.",
    UNDISPATCHED_TAIL: "The stream ends without the blank line that would dispatch its last event: the event "
    "is lost for conforming clients, while some clients, google-genai among them, deliver it.",
}


class SseDecoder:
    """Bytes of an event stream to messages, however the bytes are split between calls.

    Work per byte is constant and memory is bounded by the limits. Raises OversizeError for a line or an event beyond
    them; messages completed before it in the same call are returned first, and the next call raises.
    """

    __slots__ = (
        "_after_cr",
        "_at_start",
        "_block_start",
        "_data",
        "_event",
        "_event_bytes",
        "_failure",
        "_has_fields",
        "_last_event_id",
        "_limits",
        "_more_data",
        "_noted",
        "_offset",
        "_pending",
        "_retry_ms",
        "_utf8_findings",
        "dispatched",
        "findings",
    )

    def __init__(self, limits: WireLimits | None = None) -> None:
        self._limits = limits if limits is not None else WireLimits()
        self.findings: list[Finding] = []
        self.dispatched = 0  # events dispatched so far: the index of the next one
        self._noted: set[str] = set()
        self._utf8_findings = 0
        self._failure: WireError | None = None
        self._at_start = True
        self._after_cr = False
        self._offset = 0  # where the line that is being read begins
        self._pending = bytearray()  # what has come of that line
        self._last_event_id = ""
        self._block_start: int | None = None
        self._data: str | None = None
        self._more_data: list[str] = []
        self._event = ""
        self._event_bytes = 0
        self._retry_ms: int | None = None
        self._has_fields = False

    def take_findings(self) -> list[Finding]:
        """The findings since the last call; the decoder forgets them."""
        taken, self.findings = self.findings, []
        return taken

    @property
    def between(self) -> bool:
        """Whether what comes next begins an event."""
        return not (self._pending or self._has_fields or self._after_cr) and self._failure is None

    @staticmethod
    def envelope(event: str) -> tuple[bytes, bytes]:
        """What stands around the data of an event in its usual form: its name, where it has one, and a line of data."""
        return (f"event: {event}\ndata: " if event else "data: ").encode(), b"\n\n"

    def pass_over(self, count: int, size: int) -> int:
        """Take in so many events that stand in their `envelope`, `size` bytes together, which somebody else has read.

        Returns where the next one begins.
        """
        self._at_start = False
        self.dispatched += count
        self._offset += size
        return self._offset

    @property
    def failure(self) -> WireError | None:
        """What ends the decoding: it lies behind the messages that were returned, and the next call raises it."""
        return self._failure

    def feed(self, data: bytes) -> list[WireMessage]:
        """The messages that `data` completes."""
        if self._failure is not None:
            raise self._failure
        if self._after_cr and data:
            self._after_cr = False
            if data[0] == 0x0A:
                self._offset += 1
                data = data[1:]
                self._note(CRLF, self._offset - 2)
            else:
                self._note(BARE_CR, self._offset - 1)
        out: list[WireMessage] = []
        try:
            if b"\r" in data:
                self._feed_any_line_end(data, out)
            else:
                lines = data.split(b"\n")
                tail = lines.pop()
                if lines:
                    self._read_lines(lines, 1, out)
                self._keep(tail)
        except WireError as error:
            self._failure = error
            if not out:
                raise
        return out

    def finish(self) -> list[WireMessage]:
        """End of the stream: what was left undispatched, as a message with `dispatched=False`."""
        if self._failure is not None:
            raise self._failure
        if self._after_cr:
            self._after_cr = False
            self._note(BARE_CR, self._offset - 1)
        out: list[WireMessage] = []
        if self._pending:
            self._utf8_findings = MAX_UTF8_FINDINGS  # a sequence cut by the end is not the sender's mistake
            self._read_lines([b""], 0, out, last=True)
        if self._has_fields:
            self._note(UNDISPATCHED_TAIL, self._block_start, self.dispatched)
            out.append(self._take_block(dispatched=False))
        return out

    def _keep(self, piece: bytes) -> None:
        """Store the part of a line whose end has not come."""
        if not piece:
            return
        if len(self._pending) + len(piece) > self._limits.max_line_bytes:
            raise OversizeError("a line of the event stream", self._limits.max_line_bytes, offset=self._offset)
        self._pending += piece

    def _feed_any_line_end(self, data: bytes, out: list[WireMessage]) -> None:
        position = 0
        # Not finditer: it would look for a line end from every byte of a long line whose end has not come.
        while (match := _LINE.match(data, position)) is not None:
            position = match.end()
            terminator = match[2]
            line_end = self._offset + len(self._pending) + len(match[1])
            self._read_lines([match[1]], len(terminator), out)
            if terminator == b"\r\n":
                self._note(CRLF, line_end)
            elif terminator == b"\r":
                if position == len(data):
                    self._after_cr = True
                else:
                    self._note(BARE_CR, line_end)
        self._keep(data[position:])

    def _read_lines(self, lines: list[bytes], end_bytes: int, out: list[WireMessage], *, last: bool = False) -> None:
        """Interpret complete lines; each was followed by a line end of `end_bytes`."""
        if self._pending:
            self._pending += lines[0]
            lines[0] = bytes(self._pending)
            self._pending.clear()
        max_line_bytes = self._limits.max_line_bytes
        max_event_bytes = self._limits.max_event_bytes
        if self._at_start:
            self._at_start = False
            if lines[0].startswith(BOM) and len(lines[0]) <= max_line_bytes:
                lines[0] = lines[0][3:]
                self._offset = 3
                self._note(BYTE_ORDER_MARK, 0)
        index, count = 0, len(lines)
        while index < count:
            line = lines[index]
            index += 1
            size = len(line)
            if (
                index < count
                and not lines[index]
                and not self._has_fields
                and line[:6] == b"data: "
                and size <= max_line_bytes
                and size <= max_event_bytes
            ):
                # The usual block, one line of data and a blank one: it leaves nothing behind.
                index += 1
                text = line[6:].decode() if line.isascii() else self._text(line, 6)
                out.append(WireMessage(text, self._offset, "", self._last_event_id))
                self.dispatched += 1
                self._offset += size + end_bytes + end_bytes
                continue
            if not size:
                if not last:
                    self._end_block(out)
                self._offset += end_bytes
                continue
            if size > max_line_bytes:
                raise OversizeError("a line of the event stream", max_line_bytes, offset=self._offset)
            if line[:5] == b"data:":
                if not self._has_fields:
                    self._has_fields = True
                    self._block_start = self._offset
                begin = 6 if line[5:6] == b" " else 5
                if begin == 5 and size > 5 and "sse.no-space" not in self._noted:
                    self._note(NO_SPACE, self._offset, self.dispatched)
                self._event_bytes += size
                if self._event_bytes > max_event_bytes:
                    raise OversizeError("an event", max_event_bytes, offset=self._block_start)
                text = self._text(line, begin)
                if self._data is None:
                    self._data = text
                else:
                    self._more_data.append(text)
            else:
                self._read_other_field(line)
            self._offset += size + end_bytes

    def _read_other_field(self, line: bytes) -> None:
        """A comment, any field but `data:`, or a line that the specification ignores."""
        if line[0] == 0x3A:
            return
        if not self._has_fields:
            self._block_start = self._offset
        name, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        text = self._decode(value, self._offset + len(line) - len(value))
        match name:
            case b"event":
                self._event = text
            case b"data":  # without a colon: an empty line of data
                if self._data is None:
                    self._data = ""
                else:
                    self._event_bytes += 1
                    if self._event_bytes > self._limits.max_event_bytes:
                        raise OversizeError("an event", self._limits.max_event_bytes, offset=self._block_start)
                    self._more_data.append("")
            case b"id":
                if "\0" not in text:
                    self._last_event_id = text
            case b"retry":
                digits = text.lstrip("0") or text[:1]
                if text.isascii() and text.isdigit() and len(digits) <= MAX_RETRY_DIGITS:
                    self._retry_ms = int(digits)
            case _:
                return
        self._has_fields = True

    def _end_block(self, out: list[WireMessage]) -> None:
        if self._data is not None:
            if self._more_data:
                self._note(MULTI_LINE_DATA, self._block_start, self.dispatched)
            out.append(self._take_block(dispatched=True))
            self.dispatched += 1
        elif self._has_fields:
            self._note(NO_DATA, self._block_start, self.dispatched)
            out.append(self._take_block(dispatched=False))
        elif self._last_event_id and "sse.blank-block-after-id" not in self._noted:
            self._note(BLANK_BLOCK_AFTER_ID, self._offset, self.dispatched)

    def _take_block(self, *, dispatched: bool) -> WireMessage:
        data = self._data or ""
        if self._more_data:
            data = "\n".join((data, *self._more_data))
            self._more_data = []
        assert self._block_start is not None
        message = WireMessage(data, self._block_start, self._event, self._last_event_id, self._retry_ms, dispatched)
        self._data = None
        self._event = ""
        self._event_bytes = 0
        self._retry_ms = None
        self._has_fields = False
        return message

    def _text(self, line: bytes, begin: int) -> str:
        """The data of a line at the current offset, from a place in it on."""
        try:
            text = line[begin:].decode()
        except UnicodeDecodeError:
            text = self._decode(line[begin:], self._offset + begin)
        if not text.isascii() and "sse.foreign-line-end" not in self._noted:
            self._look_for_foreign_line_ends(text)
        return text

    def _decode(self, value: bytes, offset: int) -> str:
        """UTF-8 with U+FFFD for each maximal invalid part, as the Encoding standard has it.

        `offset` is where `value` begins in the stream.
        """
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            if self._utf8_findings < MAX_UTF8_FINDINGS:
                self._utf8_findings += 1
                bad = value[error.start : error.end]
                self.findings.append(
                    INVALID_UTF8.found(
                        f"The bytes {bad.hex(' ')} are not valid UTF-8 ({error.reason}); a client reads U+FFFD there.",
                        event_index=self.dispatched,
                        offset=offset + error.start,
                        got=bad.hex(" "),
                    )
                )
            return value.decode(errors="replace")

    def _look_for_foreign_line_ends(self, text: str) -> None:
        found = _FOREIGN_LINE_ENDS.search(text)
        if found is not None:
            self._note(FOREIGN_LINE_END, self._offset, self.dispatched, f"U+{ord(found[0]):04X}")

    def _note(self, rule: Rule, offset: int | None, event_index: int | None = None, got: str | None = None) -> None:
        if rule.id not in self._noted:
            self._noted.add(rule.id)
            self.findings.append(rule.found(_NOTES[rule], event_index=event_index, offset=offset, got=got))
