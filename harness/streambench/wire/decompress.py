"""Compressed bodies, decompressed as they stream, within a bound."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from typing import Any, Protocol

from streambench.findings import Axis
from streambench.rules import Rule, declare
from streambench.wire.budget import Growth
from streambench.wire.limits import OversizeError, WireError, WireLimits

SLICE_BYTES = 1 << 7  # of compressed data
ZSTD_SLICE_BYTES = 1 << 4  # its decompressor knows no bound; four bytes may be 128 KiB of output
PIECE_BYTES = 1 << 14  # of output; more is produced only when it was taken
MAX_STEPS = 4
GZIP_BITS = 16 + zlib.MAX_WBITS
GZIP_MAGIC = b"\x1f"

ENCODING = declare(
    Rule(
        "wire.encoding",
        Axis.GRAMMAR,
        "The body has the content encoding that its header names.",
        "RFC 9110, section 8.4",
    )
)


class Decompressor:
    """Decompresses a body with any of the content encodings of HTTP, applied in the order of the header.

    Raises WireError for an encoding that is unknown or not installed and for data that is not of that encoding, and
    OversizeError beyond the limits on the output and on how many times its compressed size that is.
    """

    def __init__(self, content_encoding: str, limits: WireLimits) -> None:
        names = [name.strip().lower() for name in content_encoding.split(",") if name.strip()]
        # The last one was applied last, so it is undone first.
        self._steps = [_step(name) for name in reversed(names) if name != "identity"]
        if len(self._steps) > MAX_STEPS:
            raise WireError(f"the server applied {len(self._steps)} content encodings", rule=ENCODING)
        self._max_bytes = limits.max_decompressed_bytes
        self._produced = [0] * len(self._steps)
        self._growth = Growth(limits.max_ratio)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What `data` decompresses to, piece by piece: nothing is produced before the piece before it was taken."""
        for start in range(0, len(data), SLICE_BYTES):
            slice_ = data[start : start + SLICE_BYTES]
            self._growth.compressed(len(slice_))
            for piece in self._undo(0, slice_):
                self._growth.produced(len(piece))
                yield piece

    def _undo(self, index: int, data: bytes) -> Iterator[bytes]:
        """Undo the steps from `index` on, slice by slice: a slice must not grow far beyond the bound unnoticed."""
        if index == len(self._steps):
            yield data
            return
        name, step = self._steps[index]
        for start in range(0, len(data), SLICE_BYTES):
            pieces = step(data[start : start + SLICE_BYTES])
            while True:
                try:
                    out = next(pieces, None)
                except Exception as error:  # each library has its own exception for bad data
                    raise WireError(f"the body is not {name}: {error}", rule=ENCODING) from error
                if out is None:
                    break
                self._produced[index] += len(out)
                if self._produced[index] > self._max_bytes:
                    raise OversizeError("the decompressed body", self._max_bytes)
                yield from self._undo(index + 1, out)


# From a slice of compressed data to the pieces that it decompresses to.
Step = Callable[[bytes], Iterator[bytes]]


def _step(name: str) -> tuple[str, Step]:
    match name:
        case "gzip" | "x-gzip":
            return name, _gzip()
        case "deflate":
            return name, _deflate()
        case "br":
            return name, _brotli()
        case "zstd":
            return name, _zstd()
    raise WireError(f"the server answered in the unknown content encoding {name!r}", rule=ENCODING)


@cache
def accepted_encodings() -> str:
    """What to ask for, as browsers do: `gzip, deflate, br, zstd`, without those whose package is not installed."""
    optional = {"br": "brotli", "zstd": "zstandard"}
    return ", ".join(["gzip", "deflate", *(name for name, module in optional.items() if find_spec(module))])


def _library(module: str, encoding: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        remedy = "pip install 'streambench[compression]'"
        raise WireError(f"the server answered in {encoding}, which needs a package: {remedy}", rule=ENCODING) from error


def _gzip() -> Step:
    """A body may be several gzip members, one after the other; what follows them and is none is padding."""
    member = zlib.decompressobj(GZIP_BITS)

    def feed(data: bytes) -> Iterator[bytes]:
        nonlocal member
        while data:
            if member.eof:
                if not data.startswith(GZIP_MAGIC):
                    return
                member = zlib.decompressobj(GZIP_BITS)
            yield from _in_pieces(member, data)
            data = member.unused_data

    return feed


def _deflate() -> Step:
    """`deflate` means zlib's format, but some servers send the bare deflate data; the first byte tells."""
    stream: Inflating | None = None

    def feed(data: bytes) -> Iterator[bytes]:
        nonlocal stream
        if stream is None:
            if not data:
                return
            zlib_header = data[0] & 0x0F == 8
            stream = zlib.decompressobj(zlib.MAX_WBITS if zlib_header else -zlib.MAX_WBITS)
        yield from _in_pieces(stream, data)

    return feed


class Inflating(Protocol):
    """A decompressor of the standard library."""

    @property
    def unconsumed_tail(self) -> bytes:
        """Of the input of the newest call, what it has left."""
        ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """What `data` gives, but no more than that."""
        ...


def _in_pieces(stream: Inflating, data: bytes) -> Iterator[bytes]:
    full = True
    while full or data:
        out = stream.decompress(data, PIECE_BYTES)
        data = stream.unconsumed_tail
        full = len(out) == PIECE_BYTES  # some of it may be left, although no input is
        yield out


def _brotli() -> Step:
    """A few hundred bytes of brotli can be gigabytes, so that its output is taken piece by piece."""
    decoder = _library("brotli", "br").Decompressor()

    def feed(data: bytes) -> Iterator[bytes]:
        out = decoder.process(data, output_buffer_limit=PIECE_BYTES)
        yield out
        # It says that it takes more data as soon as it has read all, even where not all has come out.
        while len(out) >= PIECE_BYTES or not decoder.can_accept_more_data():
            out = decoder.process(b"", output_buffer_limit=PIECE_BYTES)
            yield out

    return feed


def _zstd() -> Step:
    """A server that flushes may write a frame each time."""
    decompress = _library("zstandard", "zstd").ZstdDecompressor().decompressobj(read_across_frames=True).decompress

    def feed(data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), ZSTD_SLICE_BYTES):
            yield decompress(data[start : start + ZSTD_SLICE_BYTES])

    return feed
