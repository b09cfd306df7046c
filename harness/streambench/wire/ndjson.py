"""Newline-delimited JSON: one message per line.

A line ends at LF; a CR before it belongs to the line end. Blank lines are skipped. Whether a line is JSON is the
dialect's question; here it is text. A last line without its LF is a message if it is whole JSON, and otherwise what
was left of a stream that was cut: it is returned with `dispatched=False`.
"""

from __future__ import annotations

import json

from streambench.findings import Axis, Finding
from streambench.rules import Rule, declare, declare_note
from streambench.wire.limits import OversizeError, WireError, WireLimits
from streambench.wire.message import WireMessage

BOM = b"\xef\xbb\xbf"
MAX_UTF8_FINDINGS = 20

INVALID_UTF8 = declare(
    Rule(
        "ndjson.invalid-utf8",
        Axis.CONTENT,
        "Lines of JSON are valid UTF-8: clients read U+FFFD in place of invalid bytes.",
        "RFC 8259, section 8.1",
    )
)
BYTE_ORDER_MARK = declare_note(
    "ndjson.bom",
    "A stream begins without a byte order mark: JSON parsers refuse the first line.",
    "RFC 8259, section 8.1",
)
NO_LAST_NEWLINE = declare_note(
    "ndjson.no-last-newline",
    "The last line ends in a newline: clients that wait for one lose the line.",
    "NDJSON 1.0, section 3.1",
)
CUT_LINE = declare_note(
    "ndjson.cut-line", "The stream does not end in the middle of a line.", "NDJSON 1.0, section 3.1"
)


class NdjsonDecoder:
    """Bytes to lines, however the bytes are split between calls.

    Raises OversizeError for a line beyond the limits; messages completed before it in the same call are returned
    first, and the next call raises.
    """

    __slots__ = (
        "_at_start",
        "_failure",
        "_max_line_bytes",
        "_offset",
        "_pending",
        "_utf8_findings",
        "dispatched",
        "findings",
    )

    def __init__(self, limits: WireLimits | None = None) -> None:
        limits = limits if limits is not None else WireLimits()
        self._max_line_bytes = min(limits.max_line_bytes, limits.max_event_bytes)
        self.findings: list[Finding] = []
        self.dispatched = 0
        self._utf8_findings = 0
        self._failure: WireError | None = None
        self._at_start = True
        self._offset = 0
        self._pending = bytearray()

    def take_findings(self) -> list[Finding]:
        """The findings since the last call; the decoder forgets them."""
        taken, self.findings = self.findings, []
        return taken

    @property
    def between(self) -> bool:
        """Whether what comes next begins a line."""
        return not self._pending and self._failure is None

    @staticmethod
    def envelope(_: str) -> tuple[bytes, bytes]:
        """What stands around the data of a line."""
        return b"", b"\n"

    def pass_over(self, count: int, size: int) -> int:
        """Take in so many lines, `size` bytes together, which somebody else has read.

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
        lines = data.split(b"\n")
        tail = lines.pop()
        out: list[WireMessage] = []
        try:
            for line in lines:
                self._keep(line)
                self._end_line(out)
                self._offset += 1
            self._keep(tail)
        except WireError as error:
            self._failure = error
            if not out:
                raise
        return out

    def finish(self) -> list[WireMessage]:
        """End of the stream: a last line without its LF."""
        if self._failure is not None:
            raise self._failure
        out: list[WireMessage] = []
        whole = _is_json(bytes(self._pending))
        if not whole:
            self._utf8_findings = MAX_UTF8_FINDINGS  # a sequence cut by the end is not the sender's mistake
        self._end_line(out)
        for message in out:
            message.dispatched = whole
            rule, text = (
                (NO_LAST_NEWLINE, "The last line has no newline; clients that wait for one lose it.")
                if whole
                else (CUT_LINE, "The stream ends within a line.")
            )
            self.findings.append(rule.found(text, event_index=self.dispatched - 1, offset=message.offset))
        return out

    def _keep(self, piece: bytes) -> None:
        if len(self._pending) + len(piece) > self._max_line_bytes:
            raise OversizeError("a line", self._max_line_bytes, offset=self._offset)
        self._pending += piece

    def _end_line(self, out: list[WireMessage]) -> None:
        line = bytes(self._pending)
        self._pending.clear()
        start = self._offset
        self._offset += len(line)
        if self._at_start:
            self._at_start = False
            if line.startswith(BOM):
                line = line[3:]
                start += 3
                self.findings.append(
                    BYTE_ORDER_MARK.found(
                        "The stream begins with a byte order mark; JSON parsers refuse the first line.", offset=0
                    )
                )
        if line.endswith(b"\r"):
            line = line[:-1]
        if not line.strip(b" \t"):
            return
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            text = line.decode(errors="replace")
            if self._utf8_findings < MAX_UTF8_FINDINGS:
                self._utf8_findings += 1
                bad = line[error.start : error.end].hex(" ")
                self.findings.append(
                    INVALID_UTF8.found(
                        f"The bytes {bad} are not valid UTF-8 ({error.reason}); a client reads U+FFFD there.",
                        event_index=self.dispatched,
                        offset=start + error.start,
                        got=bad,
                    )
                )
        out.append(WireMessage(text, start))
        self.dispatched += 1


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line.removeprefix(BOM))
    except (ValueError, RecursionError):
        return False
    return True
