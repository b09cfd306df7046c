"""What transport tells of a stream: plain values, each with its stamp in ns of CLOCK_MONOTONIC.

They are made for every read, so they are slotted and compared by nothing. A stream's arrivals in their order are all
that its record is made of: kept in a file (`record/transcript.py`), they give the same record again.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from streambench.endings import Ending
from streambench.findings import Finding

Usual = tuple[bytes, bytes]
"""How what a read brings begins and ends, if it is one more piece like those before."""


@dataclass(slots=True, eq=False)
class Connected:
    """The connection is ready for the request, TLS and upgrade included.

    `reused`: an earlier stream has used it. `ahead_ns`: how long connecting took, where it was done before the stream.
    `own_ns`: how much of that was ours, who noticed late what the server had done. `again`: how many requests
    had been sent before, on kept connections that ended without a byte of an answer.
    """

    at_ns: int
    reused: bool = False
    ahead_ns: int | None = None
    again: int = 0
    own_ns: int = 0


@dataclass(slots=True, eq=False)
class Sent:
    """The request was handed to the kernel; of a request too large for its buffer, the last byte.

    `late_ns`: what we took for it since the stream's start, beside connecting and waiting for the server.
    """

    at_ns: int
    late_ns: int = 0


@dataclass(slots=True, eq=False)
class Resent:
    """A request that belongs to the stream was sent again, as with `again`, while the stream was under way."""

    at_ns: int


@dataclass(slots=True, eq=False)
class Read:
    """One read of the socket brought `size` bytes; what it completes follows. `kernel`: the kernel stamped it.

    `pieces` counts what the framing shows to begin in it: chunks of HTTP/1.1, DATA frames of HTTP/2; 0 elsewhere.
    `early_ns`: by how much its first bytes may have come before the stamp, because we read them late; the last ones
    came when the kernel's stamp says.
    """

    at_ns: int
    size: int
    kernel: bool
    pieces: int = 0
    early_ns: int = 0


@dataclass(slots=True, eq=False)
class Head:
    """A response's status and its headers, names in lower case."""

    at_ns: int
    status: int
    headers: Mapping[str, str]


@dataclass(slots=True, eq=False)
class Data:
    """Bytes of a body without their transfer coding, or one whole message of a socket (`str` where it is text).

    `offset` is where it begins, in bytes of the body, or of all that the socket's messages took.
    """

    at_ns: int
    data: bytes | str
    offset: int


@dataclass(slots=True, eq=False)
class Reads:
    """Several reads in a row, none late, each of which brought one piece: `Read` and `Data` in columns.

    `kernel` is that of all of them, `bytes` their size. `data` are the pieces; `offset` is where the first of them
    begins, and the others follow it. `sizes` are those of the reads, None as long as they are those of `data`.
    """

    kernel: bool
    at_ns: list[int] = field(default_factory=list)
    data: list[bytes] = field(default_factory=list)
    bytes: int = 0
    offset: int = 0
    sizes: list[int] | None = None
    _apart_ns: int | None = None

    @property
    def apart_ns(self) -> int:
        """The shortest time between two of them, of which there are two; below 0 where stamps are not in order."""
        if self._apart_ns is None:
            self._apart_ns = min(map(operator.sub, self.at_ns[1:], self.at_ns))
        return self._apart_ns

    def pairs(self) -> Iterator[tuple[Read, Data]]:
        """The same, read by read."""
        offset = self.offset
        for at_ns, size, data in zip(self.at_ns, self.sizes or map(len, self.data), self.data, strict=True):
            yield Read(at_ns, size, self.kernel, 1), Data(at_ns, data, offset)
            offset += len(data)


@dataclass(slots=True, eq=False)
class Noted:
    """Something that the carrying protocol found in what came, and that does not end the stream."""

    at_ns: int
    finding: Finding


@dataclass(slots=True, eq=False)
class Failed:
    """The stream has failed. `error` is an `ErrorClass` or `http_<status>`, the message is for a person."""

    at_ns: int
    error: str
    message: str
    finding: Finding | None = None


@dataclass(slots=True, eq=False)
class Ended:
    """Nothing more will come. `message` says in words how a socket was closed, where the server gave any.

    `cut`: the response had said how it would end, by its length, chunks or frames, and ended before.
    """

    at_ns: int
    ending: Ending
    close_code: int | None = None
    message: str = ""
    cut: bool = False


@dataclass(slots=True, eq=False)
class Cancelled:
    """We ended the stream while it was still open: because the run had to end, or (`left`) because its user left."""

    at_ns: int
    left: bool = False


Arrival = Connected | Sent | Resent | Read | Head | Data | Noted | Failed | Ended | Cancelled
