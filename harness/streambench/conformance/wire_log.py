"""What went over the wire in both directions, with stamps and byte offsets, as text for a bug report."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from streambench.units import NS_PER_MS

MAX_LINES = 60  # of each direction and exchange that are shown: the first, and the last
MAX_LINE_CHARS = 400
MAX_KEPT_BYTES = 1 << 20


@dataclass(slots=True)
class Piece:
    """Bytes that went over the wire at once. `sent`: by us; `offset` counts those of their direction from 0."""

    at_ns: int
    sent: bool
    offset: int
    data: bytes


@dataclass(slots=True)
class WireLog:
    """One connection's two directions, TLS removed; beyond 1 MiB a direction is only counted."""

    title: str = ""
    pieces: list[Piece] = field(default_factory=list)
    _counts: list[int] = field(default_factory=lambda: [0, 0])

    def add(self, at_ns: int, data: bytes, *, sent: bool) -> None:
        """Bytes went over the wire at `at_ns`."""
        offset = self._counts[sent]
        self._counts[sent] += len(data)
        if offset < MAX_KEPT_BYTES:
            self.pieces.append(Piece(at_ns, sent, offset, data[: MAX_KEPT_BYTES - offset]))

    def text(self, mask: Callable[[str], str]) -> str:
        """The log, one line of text a line, times in ms from the first piece; secrets masked."""
        if not self.pieces:
            return f"{self.title}\n  nothing went over the wire\n"
        start_ns = self.pieces[0].at_ns
        lines: list[str] = []
        for piece in self.pieces:
            arrow = ">" if piece.sent else "<"
            offset = piece.offset
            for raw in piece.data.splitlines(keepends=True):
                shown = _printable(raw)
                at_ms = (piece.at_ns - start_ns) / NS_PER_MS
                lines.append(f"  {at_ms:>10.3f} ms  {arrow} {offset:>7}  {shown}")
                offset += len(raw)
        return "\n".join([self.title, *_shortened([mask(line) for line in lines])]) + "\n"


def _shortened(lines: Sequence[str]) -> list[str]:
    if len(lines) <= 2 * MAX_LINES:
        return list(lines)
    return [*lines[:MAX_LINES], f"  … {len(lines) - 2 * MAX_LINES} more lines …", *lines[-MAX_LINES:]]


def _printable(raw: bytes) -> str:
    """A line whose characters can all be seen: line ends and other bytes are written as escapes."""
    text = raw.decode("utf-8", "backslashreplace")
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
    return shown if len(shown) <= MAX_LINE_CHARS else f"{shown[:MAX_LINE_CHARS]}… ({len(raw)} bytes)"


def curl(method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes, mask: Callable[[str], str]) -> str:
    """The request as a command for a shell; secrets masked. A body that is no text is left out, and said so."""
    parts = ["curl", "-sN", "-X", method, shlex.quote(mask(url))]
    for name, value in headers:
        parts += ["-H", shlex.quote(mask(f"{name}: {value}"))]
    if body:
        try:
            parts += ["--data-binary", shlex.quote(mask(body.decode()))]
        except UnicodeDecodeError:
            return f"# the body of {len(body)} bytes is no text: no curl command"
    return " ".join(parts)
