"""Plain text: the body is the reply, and each piece of it is a message as it arrived.

There are no events, so a message is whatever text one call brings: live, what one read brought. A character that is
cut between two pieces belongs to the second.
"""

from __future__ import annotations

import codecs

from streambench.findings import Axis, Finding
from streambench.rules import Rule, declare
from streambench.wire.limits import OversizeError, WireError, WireLimits
from streambench.wire.message import WireMessage

BOM = "\ufeff"

INVALID_UTF8 = declare(
    Rule(
        "text.invalid-utf8",
        Axis.CONTENT,
        "The text is valid UTF-8: clients read U+FFFD in place of invalid bytes.",
        "RFC 3629, section 3",
    )
)


class TextDecoder:
    """Bytes to pieces of text. Raises OversizeError for a piece beyond the limits."""

    __slots__ = ("_at_start", "_cut", "_failure", "_invalid", "_max_bytes", "_offset", "dispatched", "findings")

    def __init__(self, limits: WireLimits | None = None) -> None:
        limits = limits if limits is not None else WireLimits()
        self._max_bytes = limits.max_event_bytes
        self.findings: list[Finding] = []
        self.dispatched = 0
        self._invalid = False  # said once: in a text of another encoding every other character is wrong
        self._failure: WireError | None = None
        self._at_start = True
        self._offset = 0
        self._cut = b""  # the beginning of a character

    def take_findings(self) -> list[Finding]:
        """The findings since the last call; the decoder forgets them."""
        taken, self.findings = self.findings, []
        return taken

    between = False  # nothing tells one piece of text from the next

    @staticmethod
    def envelope(_: str) -> tuple[bytes, bytes]:
        """Nothing."""
        return b"", b""

    def pass_over(self, count: int, size: int) -> int:
        """Never called: nothing is `between` two pieces."""
        raise NotImplementedError

    @property
    def failure(self) -> WireError | None:
        """What ends the decoding, and what the next call raises."""
        return self._failure

    def feed(self, data: bytes) -> list[WireMessage]:
        """The text of `data`: one message, or none where it is the beginning of a character."""
        if self._failure is not None:
            raise self._failure
        if len(data) > self._max_bytes:
            self._failure = OversizeError("a piece of text", self._max_bytes, offset=self._offset)
            raise self._failure
        return self._read(self._cut + data, final=False)

    def finish(self) -> list[WireMessage]:
        """End of the stream: what is left of a character that was cut."""
        if self._failure is not None:
            raise self._failure
        return self._read(self._cut, final=True)

    def _read(self, data: bytes, *, final: bool) -> list[WireMessage]:
        start = self._offset
        text, used = codecs.utf_8_decode(data, "replace", final)
        self._cut = data[used:]
        self._offset += used
        if "\ufffd" in text and not self._invalid:
            self._note_invalid(data[:used], start)
        if self._at_start and text:
            self._at_start = False
            text = text.removeprefix(BOM)
        if not text:
            return []
        self.dispatched += 1
        return [WireMessage(text, start)]

    def _note_invalid(self, data: bytes, start: int) -> None:
        try:
            data.decode()
        except UnicodeDecodeError as error:
            self._invalid = True
            bad = data[error.start : error.end].hex(" ")
            self.findings.append(
                INVALID_UTF8.found(
                    f"The bytes {bad} are not valid UTF-8 ({error.reason}); a reader sees U+FFFD there.",
                    event_index=self.dispatched,
                    offset=start + error.start,
                    got=bad,
                )
            )
