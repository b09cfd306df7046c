"""The traffic in both directions, with timestamps and byte offsets, as text for a bug report."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from streambench.conformance.frames import Frame, FrameReader
from streambench.units import NS_PER_MS

MAX_LINES = 60  # of each direction and exchange that are shown: the first, and the last
MAX_LINE_CHARS = 400
MAX_KEPT_BYTES = 1 << 20
HEAD_END = b"\r\n\r\n"
UPGRADED = b"HTTP/1.1 101"


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

    def add(self, data: bytes, at_ns: int, sent: bool) -> None:
        """Bytes went over the wire at `at_ns`."""
        offset = self._counts[sent]
        self._counts[sent] += len(data)
        if offset < MAX_KEPT_BYTES:
            self.pieces.append(Piece(at_ns, sent, offset, data[: MAX_KEPT_BYTES - offset]))

    def text(self, mask: Callable[[str], str]) -> str:
        """The log, a line of text or a WebSocket frame a line, times in ms from the first piece; secrets masked."""
        if not self.pieces:
            return f"{mask(self.title)}\n  nothing went over the wire\n"
        start_ns = self.pieces[0].at_ns
        lines: list[str] = []
        for piece, frames in self._read():
            at_ms = (piece.at_ns - start_ns) / NS_PER_MS
            stamp = f"  {at_ms:>10.3f} ms  {'>' if piece.sent else '<'}"
            offset = piece.offset
            for raw in piece.data.splitlines(keepends=True):
                lines.append(f"{stamp} {offset:>7}  {_printable(raw)}")
                offset += len(raw)
            lines += [f"{stamp} {frame.offset:>7}  [{frame}] {_printable(frame.payload)}" for frame in frames]
        return "\n".join([mask(self.title), *_shortened([mask(line) for line in lines])]) + "\n"

    def frames(self, *, sent: bool) -> list[Frame]:
        """The WebSocket frames of a direction; none where there is no WebSocket."""
        return [frame for piece, frames in self._read() if piece.sent is sent for frame in frames]

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (names in lower case) and body of the first response; 0 where none has come."""
        head, _, body = self._came().partition(HEAD_END)
        first, _, rest = head.decode("latin-1").partition("\r\n")
        status = first.split(" ")[1:2]
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in rest.split("\r\n"))
        }
        return (int(status[0]) if status and status[0].isdecimal() else 0), headers, body

    def _came(self) -> bytes:
        return b"".join(piece.data for piece in self.pieces if not piece.sent)

    def _read(self) -> Iterator[tuple[Piece, list[Frame]]]:
        """The pieces, as far as they are text, each with the frames that it completes."""
        if not self._came().startswith(UPGRADED):
            yield from ((piece, []) for piece in self.pieces)
            return
        readers: dict[bool, FrameReader] = {}
        heads = {True: b"", False: b""}
        for piece in self.pieces:
            if piece.sent in readers:
                empty = Piece(piece.at_ns, piece.sent, piece.offset, b"")
                yield empty, readers[piece.sent].feed(piece.at_ns, piece.data)
                continue
            before = len(heads[piece.sent])
            heads[piece.sent] += piece.data
            end = heads[piece.sent].find(HEAD_END) + len(HEAD_END)
            if end < len(HEAD_END):
                yield piece, []
                continue
            reader = readers[piece.sent] = FrameReader(end)
            text, rest = piece.data[: end - before], piece.data[end - before :]
            yield Piece(piece.at_ns, piece.sent, piece.offset, text), reader.feed(piece.at_ns, rest)


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
