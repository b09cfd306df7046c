"""Finds deltas that differ from the previous one only in their text, in the bytes of a read.

Most reads bring nothing else. What stands around the text is known then, from the dialect (`DialectStream.shape`) and
from the framing (`BodyDecoder.envelope`): where the bytes are the same, neither needs to look at them again. Where a
read brings anything else, even at its end, both read all of it as ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from streambench.dialects import DialectStream
from streambench.dialects.shapes import Shape, text_of
from streambench.findings import Finding
from streambench.transport.arrivals import Arrival, Data, Usual
from streambench.wire.framings import BodyDecoder

Lead = tuple[str, int]


class Repeats:
    """Reads deltas of `stream`, which `decoder` would have read; no message may be larger than `max_bytes`.

    A message has so many `lines`.
    """

    __slots__ = (
        "_around",
        "_before",
        "_between",
        "_decoder",
        "_end",
        "_last",
        "_max_bytes",
        "_shape",
        "_stream",
        "_usual",
        "lines",
    )

    def __init__(self, decoder: BodyDecoder, stream: DialectStream, max_bytes: int) -> None:
        self._decoder = decoder
        self._stream = stream
        self._max_bytes = max_bytes
        self._shape: Shape | None = None
        # What stands before the first text, between two of them, and behind the last one.
        self._before = self._between = self._last = self._end = b""  # `_end` is that of any message
        self._usual: Usual = (b"", b"")
        self._around = 0
        self.lines = 0

    def parts(self, data: bytes) -> tuple[bytes, ...]:
        """`data` in order: the end of a message that began before, whole ones, and the beginning of one, if any.

        A read that is full ends within a message, and the next one begins there.
        """
        shape = self._stream.shape
        if shape is None:
            return (data,)
        if shape is not self._shape:
            self._surround(shape)
        if not self._before or (self._decoder.between and data.endswith(self._end)):
            return (data,)
        size = len(self._end)
        begin = 0 if self._decoder.between else data.find(self._end) + size
        end = data.rfind(self._end) + size
        if end < size or end == begin:  # no message ends here, or only the one that began before
            return (data,)
        return tuple(filter(None, (data[:begin], data[begin:end], data[end:])))

    def texts(self, data: bytes) -> list[str] | None:
        """The texts of the deltas that `data` consists of, at least one; they are taken then.

        None where it is anything else, and nothing was taken.
        """
        shape = self._stream.shape
        if shape is None or not self._decoder.between:
            return None
        if shape is not self._shape:
            self._surround(shape)
        inside = self._inside(data) if self._before and len(data) <= self._max_bytes else None
        texts = None if inside is None else _texts_of(inside)
        if inside is None or texts is None:
            return None
        behind = self._decoder.pass_over(len(texts), len(data))
        self._stream.pass_over(len(texts), behind - self._around - len(inside[-1]))
        return texts

    @property
    def usual(self) -> Usual | None:
        """What the next message begins and ends with if it is one more delta; None where that is not known yet."""
        shape = self._stream.shape
        if shape is None or shape is not self._shape or not self._before or not self._decoder.between:
            return None
        return self._usual

    def text_of_each(self, data: Sequence[bytes]) -> list[str] | None:
        """The texts where each of `data` is one delta; nothing is taken yet. None where any is anything else."""
        if self.usual is None or max(map(len, data)) > self._max_bytes:
            return None
        inside = self._inside(b"".join(data))
        if inside is None or [self._around + len(text) for text in inside] != [len(piece) for piece in data]:
            return None
        return _texts_of(inside)

    def pass_over(self, data: Sequence[bytes]) -> None:
        """Take in what `text_of_each` has read."""
        behind = self._decoder.pass_over(len(data), sum(map(len, data)))
        self._stream.pass_over(len(data), behind - len(data[-1]))

    def _inside(self, data: bytes) -> list[bytes] | None:
        """What stands between the quotes of each delta, none of it empty, as far as the surroundings tell."""
        if not (data.startswith(self._before) and data.endswith(self._last)):
            return None
        inside = data[len(self._before) : len(data) - len(self._last)].split(self._between)
        return None if b"" in inside else inside

    def _surround(self, shape: Shape) -> None:
        self._shape = shape
        self._before = b""
        # Data that came in several lines looks different on the wire.
        if shape.around is not None and not shape.again and "\n" not in "".join(shape.around):
            start, end = self._decoder.envelope(shape.wire_event)
            before, after = shape.around
            self._before = start + before.encode()
            self._end = end
            self._last = after.encode() + end
            self._between = self._last + self._before
            self._usual = self._before, self._last
            self._around = len(self._before) + len(self._last)
            self.lines = start.count(b"\n") + end.count(b"\n")


def _texts_of(inside: list[bytes]) -> list[str] | None:
    """What JSON reads of each between two quotes; None where any is no text.

    What surrounds them has line ends, and no string of JSON has any: so none of them hides the end of another.
    """
    try:
        texts = [piece.decode() for piece in inside]
    except UnicodeDecodeError:
        return None
    joined = "".join(texts)
    if joined.isprintable() and "\\" not in joined and '"' not in joined:
        return texts
    read = [text_of(text) for text in texts]
    return None if None in read else cast("list[str]", read)


class MessageRepeats:
    """Reads deltas of `stream` in the messages of a socket; none may be longer than `max_chars`."""

    __slots__ = ("_after", "_before", "_lead", "_max_chars", "_shape", "_stream")

    def __init__(self, stream: DialectStream, max_chars: int) -> None:
        self._stream = stream
        self._max_chars = max_chars
        self._shape: Shape | None = None
        self._lead: Lead | None = None
        self._before = self._after = ""

    def delta(self, data: str | bytes, lead: Lead | None, offset: int) -> tuple[str, tuple[Finding, ...]] | None:
        """The text of a message that is one more delta, and what is wrong with it; it is taken then.

        None where it is anything else. `lead` is that of the message before it (see `SocketReader`), `offset` is where
        it begins in the reply.
        """
        shape = self._stream.shape
        if shape is None or lead is None or not isinstance(data, str) or len(data) > self._max_chars:
            return None
        if lead[1] == 0:
            values: Sequence[Any] | None = shape.values(data)
        else:
            self._surround(shape, lead)
            values = None if shape.around is None else self._between(data)
        return None if values is None else (shape.text(values), self._stream.repeat(values, offset))

    def run(self, arrivals: Sequence[Arrival], begin: int, lead: Lead | None) -> Sequence[Sequence[Any]]:
        """What is in each hole of the messages from `begin` on that are deltas and have one stamp; nothing is taken.

        Empty where the first of them is none.
        """
        shape = self._stream.shape
        if shape is None or shape.columns is None or lead is None:
            return ()
        self._surround(shape, lead)
        at_ns, rows = arrivals[begin].at_ns, []
        for number in range(begin, len(arrivals)):
            arrival = arrivals[number]
            if arrival.__class__ is not Data or arrival.at_ns != at_ns:
                break
            data = arrival.data
            if data.__class__ is not str or len(data) > self._max_chars:
                break
            values = self._between(data) if shape.around is not None else shape.values(data) if lead[1] == 0 else None
            if values is None:
                break
            rows.append(values)
        return tuple(zip(*rows, strict=True))

    def take(self, run: Sequence[Sequence[Any]], last_offset: int) -> list[str] | None:
        """Take them, if nothing is wrong with any, and return their texts; None where nothing was taken.

        The last one begins at `last_offset` in the reply.
        """
        shape = self._stream.shape
        assert shape is not None
        return list(run[shape.text_hole]) if self._stream.repeat_all(run, last_offset) else None

    def _surround(self, shape: Shape, lead: Lead) -> None:
        if shape.around is not None and (shape is not self._shape or lead is not self._lead):
            self._shape, self._lead = shape, lead
            start, dropped = lead
            before, self._after = shape.around
            self._before = start + before[dropped:]

    def _between(self, data: str) -> tuple[str] | None:
        """The text, where it is all that differs."""
        begin, end = len(self._before), len(data) - len(self._after)
        if begin >= end or not (data.startswith(self._before) and data.endswith(self._after)):
            return None
        text = text_of(data[begin:end])
        return None if text is None else (text,)
