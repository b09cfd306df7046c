"""Compressed bodies, decompressed as they stream, within a bound."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from streambench.wire.limits import OversizeError, WireError

SLICE_BYTES = 1 << 10  # of compressed data; with gzip that is at most 1 MiB of output
MAX_STEPS = 4
ENCODINGS = ("identity", "gzip", "x-gzip", "deflate", "br", "zstd")


class Decompressor:
    """Decompresses a body with any of the content encodings of HTTP, applied in the order of the header.

    Raises WireError for an encoding that is unknown or not installed and for data that is not of that encoding, and
    OversizeError beyond `max_bytes` of output.
    """

    def __init__(self, content_encoding: str, max_bytes: int) -> None:
        names = [name.strip().lower() for name in content_encoding.split(",") if name.strip()]
        # The last one was applied last, so it is undone first.
        self._steps = [_step(name) for name in reversed(names) if name != "identity"]
        if len(self._steps) > MAX_STEPS:
            raise WireError(f"the server applied {len(self._steps)} content encodings", rule="wire.encoding")
        self._max_bytes = max_bytes
        self._produced = [0] * len(self._steps)

    def feed(self, data: bytes) -> bytes:
        """What `data` decompresses to so far."""
        return b"".join(self._undo(0, data))

    def _undo(self, index: int, data: bytes) -> Iterator[bytes]:
        """Undo the steps from `index` on, slice by slice: a slice must not grow far beyond the bound unnoticed."""
        if index == len(self._steps):
            yield data
            return
        name, step = self._steps[index]
        for start in range(0, len(data), SLICE_BYTES):
            try:
                out = step(data[start : start + SLICE_BYTES])
            except Exception as error:  # each library has its own exception for bad data
                raise WireError(f"the body is not {name}: {error}", rule="wire.encoding") from error
            self._produced[index] += len(out)
            if self._produced[index] > self._max_bytes:
                raise OversizeError("the decompressed body", self._max_bytes)
            yield from self._undo(index + 1, out)


def _step(name: str) -> tuple[str, Callable[[bytes], bytes]]:
    if name in ("gzip", "x-gzip"):
        return name, zlib.decompressobj(16 + zlib.MAX_WBITS).decompress
    if name == "deflate":
        return name, _deflate()
    if name == "br":
        return name, _library("brotli", name).Decompressor().process
    if name == "zstd":
        return name, _library("zstandard", name).ZstdDecompressor().decompressobj().decompress
    raise WireError(f"the server answered in the unknown content encoding {name!r}", rule="wire.encoding")


def _library(module: str, encoding: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        remedy = "pip install 'streambench[compression]'"
        raise WireError(
            f"the server answered in {encoding}, which needs a package: {remedy}", rule="wire.encoding"
        ) from error


def _deflate() -> Callable[[bytes], bytes]:
    """`deflate` means zlib's format, but some servers send the bare deflate data; the first byte tells."""
    chosen: Callable[[bytes], bytes] | None = None

    def feed(data: bytes) -> bytes:
        nonlocal chosen
        if chosen is None:
            if not data:
                return b""
            zlib_header = data[0] & 0x0F == 8
            chosen = zlib.decompressobj(zlib.MAX_WBITS if zlib_header else -zlib.MAX_WBITS).decompress
        return chosen(data)

    return feed
